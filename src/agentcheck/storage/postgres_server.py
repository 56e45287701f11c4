"""Connections to one PostgreSQL database: a pool for reading, connections of their own for writing, errors in words.

``psycopg`` is imported here only, when the first connection is made. No message of an error holds a password.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import re
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from agentcheck.errors import MissingExtra, StoreError, UserError
from agentcheck.storage.address import read_address

if TYPE_CHECKING:
    import psycopg
    import psycopg_pool

    Connection = psycopg.Connection[tuple[Any, ...]]

#: Transition tables, identity columns and sha256() need 11; 12 is the oldest that is meant to work.
OLDEST = 120000
WRITER, READER, CUSTODIAN = "agentcheck_writer", "agentcheck_reader", "agentcheck_custodian"
#: Connections of one process that read one database at the same time, and seconds that a further one waits.
_READERS = 16
_PATIENCE = 10.0
#: Used where the address says nothing else. A host that vanished is noticed within about a minute, not in two hours.
_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}


class Server:
    """One database by its address. Makes no connection before it is asked for one; safe to keep over a fork."""

    def __init__(self, url: str) -> None:
        self._address = read_address(url, where="the store")
        self._url = url
        self.shown = self._address.shown

    def __repr__(self) -> str:
        return f"Server({self.shown!r})"

    def connect(self, role: str = "", *, settings: str = "") -> Connection:
        """A new connection in autocommit mode, acting as ``role`` where that exists and the login is a member of it.

        Raises:
            MissingExtra: psycopg is not installed.
            UserError: the address is none that PostgreSQL understands.
            StoreError: the server does not answer or refuses the login.
        """
        psycopg = driver()
        parameters = self._parameters()
        try:
            connection: Connection = psycopg.connect(**parameters, autocommit=True)
        except psycopg.Error as error:
            raise self.refused(error) from None  # its cause may hold more of the address than we want to show
        try:
            if connection.info.server_version < OLDEST:
                raise StoreError(
                    f"PostgreSQL {connection.info.server_version // 10000} is too old",
                    where=self.shown,
                    advice=f"use PostgreSQL {OLDEST // 10000} or newer",
                )
            if settings:
                connection.execute(settings.encode())
            if role:
                connection.execute(_TAKE_ROLE, (role,))
        except (psycopg.Error, StoreError) as error:
            connection.close()
            raise self.refused(error) from error
        return connection

    def _parameters(self) -> dict[str, Any]:
        psycopg = driver()
        try:
            given = psycopg.conninfo.conninfo_to_dict(self._url)
        except psycopg.Error as error:
            raise UserError(
                f"PostgreSQL cannot read the address: {self._without_secrets(error)}",
                where=self.shown,
                advice="write it as postgresql://user@host:5432/database",
            ) from None
        if not given.get("dbname") and not given.get("service"):
            # The library would take one called like the login, and nobody would know where events went.
            raise UserError(
                "the address names no database",
                where=self.shown,
                advice="name it: postgresql://user@host:5432/database",
            )
        name = f"agentcheck {os.getpid()} on {socket.gethostname()}"
        return {**_DEFAULTS, "application_name": name, **given, "client_encoding": "UTF8"}

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection of the pool, in autocommit mode, on which nothing can be written.

        Raises:
            StoreError: none can be had.
        """
        psycopg = driver()
        pool = self._pool()
        try:
            connection: Connection = pool.getconn(_PATIENCE)
        except psycopg.Error as error:
            self.connect().close()  # says better why, where it is not that all of them are in use
            raise self.refused(error) from error
        try:
            yield connection
        finally:
            pool.putconn(connection)

    def _pool(self) -> psycopg_pool.ConnectionPool[Any]:
        key = os.getpid(), self._url
        with _GUARD:
            found = _POOLS.get(key)
            if found is None:
                import psycopg_pool

                # It would print what it meets in its threads; whoever asks for a connection is told.
                logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())
                self.connect(READER).close()  # a pool cannot say why it gets no connection
                found = _POOLS[key] = psycopg_pool.ConnectionPool(
                    kwargs={**self._parameters(), "autocommit": True},
                    min_size=0,
                    max_size=_READERS,
                    max_idle=60.0,
                    num_workers=1,
                    timeout=_PATIENCE,
                    configure=_read_only,
                    check=psycopg_pool.ConnectionPool.check_connection,
                    open=True,
                )
        return found

    def refused(self, error: Exception, where: str = "") -> StoreError:
        """What the server or psycopg says, as an error that tells what to do."""
        if isinstance(error, StoreError):
            return error
        place = f"{self.shown} {where}".rstrip()
        text = self._without_secrets(error)
        state = getattr(error, "sqlstate", None) or ""
        fits = [row for row in _ADVICE if row[0] == state]
        if not fits and state[:2] in _WORDS:
            fits = [row for row in _ADVICE if row[0] in text]
        if fits:
            _, what, advice = fits[0]
            return StoreError(f"{what} ({text})", where=place, advice=advice)
        return StoreError(f"the store did not take or give events: {text}", where=place)

    def _without_secrets(self, error: Exception) -> str:
        text = re.sub(r"\s+", " ", str(error)).strip()
        for secret in sorted(self._address.secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def driver() -> Any:
    """The module ``psycopg``.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import psycopg
        import psycopg_pool  # noqa: F401  (the pool is a package of its own)
    except ImportError:
        raise MissingExtra("a ledger in PostgreSQL", "postgres") from None
    return psycopg


_POOLS: dict[tuple[int, str], Any] = {}
_GUARD = threading.Lock()


@atexit.register
def _close_pools() -> None:
    for (owner, _), pool in list(_POOLS.items()):
        if owner == os.getpid():
            pool.close()


def _after_fork() -> None:
    global _GUARD
    _GUARD = threading.Lock()  # a thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

_TAKE_ROLE = (
    b"SELECT pg_catalog.set_config('role', rolname, false) FROM pg_catalog.pg_roles"
    b" WHERE rolname = %s AND pg_catalog.pg_has_role(session_user, oid, 'MEMBER')"
)


def _read_only(connection: Connection) -> None:
    connection.execute(b"SET default_transaction_read_only = on")
    connection.execute(_TAKE_ROLE, (READER,))


_GRANT = "an administrator runs: GRANT agentcheck_writer TO the login (agentcheck_reader to read only)"
#: Classes of SQLSTATE of which the words tell more: none (no connection came about), 08, 28, 3D and 57.
_WORDS = ("", "08", "28", "3D", "57")
#: The SQLSTATE, or words of a message that has none; how it is told, and what to do. The first that fits.
_ADVICE = (
    ("password authentication failed", "the login was refused", "check user and password"),
    ("no password supplied", "a password is missing", "put it into AGENTCHECK_STORE, PGPASSWORD or ~/.pgpass"),
    ("no pg_hba.conf entry", "the server takes no such login from here", "an administrator mends pg_hba.conf"),
    *(
        (
            words,
            "the server's certificate cannot be checked",
            "put the CA's certificate into ~/.postgresql/root.crt, or name it: ?sslmode=verify-full&sslrootcert=FILE",
        )
        for words in ("root certificate file", "certificate verify failed")
    ),
    (
        "server certificate for",
        "the server's certificate is for another name",
        "use the name that the certificate is made for as host",
    ),
    (
        "does not support SSL",
        "the server has no TLS, and sslmode asks for it",
        "an administrator switches it on (ssl = on, with a certificate); sslmode=disable sends everything in the clear",
    ),
    ("does not exist", "there is no such database or login", "create it (createdb, createuser), or mend the address"),
    ("Connection refused", "the server does not answer", "is it running, and is the address right?"),
    ("No such file or directory", "the server does not answer", "is it running, and is the address right?"),
    ("could not translate host name", "the server's name is not known", "is the address right?"),
    ("failed to resolve host", "the server's name is not known", "is the address right?"),
    ("timeout", "the server does not answer in time", "is it running, and is the address right?"),
    ("the database system is", "the server is starting or stopping", "try again when it is up"),
    ("couldn't get a connection", f"all {_READERS} connections for reading are in use", "close what reads"),
    ("42501", "the login may not do this", _GRANT),
    ("23514", "the tables do not take this row", "something else wrote to this stream, or it is no event"),
    ("23505", "a repeated sequence number", "something else wrote to this stream"),
    ("53100", "the server's disk is full", "free some space and resume the run"),
    ("53300", "the server has no connection left", "raise max_connections, or end what else is connected"),
    ("25006", "the server takes no writes", "give the address of the primary, not of a standby"),
    ("42P01", "the tables of the ledger are not there", "run `agentcheck ledger migrate` as their owner"),
)
