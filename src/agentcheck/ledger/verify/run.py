"""A whole run: all its streams, what they say of each other, what was withheld, and the checkpoints over them."""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .notes import Checkpoint, Signed, Trust, Unusable, check, parse
from .sqlite import Damaged, SqliteSource
from .stream import NAMED, Bad, Source, Stream, check_chain, read_ends, read_events
from .tree import EMPTY

CONSISTENT, INCONSISTENT = "CONSISTENT", "INCONSISTENT"
WITH_CHECKPOINT, WITNESSED = "CONSISTENT_WITH_CHECKPOINT", "WITNESSED"


@dataclass(frozen=True)
class Problem:
    """Something that does not hold. ``seq`` is the first bad sequence number of the stream (0: not about one row)."""

    file: str
    stream: str
    seq: int
    reason: str

    def __str__(self) -> str:
        place = f"{self.file}, stream {self.stream}" if self.stream else self.file
        return f"{place}, event {self.seq}: {self.reason}" if self.seq else f"{place}: {self.reason}"


@dataclass(frozen=True)
class Note:
    """A checkpoint as it was given: its text, where it is from, and whether it was named (not found in a folder)."""

    text: str
    where: str
    named: bool = True


@dataclass(frozen=True)
class Covering:
    """A checkpoint that holds for a stream."""

    where: str
    checkpoint: Checkpoint
    signed: Signed


@dataclass
class Result:
    """What was found. ``problems`` are ordered; the first is the one to look at.

    ``verdict`` is `INCONSISTENT`, `CONSISTENT`, `WITH_CHECKPOINT` or `WITNESSED`. ``covered`` counts the events that
    checkpoints cover, ``time`` is that of the earliest checkpoint which that takes (seconds since the Unix epoch by
    the signer's clock; 0: it states none), ``witnesses`` how many saw each of them. ``exceptions`` are no corruption:
    streams without an end, actions without a result, events outside the checkpoints. ``met`` counts the checkpoints
    that are of this run, ``unmet`` is what was asked for and is not there.
    """

    path: str
    verdict: str = CONSISTENT
    streams: list[Stream] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    exceptions: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    unmet: list[str] = field(default_factory=list)
    checkpoints: dict[str, Covering] = field(default_factory=dict)
    met: int = 0
    covered: int = 0
    time: int = 0
    witnesses: int = 0
    events_read: bool = False

    @property
    def consistent(self) -> bool:
        """Whether everything that was looked at holds."""
        return self.verdict != INCONSISTENT

    @property
    def events(self) -> int:
        """How many events were derived, over all streams."""
        return sum(stream.events for stream in self.streams)

    def add(self, problem: Problem) -> None:
        """Note a problem."""
        self.problems.append(problem)
        self.verdict = INCONSISTENT


def verify_sources(
    sources: Sequence[Source],
    path: str,
    *,
    whole_run: bool,
    events: bool = False,
    notes: Sequence[Note] = (),
    trust: Trust | None = None,
    processes: int = 0,
) -> Result:
    """Check what the sources hold. ``whole_run`` says that they are all there is of one run.

    With ``events``, every event is decoded too. ``processes`` share long streams (0: one for each processor).
    """
    result = Result(path, events_read=events)
    found: dict[str, tuple[Source, Stream]] = {}
    wanted, unreadable = _parse(notes)
    with contextlib.ExitStack() as stack:
        for source in sources:
            stack.callback(source.close)
            for stream in _check_source(source, result, wanted, events, processes):
                if stream.name in found:
                    also = found[stream.name][1].file
                    result.add(Problem(source.name, stream.name, 0, f"{also} holds a stream of this name too"))
                found.setdefault(stream.name, (source, stream))
        if not result.problems and not result.events:
            result.add(Problem(path, "", 0, "there are no events"))
        _check_claims(result, found, whole_run)
        _check_withheld(result, found, whole_run)
        for problem in unreadable:
            result.add(problem)
        if notes:
            _check_checkpoints(result, wanted, trust or Trust(), found)
    _list_exceptions(result, whole_run)
    return result


# One source


def _check_source(
    source: Source, result: Result, wanted: Sequence[tuple[Note, Checkpoint]], events: bool, processes: int
) -> Iterator[Stream]:
    try:
        if isinstance(source, SqliteSource) and source.is_blank:
            result.exceptions.append(f"{source.name} is empty: the process ended before its first event was stored")
            return
        result.notices += [f"{source.name}: {text}" for text in source.notices()]
        rows = 0
        for name, last in source.streams():
            stream = Stream(source.name, name)
            result.streams.append(stream)
            _check_stream(source, stream, last, result, wanted, events, processes)
            rows += stream.events
            yield stream
        for fault in source.faults():
            result.add(Problem(source.name, "", 0, fault))
        found = rows if result.problems or not isinstance(source, SqliteSource) else source.count(rows, every=events)
        if rows != found:
            # Rows that the index does not know are not met stream by stream.
            reason = f"rows without a place: {rows} of the {found} in the table are found by stream and number"
            result.add(Problem(source.name, "", 0, reason))
    except Damaged as error:
        result.add(Problem(source.name, "", 0, f"the storage is damaged, or holds no ledger: {error}"))


def _check_stream(
    source: Source,
    stream: Stream,
    last: int,
    result: Result,
    wanted: Sequence[tuple[Note, Checkpoint]],
    events: bool,
    processes: int,
) -> None:
    if not stream.name or "/" in stream.name:
        result.add(Problem(source.name, stream.name, 1, "the name of a stream is empty or holds a /"))
    sizes = sorted({point.size for _, point in wanted if point.origin.endswith(f"/{stream.name}")})
    try:
        check_chain(source, stream, last, sizes, processes)
        if events:
            read_events(source, stream, range(1, stream.events + 1))
        else:
            read_ends(source, stream)
    except Bad as bad:
        stream.status = "broken"
        result.add(Problem(source.name, stream.name, bad.seq, bad.reason))


# What streams say of each other


def _check_claims(result: Result, found: dict[str, tuple[Source, Stream]], whole_run: bool) -> None:
    elsewhere: set[str] = set()
    for stream in result.streams:
        for at, other, size, head in stream.claims:
            if other in found or not size:
                _check_claim(result, stream, at, found.get(other), size, head)
            elif whole_run:
                reason = f"missing stream: {other} ({size} events) is named here"
                result.add(Problem(stream.file, stream.name, at, reason))
            else:
                elsewhere.add(other)
    if elsewhere:
        result.notices.append(f"not looked at: {', '.join(sorted(elsewhere))}; give the whole run to check them too")
    runs = {stream.run for stream in result.streams if stream.events and stream.status != "broken"}
    if len(runs) > 1:
        result.add(Problem(result.path, "", 0, f"streams of several runs: {', '.join(sorted(runs))}"))
    named = {other for stream in result.streams for _, other, _, _ in stream.claims}
    if whole_run and any(each.name.startswith("main") and each.status == "finished" for each in result.streams):
        for stream in result.streams:
            if stream.name not in named and not stream.name.startswith("main") and not stream.is_custody:
                result.exceptions.append(f"stream {stream.name} is not named where the run ends")


def _check_claim(
    result: Result, stream: Stream, at: int, found: tuple[Source, Stream] | None, size: int, head: str
) -> None:
    if found is None or not size:
        return  # a head of no events says nothing
    source, other = found
    if other.status == "broken" and other.events < size:
        return  # reported already, with the event at which it breaks
    row = source.value(other.name, size)
    there = row[1].hex() if row and type(row[1]) is bytes else ""
    if other.events < size and there == head:
        result.exceptions.append(f"stream {other.name} grew while it was read; verify it again when the run has ended")
    elif other.events < size:
        reason = f"missing rows: {stream.name}:{at} names {size} events, {other.events} are there"
        result.add(Problem(other.file, other.name, other.events + 1, reason))
    elif there != head:
        result.add(Problem(other.file, other.name, size, f"not the chain value that {stream.name}:{at} names"))
    elif other.events > size and at == stream.events:
        more = other.events - size
        result.exceptions.append(
            f"stream {other.name} has {more} events after the {size} that {stream.name}:{at} names"
        )


def _check_withheld(result: Result, found: dict[str, tuple[Source, Stream]], whole_run: bool) -> None:
    """A payload is withheld by a tombstone in a stream of custody, or it was simply taken away."""
    for stream in result.streams:
        if not stream.withheld:
            continue
        ranges = sorted(
            (first, last) for each in result.streams for _, name, first, last in each.tombstones if name == stream.name
        )
        missing = next(_uncovered(stream.withheld, ranges), 0)
        count = sum(last - first + 1 for first, last in stream.withheld)
        if missing and whole_run:
            reason = "the payload was taken away, and no tombstone in a stream of custody says so"
            result.add(Problem(stream.file, stream.name, missing, reason))
        else:
            authors = {each.name for each in result.streams for one in each.tombstones if one[1] == stream.name}
            by = ", ".join(sorted(authors))
            result.exceptions.append(
                f"stream {stream.name}: {count} of {stream.events} events are withheld, so actions without a result "
                "are not told" + (f"; {by} says so" if by else "; give the whole run to see who withheld them")
            )


def _uncovered(withheld: Sequence[tuple[int, int]], allowed: Sequence[tuple[int, int]]) -> Iterator[int]:
    """The first number of each withheld range that no allowed range covers; both are sorted."""
    merged: list[list[int]] = []
    for begin, end in allowed:
        if merged and begin <= merged[-1][1] + 1:
            merged[-1][1] = max(merged[-1][1], end)
        elif begin <= end:
            merged.append([begin, end])
    ends = [end for _, end in merged]
    for first, last in withheld:
        at = bisect_left(ends, first)
        if at == len(merged) or merged[at][0] > first:
            yield first
        elif merged[at][1] < last:
            yield merged[at][1] + 1


# Checkpoints


def _parse(notes: Sequence[Note]) -> tuple[list[tuple[Note, Checkpoint]], list[Problem]]:
    found, unreadable = [], []
    for note in notes:
        try:
            found.append((note, parse(note.text)))
        except Unusable as error:
            unreadable.append(Problem(note.where, "", 0, f"no checkpoint: {error}"))
    return found, unreadable


def _check_checkpoints(
    result: Result, wanted: Sequence[tuple[Note, Checkpoint]], trust: Trust, found: dict[str, tuple[Source, Stream]]
) -> None:
    run = next((stream.run for stream in result.streams if stream.run), "")
    holding: dict[str, list[Covering]] = {}
    differing: dict[str, list[Covering]] = {}
    for note, point in wanted:
        head, _, name = point.origin.rpartition("/")
        if head.rpartition("/")[2] != run:
            if note.named:
                result.add(Problem(note.where, "", 0, f"a checkpoint of {point.origin}, not of the run {run}"))
            continue
        if not note.named and name.startswith("custody-copy-") and name not in found:
            continue  # what was done to a copy of this run, which is not this one
        result.met += 1
        try:
            covering = Covering(note.where, point, check(point, trust))
        except Unusable as error:
            result.add(Problem(note.where, "", 0, str(error)))
            continue
        stream = found[name][1] if name in found else Stream("", name, roots={0: EMPTY})
        if stream.events < point.size and stream.status != "broken":
            _tell_missing(result, stream, covering)
        elif stream.roots.get(point.size) not in (point.root, None):
            differing.setdefault(name, []).append(covering)
        elif stream.events >= point.size:
            holding.setdefault(name, []).append(covering)
    for name, points in differing.items():
        stream = found[name][1] if name in found else Stream(result.path, name)
        _tell_fork(result, stream, points, holding.get(name, []))
    for name, points in holding.items():
        best = max(points, key=lambda each: (each.checkpoint.size, len(each.signed.witnesses)))
        result.checkpoints[name] = best
    if not result.problems:
        _cover(result)


def _tell_missing(result: Result, stream: Stream, covering: Covering) -> None:
    size = covering.checkpoint.size
    if not stream.events:
        reason = f"the checkpoint {covering.where} covers {size} events; there is no such stream"
        result.add(Problem(result.path, stream.name, 1, reason))
        return
    reason = (
        f"missing rows: the checkpoint {covering.where} covers {size} events, {stream.events} are there; "
        "the tail was cut, or this is an older copy"
    )
    result.add(Problem(stream.file, stream.name, stream.events + 1, reason))


def _tell_fork(result: Result, stream: Stream, differing: Sequence[Covering], holding: Sequence[Covering]) -> None:
    """Events that are not those which were signed: the first of them lies after the last checkpoint that holds."""
    first = min(differing, key=lambda each: each.checkpoint.size)
    size = first.checkpoint.size
    after = max((each.checkpoint.size for each in holding if each.checkpoint.size < size), default=0)
    where = f"event {size} is" if after + 1 >= size else f"one of the events {after + 1} to {size} is"
    reason = f"{where} not the one that {first.where} was signed over: changed and chained anew, or another branch"
    agreeing = [each for each in (*holding, *differing) if each.checkpoint.size == size and each is not first]
    if any(each.checkpoint.root != first.checkpoint.root for each in agreeing):
        reason += f"; key {first.signed.log} signed two different trees of {size} events (a fork)"
    result.add(Problem(stream.file, stream.name, after + 1, reason))


def _cover(result: Result) -> None:
    """Follow heads that covered events name, and see how far all streams are covered, since when, and seen by whom."""
    by_name = {stream.name: stream for stream in result.streams}
    direct = {name: covering.checkpoint.size for name, covering in result.checkpoints.items()}
    named = dict.fromkeys(by_name, 0)  # how far events of other streams cover them that are covered themselves
    changed = True
    while changed:
        changed = False
        for stream in result.streams:
            stream.covered = max(direct.get(stream.name, 0), named[stream.name])
            for at, other, size, _ in stream.claims:
                if at <= stream.covered and named.get(other, size) < size:
                    named[other], changed = size, True
    needed = [each for name, each in result.checkpoints.items() if direct[name] > named.get(name, 0)]
    result.covered = sum(stream.covered for stream in result.streams)
    if not needed or not result.covered:
        return
    result.time = min(each.signed.time for each in needed)
    result.witnesses = min(len(each.signed.witnesses) for each in needed)
    result.verdict = WITNESSED if result.witnesses else WITH_CHECKPOINT
    for stream in result.streams:
        if stream.covered < stream.events:
            result.exceptions.append(
                f"stream {stream.name}: events {stream.covered + 1} to {stream.events} are covered by no checkpoint"
            )


# What is not in good order


def _list_exceptions(result: Result, whole_run: bool) -> None:
    if whole_run and not any(stream.name == "main" and stream.events for stream in result.streams):
        result.exceptions.append("there is no stream main: its process recorded nothing, or it was taken away")
    for stream in result.streams:
        if stream.status == "open":
            result.exceptions.append(f"stream {stream.name} has no end: its process was killed, or still runs")
        if stream.orphans:
            named = ", ".join(stream.named_orphans)
            more = f" and {stream.orphans - NAMED} more" if stream.orphans > NAMED else ""
            result.exceptions.append(
                f"stream {stream.name}: {stream.orphans} action(s) allowed and without a result: {named}{more}"
            )
