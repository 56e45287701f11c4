"""``findings.sarif``: SARIF 2.1.0 for code scanning: cases that did not pass and gates that broke.

A case that failed gives one finding per score that missed its threshold (rule = the metric), or, where none says why,
one per control that refused an action. Errors keep a rule of their own, so that a broken judge never reads as
a failing agent. Fingerprints depend on rule, suite and case only: a finding stays the same finding when rows move.

Source: OASIS Static Analysis Results Interchange Format 2.1.0; sections are named beside what follows from them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agentcheck.errors import ExitCode
from agentcheck.reporting import files
from agentcheck.reporting.report import CaseResult, Report, SuiteResult
from agentcheck.reporting.safe_text import line, shorten, visible
from agentcheck.reporting.timeline import number

#: Code scanning services show about this many results of a file.
MAX_RESULTS = 5_000
_MAX_MESSAGE = 1_000
_PLACE = re.compile(r"([^:]+:\d+):")
_ORDER = {"error": 0, "warning": 1}
_MEANINGS = {
    "gate": "A suite's gate is not met.",
    "case.fail": "A case failed.",
    "case.error": "A case could not be judged because something in the harness, a judge or the agent broke.",
    "case.inconclusive": "A case could not be decided.",
    "case.aborted": "A case was stopped before its verdict.",
    "dataset.record": "A dataset record could not be read.",
    "bar.changed": "The change alters what blocks a merge.",
}


def write(report: Report, directory: Path) -> Iterable[Path]:
    """Write ``findings.sarif`` into the directory."""
    text = json.dumps(to_dict(report), ensure_ascii=True, allow_nan=False, indent=1)
    return [files.write(directory / "findings.sarif", f"{text}\n")]


def to_dict(report: Report) -> dict[str, Any]:
    """The findings as a SARIF log with one run."""
    found = sorted(_findings(report), key=lambda result: _ORDER[result["level"]])
    results = found[:MAX_RESULTS]
    rules = sorted({result["ruleId"] for result in results})
    index = {rule: place for place, rule in enumerate(rules)}
    for result in results:
        result["ruleIndex"] = index[result["ruleId"]]
    return {
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [
            {
                "tool": {"driver": _driver(report, rules)},
                "automationDetails": {"id": f"agentcheck/{_uri(report.run.id)}"},
                "columnKind": "unicodeCodePoints",
                "invocations": [_invocation(report, len(found) - len(results))],
                "results": results,
            }
        ],
    }


def _driver(report: Report, rules: list[str]) -> dict[str, Any]:
    driver: dict[str, Any] = {"name": "agentcheck", "rules": [_rule(rule) for rule in rules]}
    if report.run.agentcheck:
        driver["version"] = line(report.run.agentcheck)
    return driver


def _rule(rule: str) -> dict[str, Any]:
    kind = "gate" if rule.startswith("gate.") else rule
    meaning = _MEANINGS.get(kind, "A score missed its threshold, or a control refused an action.")
    return {"id": rule, "name": rule, "shortDescription": {"text": meaning}}


def _invocation(report: Report, left_out: int) -> dict[str, Any]:
    # 3.20.14: false where the tool itself broke; findings do not make it false.
    good = report.run.status == "finished" and report.exit_code not in (ExitCode.HARNESS, ExitCode.USAGE)
    started = datetime.fromtimestamp(report.run.started / 1_000_000, timezone.utc)
    notes = [(note.level, note.text) for note in report.run.notes]
    if left_out:
        notes.append(("warning", f"{left_out} findings were left out; this file holds {MAX_RESULTS}"))
    levels = {"info": "note", "warning": "warning", "error": "error"}
    return {
        "executionSuccessful": good,
        "exitCode": int(report.exit_code),
        "startTimeUtc": started.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "toolExecutionNotifications": [
            {"level": levels.get(level, "note"), "message": {"text": _message(text)}} for level, text in notes
        ],
    }


def _findings(report: Report) -> Iterator[dict[str, Any]]:
    for suite, case in report.shown():
        yield from _of_case(report, suite, case)
    for suite in report.suites:
        for rule in suite.gate.rules:
            if rule.passed is False:
                text = f"{suite.name}: gate {rule.name}: {rule.observed}, required {rule.required}"
                yield _result(f"gate.{rule.name}", "error", text, suite.file, suite.name, "")
        for record in suite.skipped_records:
            place = _PLACE.match(record)
            where = place.group(1) if place else suite.file
            yield _result("dataset.record", "warning", record, where, suite.name, record)
    for change in report.changed:
        suite_file = next((suite.file for suite in report.suites if change.startswith(f"{suite.name}: ")), "")
        against = f" (held to {report.base})" if report.base else ""
        yield _result("bar.changed", "warning", f"{change}{against}", suite_file, change, "")


def _of_case(report: Report, suite: SuiteResult, case: CaseResult) -> Iterator[dict[str, Any]]:
    where = case.source or suite.file
    name = f"{suite.name}::{case.id}"
    if case.status != "fail":
        text = f"{name}: {'; '.join(case.reasons) or case.status}"
        yield _result(f"case.{case.status}", "warning", text, where, suite.name, case.id)
        return
    said: set[str] = set()
    for trial in case.trials:
        for score in trial.scores:
            if score.passed is False and score.metric not in said:
                said.add(score.metric)
                told = f"{number(score.value)}, threshold {number(score.threshold)}. {score.reason}"
                yield _result(score.metric, "error", f"{name}: {score.metric} {told}", where, suite.name, case.id)
    if said:
        return
    reasons = "; ".join(case.reasons)
    for rule in _controls(report, case) or ["case.fail"]:
        yield _result(rule, "error", f"{name}: {reasons or 'failed'}", where, suite.name, case.id)


def _controls(report: Report, case: CaseResult) -> list[str]:
    """Controls that refused an action in the trials that failed, each once."""
    controls: dict[str, None] = {}
    for trial in case.trials:
        found = report.transcript(trial.session) if trial.status == "fail" else None
        for step in found.steps if found else ():
            if step.outcome != "allow" and not step.approved and step.control:
                controls[step.control] = None
    return list(controls)


def _result(rule: str, level: str, text: str, where: str, suite: str, case: str) -> dict[str, Any]:
    # 3.27.17: stable across runs; 3.49: a rule id is not empty.
    rule = line(shorten(rule, 200)) or "unnamed"
    digest = hashlib.sha256(json.dumps([rule, suite, case]).encode()).hexdigest()
    result: dict[str, Any] = {
        "ruleId": rule,
        "level": level,
        "message": {"text": _message(text)},
        "partialFingerprints": {"agentcheck/v1": digest},
    }
    if where:
        result["locations"] = [{"physicalLocation": _location(where)}]
    return result


def _location(where: str) -> dict[str, Any]:
    file, _, row = where.rpartition(":")
    if file and row.isascii() and row.isdigit() and int(row[:9]) > 0:
        return {"artifactLocation": {"uri": _uri(file)}, "region": {"startLine": int(row[:9])}}
    return {"artifactLocation": {"uri": _uri(where)}}


def _uri(path: str) -> str:
    """A relative reference (3.4.3); nothing in a path can become a scheme, a host, a query or a fragment."""
    encoded = quote(path.replace("\\", "/").encode("utf-8", "surrogatepass"), safe="/")
    return encoded.lstrip("/") or "unknown"


def _message(text: str) -> str:
    # 3.11.5: brackets make embedded links, braces placeholders; a backslash escapes the first, doubling the second.
    plain = visible(shorten(text, _MAX_MESSAGE)).replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    return plain.replace("{", "{{").replace("}", "}}") or "(no text)"
