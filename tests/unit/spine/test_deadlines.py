"""Deadlines: what is due rings in order, what was cancelled never, and waiting is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agentcheck.deadlines import Deadlines
from agentcheck.errors import HarnessError


class Loop:
    """The part of an event loop that deadlines use, with a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[..., Any], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., Any], *arguments: Any) -> None:
        self.timers.append((when, callback, arguments))

    def call_soon(self, callback: Callable[..., Any], *arguments: Any) -> None:
        self.timers.append((self.now, callback, arguments))

    def move(self, seconds: float) -> None:
        """Let time pass; what it makes due is called, also what that sets."""
        self.now += seconds
        while due := [timer for timer in self.timers if timer[0] <= self.now]:
            self.timers = [timer for timer in self.timers if timer[0] > self.now]
            for _, callback, arguments in due:
                callback(*arguments)


def made() -> tuple[Loop, Deadlines, list[str]]:
    """A loop, its deadlines, and the list of what rang."""
    loop = Loop()
    return loop, Deadlines(loop), []  # type: ignore[arg-type]


def test_a_deadline_rings_once_when_its_time_has_come() -> None:
    """Nothing is called before, and nothing again later."""
    loop, deadlines, rung = made()
    deadlines.after(5, lambda: rung.append("a"))
    loop.move(4.9)
    assert rung == []
    loop.move(0.1)
    loop.move(100)
    assert rung == ["a"]


def test_a_cancelled_deadline_never_rings_and_hides_no_later_one() -> None:
    """The loop's timer for the first of a queue also finds those behind it, each at its own time."""
    loop, deadlines, rung = made()
    first = deadlines.after(5, lambda: rung.append("first"))
    loop.move(2)
    deadlines.after(5, lambda: rung.append("second"))
    first.cancel()
    loop.move(4.9)
    assert rung == []
    loop.move(0.1)
    assert rung == ["second"]


def test_a_deadline_cancelled_by_an_earlier_one_of_the_same_moment_does_not_ring() -> None:
    """Being due is not enough: a trial that the first deadline ended is not stopped a second time."""
    loop, deadlines, rung = made()

    def ring() -> None:
        rung.append("first")
        second.cancel()

    deadlines.after(5, ring)
    second = deadlines.after(5, lambda: rung.append("second"))
    loop.move(5)
    assert rung == ["first"]


def test_lengths_do_not_wait_for_each_other() -> None:
    """A short deadline rings before a long one that was set earlier."""
    loop, deadlines, rung = made()
    deadlines.after(30, lambda: rung.append("long"))
    deadlines.after(1, lambda: rung.append("short"))
    loop.move(1)
    assert rung == ["short"]
    loop.move(29)
    assert rung == ["short", "long"]


def test_an_empty_queue_is_watched_again_when_it_fills() -> None:
    """After the last deadline rang, the next one of the same length is found too."""
    loop, deadlines, rung = made()
    deadlines.after(5, lambda: rung.append("a"))
    loop.move(5)
    deadlines.after(5, lambda: rung.append("b"))
    loop.move(5)
    assert rung == ["a", "b"]


def test_many_deadlines_of_one_length_take_one_timer_of_the_loop() -> None:
    """This is what they are for; cancelled ones are not kept either."""
    loop, deadlines, _ = made()
    for _ in range(100):
        deadlines.after(5, print).cancel()
    assert len(loop.timers) == 1
    assert len(deadlines._queues[5]) == 1


def test_waiting_ends_at_the_deadline_with_an_error_of_the_harness() -> None:
    """What takes too long is stopped, and the message says how long it had."""

    async def run() -> None:
        await Deadlines(asyncio.get_running_loop()).within(0.01, asyncio.Event().wait())

    with pytest.raises(HarnessError, match=r"it took longer than 0\.01 s"):
        asyncio.run(run())


def test_waiting_gives_the_value_and_passes_on_the_cancellation_of_others() -> None:
    """A bound changes nothing for what keeps to it, and does not take somebody else's cancellation for its own."""

    async def seven() -> int:
        return 7

    async def run() -> int:
        deadlines = Deadlines(asyncio.get_running_loop())
        endless = asyncio.ensure_future(deadlines.within(60, asyncio.Event().wait()))
        await asyncio.sleep(0)
        endless.cancel()
        with pytest.raises(asyncio.CancelledError):
            await endless
        return await deadlines.within(60, seven())

    assert asyncio.run(run()) == 7


def within(seconds: float, waiting: Any) -> Any:
    """What `Deadlines.within` gives on a real loop."""

    async def run() -> Any:
        return await Deadlines(asyncio.get_running_loop()).within(seconds, waiting)

    return asyncio.run(run())


def test_waiting_passes_values_errors_and_cancellations_through() -> None:
    """Whatever a coroutine waits for, and however often, it sees what it would see without the bound."""
    seen: list[str] = []

    async def several() -> str:
        await asyncio.sleep(0)
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, "given")
        seen.append(await future)
        failing = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(failing.set_exception, KeyError("planted"))
        try:
            await failing
        except KeyError as error:
            seen.append(str(error))
        inner = asyncio.ensure_future(asyncio.sleep(100))
        asyncio.get_running_loop().call_soon(inner.cancel)
        try:
            await inner
        except asyncio.CancelledError:
            seen.append("cancelled")
        return "done"

    assert within(50, several()) == "done"
    assert seen == ["given", "'planted'", "cancelled"]


def test_any_awaitable_is_waited_for_and_what_is_none_is_refused() -> None:
    """A future or an object with `__await__` does as well as a coroutine."""

    class Later:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return 7

    assert within(50, Later()) == 7
    with pytest.raises(TypeError, match="await"):
        within(50, None)


def test_what_waits_is_told_of_the_end_of_its_time_and_may_clean_up() -> None:
    """The coroutine sees the cancellation; the caller an error with the limit."""
    seen: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cleaned up")

    with pytest.raises(HarnessError, match=r"longer than 0\.01 s"):
        within(0.01, waits())
    assert seen == ["cleaned up"]
