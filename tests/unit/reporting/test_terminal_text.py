"""What a terminal shows: failures, tables, gates, timelines and the last line."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fakes_report
from agentcheck.errors import ExitCode
from agentcheck.records import Score
from agentcheck.reporting import html, junit, safe_text, summary, terminal
from agentcheck.reporting.report import CaseResult, Gate, GateRule, Report, Run, SuiteResult, TrialResult
from agentcheck.reporting.terminal import Look

LOOK = Look(width=100)


def failure(case: str, look: Look = LOOK) -> str:
    report = fakes_report.report()
    found = report.find(case)
    assert found is not None
    return terminal.failure(report, *found, look)


def test_a_failure_tells_what_was_asked_done_decided_and_missed() -> None:
    """The block holds the prompt, each step with its decision, scores with thresholds, and the commands."""
    text = failure("refill-needs-a-visit")
    for piece in (
        "Please refill my lisinopril for 90 days",
        '✓ allow         read_chart(patient="p-17")',
        "✗ not approved  prescribe_refill(",
        "by authorization.level · prescribe_* (level 3)",
        "dr_amara voted deny",
        "✗ deny          send_message(",
        "✗ expected_actions",
        "0.50  threshold 1.00",
        "golden_datasets/clinic.jsonl:7",
        "agentcheck show reports/20251009-084500-7f3a clinic::refill-needs-a-visit",
        "agentcheck run suites/clinic.toml --case refill-needs-a-visit",
    ):
        assert piece in text
    assert re.search(r"– not measured +retention$", text, re.M)


def test_what_fell_short_stands_before_what_was_met() -> None:
    """Of the scores, those below their threshold come first and those not measured last."""
    rows = re.findall(r"^  ([✗✓–!]) \w+", failure("refill-needs-a-visit").partition("scores")[2], re.M)
    assert rows == ["✗", "✗", "✓", "–"]


def test_a_broken_judge_reads_as_an_error_and_not_as_a_low_score() -> None:
    """The score of a broken judge shows the word error and no number."""
    (row,) = [line for line in failure("discharge-summary").splitlines() if "groundedness  " in line]
    assert "! groundedness  error" in row
    assert "0.0" not in row


def test_an_orphan_action_is_named_in_the_failure() -> None:
    """An allowed action without a result is marked as such."""
    assert "? no result  cancel_appointment(" in failure("cancel-appointment")


def test_of_several_trials_the_failing_one_is_told() -> None:
    """The block follows the trial that failed, and says how the others ended."""
    text = failure("invoice-with-hidden-order")
    assert "1: pass, 2: fail, 3: pass. What follows is trial 2." in text
    assert "answers: Paid." in text


def test_turns_are_told_apart() -> None:
    """A conversation of several turns shows where each begins."""
    lines = [line.strip() for line in failure("allergy-corrected-midway").splitlines()]
    (first,) = [place for place, line in enumerate(lines) if "Your chart lists" in line]
    (second,) = [place for place, line in enumerate(lines) if "answers: I will tell them" in line]
    assert lines.index("turn 1") < first < lines.index("turn 2") < second


def test_commands_are_never_broken_in_two() -> None:
    """A command stays on one line on a narrow terminal, so that it can be pasted."""
    lines = failure("refill-needs-a-visit", Look(width=40)).splitlines()
    assert any(line.endswith("show reports/20251009-084500-7f3a clinic::refill-needs-a-visit") for line in lines)


def test_a_case_without_a_transcript_still_has_its_block() -> None:
    """A case that broke before its first event shows reason and commands."""
    suite = SuiteResult("s", "suites/s.toml", cases=(CaseResult("c", "error", ("no agent",)),))
    text = terminal.failure(Report(Run("r", 0), (suite,)), suite, suite.cases[0], LOOK)
    assert "no agent" in text
    assert "agentcheck run suites/s.toml --case c" in text


@pytest.mark.parametrize("id_", ["a b", "$(rm -rf ~)", "`x`", "'; ls; '", "-rf", "--case", "a\nb", "\x1b[2J"])
def test_commands_are_safe_to_paste(id_: str) -> None:
    """A hostile case id is one word of the command: no other command, no option of its own, no second line."""
    suite = SuiteResult("s", "suites/s.toml")
    words = shlex.split(terminal.repeat_command(suite, CaseResult(id_, "fail")))
    option, _, joined = words[3].partition("=")
    assert [*words[:3], option] == ["agentcheck", "run", "suites/s.toml", "--case"]
    assert (words[4:] or [joined]) == [safe_text.line(id_)]
    assert not [word for word in words[4:] if word.startswith("-")]


def test_the_table_counts_every_suite_and_the_run() -> None:
    """A row per suite, one for the run, with the gate in words."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in terminal.summary(fakes_report.report(), LOOK).splitlines()]
    assert rows[0] == ["suite", "cases", "pass", "fail", "error", "incon", "abort", "skip", "not run", "gate"]
    assert rows[2] == ["clinic", "23", "15", "2", "1", "1", "1", "1", "2", "✗ failed"]
    assert rows[4][-1] == "○ skipped"
    assert rows[-1] == ["total", "37", "24", "3", "2", "1", "1", "4", "2"]


def test_statuses_that_do_not_occur_have_no_column() -> None:
    """A clean run's table has pass, fail and error, and nothing else to read."""
    head = terminal.summary(fakes_report.passing(), LOOK).splitlines()[0].split()
    assert head == ["suite", "cases", "pass", "fail", "error", "gate"]


def test_a_metric_shows_its_denominator() -> None:
    """The mean stands beside how many trials were measured, broken and not measured."""
    (row,) = [line for line in terminal.metrics(fakes_report.report(), LOOK).splitlines() if "groundedness" in line]
    assert row.split() == ["clinic", "groundedness", "0.62", "2", "of", "3", "1", "below", "0.70", "1", "0"]


@pytest.mark.parametrize(
    ("value", "passed", "told"),
    [
        (0.5, False, "1 below 0.70"),
        (0.9, False, "1 above 0.70"),
        (0.5, True, "0 missed 0.70"),
        (0.9, True, "0 missed 0.70"),
    ],
)
def test_a_score_lies_on_the_side_where_it_is_bad(value: float, passed: bool, told: str) -> None:
    """Where lower is better, what missed its threshold lies above it, in the terminal, the summary and the page."""
    score = Score("m", value, threshold=0.7, passed=passed)
    trial = TrialResult("s::c#1", 1, "pass" if passed else "fail", scores=(score,))
    report = Report(
        Run("r", 0), (SuiteResult("s", cases=(CaseResult("c", trial.status, trials=(trial,)),)),), ExitCode.PASSED
    )
    assert told in " ".join(terminal.metrics(report, LOOK).split())
    assert told in summary.render(report)
    if not passed:
        assert f"</span> {told.split()[1]}</span>" in html.render(report)


def test_a_gate_has_one_word_everywhere() -> None:
    """A suite of which every case was skipped reads alike in the terminal, the summary, the page and JUnit."""
    skipped = (CaseResult("c", "skipped", ("why",)),)
    suite = SuiteResult(
        "s", cases=skipped, gate=Gate(None, (GateRule("pass_rate", "at least 1", "no case ran", None),))
    )
    report = Report(Run("r", 0), (suite,), ExitCode.NOTHING_RAN)
    assert "○ skipped" in terminal.summary(report, LOOK)
    assert "? undecided" not in summary.render(report)
    assert summary.render(report).count("○ skipped") >= 2
    page = html.render(report).partition("<main>")[2].partition("</table>")[0]
    assert "skipped" in page
    assert "undecided" not in page
    assert b'name="gate" value="skipped"' in junit.render(report)


def test_a_failure_begins_with_its_reason() -> None:
    """Below the heading, which pytest writes, stands the reason: the line that pytest repeats in its summary."""
    report = fakes_report.report()
    found = report.find("refill-needs-a-visit")
    assert found is not None
    assert terminal.failure(report, *found, LOOK).splitlines()[1] == found[1].reasons[0]


def test_gates_say_what_was_required_and_observed() -> None:
    """Each rule has its line; changes of the bar, unread records and notes follow."""
    text = terminal.gates(fakes_report.report(), Look(width=200))
    assert "✗ gate clinic pass_rate: 0.88 (15 of 17), required at least 1.00" in text
    assert "held to origin/main" in text
    assert "gate.pass_rate: 1.0 -> 0.8" in text
    assert "record not read: golden_datasets/clinic.jsonl:52" in text
    assert "not measured: recording and world are one source" in text


def test_the_last_line_is_like_pytests() -> None:
    """Counts in words, the time, and that the run is partial."""
    assert terminal.final(fakes_report.report(), Look(width=120)).strip("= ") == (
        "3 failed, 2 errors, 1 inconclusive, 1 aborted, 24 passed, 4 skipped, 2 not started in 14.8s (partial)"
    )


@pytest.mark.parametrize("status", ["interrupted", "crashed"])
def test_an_unfinished_run_says_so_in_the_last_line(status: str) -> None:
    """A run that did not finish cannot look finished."""
    report = Report(Run("r", 0, status=status, partial=True), exit_code=ExitCode.INTERRUPTED)  # type: ignore[arg-type]
    assert f"{status}; no cases" in terminal.final(report, LOOK)


def test_the_timeline_shows_each_event_with_its_number_and_time() -> None:
    """`agentcheck show` prints every event of a trial, the decision under its action."""
    report = fakes_report.report()
    found = report.transcript("clinic::refill-needs-a-visit#1")
    assert found is not None
    text = terminal.timeline(found, LOOK)
    assert [int(number) for number in re.findall(r"^#(\d+)", text, re.M)] == [event.seq for event in found.events]
    assert "#52  +0.039s      ✗ deny  policy · no-birth-date-outside" in text


def test_long_texts_are_cut_with_a_count_unless_all_is_asked_for() -> None:
    """What the timeline leaves out is counted, and can be had."""
    found = fakes_report.report().transcript("clinic::discharge-summary#1")
    assert found is not None
    assert "more characters)" in terminal.timeline(found, LOOK)
    assert "more characters)" not in terminal.timeline(found, LOOK, full=True)


def test_a_stored_run_names_commit_streams_and_every_case_that_did_not_pass() -> None:
    """`agentcheck show RUN` has what identifies the run, and a line per case that needs a reader."""
    text = terminal.stored(fakes_report.report(), LOOK)
    for piece in ("2cbb674f0d1e9a55 (uncommitted changes)", "main 1204 events", "clinic::cancel-appointment"):
        assert piece in text


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "no-such-encoding"])
def test_a_terminal_without_the_signs_gets_plain_ones(encoding: str) -> None:
    """Every text can be written in the terminal's encoding, and marks keep a form of their own."""
    look = Look(width=100, encoding=encoding)
    text = "\n".join((terminal.stored(fakes_report.report(), look), failure("refill-needs-a-visit", look)))
    text.encode("ascii" if encoding == "no-such-encoding" else encoding)
    assert "x deny" in text
    assert "+ allow" in text


def test_colour_is_only_there_when_asked_for() -> None:
    """Without colour no escape sequence is written; with it, the words are the same."""
    report = fakes_report.report()
    assert "\x1b" not in terminal.stored(report, LOOK)
    coloured = terminal.stored(report, Look(width=100, color=True))
    assert "\x1b[" in coloured
    stripped = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", coloured).splitlines()]
    assert stripped == terminal.stored(report, LOOK).splitlines()


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=30), st.integers(20, 200))
def test_any_text_at_any_width_gives_lines_without_controls(text: str, width: int) -> None:
    """No text from outside breaks a block or reaches the terminal as a control."""
    report = fakes_report.hostile(text)
    look = Look(width=width)
    shown = terminal.stored(report, look) + terminal.failure(report, *next(report.shown()), look)
    assert not [c for c in shown if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160)]
