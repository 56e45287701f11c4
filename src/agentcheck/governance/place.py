"""Where in a policy file something stands, so that an error can name file and line.

TOML readers give no lines; they are found again in the text: rule *n* begins at the *n*-th ``[[rule]]``, and a key
at its first mention from there on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import NoReturn

from agentcheck.errors import PolicyError

_RULE = re.compile(r"^\s*\[\[\s*rule\s*\]\]")


@dataclass(frozen=True)
class Place:
    """A part of a policy: the file, the rule (from 0; ``None`` outside rules) and the keys that lead to it."""

    where: str = ""
    lines: tuple[str, ...] = ()
    rule: int | None = None
    name: str = ""
    trail: tuple[str, ...] = ()

    def at(self, *keys: object) -> Place:
        """The place of a key (or of keys one in the other) inside this one."""
        return replace(self, trail=(*self.trail, *map(str, keys)))

    def in_rule(self, index: int, name: str = "") -> Place:
        """The place of a rule."""
        return replace(self, rule=index, name=name, trail=())

    def fail(self, what: str, advice: str = "") -> NoReturn:
        """Raise a `PolicyError` that names file, line and rule."""
        subject = f"rule {self.name or (self.rule or 0) + 1}: " if self.rule is not None else ""
        path = ".".join(self.trail)
        raise PolicyError(f"{subject}{path + ': ' if path else ''}{what}", where=self.location, advice=advice)

    def unknown(self, key: object, known: Iterable[str], what: str = "key") -> NoReturn:
        """Raise for a name that is not known, with the nearest one that is."""
        names = list(known)
        near = get_close_matches(str(key), names, 1)
        advice = (f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(names)}"
        (self.at(key) if what in ("key", "operator", "option", "table") else self).fail(
            f"unknown {what} {str(key)!r}", advice
        )

    @property
    def location(self) -> str:
        """``file:line``, or what is known of it."""
        line = self.line
        return f"{self.where}:{line}" if line and self.where else self.where

    @property
    def line(self) -> int | None:
        """The line (from 1) where this place begins; ``None`` where there is no text."""
        if not self.lines:
            return None
        first, last = self._section()
        for part in self.trail:
            mention = re.compile(rf"(?:^|[\s{{,.\[\"'(]){re.escape(part)}[\"']?\s*[=.\]]")
            for number in range(first, last):
                if mention.search(self.lines[number].partition(" #")[0]):
                    first = number
                    break
        return first + 1

    def _section(self) -> tuple[int, int]:
        starts = [number for number, line in enumerate(self.lines) if _RULE.match(line)]
        if self.rule is None or self.rule >= len(starts):
            return 0, len(self.lines)
        following = starts[self.rule + 1] if self.rule + 1 < len(starts) else len(self.lines)
        return starts[self.rule], following
