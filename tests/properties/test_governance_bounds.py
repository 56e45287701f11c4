"""The runtime against a deliberately simple model of it, under any interleaving of concurrent actions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agentcheck.governance.build import build_controls
from fakes_governance import SECOND, START, Story

RUNTIME = build_controls(
    {
        "policy": {
            "policy": {"default": "allow"},
            "rule": [
                {"id": "large", "effect": "deny", "when": {"tool": "pay", "args": {"sum": {"gt": 100}}}},
                {"id": "unchecked", "effect": "hold", "when": {"tool": "send_*", "not_after": {"tool": "verify"}}},
                {"id": "twice", "effect": "hold", "when": {"tool": "pay", "count": {"tool": "pay", "gte": 2}}},
            ],
        },
        "forbidden": ["delete_*"],
        "levels": {"send_all": 4, "send_*": 1, "verify": 0},
        "limits": {"actions": 9, "seconds": 200, "spend": "0.50", "per_tool": {"pay": 3, "send_*": 4}},
        "breaker": {"failures": 2, "cooldown": 20, "session_failures": 3},
    }
)  # fmt: skip
TOOLS = ("pay", "send_one", "send_all", "verify", "delete_it")


class Reference:
    """What the runtime should do, told by looking through a plain list of everything that happened."""

    def __init__(self) -> None:
        self.actions: list[dict[str, Any]] = []
        self.results: list[tuple[str, int, bool]] = []
        self.spend = Decimal(0)

    def live(self, name: str = "") -> list[dict[str, Any]]:
        """Actions that were or may still be carried out."""
        return [each for each in self.actions if each["status"] in ("running", "waiting", "done", "error")
                and each["name"].startswith(name)]  # fmt: skip

    def broken(self, name: str, bound: int, now: int) -> bool:
        """True when a breaker lets nothing of these names through."""
        results = [(at, ok) for tool, at, ok in self.results if tool.startswith(name)]
        row = 0
        while row < len(results) and not results[-1 - row][1]:
            row += 1
        if row < bound:
            return False
        if now < results[-1][0] + 20 * SECOND:
            return True
        return any(each["status"] in ("running", "waiting") and each["kind"] in ("tool_call", "memory")
                   for each in self.live(name))  # fmt: skip

    def outcome(self, kind: str, name: str, arguments: dict[str, Any], now: int) -> str:
        """allow, hold or deny."""
        effect = kind in ("tool_call", "memory")
        denials = [
            kind == "tool_call" and name not in TOOLS,
            effect and name.startswith("delete_"),
            len(self.live()) >= 9,
            now - START > 200 * SECOND,
            self.spend >= Decimal("0.50") if kind == "model_call" else self.spend > Decimal("0.50"),
            effect and name == "pay" and sum(each["kind"] != "model_call" for each in self.live("pay")) >= 3,
            effect and name.startswith("send_") and len(self.live("send_")) >= 4,
            effect and (self.broken(name, 2, now) or self.broken("", 3, now)),
            effect and name == "pay" and not (type(arguments.get("sum")) is int and arguments["sum"] <= 100),
        ]
        verified = any(each["name"] == "verify" and each["status"] == "done" for each in self.actions)
        holds = [
            effect and name == "send_all",
            effect and name.startswith("send_") and not verified,
            effect and name == "pay" and len(self.live("pay")) >= 2,
        ]
        return "deny" if any(denials) else "hold" if any(holds) else "allow"


class Governed(RuleBasedStateMachine):
    """Asks, finishes, votes and waits in any order, with many actions in flight at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Story(tools=TOOLS)
        self.model = Reference()

    def _pick(self, status: str, number: int) -> tuple[Any, dict[str, Any]]:
        open_ = [each for each in self.model.actions if each["status"] == status]
        chosen = open_[number % len(open_)]
        return chosen["action"], chosen

    def _has(self, status: str) -> bool:
        return any(each["status"] == status for each in self.model.actions)

    @rule(
        kind=st.sampled_from(["tool_call", "tool_call", "tool_call", "memory"]),
        name=st.sampled_from([*TOOLS, "lost"]),
        total=st.sampled_from([1, 100, 101, "5", None]),
    )
    def ask(self, kind: Any, name: str, total: Any) -> None:
        """The runtime and the model decide alike."""
        self._ask(kind, name, {} if total is None else {"sum": total})

    @rule()
    def call_model(self) -> None:
        """A model call is asked for."""
        self._ask("model_call", "gpt", {})

    def _ask(self, kind: Any, name: str, arguments: dict[str, Any]) -> None:
        action = self.story.action(name, kind, **arguments)
        expected = self.model.outcome(kind, name, arguments, self.story.now)
        decision = self.story.decide(RUNTIME, action)
        assert decision.outcome == expected, (decision, kind, name, arguments)
        assert (decision.outcome == "hold") <= (decision.level >= 2)
        assert decision.policy == RUNTIME.policy_hash
        status = {"allow": "running", "hold": "waiting", "deny": "denied"}[decision.outcome]
        self.model.actions.append(
            {"action": action, "name": name, "kind": kind, "status": status, "level": decision.level}
        )

    @precondition(lambda self: self._has("running"))
    @rule(number=st.integers(0, 9), good=st.booleans(), cents=st.integers(0, 30))
    def finish(self, number: int, good: bool, cents: int) -> None:
        """Any action in flight comes back."""
        action, chosen = self._pick("running", number)
        chosen["status"] = "done" if good else "error"
        usage = {"cost": f"0.{cents:02}"} if chosen["kind"] == "model_call" else {}
        self.story.finish(action, None, chosen["status"], **usage)
        if usage:
            self.model.spend += Decimal(cents) / 100
        else:
            self.model.results.append((chosen["name"], self.story.now, good))

    @precondition(lambda self: self._has("waiting"))
    @rule(number=st.integers(0, 9), approved=st.booleans())
    def vote(self, number: int, approved: bool) -> None:
        """Any held action is approved or not."""
        action, chosen = self._pick("waiting", number)
        chosen["status"] = "running" if approved else "held"
        chosen["approved"] = approved
        self.story.resolve(action, approved)

    @rule(seconds=st.sampled_from([1, 10, 20, 60]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.story.wait(seconds)

    @invariant()
    def bounds_hold(self) -> None:
        """No interleaving passes a bound."""
        assert len(self.model.live()) <= 9
        assert len(self.model.live("pay")) <= 3
        assert len(self.model.live("send_")) <= 4

    @invariant()
    def nothing_at_a_high_level_runs_without_approval(self) -> None:
        """What has level 2 or more and was started was approved; what is forbidden never starts."""
        for each in self.model.actions:
            if each["status"] in ("running", "done", "error"):
                assert each["level"] < 2 or each.get("approved")
                assert not each["name"].startswith("delete_")


Governed.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestGoverned = Governed.TestCase
