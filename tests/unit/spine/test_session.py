"""The door: intent before effect, what is decided is what is done, refusals are data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import spine
from agentcheck.contracts import Row, Session
from agentcheck.errors import ActionHeld
from agentcheck.records import Action, Task
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
        import asyncio

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
