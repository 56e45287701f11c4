"""The report's own arithmetic: counts, metric means, and what needs a reader first."""

from __future__ import annotations

import pytest

import fakes_report
from agentcheck.records import Score
from agentcheck.reporting.report import STATUSES, CaseResult, Report, Run, SuiteResult, summarise


def test_cases_without_a_row_count_as_not_started() -> None:
    """What was collected and has no row is counted as not started, not forgotten."""
    suite = SuiteResult("s", cases=(CaseResult("a", "pass"), CaseResult("b", "not_started")), collected=5)
    assert suite.counts["not_started"] == 4
    assert suite.total == 5


def test_every_status_is_counted_even_when_it_is_zero() -> None:
    """A reader finds each status in the counts, so that a zero is a statement."""
    report = Report(Run("r", 0), (SuiteResult("s"),))
    assert list(report.counts) == list(STATUSES)
    assert report.total == 0


def test_counts_of_the_run_are_the_sum_over_its_suites() -> None:
    """No case is counted twice or lost between suites and run."""
    report = fakes_report.report()
    for status in STATUSES:
        assert report.counts[status] == sum(suite.counts[status] for suite in report.suites)
    assert report.total == 37


def test_a_broken_judge_does_not_lower_the_mean() -> None:
    """Errors and unmeasured scores stay out of the mean and inside the denominator."""
    scores = [
        Score("m", 1.0, threshold=0.5, passed=True),
        Score("m", 0.0, threshold=0.5, passed=False),
        Score("m", None, status="error"),
        Score("m", None, status="not_measured"),
        Score("n", None, status="not_measured"),
    ]
    first, second = summarise(scores)
    assert (first.mean, first.measured, first.errors, first.not_measured, first.trials) == (0.5, 2, 1, 1, 4)
    assert (first.passed, first.failed, first.threshold) == (1, 1, 0.5)
    assert (second.mean, second.trials) == (None, 1)


def test_failures_come_before_errors_and_aborted_cases() -> None:
    """The cases to be shown are ordered by what needs a reader first, across suites."""
    shown = [case.status for _, case in fakes_report.report().shown()]
    assert shown == ["fail", "fail", "fail", "error", "error", "inconclusive", "aborted"]


@pytest.mark.parametrize("name", ["refill-needs-a-visit", "clinic::refill-needs-a-visit"])
def test_a_case_is_found_by_its_id_and_with_its_suite(name: str) -> None:
    """`find` takes the id as it stands in the dataset, or with its suite in front."""
    found = fakes_report.report().find(name)
    assert found is not None
    assert (found[0].name, found[1].id) == ("clinic", "refill-needs-a-visit")


def test_an_unknown_case_is_not_found() -> None:
    """`find` gives nothing rather than a near match."""
    assert fakes_report.report().find("refill") is None
    assert fakes_report.report().find("payables::refill-needs-a-visit") is None


def test_changes_of_the_bar_name_their_suite() -> None:
    """Changes of all suites and of the run are listed together."""
    assert fakes_report.report().changed == ("suite removed: suites/legacy.toml", "clinic: gate.pass_rate: 1.0 -> 0.8")
