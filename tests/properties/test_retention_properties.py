"""What is due, and ranges of numbers: over any run, class and time."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agentcheck.events import TABLE, Event, retention
from agentcheck.retention import DAY, KEPT, RetentionClass, due
from agentcheck.tombstones import chunks, count, holds_number, merged, ranges, without

SUITES = ("clinic", "payables")
NAMES = ("standard", "patient", "trade", "gone")
days = st.one_of(st.none(), st.integers(0, 400))
numbers = st.sets(st.integers(1, 60)).map(sorted)


@st.composite
def classes(draw: st.DrawFn) -> Mapping[str, RetentionClass]:
    """Some of the classes, none of them keeping records shorter than content."""
    found = {}
    for name in draw(st.sets(st.sampled_from(NAMES[:3]))):
        content = draw(days)
        record = None if content is None else draw(st.one_of(st.none(), st.integers(content, 800)))
        found[name] = RetentionClass(name, content, record)
    return found


@st.composite
def runs(draw: st.DrawFn) -> list[Event]:
    """Events of two streams and one of custody, of two suites and of the run itself."""
    named = {suite: draw(st.sampled_from(NAMES)) for suite in SUITES}
    found = [
        Event("run.suite", {"suite": suite, "retention": name}, "", draw(st.integers(0, DAY)), place, "main")
        for place, (suite, name) in enumerate(named.items(), 1)
    ]
    types = st.sampled_from([*sorted(set(TABLE) - {"run.suite"}), "x.plugin.thing"])
    for stream, first in (("main", 3), ("gw0", 1), ("custody-1", 1)):
        for seq in range(first, first + draw(st.integers(0, 12))):
            session = draw(st.sampled_from(["", "clinic::a#1", "payables::b#2"]))
            found.append(Event(draw(types), {}, session, draw(st.integers(0, 3 * DAY)), seq, stream))
    return found


def taken(events: list[Event], known: Mapping[str, RetentionClass], now: int) -> set[tuple[str, int]]:
    """Stream and number of everything that is due."""
    return {
        (stream, seq)
        for (stream, _), whole in due(events, known, now).items()
        for first, last in whole
        for seq in range(first, last + 1)
    }


@given(runs(), classes(), st.integers(0, 1000))
def test_what_is_due_is_what_the_rules_say_and_nothing_else(
    events: list[Event], known: Mapping[str, RetentionClass], age: int
) -> None:
    """Each event by itself: its suite's class, or the one of the run that keeps longest, counted from the end."""
    own = [event for event in events if event.stream != "custody-1"]
    end = max(event.time for event in own)
    named = {event.body["suite"]: event.body["retention"] for event in events if event.type == "run.suite"}
    expected = set()
    for event in own:
        kind = retention(event.type)
        suites = [event.session.partition("::")[0]] if event.session else list(named)
        found = [known.get(named[suite], RetentionClass("")).days(kind) for suite in suites]
        if event.type not in KEPT and None not in found and end + max(d or 0 for d in found) * DAY <= end + age * DAY:
            expected.add((event.stream, event.seq))
    assert taken(events, known, end + age * DAY) == expected


@given(runs(), classes(), st.integers(0, 1000), st.integers(0, 1000))
def test_time_only_adds_and_content_goes_first(
    events: list[Event], known: Mapping[str, RetentionClass], age: int, later: int
) -> None:
    """What is due stays due; nothing is due before the run ended; of a session no record goes while content stays."""
    end = max(event.time for event in events if event.stream != "custody-1")
    now = taken(events, known, end + age * DAY)
    assert now <= taken(events, known, end + (age + later) * DAY)
    assert taken(events, known, end - 1) == set()
    for session in ("clinic::a#1", "payables::b#2"):
        own = [event for event in events if event.session == session and event.stream != "custody-1"]
        records = [event for event in own if (event.stream, event.seq) in now and retention(event.type) == "record"]
        if records:
            assert all((e.stream, e.seq) in now for e in own if retention(e.type) == "content" and e.type not in KEPT)


@given(st.integers(0, 400), st.integers(0, 3 * DAY))
def test_what_is_due_is_due_on_the_microsecond(age: int, end: int) -> None:
    """The last day counts whole, and not a moment more."""
    events = [Event("run.suite", {"suite": "s", "retention": "p"}, "", end, 1, "main")]
    events.append(Event("case.turn", {}, "s::a#1", end, 2, "main"))
    known = {"p": RetentionClass("p", age)}
    assert taken(events, known, end + age * DAY - 1) == set()
    assert taken(events, known, end + age * DAY) == {("main", 2)}


@given(runs(), st.integers(0, 10**6))
def test_without_classes_nothing_is_ever_due(events: list[Event], age: int) -> None:
    """No table, no purge; nor for a suite whose class nobody defines."""
    assert taken(events, {}, age * DAY) == set()


@given(numbers, numbers)
def test_ranges_are_the_sets_they_stand_for(one: list[int], other: list[int]) -> None:
    """Making, joining, taking away, counting, asking and cutting agree with plain sets."""

    def spread(whole: list[list[int]]) -> set[int]:
        return {number for first, last in whole for number in range(first, last + 1)}

    a, b = ranges(one), ranges(other)
    assert spread(a) == set(one)
    assert count(a) == len(one)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(a))
    assert merged([*b, *a, *b]) == ranges(sorted({*one, *other}))
    assert without(a, b) == ranges(sorted(set(one) - set(other)))
    assert [number for number in range(62) if holds_number(a, number)] == one
    assert [pair for piece in chunks(a) for pair in piece] == a
