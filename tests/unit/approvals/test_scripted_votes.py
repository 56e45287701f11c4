"""Scripted approvers and the count of their votes."""

from __future__ import annotations

from typing import Any

import pytest

from agentcheck.approvals.scripted import ScriptedVoters, Vote, hash_arguments, needed_votes, tally
from agentcheck.errors import PolicyError
from agentcheck.records import Action

HASH = "h"


def _yes(voter: str, arguments_hash: str = HASH) -> Vote:
    return Vote(voter, "approve", arguments_hash)


def _no(voter: str) -> Vote:
    return Vote(voter, "deny", HASH)


@pytest.mark.parametrize(
    ("level", "needed", "votes", "outcome"),
    [
        (2, 0, [_yes("ann")], "approved"),
        (3, 0, [_yes("ann")], "approved"),
        (4, 0, [_yes("ann")], "timeout"),
        (4, 0, [_yes("ann"), _yes("bob")], "approved"),
        (4, 3, [_yes("ann"), _yes("bob")], "timeout"),
        (3, 2, [_yes("ann"), _yes("bob")], "approved"),
        (3, 0, [], "timeout"),
        (3, 0, [_no("ann")], "denied"),
        (4, 0, [_yes("ann"), _yes("bob"), _no("eve")], "denied"),
        (4, 0, [_yes("ann"), _yes("ann")], "timeout"),
        (4, 0, [_yes("ann"), _yes(" ANN ")], "timeout"),
        (3, 0, [_yes("ann"), _no("ann")], "denied"),
        (3, 0, [_no("ann"), _yes("ann")], "denied"),
        (3, 0, [_yes("req")], "timeout"),
        (3, 0, [_yes("Req ")], "timeout"),
        (3, 0, [_no("req")], "timeout"),
        (3, 0, [_yes("req"), _yes("ann")], "approved"),
        (3, 0, [_yes("ann", "other")], "timeout"),
        (3, 0, [_yes("")], "timeout"),
        (3, 0, [Vote("ann", "maybe", HASH)], "timeout"),  # type: ignore[arg-type]
        (3, -1, [], "timeout"),
    ],
)
def test_votes_are_counted(level: int, needed: int, votes: list[Vote], outcome: str) -> None:
    """One person one vote, for this exact action, never the requester's; any deny denies, too few time out."""
    resolution = tally(level, needed, votes, "req", HASH)
    assert resolution.outcome == outcome
    assert resolution.approved is (outcome == "approved")


def test_a_resolution_names_who_was_counted() -> None:
    """The reason holds the names or the numbers, and only counted votes are listed."""
    assert tally(4, 0, [_yes("ann"), _yes("bob")], "", HASH).reason == "approved by ann, bob"
    assert tally(4, 0, [_yes("ann"), _no("bob")], "", HASH).reason == "denied by bob"
    missing = tally(4, 0, [_yes("ann"), _yes("req")], "req", HASH)
    assert missing.reason == "1 of 2 approvals before the time was over"
    assert missing.needed == 2
    assert missing.counted == (_yes("ann"),)


def test_the_number_needed_follows_the_level_unless_configured() -> None:
    """One approval at levels 2 and 3, two at 4; never less than one."""
    assert [needed_votes(level) for level in (2, 3, 4)] == [1, 1, 2]
    assert needed_votes(4, {4: 3}) == 3
    assert needed_votes(3, {3: 0}) == 1


def test_any_edit_of_an_action_changes_its_hash() -> None:
    """Kind, name and arguments are bound; the order of keys is not; a key makes the hash a secret one."""
    action = Action("a1", "tool_call", "pay", {"to": "x", "sum": 1})
    same = Action("a2", "tool_call", "pay", {"sum": 1, "to": "x"})
    assert hash_arguments(action) == hash_arguments(same)
    others = [
        Action("a1", "tool_call", "pay", {"to": "x", "sum": 2}),
        Action("a1", "tool_call", "pay", {"to": "x", "sum": "1"}),
        Action("a1", "tool_call", "pay2", {"to": "x", "sum": 1}),
        Action("a1", "memory", "pay", {"to": "x", "sum": 1}),
    ]
    assert hash_arguments(action) not in {hash_arguments(other) for other in others}
    assert hash_arguments(action, b"key") != hash_arguments(action)


def _votes(tables: list[dict[str, Any]], level: int = 3, /, **arguments: Any) -> list[tuple[str, str]]:
    action = Action("a", "tool_call", "prescribe_drug", arguments)
    return [(vote.voter, vote.vote) for vote in ScriptedVoters.parse(tables).votes(action, level, HASH)]


def test_each_person_votes_by_their_first_table_that_concerns_the_action() -> None:
    """Later tables of the same person are not looked at, tables of others are."""
    tables = [
        {"tool": "pay", "voter": "ann", "vote": "deny"},
        {"tool": "prescribe_*", "voter": "ann", "vote": "approve"},
        {"tool": "*", "voter": "Ann", "vote": "deny"},
        {"voter": "bob", "vote": "none"},
        {"voter": "bob", "vote": "approve"},
        {"voter": "eve", "vote": "deny", "level": 4},
    ]
    assert _votes(tables) == [("ann", "approve")]
    assert _votes(tables, 4) == [("ann", "approve"), ("eve", "deny")]


@pytest.mark.parametrize(
    ("condition", "value", "met"),
    [
        (5, 5, True),
        (5, 5.0, True),
        (1, True, False),
        ("a", "b", False),
        ({"one_of": ["a", "b"]}, "b", True),
        ({"one_of": ["a"]}, "b", False),
        ({"contains": "x"}, "axb", True),
        ({"contains": "x"}, ["x"], True),
        ({"contains": "x"}, 5, False),
        ({"matches": "^a"}, "ab", True),
        ({"matches": "^a"}, 5, False),
        ({"gt": 1, "lte": 5}, 5, True),
        ({"gte": 1, "lt": 5}, 5, False),
        ({"gt": 1}, "2", False),
        ({"gt": 0}, True, False),
        ({"any": True}, None, True),
    ],
)
def test_a_table_may_depend_on_arguments(condition: Any, value: Any, met: bool) -> None:
    """Conditions are those of expected actions; a missing argument meets none."""
    table = {"voter": "ann", "vote": "approve", "arguments": {"x": condition}}
    assert bool(_votes([table], x=value)) is met
    assert not _votes([table], y=value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"voter": "a", "vot": "approve"}, "did you mean 'vote'"),
        ({"voter": "a"}, "vote must be text"),
        ({"vote": "approve"}, "voter must be text"),
        ({"voter": " ", "vote": "approve"}, "voter must be text"),
        ({"voter": "a", "vote": "yes"}, "one of: approve, deny, none"),
        ({"voter": "a", "vote": "deny", "level": 1}, "level must be"),
        ({"voter": "a", "vote": "deny", "level": 5}, "level must be"),
        ({"voter": "a", "vote": "deny", "tool": 1}, "tool and reason are text"),
        ({"voter": "a", "vote": "deny", "arguments": {"x": {"oneof": []}}}, "did you mean 'one_of'"),
        ({"voter": "a", "vote": "deny", "arguments": {"x": {"matches": "("}}}, "no regular expression"),
    ],
)
def test_a_table_that_is_not_understood_is_refused(table: dict[str, Any], message: str) -> None:
    """Unknown keys and votes stop the load and name the table."""
    with pytest.raises(PolicyError, match=message):
        ScriptedVoters.parse([table], where="suite.toml")
