"""How fast events are recorded and acknowledged, beside a bare loop over the same store, in one run on one machine.

    python benchmarks/append.py [--seconds 2] [--turns 5] [--postgres postgresql://...] [--busy]

What is measured:

- The chain step: canonical bytes, leaf hash and chain value of an event of 500 bytes, in microseconds of processor
  time; and ``record()`` as a whole, with and without redaction. Beside it one SHA-256 over 500 bytes, to compare
  machines.
- Acknowledged events per second with 1, 8 and 32 producers in one event loop, each of which waits for its event before
  it records the next; and with one producer that waits after every 256. Beside each figure, in turn with it, a *bare
  loop*: the least code that makes the same bytes and the same chain, hands the rows to a thread, stores what is queued
  in one commit and wakes whoever waits. It checks and redacts nothing, guards nothing and bounds nothing.

``--busy`` keeps every processor busy with other work meanwhile. ``--postgres`` does the same over PostgreSQL. Figures
of shared machines vary by a factor of two and more between runs; the ratios, of which the median over the turns is
printed, vary less.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import multiprocessing
import queue
import secrets
import sqlite3
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from agentcheck.contracts import Row, Store
from agentcheck.ledger.canonical import encode
from agentcheck.ledger.chain import genesis, step
from agentcheck.ledger.ledger import Ledger, Redact, unsafe_keep_all
from agentcheck.ledger.redaction import Redactor
from agentcheck.storage.postgres_run import PostgresRun
from agentcheck.storage.sqlite import SCHEMA, SqliteStore

SESSION = "payables::invoice-17#1"
#: A decision whose canonical bytes are 500.
DECISION: dict[str, Any] = {
    "action": "a1",
    "outcome": "allow",
    "control": "policy",
    "rule": "payments.known_recipient",
    "reason": "the recipient is on the list of known recipients, and the amount, 100.50 EUR, is below the limit of this"
    " clerk, which is 500.00 EUR in a week",
    "level": 0,
    "policy": "5f" * 32,
}
SALT = "0f" * 16
FIELDS = ("action.decided", DECISION, SESSION, 1_700_000_000_000_000, 1_000_000, "main", 1, SALT)

#: Takes rows and returns once they are on disk.
Append = Callable[[Sequence[Row]], None]


class NoStore:
    """Takes rows and forgets them, to time the recording alone."""

    def append(self, rows: Sequence[Row]) -> None:
        """Forget rows."""

    def head(self, stream: str) -> None:
        """No rows."""

    def read(self, stream: str, start: int = 1) -> Iterator[Row]:
        """No rows."""
        return iter(())

    def streams(self) -> Sequence[str]:
        """No streams."""
        return ()

    def close(self) -> None:
        """Nothing to release."""


def best(work: Callable[[], int], seconds: float) -> float:
    """Microseconds of processor time for one unit of ``work``, which says how many it did; the median of its runs."""
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end or len(times) < 3:
        start = time.thread_time_ns()
        units = work()
        times.append((time.thread_time_ns() - start) / 1000 / units)
    return median(times)


def record_cost(redact: Redact, seconds: float) -> float:
    """Microseconds of ``record()``."""

    def work() -> int:
        ledger = Ledger(NoStore(), "main", redact=redact)
        for _ in range(1000):
            ledger.record("action.decided", DECISION, SESSION)
        ledger.close()
        return 1000

    return best(work, seconds)


def step_cost(seconds: float) -> float:
    """Microseconds of the chain step: canonical bytes, leaf, chain value."""

    def work() -> int:
        chain = genesis("main")
        for _ in range(2000):
            chain = step(chain, encode(*FIELDS))
        return 2000

    return best(work, seconds)


def hash_cost(seconds: float) -> float:
    """Microseconds of SHA-256 over 500 bytes."""
    data = bytes(500)

    def work() -> int:
        for _ in range(2000):
            hashlib.sha256(data).digest()
        return 2000

    return best(work, seconds)


# The bare loop


class Bare:
    """Rows of one stream, chained and stored by a thread in one commit for all that is queued. Nothing else."""

    def __init__(self, append: Append) -> None:
        self._append = append
        self._chain, self._seq = genesis("main"), 0
        self._rows: list[Row] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def record(self) -> None:
        """Make the next row."""
        self._seq += 1
        data = orjson.dumps(
            {
                "body": DECISION,
                "salt": SALT,
                "seq": self._seq,
                "session": SESSION,
                "stream": "main",
                "time": time.time_ns() // 1000,
                "type": "action.decided",
                "v": 1,
            },
            option=orjson.OPT_SORT_KEYS,
        )
        leaf = hashlib.sha256(b"\x00" + data).digest()
        self._chain = hashlib.sha256(b"\x02" + self._chain + leaf).digest()
        self._rows.append(Row("main", self._seq, data, self._chain))

    async def settle(self) -> None:
        """Wait until it is stored."""
        future = self._loop.create_future()
        self._waiters.append(future)
        self._wake.put(True)
        await future

    def close(self) -> None:
        """End the thread."""
        self._wake.put(False)
        self._thread.join()

    def _write(self) -> None:
        while self._wake.get():
            while not self._wake.empty():
                if not self._wake.get():
                    return
            waiters, self._waiters = self._waiters, []
            rows, self._rows = self._rows, []
            if rows:
                self._append(rows)
            self._loop.call_soon_threadsafe(_finish, waiters)


def _finish(waiters: Sequence[asyncio.Future[None]]) -> None:
    for each in waiters:
        each.set_result(None)


@contextlib.contextmanager
def bare_sqlite(path: Path) -> Iterator[Append]:
    """One commit for each batch by sqlite3, with the settings of the driver and its table, without its triggers."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(SCHEMA[0])

    def append(rows: Sequence[Row]) -> None:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")

    yield append
    connection.close()


@contextlib.contextmanager
def bare_postgres(url: str) -> Iterator[Append]:
    """One statement, and so one commit, for each batch by psycopg, into a plain table with the same key."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = on")
        connection.execute("DROP TABLE IF EXISTS agentcheck_bare")
        connection.execute(
            "CREATE TABLE agentcheck_bare (stream_id bigint NOT NULL, seq bigint NOT NULL, payload bytea NOT NULL,"
            " chain bytea NOT NULL, PRIMARY KEY (stream_id, seq))"
        )
        query = (
            b"INSERT INTO agentcheck_bare SELECT 1, $1 + n - 1, payload, chain"
            b" FROM ROWS FROM (unnest($2), unnest($3)) WITH ORDINALITY AS given (payload, chain, n)"
        )
        pgconn = connection.pgconn
        pgconn.prepare(b"bare", query, [20, 1001, 1001])

        def array(values: Sequence[bytes]) -> bytes:
            parts = [struct.pack(">iiIii", 1, 0, 17, len(values), 1)]
            for value in values:
                parts += (struct.pack(">i", len(value)), value)
            return b"".join(parts)

        def append(rows: Sequence[Row]) -> None:
            payloads, chains = array([row[2] for row in rows]), array([row[3] for row in rows])
            done = pgconn.exec_prepared(b"bare", [struct.pack(">q", rows[0][1]), payloads, chains], [1, 1, 1])
            assert done.status == psycopg.pq.ExecStatus.COMMAND_OK, done.error_message

        yield append
        connection.execute("DROP TABLE agentcheck_bare")


# Producers


async def produce(
    record: Callable[[], object], settle: Callable[[], Any], producers: int, batch: int, seconds: float
) -> float:
    """Acknowledged events per second."""
    done = 0
    start = time.perf_counter()
    end = start + seconds

    async def one() -> None:
        nonlocal done
        while time.perf_counter() < end:
            for _ in range(batch):
                record()
            await settle()
            done += batch

    await asyncio.gather(*(one() for _ in range(producers)))
    return done / (time.perf_counter() - start)


def ours(store: Store, producers: int, batch: int, seconds: float, redact: Redact) -> float:
    """The ledger, as the runtime uses it."""
    number = count(1)
    varied = redact is not unsafe_keep_all

    async def run() -> float:
        with Ledger(store, "main", redact=redact) as ledger:

            def record() -> None:
                body = {**DECISION, "action": f"a{next(number)}"} if varied else DECISION
                ledger.record("action.decided", body, SESSION)

            return await produce(record, ledger.settle, producers, batch, seconds)

    return asyncio.run(run())


def bare(append: Append, producers: int, batch: int, seconds: float) -> float:
    """The bare loop."""

    async def run() -> float:
        rows = Bare(append)
        try:
            return await produce(rows.record, rows.settle, producers, batch, seconds)
        finally:
            rows.close()

    return asyncio.run(run())


def compare(
    name: str,
    make_store: Callable[[str], Store],
    make_bare: Callable[[str], contextlib.AbstractContextManager[Append]],
    seconds: float,
    turns: int,
) -> None:
    """Print acknowledged events per second of both, in turn with each other."""
    for producers, batch in ((1, 1), (8, 1), (32, 1), (1, 256)):
        rates: list[tuple[float, float, float]] = []
        for turn in range(turns):
            tag = f"{producers}-{batch}-{turn}"
            with make_bare(f"bare-{tag}") as append:
                least = bare(append, producers, batch, seconds)
            rates.append(
                (
                    least,
                    ours(make_store(f"ours-{tag}"), producers, batch, seconds, unsafe_keep_all),
                    ours(make_store(f"redacted-{tag}"), producers, batch, seconds, Redactor(bytes(32))),
                )
            )
        least, plain, redacted = (median(each[which] for each in rates) for which in range(3))
        part, whole = (median(each[which] / each[0] for each in rates) for which in (1, 2))
        what = f"{producers} producer(s)" if batch == 1 else f"batches of {batch}"
        print(
            f"{name}, {what:<15} bare loop {least:8.0f} /s   ledger {plain:8.0f} /s ({part:4.0%})"
            f"   with redaction {redacted:8.0f} /s ({whole:4.0%})",
            flush=True,
        )


@contextlib.contextmanager
def busy_processors() -> Iterator[None]:
    """Other work on every processor."""
    others = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(multiprocessing.cpu_count())]
    for other in others:
        other.start()
    yield
    for other in others:
        other.kill()


def _spin() -> None:
    while True:
        hashlib.sha256(bytes(100_000)).digest()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure and turn (default 2)")
    parser.add_argument("--turns", type=int, default=5, help="median of so many (default 5)")
    parser.add_argument("--folder", help="where to write (default: a temporary folder)")
    parser.add_argument("--postgres", metavar="URL", help="also over this database, in runs of its own")
    parser.add_argument("--busy", action="store_true", help="with other work on every processor")
    given = parser.parse_args()
    print(f"canonical bytes of the event: {len(encode(*FIELDS))}")
    print(f"SHA-256 of 500 bytes        {hash_cost(given.seconds / 2):6.2f} us")
    print(f"chain step                  {step_cost(given.seconds / 2):6.2f} us")
    print(f"record(), nothing redacted  {record_cost(unsafe_keep_all, given.seconds):6.2f} us")
    print(f"record(), redactor          {record_cost(Redactor(bytes(32)), given.seconds):6.2f} us", flush=True)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=given.folder)))
        if given.busy:
            stack.enter_context(busy_processors())
        compare(
            "SQLite",
            lambda name: SqliteStore(folder / f"{name}.db"),
            lambda name: bare_sqlite(folder / f"{name}.db"),
            given.seconds,
            given.turns,
        )
        if given.postgres:
            run = f"benchmark-{secrets.token_hex(4)}"
            compare(
                "PostgreSQL",
                lambda name: PostgresRun(given.postgres, f"{run}-{name}", folder).writing("main"),
                lambda name: bare_postgres(given.postgres),
                given.seconds,
                given.turns,
            )


if __name__ == "__main__":
    main()
