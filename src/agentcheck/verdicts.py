"""From scores to a verdict, from trials to a case, from cases to a gate: pure, and the only place that decides.

Rules, each kept apart from the others:

1. A broken judge, harness or transport is ``error``, never ``fail`` and never ``pass``.
2. A trial that no judged score could be measured for is ``inconclusive``; nothing passes by accident.
3. A case passes when all its trials pass; one failing trial fails it; an error decides only where nothing failed.
4. A gate is broken by what was observed, undecided where errors exceed what it allows, and never passed by a part of
   a suite.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from agentcheck.errors import ExitCode
from agentcheck.records import Score, VerdictStatus

GateStatus = Literal["passed", "failed", "error", "partial", "nothing"]
#: The statuses a case can end in, in the order in which they are listed.
STATUSES: tuple[VerdictStatus, ...] = ("pass", "fail", "error", "inconclusive", "aborted", "skipped")


def judge(score: Score, threshold: float | None, direction: str) -> tuple[bool | None, str]:
    """Whether a score meets its threshold (``None`` = not judged), and the reason in words where it falls short."""
    if threshold is None or score.status != "ok" or score.value is None:
        return None, ""
    met = score.value <= threshold if direction == "lower" else score.value >= threshold
    if met:
        return True, ""
    sign = "at most" if direction == "lower" else "at least"
    why = f": {score.reason}" if score.reason else ""
    return False, f"{score.metric} {format_number(score.value)}, needs {sign} {format_number(threshold)}{why}"


def format_number(value: float) -> str:
    """A number as it is written in reasons and in the ledger: at most six decimals, no exponent, no trailing zeros."""
    return f"{value:.6f}".rstrip("0").rstrip(".") or "0"


def trial_verdict(
    scores: Sequence[Score], shortfalls: Sequence[str], stopped: str = ""
) -> tuple[VerdictStatus, list[str]]:
    """The verdict of one trial from its judged scores. ``stopped`` is a bound the trial broke (its time limit)."""
    reasons = [stopped] if stopped else []
    reasons += shortfalls
    if reasons:
        return "fail", reasons
    errors = [f"{score.metric} could not be scored: {score.reason}" for score in scores if score.status == "error"]
    if errors:
        return "error", errors
    if not any(score.passed is True for score in scores):
        return "inconclusive", ["no score with a threshold could be measured"]
    return "pass", []


def case_status(trials: Iterable[VerdictStatus]) -> VerdictStatus:
    """The status of a case over its trials."""
    found = set(trials)
    for status in ("fail", "error", "aborted", "inconclusive", "pass"):
        if status in found:
            return status
    return "skipped"


@dataclass(frozen=True)
class Rule:
    """One line of a gate: what was required, what was observed; ``passed`` is ``None`` where it cannot be decided."""

    name: str
    required: str
    observed: str
    passed: bool | None


@dataclass(frozen=True)
class Gate:
    """A suite's gate, decided."""

    status: GateStatus
    rules: tuple[Rule, ...]
    counts: Mapping[str, int]


def decide_gate(
    statuses: Iterable[VerdictStatus],
    *,
    pass_rate: float,
    max_errors: int,
    bounds: Mapping[str, tuple[float, str]],
    means: Mapping[str, float],
    missing: int = 0,
    deselected: int = 0,
) -> Gate:
    """Decide a suite.

    Args:
        statuses: one per case that was collected and selected.
        bounds: metric -> (bound on its mean, direction ``higher`` or ``lower``).
        means: metric -> mean over the trials where it was measured; absent where it never was.
        missing: cases that were selected and never started.
        deselected: cases of the suite that nobody selected; they break nothing and are told.
    """
    tally = Counter(statuses)
    counts: dict[str, int] = {status: tally.get(status, 0) for status in STATUSES}
    counts["not_started"] = missing
    ran = counts["pass"] + counts["fail"] + counts["inconclusive"]
    rules = [_rate_rule(counts["pass"], ran, pass_rate, deselected)]
    errors = counts["error"]
    rules.append(Rule("errors", f"at most {max_errors}", str(errors), errors <= max_errors))
    for metric, (bound, direction) in bounds.items():
        rules.append(_mean_rule(metric, bound, direction, means.get(metric)))
    judged = [rule for rule in rules if rule.name != "errors"]
    return Gate(_status(judged, counts, errors > max_errors, ran), tuple(rules), counts)


def _status(judged: Sequence[Rule], counts: Mapping[str, int], too_many_errors: bool, ran: int) -> GateStatus:
    if any(rule.passed is False for rule in judged):
        return "failed"
    if too_many_errors:
        return "error"
    if counts["aborted"] or counts["not_started"]:
        return "partial"
    if not ran and not counts["error"]:
        return "nothing"
    return "passed" if all(rule.passed for rule in judged) else "error"


def _rate_rule(passed: int, ran: int, required: float, deselected: int) -> Rule:
    if not ran:
        return Rule("pass_rate", f"at least {format_number(required)}", "no case ran", None)
    rate = passed / ran
    shown = format_number(math.floor(rate * 10_000) / 10_000)  # cut, not rounded: 0.99999 is not 1
    return Rule(
        "pass_rate",
        f"at least {format_number(required)}",
        f"{shown} ({passed} of {ran}{f'; {deselected} cases not selected' if deselected else ''})",
        rate >= required,
    )


def _mean_rule(metric: str, bound: float, direction: str, mean: float | None) -> Rule:
    required = f"mean {'at most' if direction == 'lower' else 'at least'} {format_number(bound)}"
    if mean is None:
        return Rule(metric, required, "never measured", None)
    return Rule(metric, required, format_number(mean), mean <= bound if direction == "lower" else mean >= bound)


def exit_code(gates: Iterable[GateStatus], *, interrupted: bool = False) -> ExitCode:
    """The exit code of a run from its gates.

    An interruption comes first, then a gate that was broken by what was observed, then what could not be decided
    (errors, or cases without a verdict although nobody interrupted the run).
    """
    found = set(gates)
    if interrupted:
        return ExitCode.INTERRUPTED
    if "failed" in found:
        return ExitCode.GATE_FAILED
    if found & {"error", "partial"}:
        return ExitCode.HARNESS
    if "passed" in found:
        return ExitCode.PASSED
    return ExitCode.NOTHING_RAN
