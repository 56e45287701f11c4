"""Whatever is withheld of a run, it can still be folded and shown, and how much is withheld is said."""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet
from pathlib import Path
from tempfile import TemporaryDirectory

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcheck.ledger.chain import withheld
from agentcheck.ledger.ledger import Ledger
from agentcheck.reporting import html, json_report, junit, report_schema, sarif, summary, terminal, timeline
from agentcheck.retention import KEPT
from agentcheck.run_report import RunFold
from agentcheck.runs import RunFolder
from agentcheck.transcript import fold
from fakes_custody import make_run, rows
from fakes_ledger import body
from fakes_report import Trial, clinic

LOOK = terminal.Look(120)
TRIALS = clinic()
numbers = st.sets(st.integers(0, 200))


@given(st.sampled_from(TRIALS), numbers)
def test_any_part_of_a_trial_is_a_transcript_and_a_timeline(trial: Trial, gone: AbstractSet[int]) -> None:
    """No event needs another one to be told; what is not known any more is called withheld, and never denied."""
    left = [event for place, event in enumerate(trial.events) if place not in gone]
    found = fold(left, "some events are withheld")
    assert [event.seq for event in found.events] == [event.seq for event in left]
    decided = {event.body["action"]: event.body["outcome"] for event in left if event.type == "action.decided"}
    finished = {event.body["action"] for event in left if event.type == "action.finished"}
    for step in found.steps:
        assert step.outcome == decided.get(step.id, "withheld")
        assert step.status != "orphan"
        if step.id not in decided and step.id not in finished:
            assert step.status == "withheld"
    entries = timeline.build(found)
    assert entries[0].text == "some events are withheld"
    assert "orphan" not in {line.mark for entry in entries for line in (entry, *entry.lines)}
    assert "some events are withheld" in terminal.timeline(found, LOOK)


@settings(max_examples=25, deadline=None)
@given(numbers, st.booleans())
def test_any_part_of_a_run_is_a_report(gone: AbstractSet[int], whole: bool) -> None:
    """Every medium renders what is left; the count is in each; streams keep their size and head."""
    with TemporaryDirectory() as folder:
        run = make_run(Path(folder))
        before = RunFold.of(run).streams
        taken = take_away(run, set(range(200)) if whole else gone)
        found = RunFold.of(run)
        report = found.report()
        assert (found.streams, report.run.withheld) == (before, taken)
        told = f"{taken} of {sum(size for size, _ in before.values())} events are withheld"
        values = json_report.to_dict(report)
        jsonschema.validate(values, report_schema.schema(), cls=jsonschema.Draft202012Validator)
        page, text = html.render(report), " ".join(terminal.stored(report, LOOK).split())
        for shown in (page, text, json.dumps(values)):
            assert (told in shown) is bool(taken)
            assert (f"{taken} events are withheld and no tombstone names them" in shown) is bool(taken)
        summary.render(report)
        list(junit.pieces(report))
        list(sarif.write(report, Path(folder)))
        for suite in report.suites:
            for case in suite.cases:
                terminal.failure(report, suite, case, LOOK)


def take_away(run: RunFolder, gone: AbstractSet[int]) -> int:
    """Withhold these places of each stream, but for what is always kept; give how many that were."""
    taken = 0
    for stream, found in rows(run).items():
        payloads = {
            row.seq: withheld(row.payload)
            for row in found
            if row.seq in gone and json.loads(row.payload)["type"] not in KEPT
        }
        run.store.withhold(stream, payloads)
        taken += len(payloads)
    return taken


def test_a_recorded_gate_stands_where_its_cases_are_withheld(tmp_path: Path) -> None:
    """With verdicts withheld the gate cannot be decided again; what was recorded is shown and not a new decision."""
    run = make_run(tmp_path)
    rules = [{"name": "pass_rate", "required": "at least 0.9", "observed": "1 (6 of 6)", "passed": True}]
    with Ledger(run.store.writing("main-r1"), "main-r1", redact=run.redactor()) as ledger:
        ledger.record("run.started", body("run.started", run=run.id, worker="main"))
        gate = {"suite": "clinic", "passed": True, "rules": rules, "counts": {"aborted": 0, "not_started": 0}}
        ledger.record("gate.decided", {**gate, "partial": False})
        ledger.record("run.finished", body("run.finished", status="finished", exit_code=0))
    before = next(suite for suite in RunFold.of(run).report().suites if suite.name == "clinic")
    assert before.gate.passed is not True  # decided again from the verdicts, several of which are no pass
    verdicts = {event.seq for event in run.events() if event.stream == "main" and event.type == "verdict.reached"}
    found = rows(run)["main"]
    run.store.withhold("main", {row.seq: withheld(row.payload) for row in found if row.seq in verdicts})
    after = next(suite for suite in RunFold.of(run).report().suites if suite.name == "clinic")
    assert (after.gate.passed, after.gate.rules[0].observed) == (True, "1 (6 of 6)")


def test_a_trial_without_anything_withheld_is_strict_as_before() -> None:
    """A ledger that lacks a request for another reason is not folded as if that were in order."""
    events = [event for event in TRIALS[0].events if event.type != "action.requested"]
    with pytest.raises(KeyError):
        fold(events)


def test_allowed_without_a_result_is_not_counted_where_results_are_withheld(tmp_path: Path) -> None:
    """It is said to be not measured; a purge never turns finished actions into orphans."""
    run = make_run(tmp_path)
    results = {event.seq for event in run.events() if event.stream == "main" and event.type == "action.finished"}
    found = rows(run)["main"]
    run.store.withhold("main", {row.seq: withheld(row.payload) for row in found if row.seq in results})
    suite = next(suite for suite in RunFold.of(run).report().suites if suite.name == "clinic")
    row = next(row for row in suite.enforcement if row.label == "allowed without a result")
    assert (row.value, row.note) == (None, "results are withheld")
    assert {trial.orphans for case in suite.cases for trial in case.trials} == {0}
    other = next(suite for suite in RunFold.of(run).report().suites if suite.name == "payables")
    assert all(row.value is not None for row in other.enforcement)  # its stream is whole
