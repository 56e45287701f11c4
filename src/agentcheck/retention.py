"""How long events are kept, which are due, and what the streams of custody say of a run. Pure: no I/O and no clock.

A suite names a class of ``[tool.agentcheck.retention]``; the table of events says of each type whether it is content
or record; a class has a number of days for each. Days count from the last event of the run, custody aside, so that
what belongs together goes together. What no rule covers is kept: a missing number, or a class that is not defined
any more, means for ever.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter

from agentcheck.errors import LedgerError
from agentcheck.events import Event, retention

#: The class of a suite that names none; without a table of its own it keeps everything for ever.
STANDARD = "standard"
#: Microseconds.
DAY = 86_400_000_000
#: Types whose payloads stay: who ran, that it ended, and everything that was done to the ledger afterwards.
KEPT = frozenset(
    {
        "run.started",
        "run.finished",
        "custody.opened",
        "custody.closed",
        "hold.placed",
        "hold.released",
        "events.withheld",
    }
)
#: How a stream of custody ends after a purge that did all it meant to do; another ending leaves it to the next one.
PURGED = "purged"
#: Ranges that one tombstone holds; a purge of more writes several.
MOST_RANGES = 10_000

_CUSTODY = re.compile(r"custody-([1-9]\d*)")
#: ``[first, last]`` pairs of sequence numbers, rising, apart from each other.
Ranges = list[list[int]]


@dataclass(frozen=True)
class RetentionClass:
    """Days that content and record are kept after the run's last event; ``None`` is for ever."""

    name: str
    content_days: int | None = None
    record_days: int | None = None

    def days(self, kind: str) -> int | None:
        """The days of ``content`` or ``record``."""
        return self.content_days if kind == "content" else self.record_days


@dataclass
class Schedule:
    """What is due of one run: take its events, then ask. Streams of custody are no part of it.

    ``classes`` are those of the settings now, ``suites`` maps a suite of the run to the class it names.
    """

    classes: Mapping[str, RetentionClass]
    suites: dict[str, str] = field(default_factory=dict)
    ended: int = 0

    def take(self, event: Event) -> None:
        """Note the class of a suite, and when the run was last written to."""
        self.ended = max(self.ended, event.time)
        if event.type == "run.suite":
            self.suites[event.body["suite"]] = event.body["retention"]

    @property
    def undefined(self) -> dict[str, str]:
        """Suites whose class the settings do not define, by name: what is theirs is kept."""
        return {suite: name for suite, name in self.suites.items() if name not in self.classes and name != STANDARD}

    def due(self, event: Event, now: int) -> str:
        """``<class>/content`` or ``<class>/record`` where the event's time has passed at ``now``, else ``""``."""
        if event.type in KEPT:
            return ""
        kind = retention(event.type)
        named = self.suites.get(event.session.partition("::")[0]) if event.session else None
        kept = self._class(named) if named is not None else self._longest(kind)
        days = kept.days(kind)
        return f"{kept.name}/{kind}" if days is not None and self.ended + days * DAY <= now else ""

    def _class(self, name: str) -> RetentionClass:
        return self.classes.get(name) or RetentionClass(name)

    def _longest(self, kind: str) -> RetentionClass:
        """The class that keeps longest among those of the run's suites: what belongs to none of them is under it."""
        found = [self._class(name) for name in sorted(set(self.suites.values())) or [STANDARD]]
        return max(found, key=lambda each: (each.days(kind) is None, each.days(kind) or 0))


def due(events: Iterable[Event], classes: Mapping[str, RetentionClass], now: int) -> dict[tuple[str, str], Ranges]:
    """The sequence numbers that are due at ``now``, by stream and label (`Schedule.due`); custody is passed over."""
    found = [event for event in events if not is_custody(event.stream)]
    schedule = Schedule(classes)
    for event in found:
        schedule.take(event)
    numbers: dict[tuple[str, str], list[int]] = {}
    for event in found:
        label = schedule.due(event, now)
        if label:
            numbers.setdefault((event.stream, label), []).append(event.seq)
    return {key: ranges(seqs) for key, seqs in numbers.items()}


# Streams of custody


@dataclass(frozen=True)
class Hold:
    """A legal hold: where it was placed (stream and number), and who released it, if anybody did."""

    id: str
    reason: str
    by: str
    time: int
    stream: str
    seq: int
    released: Event | None = None


@dataclass(frozen=True)
class Tombstone:
    """One ``events.withheld``: which events of ``stream`` were taken away, why and by whom.

    ``custody`` and ``seq`` are its own place, ``purpose`` is ``purge`` or ``redaction``.
    """

    custody: str
    seq: int
    time: int
    stream: str
    ranges: Ranges
    count: int
    purpose: str
    retention: str
    reason: str
    by: str


class Custody:
    """The fold of all streams of custody of a run; they come in the order of their numbers."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.holds: dict[str, Hold] = {}
        self.tombstones: list[Tombstone] = []
        self.opened: dict[str, Event] = {}
        self.closed: dict[str, str] = {}
        for event in events:
            self.take(event)

    def take(self, event: Event) -> None:
        """Take one event of a stream of custody."""
        handler = _HANDLERS.get(event.type)
        if handler:
            handler(self, event)

    def _opened(self, event: Event) -> None:
        self.opened[event.stream] = event

    def _closed(self, event: Event) -> None:
        self.closed[event.stream] = event.body["status"]

    def _placed(self, event: Event) -> None:
        body = event.body
        hold = Hold(body["hold"], body["reason"], body["by"], event.time, event.stream, event.seq)
        self.holds[hold.id] = hold

    def _released(self, event: Event) -> None:
        hold = self.holds.get(event.body["hold"])
        if hold is not None and hold.released is None:
            self.holds[hold.id] = replace(hold, released=event)

    def _withheld(self, event: Event) -> None:
        body = event.body
        try:
            taken = merged(body["ranges"])
        except (TypeError, ValueError):
            where = f"{event.stream}:{event.seq}"
            raise LedgerError("the ranges of events.withheld are no pairs of numbers", where=where) from None
        self.tombstones.append(
            Tombstone(
                event.stream,
                event.seq,
                event.time,
                body["stream"],
                taken,
                body["count"],
                body["purpose"],
                body["retention"],
                body["reason"],
                body["by"],
            )
        )

    @property
    def in_force(self) -> list[Hold]:
        """Holds that nobody released."""
        return [hold for hold in self.holds.values() if hold.released is None]

    @property
    def unfinished(self) -> bool:
        """Whether a purge wrote tombstones, did not come to its end, and no later one did it for it."""
        begun = [custody_number(each.custody) for each in self.tombstones if each.purpose == "purge"]
        ended = [custody_number(stream) for stream, status in self.closed.items() if status == PURGED]
        return bool(begun) and max(begun) > max(ended, default=0)

    def covered(self, stream: str, purpose: str = "") -> Ranges:
        """The numbers of a stream that tombstones name (of one purpose, where it is given)."""
        pairs = (
            pair
            for each in self.tombstones
            if each.stream == stream and purpose in ("", each.purpose)
            for pair in each.ranges
        )
        return merged(pairs)


_HANDLERS: Mapping[str, Callable[[Custody, Event], None]] = {
    "custody.opened": Custody._opened,
    "custody.closed": Custody._closed,
    "hold.placed": Custody._placed,
    "hold.released": Custody._released,
    "events.withheld": Custody._withheld,
}


def is_custody(stream: str) -> bool:
    """Whether a stream is one of custody, and none of the run's own."""
    return _CUSTODY.fullmatch(stream) is not None


def custody_number(stream: str) -> int:
    """The number of a stream of custody; 0 of any other."""
    found = _CUSTODY.fullmatch(stream)
    return int(found.group(1)) if found else 0


def next_custody(streams: Iterable[str]) -> str:
    """The name of the next stream of custody."""
    return f"custody-{max(map(custody_number, streams), default=0) + 1}"


# Ranges of sequence numbers


def ranges(numbers: Iterable[int]) -> Ranges:
    """Rising numbers as ranges."""
    found: Ranges = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def merged(pairs: Iterable[Iterable[int]]) -> Ranges:
    """Ranges in any order, and overlapping, as `Ranges`."""
    found: Ranges = []
    for first, last in sorted((int(a), int(b)) for a, b in pairs):
        if found and first <= found[-1][1] + 1:
            found[-1][1] = max(found[-1][1], last)
        elif first <= last:
            found.append([first, last])
    return found


def without(whole: Ranges, part: Ranges) -> Ranges:
    """What of ``whole`` is not in ``part``."""
    left: Ranges = []
    for first, last in whole:
        at = first
        for low, high in part[max(0, bisect_right(part, [first]) - 1) :]:
            if low > last:
                break
            if high < at:
                continue
            if low > at:
                left.append([at, low - 1])
            at = high + 1
        if at <= last:
            left.append([at, last])
    return left


def count(whole: Ranges) -> int:
    """How many numbers ranges hold."""
    return sum(last - first + 1 for first, last in whole)


def holds_number(whole: Ranges, number: int) -> bool:
    """Whether a number is in ranges."""
    place = bisect_right(whole, number, key=itemgetter(0)) - 1
    return place >= 0 and whole[place][0] <= number <= whole[place][1]


def chunks(whole: Ranges) -> Iterator[Ranges]:
    """Ranges in pieces that a tombstone can hold."""
    for start in range(0, len(whole), MOST_RANGES):
        yield whole[start : start + MOST_RANGES]
