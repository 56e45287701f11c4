"""kill -9 of a ledger's writer, and of the whole server, at random moments: nothing that was acknowledged is lost.

The writers record through `Ledger` and print each number when it is acknowledged. They are forked, one a round, from
a process that has everything imported, so that a round takes milliseconds. A few rounds belong to the ordinary
suite; two hundred on each store are a soak.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from agentcheck.contracts import RunStore
from agentcheck.ledger.chain import genesis, step
from agentcheck.ledger.reading import read_events
from agentcheck.storage.postgres_run import PostgresRun
from agentcheck.storage.sqlite_run import SqliteRun
from fakes_ledger import body, every_type
from kits.contender import run_store
from postgres_server import Server, server

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 and fork are POSIX's")

WRITER = """
import asyncio, os, sys
from agentcheck.errors import StoreError
from agentcheck.ledger.ledger import Ledger, unsafe_keep_all
from fakes_ledger import every_type
from kits.contender import run_store
run_store(*sys.argv[1:5])
import agentcheck.storage.postgres, agentcheck.storage.sqlite, psycopg

EVENTS = list(every_type())[1:-1]

async def session(ledger, number):
    position = number
    while True:
        position += 1
        for _ in range(position % 4):
            ledger.record(*EVENTS[position % len(EVENTS)], f"s::c#{number}")  # buffered
        event = await ledger.append(*EVENTS[(position * 7) % len(EVENTS)], f"s::c#{number}")
        os.write(1, b"%d\\n" % event.seq)

async def main(stream):
    store = run_store(*sys.argv[1:5]).writing(stream)
    ledger = Ledger(store, stream, redact=unsafe_keep_all)
    await ledger.append(*next(every_type()))
    await asyncio.gather(*(session(ledger, number) for number in range(8)))

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(main(line.strip()))
        except StoreError as error:
            os.write(1, f"refused {error.what}\\n".replace("\\n", " ").encode() + b"\\n")
        finally:
            os._exit(0)
    os.write(1, b"pid %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"dead\\n")
"""

Place = tuple[str, str, str, str]


class Writers:
    """Starts writers one after another, and hears what they acknowledge."""

    def __init__(self, place: Place) -> None:
        paths = [str(Path(__file__).parents[1]), *sys.path]
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, *place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )

    def write(self, stream: str, lines: int, end: Callable[[int], None]) -> tuple[list[int], list[str]]:
        """Start a writer, call ``end(pid)`` after so many acknowledgements; all of them, and what was refused."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{stream}\n".encode())
        self.process.stdin.flush()
        pid, told, refused = 0, list[int](), list[str]()
        for line in self.process.stdout:
            text = line.decode()
            if text.startswith("pid"):
                pid = int(text.split()[1])
            elif text.startswith("refused"):
                refused.append(text)
            elif text == "dead\n":
                return told, refused
            else:
                told.append(int(text))
            if pid and len(told) >= lines:
                end(pid)
                pid = 0
        raise AssertionError("the writers ended")


@contextmanager
def writers(place: Place) -> Iterator[Writers]:
    """Writers of a run, ended at the end."""
    made = Writers(place)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


def look(run: RunStore, stream: str, told: list[int]) -> None:
    """Every acknowledged number is stored, without a gap, the chain holds, and the events are the ones recorded."""
    with closing(run.reading(stream)) as store:
        rows = list(store.read(stream))
        known = [each for name, _ in every_type() for each in [body(name)]]
        assert all(event.body in known for event in read_events(store, stream))
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= max(told)
    value = genesis(stream)
    for row in rows:
        value = step(value, row.payload)
        assert row.chain == value


def kill(pid: int) -> None:
    """kill -9."""
    os.kill(pid, signal.SIGKILL)


def kill_writers(run: RunStore, place: Place, rounds: int) -> None:
    """Kill one writer a round."""
    chance = random.Random(rounds)
    with writers(place) as running:
        for number in range(rounds):
            stream = f"s{number}"
            told, refused = running.write(stream, chance.randint(1, 300), kill)
            assert not refused
            look(run, stream, told)


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A server that these tests may kill."""
    with server() as running:
        yield running


@pytest.fixture
def place(own: Server) -> Place:
    """A new run in a new database."""
    return "agentcheck.storage.postgres_run:PostgresRun", own.url(own.database()), f"run-{secrets.token_hex(4)}", ""


@pytest.mark.parametrize("rounds", [3, pytest.param(100, marks=pytest.mark.soak)])
def test_a_killed_writer_loses_nothing_acknowledged_in_postgresql(place: Place, rounds: int) -> None:
    """Whatever a writer of PostgreSQL was told is stored is there after its death."""
    run = run_store(*place)
    assert isinstance(run, PostgresRun)
    kill_writers(run, place, rounds)


@pytest.mark.parametrize("rounds", [3, pytest.param(100, marks=pytest.mark.soak)])
def test_a_killed_server_loses_nothing_acknowledged(own: Server, place: Place, rounds: int) -> None:
    """The same after the death of the server; the writer hears that it is not known what became of the rest."""
    run = run_store(*place)
    chance = random.Random(rounds)
    heard = list[str]()
    with writers(place) as running:
        for number in range(rounds):
            stream = f"s{number}"
            told, refused = running.write(stream, chance.randint(1, 300), lambda pid: own.kill())
            own.start()
            assert len(refused) == 1
            heard += refused
            look(run, stream, told)
    assert all("not known whether they are there" in each for each in heard), heard


@pytest.mark.parametrize("rounds", [3, pytest.param(200, marks=pytest.mark.soak)])
def test_a_killed_writer_loses_nothing_acknowledged_in_sqlite(tmp_path: Path, rounds: int) -> None:
    """Whatever a writer of SQLite was told is stored is there after its death."""
    place = "agentcheck.storage.sqlite_run:SqliteRun", "", "run", str(tmp_path)
    run = run_store(*place)
    assert isinstance(run, SqliteRun)
    kill_writers(run, place, rounds)
