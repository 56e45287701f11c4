"""A store in memory that can be told to fail or to wait, and a sample body of every event type."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agentcheck.contracts import Row
from agentcheck.errors import StoreError
from agentcheck.events import TABLE
from agentcheck.ledger.ledger import Ledger, unsafe_keep_all
from agentcheck.storage.sqlite import SqliteStore


class MemoryStore:
    """A `contracts.Store` in a list. ``fail_at`` refuses the batch that holds that number; ``gate`` holds appends back.

    ``batches`` are the sizes of the appends, in order.
    """

    def __init__(self, *, fail_at: int = 0, error: Exception | None = None) -> None:
        self.rows: list[Row] = []
        self.batches: list[int] = []
        self.fail_at = fail_at
        self.error = error or StoreError("the disk is full", where="memory", advice="free some space")
        self.gate = threading.Event()
        self.gate.set()
        self.appending = threading.Event()
        self.closed = 0

    def append(self, rows: Sequence[Row]) -> None:
        """Store rows, or refuse all of them."""
        self.appending.set()
        self.gate.wait()
        if self.fail_at and any(row.seq >= self.fail_at for row in rows):
            raise self.error
        for row in rows:
            last = self.head(row.stream)
            assert row.seq == (last[0] if last else 0) + 1
            self.rows.append(row)
        self.batches.append(len(rows))

    def read(self, stream: str, start: int = 1) -> Iterator[Row]:
        """Rows of a stream."""
        return (row for row in self.rows if row.stream == stream and row.seq >= start)

    def streams(self) -> Sequence[str]:
        """Names of all streams."""
        return sorted({row.stream for row in self.rows})

    def head(self, stream: str) -> tuple[int, bytes] | None:
        """Last number and chain value."""
        return next(((row.seq, row.chain) for row in reversed(self.rows) if row.stream == stream), None)

    def close(self) -> None:
        """Count the closings."""
        self.closed += 1


_SAMPLES: Mapping[str, Any] = {
    "text": "Überweisung an ACME",
    "int": 7,
    "bool": True,
    "decimal": "12.50",
    "json": '{"amount":12.5,"nested":{"list":[1,null,"x"]},"to":"ACME"}',
    "list": ["a", {"k": 1}],
    "map": {"one": 1, "two": ["x"]},
}


def body(name: str, /, **fields: Any) -> dict[str, Any]:
    """A body with a value in every field of a type, optional ones too; ``fields`` override them."""
    sample = {field: _SAMPLES[kind] for field, kind in TABLE[name].kinds.items()}
    if "streams" in sample:
        sample["streams"] = []
    if "previous" in sample:
        sample["previous"] = []
    return {**sample, **fields}


def every_type() -> Iterator[tuple[str, dict[str, Any]]]:
    """An event of every type that a stream of a run may have, in an order it may have: started first, finished last."""
    yield "run.started", body("run.started")
    for name in TABLE:
        if name not in ("run.started", "run.finished", "custody.opened"):
            yield name, body(name)
    yield "run.finished", body("run.finished")


def write(
    path: Path, events: Sequence[tuple[str, dict[str, Any]]] | None = None, stream: str = "main"
) -> tuple[int, bytes]:
    """Write a ledger file, by default with an event of every type, and return its head."""
    ticks = iter(range(1_700_000_000_000_000, 1_800_000_000_000_000, 1001))
    with Ledger(SqliteStore(path), stream, redact=unsafe_keep_all, clock=lambda: next(ticks)) as ledger:
        for name, event in every_type() if events is None else events:
            ledger.record(name, event, "suite::case#1" if name.partition(".")[0] != "run" else "")
        return ledger.head


def started(**fields: Any) -> tuple[str, dict[str, Any]]:
    """The first event of a stream."""
    return "run.started", body("run.started", **fields)


def finished(**fields: Any) -> tuple[str, dict[str, Any]]:
    """The last event of a stream."""
    return "run.finished", body("run.finished", **fields)
