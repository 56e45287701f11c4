"""The engine: from cases to verdicts, with errors, limits and interruptions kept apart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import spine
from agentcheck.contracts import Session
from agentcheck.engine import Job
from agentcheck.errors import ActionDenied, AgentTransportError, JudgeError, StoreError, ToolError
from agentcheck.records import Case, Score, Task, Transcript, Turn
from agentcheck.transcript import fold


async def echo(task: Task, session: Session) -> str:
    """Answers with the prompt."""
    return task.prompt


def one(folder: Path, respond: Any, **tables: Any) -> tuple[Any, list[Any]]:
    """Run one case; its result and its events."""
    results, events = spine.run_cases(folder, spine.plan(folder, respond, spine.cases(1), **tables))
    return results["c0"], events


def test_each_case_is_run_once_and_decided(tmp_path: Path) -> None:
    """Every case gets one verdict; its events form one session that folds back into the transcript."""
    results, events = spine.run_cases(tmp_path, spine.plan(tmp_path, echo, spine.cases(40)), concurrency=8)
    assert {result.status for result in results.values()} == {"pass"}
    verdicts = [event.session for event in events if event.type == "verdict.reached"]
    assert sorted(verdicts) == sorted(f"s::c{index}#1" for index in range(40))
    transcript = fold(event for event in events if event.session == "s::c7#1")
    assert (transcript.case.prompt, transcript.answer, len(transcript.steps)) == ("p7", "p7", 1)


def test_cases_run_at_the_same_time_under_the_bound(tmp_path: Path) -> None:
    """As many trials are in flight as the bound says, and never more."""
    inside, most = 0, 0

    async def watched(task: Task, session: Session) -> str:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        for _ in range(5):
            await asyncio.sleep(0)
        inside -= 1
        return task.prompt

    spine.run_cases(tmp_path, spine.plan(tmp_path, watched, spine.cases(30)), concurrency=6)
    assert most == 6


def test_an_agent_that_raises_is_an_error_and_not_a_failure(tmp_path: Path) -> None:
    """What broke is told; nothing is scored."""

    async def broken(task: Task, session: Session) -> str:
        raise RuntimeError("out of cheese")

    result, events = one(tmp_path, broken)
    assert result.status == "error"
    assert "out of cheese" in result.reasons[0]
    assert not [event for event in events if event.type == "score.recorded"]


@pytest.mark.parametrize("error", [AgentTransportError("gone"), KeyError("wire")])
def test_a_broken_wire_is_an_error(tmp_path: Path, error: Exception) -> None:
    """Transport errors and crashes of the agent read the same: error."""

    async def broken(task: Task, session: Session) -> str:
        raise error

    assert one(tmp_path, broken)[0].status == "error"


def test_a_world_that_breaks_is_an_error_and_leaves_a_result(tmp_path: Path) -> None:
    """A world's crash ends the trial as error, and the action still has its result: no orphan is made up."""

    async def calls(task: Task, session: Session) -> str:
        await session.call_tool("broken")
        return task.prompt

    result, events = one(tmp_path, calls)
    assert result.status == "error"
    assert "the world broke in 'broken'" in result.reasons[0]
    assert [event.body["status"] for event in events if event.type == "action.finished"] == ["error"]


def test_a_tool_that_answers_with_an_error_is_the_agents_to_handle(tmp_path: Path) -> None:
    """A `ToolError` reaches the agent, which may go on."""

    async def copes(task: Task, session: Session) -> str:
        with pytest.raises(ToolError, match="it does not work"):
            await session.call_tool("fail")
        return task.prompt

    assert one(tmp_path, copes)[0].status == "pass"


def test_an_agent_that_stops_at_a_denial_is_scored_and_not_broken(tmp_path: Path) -> None:
    """A refusal that the agent does not catch ends its turn; that is behaviour."""

    async def stops(task: Task, session: Session) -> str:
        await session.call_tool("pay", amount=1)
        return task.prompt

    result, _ = one(tmp_path, stops, governance={"policy": {"policy": {"name": "p", "default": "deny"}}})
    assert result.status == "fail"


def test_a_time_limit_is_a_bound_the_agent_broke(tmp_path: Path) -> None:
    """A trial over its time limit fails, says so, and the agent is closed."""
    closed = spine.Agent.closed

    async def forever(task: Task, session: Session) -> str:
        await asyncio.Event().wait()
        return ""

    result, _ = one(tmp_path, forever, suite={"name": "s", "time_limit": 0.05})
    assert result.status == "fail"
    assert "the time limit of 0.05 s was reached" in result.reasons
    assert spine.Agent.closed == closed + 1


def test_an_effect_that_runs_when_time_is_over_leaves_a_result(tmp_path: Path) -> None:
    """An action stopped in the middle is recorded as cancelled, not as an orphan."""

    class Slow(spine.World):
        async def call(self, name: str, arguments: Any, *, key: str) -> Any:
            await asyncio.Event().wait()

    async def pays(task: Task, session: Session) -> str:
        await session.call_tool("pay", amount=1)
        return ""

    result, events = one(tmp_path, pays, world=Slow, suite={"name": "s", "time_limit": 0.05})
    assert result.status == "fail"
    assert [event.body["status"] for event in events if event.type == "action.finished"] == ["cancelled"]


def score_with(answer: Any) -> type:
    """A metric that gives, or raises, this."""

    class Metric:
        name = "odd"

        async def score(self, transcript: Transcript) -> Score:
            if isinstance(answer, Exception):
                raise answer
            return answer  # type: ignore[no-any-return]

    return Metric


@pytest.mark.parametrize(
    "answer",
    [
        JudgeError("no answer"),
        ZeroDivisionError("x"),
        Score("odd", float("nan")),
        Score("odd", float("inf")),
        Score("odd", None),
        Score("odd", None, "prose", "error"),
        None,
    ],
)
def test_a_broken_judge_is_an_error_and_never_a_low_value(tmp_path: Path, answer: Any) -> None:
    """A metric that raises, gives NaN, nothing or prose makes the verdict an error."""
    result, events = one(tmp_path, echo, metric=score_with(answer))
    assert result.status == "error"
    assert [event.body["status"] for event in events if event.type == "score.recorded"] == ["error"]


def test_a_result_is_what_the_ledger_holds(tmp_path: Path) -> None:
    """What a metric or an agent tells of a secret is a placeholder in the result too, which pytest shows."""
    told = Score("odd", 0.25, "password: hunter2", detail={"password": "hunter2"})
    table = [{"use": "test-metric", "threshold": 1.0}]
    result, events = one(tmp_path / "a", echo, metric=score_with(told), metrics=table)
    assert "hunter2" not in repr(result)
    assert "[redacted:secret:" in result.reasons[0]
    score = result.trials[0].scores[0]
    assert (score.value, score.threshold, score.passed) == (0.25, 1.0, False)
    assert [event.body["reason"] for event in events if event.type == "score.recorded"] == [score.reason]

    async def broken(task: Task, session: Session) -> str:
        raise RuntimeError("password: hunter2")

    result, _ = one(tmp_path / "b", broken)
    assert result.status == "error"
    assert "hunter2" not in repr(result)


def test_a_metric_that_cannot_measure_does_not_pass_the_case(tmp_path: Path) -> None:
    """Not measured is inconclusive."""
    assert one(tmp_path, echo, metric=score_with(Score("odd", None, "", "not_measured")))[0].status == "inconclusive"


def test_trials_are_repeated_and_one_failing_trial_fails_the_case(tmp_path: Path) -> None:
    """Each trial is a session of its own."""
    calls = 0

    async def flaky(task: Task, session: Session) -> str:
        nonlocal calls
        calls += 1
        return task.prompt if calls != 2 else "no"

    result, events = one(tmp_path, flaky, suite={"name": "s", "trials": 3})
    assert [trial.status for trial in result.trials].count("fail") == 1
    assert result.status == "fail"
    assert len({event.session for event in events if event.type == "case.started"}) == 3
    assert result.transcript is not None
    assert result.transcript.answer == "no"


def test_a_conversation_goes_on_until_the_user_has_no_more_to_say(tmp_path: Path) -> None:
    """The agent sees the messages so far; each answer is recorded under its turn."""
    seen: list[int] = []

    async def counts(task: Task, session: Session) -> str:
        seen.append(len(task.messages))
        return f"{task.turn}: {task.prompt}"

    case = Case(id="c0", prompt="one", turns=(Turn("two"), Turn("three")), answer="3: three")
    results, events = spine.run_cases(tmp_path, spine.plan(tmp_path, counts, [case]))
    assert results["c0"].status == "pass"
    assert seen == [1, 3, 5]
    assert fold(event for event in events if event.session).answers == ("1: one", "2: two", "3: three")


def test_after_enough_failures_nothing_starts_and_what_runs_is_aborted(tmp_path: Path) -> None:
    """With a bound of one failure, cases that wait are never begun, and running ones are recorded as aborted."""

    async def mixed(task: Task, session: Session) -> str:
        if task.prompt == "p0":
            return "wrong"
        await asyncio.Event().wait()
        return ""

    prepared = spine.plan(tmp_path, mixed, spine.cases(20))
    results, events = spine.run_cases(tmp_path, prepared, concurrency=4, max_failures=1)
    assert results["c0"].status == "fail"
    assert {result.status for case, result in results.items() if case != "c0"} == {"aborted"}
    begun = {event.session for event in events if event.type == "case.started"}
    aborted = {event.session for event in events if event.type == "case.aborted"}
    assert begun - aborted == {"s::c0#1"}
    assert len(begun) == 4


def test_an_abort_records_every_running_trial(tmp_path: Path) -> None:
    """Ctrl-C in the middle: running trials are recorded, and the stream is whole."""
    started = asyncio.Event()

    async def waits(task: Task, session: Session) -> str:
        started.set()
        await asyncio.Event().wait()
        return ""

    prepared = spine.plan(tmp_path, waits, spine.cases(5))
    with spine.engine(tmp_path) as (engine, run):
        engine.submit(Job(prepared, case) for case in prepared.cases)
        engine._fill()
        engine.loop.run_until_complete(started.wait())
        engine.abort("interrupted")
        assert engine.wait(("s", "c3")).status == "aborted"
    aborted = [event for event in run.events() if event.type == "case.aborted"]
    assert len(aborted) == 5


def test_a_store_that_fails_ends_the_run_and_never_a_case(tmp_path: Path) -> None:
    """No verdict is given out that the store did not take."""
    prepared = spine.plan(tmp_path, echo, spine.cases(3))

    def full(rows: Any) -> None:
        raise StoreError("disk full")

    with spine.engine(tmp_path) as (engine, _):
        engine._ledger._store.append = full  # type: ignore[method-assign]
        engine.submit(Job(prepared, case) for case in prepared.cases)
        with pytest.raises(StoreError, match="disk full"):
            engine.wait(("s", "c0"))


def test_what_an_agent_leaves_behind_cannot_act(tmp_path: Path) -> None:
    """A task that outlives its trial finds the door closed."""
    left: list[Session] = []

    async def leaves(task: Task, session: Session) -> str:
        left.append(session)
        return task.prompt

    prepared = spine.plan(tmp_path, leaves, spine.cases(1))
    with spine.engine(tmp_path) as (engine, _):
        engine.submit(Job(prepared, case) for case in prepared.cases)
        engine.wait(("s", "c0"))
        with pytest.raises(Exception, match="is over"):
            engine.loop.run_until_complete(left[0].act("tool_call", "pay", {"amount": 1}))


def test_the_witness_is_recorded_so_that_completeness_can_be_counted_again(tmp_path: Path) -> None:
    """The world's own log is a fact in the ledger."""

    async def pays(task: Task, session: Session) -> str:
        await session.call_tool("pay", amount=3)
        with pytest.raises(ActionDenied):
            await session.call_tool("unknown")
        return task.prompt

    _, events = one(tmp_path, pays)
    transcript = fold(event for event in events if event.session)
    assert transcript.effects is not None
    assert [(effect.name, effect.arguments) for effect in transcript.effects] == [("pay", {"amount": 3})]
    paid = next(step for step in transcript.steps if step.name == "pay")
    assert transcript.effects[0].key == paid.key
