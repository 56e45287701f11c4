"""``findings.sarif``: what code scanning reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import fakes_report
from agentcheck.errors import ExitCode
from agentcheck.reporting import sarif
from agentcheck.reporting.report import CaseResult, Report, Run, SuiteResult, TrialResult


def check(log: dict[str, Any]) -> dict[str, Any]:
    """The required properties of SARIF 2.1.0 that this file uses, section by section; gives back the run."""
    assert log["version"] == "2.1.0"  # 3.13.2
    (run,) = log["runs"]  # 3.13.4
    driver = run["tool"]["driver"]  # 3.18.2
    assert driver["name"]  # 3.19.8
    rules = [rule["id"] for rule in driver["rules"]]  # 3.49.3
    assert len(rules) == len(set(rules))
    (invocation,) = run["invocations"]
    assert isinstance(invocation["executionSuccessful"], bool)  # 3.20.14
    for notification in invocation["toolExecutionNotifications"]:
        assert notification["level"] in ("none", "note", "warning", "error")  # 3.58.6
        assert isinstance(notification["message"]["text"], str)  # 3.58.5
    for result in run["results"]:
        assert result["message"]["text"]  # 3.27.11
        assert rules[result["ruleIndex"]] == result["ruleId"]  # 3.27.5, 3.27.6
        assert result["level"] in ("warning", "error")  # 3.27.10
        assert re.fullmatch("[0-9a-f]{64}", result["partialFingerprints"]["agentcheck/v1"])  # 3.27.17
        for location in result.get("locations", ()):
            place = location["physicalLocation"]
            uri = place["artifactLocation"]["uri"]  # 3.4.3, RFC 3986 4.2: a relative reference
            assert re.fullmatch(r"(?:[A-Za-z0-9._~/-]|%[0-9A-F]{2})+", uri)
            assert not uri.startswith("/")
            assert place.get("region", {"startLine": 1})["startLine"] >= 1  # 3.30.5
    return dict(run)


def results(report: Report) -> list[dict[str, Any]]:
    return list(check(sarif.to_dict(report))["results"])


def test_a_failing_case_has_a_finding_per_score_below_its_threshold() -> None:
    """The rule is the metric, the place the dataset row, and a met threshold gives no finding."""
    found = [
        (result["ruleId"], result["locations"][0]["physicalLocation"])
        for result in results(fakes_report.report())
        if "refill-needs-a-visit" in result["message"]["text"]
    ]
    place = {"artifactLocation": {"uri": "golden_datasets/clinic.jsonl"}, "region": {"startLine": 7}}
    assert found == [("expected_actions", place), ("groundedness", place)]


def test_an_error_has_a_rule_of_its_own_and_is_no_error_of_the_agent() -> None:
    """A broken judge is a warning under case.error, never a finding of the metric it could not give."""
    (found,) = [one for one in results(fakes_report.report()) if "discharge-summary" in one["message"]["text"]]
    assert (found["ruleId"], found["level"]) == ("case.error", "warning")


def test_a_case_that_failed_without_a_score_names_the_control_that_refused() -> None:
    """Where no score says why, the rule is the control."""
    trial = fakes_report.clinic()[0]
    row = TrialResult(trial.session, 1, "fail", ("the refill was refused",))
    suite = SuiteResult("clinic", cases=(CaseResult("c", "fail", ("refused",), (row,), "d.jsonl:3"),), collected=1)
    report = Report(Run("r", 0), (suite,), ExitCode.GATE_FAILED, fakes_report.report().transcript)
    assert [one["ruleId"] for one in results(report)] == ["authorization.level", "policy"]


def test_broken_gates_changes_and_unread_records_are_findings() -> None:
    """A gate points at its suite file, a record at its row; a change of the bar is shown as one."""
    found = {one["ruleId"]: one for one in results(fakes_report.report())}
    gate = found["gate.metrics.groundedness"]["locations"][0]["physicalLocation"]
    assert gate["artifactLocation"]["uri"] == "suites/clinic.toml"
    assert found["dataset.record"]["locations"][0]["physicalLocation"]["region"]["startLine"] == 52
    assert "held to origin/main" in found["bar.changed"]["message"]["text"]


def test_a_finding_keeps_its_fingerprint_when_its_row_moves() -> None:
    """The fingerprint depends on rule, suite and case, not on line or message."""

    def one(source: str, reason: str) -> str:
        suite = SuiteResult("s", cases=(CaseResult("c", "error", (reason,), (), source),), collected=1)
        (result,) = results(Report(Run("r", 0), (suite,)))
        return str(result["partialFingerprints"]["agentcheck/v1"])

    assert one("d.jsonl:3", "x") == one("e.jsonl:9", "y")


def test_a_clean_run_has_no_findings() -> None:
    """A passing run gives an empty list, which closes what was open."""
    assert results(fakes_report.passing()) == []


def test_a_run_that_did_not_finish_is_no_successful_execution() -> None:
    """Code scanning must not take a crash for a clean run."""
    report = Report(Run("r", 0, status="crashed"))
    assert check(sarif.to_dict(report))["invocations"][0]["executionSuccessful"] is False


def test_what_does_not_fit_is_counted() -> None:
    """Above the limit the number of findings left out is a notification."""
    run = check(sarif.to_dict(fakes_report.large(sarif.MAX_RESULTS + 7, sarif.MAX_RESULTS + 7)))
    assert len(run["results"]) == sarif.MAX_RESULTS
    assert "findings were left out" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_any_text_gives_a_valid_log_without_links(text: str) -> None:
    """Text from outside is no embedded link, no placeholder, no scheme and no control."""
    run = check(sarif.to_dict(fakes_report.hostile(text)))
    for result in run["results"]:
        message = result["message"]["text"].replace("\\\\", "").replace("\\[", "").replace("\\]", "")
        assert not set(message.replace("{{", "").replace("}}", "")) & set("[]{}\x1b\x00")


def test_the_file_is_written_into_the_directory(tmp_path: Path) -> None:
    """The reporter gives back the path of the file it wrote."""
    (path,) = sarif.write(fakes_report.report(), tmp_path)
    assert path == tmp_path / "findings.sarif"
    check(json.loads(path.read_text("ascii")))
