"""The circuit breaker: after consecutive failures nothing passes until a cooldown is over, then exactly one.

States: *closed*; *open* after ``failures`` consecutive failures of a tool (or ``session_failures`` of all tools
together) until the cooldown has passed since the last failure; then *half-open*: one action passes while none is in
flight. Its success closes the breaker, its failure opens it again. All of it is derived from the session's state;
``breaker.opened`` events in the state open a breaker too (an operator's stop), and never close one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from agentcheck.governance.state import EFFECT_KINDS, SessionState
from agentcheck.records import Action, Decision

SESSION = "session"
Position = Literal["closed", "open", "half-open"]


@dataclass
class Breaker:
    """Denies while open: after consecutive failures nothing passes.

    ``cooldown`` is in microseconds; ``session_failures`` 0 = no breaker for the session."""

    failures: int
    cooldown: int
    session_failures: int = 0
    id: str = "breaker"

    def decide(self, action: Action, state: SessionState, now: int) -> Decision | None:
        """Deny while a breaker is open, and while a half-open one has its one action in flight."""
        if action.kind not in EFFECT_KINDS:
            return None
        if not state.failures and not state.breakers and not state.failures_by_tool:
            return None
        name = f"tool:{action.name}"
        for breaker in (name, SESSION):
            position = self.position(breaker, state, now)
            if position == "open":
                return Decision("deny", self.id, breaker, f"the breaker of {breaker} is open after failures")
            if position == "half-open" and self._in_flight(breaker, state):
                return Decision("deny", self.id, breaker, f"the breaker of {breaker} waits for a trial call")
        return None

    def position(self, breaker: str, state: SessionState, now: int) -> Position:
        """Where a breaker (``tool:<name>`` or ``session``) stands at a time."""
        until = self._until(breaker, state)
        told = state.breakers.get(breaker)
        if told is not None:
            until = told if until is None else max(told, until)
        if until is None:
            return "closed"
        return "open" if max(now, state.latest) < until else "half-open"

    def events(self, action: str, state: SessionState) -> list[tuple[str, dict[str, Any]]]:
        """The ``breaker.*`` events (type, body) that the door records after an action finished."""
        step = state.step(action)
        if step is None or step.kind not in EFFECT_KINDS:
            return []
        found: list[tuple[str, dict[str, Any]]] = []
        for breaker in (f"tool:{step.name}", SESSION):
            until = self._until(breaker, state)
            if until is not None and step.status == "error":
                reason = f"{self._count(breaker, state)} consecutive failures"
                found.append(("breaker.opened", {"breaker": breaker, "reason": reason, "until": until}))
            elif step.status == "done" and breaker in state.breakers and state.latest >= state.breakers[breaker]:
                found.append(("breaker.closed", {"breaker": breaker}))
        return found

    def _count(self, breaker: str, state: SessionState) -> int:
        return state.failures if breaker == SESSION else state.failures_by_tool.get(breaker[5:], 0)

    def _until(self, breaker: str, state: SessionState) -> int | None:
        """When the cooldown that follows from the failures is over; ``None`` while there are too few of them."""
        bound = self.session_failures if breaker == SESSION else self.failures
        if not bound or self._count(breaker, state) < bound:
            return None
        last = state.last_failure if breaker == SESSION else state.last_failure_by_tool[breaker[5:]]
        return last + self.cooldown

    def _in_flight(self, breaker: str, state: SessionState) -> int:
        return state.effects_in_flight if breaker == SESSION else state.in_flight_by_tool.get(breaker[5:], 0)
