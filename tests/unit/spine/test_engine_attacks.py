"""Code under test that does not play by the rules: it ends as one case's verdict, and never as the run's silence."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

import spine
from agentcheck import engine as engine_module
from agentcheck.contracts import Session
from agentcheck.engine import Job
from agentcheck.errors import HarnessError
from agentcheck.records import Case, Score, Task, Transcript


async def echo(task: Task, session: Session) -> str:
    """Answers with the prompt."""
    return task.prompt


def second_of_three(folder: Path, respond: Any = echo, **tables: Any) -> tuple[Any, list[Any]]:
    """Run three cases; the result of the second and all events. The others must pass."""
    results, events = spine.run_cases(folder, spine.plan(folder, respond, spine.cases(3), **tables), concurrency=1)
    assert [results["c0"].status, results["c2"].status] == ["pass", "pass"]
    return results["c1"], events


ENDS = (SystemExit(0), pytest.fail.Exception("no"), asyncio.CancelledError(), StopAsyncIteration())


@pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)
def test_an_agent_that_ends_the_process_is_one_error(tmp_path: Path, end: BaseException) -> None:
    """sys.exit(), pytest.fail() or a cancellation of its own in an agent: an error of its case; the others run on."""

    async def ends(task: Task, session: Session) -> str:
        if task.prompt == "p1":
            raise end
        return task.prompt

    result, events = second_of_three(tmp_path, ends)
    assert result.status == "error"
    assert "AgentError" in result.reasons[0]
    assert not [event for event in events if event.type == "case.aborted"]


@pytest.mark.parametrize("place", ["made", "tools", "call", "effects", "close"])
def test_a_world_that_ends_the_process_is_one_error(tmp_path: Path, place: str) -> None:
    """sys.exit() wherever a world is asked: an error of its case; the others run on."""
    made = 0

    class Exits(spine.World):
        def __init__(self) -> None:
            nonlocal made
            made += 1
            self.here = place if made == 2 else ""
            super().__init__()
            self._exit("made")

        def _exit(self, here: str) -> None:
            if here == self.here:
                sys.exit(0)

        def tools(self) -> Any:
            self._exit("tools")
            return super().tools()

        async def call(self, name: str, arguments: Any, *, key: str) -> Any:
            self._exit("call")
            return await super().call(name, arguments, key=key)

        def effects(self) -> Any:
            self._exit("effects")
            return super().effects()

        async def close(self) -> None:
            self._exit("close")

    async def pays(task: Task, session: Session) -> str:
        await session.call_tool("pay", amount=1)
        return task.prompt

    result, _ = second_of_three(tmp_path, pays, world=Exits)
    assert result.status == "error"
    assert "SystemExit" in result.reasons[0]


def test_a_metric_that_ends_the_process_is_a_broken_judge(tmp_path: Path) -> None:
    """sys.exit() in a metric is an error of the case."""

    class Exits(spine.Answered):
        async def score(self, transcript: Transcript) -> Score:
            if transcript.case.id == "c1":
                sys.exit(0)
            return await super().score(transcript)

    result, _ = second_of_three(tmp_path, metric=Exits)
    assert result.status == "error"


def test_an_exit_in_a_task_of_the_agents_own_breaks_the_run_and_says_so(tmp_path: Path) -> None:
    """It cannot be told whose it is: the run stops as broken, not as ended."""

    async def leaves(task: Task, session: Session) -> str:
        async def exits() -> None:
            sys.exit(0)

        asyncio.get_running_loop().create_task(exits())
        await asyncio.Event().wait()
        return ""

    prepared = spine.plan(tmp_path, leaves, spine.cases(1))
    with spine.engine(tmp_path) as (engine, _):
        engine.submit(Job(prepared, case) for case in prepared.cases)
        with pytest.raises(HarnessError, match="SystemExit"):
            engine.wait(("s", "c0"))


def test_an_agent_that_ignores_its_time_limit_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swallowing the cancellation does not keep the run waiting: the case fails, the next ones run."""
    monkeypatch.setattr(engine_module, "GRACE", 0.01)
    late: list[str] = []

    async def stays(task: Task, session: Session) -> str:
        while task.prompt == "p1":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                late.append("swallowed")
        return task.prompt

    result, events = second_of_three(tmp_path, stays, suite={"name": "s", "time_limit": 0.05})
    assert late == ["swallowed"]
    assert result.status == "fail"
    assert result.reasons[0].startswith("the time limit of 0.05 s was reached and the trial did not stop")
    assert [event.type for event in events if event.session == "s::c1#1"].count("verdict.reached") == 1


def test_an_abort_does_not_wait_for_who_ignores_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption ends, and records as aborted, a trial that swallows its cancellation."""
    monkeypatch.setattr(engine_module, "GRACE", 0.01)
    monkeypatch.setattr(engine_module, "CLOSING", 0.01)

    async def stays(task: Task, session: Session) -> str:
        while task.prompt == "p1":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return task.prompt

    prepared = spine.plan(tmp_path, stays, spine.cases(2))
    with spine.engine(tmp_path) as (engine, run):
        engine.submit(Job(prepared, case) for case in prepared.cases)
        engine.wait(("s", "c0"))
        engine.abort("interrupted")
        assert engine.wait(("s", "c1")).status == "aborted"
    assert [event.session for event in run.events() if event.type == "case.aborted"] == ["s::c1#1"]


@pytest.mark.parametrize("what", ["agent", "world"])
def test_closing_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """An agent or world that never finishes closing is an error of its case."""
    monkeypatch.setattr(engine_module, "CLOSING", 0.01)

    class Hangs(spine.World):
        async def close(self) -> None:
            await asyncio.Event().wait()

    class Stays(spine.Agent):
        async def close(self) -> None:
            await asyncio.Event().wait()

    prepared = spine.plan(tmp_path, echo, spine.cases(1), world=Hangs if what == "world" else spine.World)
    if what == "agent":
        prepared = dataclasses.replace(prepared, make_agent=lambda options, case: Stays(echo))
    results, _ = spine.run_cases(tmp_path, prepared)
    assert results["c0"].status == "error"
    assert f"the {what} could not be closed" in results["c0"].reasons[0]


def test_a_metric_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that never answers is a broken judge."""
    monkeypatch.setattr(engine_module, "SCORING", 0.01)

    class Never(spine.Answered):
        async def score(self, transcript: Transcript) -> Score:
            await asyncio.Event().wait()
            return await super().score(transcript)

    prepared = spine.plan(tmp_path, echo, spine.cases(1), metric=Never, suite={"name": "s", "time_limit": 0.05})
    results, _ = spine.run_cases(tmp_path, prepared)
    assert results["c0"].status == "error"
    assert "longer than 0.05 s" in results["c0"].reasons[0]


def test_nothing_acts_after_the_verdict(tmp_path: Path) -> None:
    """What an agent's stray tasks have under way when it answers is stopped, and recorded before the witness."""

    class Slow(spine.World):
        called = asyncio.Event()

        async def call(self, name: str, arguments: Any, *, key: str) -> Any:
            Slow.called.set()
            await asyncio.Event().wait()

    async def strays(task: Task, session: Session) -> str:
        loop = asyncio.get_running_loop()
        left.append(loop.create_task(session.call_tool("pay", amount=1)))
        await Slow.called.wait()
        left.append(loop.create_task(session.call_tool("pay", amount=2)))
        return task.prompt

    left: list[Any] = []

    _, events = spine.run_cases(tmp_path, spine.plan(tmp_path, strays, spine.cases(1), world=Slow))
    types = [event.type for event in events if event.session]
    assert types[-1] == "verdict.reached"
    decided = [event.body["action"] for event in events if event.type == "action.decided"]
    assert sorted(decided) == sorted(event.body["action"] for event in events if event.type == "action.finished")
    witness = types.index("fact.observed")
    assert "action.finished" not in types[witness:]


def test_an_agent_is_handed_the_calls_and_not_the_record(tmp_path: Path) -> None:
    """What an agent gets cannot write events by itself."""

    async def forges(task: Task, session: Session) -> str:
        session.note("verdict.reached", {})  # type: ignore[attr-defined]
        return task.prompt

    results, _ = spine.run_cases(tmp_path, spine.plan(tmp_path, forges, spine.cases(1)))
    assert results["c0"].status == "error"


def test_trials_do_not_share_a_cases_state(tmp_path: Path) -> None:
    """A world that takes the case's state for its own changes it for its own trial only."""
    seen: list[int] = []

    def make(options: Any, case: Case, scratch: Path) -> spine.World:
        seen.append(len(case.state["rows"]))
        case.state["rows"].append("mine")
        return spine.World()

    case = Case(id="c0", prompt="p0", answer="p0", state={"rows": []})
    prepared = spine.plan(tmp_path, echo, [case], suite={"name": "s", "trials": 3})
    spine.run_cases(tmp_path, dataclasses.replace(prepared, make_world=make))
    assert seen == [0, 0, 0]
