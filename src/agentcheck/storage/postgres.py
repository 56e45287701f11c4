"""Rows in PostgreSQL: one sequencer a stream, a batch in one statement, append-only enforced by the database.

The writer of a stream holds a session-level advisory lock on it, so a second one is refused at once, and the lock ends
with the connection, also with ``kill -9`` of either side. Should the lock fail (a pooler that hands one session to
several clients), the primary key and a trigger still refuse the second writer's rows. ``synchronous_commit`` is set to
``on``; `PostgresStore.append` returns after the commit.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from agentcheck.contracts import Row
from agentcheck.errors import StoreError
from agentcheck.storage.postgres_server import WRITER, Server, driver
from agentcheck.storage.sequence import continued

if TYPE_CHECKING:
    from agentcheck.storage.postgres_server import Connection

#: Rows that are fetched at once, and that go in one statement. The bytes keep a statement far below its limit of 1 GiB.
_FETCHED = 64
_ROWS_PER_STATEMENT = 4096
_BYTES_PER_STATEMENT = 32 << 20
_SMALL_BATCH = 512
#: A commit waits for the disk whatever the server's default is; a server that would end idle sessions keeps ours, and
#: one whose client's machine vanished gives the lock back soon.
_SETTINGS = """
SELECT pg_catalog.set_config(s.name, v.value, false)
FROM pg_catalog.pg_settings AS s JOIN (VALUES ('synchronous_commit', 'on'), ('statement_timeout', '0'),
    ('idle_session_timeout', '0'), ('tcp_keepalives_idle', '20'), ('tcp_keepalives_interval', '10'),
    ('tcp_keepalives_count', '3'), ('default_transaction_read_only', 'off')) AS v (name, value) USING (name)
WHERE NOT (s.name = 'synchronous_commit' AND s.setting = 'remote_apply')
"""
_APPEND = (
    b"INSERT INTO agentcheck.events (stream_id, seq, payload, chain) SELECT $1, $2 + n - 1, payload, chain"
    b" FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4)) WITH ORDINALITY AS given (payload, chain, n)"
)
_INT8, _BYTEA, _BYTEAS = 20, 17, 1001
_int4, _int8 = struct.Struct("!i").pack, struct.Struct("!q").pack


class PostgresStore:
    """A `contracts.Store` on the streams of one run. ``append`` and ``head`` may be called from any thread.

    Opened for writing it has a connection of its own, and takes the lock of a stream when it first appends to it, or
    at once for ``stream``. A store whose connection broke stays broken.

    Raises:
        StoreError: the database cannot be reached, has no tables of ours, or ``stream`` has a writer.
    """

    def __init__(self, server: Server, run: str, *, read_only: bool = False, stream: str | None = None) -> None:
        self.run = run
        self.read_only = read_only
        self._server = server
        self._guard = threading.Lock()
        self._ids: dict[str, int] = {}
        self._heads: dict[str, int] = {}
        self._closed = False
        self._owner = os.getpid()
        self._failed: StoreError | None = None
        self._connection: Connection | None = None
        if not read_only:
            self._connection = server.connect(WRITER, settings=_SETTINGS)
            try:
                _done(self._connection.pgconn.prepare(b"append", _APPEND, [_INT8, _INT8, _BYTEAS, _BYTEAS]))
                if stream is not None:
                    self._hold(stream)
            except BaseException as error:
                self._connection.close()
                if isinstance(error, driver().Error):
                    raise server.refused(error, run) from error
                raise

    # contracts.Store

    def append(self, rows: Sequence[Row]) -> None:
        """Store rows in one atomic, durable step; returns only once they are committed."""
        if not rows:
            return
        with self._guard:
            connection = self._writing()
            heads = continued(rows, self._last, self._where(rows[0].stream))
            psycopg = driver()
            try:
                # Looking at every row takes as long as sending it: not where one statement holds them all in any case.
                small = len(heads) == 1 and len(rows) <= _SMALL_BATCH
                batches = [rows] if small else list(_batches(rows))
                if len(batches) == 1:
                    self._insert(connection, batches[0])
                else:
                    with connection.transaction():
                        for batch in batches:
                            self._insert(connection, batch)
            except psycopg.Error as error:
                if connection.closed:
                    raise self._broke(error, rows[0].stream) from error
                raise self._server.refused(error, self._of(rows[0].stream)) from error
            except (TypeError, struct.error) as error:
                raise StoreError(
                    f"what is no row cannot be stored: {error}", where=self._where(rows[0].stream)
                ) from error
            self._heads.update(heads)

    def _insert(self, connection: Connection, rows: Sequence[Row]) -> None:
        # Beneath psycopg's cursors, which take as long as the whole commit of a single row on a fast disk.
        payloads, chains = _array([row[2] for row in rows]), _array([row[3] for row in rows])
        given = [_int8(self._ids[rows[0].stream]), _int8(rows[0].seq), payloads, chains]
        _done(connection.pgconn.exec_prepared(b"append", given, [1, 1, 1, 1]))

    def _broke(self, error: Exception, stream: str) -> StoreError:
        self._failed = StoreError(
            "the connection broke while events were being stored, so it is not known whether they are there"
            f" ({self._server.refused(error).what})",
            where=self._where(stream),
            advice="nothing of this batch was acknowledged; see what the stream holds, and resume the run",
        )
        return self._failed

    def _last(self, stream: str) -> int:
        if stream not in self._ids:
            self._hold(stream)
        return self._heads[stream]

    def _hold(self, stream: str) -> None:
        """Become the writer of a stream: take its lock, make its row, find its last number."""
        connection = self._writing()
        psycopg = driver()
        try:
            hold(self._server, connection, self.run, stream)
            query = (
                b"INSERT INTO agentcheck.streams (run, name) SELECT %s, %s WHERE NOT EXISTS"
                b" (SELECT FROM agentcheck.streams WHERE run = %s AND name = %s)"
            )
            connection.execute(query, (self.run, stream) * 2)
            query = (
                b"SELECT s.id, coalesce((SELECT max(seq) FROM agentcheck.events WHERE stream_id = s.id), 0)"
                b" FROM agentcheck.streams AS s WHERE run = %s AND name = %s"
            )
            found = connection.execute(query, (self.run, stream)).fetchone()
        except (psycopg.Error, UnicodeEncodeError) as error:
            if connection.closed:
                raise self._broke(error, stream) from error
            raise self._server.refused(error, self._of(stream)) from error
        assert found is not None
        self._ids[stream], self._heads[stream] = found

    def read(self, stream: str, start: int = 1) -> Iterator[Row]:
        """Rows of a stream from ``start`` in order, as they were when reading began; memory does not grow with them."""
        self._check_open()
        return self._read(stream, start)

    def _read(self, stream: str, start: int) -> Iterator[Row]:
        query = (
            b"SELECT e.seq, e.payload, e.chain FROM agentcheck.events AS e WHERE e.seq >= %s AND e.stream_id ="
            b" (SELECT id FROM agentcheck.streams WHERE run = %s AND name = %s) ORDER BY e.seq"
        )
        for seq, payload, chain in streamed(self._server, query, (start, self.run, stream), self._of(stream)):
            yield Row(stream, seq, payload, chain)

    def streams(self) -> Sequence[str]:
        """Names of all streams that hold events, sorted."""
        query = (
            b"SELECT name FROM agentcheck.streams AS s WHERE run = %s"
            b" AND EXISTS (SELECT FROM agentcheck.events WHERE stream_id = s.id AND seq = 1)"
        )
        return sorted(name for (name,) in self._query(query, self.run))

    def head(self, stream: str) -> tuple[int, bytes] | None:
        """Last sequence number and chain value of a stream; ``None`` where it has no rows."""
        query = (
            b"SELECT seq, chain FROM agentcheck.events WHERE stream_id ="
            b" (SELECT id FROM agentcheck.streams WHERE run = %s AND name = %s) ORDER BY seq DESC LIMIT 1"
        )
        found = self._query(query, self.run, stream)
        return (found[0][0], found[0][1]) if found else None

    def _query(self, query: bytes, *arguments: str) -> list[tuple[Any, ...]]:
        with self._guard:
            self._check_open()
        return asked(self._server, query, arguments)

    def close(self) -> None:
        """Give the locks back and close the connection."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            if os.getpid() != self._owner or self._connection is None:
                return  # a forked child must not say goodbye on the parent's connection
            # Not left to the end of the server's process, which comes a moment later.
            if not self._connection.closed:
                self._connection.pgconn.exec_(b"SELECT pg_catalog.pg_advisory_unlock_all()")
            self._connection.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed", where=self._where())
        if os.getpid() != self._owner:
            raise StoreError(
                "the store belongs to the process that opened it",
                where=self._where(),
                advice="open a store, and write a stream, of your own in a forked process",
            )

    def _writing(self) -> Connection:
        self._check_open()
        if self._failed is not None:
            raise self._failed
        if self._connection is None:
            raise StoreError("the store was opened for reading", where=self._where(), advice="open it for writing")
        return self._connection

    def _of(self, stream: str = "") -> str:
        return f"{self.run}/{stream}".rstrip("/")

    def _where(self, stream: str = "") -> str:
        return f"{self._server.shown} {self._of(stream)}"


def _done(result: Any) -> None:
    psycopg = driver()
    if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(result, "utf-8")


def lock_key(run: str, stream: str) -> int:
    """The advisory lock of a stream: 64 bits of a hash of its name."""
    digest = sha256(f"agentcheck/stream\n{run}\n{stream}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def hold(server: Server, connection: Connection, run: str, stream: str) -> None:
    """Take a stream's lock for the session.

    Raises:
        StoreError: somebody writes the stream already.
    """
    key = lock_key(run, stream)
    taken = connection.execute(b"SELECT pg_catalog.pg_try_advisory_lock(%s)", (key,)).fetchone()
    if taken and taken[0]:
        return
    raise StoreError(
        f"{holder(server, [key]) or 'another client'} writes this stream already",
        where=f"{server.shown} {run}/{stream}",
        advice="a stream has one writer: wait for that run to end, or write another run",
    )


def holder(server: Server, keys: Sequence[int]) -> str:
    """Which client holds one of these locks, as the server knows it; ``""`` where none does."""
    # Not as one of our roles: the server tells about a session only to the login that it belongs to.
    connection = server.connect()
    try:
        found = connection.execute(
            b"SELECT l.pid, a.application_name, a.client_addr::text FROM pg_catalog.pg_locks AS l"
            b" JOIN pg_catalog.pg_database AS d ON d.oid = l.database AND d.datname = current_database()"
            b" LEFT JOIN pg_catalog.pg_stat_activity AS a USING (pid)"
            b" WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted"
            b" AND (l.classid::bigint << 32) | l.objid::bigint = ANY(%s) LIMIT 1",
            (list(keys),),
        ).fetchone()
    finally:
        connection.close()
    if found is None:
        return ""
    process, name, address = found
    client = f"{name or 'a client'}{f' at {address}' if address else ''}"
    return f"{client} (server process {process})"


def asked(server: Server, query: bytes, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The rows of a short query, by a connection of the pool.

    Raises:
        StoreError: it cannot be answered.
    """
    psycopg = driver()
    try:
        with server.reading() as connection, connection.cursor(binary=True) as cursor:
            return cursor.execute(query, arguments).fetchall()
    except (psycopg.Error, UnicodeEncodeError) as error:
        raise server.refused(error) from error


def streamed(
    server: Server, query: bytes, arguments: Sequence[Any], where: str, size: int = _FETCHED
) -> Iterator[tuple[Any, ...]]:
    """The rows of a long query as the server sends them, ``size`` at a time.

    Raises:
        StoreError: it cannot be answered, or the connection breaks on the way.
    """
    psycopg = driver()
    chunk = size if psycopg.capabilities.has_stream_chunked() else 1  # libpq before 17 gives one row at a time
    try:
        with server.reading() as connection, connection.cursor(binary=True) as cursor:
            yield from cursor.stream(query, arguments, size=chunk)
    except (psycopg.Error, UnicodeEncodeError) as error:
        raise server.refused(error, where) from error


def _batches(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Rows in order, cut where the stream changes and where a statement would become too large."""
    start = size = 0
    for at, row in enumerate(rows):
        full = at - start >= _ROWS_PER_STATEMENT or size >= _BYTES_PER_STATEMENT
        if at > start and (full or row.stream != rows[start].stream):
            yield rows[start:at]
            start, size = at, 0
        size += len(row.payload)
    yield rows[start:]


def _array(items: Sequence[bytes], int4: Callable[[int], bytes] = _int4) -> bytes:
    """``bytea[]`` in the binary format: dimensions, has-null flag, type; size and lower bound; each item."""
    head = struct.pack("!iiiii", 1, 0, _BYTEA, len(items), 1)
    return head + b"".join([part for item in items for part in (int4(len(item)), item)])
