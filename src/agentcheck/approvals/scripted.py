"""Scripted approvers, and the count of votes that decides a held action.

The rules of the count (`tally`): a vote is for one exact action, named by the hash of its arguments; who asked never
counts; one person has one vote, and a person who said deny has denied; any counted deny denies; too few approvals
when the time is over deny as well. All of it is pure: the same votes give the same resolution.
"""

from __future__ import annotations

import hmac
import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Literal

from agentcheck.errors import PolicyError
from agentcheck.records import Action

#: How many approvals a level needs, unless the suite says more or less.
NEEDED: Mapping[int, int] = {2: 1, 3: 1, 4: 2}
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_KEYS = ("tool", "voter", "vote", "reason", "arguments", "level")
_OPERATORS = ("one_of", "contains", "matches", "gt", "gte", "lt", "lte", "any")


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's vote for one exact action."""

    voter: str
    vote: Literal["approve", "deny"]
    arguments_hash: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a held action was decided: ``approved``, ``denied`` or ``timeout``; only the first lets it start."""

    outcome: Literal["approved", "denied", "timeout"]
    reason: str
    needed: int
    counted: tuple[Vote, ...] = ()

    @property
    def approved(self) -> bool:
        """True when the action may start."""
        return self.outcome == "approved"


def needed_votes(level: int, configured: Mapping[int, int] | None = None) -> int:
    """How many approvals a held action of this level needs; at least one."""
    return max(1, (configured or {}).get(level, NEEDED.get(level, 1)))


def hash_arguments(action: Action, key: bytes = b"agentcheck/approval/v1") -> str:
    """What a vote is bound to: SHA-256 (HMAC) over kind, name and arguments; any edit changes it.

    Give the run's secret ``key`` where arguments may hold personal data, so that nobody can guess them from the hash.
    """
    exact = [action.kind, action.name, action.arguments]
    text = json.dumps(exact, sort_keys=True, ensure_ascii=True, default=repr, separators=(",", ":"))
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def tally(level: int, needed: int, votes: Iterable[Vote], requester: str, arguments_hash: str) -> Resolution:
    """Count the votes that came before the time was over; ``needed`` 0 takes the number of the level."""
    needed = needed if needed > 0 else needed_votes(level)
    counted: dict[str, Vote] = {}
    for vote in votes:
        person = _person(vote.voter)
        if not person or person == _person(requester) or vote.arguments_hash != arguments_hash:
            continue
        if vote.vote == "deny" or (vote.vote == "approve" and person not in counted):
            counted[person] = vote
    denied = [vote for vote in counted.values() if vote.vote == "deny"]
    every = tuple(counted.values())
    if denied:
        return Resolution("denied", f"denied by {', '.join(vote.voter for vote in denied)}", needed, every)
    if len(counted) < needed:
        return Resolution("timeout", f"{len(counted)} of {needed} approvals before the time was over", needed, every)
    return Resolution("approved", f"approved by {', '.join(vote.voter for vote in every)}", needed, every)


def _person(name: str) -> str:
    return " ".join(name.split()).casefold()


@dataclass(frozen=True)
class ScriptedVoter:
    """One ``[[governance.votes]]`` table: how a person votes on held actions of a tool."""

    tool: str
    voter: str
    vote: Literal["approve", "deny", "none"]
    reason: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    level: int | None = None

    def concerns(self, action: Action, level: int) -> bool:
        """True when this table is about the action: name, level and every argument condition fit."""
        if not fnmatchcase(action.name, self.tool) or self.level not in (None, level):
            return False
        return all(
            name in action.arguments and _meets(action.arguments[name], condition)
            for name, condition in self.arguments.items()
        )


class ScriptedVoters:
    """The approvers of a suite: each person votes by the first of their tables that concerns the held action."""

    def __init__(self, voters: Sequence[ScriptedVoter] = ()) -> None:
        self.voters = tuple(voters)

    @classmethod
    def parse(cls, tables: Iterable[Mapping[str, Any]], *, where: str = "") -> ScriptedVoters:
        """Read the ``[[governance.votes]]`` tables.

        Raises:
            PolicyError: an unknown key, a missing voter or tool, or a vote that is none of approve, deny, none.
        """
        return cls([_voter(table, f"votes[{index}]", where) for index, table in enumerate(tables)])

    def votes(self, action: Action, level: int, arguments_hash: str) -> tuple[Vote, ...]:
        """The votes on a held action, in the order of the tables; who does not answer gives none."""
        cast: dict[str, Vote | None] = {}
        for voter in self.voters:
            person = _person(voter.voter)
            if person in cast or not voter.concerns(action, level):
                continue
            answered = voter.vote != "none"
            cast[person] = Vote(voter.voter, voter.vote, arguments_hash, voter.reason) if answered else None  # type: ignore[arg-type]
        return tuple(vote for vote in cast.values() if vote is not None)


def _voter(table: Mapping[str, Any], name: str, where: str) -> ScriptedVoter:
    for key in table:
        if key not in _KEYS:
            near = get_close_matches(str(key), _KEYS, 1)
            advice = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_KEYS)}"
            raise PolicyError(f"{name}: unknown key {key!r}", where=where, advice=advice)
    for key in ("voter", "vote"):
        if not isinstance(table.get(key), str) or not table[key].strip():
            raise PolicyError(f"{name}: {key} must be text", where=where)
    if table["vote"] not in ("approve", "deny", "none"):
        raise PolicyError(f"{name}: vote is {table['vote']!r}", where=where, advice="one of: approve, deny, none")
    level = table.get("level")
    if level is not None and (type(level) is not int or not 2 <= level <= 4):
        raise PolicyError(f"{name}: level must be 2, 3 or 4", where=where)
    tool, reason, arguments = table.get("tool", "*"), table.get("reason", ""), table.get("arguments", {})
    if not isinstance(tool, str) or not isinstance(reason, str) or not isinstance(arguments, Mapping):
        raise PolicyError(f"{name}: tool and reason are text, arguments is a table", where=where)
    for argument, condition in arguments.items():
        _check_condition(condition, f"{name}.arguments.{argument}", where)
    return ScriptedVoter(tool, table["voter"], table["vote"], reason, dict(arguments), level)


def _check_condition(condition: Any, name: str, where: str) -> None:
    if not isinstance(condition, Mapping):
        return
    for word, operand in condition.items():
        if word not in _OPERATORS:
            near = get_close_matches(str(word), _OPERATORS, 1)
            advice = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_OPERATORS)}"
            raise PolicyError(f"{name}: unknown condition {word!r}", where=where, advice=advice)
        if word == "matches":
            try:
                re.compile(operand)
            except (re.error, TypeError) as error:
                raise PolicyError(f"{name}: no regular expression: {error}", where=where) from None


def _meets(value: Any, condition: Any) -> bool:
    """One argument against a literal or a condition table (the tables of `records.ExpectedAction`)."""
    if not isinstance(condition, Mapping):
        return isinstance(value, bool) == isinstance(condition, bool) and bool(value == condition)
    return all(_meets_one(value, name, operand) for name, operand in condition.items())


def _meets_one(value: Any, name: str, operand: Any) -> bool:
    if name == "any":
        return True
    if name == "one_of":
        return any(_meets(value, each) for each in operand)
    if name == "contains":
        return isinstance(value, (str, list, tuple)) and operand in value
    if name == "matches":
        return isinstance(value, str) and re.search(operand, value) is not None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return _COMPARISONS[name](value, operand)
