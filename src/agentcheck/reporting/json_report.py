"""``report.json``: a run as data, for programs. Its shape is versioned and described by `report_schema.schema`.

Text is exact (nothing is escaped for a medium); the file is pure ASCII, so that looking at it in a terminal is
harmless too. Every case and trial is there with its scores; what the agent did is there for the trials that did not
pass, cut at stated limits, because the ledger holds it whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from agentcheck.records import Score, Step, Transcript
from agentcheck.reporting import files
from agentcheck.reporting.report import SHOWN, CaseResult, MetricSummary, Report, Run, SuiteResult, TrialResult
from agentcheck.reporting.timeline import plain

#: Raised by one when a reader of the old shape could misread the new one; new optional keys do not raise it.
SCHEMA_VERSION = 1
#: Characters of one text, steps of one trial, trials with steps that the file holds, and characters of all of these.
MAX_TEXT, MAX_STEPS, MAX_TRIALS, MAX_CHARACTERS = 4_000, 200, 2_000, 32_000_000


def write(report: Report, directory: Path) -> Iterable[Path]:
    """Write ``report.json`` into the directory."""
    return [files.write(directory / "report.json", pieces(report))]


def to_dict(report: Report) -> dict[str, Any]:
    """The report as JSON values; counts and means are those of `Report`, spelled out."""
    values: dict[str, Any] = json.loads("".join(pieces(report)))
    return values


def pieces(report: Report) -> Iterator[str]:
    """The file in pieces, a case at a time: a run of 10,000 cases never stands in memory as JSON values."""
    budget = _Budget(MAX_TRIALS, MAX_CHARACTERS)
    yield _opened(_head(report), "suites")
    for number, suite in enumerate(report.suites):
        yield _opened(_suite(suite), "cases", before="," if number else "")
        for row, case in enumerate(suite.cases):
            yield f"{',' if row else ''}{_encode(_case(case, report, budget))}"
        yield "]}"
    limits = {
        "text": MAX_TEXT,
        "steps": MAX_STEPS,
        "trials": MAX_TRIALS,
        "characters": MAX_CHARACTERS,
        "trials_left_out": budget.refused,
    }
    yield f'],"limits":{_encode(limits)}}}\n'


_encode_any = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


def _encode(values: dict[str, Any]) -> str:
    """JSON in ASCII; by the fast encoder where its output is that, which writes NaN as null and so must not meet it."""
    try:
        data = orjson.dumps(values)
    except TypeError:  # integers over 64 bits, lone surrogates
        return _encode_any(values)
    return data.decode() if data.isascii() and b"null" not in data else _encode_any(values)


def _opened(values: dict[str, Any], name: str, before: str = "") -> str:
    """An object whose last member is a list that follows."""
    return f'{before}{_encode(values)[:-1]},"{name}":['


def _head(report: Report) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "run": _run(report.run),
        "exit_code": int(report.exit_code),
        "total": report.total,
        "counts": dict(report.counts),
        "unsafe": report.unsafe,
        "base": report.base,
        "changed": list(report.changed),
    }


class _Budget:
    """How many trials, and how much of their text, the file may still carry."""

    def __init__(self, trials: int, characters: int) -> None:
        self.trials, self.characters, self.refused = trials, characters, 0

    def take(self, found: Transcript | None) -> dict[str, Any] | None:
        """The transcript as JSON values where there is room for it, else ``None``, counted."""
        if found is None:
            return None
        values = _transcript(found) if self.trials and self.characters > 0 else None
        size = _size(values) if values else 0
        if values is None or size > self.characters:
            self.refused += 1
            return None
        self.trials -= 1
        self.characters -= size
        return values


def _size(values: Any) -> int:
    if isinstance(values, str):
        return len(values)
    if isinstance(values, dict):
        return sum(_size(value) for value in values.values())
    return sum(_size(value) for value in values) if isinstance(values, list) else 1


def _run(run: Run) -> dict[str, Any]:
    values = asdict(run)
    for name in ("command", "changed", "streams", "notes"):
        values[name] = list(values[name])
    values["configuration"] = dict(run.configuration)
    if not run.withheld:
        del values["withheld"]
    return values


def _suite(suite: SuiteResult) -> dict[str, Any]:
    return {
        "name": suite.name,
        "file": suite.file,
        "domain": suite.domain,
        "description": suite.description,
        "agent": suite.agent,
        "agent_commit": suite.agent_commit,
        "agent_author": suite.agent_author,
        "world": suite.world,
        "model": suite.model,
        "user": suite.user,
        "hashes": dict(suite.hashes),
        "trials": suite.trials,
        "tags": list(suite.tags),
        "unsafe": suite.unsafe,
        "base": suite.base,
        "changed": list(suite.changed),
        "gate": {
            "passed": suite.gate.passed,
            "partial": suite.gate.partial,
            "rules": [asdict(rule) for rule in suite.gate.rules],
        },
        "total": suite.total,
        "counts": dict(suite.counts),
        "metrics": [_metric(metric) for metric in suite.metrics],
        "enforcement": [asdict(row) for row in suite.enforcement],
        "skipped_records": list(suite.skipped_records),
    }


def _metric(metric: MetricSummary) -> dict[str, Any]:
    values = asdict(metric)
    del values["side"]  # the scores say it
    return {**values, "trials": metric.trials}


def _case(case: CaseResult, report: Report, budget: _Budget) -> dict[str, Any]:
    return {
        "id": case.id,
        "status": case.status,
        "reasons": list(case.reasons),
        "source": case.source,
        "tags": list(case.tags),
        "trials": [_trial(trial, report, budget) for trial in case.trials],
    }


def _trial(trial: TrialResult, report: Report, budget: _Budget) -> dict[str, Any]:
    values: dict[str, Any] = {
        "session": trial.session,
        "trial": trial.trial,
        "attempt": trial.attempt,
        "status": trial.status,
        "reasons": list(trial.reasons),
        "duration": trial.duration,
        "actions": trial.actions,
        "allowed": trial.allowed,
        "held": trial.held,
        "denied": trial.denied,
        "approved": trial.approved,
        "tool_errors": trial.tool_errors,
        "orphans": trial.orphans,
        "input_tokens": trial.input_tokens,
        "output_tokens": trial.output_tokens,
        "cost": trial.cost,
        "events": trial.events,
        "scores": [_score(score) for score in trial.scores],
    }
    if trial.status in SHOWN:
        found = budget.take(report.transcript(trial.session))
        if found is not None:
            values["transcript"] = found
    return values


def _score(score: Score) -> dict[str, Any]:
    return {
        "metric": score.metric,
        "status": score.status,
        "value": score.value,
        "threshold": score.threshold,
        "passed": score.passed,
        "reason": score.reason,
        "events": list(score.events),
    }


def _transcript(found: Transcript) -> dict[str, Any]:
    return {
        "prompts": [_cut(text) for text in found.prompts],
        "answers": [_cut(text) for text in found.answers],
        "reasoning": [_cut(text) for text in found.reasoning[:MAX_STEPS]],
        "steps": [_step(step, found.started) for step in found.steps[:MAX_STEPS]],
        "steps_left_out": max(0, len(found.steps) - MAX_STEPS),
        **({"withheld": found.withheld} if found.withheld else {}),
    }


def _step(step: Step, started: int) -> dict[str, Any]:
    return {
        "id": step.id,
        "kind": step.kind,
        "name": step.name,
        "turn": step.turn,
        "arguments": _cut(plain(step.arguments)),
        "outcome": step.outcome,
        "status": step.status,
        "level": step.level,
        "control": step.control,
        "rule": step.rule,
        "reason": _cut(step.reason),
        "others": [_texts(other) for other in step.others],
        "approved": step.approved,
        "votes": [_texts(vote) for vote in step.votes],
        "output": _cut(plain(step.output)),
        "error": _cut(step.error),
        "offset": step.time - started,
        "duration": step.duration,
        "input_tokens": step.input_tokens,
        "output_tokens": step.output_tokens,
        "cost": step.cost,
        "events": list(step.seqs),
    }


def _cut(text: str) -> dict[str, Any]:
    """A text with how many of its characters were left out; ``cut`` 0 = whole."""
    return {"text": text[:MAX_TEXT], "cut": max(0, len(text) - MAX_TEXT)}


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value)[:MAX_TEXT] for key, value in values.items()}
