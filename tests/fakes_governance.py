"""A session told as events: what the door would record, without a ledger, an agent or a world."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from agentcheck.events import Event, check
from agentcheck.governance.state import SessionState
from agentcheck.records import Action, Decision, Document, ToolSpec

SECOND = 1_000_000
START = 1_700_000_000 * SECOND


class Story:
    """Builds a session's state event by event; ``events`` keeps them, ``now`` is the clock in microseconds."""

    def __init__(
        self,
        prompt: str = "do it",
        *,
        tools: Iterable[ToolSpec | str] = (),
        documents: Sequence[Document] = (),
        principal: Mapping[str, str] | None = None,
        system: str = "",
    ) -> None:
        self.state = SessionState("s")
        self.events: list[Event] = []
        self.now = START
        self.principal = dict(principal or {})
        given = {"prompt": prompt, "documents": [asdict(each) for each in documents], "principal": self.principal}
        if system:
            given["system"] = system
        specs = [asdict(each) if isinstance(each, ToolSpec) else {"name": each} for each in tools]
        self.tell(
            "case.started",
            suite="suite",
            case="case",
            trial=1,
            attempt=1,
            case_hash="0",
            given=json.dumps(given),
            expected="{}",
            tools=json.dumps(specs),
        )

    def tell(self, type_: str, **body: Any) -> Event:
        """Record and apply one event, which must fit the table of events."""
        check(type_, body)
        event = Event(type_, body, "s", self.now, len(self.events) + 1, "main")
        self.events.append(event)
        self.state.apply(event)
        return event

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += round(seconds * SECOND)

    def action(self, name: str, kind: Any = "tool_call", turn: int = 1, /, **arguments: Any) -> Action:
        """An action that was not asked for yet."""
        number = self.state.asked + 1
        return Action(f"a{number}", kind, name, arguments, turn, f"s/a{number}", self.principal)

    def ask(self, action: Action) -> Action:
        """The agent asks."""
        self.tell(
            "action.requested",
            action=action.id,
            kind=action.kind,
            name=action.name,
            arguments=json.dumps(action.arguments),
            turn=action.turn,
            key=action.key,
            principal=dict(action.principal),
        )
        return action

    def decided(self, action: Action, decision: Decision) -> Decision:
        """The controls have answered."""
        self.tell(
            "action.decided",
            action=action.id,
            outcome=decision.outcome,
            control=decision.control,
            rule=decision.rule,
            reason=decision.reason,
            level=decision.level,
            policy=decision.policy,
        )
        return decision

    def decide(self, runtime: Any, action: Action) -> Decision:
        """Ask, and decide at once, as the door does."""
        self.ask(action)
        return self.decided(action, runtime.decide(action, self.state, self.now))

    def allow(self, name: str, kind: Any = "tool_call", /, **arguments: Any) -> Action:
        """An action that was asked for and allowed, and is in flight."""
        action = self.ask(self.action(name, kind, **arguments))
        self.decided(action, Decision("allow", "policy"))
        return action

    def hold(self, name: str, /, **arguments: Any) -> Action:
        """An action that was asked for and held, and waits."""
        action = self.ask(self.action(name, **arguments))
        self.decided(action, Decision("hold", "policy", level=3))
        return action

    def deny(self, name: str, /, **arguments: Any) -> Action:
        """An action that was asked for and denied."""
        action = self.ask(self.action(name, **arguments))
        self.decided(action, Decision("deny", "policy"))
        return action

    def resolve(self, action: Action, approved: bool) -> None:
        """The votes on a held action are counted."""
        outcome = "approved" if approved else "denied"
        self.tell("approval.resolved", approval=f"{action.id}.1", action=action.id, outcome=outcome, reason="")

    def finish(self, action: Action, output: Any = None, status: str = "done", **usage: Any) -> None:
        """What came back."""
        text = json.dumps(output)
        self.tell("action.finished", action=action.id, status=status, output=text, duration=1, **usage)

    def did(self, name: str, output: Any = None, status: str = "done", /, **arguments: Any) -> Action:
        """An action that was carried out and came back."""
        action = self.allow(name, **arguments)
        self.finish(action, output, status)
        return action
