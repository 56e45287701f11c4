"""``junit.xml``: a testsuite per suite, a testcase per case, for CI systems.

``fail`` is a failure; ``error``, ``inconclusive`` and ``aborted`` are errors, told apart by ``type``; ``skipped`` and
``not_started`` are skipped. Text is spelled out where XML 1.0 has no character for it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from xml.etree import ElementTree

from agentcheck.reporting import files, timeline
from agentcheck.reporting.report import SHOWN, CaseResult, CaseStatus, Report, SuiteResult, TrialResult
from agentcheck.reporting.safe_text import shorten, visible

_FAILURES: frozenset[CaseStatus] = frozenset(("fail",))
_ERRORS: frozenset[CaseStatus] = frozenset(("error", "inconclusive", "aborted"))
#: Characters of what the agent did that one testcase carries, and testcases that carry it.
MAX_OUTPUT, MAX_CASES = 20_000, 1_000
#: What stands for itself in text and not in an attribute.
_NOT_PLAIN = re.compile(r"[^ !#-%'-;=?-~]")
_IN_ATTRIBUTES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\n": "&#10;", "\t": "&#09;", "\r": "&#13;"}
)


def write(report: Report, directory: Path) -> Iterable[Path]:
    """Write ``junit.xml`` into the directory."""
    return [files.write(directory / "junit.xml", pieces(report))]


def render(report: Report) -> bytes:
    """The report as JUnit XML in UTF-8."""
    return "".join(pieces(report)).encode()


def pieces(report: Report) -> Iterator[str]:
    """The file in pieces, a case at a time, so that a large run never stands in memory as a tree."""
    counts = _attributes(report.counts)
    root = _element(None, "testsuites", name="agentcheck", **counts, time=_seconds(report.run.duration))
    yield "<?xml version='1.0' encoding='utf-8'?>\n"
    yield _opened(root, "\n")
    left = MAX_CASES
    for suite in report.suites:
        yield from _suite(suite, report, left)
        left -= sum(case.status in SHOWN for case in suite.cases)
    yield "</testsuites>\n"


def _opened(element: ElementTree.Element, after: str) -> str:
    """The start tag of an element whose children follow."""
    return ElementTree.tostring(element, encoding="unicode", short_empty_elements=False).rpartition("</")[0] + after


def _suite(suite: SuiteResult, report: Report, left: int) -> Iterator[str]:
    started = datetime.fromtimestamp(report.run.started / 1_000_000, timezone.utc)
    attributes = {
        "name": suite.name,
        **_attributes(suite.counts),
        "time": _seconds(suite.duration),
        "timestamp": started.replace(tzinfo=None).isoformat(timespec="seconds"),
    }
    element = _element(None, "testsuite", **attributes)
    yield " " + _opened(element, "\n")
    yield _indented(_properties(_about(suite, report)), 2)
    for case in suite.cases:
        if case.status == "pass":  # most of a large file
            yield f"  <testcase{_spelled(_place(suite, case))} />\n"
            continue
        detailed = case.status in SHOWN and left > 0
        left -= detailed
        yield _indented(_case(suite, case, report if detailed else None), 2)
    for number in range(suite.total - len(suite.cases)):
        missing = _element(None, "testcase", classname=suite.name, name=f"(not started {number + 1})", time="0")
        _element(missing, "skipped", message="not started: the run ended before")
        yield _indented(missing, 2)
    yield " </testsuite>\n"


def _indented(element: ElementTree.Element, level: int) -> str:
    ElementTree.indent(element, " ", level)
    return f"{' ' * level}{ElementTree.tostring(element, encoding='unicode').rstrip()}\n"


def _about(suite: SuiteResult, report: Report) -> Mapping[str, str]:
    return {
        "run": report.run.id,
        "run_status": report.run.status,
        "partial": str(report.run.partial).lower(),
        "commit": report.run.commit,
        "command": shlex.join(report.run.command),
        "agent": suite.agent,
        "world": suite.world,
        "model": suite.model,
        "unsafe": str(suite.unsafe).lower(),
        "gate": suite.gate_word,
        **{f"hash.{name}": value for name, value in suite.hashes.items()},
        **{f"gate.{rule.name}": f"{rule.observed}, required {rule.required}" for rule in suite.gate.rules},
        **{f"changed.{number}": change for number, change in enumerate(suite.changed, 1)},
        **{f"skipped_record.{number}": record for number, record in enumerate(suite.skipped_records, 1)},
    }


def _case(suite: SuiteResult, case: CaseResult, report: Report | None) -> ElementTree.Element:
    element = _element(None, "testcase", **_place(suite, case))
    scores = _scores(case)
    if scores:
        element.append(_properties(scores))
    reasons = "\n".join(case.reasons)
    first = case.reasons[0] if case.reasons else case.status.replace("_", " ")
    if case.status in _FAILURES:
        _element(element, "failure", reasons, message=first, type="fail")
    elif case.status in _ERRORS:
        _element(element, "error", reasons, message=first, type=case.status)
    else:
        word = "not started: " if case.status == "not_started" else ""
        _element(element, "skipped", message=f"{word}{first}")
    if report:
        told = "\n\n".join(_told(trial, report) for trial in case.trials if trial.status in SHOWN)
        if told.strip():
            _element(element, "system-out", shorten(told, MAX_OUTPUT))
    return element


def _place(suite: SuiteResult, case: CaseResult) -> dict[str, str]:
    attributes = {"classname": suite.name, "name": case.id, "time": _seconds(case.duration)}
    file, _, row = case.source.rpartition(":")
    if file and row.isascii() and row.isdigit():
        attributes |= {"file": file, "line": row}
    return attributes


def _spelled(attributes: Mapping[str, str]) -> str:
    """Attributes as they stand in a tag."""
    return "".join(
        f' {name}="{visible(value).translate(_IN_ATTRIBUTES) if _NOT_PLAIN.search(value) else value}"'
        for name, value in attributes.items()
    )


def _scores(case: CaseResult) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for trial in case.trials:
        for score in trial.scores:
            value = timeline.number(score.value) if score.status == "ok" else score.status.replace("_", " ")
            held = f" (threshold {timeline.number(score.threshold)})" if score.threshold is not None else ""
            found[f"trial.{trial.trial}.{score.metric}"] = f"{value}{held}"
    return found


def _told(trial: TrialResult, report: Report) -> str:
    found = report.transcript(trial.session)
    if found is None:
        return ""
    lines = [f"trial {trial.trial}", *(f"asked: {prompt}" for prompt in found.prompts)]
    for step in found.steps:
        decided = f"{step.outcome} by {step.control}" + (f" ({step.reason})" if step.reason else "")
        lines.append(f"{timeline.asked(step)}\n  {decided}; {step.status}{f': {step.error}' if step.error else ''}")
    return "\n".join(lines)


def _attributes(counts: Mapping[CaseStatus, int]) -> dict[str, str]:
    return {
        "tests": str(sum(counts.values())),
        "failures": str(sum(counts[status] for status in _FAILURES)),
        "errors": str(sum(counts[status] for status in _ERRORS)),
        "skipped": str(counts["skipped"] + counts["not_started"]),
    }


def _properties(values: Mapping[str, str]) -> ElementTree.Element:
    element = _element(None, "properties")
    for name, value in values.items():
        if value:
            _element(element, "property", name=name, value=value)
    return element


def _element(parent: ElementTree.Element | None, tag: str, text: str = "", /, **attributes: str) -> ElementTree.Element:
    safe = {name: visible(value) for name, value in attributes.items()}
    element = ElementTree.Element(tag, safe) if parent is None else ElementTree.SubElement(parent, tag, safe)
    if text:
        element.text = visible(text)
    return element


def _seconds(microseconds: int) -> str:
    return f"{microseconds / 1_000_000:.6f}"
