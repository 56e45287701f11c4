"""Authorization levels and forbidden actions.

Levels: 0 autonomous, 1 notify, 2 confirm (with a time limit), 3 approve, 4 committee (several people).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from agentcheck.governance.decide import HOLD_LEVEL
from agentcheck.governance.patterns import NamePattern
from agentcheck.records import LEVEL_NAMES, Action, Decision


class AuthorizationLevel:
    """States the level of a tool. The most specific pattern counts; of equally specific ones the highest level."""

    id = "authorization.level"

    def __init__(self, levels: Mapping[str, int]) -> None:
        pairs = [(NamePattern.parse(text), level) for text, level in levels.items()]
        # Sorted, so that the answer depends on the table and not on the order in which it was written.
        self.levels = tuple(sorted(pairs, key=lambda pair: (pair[0].specificity, pair[1]), reverse=True))
        # Names come from agents: the memory of answers is bounded.
        self._find = lru_cache(maxsize=1024)(self._decide)

    def decide(self, action: Action, state: Any, now: int) -> Decision | None:
        """Hold from level 2 on; below, state the level and allow."""
        return self._find(action.kind, action.name)

    def _decide(self, kind: str, name: str) -> Decision | None:
        for pattern, level in self.levels:
            if pattern.matches(kind, name):
                outcome = "hold" if level >= HOLD_LEVEL else "allow"
                reason = f"{name} is at level {level} ({LEVEL_NAMES[level]})"
                return Decision(outcome, self.id, pattern.text, reason, level)  # type: ignore[arg-type]
        return None


class ForbiddenAction:
    """Denies actions by name, whatever a policy says."""

    id = "forbidden.action"

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(NamePattern.parse(text) for text in patterns)

    def decide(self, action: Action, state: Any, now: int) -> Decision | None:
        """Deny what matches a pattern."""
        for pattern in self.patterns:
            if pattern.matches(action.kind, action.name):
                return Decision("deny", self.id, pattern.text, "the action is forbidden")
        return None
