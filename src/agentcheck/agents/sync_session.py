"""The session for code that waits by blocking: threads of an agent call it, the loop of the harness does the work."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from agentcheck.contracts import Perform, Session
from agentcheck.errors import AgentError
from agentcheck.records import Action, ActionKind, ModelReply, Result, ToolSpec

_T = TypeVar("_T")
#: Seconds that calls in flight get to note that they were stopped, when the turn ends before them.
_GRACE = 1.0


class SessionOver(BaseException):
    """The turn is over and nothing was asked. No `Exception`, so that ``except Exception`` in a loop ends with it too.

    A thread cannot be killed; one that the time limit left behind ends here, at its next call.
    """


class SyncSession:
    """`contracts.Session` without ``await``: the same calls, which block. Works from any thread but the harness's own.

    Made by the callable adapter for synchronous agents, one a turn.
    """

    def __init__(self, session: Session, loop: asyncio.AbstractEventLoop) -> None:
        self._session = session
        self._loop = loop
        self._over = False
        self._lock = threading.Lock()
        self._waiting: set[concurrent.futures.Future[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def tools(self) -> Sequence[ToolSpec]:
        """The tools of the world."""
        return self._session.tools

    def act(
        self,
        kind: ActionKind,
        name: str,
        arguments: Mapping[str, Any],
        *,
        reasoning: str = "",
        perform: Callable[[Action], Any] | None = None,
        cause: str = "",
    ) -> Result:
        """Ask for one action; ``perform`` may be synchronous too (it then runs in a thread of its own)."""
        carry_out = _as_perform(perform) if perform is not None else None
        return self._wait(
            lambda: self._session.act(kind, name, arguments, reasoning=reasoning, perform=carry_out, cause=cause)
        )

    def call_tool(self, name: str, /, **arguments: Any) -> Any:
        """Call a tool; raises `ActionDenied`, `ActionHeld` or `ToolError`."""
        return self._wait(lambda: self._session.call_tool(name, **arguments))

    def call_model(self, messages: Sequence[Mapping[str, Any]], **parameters: Any) -> ModelReply:
        """Ask the model of the suite; raises as `call_tool` does."""
        return self._wait(lambda: self._session.call_model(messages, **parameters))

    def say(self, text: str) -> Result:
        """Send a message to the user."""
        return self._wait(lambda: self._session.say(text))

    def think(self, text: str) -> None:
        """Record stated reasoning."""

        async def note() -> None:
            self._session.think(text)

        self._wait(note)

    def _wait(self, start: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Have the loop do it, and wait. The loop makes the coroutine, so none is left over once it has closed."""
        try:
            inside = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            inside = False
        if inside:
            raise AgentError(
                "a synchronous session cannot wait in the thread that runs the harness",
                advice="write the agent as 'async def', or call from its own thread",
            )
        future: concurrent.futures.Future[_T] = concurrent.futures.Future()
        with self._lock:
            if self._over:
                raise SessionOver("the turn of this session is over; nothing was asked")
            self._waiting.add(future)
        try:
            self._loop.call_soon_threadsafe(self._begin, start, future)
            return future.result()
        except (concurrent.futures.CancelledError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not self._loop.is_closed():
                raise
            raise SessionOver("the turn of this session ended during the call") from None
        finally:
            with self._lock:
                self._waiting.discard(future)

    def _begin(self, start: Callable[[], Coroutine[Any, Any, _T]], future: concurrent.futures.Future[_T]) -> None:
        if self._over or not future.set_running_or_notify_cancel():
            future.cancel()
            return
        task = self._loop.create_task(start())
        self._tasks.add(task)

        def deliver(done: asyncio.Task[_T]) -> None:
            self._tasks.discard(done)
            if done.cancelled():
                future.set_exception(concurrent.futures.CancelledError())
                return
            error = done.exception()
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(done.result())

        task.add_done_callback(deliver)

    async def end(self) -> None:
        """End the turn: calls in flight are stopped, later ones raise `SessionOver` where they are made."""
        with self._lock:
            self._over = True
            waiting = list(self._waiting)
        for future in waiting:
            future.cancel()  # those that the loop has not begun; the others end with their task
        if self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(set(self._tasks), timeout=_GRACE)


async def in_a_thread(call: Callable[[], _T], name: str) -> _T:
    """Run blocking code in a daemon thread: one that never ends cannot keep the process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()
    context = contextvars.copy_context()

    def deliver(result: Any, error: BaseException | None) -> None:
        if future.done():
            return  # the trial was stopped; nobody waits any more
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def work() -> None:
        result: Any = None
        problem: BaseException | None = None
        try:
            result = context.run(call)
        except BaseException as error:
            problem = _portable(error)
        try:
            loop.call_soon_threadsafe(deliver, result, problem)
        except RuntimeError:
            return  # the loop has closed; the run is over

    threading.Thread(target=work, name=name, daemon=True).start()
    return await future


def _portable(error: BaseException) -> Exception:
    """What a thread raised, as something that may travel through a future and must not end the harness."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = AgentError(f"the code raised {type(error).__name__}({error})")
    wrapped.__cause__ = error
    return wrapped


def _as_perform(perform: Callable[[Action], Any]) -> Perform:
    async def carry_out(action: Action) -> Any:
        if inspect.iscoroutinefunction(perform):
            return await perform(action)
        return await in_a_thread(lambda: perform(action), f"perform {action.name}")

    return carry_out
