"""An agent in any language: a command that speaks JSON lines on standard input and output (`agents.protocol`).

One process serves one trial, all its turns. It leads a process group of its own, which is killed as a whole when the
trial ends, so a child that it left behind ends too. Standard error is kept (its end) and shown when something breaks.
Requests are carried out as they come, several at a time where the agent does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from agentcheck.agents.options import Options, read
from agentcheck.agents.protocol import answer_in, broken, decode, encode, perform, task_message
from agentcheck.contracts import Session
from agentcheck.errors import AgentTransportError, SuiteError
from agentcheck.records import Case, Task

#: Longest line of standard output, in bytes.
MAX_LINE = 10_000_000
#: Bytes of standard error that are kept, the last ones.
KEPT = 16_384
#: Requests that one agent may have open at the same time.
OPEN_REQUESTS = 64
#: Seconds that an agent gets to end by itself after its input was closed.
GRACE = 0.5
_LOOK = 0.05


class ProcessOptions(Options):
    """``command``: a list, or one line split like a shell does; ``{python}`` in it is this Python.

    ``cwd``: where it starts; ``env``: variables added to those of the harness (without what opens its ledger).
    """

    command: str | tuple[str, ...]
    cwd: str = ""
    env: dict[str, str] = Field(default_factory=dict)
    max_line: int = Field(MAX_LINE, ge=1000, le=1_000_000_000)

    def words(self) -> list[str]:
        """The command as a list."""
        words = shlex.split(self.command) if isinstance(self.command, str) else list(self.command)
        return [sys.executable if word == "{python}" else word for word in words]


class Factory:
    """Makes the agents of ``[agent] use = "process"``."""

    def check(self, options: Mapping[str, Any]) -> ProcessOptions:
        """Read the options, when a suite is collected.

        Raises:
            SuiteError: an unknown option, no command, or a folder that is not there.
        """
        chosen = read(ProcessOptions, options, "the agent 'process'")
        try:
            words = chosen.words()
        except ValueError as error:
            raise SuiteError(f"the agent 'process', option 'command': {error}") from None
        if not words:
            raise SuiteError("the agent 'process' needs a command")
        if chosen.cwd and not Path(chosen.cwd).is_dir():
            raise SuiteError(f"the agent 'process', option 'cwd': there is no folder {chosen.cwd!r}")
        return chosen

    def __call__(self, options: Mapping[str, Any], case: Case) -> ProcessAgent:
        """The agent of one trial; the process starts with its first turn."""
        return ProcessAgent(self.check(options))


make = Factory()


class ProcessAgent:
    """Implements `contracts.Agent` over the pipes of a process."""

    def __init__(self, options: ProcessOptions) -> None:
        self._options = options
        self._name = " ".join(Path(word).name for word in options.words()[:2])[:80]
        self._process: asyncio.subprocess.Process | None = None
        self._errors = bytearray()
        self._listening: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._line = 0
        self._closed = False

    async def respond(self, task: Task, session: Session) -> str | None:
        """Send the task, carry out what the agent asks for, and give its answer.

        Raises:
            AgentTransportError: it does not start, ends before its answer, or breaks the protocol; the message holds
                the line and the end of what it wrote to standard error.
        """
        if self._closed:
            raise AgentTransportError("the agent's process was closed")
        process = self._process or await self._start()
        open_requests: set[asyncio.Task[None]] = set()
        try:
            await self._send(process, task_message(task, session))
            return await self._converse(process, session, open_requests)
        except AgentTransportError as error:
            raise await self._explained(error) from error.__cause__
        finally:
            for request in open_requests:
                request.cancel()
            if open_requests:
                await asyncio.wait(open_requests, timeout=GRACE)

    async def _start(self) -> asyncio.subprocess.Process:
        words = self._options.words()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=self._options.cwd or None,
                env={**_environment(), **self._options.env},
                limit=self._options.max_line,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise AgentTransportError(
                f"the agent's command {words[0]!r} does not start: {error}", advice="is it installed and on the PATH?"
            ) from error
        assert self._process.stderr is not None
        self._listening = asyncio.create_task(self._listen(self._process.stderr))
        self._ending = asyncio.create_task(_end_of(self._process))
        return self._process

    async def _listen(self, stream: asyncio.StreamReader) -> None:
        """Read standard error to its end, so that the agent never waits on it, and keep its last bytes."""
        while data := await stream.read(65536):
            self._errors += data
            del self._errors[:-KEPT]

    async def _converse(
        self, process: asyncio.subprocess.Process, session: Session, requests: set[asyncio.Task[None]]
    ) -> str | None:
        assert process.stdout is not None
        while True:
            message, where = await self._next(process.stdout, requests)
            if message.get("type") == "answer":
                answer = answer_in(message, "text", where)
                await _settle(requests)
                return answer
            if len(requests) >= OPEN_REQUESTS:
                await _settle(requests, asyncio.FIRST_COMPLETED)
            request = asyncio.create_task(self._serve(process, message, session, where))
            requests.add(request)

    async def _next(
        self, stream: asyncio.StreamReader, requests: set[asyncio.Task[None]]
    ) -> tuple[dict[str, Any], str]:
        """The next message; what a request in flight raises meanwhile is raised here.

        A child of the agent may hold the pipe open after the agent has ended, so its end is waited for as well.
        """
        assert self._ending is not None
        reading = asyncio.create_task(self._read(stream))
        try:
            while not reading.done():
                await asyncio.wait({reading, self._ending, *requests}, return_when=asyncio.FIRST_COMPLETED)
                for request in [each for each in requests if each.done()]:
                    requests.discard(request)
                    request.result()
                if self._ending.done():
                    await asyncio.wait({reading}, timeout=GRACE)
                    if not reading.done():
                        broken("the agent ended before its answer", "")
            return reading.result()
        finally:
            reading.cancel()
            await asyncio.wait({reading})

    async def _read(self, stream: asyncio.StreamReader) -> tuple[dict[str, Any], str]:
        while True:
            self._line += 1
            where = f"{self._name}, line {self._line} of its output"
            try:
                line = await stream.readline()
            except ValueError:
                broken(f"the line is longer than {self._options.max_line} bytes", where)
            if not line:
                raise AgentTransportError("the agent's output ended before its answer")
            if line.strip():
                return decode(line, where), where

    async def _serve(
        self, process: asyncio.subprocess.Process, message: Mapping[str, Any], session: Session, where: str
    ) -> None:
        result = await perform(message, session, where)
        if result is not None:
            # An agent may answer and end without reading its last results. One that ends without an answer is told
            # by the end of its output.
            with contextlib.suppress(AgentTransportError):
                await self._send(process, result)

    async def _send(self, process: asyncio.subprocess.Process, message: Mapping[str, Any]) -> None:
        assert process.stdin is not None
        line = encode(message, f"{self._name}, a message to it") + "\n"
        try:
            process.stdin.write(line.encode("ascii"))
            await process.stdin.drain()
        except (ConnectionError, RuntimeError) as error:
            raise AgentTransportError("the agent no longer reads its input") from error

    async def _explained(self, error: AgentTransportError) -> AgentTransportError:
        """The error with how the process ended and what it wrote to standard error."""
        process = self._process
        for waited in (self._ending, self._listening if process and process.returncode is not None else None):
            if waited is not None:
                await asyncio.wait({waited}, timeout=GRACE)
        code = process.returncode if process is not None else None
        ended = "" if code is None else f" (it ended with {_ended(code)})"
        said = self._errors.decode("utf-8", "replace").strip()
        shown = f"\nend of its standard error:\n{said[-2000:]}" if said else ""
        return AgentTransportError(f"{error.what}{ended}{shown}", where=error.where or self._name, advice=error.advice)

    async def close(self) -> None:
        """Close its input, give it a moment to end, and kill the whole process group; safe to call again."""
        self._closed = True
        process, ending, listening = self._process, self._ending, self._listening
        if process is None or ending is None or listening is None:
            return
        self._process = None
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait({ending}, timeout=GRACE)
        finally:
            # Children that outlive their leader are in its group.
            _kill_group(process)
            await asyncio.wait({ending}, timeout=GRACE)
            for task in (ending, listening):
                task.cancel()
            await asyncio.wait({ending, listening})
            transport = getattr(process, "_transport", None)
            if transport is not None:
                transport.close()  # a child outside the group may still hold the pipes
            await asyncio.sleep(0)


async def _settle(requests: set[asyncio.Task[None]], when: str = asyncio.ALL_COMPLETED) -> None:
    """Wait for requests in flight and raise what they raised."""
    if requests:
        done, _ = await asyncio.wait(requests, return_when=when)
        requests -= done
        for request in done:
            request.result()


async def _end_of(process: asyncio.subprocess.Process) -> None:
    """Return when the process has ended. `Process.wait` would also wait for pipes that a child of it holds open."""
    while process.returncode is None:  # noqa: ASYNC110 - asyncio has no event for it
        await asyncio.sleep(_LOOK)


def _kill_group(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:  # pragma: no cover - not POSIX: only the process itself can be reached
            process.kill()


def _ended(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


#: Variables by which somebody could write the ledger or sign it: the address of the store, the key of checkpoints.
_OURS = ("AGENTCHECK_STORE", "AGENTCHECK_SIGNING_KEY")


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _OURS}
