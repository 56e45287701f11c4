"""Results as pandas frames for notebooks, and a CSV that a spreadsheet cannot mistake for a program.

Needs the extra ``pandas``, which is imported when a frame is made and not before.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentcheck.errors import MissingExtra
from agentcheck.reporting import files, timeline
from agentcheck.reporting.report import CaseResult, Report, SuiteResult, TrialResult
from agentcheck.reporting.safe_text import cell

if TYPE_CHECKING:
    from pandas import DataFrame

_COUNTS = ("actions", "allowed", "held", "denied", "approved", "tool_errors", "orphans", "input_tokens")
_KEYS = ("suite", "case", "trial")
_COLUMNS = (*_KEYS, "session", "status", "reasons", "seconds", *_COUNTS, "output_tokens", "cost", "source", "tags")
_ACTIONS = (
    *_KEYS,
    "action",
    "turn",
    "kind",
    "name",
    "arguments",
    "outcome",
    "control",
    "rule",
    "reason",
    "level",
    "approved",
    "status",
    "output",
    "error",
    "offset_seconds",
    "seconds",
    "input_tokens",
    "output_tokens",
    "cost",
)


def trials(report: Report) -> DataFrame:
    """One row per case and trial, with a column ``score.<metric>`` for each metric (missing = no value).

    Cases that were never begun have one row with trial 0. Durations are seconds; ``cost`` is a decimal string.

    Raises:
        MissingExtra: pandas is not installed.
    """
    pandas = _pandas()
    rows = [_trial(suite, case, trial) for suite in report.suites for case in suite.cases for trial in _of(case)]
    metrics = list(dict.fromkeys(metric.metric for suite in report.suites for metric in suite.metrics))
    columns = [*_COLUMNS, *(f"score.{metric}" for metric in metrics)]
    frame: DataFrame = pandas.DataFrame(rows, columns=columns)
    return frame


def actions(report: Report) -> DataFrame:
    """One row per action of every trial whose events are at hand; arguments and output are JSON text.

    Raises:
        MissingExtra: pandas is not installed.
    """
    pandas = _pandas()
    frame: DataFrame = pandas.DataFrame(list(_actions(report)), columns=list(_ACTIONS))
    return frame


def write_csv(frame: DataFrame, path: Path) -> Path:
    """Write a frame as CSV in UTF-8; text that a spreadsheet would take for a formula gets a leading apostrophe.

    Raises:
        HarnessError: the file cannot be written.
    """
    safe = frame.map(cell).rename(columns=lambda name: cell(str(name)))
    return files.write(path, safe.to_csv(index=False, lineterminator="\n"))


def _pandas() -> Any:
    try:
        return importlib.import_module("pandas")
    except ImportError:
        raise MissingExtra("results as a pandas frame", "pandas") from None


def _of(case: CaseResult) -> tuple[TrialResult, ...]:
    return case.trials or (TrialResult("", 0, case.status, case.reasons),)


def _trial(suite: SuiteResult, case: CaseResult, trial: TrialResult) -> dict[str, Any]:
    return {
        "suite": suite.name,
        "case": case.id,
        "trial": trial.trial,
        "session": trial.session,
        "status": trial.status,
        "reasons": "; ".join(trial.reasons),
        "seconds": trial.duration / 1_000_000,
        **{name: getattr(trial, name) for name in _COUNTS},
        "output_tokens": trial.output_tokens,
        "cost": trial.cost,
        "source": case.source,
        "tags": " ".join(case.tags),
        **{f"score.{score.metric}": score.value for score in trial.scores},
    }


def _actions(report: Report) -> Iterator[dict[str, Any]]:
    for suite in report.suites:
        for case in suite.cases:
            for trial in case.trials:
                found = report.transcript(trial.session)
                for step in found.steps if found else ():
                    yield {
                        **dict(zip(_KEYS, (suite.name, case.id, trial.trial), strict=True)),
                        "action": step.id,
                        "turn": step.turn,
                        "kind": step.kind,
                        "name": step.name,
                        "arguments": timeline.plain(step.arguments),
                        "outcome": step.outcome,
                        "control": step.control,
                        "rule": step.rule,
                        "reason": step.reason,
                        "level": step.level,
                        "approved": step.approved,
                        "status": step.status,
                        "output": timeline.plain(step.output),
                        "error": step.error,
                        "offset_seconds": (step.time - found.started) / 1_000_000 if found else 0.0,
                        "seconds": step.duration / 1_000_000,
                        "input_tokens": step.input_tokens,
                        "output_tokens": step.output_tokens,
                        "cost": step.cost,
                    }
