"""The Protocols that plugins and rooms implement; each has a conformance kit in ``tests/kits``.

Nothing here is imported at run time by the things that implement it; structural typing is enough. All calls that
may wait are coroutines; synchronous agents and tools are wrapped where they enter (`agentcheck.agents.callable`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from agentcheck.records import (
    Action,
    ActionKind,
    Case,
    Decision,
    Effect,
    ModelReply,
    Result,
    Score,
    Step,
    Task,
    ToolSpec,
    Transcript,
)

Perform = Callable[[Action], Awaitable[Any]]


class Session(Protocol):
    """The one door: how an agent reaches tools, model and user. Every call is decided and recorded before it acts."""

    @property
    def tools(self) -> Sequence[ToolSpec]:
        """The tools of the world that this agent may ask for."""
        ...

    async def act(
        self,
        kind: ActionKind,
        name: str,
        arguments: Mapping[str, Any],
        *,
        reasoning: str = "",
        perform: Perform | None = None,
        cause: str = "",
    ) -> Result:
        """Ask for one action; a refusal is a `Result`, not an exception.

        ``perform`` carries the action out in place of the world (an agent's own function under governance).
        """
        ...

    async def call_tool(self, name: str, /, **arguments: Any) -> Any:
        """Call a tool and return its output.

        Raises:
            ActionDenied: a control denied it (`ActionHeld`: it needed an approval it did not get).
            ToolError: the tool answered with an error.
        """
        ...

    async def call_model(self, messages: Sequence[Mapping[str, Any]], **parameters: Any) -> ModelReply:
        """Ask the model of the suite; raises as `call_tool` does."""
        ...

    async def say(self, text: str) -> Result:
        """Send a message to the user before the final answer (which the harness sends the same way)."""
        ...

    def think(self, text: str) -> None:
        """Record stated reasoning; optional, shown in the timeline, redacted like everything else."""
        ...


@runtime_checkable
class Agent(Protocol):
    """The thing under test. One instance serves one trial; `respond` is called once per turn."""

    async def respond(self, task: Task, session: Session) -> str | None:
        """Answer one turn; ``None`` = no answer. Raises `AgentTransportError` where the wire to it broke."""
        ...

    async def close(self) -> None:
        """Release what the agent holds (processes, connections), whatever happened before."""
        ...


#: ``(options, case) -> Agent``; called once per trial. ``options`` come from the suite's ``[agent]`` table. A factory
#: may have ``check(options)``, which is called once when the suite is collected and raises a `UserError`.
AgentFactory = Callable[[Mapping[str, Any], Case], Agent]


@runtime_checkable
class World(Protocol):
    """The tools and state an agent acts on, with a log of its own effects (the witness)."""

    def tools(self) -> Sequence[ToolSpec]:
        """The tools it offers."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str) -> Any:
        """Carry out one tool call and return a JSON value.

        ``key`` is the action's idempotency key; an effect logs it. Raises `ToolError` for an error the agent sees.
        """
        ...

    def effects(self) -> Sequence[Effect] | None:
        """What the world itself logged, in order; ``None`` where it keeps no log of its own (not measured)."""
        ...

    async def close(self) -> None:
        """Release what the world holds."""
        ...


#: ``(options, case, scratch) -> World``; one per trial. ``scratch`` is a folder of its own, made on first use. A
#: factory whose tools do not depend on the case may have ``known_tools(options)``: the names that the suite and
#: its policy give to tools are then checked against them when the suite is collected.
WorldFactory = Callable[[Mapping[str, Any], Case, Path], World]


class Model(Protocol):
    """The model behind `Session.call_model`: a provider, a recording, or a script."""

    name: str

    async def complete(self, arguments: Mapping[str, Any]) -> ModelReply:
        """Answer ``{"messages": [...], "tools": [...], ...}``; raises `AgentTransportError` when it cannot."""
        ...


#: ``(options, case) -> Model``
ModelFactory = Callable[[Mapping[str, Any], Case], Model]


class User(Protocol):
    """Who talks to the agent: scripted, or simulated by a model."""

    async def next(self, answers: Sequence[str]) -> str | None:
        """The next thing the user says, given the agent's answers so far; ``None`` ends the conversation."""
        ...


#: ``(options, case) -> User``
UserFactory = Callable[[Mapping[str, Any], Case], User]


class Metric(Protocol):
    """A measure of one trial. Reads the transcript only, so a score can be recomputed from the ledger."""

    name: str

    async def score(self, transcript: Transcript) -> Score:
        """Measure. A judge that breaks gives ``Score(status="error")`` or raises `JudgeError`, never a low value."""
        ...


#: ``(options) -> Metric``; ``options`` are the keys of the ``[[metrics]]`` table besides ``use`` and ``threshold``.
MetricFactory = Callable[[Mapping[str, Any]], Metric]


class State(Protocol):
    """What controls may know of the session so far: the fold of its events (`agentcheck.governance.state`)."""

    @property
    def steps(self) -> Sequence[Step]:
        """Finished and refused actions, oldest first."""
        ...

    @property
    def prompts(self) -> Sequence[str]:
        """What the user said so far."""
        ...


class Control(Protocol):
    """One rule of the runtime with a stable id. Pure: no I/O, no clock, no randomness."""

    id: str

    def decide(self, action: Action, state: Any, now: int) -> Decision | None:
        """Decide, or ``None`` for no opinion. May deny or hold; can never lift another control's denial.

        ``now`` is in microseconds since the Unix epoch. A control that raises denies.
        """
        ...


#: ``(options) -> Control``; ``options`` come from the suite's ``[[controls]]`` table.
ControlFactory = Callable[[Mapping[str, Any]], Control]


class Row(NamedTuple):
    """One stored event: the canonical bytes exactly as they were hashed, and the chain value after it (32 bytes).

    The payload of a withheld event is ``0x00`` and the 32 bytes of its leaf hash (`agentcheck.ledger.chain`).
    """

    stream: str
    seq: int
    payload: bytes
    chain: bytes


class Store(Protocol):
    """Where rows live. Drivers are native and share no base class; the kit in ``tests/kits/store.py`` runs on each."""

    def append(self, rows: Sequence[Row]) -> None:
        """Store rows in one atomic, durable step; returns only once they are on disk.

        Raises:
            StoreError: nothing of this call was stored (locked, full, a gap or a repeated sequence number); where
                the connection broke during the commit, nobody can know, and the error says so.
        """
        ...

    def read(self, stream: str, start: int = 1) -> Iterator[Row]:
        """Rows of a stream from ``start`` in order, as they are stored, without checking them."""
        ...

    def streams(self) -> Sequence[str]:
        """Names of all streams."""
        ...

    def head(self, stream: str) -> tuple[int, bytes] | None:
        """Last sequence number and chain value of a stream; ``None`` where it has no rows."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...


class RunStore(Protocol):
    """Where the streams of one run live: what opens a `Store` for one of them."""

    def streams(self) -> Sequence[str]:
        """Names of the run's streams, in no particular order; one without events may be missing."""
        ...

    def writing(self, stream: str) -> Store:
        """A store to append a stream to. A stream has one writer: a second one is refused, here or at its append.

        Raises:
            StoreError: the storage cannot be reached or written, or another process writes the stream.
        """
        ...

    def reading(self, stream: str) -> Store:
        """A store to read a stream from, also beside its writer and after a writer that was killed.

        Raises:
            StoreError: the storage cannot be reached, or is no ledger.
        """
        ...

    def writer(self) -> str:
        """Who writes a stream of the run at this moment, for a message (``"process 4711"``); ``""`` where nobody."""
        ...

    def source(self) -> Any:
        """What ``agentcheck verify`` reads the run from (`agentcheck.ledger.verify.Source`), in other processes too.

        It can be pickled. ``None`` where the streams are files of the run's folder, which the verifier reads itself.
        """
        ...

    def ready_to_withhold(self, stream: str) -> None:
        """Make sure that `withhold` is not refused for want of a right; nothing is changed.

        Asked before a tombstone is recorded, so that none names what nobody could take away.

        Raises:
            StoreError: it would be, or the storage cannot be reached.
        """
        ...

    def withhold(self, stream: str, payloads: Mapping[int, bytes]) -> None:
        """Put what is given (see `Row`) in place of the payloads of these sequence numbers, all of them or none.

        The one change that a stored event can suffer. It is made through a door of its own (a role of the database,
        a new file that takes the place of the old one), never by the store that appends.

        Raises:
            StoreError: the stream has a writer, a number is not there, or the storage refuses.
        """
        ...


#: ``(url, run id, run's folder) -> RunStore``, by the scheme of ``AGENTCHECK_STORE``. The folder is the place for
#: files that a driver needs; it need not be there yet.
RunStoreFactory = Callable[[str, str, Path], RunStore]


class Anchor(Protocol):
    """A place outside the ledger where signed checkpoints are kept: a folder, Git notes, a witness."""

    def publish(self, note: str, proof: Callable[[int], Sequence[bytes]]) -> str:
        """Keep a checkpoint (C2SP signed note) and return it, with the cosignatures that the place added to it.

        ``proof(old)`` gives the consistency proof (RFC 9162, section 2.1.4) from the first ``old`` events to it.

        Raises:
            AnchorError: it could not be kept; the message says where and why.
        """
        ...

    def notes(self, run: str) -> Sequence[str]:
        """The checkpoints of a run that are kept there, oldest first; none where the place keeps nothing to read.

        Raises:
            AnchorError: the place cannot be read.
        """
        ...


#: ``(address, project's root) -> Anchor``, by the scheme of an address in ``[tool.agentcheck.checkpoints] publish``.
#: Raises a `UserError` where the address cannot be used; it is made before any case runs.
AnchorFactory = Callable[[str, Path], Anchor]


class Loaded(NamedTuple):
    """What a dataset reader gives: the cases, and each record that could not be read, as ``file:record: why``."""

    cases: Sequence[Case]
    skipped: Sequence[str]


class DatasetReader(Protocol):
    """Reads one format of dataset, recording or trace file."""

    def __call__(self, path: Path, options: Mapping[str, Any]) -> Loaded:
        """Read a file. Bad records are skipped and named; raises `DatasetError` where nothing can be read."""
        ...


class Reporter(Protocol):
    """Turns a finished run into a file. Gets records, never a store."""

    def __call__(self, report: Any, directory: Path) -> Iterable[Path]:
        """Write files into ``directory`` and return their paths."""
        ...
