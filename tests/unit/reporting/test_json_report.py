"""``report.json`` and the schema that describes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fakes_report
from agentcheck.records import Case, Step, Transcript
from agentcheck.reporting import json_report, report_schema
from agentcheck.reporting.report import CaseResult, Report, Run, SuiteResult, TrialResult

SCHEMA = Path(__file__).parents[3] / "docs" / "schema" / "report.schema.json"


def valid(report: Report) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(json_report.to_dict(report), allow_nan=False))
    jsonschema.validate(values, report_schema.schema(), cls=jsonschema.Draft202012Validator)
    return values


@pytest.mark.parametrize("make", [fakes_report.report, fakes_report.passing])
def test_a_report_is_what_its_schema_says(make: Any) -> None:
    """Every key that is written is described, and none else."""
    valid(make())


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=40))
def test_any_text_gives_a_valid_report_with_the_text_unchanged(text: str) -> None:
    """Programs get the exact text, and the file is ASCII."""
    values = valid(fakes_report.hostile(text))
    assert values["suites"][0]["name"] == text
    assert json.dumps(values, ensure_ascii=True).isascii()


def test_the_published_schema_is_the_one_in_force() -> None:
    """`docs/schema/report.schema.json` is what the code says (write it with the command in docs/reports.md)."""
    assert json.loads(SCHEMA.read_text("utf-8")) == report_schema.schema()


def test_the_schema_is_a_schema() -> None:
    """The schema itself is valid under its own draft."""
    jsonschema.Draft202012Validator.check_schema(report_schema.schema())


def test_the_schema_refuses_a_key_that_it_does_not_know() -> None:
    """A report that drifts from its description fails."""
    values = valid(fakes_report.passing())
    values["suites"][0]["cases"][0]["mood"] = "good"
    with pytest.raises(jsonschema.ValidationError, match="mood"):
        jsonschema.validate(values, report_schema.schema())


def test_the_schema_misses_a_key_that_is_left_out() -> None:
    """A key cannot be dropped without a test that fails."""
    values = valid(fakes_report.passing())
    del values["suites"][0]["gate"]["rules"]
    with pytest.raises(jsonschema.ValidationError, match="rules"):
        jsonschema.validate(values, report_schema.schema())


def test_only_trials_that_did_not_pass_carry_what_happened() -> None:
    """The file stays small: a passing trial has its scores and counts, not its steps."""
    cases = {case["id"]: case for suite in valid(fakes_report.report())["suites"] for case in suite["cases"]}
    steps = cases["refill-needs-a-visit"]["trials"][0]["transcript"]["steps"]
    assert [step["outcome"] for step in steps] == ["allow", "hold", "deny", "allow"]
    assert steps[1]["votes"] == [{"voter": "dr_amara", "vote": "deny"}]
    assert "transcript" not in cases["refill-with-approval"]["trials"][0]


def long_trial(steps: int, output: str) -> Transcript:
    found = tuple(Step(f"a{number}", "tool_call", "t", {}, "allow", "done", output=output) for number in range(steps))
    return Transcript(Case("c", "p"), "s", steps=found)


def failing(trials: int, found: Transcript) -> dict[str, Any]:
    rows = tuple(TrialResult("s", 1, "fail") for _ in range(trials))
    suite = SuiteResult("s", cases=(CaseResult("c", "fail", trials=rows),), collected=1)
    return json_report.to_dict(Report(Run("r", 0), (suite,), transcript=lambda session: found))


def test_what_is_cut_of_a_trial_is_counted() -> None:
    """Long outputs and long trials are cut at the stated limits, and what is missing is counted."""
    values = failing(1, long_trial(json_report.MAX_STEPS + 3, "x" * 5_000))
    written = values["suites"][0]["cases"][0]["trials"][0]["transcript"]
    assert written["steps_left_out"] == 3
    assert written["steps"][0]["output"]["cut"] == 5_002 - json_report.MAX_TEXT


@pytest.mark.parametrize(
    ("trials", "found"),
    [
        (json_report.MAX_TRIALS + 2, long_trial(0, "")),
        (60, long_trial(json_report.MAX_STEPS, "x" * json_report.MAX_TEXT)),
    ],
)
def test_trials_that_find_no_room_are_counted(trials: int, found: Transcript) -> None:
    """Very many or very long failing trials do not make an endless file; those without steps are counted."""
    values = failing(trials, found)
    rows = values["suites"][0]["cases"][0]["trials"]
    without = sum("transcript" not in row for row in rows)
    assert 0 < without == values["limits"]["trials_left_out"] < trials


def test_the_file_is_written_into_the_directory(tmp_path: Path) -> None:
    """The reporter gives back the path of the file it wrote."""
    (path,) = json_report.write(fakes_report.report(), tmp_path)
    assert path == tmp_path / "report.json"
    assert json.loads(path.read_text("ascii"))["schema_version"] == 1
