"""The streams of one run in SQLite files of the run's folder, one file a stream, so that no two writers share a lock.

Withholding writes the whole file anew beside the old one and puts it in its place by one rename, so that a crash
leaves the old file or the new one, and no freed page and no log keeps what was withheld. Copies that others made of
the folder, and what the disk itself keeps of removed files, are out of its reach.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from agentcheck.contracts import Store
from agentcheck.errors import StoreError
from agentcheck.storage.lock import WriterLock, writer_of
from agentcheck.storage.sqlite import (
    APPLICATION_ID,
    SCHEMA,
    SCHEMA_VERSION,
    SqliteStore,
    check_is_ledger,
    refused,
    uri,
)

#: Not matched by the pattern of ledger files.
_DRAFT = ".draft"


class SqliteRun:
    """A `contracts.RunStore` on the folder of a run; ``url`` and ``run`` say nothing that the folder does not."""

    def __init__(self, url: str, run: str, folder: Path) -> None:
        self._folder = folder

    def file(self, stream: str) -> Path:
        """The ledger file of a stream."""
        return self._folder / ("ledger.db" if stream == "main" else f"ledger-{stream}.db")

    def streams(self) -> Sequence[str]:
        """Names of the streams that have a file, with or without events."""
        files = self._folder.glob("ledger*.db")
        return [path.stem.removeprefix("ledger").removeprefix("-") or "main" for path in files]

    def writing(self, stream: str) -> Store:
        """The stream's store, opened for writing."""
        return SqliteStore(self.file(stream))

    def reading(self, stream: str) -> Store:
        """The stream's store, opened for reading."""
        return SqliteStore(self.file(stream), read_only=True)

    def writer(self) -> str:
        """The process that holds the lock of one of the run's files, as ``"process 4711"``."""
        return next(filter(None, (writer_of(self.file(stream)) for stream in self.streams())), "")

    def source(self) -> None:
        """The verifier reads the files itself."""

    def ready_to_withhold(self, stream: str) -> None:
        """Refuse where the stream's file or the folder, in which a new one takes its place, cannot be written."""
        path = self.file(stream)
        for each in (path, path.parent):
            if not os.access(each, os.W_OK):
                raise StoreError(
                    f"stream {stream!r} cannot be withheld: {each} cannot be written",
                    where=str(path),
                    advice="nothing was changed; let an account purge that may write the file and its folder",
                )

    def withhold(self, stream: str, payloads: Mapping[int, bytes], *, busy_timeout: float = 10.0) -> None:
        """Put a new file in the place of the stream's file, with these payloads instead of the stored ones.

        ``busy_timeout`` is how long readers are waited for, in seconds: while one has the file open, its log stays.

        Raises:
            StoreError: the stream has a writer or a reader, a number is not there, or what is given is not the leaf of
                what is stored.
        """
        path = self.file(stream)
        if not path.is_file():
            raise StoreError("no such ledger", where=str(path), advice="give a stream of the run")
        try:
            lock = WriterLock(path)
        except OSError as error:
            raise refused(error, path) from error
        draft = path.with_name(path.name + _DRAFT)
        try:
            draft.unlink(missing_ok=True)  # left by a crash
            _settle(path, busy_timeout)
            _copy(path, draft, stream, payloads)
            shutil.copymode(path, draft)
            _sync(draft)
            os.replace(draft, path)
            _sync(path.parent)
        except (OSError, sqlite3.Error, UnicodeEncodeError, OverflowError) as error:
            raise refused(error, path) from error
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            lock.release()


def _settle(path: Path, busy_timeout: float) -> None:
    """Copy the log back and remove it: beside a new file, SQLite would take it for that file's."""
    with contextlib.closing(_connect(f"{uri(path)}?mode=rw", busy_timeout)) as connection:
        check_is_ledger(connection, path)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
        # Needs the file for itself alone, so nobody reads it with a log beside it afterwards.
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()


def _copy(path: Path, draft: Path, stream: str, payloads: Mapping[int, bytes]) -> None:
    with contextlib.closing(_connect(f"{uri(draft)}?mode=rwc")) as connection:
        connection.execute("PRAGMA journal_mode = OFF")  # a crash leaves a draft, which nobody reads
        connection.execute("PRAGMA synchronous = OFF")  # the file is synced as a whole
        connection.execute("ATTACH ? AS old", (f"{uri(path)}?mode=ro",))
        connection.execute("BEGIN")
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("CREATE TEMP TABLE given (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL)")
        connection.executemany("INSERT INTO given VALUES (?, ?)", payloads.items())
        _check_leaves(connection, path, stream, payloads)
        connection.execute(
            "INSERT INTO main.events SELECT e.stream, e.seq, coalesce(g.payload, e.payload), e.chain FROM old.events e"
            " LEFT JOIN temp.given g ON e.stream = ? AND g.seq = e.seq ORDER BY e.stream, e.seq",
            (stream,),
        )
        connection.execute("COMMIT")


def _check_leaves(connection: sqlite3.Connection, path: Path, stream: str, payloads: Mapping[int, bytes]) -> None:
    """Refuse numbers that are not there, and what is not the leaf hash of the stored payload (RFC 9162, 2.1.1)."""
    query = "SELECT g.seq, e.payload, g.payload FROM temp.given g JOIN old.events e ON e.seq = g.seq WHERE e.stream = ?"
    found = 0
    for seq, stored, given in connection.execute(query, (stream,)):
        found += 1
        expected = stored if stored[:1] == b"\x00" else b"\x00" + sha256(b"\x00" + stored).digest()
        if given != expected:
            raise StoreError(
                f"stream {stream!r}: what is to stand for event {seq} is not its leaf hash",
                where=str(path),
                advice="give 0x00 and the 32 bytes of the leaf hash of the stored payload",
            )
    if found != len(payloads):
        raise StoreError(
            f"stream {stream!r}: {len(payloads) - found} of {len(payloads)} numbers are not there",
            where=str(path),
            advice="nothing was withheld; give sequence numbers of stored events",
        )


def _connect(address: str, timeout: float = 10.0) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True, timeout=timeout, isolation_level=None)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # pragma: no cover  (Windows has no handle of a folder to sync)
        return
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
