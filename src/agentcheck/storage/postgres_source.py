"""What ``agentcheck verify`` reads from a database: streams, rows as they are stored, and what weakens the tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agentcheck.storage import postgres_tables
from agentcheck.storage.postgres import asked, streamed
from agentcheck.storage.postgres_server import Server, driver

#: Rows that are fetched at once: 128 payloads are in memory, of the server and of this process.
_FETCHED = 128


class PostgresSource:
    """The streams of one run, read only. Holds no connection when it is made, so it can be sent to another process.

    Every method raises `StoreError` where the database cannot be read, and `MissingExtra` without psycopg.
    """

    def __init__(self, url: str, run: str) -> None:
        self._url = url
        self._run = run
        self._server = Server(url)
        #: Where it reads, without a password.
        self.name = f"{self._server.shown} {run}"

    def __reduce__(self) -> tuple[Any, ...]:
        return PostgresSource, (self._url, self._run)

    def __repr__(self) -> str:
        return f"PostgresSource({self.name!r})"

    def streams(self) -> list[tuple[str, int]]:
        """Name and last sequence number of every stream that has rows, sorted by name."""
        query = (
            b"SELECT s.name, e.seq FROM agentcheck.streams AS s CROSS JOIN LATERAL"
            b" (SELECT seq FROM agentcheck.events WHERE stream_id = s.id ORDER BY seq DESC LIMIT 1) AS e"
            b" WHERE s.run = %s"
        )
        return sorted((name, seq) for name, seq in asked(self._server, query, (self._run,)))

    def rows(self, stream: str, first: int, last: int) -> Iterator[tuple[int, bytes, bytes]]:
        """``(seq, payload, chain)`` of the rows numbered ``first`` to ``last``, in order of their numbers."""
        query = (
            b"SELECT seq, payload, chain FROM agentcheck.events WHERE seq BETWEEN %s AND %s"
            b" AND stream_id = (SELECT id FROM agentcheck.streams WHERE run = %s AND name = %s) ORDER BY seq"
        )
        given, where = (first, last, self._run, stream), f"{self._run}/{stream}"
        yield from streamed(self._server, query, given, where, _FETCHED)

    def value(self, stream: str, seq: int) -> tuple[bytes, bytes] | None:
        """Payload and chain value of one row; ``None`` where it is not there."""
        for _, payload, chain in self.rows(stream, seq, seq):
            return payload, chain
        return None

    def faults(self) -> list[str]:
        """What about the tables may show another reader other rows: views, rules, policies, inherited tables."""
        query = (
            b"SELECT relname, relkind::text, relrowsecurity, relhasrules, relhassubclass FROM pg_catalog.pg_class"
            b" WHERE oid IN (pg_catalog.to_regclass('agentcheck.events'), pg_catalog.to_regclass('agentcheck.streams'))"
        )
        found = asked(self._server, query, ())
        odd = [name for name, kind, *more in found if kind != "r" or any(more)]
        return [f"agentcheck.{name} is no plain table: a view, a rule, a policy or a child of it" for name in odd]

    def notices(self) -> list[str]:
        """What weakens the tables or the server, a sentence each (`agentcheck.storage.postgres_tables.notices`)."""
        psycopg = driver()
        try:
            with self._server.reading() as connection:
                return postgres_tables.notices(connection)
        except psycopg.Error as error:
            raise self._server.refused(error, self._run) from error

    def close(self) -> None:
        """Nothing to release: connections belong to the process's pool."""
