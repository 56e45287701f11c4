"""The door: intent before effect, what is decided is what is done, refusals are data."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import spine
from agentcheck.contracts import Row, Session
from agentcheck.engine import Engine, Job, open_door
from agentcheck.errors import ActionHeld, HarnessError, StoreError, ToolError
from agentcheck.events import Event
from agentcheck.records import Action, Case, Task
from agentcheck.runs import RunFolder
from agentcheck.session import Door
from agentcheck.storage.sqlite import SqliteStore
from agentcheck.transcript import fold

DENY_PAY = {
    "policy": {
        "policy": {"name": "p", "default": "allow"},
        "rule": [{"id": "no-pay", "effect": "deny", "reason": "secret reason", "when": {"tool": "pay"}}],
    }
}


def steps(folder: Path, respond: Any, **tables: Any) -> tuple[Any, ...]:
    """Run one case and give its steps; the agent's own assertions count."""
    results, events = spine.run_cases(folder, spine.plan(folder, respond, spine.cases(1), **tables))
    assert results["c0"].status in ("pass", "fail"), results["c0"].reasons
    return fold(event for event in events if event.session).steps


def test_intent_is_on_disk_before_the_effect(tmp_path: Path) -> None:
    """When the world is called, request and decision of that very action can be read from the disk."""
    seen: list[list[str]] = []

    class Looking(spine.World):
        async def call(self, name: str, arguments: Any, *, key: str) -> Any:
            store = SqliteStore(tmp_path / "20260101-000000-0000" / "ledger.db", read_only=True)
            rows: list[Row] = list(store.read("main"))
            store.close()
            seen.append([row.payload.decode() for row in rows])
            return await super().call(name, arguments, key=key)

    async def pays(task: Task, session: Session) -> str:
        await session.call_tool("pay", amount=7)
        return task.prompt

    steps(tmp_path, pays, world=Looking)
    stored = "\n".join(seen[0])
    assert '"type":"action.requested"' in stored
    assert '"type":"action.decided"' in stored
    assert '{\\"amount\\":7}' in stored


def test_what_is_decided_is_what_is_done(tmp_path: Path) -> None:
    """Arguments that the agent changes after asking do not reach the world."""
    paid: list[Any] = []

    class Keeping(spine.World):
        async def call(self, name: str, arguments: Any, *, key: str) -> Any:
            paid.append(dict(arguments))
            return None

    async def sly(task: Task, session: Session) -> str:
        arguments: dict[str, Any] = {"amount": 1, "to": ["a"]}
        waiting = session.act("tool_call", "pay", arguments)
        pending = asyncio.ensure_future(waiting)
        await asyncio.sleep(0)
        arguments["amount"] = 10**6
        arguments["to"].append("b")
        await pending
        return task.prompt

    steps(tmp_path, sly, world=Keeping)
    assert paid == [{"amount": 1, "to": ["a"]}]


def test_a_denied_action_never_reaches_the_world_and_the_reason_stays_inside(tmp_path: Path) -> None:
    """The agent learns which control refused, not the rule's own words; the ledger holds both."""

    async def tries(task: Task, session: Session) -> str:
        result = await session.act("tool_call", "pay", {"amount": 1})
        assert (result.status, result.ok) == ("denied", False)
        assert "secret reason" not in result.error
        return task.prompt

    found = steps(tmp_path, tries, governance=DENY_PAY)
    assert (found[0].status, found[0].rule, found[0].reason) == ("denied", "no-pay", "secret reason")
    assert not found[0].carried_out


@pytest.mark.parametrize(
    ("votes", "status", "approved"),
    [
        ([{"voter": "ann", "vote": "approve"}], "done", True),
        ([{"voter": "ann", "vote": "deny"}], "held", False),
        ([{"voter": "ann", "vote": "none"}], "held", False),
        ([], "held", False),
    ],
)
def test_a_held_action_runs_only_when_approved(tmp_path: Path, votes: Any, status: str, approved: bool) -> None:
    """At level 3 one approval lets it run; a denial, silence and nobody to ask do not."""

    async def asks(task: Task, session: Session) -> str:
        if approved:
            await session.call_tool("pay", amount=1)
        else:
            with pytest.raises(ActionHeld):
                await session.call_tool("pay", amount=1)
        return task.prompt

    policy = {"policy": {"policy": {"name": "p", "default": "allow"}}, "levels": {"pay": 3}, "votes": votes}
    step = steps(tmp_path, asks, governance=policy)[0]
    assert (step.outcome, step.status, step.approved, step.level) == ("hold", status, approved, 3)


def test_a_function_of_the_callers_own_is_governed_too(tmp_path: Path) -> None:
    """`perform` carries an allowed action out, its error is an answer, and a denied one never runs."""
    ran: list[str] = []

    async def mine(action: Action) -> Any:
        ran.append(action.name)
        if action.name == "fail":
            raise ValueError("no")
        return 5

    async def acts(task: Task, session: Session) -> str:
        assert (await session.act("tool_call", "read", {}, perform=mine)).output == 5
        failed = await session.act("tool_call", "fail", {}, perform=mine)
        assert (failed.status, failed.error) == ("error", "ValueError: no")
        assert (await session.act("tool_call", "pay", {}, perform=mine)).status == "denied"
        return task.prompt

    steps(tmp_path, acts, governance=DENY_PAY)
    assert ran == ["read", "fail"]


def test_secrets_do_not_reach_the_ledger_while_the_world_gets_them(tmp_path: Path) -> None:
    """What is stored is redacted; what is done is not."""
    got: list[Any] = []

    class Keeping(spine.World):
        async def call(self, name: str, arguments: Any, *, key: str) -> Any:
            got.append(arguments["to"])
            return {"mail": "carla@example.org"}

    async def pays(task: Task, session: Session) -> str:
        session.think("I use 123-45-6789 here")
        await session.call_tool("pay", to="bob@example.org")
        return task.prompt

    steps(tmp_path, pays, world=Keeping)
    assert got == ["bob@example.org"]
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("ledger*"))
    for secret in (b"bob@example.org", b"carla@example.org", b"123-45-6789"):
        assert secret not in stored


def test_hostile_text_does_not_break_the_record(tmp_path: Path) -> None:
    """Lone surrogates, control characters and huge integers in arguments and answers are stored and read back."""

    async def hostile(task: Task, session: Session) -> str:
        await session.act("tool_call", "pay", {"amount": 10**30, "x": "\ud800\x00\x1b[31m", "ключ": 0.1})
        return "\udfff\x1b]0;title\x07" + task.prompt

    found = steps(tmp_path, hostile)
    assert found[0].arguments["amount"] == 10**30
    assert "title" in found[1].arguments["text"]


class Gate:
    """Holds a store's writing back, from `close` until `open`: what waits for the disk waits so long."""

    def __init__(self, engine: Engine) -> None:
        store = engine._ledger._store
        self._free = threading.Event()
        self._free.set()
        append = store.append

        def gated(rows: Any) -> Any:
            assert self._free.wait(30), "the test never opened the gate"
            return append(rows)

        store.append = gated  # type: ignore[method-assign]
        self.close, self.open = self._free.clear, self._free.set


@contextmanager
def opened(folder: Path, world: Any = spine.World, **tables: Any) -> Iterator[tuple[Door, Engine, RunFolder]]:
    """The open session of one trial that no agent runs in."""
    prepared = spine.plan(folder, nobody, spine.cases(1), world=world, **tables)
    with spine.engine(folder) as (engine, run):
        yield open_door(Job(prepared, prepared.cases[0]), 1, engine._ledger, world(), None, lambda: 10**6), engine, run


async def nobody(task: Task, session: Session) -> str:
    """Never asked."""
    raise AssertionError


async def until_asked(door: Door, waiting: asyncio.Task[Any]) -> None:
    """Let a task run until it waits for its action's record to be on disk."""
    while not any(event.type == "action.decided" for event in door.events):
        assert not waiting.done()
        await asyncio.sleep(0)


def finished(events: Iterable[Event]) -> list[tuple[str, str]]:
    """Status and error of each action that was recorded as finished."""
    return [(event.body["status"], event.body["error"]) for event in events if event.type == "action.finished"]


@pytest.mark.parametrize(("tool", "noted"), [("read", [("cancelled", "stopped before it ran")]), ("pay", [])])
def test_an_action_stopped_before_its_record_is_on_disk_never_runs(tmp_path: Path, tool: str, noted: Any) -> None:
    """What was allowed is recorded as stopped, so that it is no orphan; what was denied needs no such note."""

    class Untouched(spine.World):
        async def call(self, name: str, arguments: Any, *, key: str) -> Any:
            raise AssertionError(name)

    with opened(tmp_path, Untouched, governance=DENY_PAY) as (door, engine, run):
        gate = Gate(engine)

        async def stop() -> None:
            gate.close()
            waiting = asyncio.ensure_future(door.act("tool_call", tool, {}))
            await until_asked(door, waiting)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            gate.open()

        engine.loop.run_until_complete(stop())
    assert finished(run.events()) == noted


def test_an_action_whose_session_ended_while_it_waited_never_runs(tmp_path: Path) -> None:
    """A session that closes between the decision and the effect stops the effect, and the record says so."""
    with opened(tmp_path) as (door, engine, run):
        gate = Gate(engine)

        async def close() -> None:
            gate.close()
            waiting = asyncio.ensure_future(door.act("tool_call", "pay", {"amount": 1}))
            await until_asked(door, waiting)
            door.close()
            gate.open()
            with pytest.raises(HarnessError, match="is over; tool_call 'pay' was not carried out"):
                await waiting

        engine.loop.run_until_complete(close())
        assert door._world.effects() == []
    assert finished(run.events()) == [("cancelled", "stopped before it ran")]


def test_a_session_that_is_over_records_nothing_more(tmp_path: Path) -> None:
    """Neither an action nor a thought enters the record after the end, with or without a word of reasoning."""
    with opened(tmp_path) as (door, engine, _):
        engine.loop.run_until_complete(door.end())
        before = list(door.events)
        for reasoning in ("", "because"):
            with pytest.raises(HarnessError, match="is over; tool_call 'read' was not asked"):
                engine.loop.run_until_complete(door.act("tool_call", "read", {}, reasoning=reasoning))
        with pytest.raises(HarnessError, match="is over"):
            door.think("too late")
        assert door.events == before


def test_reasoning_cause_and_principal_stand_with_the_request(tmp_path: Path) -> None:
    """Why an action was asked, what it follows from and on whose behalf are in the ledger, the reasoning before it."""

    async def explains(task: Task, session: Session) -> str:
        await session.act("tool_call", "read", {}, reasoning="I must know", cause="a0")
        await session.act("tool_call", "read", {})
        return task.prompt

    case = Case(id="c0", prompt="p0", answer="p0", principal={"user": "u1", "role": "clerk"})
    _, events = spine.run_cases(tmp_path, spine.plan(tmp_path, explains, [case]))
    told = [event for event in events if event.type in ("agent.reasoning", "action.requested")]
    assert [event.type for event in told] == ["agent.reasoning", *["action.requested"] * 3]
    assert [event.body["name"] for event in told[1:]] == ["read", "read", "answer"]
    assert told[0].body["text"] == "I must know"
    assert [event.body.get("cause", "") for event in told[1:]] == ["a0", "", ""]
    assert all(event.body["principal"] == {"user": "u1", "role": "clerk"} for event in told[1:])


def test_every_control_that_refused_is_recorded(tmp_path: Path) -> None:
    """Beside the deciding control stand the others that did not allow, so that lifting one alone changes nothing."""

    async def tries(task: Task, session: Session) -> str:
        assert (await session.act("tool_call", "pay", {})).status == "denied"
        return task.prompt

    found = steps(tmp_path, tries, governance={**DENY_PAY, "forbidden": ["pay"]})[0]
    controls = {found.control, *(other["control"] for other in found.others)}
    assert len(found.others) == 1
    assert {"forbidden.action", "policy"} == {control.partition(":")[0] for control in controls}


def test_a_model_call_is_recorded_with_what_it_cost(tmp_path: Path) -> None:
    """The reply reaches the agent; its text, calls, tokens and cost are in the ledger."""
    replies = [{"text": "look", "tool_calls": [{"name": "read"}], "input_tokens": 7, "output_tokens": 3, "cost": "0.5"}]

    async def asks(task: Task, session: Session) -> str:
        reply = await session.call_model([{"role": "user", "content": "what now?"}])
        assert (reply.text, reply.tool_calls[0]["name"]) == ("look", "read")
        return task.prompt

    step = steps(tmp_path, asks, model={"use": "scripted", "replies": replies})[0]
    assert (step.kind, step.status, step.input_tokens, step.output_tokens, step.cost) == (
        "model_call",
        "done",
        7,
        3,
        "0.5",
    )
    assert step.output["text"] == "look"


def test_a_suite_without_a_model_says_so(tmp_path: Path) -> None:
    """Asking for a model that the suite does not give is an answer with advice, not a broken run."""

    async def asks(task: Task, session: Session) -> str:
        with pytest.raises(ToolError, match="this suite gives the agent no model"):
            await session.call_model([])
        return task.prompt

    assert steps(tmp_path, asks)[0].status == "error"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("wire"), "the world broke in 'read': KeyError: 'wire'"),
        (SystemExit(3), "the world broke in 'read': SystemExit: 3"),
        (StoreError("gone"), "gone"),
    ],
    ids=["exception", "exit", "an error of the harness"],
)
def test_a_world_that_breaks_ends_the_trial_as_an_error(tmp_path: Path, error: BaseException, told: str) -> None:
    """A fault of the world, even one that would end the process, is neither the agent's failure nor the run's end."""

    class Broken(spine.World):
        async def call(self, name: str, arguments: Any, *, key: str) -> Any:
            raise error

    async def reads(task: Task, session: Session) -> str:
        await session.call_tool("read")
        return task.prompt

    results, events = spine.run_cases(tmp_path, spine.plan(tmp_path, reads, spine.cases(2), world=Broken))
    assert [result.status for result in results.values()] == ["error", "error"]
    assert all(told in " ".join(result.reasons) for result in results.values())
    assert [status for status, _ in finished(events)] == ["error", "error"]


def test_a_callers_function_that_wants_to_end_the_process_ends_the_trial(tmp_path: Path) -> None:
    """`perform` may fail with an answer; asking for the process's end is passed on, and recorded first."""

    async def leaves(action: Action) -> Any:
        raise SystemExit(3)

    async def acts(task: Task, session: Session) -> str:
        await session.act("tool_call", "read", {}, perform=leaves)
        return task.prompt

    results, events = spine.run_cases(tmp_path, spine.plan(tmp_path, acts, spine.cases(1)))
    assert results["c0"].status == "error"
    assert finished(events) == [("error", "SystemExit: 3")]


def test_what_is_said_to_the_user_on_the_way_is_an_action_too(tmp_path: Path) -> None:
    """A message needs no world, is decided like everything else, and is no answer."""

    async def talks(task: Task, session: Session) -> str:
        assert (await session.say("one moment")).ok
        return task.prompt

    said = steps(tmp_path, talks)[0]
    assert (said.kind, said.name, said.arguments, said.status) == ("message", "say", {"text": "one moment"}, "done")
