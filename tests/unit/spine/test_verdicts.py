"""Verdicts and gates: what passes, what fails, and what is neither."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcheck.errors import ExitCode
from agentcheck.records import Score
from agentcheck.verdicts import case_status, decide_gate, exit_code, format_number, judge, trial_verdict

STATUS = st.sampled_from(["pass", "fail", "error", "inconclusive", "aborted", "skipped"])


def gate(statuses: list[str], *, pass_rate: float = 1.0, max_errors: int = 0, missing: int = 0, **bounds: float) -> str:
    """The status of a gate over these cases."""
    return decide_gate(
        statuses,  # type: ignore[arg-type]
        pass_rate=pass_rate,
        max_errors=max_errors,
        bounds={"m": (0.8, "higher")} if bounds else {},
        means=bounds,
        missing=missing,
    ).status


@pytest.mark.parametrize(
    ("value", "threshold", "direction", "met"),
    [
        (0.7, 0.7, "higher", True),
        (0.69, 0.7, "higher", False),
        (3.0, 3.0, "lower", True),
        (3.1, 3.0, "lower", False),
        (0.1, None, "higher", None),
    ],
)
def test_a_score_meets_its_threshold_on_the_good_side_only(
    value: float, threshold: float | None, direction: str, met: bool | None
) -> None:
    """The threshold itself is met; beyond it only in the metric's direction; without one nothing is judged."""
    passed, reason = judge(Score("m", value), threshold, direction)
    assert passed is met
    assert bool(reason) == (met is False)


def test_a_broken_judge_is_an_error_and_never_a_pass_or_a_fail() -> None:
    """A score with status error makes the trial an error, whatever the other scores say, unless something failed."""
    good, broken = Score("a", 1.0, passed=True), Score("b", None, "no answer", "error")
    assert trial_verdict([good, broken], [])[0] == "error"
    assert trial_verdict([good, broken], ["a too low"])[0] == "fail"


def test_nothing_passes_by_accident() -> None:
    """A trial for which no judged score could be measured is inconclusive, not passed."""
    assert trial_verdict([], [])[0] == "inconclusive"
    assert trial_verdict([Score("m", None, "no context", "not_measured")], [])[0] == "inconclusive"
    assert trial_verdict([Score("m", 0.9)], [])[0] == "inconclusive"


@given(st.lists(STATUS, min_size=1))
def test_a_case_passes_only_when_every_trial_does(trials: list[str]) -> None:
    """One failing trial fails a case; an error is never hidden by passes."""
    status = case_status(trials)  # type: ignore[arg-type]
    assert (status == "pass") == (set(trials) <= {"pass", "skipped"} and "pass" in trials)
    if "fail" in trials:
        assert status == "fail"
    elif "error" in trials:
        assert status == "error"


@given(st.lists(STATUS), st.integers(0, 3))
def test_a_gate_never_passes_with_errors_aborted_or_missing_cases(statuses: list[str], missing: int) -> None:
    """With the strictest gate, only a suite whose every case ran and passed (or was skipped) passes."""
    status = gate(statuses, missing=missing)
    if status == "passed":
        assert set(statuses) <= {"pass", "skipped"}
        assert "pass" in statuses
        assert missing == 0


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["pass", "pass"], "passed"),
        (["pass", "fail"], "failed"),
        (["pass", "error"], "error"),
        (["fail", "error"], "failed"),
        (["pass", "aborted"], "partial"),
        (["pass", "inconclusive"], "failed"),
        (["skipped"], "nothing"),
        ([], "nothing"),
    ],
)
def test_what_a_gate_says(statuses: list[str], expected: str) -> None:
    """Failures break a gate, errors leave it undecided, aborted cases make it partial, skips alone are nothing."""
    assert gate(statuses) == expected


def test_a_tolerant_gate_lets_the_stated_share_fail_and_no_more() -> None:
    """`pass_rate` is over the cases that ran without an error."""
    assert gate(["pass"] * 9 + ["fail"], pass_rate=0.9) == "passed"
    assert gate(["pass"] * 8 + ["fail"] * 2, pass_rate=0.9) == "failed"
    assert gate(["pass"] * 9 + ["fail", "error"], pass_rate=0.9, max_errors=1) == "passed"


def test_a_bound_on_a_metric_that_was_never_measured_is_undecided() -> None:
    """A gate cannot pass on a mean that does not exist."""
    assert gate(["pass"], m=0.9) == "passed"
    assert gate(["pass"], m=0.7) == "failed"
    assert gate(["pass"], other=1.0) == "error"


def test_exit_codes_follow_what_is_known_best() -> None:
    """Interrupted before failed before undecided before passed before nothing."""
    for statuses in product(["passed", "failed", "error", "nothing"], repeat=2):
        code = exit_code(statuses)  # type: ignore[arg-type]
        if "failed" in statuses:
            assert code == ExitCode.GATE_FAILED
        elif "error" in statuses:
            assert code == ExitCode.HARNESS
        elif "passed" in statuses:
            assert code == ExitCode.PASSED
        else:
            assert code == ExitCode.NOTHING_RAN
    assert exit_code(["passed"], interrupted=True) == ExitCode.INTERRUPTED
    assert exit_code(["passed", "partial"]) not in (ExitCode.PASSED, ExitCode.NOTHING_RAN)


@given(st.floats(-1e9, 1e9))
def test_numbers_are_written_without_exponent_and_read_back(value: float) -> None:
    """Scores in the ledger are decimal strings with at most six decimals."""
    text = format_number(value)
    assert "e" not in text
    assert float(text) == pytest.approx(value, abs=1e-6)
