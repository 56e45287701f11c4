"""The PostgreSQL driver: the kits, and what is its own: broken connections, locks, forks, memory, errors in words."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import cast

import psycopg
import pytest

from agentcheck.contracts import Row, Store
from agentcheck.errors import MissingExtra, StoreError
from agentcheck.storage.postgres import PostgresStore, lock_key
from agentcheck.storage.postgres_run import PostgresRun
from agentcheck.storage.postgres_server import Server as Database
from agentcheck.storage.postgres_tables import migrate
from kits.run_store import Place, RunStoreKit, fill, payloads
from kits.store import StoreKit, rows
from postgres_server import Server, server


@pytest.fixture
def name() -> str:
    """The name of a run that nothing was written of."""
    return f"run-{secrets.token_hex(6)}"


class TestPostgresConforms(StoreKit):
    """The kit on one database, each test under a run of its own."""

    @pytest.fixture
    def reopen(self, ledger_url: str, name: str) -> Callable[..., Store]:
        """One run for the whole test."""
        database = Database(ledger_url)
        migrate(database)
        return lambda read_only=False: PostgresStore(database, name, read_only=read_only)


class TestPostgresRunConforms(RunStoreKit):
    """The kit of runs."""

    @pytest.fixture
    def place(self, ledger_url: str, name: str) -> Place:
        """A run of the shared database."""
        return "agentcheck.storage.postgres_run:PostgresRun", ledger_url, name, ""


@pytest.fixture
def run(ledger_url: str, name: str) -> PostgresRun:
    """A run that holds nothing."""
    return PostgresRun(ledger_url, name, Path())


def cut(postgres: Server, url: str) -> None:
    """End the server's processes of every client that holds a lock in a database."""
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database AS d ON d.oid = database"
        " WHERE locktype = 'advisory' AND d.datname = %s",
        url.rpartition("/")[2],
    )


def test_a_connection_that_broke_leaves_it_open_what_is_stored(postgres: Server, run: PostgresRun) -> None:
    """The append that meets it says that nobody knows, every later one says so again, and what was there is there."""
    with closing(run.writing("main")) as store:
        store.append(rows(2))
        cut(postgres, run.url)
        for first in (3, 3):
            with pytest.raises(StoreError, match="not known whether they are there") as caught:
                store.append(rows(1, start=first))
            assert "resume the run" in caught.value.advice
    assert len(payloads(run, "main")) == 2
    with closing(run.writing("main")) as store:
        store.append(rows(1, start=3))


def test_commits_wait_for_the_disk_whatever_the_server_says(postgres: Server, name: str) -> None:
    """Where the server's default is not to wait, the writing connection waits all the same."""
    url = postgres.url(postgres.database())
    postgres.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")
    with closing(PostgresRun(url, name, Path()).writing("main")) as store:
        connection = cast(PostgresStore, store)._connection
        assert connection is not None
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_appending_is_done_as_the_writer_and_reading_as_the_reader(run: PostgresRun) -> None:
    """The login itself, here a superuser, neither appends nor reads."""
    with closing(run.writing("main")) as store:
        connection = cast(PostgresStore, store)._connection
        assert connection is not None
        assert connection.execute("SELECT current_user").fetchone() == ("agentcheck_writer",)
    with Database(run.url).reading() as reading:
        assert reading.execute("SELECT current_user").fetchone() == ("agentcheck_reader",)


def test_the_second_writer_hears_who_writes(run: PostgresRun) -> None:
    """The refusal names the process, its machine and the stream, and so does whoever asks for the run's writer."""
    here = f"agentcheck {os.getpid()} on {socket.gethostname()}"
    with closing(run.writing("main")):
        with pytest.raises(StoreError, match="writes this stream already") as caught:
            run.writing("main")
        assert here in caught.value.what
        assert caught.value.where.endswith(f"{run.run}/main")
        assert here in run.writer()
    assert run.writer() == ""


def test_a_lock_that_fails_lets_no_second_writer_in_between(postgres: Server, run: PostgresRun) -> None:
    """Where two sessions believe that they hold the stream, the primary key refuses the one that comes too late."""
    with closing(run.writing("main")) as first:
        first.append(rows(1))
        # What a pooler does that hands one session of the server to several clients.
        connection = cast(PostgresStore, first)._connection
        assert connection is not None
        connection.execute("SELECT pg_advisory_unlock(%s)", (lock_key(run.run, "main"),))
        with closing(run.writing("main")) as second:
            second.append(rows(1, start=2))
            with pytest.raises(StoreError, match="a repeated sequence number"):
                first.append(rows(2, start=2))
            second.append(rows(1, start=3))
            assert len(payloads(run, "main")) == 3


def test_a_killed_writer_leaves_no_lock(run: PostgresRun) -> None:
    """After kill -9 another process may write once the server noticed, and goes on after what was acknowledged."""
    code = (
        "import os, signal, sys; from pathlib import Path; from agentcheck.contracts import Row;"
        "from agentcheck.storage.postgres_run import PostgresRun;"
        "store = PostgresRun(sys.argv[1], sys.argv[2], Path()).writing('main');"
        "store.append([Row('main', seq, b'x', bytes(32)) for seq in range(1, 6)]);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, run.url, run.run], timeout=60, check=False)
    for _ in range(1000):
        if not run.writer():
            break
    with closing(run.writing("main")) as store:
        store.append(rows(1, start=6))
        assert store.head("main") == (6, (6).to_bytes(32, "big"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_cannot_use_the_store(run: PostgresRun) -> None:
    """A forked child is refused, reads by a connection of its own, and takes nothing of the parent's with it."""
    code = (
        "import os, sys; from pathlib import Path; from agentcheck.contracts import Row;"
        "from agentcheck.errors import StoreError; from agentcheck.storage.postgres_run import PostgresRun;"
        "run = PostgresRun(sys.argv[1], sys.argv[2], Path()); store = run.writing('main');"
        "row = lambda seq: [Row('main', seq, b'x', bytes(32))]; store.append(row(1)); list(run.streams())\n"
        "if os.fork() == 0:\n"
        "    try:\n"
        "        store.append(row(2))\n"
        "    except StoreError as error:\n"
        "        print(error.what, list(run.streams()), flush=True)\n"
        "    store.close(); sys.exit(0)\n"
        "os.wait(); store.append(row(2)); print(store.head('main')[0], list(run.streams()), bool(run.writer()))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code, run.url, run.run], capture_output=True, timeout=60
    )
    assert done.stdout.decode().splitlines() == [
        "the store belongs to the process that opened it ['main']",
        "2 ['main'] True",
    ], done.stderr


def test_a_large_batch_is_one_step(run: PostgresRun) -> None:
    """A batch of several statements is stored whole, or with a bad last row not at all."""
    with closing(run.writing("main")) as store:
        bad = [*rows(9000), Row("main", 9001, b"x", b"no chain value")]
        with pytest.raises(StoreError, match="do not take this row"):
            store.append(bad)
        assert store.head("main") is None
        store.append(rows(9000))
        assert store.head("main") == (9000, (9000).to_bytes(32, "big"))


@pytest.mark.parametrize("payload", [None, 7, "text"])
def test_what_is_no_row_is_refused_before_it_is_sent(run: PostgresRun, payload: object) -> None:
    """A payload that is not bytes is an error of the store, and the next batch is taken."""
    with closing(run.writing("main")) as store:
        with pytest.raises(StoreError, match="no row"):
            store.append([Row("main", 1, cast(bytes, payload), bytes(32))])
        store.append(rows(1))


@pytest.mark.parametrize("stream", ["\x00", "\ud800"])
def test_a_name_that_cannot_be_stored_is_told(run: PostgresRun, stream: str) -> None:
    """What PostgreSQL's text cannot hold is an error of the store."""
    with pytest.raises(StoreError):
        run.writing(stream)


def test_reading_needs_little_memory(run: PostgresRun) -> None:
    """A stream of 60 MB is read with less than 20 MB at a time."""
    with closing(run.writing("main")) as store:
        for first in range(1, 600, 60):
            store.append(rows(60, start=first, payload=os.urandom(100_000)))
        tracemalloc.start()
        try:
            assert sum(len(row.payload) for row in store.read("main")) == 60_000_000
            assert tracemalloc.get_traced_memory()[1] < 20_000_000
        finally:
            tracemalloc.stop()


def test_a_reader_that_stops_early_gives_its_connection_back(run: PostgresRun) -> None:
    """More readers than there are connections may look at the beginning of a stream, one after another."""
    fill(run, "main", 1000)
    with closing(run.reading("main")) as store:
        for _ in range(40):
            reading = store.read("main")
            assert [row.seq for row in islice(reading, 2)] == [1, 2]
            del reading
        assert store.head("main") is not None


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A server that these tests may kill."""
    with server() as running:
        yield running


def test_a_server_that_comes_back_is_read_again(own: Server) -> None:
    """Connections of before are replaced, what was acknowledged is there, and the old writer stays broken."""
    run = PostgresRun(own.url(own.database()), "run", Path())
    with closing(run.writing("main")) as store:
        store.append(rows(3))
        assert len(payloads(run, "main")) == 3
        own.kill()
        with pytest.raises(StoreError, match="not known"):
            store.append(rows(1, start=4))
        own.start()
        assert len(payloads(run, "main")) == 3
        with pytest.raises(StoreError, match="not known"):
            store.append(rows(1, start=4))


def test_a_server_that_is_gone_while_reading_is_told(own: Server) -> None:
    """A reader that waits for rows of a killed server gets an error, and no end of the stream."""
    run = PostgresRun(own.url(own.database()), "run", Path())
    with closing(run.writing("main")) as store:
        for first in range(1, 2000, 100):
            store.append(rows(100, start=first, payload=os.urandom(10_000)))
        reading = store.read("main")
        assert next(reading).seq == 1
        own.kill()
        try:
            with pytest.raises(StoreError):
                list(reading)
        finally:
            own.start()


def test_no_error_holds_the_password(postgres: Server, run: PostgresRun) -> None:
    """Not the text that psycopg gives, not what it was raised from, not the object that is shown in a traceback."""
    database = Database(run.url.replace("127.0.0.1", "127.0.0.1,no-such-host.invalid").replace("/d", "/none"))
    with pytest.raises(StoreError) as caught:
        database.connect()
    error: BaseException | None = caught.value
    while error is not None:
        assert postgres.password not in f"{error} {error!r} {error.args}"
        error = error.__cause__
    assert postgres.password not in repr(database)
    leak = database.refused(psycopg.OperationalError(f"something about {postgres.password}"))
    assert "***" in leak.what


def test_without_psycopg_the_extra_is_named(run: PostgresRun) -> None:
    """A missing driver is told before anything else, with the line that installs it."""
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from pathlib import Path; from agentcheck.errors import MissingExtra\n"
        "from agentcheck.storage.postgres_run import PostgresRun\n"
        "try:\n    PostgresRun(sys.argv[1], 'run', Path())\nexcept MissingExtra as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, run.url], capture_output=True, timeout=60, check=True)
    assert b"governance[postgres]" in done.stdout
    assert MissingExtra("x", "postgres").exit_code == 4
