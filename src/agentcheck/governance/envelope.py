"""The envelope: hard bounds of a session, checked before an action has an effect.

Counts include committed actions, so actions in flight at the same time cannot pass a bound together. What a model
call costs is known only once it came back: the bounds on spend and tokens deny the next one, and hold without
overshoot where ``reserve`` says what one call may cost at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from agentcheck.governance.patterns import NamePattern
from agentcheck.governance.state import COSTLY_KINDS, EFFECT_KINDS, SessionState
from agentcheck.records import Action, Decision


@dataclass
class MaxActions:
    """At most ``bound`` actions of any kind are committed in a session."""

    bound: int
    id: str = "envelope.max_actions"

    def decide(self, action: Action, state: SessionState, now: int) -> Decision | None:
        """Deny once the bound is used up."""
        if state.committed < self.bound:
            return None
        return Decision("deny", self.id, "max_actions", f"the session may carry out {self.bound} actions")


@dataclass
class MaxRequests:
    """At most ``bound`` actions are asked for, refused ones included: an agent that asks in a loop is stopped."""

    bound: int
    id: str = "envelope.max_requests"

    def decide(self, action: Action, state: SessionState, now: int) -> Decision | None:
        """Deny once more was asked for."""
        # The door applies the request before it asks: then this action is already counted.
        asked = state.asked if state.step(action.id) is not None else state.asked + 1
        if asked <= self.bound:
            return None
        return Decision("deny", self.id, "max_requests", f"the session may ask for {self.bound} actions")


@dataclass
class MaxSeconds:
    """No action starts once ``bound`` microseconds have passed since the session began."""

    bound: int
    id: str = "envelope.max_seconds"

    def decide(self, action: Action, state: SessionState, now: int) -> Decision | None:
        """Deny once the time is over, and where the session has no beginning."""
        elapsed = state.elapsed(now)
        if elapsed is not None and elapsed <= self.bound:
            return None
        reason = "the session has no start" if elapsed is None else f"the session may last {self.bound / 1e6:g} seconds"
        return Decision("deny", self.id, "max_seconds", reason)


@dataclass
class MaxSpend:
    """A session spends at most ``bound`` US dollars; ``reserve`` is counted for each model call in flight."""

    bound: Decimal
    reserve: Decimal = Decimal(0)
    id: str = "envelope.max_spend"

    def decide(self, action: Action, state: SessionState, now: int) -> Decision | None:
        """Deny what may cost once the bound is reached, and everything once it is passed."""
        if action.kind in COSTLY_KINDS:
            expected = state.spend + self.reserve * (state.costly_in_flight + 1)
            if state.spend < self.bound and expected <= self.bound:
                return None
        elif state.spend <= self.bound:
            return None
        return Decision("deny", self.id, "max_spend", f"the session may spend {self.bound} US dollars")


@dataclass
class MaxTokens:
    """A session uses at most ``bound`` tokens; ``reserve`` is counted for each model call in flight."""

    bound: int
    reserve: int = 0
    id: str = "envelope.max_tokens"

    def decide(self, action: Action, state: SessionState, now: int) -> Decision | None:
        """Deny what uses tokens once the bound is reached, and everything once it is passed."""
        if action.kind in COSTLY_KINDS:
            expected = state.tokens + self.reserve * (state.costly_in_flight + 1)
            if state.tokens < self.bound and expected <= self.bound:
                return None
        elif state.tokens <= self.bound:
            return None
        return Decision("deny", self.id, "max_tokens", f"the session may use {self.bound} tokens")


class PerTool:
    """At most so many committed calls of a tool; a pattern's bound is shared by all tools that match it."""

    id = "envelope.per_tool"

    def __init__(self, bounds: Mapping[str, int]) -> None:
        self.bounds = tuple((NamePattern.parse(text), bound) for text, bound in bounds.items())

    def decide(self, action: Action, state: SessionState, now: int) -> Decision | None:
        """Deny once any bound that the name falls under is used up."""
        if action.kind not in EFFECT_KINDS:
            return None
        for pattern, bound in self.bounds:
            if not pattern.matches(action.kind, action.name):
                continue
            if pattern.exact:
                used = state.committed_by_tool.get(action.name, 0)
            else:
                used = sum(count for name, count in state.committed_by_tool.items() if pattern.matches_name(name))
            if used >= bound:
                return Decision("deny", self.id, pattern.text, f"{pattern.text} may be carried out {bound} times")
        return None
