"""How fast a ledger is verified, beside a bare loop over the same rows, in one run on one machine.

    python benchmarks/verify.py [--events 1000000] [--turns 3] [--postgres postgresql://...]

A ledger of events of about 500 bytes is written once. Then, in turn, each in a process of its own:

- the bare loop: rows from the store, two SHA-256 a row, a comparison; nothing else;
- ``verify`` by one process, and by two over segments;
- the same with a checkpoint, for which the Merkle tree is derived too;
- ``verify --events``, which reads every event.

Printed are events per second of the whole command, interpreter's start included, and the peak memory of the largest of
its processes. ``--postgres`` copies the same rows into that database, under a run of its own, and reads them there.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import orjson

import agentcheck.ledger.verify as verifier
from agentcheck.contracts import Row
from agentcheck.ledger import merkle
from agentcheck.ledger.chain import genesis, leaf, step
from agentcheck.ledger.notes import generate, sign_checkpoint
from agentcheck.storage.address import read_address
from agentcheck.storage.postgres_run import PostgresRun
from agentcheck.storage.sqlite import SqliteStore

RUN = "20260101-120000-ab12"
BODY = {
    "action": "a1",
    "control": "policy",
    "level": 0,
    "outcome": "deny",
    "policy": "5f" * 32,
    "reason": "the recipient is on the list of known recipients and the amount, 100.50 EUR, is below the limit of 500",
    "rule": "payments.known_recipient",
}
BARE = """
import hashlib, sqlite3, sys
chain, seq, sha = hashlib.sha256(b"agentcheck/ledger/v1\\nmain").digest(), 0, hashlib.sha256
query = "SELECT seq, payload, chain FROM events WHERE stream = 'main' ORDER BY seq"
for number, payload, stored in sqlite3.connect(sys.argv[1] + "/ledger.db").execute(query):
    seq += 1
    chain = sha(b"\\x02" + chain + sha(b"\\x00" + payload).digest()).digest()
    if chain != stored or number != seq:
        sys.exit("changed")
"""
BARE_POSTGRES = """
import hashlib, sys, psycopg
chain, seq, sha = hashlib.sha256(b"agentcheck/ledger/v1\\nmain").digest(), 0, hashlib.sha256
query = (
    "SELECT seq, payload, chain FROM agentcheck.events WHERE stream_id ="
    " (SELECT id FROM agentcheck.streams WHERE run = %s AND name = 'main') ORDER BY seq"
)
with psycopg.connect(sys.argv[1]) as connection, connection.cursor("rows", binary=True) as cursor:
    cursor.itersize = 1000
    cursor.execute(query, (sys.argv[2],))
    for number, payload, stored in cursor:
        seq += 1
        chain = sha(b"\\x02" + chain + sha(b"\\x00" + payload).digest()).digest()
        if chain != stored or number != seq:
            sys.exit("changed")
"""
#: Runs a command and prints the peak memory of its largest process in MiB (Linux counts in KiB).
WATCH = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True)
if done.returncode:
    sys.exit(done.stdout)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def rows(events: int) -> Iterator[Row]:
    """The rows of a run of one stream."""
    chain = genesis("main")
    for seq in range(1, events + 1):
        kind, body = "action.decided", BODY
        if seq == 1:
            kind, body = "run.started", {"previous": [], "run": RUN}
        elif seq == events:
            kind, body = "run.finished", {"streams": []}
        record = {
            "body": body,
            "salt": secrets.token_hex(16),
            "seq": seq,
            "session": f"payables::invoice-{seq // 10}#1",
            "stream": "main",
            "time": 1_700_000_000_000_000 + seq,
            "type": kind,
            "v": 1,
        }
        payload = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
        chain = step(chain, payload)
        yield Row("main", seq, payload, chain)


def batches(found: Iterator[Row]) -> Iterator[list[Row]]:
    """Rows in batches."""
    batch: list[Row] = []
    for row in found:
        batch.append(row)
        if len(batch) == 10_000:
            yield batch
            batch = []
    if batch:
        yield batch


def write(folder: Path, events: int) -> None:
    """The ledger, its checkpoint, and the key that signed it."""
    frontier = merkle.Frontier()
    store = SqliteStore(folder / "ledger.db")
    for batch in batches(rows(events)):
        store.append(batch)
        frontier.extend(leaf(row.payload) for row in batch)
    store.close()
    key = generate("example.com/benchmark")
    (folder / "main.checkpoint").write_text(
        sign_checkpoint(key, RUN, "main", events, frontier.root(), int(time.time())), "utf-8"
    )
    (folder / "keys.txt").write_text(f"log {key.public()}\n", "utf-8")


def timed(*command: str) -> tuple[float, int]:
    """Seconds, and MiB of the largest process."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *command], capture_output=True, text=True, check=False, env=os.environ
    )
    took = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return took, int(done.stdout)


def show(name: str, events: int, turns: list[tuple[float, int]]) -> None:
    """One line."""
    rate = median(events / took for took, _ in turns)
    print(f"{name:<44} {rate:9.0f} events/s   {max(memory for _, memory in turns):4} MiB", flush=True)


def copied(url: str, folder: Path, events: int) -> dict[str, list[str]]:
    """Copy the ledger into a database, under a run whose folder lies beside it; the commands that verify it there."""
    name = f"20260101-120000-{secrets.token_hex(2)}"
    run = folder / "reports" / name
    run.mkdir(parents=True)
    os.environ["AGENTCHECK_STORE"] = url
    (run / "store.url").write_text(f"{read_address(url, where=url).without_password()}\n", "utf-8")
    store = PostgresRun(url, name, run).writing("main")
    reading = SqliteStore(folder / "ledger.db", read_only=True)
    for batch in batches(reading.read("main")):
        store.append(batch)
    reading.close()
    store.close()
    bare = [sys.executable, "-c", BARE_POSTGRES, url, name]
    ours = [sys.executable, "-m", "agentcheck", "verify", name, "--reports", str(run.parent)]
    return {
        "PostgreSQL, bare loop": bare,
        "PostgreSQL, verify, 1 process": [*ours, "--processes", "1"],
        "PostgreSQL, verify, 2 processes": [*ours, "--processes", "2"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=3, help="median of so many (default 3)")
    parser.add_argument("--folder", help="where to write (default: a temporary folder)")
    parser.add_argument("--postgres", metavar="URL", help="also from this database")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        write(folder, given.events)
        alone = [sys.executable, str(Path(verifier.__file__).parent), name]
        signed = [*alone, "--checkpoint", f"{name}/main.checkpoint", "--keys", f"{name}/keys.txt"]
        commands = {
            "SQLite, bare loop": [sys.executable, "-c", BARE, name],
            "SQLite, verify, 1 process": [*alone, "--processes", "1"],
            "SQLite, verify, 2 processes": [*alone, "--processes", "2"],
            "SQLite, verify with checkpoint, 1 process": [*signed, "--processes", "1"],
            "SQLite, verify with checkpoint, 2 processes": [*signed, "--processes", "2"],
            "SQLite, verify --events": [*alone, "--events", "--processes", "1"],
        }
        if given.postgres:
            commands |= copied(given.postgres, folder, given.events)
        turns: dict[str, list[tuple[float, int]]] = {title: [] for title in commands}
        for _ in range(given.turns):
            for title, command in commands.items():
                turns[title].append(timed(*command))
        for title, found in turns.items():
            show(title, given.events, found)


if __name__ == "__main__":
    main()
