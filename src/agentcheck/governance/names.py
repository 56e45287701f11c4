"""Names of tools in levels, bounds, votes and rules that no tool of the world answers to.

A rule for ``refnd`` guards nothing. Which names are surely wrong, and which a reader should only know of:

1. Levels and bounds stand in the suite, beside its world: a name that is no tool is a mistake, a pattern a note.
2. A policy may serve suites with other worlds: a name that is nearly that of a tool is a mistake, any other a note.
3. Who forbids, or votes on, what does not exist does no harm: only a name that is nearly that of a tool is a mistake.
4. Where tools that the world does not offer are allowed, an agent may bring its own: nothing is a mistake, all notes.

Mistakes are errors where the tools are known before the run, and notes where a world tells them only in a trial.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from agentcheck.governance.patterns import NamePattern

#: How alike two names are where one is taken for a misspelling of the other (0 to 1, as `difflib` counts).
ALIKE = 0.8


@dataclass(frozen=True)
class Named:
    """A tool as somebody named it: who (``by``), the pattern, and where: a place, or keys of the suite file.

    ``strict``: any exact name that is no tool is a mistake. ``quiet``: what is not nearly a tool's name is not told.
    """

    by: str
    text: str
    where: str = ""
    keys: tuple[str | int, ...] = ()
    strict: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class Unmatched:
    """A name that no tool of the world answers to, the nearest that there is, and whether it is surely a mistake."""

    named: Named
    near: str
    mistake: bool

    def __str__(self) -> str:
        hint = f"; did you mean {self.near!r}?" if self.near else ""
        return f"{self.named.by}: the world offers no tool that matches {self.named.text!r}{hint}"


def unmatched(
    named: Iterable[Named], offered: Collection[str], *, unknown_allowed: bool = False
) -> Iterator[Unmatched]:
    """What of ``named`` no offered tool answers to, each once; patterns of other kinds of action are passed over."""
    for each in dict.fromkeys(named):
        pattern = NamePattern.parse(each.text)
        if "tool_call" not in pattern.kinds or any(map(pattern.matches_name, offered)):
            continue
        near = get_close_matches(pattern.glob, offered, 1, ALIKE) if pattern.exact else []
        if near or not each.quiet:
            mistake = pattern.exact and bool(each.strict or near) and not unknown_allowed
            yield Unmatched(each, near[0] if near else "", mistake)


def named_in(config: Mapping[str, Any]) -> Iterator[Named]:
    """The tools that a ``[governance]`` table names, besides its policy."""
    for text in config.get("levels") or {}:
        yield Named("[governance.levels]", text, keys=("governance", "levels", text), strict=True)
    for text in (config.get("limits") or {}).get("per_tool") or {}:
        keys = ("governance", "limits", "per_tool", text)
        yield Named("[governance.limits] per_tool", text, keys=keys, strict=True)
    for text in config.get("forbidden") or ():
        yield Named("[governance] forbidden", text, keys=("governance", "forbidden"), quiet=True)
    for number, vote in enumerate(config.get("votes") or ()):
        position = ("governance", "votes", number, "tool")
        yield Named("[[governance.votes]]", vote.get("tool", "*"), keys=position, quiet=True)
