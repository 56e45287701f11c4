"""How fast events are recorded, acknowledged and verified, beside SQLite alone, in one run on one machine.

    python benchmarks/append.py [--seconds 3] [--events 200000]

What is measured:

- ``record()``: processor time of the recording thread for one event of a governed action (request, decision, result),
  with and without redaction. Beside it, the time of one SHA-256 over 500 bytes, to compare machines.
- Durable events per second with 1, 8, 32 and 128 producers in one event loop; each waits for its event before it
  records the next one. Beside it, one committed row at a time by sqlite3 alone, with the same settings.
- ``verify``: events per second of processor time, and the peak memory, of a process that verifies a large ledger.

Figures of shared machines vary by a factor of two and more between runs; the ratios vary less.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from agentcheck.contracts import Row
from agentcheck.ledger import verify as verify_module
from agentcheck.ledger.ledger import Ledger, Redact, unsafe_keep_all
from agentcheck.ledger.redaction import Redactor
from agentcheck.storage.sqlite import SCHEMA, SqliteStore

SESSION = "payables::invoice-17#1"
STARTED: dict[str, Any] = {
    **dict.fromkeys(("run", "agentcheck", "python", "platform", "worker", "redaction"), "x"),
    "command": [],
    "seed": 0,
    "configuration": {},
    "previous": [],
    "unsafe": False,
}
ACTION: Sequence[tuple[str, dict[str, Any]]] = (
    (
        "action.requested",
        {
            "action": "a1",
            "kind": "tool_call",
            "name": "send_money",
            "arguments": '{"amount":100.5,"recipient":"GB29NWBK60161331926819","subject":"Invoice 2231 for March"}',
            "turn": 1,
            "key": f"{SESSION}/a1",
            "principal": {"user": "emma", "role": "clerk"},
        },
    ),
    (
        "action.decided",
        {
            "action": "a1",
            "outcome": "allow",
            "control": "policy",
            "rule": "payments.known_recipient",
            "reason": "the recipient is on the list of known recipients",
            "level": 0,
            "policy": "5f" * 32,
        },
    ),
    (
        "action.finished",
        {
            "action": "a1",
            "status": "done",
            "output": '{"message":"Sent.","transactions":[{"id":1,"date":"2022-01-01","amount":100.0,"to":"Rent"}]}',
            "duration": 1234,
        },
    ),
)


class NoStore:
    """Takes rows and forgets them, to time the recording alone."""

    def append(self, rows: Sequence[Row]) -> None:
        """Forget rows."""

    def head(self, stream: str) -> None:
        """No rows."""

    def read(self, stream: str, start: int = 1) -> Any:
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
        for _ in range(500):
            for name, body in ACTION:
                ledger.record(name, body, SESSION)
        ledger.close()
        return 1500

    return best(work, seconds)


def hash_cost(seconds: float) -> float:
    """Microseconds of SHA-256 over 500 bytes."""
    data = bytes(500)

    def work() -> int:
        for _ in range(2000):
            hashlib.sha256(data).digest()
        return 2000

    return best(work, seconds)


def durable(folder: Path, producers: int, seconds: float) -> tuple[float, float, float]:
    """Acknowledged events per second, and the median and 99th percentile of the wait in milliseconds."""
    waits: list[float] = []

    async def produce(ledger: Ledger, end: float) -> None:
        while time.perf_counter() < end:
            for name, body in ACTION:
                start = time.perf_counter()
                await ledger.append(name, body, SESSION)
                waits.append(time.perf_counter() - start)

    async def run(ledger: Ledger) -> float:
        start = time.perf_counter()
        await asyncio.gather(*(produce(ledger, start + seconds) for _ in range(producers)))
        return time.perf_counter() - start

    with Ledger(SqliteStore(folder / f"{producers}.db"), "main", redact=Redactor(bytes(32))) as ledger:
        took = asyncio.run(run(ledger))
    waits.sort()
    return len(waits) / took, median(waits) * 1000, waits[int(len(waits) * 0.99)] * 1000


def sqlite_alone(folder: Path, seconds: float) -> float:
    """Commits per second of one row each, by sqlite3 with the same table and settings."""
    with closing(sqlite3.connect(folder / "alone.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        for statement in SCHEMA:
            connection.execute(statement)
        count, start = 0, time.perf_counter()
        while time.perf_counter() < start + seconds:
            count += 1
            connection.execute("INSERT INTO events VALUES ('main', ?, ?, ?)", (count, bytes(340), bytes(32)))
        return count / (time.perf_counter() - start)


def verify_speed(folder: Path, events: int) -> tuple[float, float]:
    """Events per processor second, and MiB of peak memory (Linux), of the verifier run alone."""
    path = folder / "large.db"
    with Ledger(SqliteStore(path), "main", redact=unsafe_keep_all) as ledger:
        ledger.record("run.started", STARTED)
        for _ in range(events // 3):
            for name, body in ACTION:
                ledger.record(name, body, SESSION)
    code = (
        "import runpy, sys, time; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "status = open('/proc/self/status').read() if sys.platform == 'linux' else ''\n"
        "print(time.process_time(), status.partition('VmHWM:')[2].partition('kB')[0] or 0)"
    )
    command = [sys.executable, "-I", "-S", "-c", code, verify_module.__file__, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    took, memory = done.stdout.splitlines()[-1].split()
    return events / float(took), int(memory) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure (default 3)")
    parser.add_argument("--events", type=int, default=200_000, help="to verify (default 200000)")
    parser.add_argument("--folder", help="where to write (default: a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        unit = hash_cost(given.seconds / 3)
        print(f"SHA-256 of 500 bytes        {unit:8.2f} us")
        for label, redact in (
            ("record(), nothing redacted", unsafe_keep_all),
            ("record(), redactor", Redactor(bytes(32))),
        ):
            cost = record_cost(redact, given.seconds)
            print(f"{label:<27} {cost:8.2f} us   {cost / unit:5.1f} x SHA-256")
        alone = sqlite_alone(folder, given.seconds)
        print(f"sqlite3 alone, a row each   {alone:8.0f} /s")
        for producers in (1, 8, 32, 128):
            rate, middle, high = durable(folder, producers, given.seconds)
            print(
                f"durable, {producers:>3} producers     {rate:8.0f} /s   {rate / alone:5.1f} x sqlite3 alone"
                f"   p50 {middle:.2f} ms, p99 {high:.2f} ms"
            )
        rate, memory = verify_speed(folder, given.events)
        print(f"verify, {given.events} events      {rate:8.0f} /s of processor time, {memory:.0f} MiB at most")


if __name__ == "__main__":
    main()
