"""What the streams of custody say of a run: holds in force, tombstones, and what is withheld. Pure: no I/O, no clock.

A stream of custody is called ``custody-<n>``; in a copy of the run ``custody-copy-<n>-<8 random hex digits>``, so that
what is signed of a copy never meets a stream of the run itself. It is none of the run's own: nothing that it says is
about a case.
"""

from __future__ import annotations

import re
import secrets
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from operator import itemgetter

from agentcheck.contracts import Row
from agentcheck.errors import LedgerError
from agentcheck.events import Event

#: How a stream of custody ends after a purge that did all it meant to do; another ending leaves it to the next one.
PURGED = "purged"
#: Ranges that one tombstone holds; a purge of more writes several.
MOST_RANGES = 10_000

_CUSTODY = re.compile(r"custody-([1-9]\d*)|custody-copy-([1-9]\d*)-[0-9a-f]{8}")
#: ``[first, last]`` pairs of sequence numbers, rising, apart from each other.
Ranges = list[list[int]]


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
    def unfinished(self) -> list[Tombstone]:
        """The tombstones of purges that did not come to their end, and of which no later one did it for them."""
        ended = max((custody_number(stream) for stream, status in self.closed.items() if status == PURGED), default=0)
        return [each for each in self.tombstones if each.purpose == "purge" and custody_number(each.custody) > ended]

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


class Account:
    """What of a run is withheld: the rows found so, held against the tombstones that name them."""

    def __init__(self) -> None:
        self.custody = Custody()
        self._numbers: dict[str, Ranges] = {}

    def readable(self, stream: str, rows: Iterable[Row]) -> Iterator[Row]:
        """Pass on the rows of a stream, in order, that still hold their events; note the others."""
        found: Ranges = []
        for row in rows:
            if row[2][:1] != b"\x00":
                yield row
            elif found and row.seq == found[-1][1] + 1:
                found[-1][1] = row.seq
            else:
                found.append([row.seq, row.seq])
                self._numbers[stream] = found  # at once: what follows is folded with it in mind

    @property
    def total(self) -> int:
        """How many events are withheld."""
        return sum(map(count, self._numbers.values()))

    def still_there(self, stone: Tombstone) -> int:
        """How many of the events that a tombstone names still hold their payloads."""
        return count(without(stone.ranges, self._numbers.get(stone.stream, [])))

    def any_in(self, stream: str, start: int = 1) -> bool:
        """Whether a stream has withheld events from ``start`` on."""
        found = self._numbers.get(stream)
        return bool(found) and found[-1][1] >= start  # type: ignore[index]

    def near(self, stream: str, first: int, last: int) -> str:
        """What is withheld between two numbers of a stream and right beside them, in words; empty: nothing."""
        found = [pair for pair in self._numbers.get(stream, ()) if pair[1] >= first - 1 and pair[0] <= last + 1]
        if not found:
            return ""
        by = sorted({each.custody for each in self.custody.tombstones if each.stream == stream}, key=custody_number)
        told = f"{count(found)} events of {stream} from #{found[0][0]} to #{found[-1][1]} are withheld"
        return f"{told} ({', '.join(by) or 'no tombstone names them'}); which of them are of this trial is not known"

    def notes(self, total: int) -> Iterator[tuple[str, str]]:
        """What a reader of the run should know, as (level, text); ``total`` is how many events the run has."""
        for hold in self.custody.in_force:
            yield "info", f"legal hold {hold.id} in force, placed by {hold.by} on {day(hold.time)}: {hold.reason}"
        if self.total:
            yield (
                "warning",
                f"{self.total} of {total} events are withheld: what they held is not shown, and counts of results, "
                "tokens, costs and cases leave it out",
            )
        acts: dict[tuple[str, ...], list[int]] = {}
        for each in self.custody.tombstones:
            what = f"{each.purpose}{f' of {each.retention}' if each.retention else ''}"
            key = (each.custody, what, each.by, day(each.time), each.reason)
            acts.setdefault(key, [0, 0])
            acts[key][0] += each.count
            acts[key][1] += self.still_there(each)
        for (stream, what, by, date, reason), (number, still) in acts.items():
            if still:
                told = f"not carried out ({still} of {number} events are still there): {what} by {by} on {date}"
                yield "warning", f"{stream}: {told}: {reason}"
            else:
                yield "info", f"{stream}: {number} events withheld, {what} by {by} on {date}: {reason}"
        yield from self._discrepancies()

    def _discrepancies(self) -> Iterator[tuple[str, str]]:
        named = {each.stream for each in self.custody.tombstones}
        bare = sum(count(without(found, self.custody.covered(stream))) for stream, found in self._numbers.items())
        if bare:
            yield "error", f"{bare} events are withheld and no tombstone names them"
        still = sum(count(without(self.custody.covered(stream), self._numbers.get(stream, []))) for stream in named)
        if still or self.custody.unfinished:
            yield (
                "warning",
                f"a purge stopped before its end ({still} events that it names are still there); purge again",
            )


def day(time: int) -> str:
    """The date, in UTC, of a time in microseconds since the Unix epoch."""
    return datetime.fromtimestamp(time / 1_000_000, timezone.utc).strftime("%Y-%m-%d")


def is_custody(stream: str) -> bool:
    """Whether a stream is one of custody, and none of the run's own."""
    return _CUSTODY.fullmatch(stream) is not None


def custody_number(stream: str) -> int:
    """The number of a stream of custody; 0 of any other."""
    found = _CUSTODY.fullmatch(stream)
    return int(found[1] or found[2]) if found else 0


def is_of_copy(stream: str) -> bool:
    """Whether a stream of custody belongs to a copy of a run."""
    return is_custody(stream) and stream.startswith("custody-copy-")


def next_custody(streams: Iterable[str], *, copy: bool = False) -> str:
    """The name of the next stream of custody; in a copy one that no stream of the run, or of another copy, has."""
    number = max(map(custody_number, streams), default=0) + 1
    return f"custody-copy-{number}-{secrets.token_hex(4)}" if copy else f"custody-{number}"


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
