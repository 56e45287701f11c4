"""``summary.md``: the step summary of a CI run, in GitHub Markdown: verdict first, then suites, then what failed.

Every text from outside goes through `safe_text.markdown` or `markdown_block`. The file stays under GitHub's limit of
1 MiB for one step; cases that do not fit are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from agentcheck.records import Transcript
from agentcheck.reporting import files, terminal, timeline
from agentcheck.reporting.report import GATE_MARKS, CaseResult, CaseStatus, Report, SuiteResult
from agentcheck.reporting.safe_text import markdown, markdown_block, shorten
from agentcheck.reporting.timeline import MARKS, number

#: Bytes; GitHub refuses a step summary above 1 MiB, and other steps append to the same file.
MAX_BYTES = 960_000
_MAX_TEXT, _MAX_STEPS, _MAX_ROWS = 600, 60, 500
_ENDINGS = {"finished": "finished", "interrupted": "was interrupted", "crashed": "has no ending in its ledger"}
_ORDER: tuple[CaseStatus, ...] = ("pass", "fail", "error", "inconclusive", "aborted", "skipped", "not_started")


def write(report: Report, directory: Path) -> Iterable[Path]:
    """Write ``summary.md`` into the directory."""
    return [files.write(directory / "summary.md", render(report))]


def render(report: Report) -> str:
    """The report as GitHub Markdown of at most `MAX_BYTES` bytes."""
    budget = _Budget(MAX_BYTES - 4_000)
    for part in (_head(report), _bar(report), _suites(report), _gates(report), _metrics(report), _enforcement(report)):
        budget.add("\n".join(part))
    budget.add("\n".join(_records(report)))
    tables = budget.refused
    for suite, case in report.shown():
        budget.add("\n".join(_case(report, suite, case)))
    if tables:
        budget.parts.append(f"{tables} tables are left out for want of room; `report.html` has them.")
    if budget.refused > tables:
        cases = budget.refused - tables
        budget.parts.append(f"{cases} more cases that did not pass are left out for want of room.")
    budget.parts.append("\n".join(_foot(report)))
    return "\n\n".join(part for part in budget.parts if part) + "\n"


class _Budget:
    """Takes parts while there is room; a part is taken whole or not at all."""

    def __init__(self, room: int) -> None:
        self.room, self.parts, self.refused = room, list[str](), 0

    def add(self, part: str) -> bool:
        size = len(part.encode("utf-8")) + 2
        if size > self.room:
            self.refused += 1
            return False
        self.room -= size
        self.parts.append(part)
        return True


def _head(report: Report) -> Iterator[str]:
    words = {0: "passed", 1: "blocked: a gate failed", 2: "interrupted", 3: "the harness broke", 4: "usage error"}
    mark = MARKS["pass" if report.exit_code == 0 else "fail"][0]
    yield f"## {mark} agentcheck: {words.get(int(report.exit_code), 'nothing ran')}"
    yield ""
    yield f"**{terminal.sentence(report)}**"
    if report.unsafe:
        yield "\n> **Unsafe:** a suite ran with the bypass in place of a policy."
    if report.run.partial or report.run.status != "finished":
        yield f"\n> **Partial:** some cases have no verdict (the run {_ENDINGS[report.run.status]})."


def _bar(report: Report) -> Iterator[str]:
    if report.changed:
        held = f"; the run was held to {markdown(report.base)}" if report.base else ""
        yield f"### This change alters the bar{held}"
        yield ""
        yield from (f"- {markdown(change)}" for change in report.changed[:_MAX_ROWS])
        yield from _more(len(report.changed), "- ")


def _suites(report: Report) -> Iterator[str]:
    shown = [status for status in _ORDER if status in ("pass", "fail", "error") or report.counts[status]]
    yield f"| suite | cases | {' | '.join(status.replace('_', ' ') for status in shown)} | gate |"
    yield f"|---|--:|{'--:|' * len(shown)}---|"
    for suite in report.suites[:_MAX_ROWS]:
        counts = " | ".join(str(suite.counts[status]) for status in shown)
        yield f"| {markdown(suite.name)} | {suite.total} | {counts} | {_gate(suite.gate_word)} |"
    yield from _more(len(report.suites))
    if len(report.suites) > 1:
        totals = " | ".join(f"**{report.counts[status]}**" for status in shown)
        yield f"| **total** | **{report.total}** | {totals} | |"


def _gate(word: str) -> str:
    return f"{MARKS[GATE_MARKS[word]][0]} {word}"


def _gates(report: Report) -> Iterator[str]:
    rows = [(suite, rule) for suite in report.suites for rule in suite.gate.rules]
    if rows:
        yield "| gate | required | observed | |"
        yield "|---|---|---|---|"
    for suite, rule in rows[:_MAX_ROWS]:
        cells = (f"{suite.name}: {rule.name}", rule.required, rule.observed)
        yield f"| {' | '.join(markdown(cell) for cell in cells)} | {_gate(suite.rule_word(rule))} |"
    yield from _more(len(rows))


def _metrics(report: Report) -> Iterator[str]:
    rows = [(suite, one) for suite in report.suites for one in suite.metrics]
    if rows:
        yield "<details><summary>Metrics</summary>\n"
        yield "| suite | metric | mean | measured | threshold | errors | not measured |"
        yield "|---|---|--:|--:|--:|--:|--:|"
        for suite, one in rows[:_MAX_ROWS]:
            measured = f"{one.measured} of {one.trials}"
            told = f"{number(one.mean)} | {measured} | {one.missed} | {one.errors} | {one.not_measured}"
            yield f"| {markdown(suite.name)} | {markdown(one.metric)} | {told} |"
        yield from _more(len(rows))
        yield "\n</details>"


def _more(rows: int, start: str = "| ") -> Iterator[str]:
    if rows > _MAX_ROWS:
        yield f"{start}… {rows - _MAX_ROWS} more"


def _enforcement(report: Report) -> Iterator[str]:
    rows = [(suite, row) for suite in report.suites for row in suite.enforcement]
    if rows:
        yield "| suite | enforcement | |"
        yield "|---|---|---|"
    for suite, row in rows[:_MAX_ROWS]:
        told = markdown(terminal.tally(row.value, row.of, row.note))
        yield f"| {markdown(suite.name)} | {markdown(row.label)} | {told} |"
    yield from _more(len(rows))


def _case(report: Report, suite: SuiteResult, case: CaseResult) -> Iterator[str]:
    mark, _, word = MARKS[case.status]
    yield f"<details><summary>{mark} {word}: {markdown(shorten(f'{suite.name}::{case.id}', 300))}</summary>"
    yield ""
    yield from (f"- {markdown(shorten(reason, _MAX_TEXT))}" for reason in case.reasons[:20])
    yield ""
    trial = next((one for one in case.trials if one.status == case.status), None)
    found = report.transcript(trial.session) if trial else None
    if found:
        yield markdown_block("\n".join(_told(found)))
        yield ""
    if case.source:
        yield f"{markdown(shorten(case.source, _MAX_TEXT))}\n"
    yield markdown_block(terminal.show_command(report, suite, case))
    yield "</details>"


def _told(found: Transcript) -> Iterator[str]:
    if found.withheld:
        yield found.withheld
    for prompt in found.prompts[:20]:
        yield f"asked   {shorten(prompt, _MAX_TEXT)}"
    for step in found.steps[:_MAX_STEPS]:
        decided = f"{MARKS[step.outcome][0]} {step.outcome}" if step.outcome in MARKS else step.outcome
        yield f"{decided:<7} {shorten(timeline.asked(step), _MAX_TEXT)}"
        if step.outcome != "allow":
            approved = " (approved)" if step.approved else ""
            yield f"        by {step.control}: {shorten(step.reason, _MAX_TEXT)}{approved}"
        if step.error:
            yield f"        error: {shorten(step.error, _MAX_TEXT)}"
    if len(found.steps) > _MAX_STEPS:
        yield f"… {len(found.steps) - _MAX_STEPS} more steps"


def _records(report: Report) -> Iterator[str]:
    records = [record for suite in report.suites for record in suite.skipped_records]
    if records:
        yield f"<details><summary>{len(records)} dataset records could not be read</summary>\n"
        yield from (f"- {markdown(shorten(record, _MAX_TEXT))}" for record in records[:_MAX_ROWS])
        yield from _more(len(records), "- ")
        yield "\n</details>"


def _foot(report: Report) -> Iterator[str]:
    run = report.run
    dirty = ", uncommitted changes" if run.dirty else ""
    commit = f", commit {markdown(shorten(run.commit, 40))}{dirty}" if run.commit else ""
    yield f"Run {markdown(shorten(run.id, 80))}{commit}, agentcheck {markdown(shorten(run.agentcheck or '?', 40))}"
    for stream in run.streams[:20]:
        head = markdown(shorten(stream.head, 64))
        yield f"<br>Ledger stream {markdown(shorten(stream.name, 40))}: {stream.events} events, head {head}"
