"""The closed table of events: what it refuses, it names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcheck.errors import LedgerError
from agentcheck.events import TABLE, acknowledgement, check

GOOD: dict[str, Any] = {"suite": "s", "passed": True, "rules": [], "counts": {"pass": 1}, "partial": False}


def refused(name: str, body: Any) -> str:
    """The message of a refusal."""
    with pytest.raises(LedgerError) as caught:
        check(name, body)
    return caught.value.what


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"suite": 1}, "suite"),
        ({"suite": None}, "suite"),
        ({"partial": 1}, "partial"),
        ({"extra": "x"}, "extra"),
        ({"counts": {"mean": 0.5}}, "counts.mean"),
        ({"counts": {"schlüssel": 1}}, "schlüssel"),
        ({"counts": {"n": 2**53}}, "counts.n"),
        ({"rules": [[1, {"a": [float("nan")]}]]}, "rules[0][1].a[0]"),
        ({"rules": "none"}, "rules"),
        ({"rules": [{1: 2}]}, "rules[0]"),
    ],
)
def test_what_a_body_may_not_hold_is_refused_and_named(before: bool, change: dict[str, Any], named: str) -> None:
    """Wrong kinds, unknown fields, floats, big integers and keys that are no ASCII text; also after a good one."""
    if before:
        check("gate.decided", GOOD)
        check("gate.decided", {**GOOD, "rules": [{"a": 1}]})
    assert named in refused("gate.decided", {**GOOD, **change})


def test_missing_fields_and_unknown_types_are_refused() -> None:
    """Every required field must be there; a type that is not in the table must be a plugin's."""
    assert "suite" in refused("gate.decided", {key: value for key, value in GOOD.items() if key != "suite"})
    assert "unknown event type" in refused("gate.decide", GOOD)
    assert "unknown event type" in refused("x.odd", {})
    check("x.mine.seen", {"any": ["thing", 1, None]})
    assert "float" in refused("x.mine.seen", {"any": 0.5})


def test_integers_are_bounded_in_every_field() -> None:
    """An integer field of 2**53 or more is refused, the first time and later."""
    body = {"turn": 1, "text": "x"}
    check("case.turn", body)
    for value in (2**53, -(2**53), 10**30):
        assert "turn" in refused("case.turn", {**body, "turn": value})
    assert "turn" in refused("case.turn", {**body, "turn": True})


@given(st.sampled_from(sorted(TABLE)), st.data())
def test_looking_twice_gives_the_same_answer(name: str, data: st.DataObject) -> None:
    """What was refused once is refused again, and what was taken is taken again, whatever was seen in between."""
    row = TABLE[name]
    good: dict[str, Any] = {
        "text": "a",
        "int": 1,
        "bool": True,
        "decimal": "1",
        "json": "{}",
        "list": [1],
        "map": {"a": 1},
    }
    body = {field: good[kind] for field, kind in row.kinds.items()}
    check(name, body)
    field = data.draw(st.sampled_from(sorted(body)))
    value = data.draw(
        st.one_of(st.none(), st.floats(), st.text(), st.integers(), st.lists(st.floats(allow_nan=True)), st.booleans())
    )
    changed = {**body, field: value}
    answers = []
    for _ in range(2):
        try:
            check(name, changed)
            answers.append("taken")
        except LedgerError as error:
            answers.append(error.what)
        check(name, body)
    assert answers[0] == answers[1]
    if isinstance(value, float):
        assert answers[0] != "taken"


def test_decisions_are_durable_and_results_are_buffered() -> None:
    """The acknowledgement classes of the events that the runtime's promise rests on."""
    durable = ("action.requested", "action.decided", "action.started", "approval.voted", "verdict.reached")
    assert {acknowledgement(name) for name in durable} == {"durable"}
    assert {acknowledgement(name) for name in ("action.finished", "score.recorded", "x.a.b")} == {"buffered"}
