"""Timers of which nearly all are cancelled before they ring: the time limits of trials, of scoring and of closing.

An event loop sorts its timers, and a trial sets several. Those that wait equally long ring in the order in which they
were set, so a queue for each length does, with one timer of the loop for whichever stands first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from types import CoroutineType
from typing import Any, TypeVar

from agentcheck.errors import HarnessError

_T = TypeVar("_T")


class Deadline:
    """One timer; `cancel` it when what it bounds is over."""

    __slots__ = ("_callback", "when")

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        self._callback: Callable[[], object] | None = callback

    @property
    def cancelled(self) -> bool:
        """True once nothing will be called any more."""
        return self._callback is None

    def cancel(self) -> None:
        """Call nothing."""
        self._callback = None

    def ring(self) -> None:
        """Call what was to be called, unless it was cancelled meanwhile."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Deadlines:
    """The timers of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queues: dict[float, deque[Deadline]] = {}
        self._set: set[float] = set()  # lengths for which the loop has a timer

    def after(self, seconds: float, callback: Callable[[], object]) -> Deadline:
        """Call something in so many seconds, unless the deadline is cancelled before."""
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = deque()
        while queue and queue[0].cancelled:
            queue.popleft()
        deadline = Deadline(self._loop.time() + seconds, callback)
        queue.append(deadline)
        if seconds not in self._set:
            self._set.add(seconds)
            self._loop.call_at(deadline.when, self._look, seconds)
        return deadline

    def _look(self, seconds: float) -> None:
        """Ring what is due, and have the loop look again when the next one may be."""
        queue, now = self._queues[seconds], self._loop.time()
        while queue and (queue[0].cancelled or queue[0].when <= now):
            self._loop.call_soon(queue.popleft().ring)
        if queue:
            self._loop.call_at(queue[0].when, self._look, seconds)
        else:
            self._set.discard(seconds)

    async def within(self, seconds: float, waiting: Awaitable[_T]) -> _T:
        """Wait at most so long, in this task: what `asyncio.timeout` of later Pythons does.

        What ends without having waited for anything costs no timer.

        Raises:
            HarnessError: it took longer.
        """
        coroutine = waiting if isinstance(waiting, CoroutineType) else _coroutine(waiting)
        try:
            first = coroutine.send(None)
        except StopIteration as ended:
            value: _T = ended.value
            return value
        task = asyncio.current_task()
        assert task is not None
        late = False

        def over() -> None:
            nonlocal late
            late = True
            task.cancel()

        deadline = self.after(seconds, over)
        try:
            return await _Begun(coroutine, first)
        except asyncio.CancelledError:
            if late:
                raise HarnessError(f"it took longer than {seconds:g} s") from None
            raise
        finally:
            deadline.cancel()


async def _coroutine(waiting: Awaitable[_T]) -> _T:
    return await waiting


class _Begun(Awaitable[_T]):
    """The rest of a coroutine that already ran to its first wait, and what it waits for."""

    def __init__(self, coroutine: Coroutine[Any, Any, _T], first: Any) -> None:
        self._coroutine = coroutine
        self._first = first

    def __await__(self) -> Generator[Any, Any, _T]:
        waits_for = self._first
        while True:
            step: Callable[[], Any]
            try:
                sent = yield waits_for
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as error:
                step = partial(self._coroutine.throw, error)
            else:
                step = partial(self._coroutine.send, sent)
            try:
                waits_for = step()
            except StopIteration as ended:
                value: _T = ended.value
                return value
