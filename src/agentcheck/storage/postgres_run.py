"""The streams of one run in PostgreSQL, beside those of other runs in the same tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentcheck.contracts import Store
from agentcheck.errors import StoreError
from agentcheck.storage import postgres_tables
from agentcheck.storage.postgres import PostgresStore, asked, hold, holder, lock_key
from agentcheck.storage.postgres_server import CUSTODIAN, Server, driver
from agentcheck.storage.postgres_source import PostgresSource

if TYPE_CHECKING:
    from agentcheck.storage.postgres_server import Connection

#: Addresses whose tables this process found to be up to date.
_READY: set[str] = set()


class PostgresRun:
    """A `contracts.RunStore` on a database; the run's folder holds nothing of it. Made without a connection.

    Raises:
        MissingExtra: psycopg is not installed.
        UserError: the address cannot be read.
    """

    def __init__(self, url: str, run: str, folder: Path) -> None:
        driver()
        #: With the password, where one was given.
        self.url = url
        self.run = run
        self._server = Server(url)

    def streams(self) -> Sequence[str]:
        """Names of the run's streams that hold events, sorted; makes the tables where they are not there."""
        return self.reading("").streams()

    def writing(self, stream: str) -> Store:
        """The stream's store, opened for writing, with the stream's lock."""
        self._prepare()
        return PostgresStore(self._server, self.run, stream=stream)

    def reading(self, stream: str) -> Store:
        """A store of all streams of the run, opened for reading."""
        self._prepare()
        return PostgresStore(self._server, self.run, read_only=True)

    def writer(self) -> str:
        """The client that writes a stream of the run, as the server knows it."""
        self._prepare()
        names = asked(self._server, b"SELECT name FROM agentcheck.streams WHERE run = %s", (self.run,))
        return holder(self._server, [lock_key(self.run, name) for (name,) in names]) if names else ""

    def source(self) -> PostgresSource:
        """What the verifier reads the run from."""
        return PostgresSource(self.url, self.run)

    def withhold(self, stream: str, payloads: Mapping[int, bytes]) -> None:
        """Put leaf hashes in the place of payloads, in one transaction, as the role ``agentcheck_custodian``.

        The database itself checks that each is the leaf hash of what it holds. What was withheld stays in the server's
        files until they are vacuumed, and in its log and backups (docs/storage.md).
        """
        self._prepare()
        wrong = [seq for seq, given in payloads.items() if len(given) != 33 or given[:1] != b"\x00"]
        if wrong:
            raise self._no(stream, f"what is to stand for event {wrong[0]} is not its leaf hash")
        with self._custodian(stream) as connection:
            hold(self._server, connection, self.run, stream)
            with connection.transaction():
                roles = _act_as_custodian(connection)
                found = _replace(connection, self.run, stream, payloads)
                if not roles:
                    connection.execute(b"REVOKE UPDATE (payload) ON agentcheck.events FROM CURRENT_USER")
                if found != len(payloads):
                    raise self._no(stream, f"{len(payloads) - found} of {len(payloads)} numbers are not there")

    def ready_to_withhold(self, stream: str) -> None:
        """Take the role ``agentcheck_custodian`` and give it back: a login that may not is told which one it lacks."""
        self._prepare()
        with self._custodian(stream) as connection, connection.transaction(force_rollback=True):
            _act_as_custodian(connection)
            query = b"SELECT pg_catalog.has_column_privilege('agentcheck.events', 'payload', 'UPDATE')"
            row = connection.execute(query).fetchone()
            if not (row and row[0]):
                raise self._may_not(stream, "its role may not update payloads")

    @contextmanager
    def _custodian(self, stream: str) -> Iterator[Connection]:
        """A connection that is closed at the end, and whose errors are told as those of withholding."""
        psycopg = driver()
        connection = self._server.connect()
        try:
            yield connection
        except psycopg.errors.InsufficientPrivilege as error:
            raise self._may_not(stream, str(error).splitlines()[0]) from error
        except psycopg.Error as error:
            raise self._server.refused(error, f"{self.run}/{stream}") from error
        finally:
            connection.close()

    def _may_not(self, stream: str, why: str) -> StoreError:
        return StoreError(
            f"the login may not withhold this ({why})",
            where=f"{self._server.shown} {self.run}/{stream}",
            advice=f"GRANT {CUSTODIAN} TO the login; and only leaf hashes take the place of payloads",
        )

    def _no(self, stream: str, why: str) -> StoreError:
        return StoreError(
            f"stream {stream!r}: {why}",
            where=f"{self._server.shown} {self.run}/{stream}",
            advice="nothing was withheld; give sequence numbers of stored events with their leaf hashes",
        )

    def migrate(self) -> Sequence[str]:
        """Make the tables or bring them up to date; names of the migrations that were applied."""
        return postgres_tables.migrate(self._server)

    def condition(self) -> Sequence[tuple[str, str, str]]:
        """What ``agentcheck doctor`` says of the database."""
        return postgres_tables.condition(self._server)

    def _prepare(self) -> None:
        if self.url not in _READY:
            postgres_tables.migrate(self._server)
            _READY.add(self.url)


def runs(url: str) -> list[str]:
    """Names of the runs that a database holds events of, sorted.

    Raises:
        StoreError: the database cannot be read.
    """
    server = Server(url)
    query = (
        b"SELECT DISTINCT run FROM agentcheck.streams AS s"
        b" WHERE EXISTS (SELECT FROM agentcheck.events WHERE stream_id = s.id AND seq = 1)"
    )
    return sorted(name for (name,) in asked(server, query, ()))


def _act_as_custodian(connection: Connection) -> bool:
    """Within a transaction: take the role; where the server has no such role, give the owner the right for once."""
    found = connection.execute(b"SELECT pg_catalog.to_regrole(%s) IS NULL", (CUSTODIAN,)).fetchone()
    if found and found[0]:
        connection.execute(b"SET LOCAL agentcheck.withholding = 'on'")
        connection.execute(b"GRANT UPDATE (payload) ON agentcheck.events TO CURRENT_USER")
        return False
    connection.execute(b"SET LOCAL ROLE agentcheck_custodian")
    return True


def _replace(connection: Connection, run: str, stream: str, payloads: Mapping[int, bytes]) -> int:
    """Replace payloads and say how many of the numbers are there; those that are withheld already stay."""
    given: tuple[Any, ...] = (list(payloads), list(payloads.values()), run, stream)
    rows = b" FROM ROWS FROM (pg_catalog.unnest(%b::bigint[]), pg_catalog.unnest(%b::bytea[])) AS g (seq, payload)"
    there = connection.execute(
        b"SELECT count(*)" + rows + b" JOIN agentcheck.streams AS s ON s.run = %s AND s.name = %s"
        b" JOIN agentcheck.events AS e ON e.stream_id = s.id AND e.seq = g.seq",
        given,
    ).fetchone()
    connection.execute(
        b"UPDATE agentcheck.events AS e SET payload = g.payload" + rows + b", agentcheck.streams AS s"
        b" WHERE s.run = %s AND s.name = %s AND e.stream_id = s.id AND e.seq = g.seq AND e.payload <> g.payload",
        given,
    )
    return int(there[0]) if there else 0
