"""A trial's events as entries: decisions, votes and results gathered under the action they belong to."""

from __future__ import annotations

from typing import Any

import pytest

import fakes_report
from agentcheck.events import Event
from agentcheck.records import Case, Transcript
from agentcheck.reporting import timeline
from agentcheck.transcript import fold


def build(*events: Event) -> tuple[timeline.Entry, ...]:
    return timeline.build(Transcript(Case("c", "p"), "s", events=events))


def requested(action: str, seq: int, **more: Any) -> Event:
    body = {"action": action, "kind": "tool_call", "name": "t", "arguments": "{}", "turn": 1, "key": action, **more}
    return Event("action.requested", body, seq=seq)


def decided(action: str, seq: int, outcome: str = "allow") -> Event:
    body = {"action": action, "outcome": outcome, "control": "c", "rule": "", "reason": "", "level": 0, "policy": ""}
    return Event("action.decided", body, seq=seq)


def finished(action: str, seq: int, **more: Any) -> Event:
    return Event("action.finished", {"action": action, "status": "done", "output": "1", "duration": 0, **more}, seq=seq)


def test_every_event_of_a_trial_is_in_the_timeline() -> None:
    """No sequence number of any trial is missing: what the ledger says, the timeline shows."""
    for trial in (*fakes_report.clinic(), *fakes_report.payables()):
        entries = timeline.build(fold(trial.events))
        seen = {line.seq for entry in entries for line in (entry, *entry.lines)}
        assert {event.seq for event in trial.events} <= seen


def test_actions_that_run_side_by_side_keep_their_own_results() -> None:
    """Interleaved events are gathered under the action they name."""
    entries = build(
        requested("a1", 1), decided("a1", 2), requested("a2", 3), decided("a2", 4), finished("a2", 5), finished("a1", 6)
    )
    assert [[line.seq for line in (entry, *entry.lines)] for entry in entries] == [[1, 2, 6], [3, 4, 5]]


def test_an_allowed_action_without_a_result_is_said_to_be_one() -> None:
    """An orphan intent is a line of its own, and the mark of its action."""
    (entry,) = build(requested("a1", 1), decided("a1", 2))
    assert entry.worst == "orphan"
    assert entry.lines[-1].label == "no result"


@pytest.mark.parametrize(("outcome", "worst"), [("deny", "deny"), ("hold", "hold")])
def test_a_refused_action_is_no_orphan(outcome: str, worst: str) -> None:
    """Only what was allowed is expected to have a result."""
    (entry,) = build(requested("a1", 1), decided("a1", 2, outcome))
    assert entry.worst == worst
    assert len(entry.lines) == 1


def test_a_vote_against_does_not_hide_an_approval() -> None:
    """Where one voter refused and the approval still came, the action is marked as approved."""
    votes = [
        Event("approval.voted", {"approval": "p", "voter": voter, "vote": vote, "arguments_hash": ""}, seq=seq)
        for seq, voter, vote in ((4, "x", "deny"), (5, "y", "approve"))
    ]
    asked = {"approval": "p", "action": "a1", "level": 3, "arguments_hash": "", "needed": 1, "reason": ""}
    (entry,) = build(
        requested("a1", 1),
        decided("a1", 2, "hold"),
        Event("approval.requested", asked, seq=3),
        *votes,
        Event("approval.resolved", {"approval": "p", "action": "a1", "outcome": "allow", "reason": "r"}, seq=6),
        finished("a1", 7),
    )
    assert entry.worst == "approve"
    assert [line.mark for line in entry.lines] == ["hold", "", "against", "for", "approve", "done"]


def test_an_event_whose_request_is_missing_is_still_shown() -> None:
    """A torn ledger gives a timeline that says what is missing, not an exception."""
    entries = build(decided("a9", 2), finished("a9", 3))
    assert "its request is missing" in entries[0].text
    assert [line.seq for line in entries[0].lines] == [2, 3]


def test_events_of_plugins_are_shown_as_they_are() -> None:
    """An event type that no report knows appears with its name and body."""
    (entry,) = build(Event("x.drift.seen", {"score": "0.3"}, seq=1))
    assert (entry.label, entry.text) == ("x.drift.seen", '{"score": "0.3"}')


@pytest.mark.parametrize("arguments", ["not json", "[1]", '{"a": ' + "9" * 5000 + "}", "[" * 100_000])
def test_arguments_that_are_no_object_do_not_break_the_timeline(arguments: str) -> None:
    """Whatever an agent sent as arguments is shown, if only as text."""
    (entry,) = build(requested("a1", 1, arguments=arguments))
    assert entry.text.startswith("t(")


@pytest.mark.parametrize(
    ("microseconds", "text"), [(0, "0.000s"), (12_345, "0.012s"), (3_400_000, "3.4s"), (125_000_000, "2m05s")]
)
def test_durations_are_readable(microseconds: int, text: str) -> None:
    """Durations are given in the unit a reader thinks in."""
    assert timeline.seconds(microseconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (1.0, "1.00"), (0.9996, "0.9996"), (0.0004, "0.0004"), (0.5, "0.50")]
)
def test_a_score_is_not_rounded_to_a_bound_it_does_not_reach(value: float | None, text: str) -> None:
    """0.9996 must not read as 1.00 beside a threshold of 1.00."""
    assert timeline.number(value) == text


@pytest.mark.parametrize(
    ("status", "passed", "mark"),
    [
        ("ok", True, "pass"),
        ("ok", False, "fail"),
        ("ok", None, ""),
        ("error", None, "error"),
        ("not_measured", None, "none"),
    ],
)
def test_a_broken_judge_has_a_mark_of_its_own(status: str, passed: bool | None, mark: str) -> None:
    """Error, not measured and below the threshold are three different marks."""
    assert timeline.score_mark(status, passed) == mark
