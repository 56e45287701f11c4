"""What is told of withheld events: by which tombstone, and where tombstones and rows do not agree."""

from __future__ import annotations

import re
from typing import Any

import pytest

from agentcheck.contracts import Row
from agentcheck.errors import LedgerError
from agentcheck.events import Event
from agentcheck.tombstones import Account, Custody, custody_number, is_custody, is_of_copy, next_custody

GONE = b"\x00" + bytes(32)


def stone(ranges: Any, *, stream: str = "main", custody: str = "custody-1", purpose: str = "purge") -> Event:
    """A tombstone."""
    body = {"stream": stream, "ranges": ranges, "count": 3, "purpose": purpose, "retention": "p/content"}
    return Event("events.withheld", {**body, "reason": "due", "by": "bob"}, time=1_800_000_000_000_000, stream=custody)


def account(withheld: set[int], *events: Event) -> Account:
    """A stream of ten events of which these are withheld."""
    made = Account()
    rows = [Row("main", seq, GONE if seq in withheld else b"{}", bytes(32)) for seq in range(1, 11)]
    assert [row.seq for row in made.readable("main", rows)] == [n for n in range(1, 11) if n not in withheld]
    for event in events:
        made.custody.take(event)
    return made


def closed(stream: str, status: str) -> Event:
    """The end of a stream of custody."""
    return Event("custody.closed", {"status": status}, stream=stream)


def test_a_whole_run_has_nothing_to_tell() -> None:
    """Neither numbers nor notes."""
    assert (account(set()).total, list(account(set()).notes(10)), account(set()).near("main", 1, 10)) == (0, [], "")


def test_withheld_events_are_counted_with_their_tombstone() -> None:
    """How many of how many, and by which stream, purpose, class, person, date and reason."""
    found = list(account({3, 4, 5}, stone([[3, 5]]), closed("custody-1", "purged")).notes(10))
    assert found[0][0] == "warning"
    assert found[0][1].startswith("3 of 10 events are withheld")
    assert found[1:] == [("info", "custody-1: 3 events withheld, purge of p/content by bob on 2027-01-15: due")]


@pytest.mark.parametrize(
    ("withheld", "events", "told"),
    [
        ({3, 4, 5}, (stone([[3, 4]]), closed("custody-1", "purged")), "error: 1 events are withheld and no tombstone"),
        ({3}, (), "error: 1 events are withheld and no tombstone names them"),
        ({3}, (stone([[3, 3]], stream="gw0"), closed("custody-1", "purged")), "error: 1 events are withheld and no"),
        ({3}, (stone([[3, 5]]), closed("custody-1", "purged")), "a purge stopped before its end (2 events"),
        ({3, 4, 5}, (stone([[3, 5]]),), "a purge stopped before its end (0 events"),
        ({3, 4, 5}, (stone([[3, 5]]), closed("custody-1", "failed")), "a purge stopped before its end (0 events"),
    ],
)
def test_where_rows_and_tombstones_disagree_it_is_told(
    withheld: set[int], events: tuple[Event, ...], told: str
) -> None:
    """A payload without a tombstone, a tombstone without its deletion, a purge without its end."""
    assert told in "\n".join(f"{level}: {text}" for level, text in account(withheld, *events).notes(10))


def test_a_later_purge_ends_an_earlier_one_and_a_copy_ends_none() -> None:
    """Unfinished is a purge after which none came to its end, in the order of the numbers, ten after two."""
    first, later = stone([[1, 2]], custody="custody-2"), closed("custody-10", "purged")
    assert Custody([first]).unfinished
    assert not Custody([first, later]).unfinished
    assert Custody([first, closed("custody-1", "purged")]).unfinished
    assert Custody([first, closed("custody-10", "held")]).unfinished
    assert not Custody([stone([[1, 2]], purpose="redaction")]).unfinished


def test_the_first_release_of_a_hold_stands() -> None:
    """A second one changes nothing, and one of a hold that nobody placed is passed over."""
    placed = Event("hold.placed", {"hold": "hold-1", "reason": "x", "by": "ann"}, stream="custody-1")
    ends = [
        Event("hold.released", {"hold": name, "reason": "y", "by": by}, stream="custody-2")
        for name, by in (("hold-1", "bob"), ("hold-1", "eve"), ("hold-9", "eve"))
    ]
    assert [each.id for each in Custody([placed]).in_force] == ["hold-1"]
    custody = Custody([placed, *ends])
    assert custody.in_force == []
    assert custody.holds["hold-1"].released is ends[0]
    assert list(custody.holds) == ["hold-1"]


def test_what_may_be_of_a_trial_is_what_lies_within_and_right_beside_it() -> None:
    """Withheld events next to the first and the last one count too: a trial begins and ends with content."""
    made = account({2, 3, 6, 9}, stone([[2, 3], [6, 6], [9, 9]]))
    assert made.near("main", 4, 7).startswith("3 events of main from #2 to #6 are withheld (custody-1)")
    assert made.near("main", 4, 8).startswith("4 events of main from #2 to #9")
    assert made.near("main", 11, 12) == ""
    assert "no tombstone names them" in account({2}).near("main", 1, 3)
    assert (made.any_in("main", 9), made.any_in("main", 10), made.any_in("gw0")) == (True, False, False)


@pytest.mark.parametrize("ranges", [[[1]], [1, 2], [["a", "b"]], [[1, 2, 3]]])
def test_ranges_that_are_none_are_told_with_their_place(ranges: Any) -> None:
    """A tombstone that another program wrote badly is an error of the ledger, not of ours."""
    with pytest.raises(LedgerError) as raised:
        Custody([stone(ranges)])
    assert raised.value.where == "custody-1:0"


def test_streams_of_custody_are_known_by_their_name() -> None:
    """Numbers from one on, the next after the highest; nothing else is one."""
    assert [is_custody(name) for name in ("custody-1", "custody-10", "custody-0", "custody-01", "custody", "main")] == [
        *(True, True, False, False, False, False)
    ]
    assert next_custody(["main", "custody-2", "custody-10"]) == "custody-11"
    assert next_custody(["main"]) == "custody-1"


def test_streams_of_custody_of_a_copy_have_names_that_nothing_else_has() -> None:
    """They go on counting, so that acts keep their order, and end in random digits."""
    name = next_custody(["main", "custody-2"], copy=True)
    assert re.fullmatch(r"custody-copy-3-[0-9a-f]{8}", name)
    assert next_custody(["main", "custody-2"], copy=True) != name
    assert (is_custody(name), is_of_copy(name), custody_number(name)) == (True, True, 3)
    assert next_custody(["main", name], copy=True).startswith("custody-copy-4-")
    assert not any(map(is_of_copy, ("custody-3", "main", "custody-copy-3", f"custody-copy-0-{name[-8:]}")))
