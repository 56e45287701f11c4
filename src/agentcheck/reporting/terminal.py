"""Text for a terminal: failures, tables, a case's timeline and the last line. Pure functions; nothing is printed here.

Every function takes a `Look` (width, colour, encoding) and gives back text without a newline at its end. Text from
outside goes through `safe_text.visible` before it meets rich, and never through rich's markup.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentcheck.errors import ExitCode
from agentcheck.records import Score, Step, Transcript
from agentcheck.reporting import timeline as times
from agentcheck.reporting.report import GATE_MARKS, STATUSES, CaseResult, Report, SuiteResult, TrialResult
from agentcheck.reporting.safe_text import line, shorten, visible
from agentcheck.reporting.timeline import MARKS, number, seconds

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_STYLES = {
    "allow": "green",
    "approve": "green",
    "for": "green",
    "pass": "green",
    "hold": "yellow",
    "deny": "bold red",
    "reject": "bold red",
    "against": "red",
    "fail": "bold red",
    "broken": "magenta",
    "error": "bold magenta",
    "orphan": "magenta",
    "inconclusive": "yellow",
    "aborted": "yellow",
    "not_started": "yellow",
    "skipped": "cyan",
}
_HEADINGS = {"inconclusive": "incon", "aborted": "abort", "not_started": "not run", "skipped": "skip"}
#: Characters of an argument, output or reason that a block shows; `timeline` with ``full`` shows all.
SHORT = 240


@dataclass(frozen=True)
class Look:
    """How a terminal looks: ``width`` in columns, whether it takes colour, and its ``encoding``."""

    width: int = 80
    color: bool = False
    encoding: str = "utf-8"

    @property
    def unicode(self) -> bool:
        """True where the encoding has the marks and lines; plain ASCII is used otherwise."""
        try:
            "✓‖✗→■○–─“…".encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    def mark(self, name: str) -> str:
        """The sign of a mark."""
        return MARKS[name][0 if self.unicode else 1] if name in MARKS else " "


def failure(report: Report, suite: SuiteResult, case: CaseResult, look: Look) -> str:
    """What a reader needs to understand a case that did not pass.

    What was asked, what the agent did step by step with the decisions, which score or control fell short, and the
    commands that show and repeat it. Of several trials the first that did not pass is told, the others are named.
    """
    trial = _worst_trial(case)
    found = report.transcript(trial.session) if trial else None
    parts: list[Any] = [_rule(f"{case.status.upper().replace('_', ' ')}  {suite.name}::{case.id}", case.status, look)]
    # The first line below the heading is what pytest repeats in its summary: the reason, and nothing before it.
    reasons = case.reasons or (trial.reasons if trial else ())
    parts += [_text(visible(reason).expandtabs(4), _STYLES.get(case.status, "")) for reason in reasons]
    about = _grid()
    if len(case.trials) > 1 and trial:
        told = ", ".join(f"{one.trial}: {one.status}" for one in case.trials)
        _row(about, "trials", f"{told}. What follows is trial {trial.trial}.")
    if found:
        for prompt in found.prompts:
            _row(about, "asked", prompt)
    parts += [about, ""]
    if found and found.withheld:
        parts += [_text(found.withheld, "yellow"), ""]
    if found and found.steps:
        parts += [_text("what the agent did", "dim"), _steps(found, look), ""]
    if trial and trial.scores:
        parts += [_text("scores", "dim"), _scores(trial.scores, look), ""]
    parts += _commands(report, suite, case)
    return _render(parts, look)


def _worst_trial(case: CaseResult) -> TrialResult | None:
    return next((trial for trial in case.trials if trial.status == case.status), None) or next(iter(case.trials), None)


def _steps(transcript: Transcript, look: Look) -> Table:
    grid = _grid(3)
    turn = 0
    for index, step in enumerate(transcript.steps, 1):
        if step.turn != turn and len(transcript.prompts) > 1:
            turn = step.turn
            grid.add_row("", "", "", _text(f"turn {turn}", "dim"))
        mark = _step_mark(step)
        offset = _text(f"+{seconds(step.time - transcript.started)}", "dim")
        decision = _text(f"{look.mark(mark)} {MARKS[mark][2]}", _STYLES.get(mark, ""))
        grid.add_row(_text(f"{index:>3}", "dim"), offset, decision, _asked(step))
        for told in _told(step, mark):
            grid.add_row("", "", "", _text(told, "magenta" if mark == "broken" else "dim"))
    return grid


def _asked(step: Step) -> str:
    text = line(shorten(times.asked(step), SHORT))
    if step.kind != "message":
        return text
    return f"answers: {text}" if step.name == "answer" else f"says: {text}"


def _told(step: Step, mark: str) -> Iterator[str]:
    if mark not in ("allow", "broken"):
        level = f" (level {step.level})" if step.level else ""
        rule = f" · {line(step.rule)}" if step.rule else ""
        reason = line(shorten(step.reason, SHORT))
        yield f"by {line(step.control)}{rule}{level}{f': {reason}' if reason else ''}"
    for vote in step.votes:
        yield f"{line(str(vote.get('voter')))} voted {line(str(vote.get('vote')))}"
    if step.error:
        yield line(shorten(step.error, SHORT))
    elif step.status == "done" and step.output is not None:
        yield f"→ {line(shorten(times.plain(step.output), SHORT))}"


def _step_mark(step: Step) -> str:
    if step.outcome == "deny":
        return "deny"
    if step.outcome == "hold" and not step.approved:
        return "reject"
    if step.status in ("orphan", "withheld"):
        return step.status
    if step.status not in ("done", "denied", "held"):
        return "broken"
    return "approve" if step.outcome == "hold" else "allow"


def _scores(scores: tuple[Score, ...], look: Look) -> Table:
    """What fell short first; what could not be measured in one row at the end, so that it does not hide the rest."""
    grid = _grid(3)
    order = ("fail", "error", "pass", "")
    marked = [(times.score_mark(score.status, score.passed), score) for score in scores]
    for mark, score in sorted((one for one in marked if one[0] != "none"), key=lambda one: order.index(one[0])):
        value = number(score.value) if score.status == "ok" else "error"
        held = f"threshold {number(score.threshold)}" if score.threshold is not None else "no threshold"
        name = _text(f"  {look.mark(mark)} {line(score.metric)}", _STYLES.get(mark, ""))
        grid.add_row(name, value, _text(held, "dim"), line(shorten(score.reason, SHORT)))
    unmeasured = [line(score.metric) for mark, score in marked if mark == "none"]
    if unmeasured:
        grid.add_row(_text(f"  {look.mark('none')} not measured", "dim"), "", "", _text(", ".join(unmeasured), "dim"))
    return grid


def show_command(report: Report, suite: SuiteResult, case: CaseResult) -> str:
    """The command that shows a stored case; safe to paste into a shell."""
    where = report.run.directory or report.run.id
    return f"agentcheck show {_path(where)} {_path(f'{suite.name}::{case.id}')}"


def repeat_command(suite: SuiteResult, case: CaseResult) -> str:
    """The command that runs a case again; safe to paste into a shell."""
    # The value of an option may begin with a dash only when it is joined to it.
    joint = "=" if case.id.startswith("-") else " "
    return f"agentcheck run {_path(suite.file or suite.name)} --case{joint}{shlex.quote(line(case.id))}"


def _path(text: str) -> str:
    return shlex.quote(f"./{line(text)}" if text.startswith("-") else line(text))


def _commands(report: Report, suite: SuiteResult, case: CaseResult) -> Iterator[Text]:
    # Lines of their own that are never wrapped: a command broken in two cannot be pasted.
    rows = (
        ("where", line(case.source)),
        ("show", show_command(report, suite, case)),
        ("run again", repeat_command(suite, case)),
    )
    for label, value in rows:
        if value:
            text = _text(f"  {label:<9}  ", "dim").append(value, "bold")
            text.no_wrap = True
            yield text


def timeline(transcript: Transcript, look: Look, *, full: bool = False) -> str:
    """All events of a trial in order, each with its sequence number and time, for ``agentcheck show``.

    Long texts are cut at `SHORT` characters and say how much is missing, unless ``full``.
    """
    from rich.padding import Padding

    limit = 10**9 if full else SHORT
    grid = _grid(2)
    for entry in times.build(transcript):
        head = _text(f"{look.mark(entry.mark)} ", _STYLES.get(entry.mark, ""))
        head.append(line(entry.label), "bold")
        body = visible(shorten(entry.text, limit)).expandtabs(4)
        if "\n" in body:
            grid.add_row(*_when(entry), head)
            grid.add_row("", "", Padding(_text(body), (0, 0, 0, 4)))
        else:
            grid.add_row(*_when(entry), head.append(f"  {body}" if body else "", "default"))
        for one in entry.lines:
            grid.add_row(*_when(one), Padding(_subline(one, look, limit), (0, 0, 0, 4)))
    return _render([_rule(transcript.session, "", look), grid], look)


def _when(event: times.Line) -> tuple[Text, Text]:
    seq = f"#{event.seq}" if event.seq else ""
    return _text(seq, "dim"), _text(f"+{seconds(event.offset)}", "dim")


def _subline(one: times.Line, look: Look, limit: int) -> Text:
    word = MARKS[one.mark][2] if one.mark in MARKS else line(one.mark)
    text = _text(f"{look.mark(one.mark)} {word}".strip(), _STYLES.get(one.mark, ""))
    label = "" if one.label == word else line(one.label)
    told = " ".join(part for part in (label, f"({line(one.note)})" if one.note else "") if part)
    text.append(f"{'  ' if text.plain and told else ''}{told}", "default")
    if one.text:
        text.append(f": {visible(shorten(one.text, limit)).expandtabs(4)}", "dim")
    return text


def summary(report: Report, look: Look) -> str:
    """One table: a row per suite with its cases by verdict and its gate, and a row for the run."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_footer=True)
    shown = [status for status in STATUSES if status in ("pass", "fail", "error") or report.counts[status]]
    shown.sort(key=("pass", "fail", "error", "inconclusive", "aborted", "skipped", "not_started").index)
    table.add_column("suite", _text("total", "bold"), overflow="fold", min_width=8)
    table.add_column("cases", str(report.total), justify="right", no_wrap=True)
    for status in shown:
        table.add_column(
            _HEADINGS.get(status, status), _number(report.counts[status], status), justify="right", no_wrap=True
        )
    table.add_column("gate", no_wrap=True)
    for suite in report.suites:
        counts = (_number(suite.counts[status], status) for status in shown)
        table.add_row(line(suite.name), str(suite.total), *counts, _gate_word(suite, look))
    return _render([table], look)


def _number(value: int, status: str) -> Text:
    return _text(str(value), _STYLES.get(status, "") if value else "dim")


def _gate_word(suite: SuiteResult, look: Look) -> Text:
    mark = GATE_MARKS[suite.gate_word]
    return _text(f"{look.mark(mark)} {suite.gate_word}", _STYLES[mark])


def metrics(report: Report, look: Look) -> str:
    """Each metric per suite: its mean, over how many of all trials it was measured, and what was not; may be empty."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("suite", "metric"):
        table.add_column(name, overflow="fold", min_width=8)
    for name in ("mean", "measured", "threshold", "errors", "not measured"):
        table.add_column(name, justify="right", no_wrap=name != "not measured")
    for suite in report.suites:
        for one in suite.metrics:
            measured = f"{one.measured} of {one.trials}"
            row = (number(one.mean), measured, one.missed, str(one.errors), str(one.not_measured))
            table.add_row(line(suite.name), line(one.metric), *row)
    return _render([table], look) if table.row_count else ""


def gates(report: Report, look: Look, *, brief: bool = False) -> str:
    """A line per gate rule, with what it required and what was observed; then what changed in the bar, and notes.

    ``brief`` leaves out rules that were met, and suites of which every case was skipped; the table tells of both.
    """
    parts: list[Any] = []
    suites = [suite for suite in report.suites if not brief or suite.gate_word != "skipped"]
    for suite in suites:
        for rule in suite.gate.rules:
            if brief and rule.passed:
                continue
            mark = GATE_MARKS[suite.rule_word(rule)]
            text = _text(f"{look.mark(mark)} gate {line(suite.name)} {line(rule.name)}: ", _STYLES[mark])
            parts.append(text.append(f"{line(rule.observed)}, required {line(rule.required)}", "default"))
    for suite in suites:
        told = " · ".join(f"{line(row.label)} {tally(row.value, row.of, row.note)}" for row in suite.enforcement)
        if told:
            parts.append(_text(f"  {line(suite.name)}: ").append(told, "dim"))
        for record in suite.skipped_records:
            parts.append(_text(f"{look.mark('error')} {line(suite.name)}: record not read: {line(record)}", "yellow"))
    against = f" (the run was held to {line(report.base)})" if report.base else ""
    parts += [_text(f"! the bar changed{against}: {line(change)}", "yellow") for change in report.changed]
    if report.unsafe:
        parts.append(_text("! unsafe: a suite ran with the bypass in place of a policy", "bold yellow"))
    parts += [_text(f"{line(note.level)}: {line(note.text)}", "yellow") for note in report.run.notes]
    return _render(parts, look) if parts else ""


def tally(value: int | None, of: int | None, note: str) -> str:
    """A count with its denominator: ``2 of 3 (67 %)``, or that it was not measured, and why."""
    extra = f": {line(note)}" if note and value is None else f" ({line(note)})" if note else ""
    if value is None:
        return f"not measured{extra}"
    if of is None:
        return f"{value}{extra}"
    return f"{value} of {of}{f' ({value / of:.0%})' if of else ''}{extra}"


def final(report: Report, look: Look) -> str:
    """The last line, like pytest's: ``= 3 failed, 24 passed, 4 skipped in 14.8s =``; says when the run is partial."""
    return _render([_rule(sentence(report), _overall(report), look, character="=")], look)


def sentence(report: Report) -> str:
    """What became of all cases, in words; counts that are zero are left out, except that something ran."""
    words = {"pass": "passed", "fail": "failed", "error": "errors", "not_started": "not started"}
    order = ("fail", "error", "inconclusive", "aborted", "pass", "skipped", "not_started")
    told = [f"{report.counts[status]} {words.get(status, status)}" for status in order if report.counts[status]]  # type: ignore[index]
    text = ", ".join(told) or ("no case is left to tell of" if report.run.withheld else "no cases")
    state = "" if report.run.status == "finished" else f"{report.run.status}; "
    partial = " (partial)" if report.run.partial else ""
    return f"{state}{text} in {seconds(report.run.duration)}{partial}"


def _overall(report: Report) -> str:
    by_code = {ExitCode.PASSED: "pass", ExitCode.GATE_FAILED: "fail", ExitCode.HARNESS: "error"}
    return by_code.get(report.exit_code, "aborted")


def stored(report: Report, look: Look) -> str:
    """A stored run for ``agentcheck show RUN``: what it was, tables, gates, and each case that did not pass."""
    run = report.run
    grid = _grid()
    facts = (
        ("run", run.id),
        ("ledger", run.directory),
        ("command", shlex.join(run.command)),
        ("commit", f"{run.commit}{' (uncommitted changes)' if run.dirty else ''}" if run.commit else ""),
        ("author", run.author),
        ("agentcheck", f"{run.agentcheck}, Python {run.python}, {run.platform}" if run.agentcheck else ""),
        ("held to", report.base),
        ("streams", "; ".join(f"{s.name} {s.events} events, head {s.head[:16]}" for s in run.streams)),
    )
    for name, value in facts:
        if value:
            _row(grid, name, value)
    text = [_render([grid], look), summary(report, look), metrics(report, look), gates(report, look)]
    rows = _grid(1, 2)
    for suite, case in report.shown():
        label = _text(f"{look.mark(case.status)} {case.status}", _STYLES.get(case.status, ""))
        rows.add_row(label, line(f"{suite.name}::{case.id}"), line(shorten("; ".join(case.reasons), SHORT)))
    text += [_render([rows], look) if rows.row_count else "", final(report, look)]
    return "\n\n".join(part for part in text if part)


def _grid(fixed: int = 1, folding: int = 1) -> Table:
    """A table without lines: columns that keep their width, then columns that wrap."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(fixed):
        grid.add_column(no_wrap=True)
    for _ in range(folding):
        grid.add_column(overflow="fold")
    return grid


def _row(grid: Table, label: str, value: str, style: str = "") -> None:
    grid.add_row(_text(f"  {label:<9}", "dim"), _text(visible(value).expandtabs(4), style))


def _text(value: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(value, style=style)


def _rule(title: str, mark: str, look: Look, *, character: str = "") -> Text:
    title = line(shorten(title, max(20, look.width * 2)))
    sign = character or ("─" if look.unicode else "-")
    from rich.cells import cell_len

    room = max(6, look.width - cell_len(title) - 2)
    left = sign * (room // 2)
    return _text(f"{left} {title} {sign * (room - len(left))}", _STYLES.get(mark, "bold"))


def _render(parts: list[Any], look: Look) -> str:
    from rich.console import Console

    stream = io.StringIO()
    console = Console(
        file=stream,
        width=look.width,
        color_system="standard" if look.color else None,
        force_terminal=look.color,
        no_color=not look.color,
        legacy_windows=False,
        markup=False,
        highlight=False,
        emoji=False,
        _environ={},
    )
    for part in parts:
        console.print(part, soft_wrap=getattr(part, "no_wrap", None) is True)
    lines = (text.rstrip() if not look.color else text for text in stream.getvalue().splitlines())
    return _encodable("\n".join(_trimmed(lines)), look)


def _trimmed(lines: Iterator[str]) -> list[str]:
    found = list(lines)
    while found and not found[-1].strip():
        found.pop()
    while found and not found[0].strip():
        found.pop(0)
    return found


def _encodable(text: str, look: Look) -> str:
    if not look.unicode:
        text = text.translate(_PLAIN)
    try:
        text.encode(look.encoding)
    except UnicodeEncodeError:
        return text.encode(look.encoding, "backslashreplace").decode(look.encoding)
    except LookupError:
        return text.encode("ascii", "backslashreplace").decode("ascii")
    return text


_PLAIN = str.maketrans({"·": "-", "–": "-", "—": "-", "…": "...", "→": "->", "“": '"', "”": '"', "’": "'", "─": "-"})
