"""Schema evolution: kept ledgers of earlier versions are read and verify; what is newer is refused by name."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentcheck.contracts import Row
from agentcheck.errors import LedgerError
from agentcheck.events import TABLE
from agentcheck.ledger.chain import genesis, step
from agentcheck.ledger.reading import UPCASTS, decode, read_events
from agentcheck.ledger.verify import CONSISTENT, verify
from agentcheck.run_report import RunFold
from agentcheck.runs import RunFolder
from agentcheck.storage.sqlite import SqliteStore
from fakes_ledger import MemoryStore

DATA = Path(__file__).parents[2] / "data"
KEPT = sorted((DATA / "ledgers").iterdir())
#: Every event type with the fields of each version that was ever written. A field is added, removed or changed by a
#: new version in `agentcheck.events`, an upcast in `agentcheck.ledger.reading` and an entry here, which
#: AGENTCHECK_WRITE_TYPES=1 adds.
TYPES = DATA / "event_types.json"


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_a_kept_ledger_verifies(folder: Path) -> None:
    """A ledger of an earlier agentcheck is consistent, bytes, chain and every event."""
    result = verify(folder, events=True)
    assert (result.verdict, result.problems, result.notices) == (CONSISTENT, [], [])
    assert result.exceptions == []


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_a_kept_ledger_is_read_in_the_words_of_today(folder: Path) -> None:
    """Every event of it comes out in its type's present version, with the fields of that version."""
    found = set()
    for file in folder.glob("*.db"):
        with closing(SqliteStore(file, read_only=True)) as store:
            for stream in store.streams():
                for event in read_events(store, stream):
                    row = TABLE[event.type]
                    assert row.required <= event.body.keys() <= row.fields.keys(), event
                    found.add(event.type)
    assert {"run.started", "run.suite", "verdict.reached", "run.finished"} <= found


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_a_kept_run_is_reported(folder: Path) -> None:
    """The report of an earlier run is made from its ledger."""
    report = RunFold.of(RunFolder(folder)).report()
    assert report.counts["pass"] == report.total == 8
    assert report.run.status == "finished"


def _row(kind: str, body: dict[str, Any], version: int) -> Row:
    fields = {"salt": "0f" * 16, "seq": 1, "session": "", "stream": "main", "time": 0, "type": kind, "v": version}
    data = json.dumps({"body": body, **fields}, separators=(",", ":"), sort_keys=True).encode()
    return Row("main", 1, data, step(genesis("main"), data))


@pytest.mark.parametrize(
    ("kind", "version", "what"),
    [
        ("run.note", 2, "run.note in version 2"),
        ("run.suite", 3, "run.suite in version 3"),
        ("run.moved", 1, "run.moved"),
    ],
)
def test_what_is_newer_is_refused_by_name(kind: str, version: int, what: str) -> None:
    """An event of a version or type that this agentcheck does not know names itself, its place and the way out."""
    store = MemoryStore()
    store.append([_row(kind, {}, version)])
    with pytest.raises(LedgerError, match=what) as caught:
        list(read_events(store, "main"))
    assert caught.value.where == "main:1"
    assert "newer agentcheck" in caught.value.advice


def test_a_version_that_has_no_way_up_is_refused() -> None:
    """A version from which no upcast leads is told, not guessed at."""
    with pytest.raises(LedgerError, match="cannot be read any more"):
        decode(_row("run.suite", {}, 0))


def test_an_older_event_is_raised_version_by_version() -> None:
    """A suite of version 1 names no retention class: it had none, so it is kept like any other."""
    event = decode(_row("run.suite", {"suite": "pay"}, 1))
    assert event.body == {"suite": "pay", "retention": "standard"}


def test_fields_change_with_the_version_only() -> None:
    """Fields are those that were written down for the type's version, and each older version has an upcast."""
    now = {name: {str(row.version): dict(row.fields)} for name, row in TABLE.items()}
    kept: dict[str, dict[str, Any]] = json.loads(TYPES.read_text("utf-8")) if TYPES.exists() else {}
    if os.environ.get("AGENTCHECK_WRITE_TYPES"):
        merged = {name: {**now.get(name, {}), **kept.get(name, {})} for name in sorted({*now, *kept})}
        TYPES.write_text(json.dumps(merged, indent=1) + "\n", "utf-8")
        kept = merged
    assert {name: kept.get(name, {}).get(str(row.version)) for name, row in TABLE.items()} == {
        name: dict(row.fields) for name, row in TABLE.items()
    }
    for name, versions in kept.items():
        assert name in TABLE, f"{name} was recorded once, and must stay readable"
        for version in map(int, versions):
            assert version == TABLE[name].version or (name, version) in UPCASTS
