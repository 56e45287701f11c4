"""Patterns for the names of tools, one meaning everywhere.

``"delete_*"`` is a shell pattern, matched with regard to case. It holds for every kind of action that reaches the
world (`state.EFFECT_KINDS`), so asking for a tool under another kind does not get round it. ``"message:*"`` names
the kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate

from agentcheck.errors import PolicyError
from agentcheck.governance.state import EFFECT_KINDS
from agentcheck.records import ACTION_KINDS

_WILD = frozenset("*?[")


@dataclass(frozen=True)
class NamePattern:
    """A parsed pattern; build one with `parse`."""

    text: str
    kinds: frozenset[str]
    glob: str
    exact: bool
    regex: re.Pattern[str]

    @classmethod
    def parse(cls, text: str, *, where: str = "") -> NamePattern:
        """Read ``name``, ``glob*`` or ``kind:glob*``.

        Raises:
            PolicyError: it is not text, or empty.
        """
        if not isinstance(text, str) or not text.strip():
            raise PolicyError(f"a tool pattern must be text, got {text!r}", where=where)
        kind, colon, rest = text.partition(":")
        if colon and kind in ACTION_KINDS and rest:
            return cls(text, frozenset({kind}), rest, not _WILD & set(rest), re.compile(translate(rest)))
        return cls(text, EFFECT_KINDS, text, not _WILD & set(text), re.compile(translate(text)))

    def matches(self, kind: str, name: str) -> bool:
        """True when an action of this kind and name falls under the pattern."""
        return kind in self.kinds and self.matches_name(name)

    def matches_name(self, name: str) -> bool:
        """True when the name alone falls under the pattern."""
        return name == self.glob if self.exact else self.regex.match(name) is not None

    @property
    def specificity(self) -> tuple[int, int, int]:
        """Orders patterns from general to specific: exact names last, then by literal characters, then by kind."""
        return self.exact, sum(1 for char in self.glob if char not in "*?[]!"), -len(self.kinds)
