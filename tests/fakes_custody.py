"""A run of two suites on a real ledger, with a report's files beside it, and what its rows and bytes say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain as joined
from itertools import count, zip_longest
from pathlib import Path

from agentcheck.contracts import Row
from agentcheck.events import Event
from agentcheck.ledger.chain import genesis, leaf
from agentcheck.ledger.ledger import Ledger
from agentcheck.retention import DAY, RetentionClass
from agentcheck.runs import RunFolder
from fakes_ledger import body
from fakes_report import STARTED, Trial, clinic

#: What only content holds: a prompt, an argument, an output, a thought.
CONTENT = ("I am out", "front-desk", "2023-02-11", "out of medication", "lisinopril 10 mg")
#: What records hold too.
RECORD = ("a prescription needs a clinician", "groundedness 0.31")
CLASSES = {"patient": RetentionClass("patient", 180, 2190)}
AGED = STARTED + 181 * DAY
OLD = STARTED + 2191 * DAY


def suite(name: str, retention: str, cases: int) -> tuple[str, dict[str, object], str]:
    """The event that names a suite and its class."""
    gate = {"pass_rate": "1", "max_errors": 9, "metrics": {}}
    fields = {"gate": gate, "cases": cases, "deselected": 0, "trials": 1, "unsafe": False, "base": ""}
    lists: dict[str, object] = {key: [] for key in ("skipped_records", "changed", "tags")}
    return "run.suite", body("run.suite", suite=name, retention=retention, **fields, **lists), ""


def payables() -> list[Trial]:
    """One passing trial of another suite."""
    trial = Trial("payables", "pay", "Pay the invoice of ACME.").act("pay", {"to": "ACME"}, {"ok": "paid-to-acme"})
    return [trial.answer("Paid.").score("contains", 1.0, threshold=1.0).end("pass")]


def make_run(
    reports: Path, *, other: str = "standard", finished: bool = True, name: str = "20260101-000000-0001"
) -> RunFolder:
    """A run of the suites clinic (class ``patient``) and payables (``other``), in two streams; files beside it."""
    run = RunFolder(reports / name)
    run.create()
    ours, theirs = clinic(), payables()
    suites = [suite("clinic", "patient", len(ours)), suite("payables", other, 1)]
    write(run, "gw0", [*suites, *events(theirs)], finished=finished)
    write(run, "main", [*suites, *events(ours)], finished=finished)
    for name in ("report.html", "report.json", ".report.json.x7", "junit.xml", "summary.md", "findings.sarif"):
        (run.path / name).write_text(" ".join(CONTENT), "utf-8")
    run.scratch.mkdir()
    (run.scratch / "effects.jsonl").write_text(" ".join(CONTENT), "utf-8")
    return run


def events(trials: Sequence[Trial]) -> Iterator[tuple[str, dict[str, object], str]]:
    """The events of trials that ran side by side."""
    rows = joined.from_iterable(zip_longest(*(trial.events for trial in trials)))
    return ((event.type, dict(event.body), event.session) for event in rows if event is not None)


def write(
    run: RunFolder, stream: str, rows: Sequence[tuple[str, dict[str, object], str]], *, finished: bool = True
) -> None:
    """A stream of the run, an event a millisecond from `STARTED` on."""
    ticks = count(STARTED, 1000)
    with Ledger(run.store.writing(stream), stream, redact=run.redactor(), clock=lambda: next(ticks)) as ledger:
        ledger.record("run.started", body("run.started", run=run.id, worker=stream, command=["agentcheck", "run"]))
        for name, fields, session in rows:
            ledger.record(name, fields, session)
        if finished:
            ledger.record("run.finished", body("run.finished", status="finished", exit_code=1))


def rows(run: RunFolder) -> dict[str, list[Row]]:
    """All rows by stream."""
    found = {}
    for stream in run.streams():
        with run.reading(stream) as store:
            found[stream] = list(store.read(stream))
    return found


def held_by_chain(run: RunFolder) -> None:
    """Every stored chain value follows from the one before it and the leaf of what is stored (the module `chain`)."""
    from hashlib import sha256

    for stream, found in rows(run).items():
        value = genesis(stream)
        for row in found:
            value = sha256(b"\x02" + value + leaf(row.payload)).digest()
            assert value == row.chain, (stream, row.seq)


def types(run: RunFolder, stream: str) -> list[str]:
    """The types of the events of a stream that are still there."""
    return [event.type for event in stored(run, stream)]


def stored(run: RunFolder, stream: str) -> list[Event]:
    """The events of a stream that are still there."""
    return [event for event in run.events() if event.stream == stream]


def everything(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
