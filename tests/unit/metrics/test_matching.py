"""How an action that happened is matched with one that a case speaks of."""

from __future__ import annotations

from typing import Any

import pytest

from agentcheck.errors import JudgeError
from agentcheck.metrics.matching import differences, equal, step_matches
from agentcheck.records import ExpectedAction
from fakes_transcript import step

ALIKE: list[tuple[Any, Any]] = [
    (100, 100.0),
    (100, "100.00"),
    ("100.5", 100.5),
    (0.1, 0.1),
    (10**40, 10**40),
    ("a", "a"),
    (None, None),
    (True, True),
    ([1, "a"], [1.0, "a"]),
    ({"a": {"b": 1}}, {"a": {"b": 1.0}}),
    ({"one_of": [1, "x"]}, "x"),
    ({"one_of": [1]}, 1.0),
    ({"contains": "bc"}, "abcd"),
    ({"contains": 2}, [1, 2.0]),
    ({"matches": "^INV-\\d+$"}, "INV-12"),
    ({"gt": 1}, 2),
    ({"gte": 2, "lt": 3}, "2.5"),
    ({"lte": 2}, 2),
    ({"any": True}, None),
    ({"a": {"gt": 1}}, {"a": 2}),
    ({}, {}),
]
UNLIKE: list[tuple[Any, Any]] = [
    (100, 100.01),
    ("007", 7),
    (7, "007"),
    (1, True),
    (True, 1),
    (0, False),
    ("a", "A"),
    ("1", "1.0"),
    (float("nan"), float("nan")),
    ([1], [1, 2]),
    ([1, 2], [2, 1]),
    ({"a": 1}, {"a": 1, "b": 2}),
    ({"one_of": [1, 2]}, 3),
    ({"contains": "x"}, 12),
    ({"contains": "X"}, "x"),
    ({"matches": "^b"}, "ab"),
    ({"matches": "1"}, 1),
    ({"gt": 2}, 2),
    ({"gte": 2, "lt": 3}, 3),
    ({"gt": 1}, "many"),
    ({"gt": 1}, None),
    ({"gt": 0}, True),
    ({}, {"a": 1}),
]


@pytest.mark.parametrize(("wanted", "found"), ALIKE)
def test_values_that_match(wanted: Any, found: Any) -> None:
    """Numbers match by value, text exactly, tables and lists item by item, and conditions where they hold."""
    assert equal(wanted, found)


@pytest.mark.parametrize(("wanted", "found"), UNLIKE)
def test_values_that_do_not_match(wanted: Any, found: Any) -> None:
    """Leading zeros are no number, a truth value is none either, and every condition of a table must hold."""
    assert not equal(wanted, found)


@pytest.mark.parametrize("condition", [{"one_of": 3}, {"matches": "("}, {"matches": 3}, {"gt": "x"}])
def test_a_condition_that_cannot_be_read_is_named(condition: dict[str, Any]) -> None:
    """A broken condition is a broken judge, not a mismatch."""
    with pytest.raises(JudgeError, match=r"condition|bound"):
        equal(condition, "5")


def test_arguments_are_a_subset_and_each_difference_names_its_argument() -> None:
    """Arguments that are not named do not matter; a missing and a different one are both told."""
    assert list(differences({"a": 1}, {"a": 1, "b": 2})) == []
    assert list(differences({"a": 1, "c": 3}, {"a": 2})) == ["a: wanted 1, found 2", "c: absent"]


def test_any_still_asks_for_the_argument() -> None:
    """``{"any": true}`` takes every value, and the argument must be there."""
    assert list(differences({"a": {"any": True}}, {})) == ["a: absent"]


@pytest.mark.parametrize(
    ("name", "wanted", "matches"),
    [
        ("delete_file", "delete_*", True),
        ("delete_file", "delete_file", True),
        ("undelete_file", "delete_*", False),
        ("Delete_file", "delete_*", False),
        ("a[b]", "a[b]", True),
        ("a[b]c", "a[b]*", True),
        ("ab", "a[b]*", False),
        ("ab", "a?", True),
    ],
)
def test_names_match_exactly_or_by_pattern(name: str, wanted: str, matches: bool) -> None:
    """Only ``*`` and ``?`` are patterns in a name."""
    assert step_matches(step(name), ExpectedAction(wanted)) is matches


def test_the_kind_of_action_is_part_of_the_match() -> None:
    """A message called like a tool is not that tool's call."""
    assert not step_matches(step("say", kind="message"), ExpectedAction("say"))
    assert step_matches(step("say", kind="message"), ExpectedAction("say", kind="message"))


def test_values_nested_too_deep_are_refused_and_deep_ones_compared() -> None:
    """A bound on depth keeps a hostile value from ending the run; it lies beyond what tools return."""
    deep: Any = 1
    for _ in range(90):
        deep = {"a": [deep]} if isinstance(deep, int) else {"a": deep}
    assert equal(deep, deep)
    for _ in range(20):
        deep = {"a": deep}
    with pytest.raises(JudgeError, match="too deeply"):
        equal(deep, deep)
    lists: Any = 1
    for _ in range(120):
        lists = [lists]
    with pytest.raises(JudgeError, match="too deeply"):
        equal(lists, lists)
