"""``summary.md``: what a reviewer sees on the pull request's run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fakes_report
from agentcheck.errors import ExitCode
from agentcheck.reporting import summary
from agentcheck.reporting.report import Report, Run, SuiteResult


def test_the_verdict_stands_first() -> None:
    """The first line says whether the merge is blocked, the next what became of the cases."""
    lines = summary.render(fakes_report.report()).splitlines()
    assert lines[0] == "## ✗ agentcheck: blocked: a gate failed"
    assert lines[2].startswith("**3 failed, 2 errors")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (ExitCode.PASSED, "✓ agentcheck: passed"),
        (ExitCode.INTERRUPTED, "interrupted"),
        (ExitCode.HARNESS, "the harness broke"),
        (ExitCode.USAGE, "usage error"),
        (ExitCode.NOTHING_RAN, "nothing ran"),
    ],
)
def test_every_exit_code_has_its_words(code: ExitCode, words: str) -> None:
    """Nothing but a passed run looks like one."""
    first = summary.render(Report(Run("r", 0), exit_code=code)).splitlines()[0]
    assert words in first
    assert ("✓" in first) is (code == ExitCode.PASSED)


def test_a_changed_bar_is_listed_with_what_the_run_was_held_to() -> None:
    """A pull request that lowers its own bar shows it."""
    text = summary.render(fakes_report.report())
    assert "### This change alters the bar; the run was held to <code>origin/main</code>" in text
    assert "- <code>clinic&#58; gate&#46;pass&#95;rate&#58; 1&#46;0 -&#62; 0&#46;8</code>" in text


def test_every_suite_has_a_row_and_every_case_that_did_not_pass_a_block() -> None:
    """Tables count every status that occurs; failing cases are folded."""
    report = fakes_report.report()
    text = summary.render(report)
    assert "| <code>clinic</code> | 23 | 15 | 2 | 1 | 1 | 1 | 1 | 2 | ✗ failed |" in text
    for suite, case in report.shown():
        assert f"<code>{suite.name}&#58;&#58;{case.id}</code></summary>" in text
    assert text.count("<details>") == text.count("</details>")


def test_a_summary_that_does_not_fit_says_how_much_is_missing() -> None:
    """The file stays below the limit of a step, and counts the cases that had no room."""
    text = summary.render(fakes_report.large(4_000, 4_000))
    assert len(text.encode()) <= summary.MAX_BYTES
    shown = text.count("</details>") - text.count("<summary>Metrics")
    assert f"{4_000 - shown} more cases that did not pass are left out for want of room." in text


def test_tables_of_very_many_suites_are_cut_and_counted() -> None:
    """A thousand suites do not hide the failing cases; the rows left out are counted."""
    report = Report(Run("r", 0), tuple(SuiteResult(f"s{number}") for number in range(1_000)))
    assert "… 500 more" in summary.render(report)


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=40))
def test_no_text_adds_a_row_a_heading_or_a_tag(text: str) -> None:
    """The structure of the file is the same whatever the texts say."""

    def shape(rendered: str) -> list[str]:
        tags = ("<details>", "</details>", "<summary>", "<pre>", "</pre>", "<code>", "<br>")
        counts = [f"{tag} {rendered.count(tag)}" for tag in tags]
        lines = rendered.splitlines()
        return [*counts, *(line.split(" ")[0] for line in lines if line.startswith(("#", "|---", "- ", "> ")))]

    assert shape(summary.render(fakes_report.hostile(text))) == shape(summary.render(fakes_report.hostile("plain")))


def test_the_file_is_written_into_the_directory(tmp_path: Path) -> None:
    """The reporter gives back the path of the file it wrote."""
    (path,) = summary.write(fakes_report.report(), tmp_path)
    assert path == tmp_path / "summary.md"
