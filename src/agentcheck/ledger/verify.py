"""Check a ledger by re-deriving it. This file needs Python's standard library and nothing else.

It shares no code with what wrote the ledger, so that somebody who does not trust that can run this file alone::

    python verify.py reports/20250101-120000-ab12      # a run: all *.db files in the folder
    python verify.py ledger-gw0.db                     # one file

Exit status: 0 consistent, 1 inconsistent (the first bad sequence number is named), 4 the path cannot be used.

For every stream, row by row:

1. The stored bytes are the canonical form of an event: JSON with the seven fields, keys sorted, no white space; a
   re-encoding gives the same bytes.
2. The sequence number and the stream inside the bytes are those of the row, and count from 1 without gaps.
3. ``leaf = SHA256(0x00 || bytes)`` and ``chain_n = SHA256(0x02 || chain_{n-1} || leaf_n)`` give the stored chain
   value, starting from ``SHA256("agentcheck/ledger/v1\\n" + stream)``.
4. The first event is ``run.started``; nothing follows ``run.finished``.
5. Streams that another stream names (``run.started`` the earlier ones, ``run.finished`` the workers') are there and
   have, at the named size, the named chain value.

Counted as exceptions, not as corruption: streams that do not end in good order, actions that were allowed or started
and have no result. Memory does not grow with the number of events.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

CONSISTENT, INCONSISTENT = "CONSISTENT", "INCONSISTENT"
LIMITS = """\
Without an outside checkpoint this shows internal consistency only: it cannot detect a cut tail or a complete rewrite.
It detects modification, insertion, reordering and deletion of any event that a checkpoint you hold covers: compare
the sizes and head hashes above with ones you kept elsewhere. Events are attempts and observed results, not proof of
external effect."""

_FIELDS = {"body": dict, "seq": int, "session": str, "stream": str, "time": int, "type": str, "v": int}


def _no_float(text: str) -> Any:
    raise ValueError(f"a number with a fraction ({text:.40}), which no event holds")


_DECODER = json.JSONDecoder(parse_float=_no_float, parse_constant=_no_float)
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
_TRIGGERS = {"events_no_update", "events_no_delete", "events_in_order"}
_APPLICATION_ID = 0x61636C31
#: So many orphan intents, or other findings of one kind, are named; the rest are counted.
_NAMED = 20


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


@dataclass
class Stream:
    """One stream as far as it was derived. ``head`` is the chain value (hexadecimal) after ``events`` events.

    ``status`` is ``finished`` (it ends with ``run.finished``), ``open`` (the process was killed, or still runs) or
    ``broken`` (see the problems). ``orphans`` counts actions that were allowed, or started after an approval, and
    have no result; ``named_orphans`` gives the first of them as ``session action``.
    """

    file: str
    name: str
    events: int = 0
    head: str = ""
    status: str = "open"
    run: str = ""
    orphans: int = 0
    named_orphans: tuple[str, ...] = ()
    claims: list[tuple[int, str, int, str]] = field(default_factory=list)  # (at, stream, size, head)
    last: tuple[str, dict[str, Any]] = ("", {})


@dataclass
class Result:
    """What `verify` found. ``problems`` are ordered; the first is the one to look at."""

    path: str
    verdict: str = CONSISTENT
    streams: list[Stream] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    exceptions: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    limits: str = LIMITS

    @property
    def consistent(self) -> bool:
        """Whether everything that was looked at holds."""
        return self.verdict == CONSISTENT

    @property
    def events(self) -> int:
        """How many events were derived, over all streams."""
        return sum(stream.events for stream in self.streams)

    def add(self, problem: Problem) -> None:
        """Note a problem."""
        self.problems.append(problem)
        self.verdict = INCONSISTENT


class UnusablePath(Exception):
    """The path is no ledger and no run folder, or cannot be read."""


class _Bad(Exception):
    """A row that does not hold, with its sequence number."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(reason)
        self.seq = seq
        self.reason = reason


def verify(path: str | os.PathLike[str]) -> Result:
    """Re-derive a ledger file, or all ledger files of a run folder.

    Raises:
        UnusablePath: there is nothing to check at ``path``.
    """
    root = Path(path)
    files = _files(root)
    result = Result(str(root))
    heads: dict[str, tuple[Path, Stream]] = {}
    for file in files:
        for stream in _check_file(file, result):
            other = heads.get(stream.name)
            if other is not None:
                result.add(Problem(file.name, stream.name, 0, f"{other[0].name} holds a stream of this name too"))
            heads.setdefault(stream.name, (file, stream))
    if not result.problems and not result.events:
        result.add(Problem(root.name, "", 0, "there are no events"))
    _check_claims(result, heads, whole_run=root.is_dir())
    return result


def _files(root: Path) -> list[Path]:
    try:
        if root.is_dir():
            files = sorted(each for each in root.iterdir() if each.suffix == ".db" and each.is_file())
            if not files:
                raise UnusablePath(f"{root}: no ledger (*.db) in this folder")
        else:
            files = [root]
        for file in files:
            with file.open("rb"):
                pass
    except OSError as error:
        raise UnusablePath(f"{root}: {error.strerror or error}") from error
    return files


# One file


def _check_file(file: Path, result: Result) -> Iterator[Stream]:
    """Check the streams of one file; what does not hold goes to ``result``."""
    name = file.name
    if _size(file) == 0 and _size(_beside(file, "-wal")) == 0:
        result.exceptions.append(f"{name} is empty: the process ended before its first event was stored")
        return
    try:
        with _open(file) as connection:
            if not _check_layout(connection, name, result):
                return
            for (stream_name,) in connection.execute("SELECT DISTINCT stream FROM events ORDER BY stream").fetchall():
                if not isinstance(stream_name, str):
                    result.add(Problem(name, repr(stream_name), 0, "the name of the stream is no text"))
                    continue
                stream = Stream(name, stream_name)
                result.streams.append(stream)
                try:
                    _check_stream(connection, stream)
                except _Bad as bad:
                    stream.status = "broken"
                    result.add(Problem(name, stream_name, bad.seq, bad.reason))
                except (sqlite3.Error, OverflowError) as error:
                    stream.status = "broken"
                    result.add(Problem(name, stream_name, stream.events + 1, f"the file is damaged here: {error}"))
                yield stream
            _check_row_count(connection, name, result)
    except (sqlite3.Error, OSError) as error:
        result.add(Problem(name, "", 0, f"the file is damaged or no database: {error}"))


@contextlib.contextmanager
def _open(file: Path) -> Iterator[sqlite3.Connection]:
    """Open for reading only, also what a killed process left, and where the folder cannot be written."""
    with contextlib.ExitStack() as stack:
        log, index, lock = (_beside(file, suffix) for suffix in ("-wal", "-shm", ".lock"))
        writable = os.access(file.parent, os.W_OK)
        uri = f"file:{quote(file.absolute().as_posix())}"
        if _size(log) == 0 and not (writable and lock.exists()):
            uri += "?immutable=1"  # it was closed: nobody writes it, and SQLite need not make files beside it
        elif writable or index.exists():
            uri += "?mode=ro"
        else:  # SQLite needs an index of the log, and can neither find nor make one here
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="verify-")))
            shutil.copyfile(file, folder / file.name)
            shutil.copyfile(log, folder / log.name)
            uri = f"file:{quote((folder / file.name).as_posix())}?mode=ro"
        connection = stack.enter_context(contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)))
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("BEGIN")  # one snapshot, also while the run goes on
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield connection


def _check_layout(connection: sqlite3.Connection, name: str, result: Result) -> bool:
    schema = {row[1]: row for row in connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")}
    if not schema:
        result.exceptions.append(f"{name} holds no table: the process ended before its first event was stored")
        return False
    if schema.get("events", ("",))[0] != "table":
        result.add(Problem(name, "", 0, "the file holds no table of events"))
        return False
    columns = [row[1] for row in connection.execute("PRAGMA table_info(events)")]
    if columns[:4] != ["stream", "seq", "payload", "chain"]:
        result.add(Problem(name, "", 0, f"the table of events has the columns {', '.join(columns)}"))
        return False
    known = {"events", "sqlite_autoindex_events_1", *_TRIGGERS}
    for missing in sorted(known - schema.keys()):
        result.notices.append(f"{name}: {missing} is missing, which every ledger has when it is made")
    for extra in sorted(schema.keys() - known):
        result.notices.append(f"{name}: {schema[extra][0]} {extra} is not part of a ledger")
    if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        result.notices.append(f"{name}: the file is not marked as a ledger (application_id)")
    return True


def _check_row_count(connection: sqlite3.Connection, name: str, result: Result) -> None:
    """Rows that the index does not know would not be met stream by stream."""
    (rows,) = connection.execute("SELECT count(*) FROM events NOT INDEXED").fetchone()
    streams = [stream for stream in result.streams if stream.file == name]
    if all(stream.status != "broken" for stream in streams) and rows != sum(stream.events for stream in streams):
        result.add(Problem(name, "", 0, "the table and its index do not hold the same rows"))


# One stream


def _check_stream(connection: sqlite3.Connection, stream: Stream) -> None:
    """Derive a stream from its first row to its last.

    Raises:
        _Bad: the first row that does not hold.
    """
    rows = connection.execute(
        "SELECT seq, payload, chain FROM events WHERE stream = ? ORDER BY seq, rowid", (stream.name,)
    )
    chain = hashlib.sha256(b"agentcheck/ledger/v1\n" + stream.name.encode()).digest()
    intents: dict[tuple[str, str], None] = {}
    row = rows.fetchone()
    while row is not None:
        following = rows.fetchone()
        chain = _check_row(stream, chain, row, following)
        stream.events, stream.head = row[0], chain.hex()
        _follow(stream, intents)
        row = following
    stream.status = "finished" if stream.last[0] == "run.finished" else "open"
    stream.orphans = len(intents)
    stream.named_orphans = tuple(f"{session} {action}".strip() for session, action in list(intents)[:_NAMED])


def _check_row(
    stream: Stream, chain: bytes, row: tuple[Any, Any, Any], following: tuple[Any, Any, Any] | None
) -> bytes:
    seq, payload, stored = row
    expected = stream.events + 1
    if type(seq) is not int:
        raise _Bad(expected, f"the sequence number is no integer but {seq!r:.40}")
    if seq > expected:
        missing = f"event {expected} is" if seq == expected + 1 else f"events {expected} to {seq - 1} are"
        raise _Bad(expected, f"missing row: {missing} not there (the next one is {seq})")
    if seq < expected:
        raise _Bad(seq, "repeated row: the sequence number is there twice" if seq > 0 else "no such number: before 1")
    if type(payload) is not bytes or type(stored) is not bytes or len(stored) != 32:
        raise _Bad(seq, "torn row: the event or its chain value is not what a ledger stores")
    leaf = hashlib.sha256(b"\x00" + payload).digest()
    derived = hashlib.sha256(b"\x02" + chain + leaf).digest()
    if derived != stored:
        raise _Bad(seq, _what_differs(payload, derived, stored, following) + _says_elsewhere(stream, seq, payload))
    stream.last = _decode(stream, seq, payload)
    return derived


def _what_differs(payload: bytes, derived: bytes, stored: bytes, following: tuple[Any, Any, Any] | None) -> str:
    """Tell an altered event from an altered chain value by the next row, which was chained to what was there."""
    try:
        json.loads(payload)
    except (ValueError, RecursionError):
        return "truncated or torn: the stored bytes are no event and do not give the chain value"
    if following is not None and type(following[1]) is bytes and type(following[2]) is bytes:
        leaf = hashlib.sha256(b"\x00" + following[1]).digest()
        if hashlib.sha256(b"\x02" + derived + leaf).digest() == following[2]:
            return "altered chain value: the bytes and the next event agree with each other, not with it"
        if hashlib.sha256(b"\x02" + stored + leaf).digest() == following[2]:
            return "altered bytes: they do not give the stored chain value, to which the next event is chained"
    return "altered: the stored bytes do not give the stored chain value"


def _says_elsewhere(stream: Stream, seq: int, payload: bytes) -> str:
    try:
        record = json.loads(payload)
        at = (record["stream"], record["seq"])
    except (ValueError, RecursionError, KeyError, TypeError):
        return ""
    return "" if at == (stream.name, seq) else f"; out of order: the bytes are event {at[1]} of stream {at[0]}"


def _decode(stream: Stream, seq: int, payload: bytes) -> tuple[str, dict[str, Any]]:
    """Type and record of an event whose chain value holds."""
    try:
        record = _DECODER.decode(payload.decode())
        encoded = _ENCODER.encode(record).encode()
    except (ValueError, RecursionError) as error:
        raise _Bad(seq, f"the bytes are no event: {error}") from None
    if encoded != payload:
        raise _Bad(seq, "the bytes are not in canonical form: another reader may take another meaning from them")
    if type(record) is not dict or {name: type(value) for name, value in record.items()} != _FIELDS:
        raise _Bad(seq, "the bytes are no event: a field is missing, unknown or of the wrong kind")
    if (record["stream"], record["seq"]) != (stream.name, seq):
        raise _Bad(seq, f"out of order: the bytes are event {record['seq']} of stream {record['stream']}")
    if record["v"] < 1 or (seq == 1) != (record["type"] == "run.started"):
        raise _Bad(seq, f"a stream starts with run.started, once; this is {record['type']} in version {record['v']}")
    if stream.last[0] == "run.finished":
        raise _Bad(seq, "an event after the end of the stream (run.finished)")
    return record["type"], record


def _follow(stream: Stream, intents: dict[tuple[str, str], None]) -> None:
    """Keep what is said about other streams, and which actions have no result yet."""
    name, record = stream.last
    body = record["body"]
    if name in ("action.decided", "action.started", "action.finished"):
        key = (record["session"], str(body.get("action")))
        if name == "action.finished":
            intents.pop(key, None)
        elif name == "action.started" or body.get("outcome") == "allow":
            intents[key] = None
    elif name == "run.started":
        stream.run = str(body.get("run", ""))
        _claim(stream, body.get("previous"))
    elif name == "run.finished":
        _claim(stream, body.get("streams"))


def _claim(stream: Stream, heads: Any) -> None:
    for head in heads if isinstance(heads, list) else ():
        try:
            claim = (stream.events, str(head["stream"]), int(head["size"]), str(head["head"]))
        except (KeyError, TypeError, ValueError):
            raise _Bad(stream.events, "the head of another stream is not written as stream, size and head") from None
        stream.claims.append(claim)


# The run


def _check_claims(result: Result, heads: dict[str, tuple[Path, Stream]], whole_run: bool) -> None:
    """Hold what streams say of each other against what is there, and list what is not in good order."""
    named: set[str] = set()
    elsewhere: set[str] = set()
    for stream in result.streams:
        for at, other, size, head in stream.claims:
            named.add(other)
            if other in heads:
                _check_claim(result, stream, at, heads[other], size, head)
            elif whole_run:
                result.add(
                    Problem(stream.file, stream.name, at, f"missing stream: {other} ({size} events) is named here")
                )
            else:
                elsewhere.add(other)
    if elsewhere:
        result.notices.append(f"not looked at: {', '.join(sorted(elsewhere))}; give the run's folder to check them too")
    runs = {stream.run for stream in result.streams if stream.events}
    if len(runs) > 1:
        result.add(Problem(Path(result.path).name, "", 0, f"streams of several runs: {', '.join(sorted(runs))}"))
    ended = any(stream.name.startswith("main") and stream.status == "finished" for stream in result.streams)
    for stream in result.streams:
        _list_exceptions(result, stream)
        if whole_run and ended and stream.name not in named and not stream.name.startswith("main"):
            result.exceptions.append(f"stream {stream.name} is not named where the run ends")


def _check_claim(result: Result, stream: Stream, at: int, found: tuple[Path, Stream], size: int, head: str) -> None:
    file, other = found
    if other.status == "broken" and other.events < size:
        return  # reported already, with the event at which it breaks
    there = _chain_at(file, other.name, size)
    if other.events < size and there == head:
        result.exceptions.append(f"stream {other.name} grew while it was read; verify it again when the run has ended")
    elif other.events < size:
        reason = f"missing rows: {stream.name}:{at} names {size} events, {other.events} are there"
        result.add(Problem(other.file, other.name, other.events + 1, reason))
    elif there != head:
        result.add(Problem(other.file, other.name, size, f"not the chain value that {stream.name}:{at} names"))
    elif other.events > size and at == stream.events:
        result.exceptions.append(
            f"stream {other.name} has {other.events - size} events after the {size} that {stream.name}:{at} names"
        )


def _chain_at(file: Path, stream: str, size: int) -> str:
    try:
        with _open(file) as connection:
            row = connection.execute("SELECT chain FROM events WHERE stream = ? AND seq = ?", (stream, size)).fetchone()
    except (sqlite3.Error, OSError):
        return ""
    return row[0].hex() if row and type(row[0]) is bytes else ""


def _list_exceptions(result: Result, stream: Stream) -> None:
    if stream.status == "open":
        result.exceptions.append(f"stream {stream.name} has no end: its process was killed, or still runs")
    if stream.orphans:
        named = ", ".join(stream.named_orphans)
        more = f" and {stream.orphans - _NAMED} more" if stream.orphans > _NAMED else ""
        result.exceptions.append(
            f"stream {stream.name}: {stream.orphans} action(s) allowed and without a result: {named}{more}"
        )


def _beside(file: Path, suffix: str) -> Path:
    return file.with_name(file.name + suffix)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


# Text


def describe(result: Result) -> str:
    """The result as text for a terminal, for ``agentcheck verify`` too."""
    lines = []
    for stream in result.streams:
        lines.append(f"{stream.name:<12} {stream.events:>9} events  {stream.status:<8} head {stream.head}")
    lines += [f"INCONSISTENT: {problem}" for problem in result.problems]
    lines += [f"exception: {text}" for text in result.exceptions]
    lines += [f"notice: {text}" for text in result.notices]
    lines += ["", result.verdict, result.limits]
    return "\n".join(_plain(line) for line in lines)


def _plain(text: str) -> str:
    """Without characters that steer a terminal; names in a ledger may come from anybody."""
    return "".join(letter if letter.isprintable() or letter == "\n" else f"\\x{ord(letter):02x}" for letter in text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(prog="verify", description="Check an agentcheck ledger by re-deriving it.")
    parser.add_argument("path", help="a run's folder, or one .db file")
    given = parser.parse_args(arguments)
    try:
        result = verify(given.path)
    except UnusablePath as error:
        print(_plain(str(error)), file=sys.stderr)
        return 4
    print(describe(result))
    return 0 if result.consistent else 1


if __name__ == "__main__":
    sys.exit(main())
