"""Rows in one SQLite file: WAL, ``synchronous=FULL``, append-only triggers, one writer, any number of readers.

A commit is on disk when `SqliteStore.append` returns: in WAL mode with ``synchronous=FULL`` SQLite syncs the log at
each commit. Each call is one statement or one transaction, so it is stored whole or not at all. Three triggers
refuse a change, a deletion, a gap and a repeated sequence number, whoever writes; they guard against mistakes and
bugs, not against somebody who may write the file (who can drop them): finding that is the chain's work. A second
writer is refused by the operating system's lock (`agentcheck.storage.lock`).

The log is copied into the database (a *checkpoint*). Where many small commits filled it, the writer does it, once in
hundreds of commits; where few large ones did, a thread of its own, off the commit path, and the writer only copies
the little that was committed meanwhile. After that SQLite starts the log anew.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agentcheck.contracts import Row
from agentcheck.errors import StoreError
from agentcheck.storage.lock import WriterLock
from agentcheck.storage.sequence import continued

#: ``PRAGMA application_id`` of a ledger ("acl1") and ``PRAGMA user_version`` of its tables.
APPLICATION_ID = 0x61636C31
SCHEMA_VERSION = 1
SCHEMA = (
    "CREATE TABLE events (stream TEXT NOT NULL, seq INTEGER NOT NULL, payload BLOB NOT NULL, chain BLOB NOT NULL,"
    " PRIMARY KEY (stream, seq))",
    "CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are not changed'); END",
    "CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are not deleted'); END",
    "CREATE TRIGGER events_in_order BEFORE INSERT ON events"
    " WHEN NEW.seq IS NOT 1 + (SELECT coalesce(max(seq), 0) FROM events WHERE stream = NEW.stream)"
    " BEGIN SELECT RAISE(ABORT, 'a gap or a repeated sequence number'); END",
)
#: Rows in one statement. sqlite3 gives up the interpreter's lock around every statement and has to wait for it again
#: (up to 5 ms beside a busy event loop), so a batch is one statement, not one per row.
_ROWS_PER_STATEMENT = 240
#: What a commit adds to the log besides its payloads, roughly (pages of table and index); size of the log from which it
#: is copied; after how many commits the writer copies it (beside small commits, which wait for the disk, a thread that
#: syncs the database costs more than it saves); by how many times the log may outgrow its size before a commit waits.
_COMMIT_BYTES = 3 * 4096
_CHECKPOINT_BYTES = 4 << 20
_MANY_COMMITS = 100
_MOST_OUTGROWN = 16
#: What `Row` does, without a call of Python for each of the rows that the end of a run reads.
_ROW: Callable[[tuple[Any, ...]], Row] = partial(tuple.__new__, Row)


class SqliteStore:
    """A `contracts.Store` on one file. ``append`` and ``head`` may be called from any thread, one call at a time.

    Opened for writing it makes the file, and its folder, and holds the writer's lock until ``close``. Opened with
    ``read_only`` it changes nothing that the ledger holds; it also reads what a killed process left (a log that was
    not copied back), on a folder that cannot be written too. A file that its writer has just made, or was killed
    while making, is a ledger without events.

    Raises:
        StoreError: the file cannot be opened, is no ledger, or has a writer already.
    """

    def __init__(self, path: Path | str, *, read_only: bool = False, busy_timeout: float = 10.0) -> None:
        self.path = Path(path)
        self.read_only = read_only
        self._timeout = busy_timeout
        self._guard = threading.Lock()
        self._heads: dict[str, int] = {}
        self._closed = False
        self._blank = False  # a reader's: there are no tables yet
        self._owner = os.getpid()
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._lock: WriterLock | None = None
        self._checkpoints: _Checkpoints | None = None
        if read_only:
            self._open_to_read()
        else:
            self._open_to_write()

    # Opening

    def _open_to_write(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = WriterLock(self.path)
        except OSError as error:
            raise refused(error, self.path) from error
        try:
            self._connection = self._connect(f"{uri(self.path)}?mode=rwc")
            _prepare(self._connection, self.path)
        except (sqlite3.Error, StoreError) as error:
            with contextlib.suppress(AttributeError):
                self._connection.close()
            self._lock.release()
            raise refused(error, self.path) from error
        self._read_uri = f"{uri(self.path)}?mode=ro"
        self._checkpoints = _Checkpoints(self.path, self._timeout)

    def _open_to_read(self) -> None:
        if not self.path.is_file():
            raise StoreError("no such ledger", where=str(self.path), advice="give the .db file of a run")
        try:
            self._read_uri, self._copy = readable(self.path)
            self._connection = self._connect(self._read_uri)
            self._blank = not _has_tables(self._connection)
            if not self._blank:
                check_is_ledger(self._connection, self.path)
        except (sqlite3.Error, OSError, StoreError) as error:
            with contextlib.suppress(AttributeError):
                self._connection.close()
            if self._copy is not None:
                self._copy.cleanup()
            raise refused(error, self.path) from error

    def _connect(self, uri: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            uri, uri=True, timeout=self._timeout, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    # contracts.Store

    def append(self, rows: Sequence[Row]) -> None:
        """Store rows in one atomic, durable step; returns only once they are on disk."""
        if not rows:
            return
        with self._guard:
            self._check_open()
            heads = continued(rows, self._last, str(self.path))
            try:
                if len(rows) <= _ROWS_PER_STATEMENT:
                    self._insert(rows)
                else:
                    self._connection.execute("BEGIN IMMEDIATE")
                    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
                        self._insert(rows[start : start + _ROWS_PER_STATEMENT])
                    self._connection.execute("COMMIT")
            except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
                if self._connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")
                raise refused(error, self.path) from error
            self._heads.update(heads)
            if self._checkpoints is not None and self._checkpoints.committed(rows):
                with contextlib.suppress(sqlite3.Error):  # what was committed stays committed
                    self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _insert(self, rows: Sequence[Row]) -> None:
        self._connection.execute(_insert_statement(len(rows)), list(chain.from_iterable(rows)))

    def _last(self, stream: str) -> int:
        if stream not in self._heads:
            query = "SELECT coalesce(max(seq), 0) FROM events WHERE stream = ?"
            try:
                self._heads[stream] = self._connection.execute(query, (stream,)).fetchone()[0]
            except (sqlite3.Error, UnicodeEncodeError) as error:
                raise refused(error, self.path) from error
        return self._heads[stream]

    def read(self, stream: str, start: int = 1) -> Iterator[Row]:
        """Rows of a stream from ``start`` in order, as they are stored; memory does not grow with the stream."""
        self._check_open()
        return self._read(stream, start)

    def _read(self, stream: str, start: int) -> Iterator[Row]:
        if self._blank:
            return
        query = "SELECT stream, seq, payload, chain FROM events WHERE stream = ? AND seq >= ? ORDER BY seq"
        try:
            with contextlib.closing(self._connect(self._read_uri)) as connection:
                yield from map(_ROW, connection.execute(query, (stream, start)))
        except sqlite3.Error as error:
            raise refused(error, self.path) from error

    def streams(self) -> Sequence[str]:
        """Names of all streams, sorted."""
        # One step in the index per stream; DISTINCT would read all of it.
        query = (
            "WITH RECURSIVE names(name) AS (SELECT min(stream) FROM events UNION ALL"
            " SELECT (SELECT min(stream) FROM events WHERE stream > name) FROM names WHERE name IS NOT NULL)"
            " SELECT name FROM names WHERE name IS NOT NULL"
        )
        return [name for (name,) in self._query(query)]

    def head(self, stream: str) -> tuple[int, bytes] | None:
        """Last sequence number and chain value of a stream; ``None`` where it has no rows."""
        query = "SELECT seq, chain FROM events WHERE stream = ? ORDER BY seq DESC LIMIT 1"
        found = self._query(query, stream)
        return (found[0][0], found[0][1]) if found else None

    def _query(self, query: str, *arguments: str) -> list[tuple[Any, ...]]:
        with self._guard:
            self._check_open()
            if self._blank:
                return []
            try:
                return self._connection.execute(query, arguments).fetchall()
            except sqlite3.Error as error:
                raise refused(error, self.path) from error

    def close(self) -> None:
        """Copy the log into the database, so that one file holds everything, and give the writer's lock back."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            if os.getpid() != self._owner:
                return  # a forked child must not close the parent's connection
            if self._checkpoints is not None:
                self._checkpoints.stop()
            self._connection.close()  # the last connection to close copies the log back and removes it
            if self._lock is not None:
                self._lock.release()
            if self._copy is not None:
                self._copy.cleanup()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed", where=str(self.path))
        if os.getpid() != self._owner:
            raise StoreError(
                "the store belongs to the process that opened it",
                where=str(self.path),
                advice="open a store, and write a stream, of your own in a forked process",
            )


class _Checkpoints:
    """Says when the log is to be copied into the database, and does it in a thread of its own where commits are large.

    A passive checkpoint blocks nobody, but it copies only what was committed when it began, and SQLite starts the log
    anew only when all of it is copied. So after each pass the writer copies the rest, which is short by then.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self.bytes = _CHECKPOINT_BYTES
        self._path = path
        self._timeout = timeout
        self._commits = self._grown = 0  # since the log was last copied
        self._copied = False
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def committed(self, rows: Sequence[Row]) -> bool:
        """Count a commit; tell whether the writer is to copy what is left of the log.

        The log's file keeps its greatest length, so its growth since the last copy is reckoned from what is stored.
        """
        if self._copied:
            self._copied, self._commits, self._grown = False, 0, 0
            return True
        self._commits += 1
        self._grown += _COMMIT_BYTES + sum(len(row[2]) for row in rows)
        if self._grown < self.bytes:
            return False
        if self._grown > self.bytes * _MOST_OUTGROWN or (self._commits >= _MANY_COMMITS and not self._wake.is_set()):
            self._commits = self._grown = 0
            return True
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"checkpoints {self._path.name}", daemon=True)
            self._thread.start()
        self._wake.set()
        return False

    def _run(self) -> None:
        # After a fault the log just stays: commits meet the same fault and report it, or copy the log themselves.
        with contextlib.suppress(sqlite3.Error), contextlib.closing(self._connect()) as own:
            own.execute("PRAGMA fullfsync = ON")
            while True:
                self._wake.wait()
                if self._stopping:
                    return
                own.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                self._wake.clear()
                self._copied = True

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{uri(self._path)}?mode=rw", uri=True, timeout=self._timeout, isolation_level=None)

    def stop(self) -> None:
        """End the thread; the connection that closes last does the final checkpoint."""
        self._stopping = True
        if self._thread is not None:
            while self._thread.is_alive():
                self._wake.set()  # again, should the thread have cleared it just now
                self._thread.join(0.05)


def readable(path: Path) -> tuple[str, tempfile.TemporaryDirectory[str] | None]:
    """The URI by which SQLite can read a ledger without changing it, and a folder to remove afterwards, if any.

    A ledger that was closed (no log, no writer's lock) is opened with ``immutable=1``, which leaves no file beside it.
    With a log, SQLite needs an index of it, which it makes beside it, or finds there; where it can do neither, the
    ledger is read from a temporary copy.
    """
    log, index, lock = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", ".lock"))
    if _size(path.with_name(path.name + "-journal")) > 0:
        raise StoreError(
            "a journal lies beside the ledger, which has none: opening it would change what is stored",
            where=str(path),
            advice="find out who put it there; `agentcheck verify` reads the file without it",
        )
    writable = os.access(path.parent, os.W_OK)
    if _size(log) == 0 and not (writable and lock.exists()):
        return f"{uri(path)}?immutable=1", None
    if writable or index.exists():
        return f"{uri(path)}?mode=ro", None
    folder = tempfile.TemporaryDirectory(prefix="agentcheck-")
    copy = Path(folder.name) / path.name
    shutil.copyfile(path, copy)
    shutil.copyfile(log, copy.with_name(log.name))
    return f"{uri(copy)}?mode=ro", folder


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    tables = _has_tables(connection)
    if tables:
        check_is_ledger(connection, path)
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(
            f"SQLite's write-ahead log is not available here (journal mode {mode})",
            where=str(path),
            advice="write the run into a folder on a local disk; network file systems often lack shared memory",
        )
    connection.execute("PRAGMA synchronous = FULL")
    # macOS: fsync alone may stay in the disk's cache.
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    if not tables:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute("COMMIT")


def _has_tables(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def check_is_ledger(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is no ledger, or that a newer agentcheck laid out (`StoreError`)."""
    query = "SELECT name, type, coalesce(sql, '') FROM sqlite_master WHERE tbl_name = 'events' OR name = 'events'"
    found = connection.execute(query).fetchall()
    if [kind for name, kind, _ in found if name == "events"] != ["table"]:
        raise StoreError("this SQLite file holds no ledger", where=str(path), advice="give the .db file of a run")
    # Another index, trigger or collation can show us other rows than somebody else who reads the same file.
    odd = [
        name for name, _, sql in found if sql not in SCHEMA and (sql or not str(name).startswith("sqlite_autoindex"))
    ]
    if odd:
        raise StoreError(
            f"{odd[0]} is not what a ledger is made with, so this may not be what was recorded",
            where=str(path),
            advice="`agentcheck verify` tells what was changed",
        )
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"written by a newer agentcheck (layout {version}, this one knows {SCHEMA_VERSION})",
            where=str(path),
            advice="upgrade agentcheck",
        )


@lru_cache(maxsize=_ROWS_PER_STATEMENT)
def _insert_statement(rows: int) -> str:
    return f"INSERT INTO events VALUES {','.join(['(?,?,?,?)'] * rows)}"  # noqa: S608  (question marks only)


def uri(path: Path) -> str:
    """A file as SQLite's URI, to which ``?mode=...`` can be added."""
    return f"file:{quote(path.absolute().as_posix())}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


#: What SQLite says, how it is told, and what to do.
_ADVICE = (
    ("locked", "another process holds a lock on the ledger", "close what has it open for writing, then run again"),
    ("full", "the disk is full (or a quota is reached)", "free some space and resume the run"),
    ("readonly", "the ledger cannot be written", "check the permissions of the file and of its folder"),
    ("unable to open", "the ledger cannot be opened", "check that the folder exists and may be read and written"),
    ("not a database", "the file is no SQLite database", "give the .db file of a run"),
    ("malformed", "the database file is damaged", "`agentcheck verify` tells which events are still whole"),
    ("i/o error", "the disk did not take or give the data", "check the disk; no event was acknowledged"),
    ("sequence number", "a gap or a repeated sequence number", "something else wrote to this stream"),
    ("unique constraint", "a repeated sequence number", "something else wrote to this stream"),
)


def refused(error: Exception, path: Path) -> StoreError:
    """What SQLite or the operating system says, as an error that tells what to do."""
    if isinstance(error, StoreError):
        return error
    text = str(error)
    for sign, what, advice in _ADVICE:
        if sign in text.lower():
            return StoreError(f"{what} ({text})", where=str(path), advice=advice)
    if isinstance(error, OSError):
        return StoreError(error.strerror or text, where=str(path), advice="check the folder and its permissions")
    return StoreError(f"the store did not take or give events: {text}", where=str(path))
