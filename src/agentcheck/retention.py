"""How long events are kept, and which are due. Pure: no I/O and no clock.

A suite names a class of ``[tool.agentcheck.retention]``; the table of events says of each type whether it is content
or record; a class has a number of days for each. Days count from the last event of the run, custody aside, so that
what belongs together goes together. What no rule covers is kept: a missing number, or a class that is not defined
any more, means for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agentcheck.events import Event, retention
from agentcheck.tombstones import Ranges, Tombstone, is_custody, ranges

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
        label, time = self.when(event)
        return label if time is not None and time <= now else ""

    def when(self, event: Event) -> tuple[str, int | None]:
        """The label of an event, and the time from which it is due; ``None`` is never, for what has no label too."""
        if event.type in KEPT:
            return "", None
        kind = retention(event.type)
        named = self.suites.get(event.session.partition("::")[0]) if event.session else None
        kept = self._class(named) if named is not None else self._longest(kind)
        days = kept.days(kind)
        return f"{kept.name}/{kind}", None if days is None else self.ended + days * DAY

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


@dataclass
class Due:
    """What a purge takes of one stream under one label (``patient/content``): numbers, and bytes that they free."""

    stream: str
    label: str
    numbers: list[int] = field(default_factory=list)
    size: int = 0

    @property
    def ranges(self) -> Ranges:
        """The numbers as ranges."""
        return ranges(self.numbers)


@dataclass
class Purge:
    """What a purge did, or would do.

    ``pending`` are numbers by stream that an earlier tombstone names and that are still there, ``earlier`` these
    tombstones and how many events of each; ``unfinished`` are the tombstones of purges that did not come to their end.
    ``upcoming`` is when the next of what is not due will be, and its label; ``kept`` are labels that never will.
    ``removed`` are the names of derived files, ``unknown`` of files that agentcheck did not write and left.
    ``undefined`` are suites whose class nobody defines any more, so that they are kept. ``custody`` is the stream
    written; empty where none was.
    """

    run: str
    due: list[Due]
    pending: dict[str, list[int]]
    undefined: dict[str, str]
    ended: int
    content_left: bool
    unfinished: list[Tombstone]
    earlier: list[tuple[Tombstone, int]] = field(default_factory=list)
    upcoming: tuple[int, str] | None = None
    kept: set[str] = field(default_factory=set)
    removed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    custody: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.due or self.pending or self.unfinished)
