"""One stream: its chain from the first row to the last, its tree, and, where asked, what each event says.

The chain is derived in segments, by several processes where the stream is long: each begins with the chain value that
is stored before it, which the one before has derived from all that precedes. A segment has a power of two of rows, so
the trees over the segments are subtrees of the tree over all (RFC 9162, section 2.1).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from multiprocessing import get_context
from typing import Any, Protocol

from .tree import EMPTY, Tree

#: Rows that are looked at between two steps of the tree, and the fewest that are worth a process.
_CHUNK = 1024
_SEGMENT = 1 << 16
#: So many ranges and actions are named; the rest are counted.
NAMED = 20

_KINDS = {"body": dict, "seq": int, "session": str, "stream": str, "time": int, "type": str, "v": int}
#: Events of the first format have no salt.
_FIELDS = ({**_KINDS, "salt": str}, _KINDS)

_SALT, _NO_SALT = re.compile("[0-9a-f]{32}"), "0" * 32
_STARTS = ("run.started", "custody.opened")

Row = tuple[Any, Any, Any]


class Source(Protocol):
    """Where rows are read from. A row is a sequence number, a payload and a chain value, unchecked."""

    name: str

    def streams(self) -> list[tuple[str, int]]:
        """Names of the streams, and the highest sequence number of each."""
        ...

    def rows(self, stream: str, first: int, last: int) -> Iterator[Row]:
        """The rows of a range, in order."""
        ...

    def value(self, stream: str, seq: int) -> tuple[Any, Any] | None:
        """Payload and chain value of one row."""
        ...

    def faults(self) -> list[str]:
        """What about the storage may show another reader other rows."""
        ...

    def notices(self) -> list[str]:
        """What is unusual about the storage."""
        ...

    def close(self) -> None:
        """Let it go."""
        ...


class Bad(Exception):
    """A row that does not hold, with its sequence number."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(seq, reason)
        self.seq = seq
        self.reason = reason


@dataclass
class Stream:
    """One stream as far as it was derived. ``head`` is the chain value (hexadecimal) after ``events`` events.

    ``status`` is ``finished`` (it ends as a stream should), ``open`` (the process was killed, or still runs) or
    ``broken`` (see the problems). ``withheld`` are the ranges of events whose payload was taken away. ``roots`` are
    roots of the tree at the sizes that were asked for. ``claims`` are the heads of other streams that events name:
    at which event, stream, size and chain value; ``tombstones`` say which events of which stream are withheld.
    ``covered`` is how many events a checkpoint covers. ``orphans`` (only where events were read) counts actions that
    were allowed, or started after an approval, and have no result; ``named_orphans`` gives the first of them.
    """

    file: str
    name: str
    events: int = 0
    head: str = ""
    status: str = "open"
    run: str = ""
    withheld: list[tuple[int, int]] = field(default_factory=list)
    roots: dict[int, bytes] = field(default_factory=dict)
    claims: list[tuple[int, str, int, str]] = field(default_factory=list)
    tombstones: list[tuple[int, str, int, int]] = field(default_factory=list)
    covered: int = 0
    orphans: int = 0
    named_orphans: tuple[str, ...] = ()

    @property
    def is_custody(self) -> bool:
        """Whether this stream says what was done with the others after the run."""
        return self.name.startswith("custody-")


# The chain and the tree


@dataclass
class _Segment:
    """What a process found out about a range of rows; ``roots`` are the peaks of its tree at sizes asked for."""

    stream: str
    last: int
    chain: bytes
    peaks: list[tuple[int, bytes]]
    roots: dict[int, list[tuple[int, bytes]]]
    withheld: list[tuple[int, int]]
    bad: tuple[int, str] | None


def check_chain(source: Source, stream: Stream, last: int, sizes: Sequence[int], processes: int) -> None:
    """Derive chain and tree of a stream whose highest sequence number is ``last``.

    Raises:
        Bad: the first row that does not hold; ``stream`` tells how far it does.
    """
    chain, tree = sha256(b"agentcheck/ledger/v1\n" + stream.name.encode()).digest(), Tree()
    stream.roots[0] = EMPTY
    for segment in _segments(source, stream.name, chain, last, sizes, processes):
        for size, peaks in sorted(segment.roots.items()):
            partial = Tree(tree.peaks)
            for peak in peaks:
                partial.push(*peak)
            stream.roots[size] = partial.root()
        if segment.peaks and sizes:
            for peak in segment.peaks:
                tree.push(*peak)
        for first, end in segment.withheld:
            if stream.withheld and stream.withheld[-1][1] == first - 1:
                first = stream.withheld.pop()[0]
            stream.withheld.append((first, end))
        stream.events, stream.head = segment.last, segment.chain.hex()
        if segment.bad:
            raise Bad(*segment.bad)


def _segments(
    source: Source, stream: str, chain: bytes, last: int, sizes: Sequence[int], processes: int
) -> Iterator[_Segment]:
    """The segments in order. Where one is bad, those after it are of no use any more."""
    processes = processes or os.cpu_count() or 1
    if processes == 1 or last < 2 * _SEGMENT:
        yield _check_segment(source, stream, 1, last, chain, sizes)
        return
    length = max(_SEGMENT, 1 << (last // (4 * processes)).bit_length())
    starts = range(1, last + 1, length)
    # Not forked: whoever calls this may have threads, and a database connection that a child must not share.
    with ProcessPoolExecutor(min(processes, len(starts)), get_context("spawn")) as pool:
        tasks = [
            pool.submit(_check_segment, source, stream, start, min(last, start + length - 1), chain, sizes)
            if start == 1
            else pool.submit(_check_segment, source, stream, start, min(last, start + length - 1), None, sizes)
            for start in starts
        ]
        try:
            for task in tasks:
                yield task.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _check_segment(
    source: Source, stream: str, first: int, last: int, chain: bytes | None, sizes: Sequence[int]
) -> _Segment:
    if chain is None:
        before = source.value(stream, first - 1)
        stored = before[1] if before else b""
        chain = stored if type(stored) is bytes and len(stored) == 32 else b""  # the segment before says what is wrong
    segment = _Segment(stream, first - 1, chain, [], {}, [], None)
    wanted = sorted(size for size in sizes if first <= size <= last)
    tree = Tree()
    rows = source.rows(stream, first, last)
    leaves: list[bytes] = []
    keep = leaves.append if sizes else None
    try:
        while True:
            done = _pass(islice(rows, _CHUNK), segment, keep, source)
            while wanted and wanted[0] <= segment.last:
                partial = Tree(tree.peaks)
                partial.extend(leaves[: wanted[0] - first + 1 - tree.size])
                segment.roots[wanted.pop(0)] = partial.peaks
            tree.extend(leaves)
            leaves.clear()
            if done < _CHUNK:
                break
        if segment.last < last:
            raise Bad(segment.last + 1, f"missing row: event {segment.last + 1} is not there")
    except Bad as bad:
        segment.bad = bad.seq, bad.reason
    except Exception as error:  # damaged pages, a lost connection: whatever the storage says
        segment.bad = segment.last + 1, f"the storage is damaged here: {error}"
    segment.peaks = tree.peaks
    return segment


def _pass(chunk: Iterator[Row], segment: _Segment, keep: Callable[[bytes], None] | None, source: Source) -> int:
    """Derive the chain over some rows, and say how many they were; this is where verifying spends its time."""
    begun = last = segment.last
    chain, digest = segment.chain, sha256
    try:
        for seq, (number, payload, stored) in enumerate(chunk, begun + 1):
            leaf = digest(b"\x00" + payload).digest()
            value = digest(b"\x02" + chain + leaf).digest()
            if value != stored or number != seq:
                leaf = _look_closely(segment, seq, chain, (number, payload, stored), source)
                value = stored
            if keep is not None:
                keep(leaf)
            chain, last = value, seq
    except TypeError:
        raise Bad(last + 1, "torn row: the event or its chain value is not what a ledger stores") from None
    finally:
        segment.last, segment.chain = last, chain
    return last - begun


def _look_closely(segment: _Segment, expected: int, chain: bytes, row: Row, source: Source) -> bytes:
    """The leaf of a row that is not an event as it should be, and is in order all the same: a withheld one.

    Raises:
        Bad: it is not in order.
    """
    seq, payload, stored = row
    if type(seq) is not int:
        raise Bad(expected, f"the sequence number is no integer but {seq!r:.40}")
    if seq > expected:
        missing = f"event {expected} is" if seq == expected + 1 else f"events {expected} to {seq - 1} are"
        raise Bad(expected, f"missing row: {missing} not there (the next one is {seq})")
    if seq < expected:
        raise Bad(seq, "repeated row: the sequence number is there twice" if seq > 0 else "no such number: before 1")
    if type(payload) is not bytes or type(stored) is not bytes or len(stored) != 32:
        raise Bad(seq, "torn row: the event or its chain value is not what a ledger stores")
    if len(payload) == 33 and payload[0] == 0 and sha256(b"\x02" + chain + payload[1:]).digest() == stored:
        if segment.withheld and segment.withheld[-1][1] == seq - 1:
            segment.withheld[-1] = segment.withheld[-1][0], seq
        else:
            segment.withheld.append((seq, seq))
        return payload[1:]
    try:
        record = json.loads(payload)
        at = record["stream"], record["seq"]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise Bad(seq, "truncated or torn: the bytes are no event and do not give the stored chain value") from None
    said = "" if at == (segment.stream, seq) else f"; out of order: the bytes are event {at[1]} of stream {at[0]}"
    raise Bad(seq, _what_differs(chain, payload, stored, source.value(segment.stream, seq + 1)) + said)


def _what_differs(chain: bytes, payload: bytes, stored: bytes, following: tuple[Any, Any] | None) -> str:
    """Tell an altered event from an altered chain value by the next row, which was chained to what was there."""
    derived = sha256(b"\x02" + chain + sha256(b"\x00" + payload).digest()).digest()
    if following is not None and type(following[0]) is bytes and type(following[1]) is bytes:
        leaf = sha256(b"\x00" + following[0]).digest()
        if sha256(b"\x02" + derived + leaf).digest() == following[1]:
            return "altered chain value: the bytes and the next event agree with each other, not with it"
        if sha256(b"\x02" + stored + leaf).digest() == following[1]:
            return "altered bytes: they do not give the stored chain value, to which the next event is chained"
    return "altered: the stored bytes do not give the stored chain value"


# What events say


def _no_float(text: str) -> Any:
    raise ValueError(f"a number with a fraction ({text:.40}), which no event holds")


_DECODER = json.JSONDecoder(parse_float=_no_float, parse_constant=_no_float)
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def read_ends(source: Source, stream: Stream) -> None:
    """Read the first and the last event of a derived stream; of a stream of custody, all of them.

    Raises:
        Bad: they are not how a stream begins and ends.
    """
    read_events(source, stream, range(1, stream.events + 1) if stream.is_custody else sorted({1, stream.events}))


def read_events(source: Source, stream: Stream, wanted: Sequence[int]) -> None:
    """Read what events of a derived stream say, these or (a range from 1) all of them.

    Raises:
        Bad: the first one that is no event of this stream, or stands where it may not.
    """
    stream.claims.clear()
    stream.tombstones.clear()
    intents: dict[tuple[str, str], None] = {}
    ended = False
    if isinstance(wanted, range):
        found: Iterator[tuple[Any, Any]] = ((row[0], row[1]) for row in source.rows(stream.name, 1, stream.events))
    else:
        found = ((seq, (source.value(stream.name, seq) or (b"",))[0]) for seq in wanted)
    for seq, payload in found:
        if ended:
            raise Bad(seq, "an event after the end of the stream")
        if type(payload) is bytes and payload[:1] == b"\x00":
            if seq == 1:
                raise Bad(seq, "the first event of a stream, which says whose it is, is withheld")
            continue
        record = decode(stream, seq, payload)
        _check_start(stream, seq, record)
        ended = _follow(stream, seq, record, intents)
    stream.status = "finished" if ended else "open"
    # Where events are withheld, results may be among them.
    stream.orphans = len(intents) if isinstance(wanted, range) and not stream.withheld else 0
    stream.named_orphans = tuple(f"{session} {action}".strip() for session, action in islice(intents, NAMED))


def decode(stream: Stream, seq: int, payload: bytes) -> dict[str, Any]:
    """The fields of an event of a stream.

    Raises:
        Bad: the bytes are no event in canonical form, or not this one.
    """
    try:
        record = _DECODER.decode(payload.decode())
        encoded = _ENCODER.encode(record).encode()
    except (ValueError, RecursionError, AttributeError) as error:
        raise Bad(seq, f"the bytes are no event: {error}") from None
    if encoded != payload:
        raise Bad(seq, "the bytes are not in canonical form: another reader may take another meaning from them")
    if type(record) is not dict or {name: type(value) for name, value in record.items()} not in _FIELDS:
        raise Bad(seq, "the bytes are no event: a field is missing, unknown or of the wrong kind")
    if (record["stream"], record["seq"]) != (stream.name, seq):
        raise Bad(seq, f"out of order: the bytes are event {record['seq']} of stream {record['stream']}")
    if record["v"] < 1 or not _SALT.fullmatch(record.get("salt", _NO_SALT)):
        raise Bad(seq, "the bytes are no event: a version below 1, or a salt that is not 32 hexadecimal digits")
    try:
        wrong = _too_wide(record)
    except RecursionError:
        wrong = "nested too deeply"
    if wrong:
        raise Bad(seq, f"the bytes are no event: {wrong}")
    return record


def _too_wide(value: Any) -> str:
    """What of a decoded value no event holds: a key that is not ASCII, an integer of 2**53 or more."""
    if type(value) is int and not -(2**53) < value < 2**53:
        return f"an integer outside +-(2**53-1): {value}"
    if type(value) is dict:
        odd = next((key for key in value if not key.isascii()), None)
        return (
            f"the key {odd!r} is not ASCII"
            if odd is not None
            else next(filter(None, map(_too_wide, value.values())), "")
        )
    return next(filter(None, map(_too_wide, value)), "") if type(value) is list else ""


def _check_start(stream: Stream, seq: int, record: dict[str, Any]) -> None:
    first = "custody.opened" if stream.is_custody else "run.started"
    if record["type"] != first if seq == 1 else record["type"] in _STARTS:
        raise Bad(seq, f"a stream starts with {first}, once; this is {record['type']}")
    if seq == 1:
        run = record["body"].get("run")
        if type(run) is not str or not run or "/" in run:
            raise Bad(seq, "the first event does not name the run")
        stream.run = run


def _follow(stream: Stream, seq: int, record: dict[str, Any], intents: dict[tuple[str, str], None]) -> bool:
    """Keep what is said about other streams, and which actions have no result yet. True at the stream's end."""
    name, body = record["type"], record["body"]
    if name in ("action.decided", "action.started", "action.finished"):
        key = (record["session"], str(body.get("action")))
        if name == "action.finished":
            intents.pop(key, None)
        elif name == "action.started" or body.get("outcome") == "allow":
            intents[key] = None
    elif name in ("run.started", "custody.opened"):
        _claim(stream, seq, body.get("previous"))
    elif name == "run.finished":
        _claim(stream, seq, body.get("streams"))
    elif name == "events.withheld" and stream.is_custody:
        _bury(stream, seq, body)
    return bool(name == ("custody.closed" if stream.is_custody else "run.finished"))


def _claim(stream: Stream, at: int, heads: Any) -> None:
    for head in _list(at, heads):
        known = head if type(head) is dict else {}
        name, size, value = known.get("stream"), known.get("size"), known.get("head")
        if type(name) is not str or type(size) is not int or type(value) is not str or size < 0:
            raise Bad(at, "the head of another stream is not written as stream, size and head")
        stream.claims.append((at, name, size, value))


def _bury(stream: Stream, at: int, body: dict[str, Any]) -> None:
    for pair in _list(at, body.get("ranges")):
        if type(pair) is not list or tuple(map(type, pair)) != (int, int) or type(body.get("stream")) is not str:
            raise Bad(at, "withheld events are not written as stream and ranges")
        stream.tombstones.append((at, body["stream"], pair[0], pair[1]))


def _list(at: int, value: Any) -> list[Any]:
    if value is not None and type(value) is not list:
        raise Bad(at, "what should be a list is none")
    return value or []
