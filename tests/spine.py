"""Builds runs of one suite with agents and worlds that a test brings, on a real ledger."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentcheck import hookimpl, plugins
from agentcheck.collection import Plan, prepare
from agentcheck.contracts import Loaded, Session
from agentcheck.engine import CaseResult, Engine, Job
from agentcheck.errors import ToolError
from agentcheck.events import Event
from agentcheck.records import Case, Effect, Score, Task, ToolSpec, Transcript
from agentcheck.runs import RunFolder
from agentcheck.suites import Suite, SuiteFile

Respond = Callable[[Task, Session], Any]


class Agent:
    """An agent from one coroutine function; remembers that it was closed."""

    closed = 0

    def __init__(self, respond: Respond) -> None:
        self._respond = respond

    async def respond(self, task: Task, session: Session) -> str | None:
        """Answer as told."""
        return await self._respond(task, session)  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Count."""
        Agent.closed += 1


class World:
    """Tools `read` and `pay`; `pay` is an effect that it logs; `fail` answers with an error; `broken` breaks."""

    def __init__(self) -> None:
        self.log: list[Effect] = []

    def tools(self) -> Sequence[ToolSpec]:
        """The tools."""
        return (ToolSpec("read"), ToolSpec("pay", effect=True), ToolSpec("fail"), ToolSpec("broken"))

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str) -> Any:
        """Carry out."""
        if name == "fail":
            raise ToolError("it does not work")
        if name == "broken":
            raise KeyError("wire")
        if name == "pay":
            self.log.append(Effect(key, name, dict(arguments)))
        return {"ok": True, **arguments}

    def effects(self) -> Sequence[Effect] | None:
        """The log."""
        return self.log

    async def close(self) -> None:
        """Nothing."""


class Answered:
    """A metric: 1 where the answer is the expected one."""

    name = "answered"

    async def score(self, transcript: Transcript) -> Score:
        """Compare."""
        return Score(self.name, float(transcript.answer == transcript.case.answer), "the answer differs")


def suite(folder: Path, metric: Any = Answered, **tables: Any) -> Suite:
    """A suite of the tests, with these tables in place of the defaults."""
    table: dict[str, Any] = {
        "suite": {"name": "s", "time_limit": 20},
        "dataset": {"path": "-"},
        "agent": {"use": "test-agent"},
        "world": {"use": "test-world"},
        "governance": {"policy": {"policy": {"name": "p", "default": "allow"}}},
        "metrics": [{"use": "test-metric", "threshold": 1.0}],
    }
    return Suite(folder / "s.toml", "s", "0" * 64, SuiteFile.model_validate({**table, **tables}))


def plan(
    folder: Path, respond: Respond, cases: Sequence[Case], *, metric: Any = Answered, world: Any = World, **tables: Any
) -> Plan:
    """A plan whose agent is the given coroutine function."""
    module = types.ModuleType("tests-plugin")
    found = {
        "agentcheck_agents": {"test-agent": lambda options, case: Agent(respond)},
        "agentcheck_worlds": {"test-world": lambda options, case, scratch: world()},
        "agentcheck_metrics": {"test-metric": lambda options: metric()},
        "agentcheck_datasets": {"test-data": lambda path, options: Loaded((), ())},
    }
    for name, names in found.items():
        hook = types.FunctionType((lambda names=names: names).__code__, globals(), name, (names,))
        setattr(module, name, hookimpl(_without_arguments(hook, name)))
    return prepare(suite(folder, **tables), plugins.load([module], entry_points=False), cases)


def _without_arguments(hook: Callable[[], Any], name: str) -> Callable[[], Any]:
    def call() -> Any:
        return hook()

    call.__name__ = name
    return call


@contextmanager
def engine(folder: Path, **options: Any) -> Iterator[tuple[Engine, RunFolder]]:
    """An engine that writes the stream `main` of a run in ``folder``."""
    run = RunFolder(folder / "20260101-000000-0000")
    run.create()
    with run.writing("main") as ledger:
        ledger.record("run.note", {"level": "info", "text": "test"})
        found = Engine(ledger, run.scratch, **options)
        try:
            yield found, run
        finally:
            found.close()


def run_cases(folder: Path, prepared: Plan, **options: Any) -> tuple[dict[str, CaseResult], list[Event]]:
    """Run all cases of a plan; their results by case, and the events that were stored."""
    with engine(folder, **options) as (found, run):
        found.submit(Job(prepared, case) for case in prepared.cases)
        results = {case.id: found.wait((prepared.suite.name, case.id)) for case in prepared.cases}
    return results, list(run.events())


def cases(number: int) -> list[Case]:
    """Cases whose expected answer is their prompt."""
    return [Case(id=f"c{index}", prompt=f"p{index}", answer=f"p{index}") for index in range(number)]
