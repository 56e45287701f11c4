"""``junit.xml``: what a CI system reads."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fakes_report
from agentcheck.reporting import junit
from agentcheck.reporting.report import CaseResult, Report, Run, SuiteResult


def parsed(report: Report) -> ElementTree.Element:
    return ElementTree.fromstring(junit.render(report))


def test_counts_are_those_of_the_elements() -> None:
    """Tests, failures, errors and skipped of every suite and of the whole are what the testcases say."""
    root = parsed(fakes_report.report())
    for element in (root, *root.iter("testsuite")):
        for name, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(element.get(name, "")) == len(list(element.iter(tag))), (element.get("name"), name)


@pytest.mark.parametrize(
    ("status", "tag", "type_"),
    [
        ("fail", "failure", "fail"),
        ("error", "error", "error"),
        ("inconclusive", "error", "inconclusive"),
        ("aborted", "error", "aborted"),
        ("skipped", "skipped", None),
        ("not_started", "skipped", None),
        ("pass", None, None),
    ],
)
def test_each_status_has_its_element(status: str, tag: str | None, type_: str | None) -> None:
    """An error never reads as a failure, and what did not run reads as skipped."""
    suite = SuiteResult("s", cases=(CaseResult("c", status, ("why",)),), collected=1)  # type: ignore[arg-type]
    (case,) = parsed(Report(Run("r", 0), (suite,))).iter("testcase")
    results = [child for child in case if child.tag != "properties"]
    assert [child.tag for child in results] == ([tag] if tag else [])
    if type_:
        assert results[0].get("type") == type_
    if tag:
        assert "why" in results[0].get("message", "")


def test_cases_that_were_never_begun_are_testcases_too() -> None:
    """A crashed run does not look smaller than it was."""
    suite = SuiteResult("s", collected=3)
    cases = list(parsed(Report(Run("r", 0), (suite,))).iter("testcase"))
    assert len(cases) == 3
    assert all(case.find("skipped") is not None for case in cases)


def test_a_testcase_names_the_row_and_the_scores() -> None:
    """CI can point at the dataset row; scores with thresholds are properties."""
    (case,) = [c for c in parsed(fakes_report.report()).iter("testcase") if c.get("name") == "refill-needs-a-visit"]
    assert (case.get("file"), case.get("line"), case.get("classname")) == (
        "golden_datasets/clinic.jsonl",
        "7",
        "clinic",
    )
    properties = {element.get("name"): element.get("value") for element in case.iter("property")}
    assert properties["trial.1.expected_actions"] == "0.50 (threshold 1.00)"
    assert properties["trial.1.retention"] == "not measured"
    assert "deny by policy (a birth date may not leave the clinic)" in (case.findtext("system-out") or "")


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=40))
def test_any_text_gives_well_formed_xml(text: str) -> None:
    """Control characters, surrogates and markup in names and outputs leave the file readable."""
    assert len(list(parsed(fakes_report.hostile(text)).iter("testcase"))) == 3


def test_the_file_is_written_into_the_directory(tmp_path: Path) -> None:
    """The reporter gives back the path of the file it wrote."""
    (path,) = junit.write(fakes_report.report(), tmp_path)
    assert path == tmp_path / "junit.xml"
    assert path.read_bytes().startswith(b"<?xml")
