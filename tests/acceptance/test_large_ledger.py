"""A million events: `agentcheck verify` streams them from SQLite and PostgreSQL, in bounded memory."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import orjson
import pytest

import cli
from agentcheck.contracts import Row, Store
from agentcheck.ledger.chain import genesis, step
from agentcheck.ledger.verify import INCONSISTENT, verify
from agentcheck.storage.postgres_run import PostgresRun
from agentcheck.storage.sqlite import SqliteStore

RUN = "20260101-120000-ab12"
#: MiB that the largest process of a verification may take.
MOST = 200
WATCH = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // (1 << 20 if sys.platform == "darwin" else 1024))
sys.exit(code)
"""


def rows(events: int) -> Iterator[Row]:
    """A run of one stream, of events of about 500 bytes."""
    chain = genesis("main")
    for seq in range(1, events + 1):
        kind = {1: "run.started", events: "run.finished"}.get(seq, "run.note")
        body = {"run": RUN, "previous": []} if seq == 1 else {"level": "info", "text": f"{seq} " + 300 * "x"}
        fields = {"salt": f"{seq:032x}", "seq": seq, "session": "", "stream": "main", "time": seq, "type": kind, "v": 1}
        payload = orjson.dumps({"body": body, **fields}, option=orjson.OPT_SORT_KEYS)
        chain = step(chain, payload)
        yield Row("main", seq, payload, chain)


def fill(store: Store, events: int) -> None:
    """Store a run."""
    found = rows(events)
    while batch := list(islice(found, 10_000)):
        store.append(batch)
    store.close()


def watched(folder: Path, *arguments: str, **variables: str) -> tuple[str, int]:
    """What a verification printed, and the MiB of its largest process."""
    done = subprocess.run(
        [sys.executable, "-c", WATCH, sys.executable, "-m", "agentcheck", "verify", *arguments],
        cwd=folder,
        env={**cli.environment(folder), **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, int(done.stdout.splitlines()[-1])


@pytest.mark.soak
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_million_events_in_sqlite(tmp_path: Path, processes: str) -> None:
    """A ledger file of a million events is verified in bounded memory, by one process and by two."""
    fill(SqliteStore(tmp_path / "run" / "ledger.db"), 1_000_000)
    text, memory = watched(tmp_path, "run", "--processes", processes)
    assert "\nCONSISTENT, 1000000 events" in text
    assert memory < MOST


@pytest.mark.soak
def test_a_million_events_in_postgresql(tmp_path: Path, ledger_url: str) -> None:
    """The same from a database: rows are streamed, not fetched at once."""
    folder = tmp_path / "reports" / RUN
    folder.mkdir(parents=True)
    (folder / "store.url").write_text(f"{ledger_url}\n")
    fill(PostgresRun(ledger_url, RUN, folder).writing("main"), 1_000_000)
    for processes in ("1", "2"):
        text, memory = watched(tmp_path, RUN, "--processes", processes, AGENTCHECK_STORE=ledger_url)
        assert "\nCONSISTENT, 1000000 events" in text
        assert memory < MOST


@pytest.mark.parametrize("bad", [1, 65_535, 65_536, 65_537, 131_072, 131_073, 199_999, 200_000])
def test_segments_find_what_one_process_finds(long: Path, tmp_path: Path, bad: int) -> None:
    """A change before, at and after the border of two segments has the same number and reason from both ways."""
    path = tmp_path / "ledger.db"
    path.write_bytes(long.read_bytes())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER events_no_update")
        change = "UPDATE events SET payload = CAST(replace(payload, '\"time\":', '\"tine\":') AS BLOB) WHERE seq = ?"
        connection.execute(change, (bad,))
        connection.commit()
    alone, together = verify(path, processes=1), verify(path, processes=2)
    assert alone.verdict == INCONSISTENT
    assert [problem.seq for problem in alone.problems] == [bad]
    assert together.problems == alone.problems
    assert together.streams[0].head == alone.streams[0].head


def test_segments_have_the_root_that_one_process_has(long: Path) -> None:
    """Chain and tree of a long stream are the same whether it is derived in one piece or in several."""
    from agentcheck.ledger.verify.sqlite import SqliteSource
    from agentcheck.ledger.verify.stream import Stream, check_chain

    sizes = [1, 65_536, 65_537, 100_000, 131_072, 199_999, 200_000]
    found = []
    for processes in (1, 2, 3):
        stream = Stream("ledger.db", "main")
        check_chain(SqliteSource(long), stream, 200_000, sizes, processes)
        found.append((stream.head, stream.roots))
    assert found[0] == found[1] == found[2]
    assert len(set(found[0][1].values())) == len(sizes) + 1


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of several segments."""
    path = tmp_path_factory.mktemp("long") / "ledger.db"
    fill(SqliteStore(path), 200_000)
    return path


def test_memory_is_measured_in_the_unit_that_is_meant() -> None:
    """A process that holds 300 MiB is seen to hold more than is allowed: the measure can fail."""
    done = subprocess.run(
        [sys.executable, "-c", WATCH, sys.executable, "-c", "held = bytearray(300 << 20)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert int(done.stdout) > MOST
    assert resource.RUSAGE_CHILDREN
