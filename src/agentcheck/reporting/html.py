"""``report.html``: one self-contained page that opens on what did not pass.

Nothing is fetched: styles and script are in the page, and its Content-Security-Policy allows exactly these two by
hash, so text that slipped through every escape still could not run. Cases that did not pass are in the page as HTML,
readable without a script; all others are compact rows of data, drawn a hundred at a time, with the events of as many
passing cases as fit. What is left out for size is counted on the page.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache, cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from jinja2 import BytecodeCache, Environment, FileSystemLoader, StrictUndefined, Template
from jinja2.bccache import Bucket

from agentcheck.errors import ExitCode, HarnessError
from agentcheck.records import Score
from agentcheck.reporting import files, terminal, timeline
from agentcheck.reporting.report import (
    GATE_MARKS,
    SHOWN,
    STATUSES,
    CaseResult,
    CaseStatus,
    Report,
    SuiteResult,
    TrialResult,
    missed_side,
)
from agentcheck.reporting.safe_text import script_json, shorten, visible
from agentcheck.reporting.timeline import MARKS, Entry, number, seconds

_TEMPLATES = Path(__file__).parent / "templates"
#: Cases with their events in the page, and bytes of HTML these may take: first what did not pass, then what passed.
MAX_SHOWN, MAX_SHOWN_BYTES = 400, 8_000_000
MAX_PASSING, MAX_PASSING_BYTES = 200, 2_000_000
#: A larger run shows no events of passing cases: reading them back would take longer than the page is worth.
MAX_RUN_WITH_PASSING = 1_000
#: Characters of one text, entries of one trial and trials of one case.
MAX_TEXT, MAX_ENTRIES, MAX_TRIALS = 4_000, 200, 20
#: Characters of all texts of one case; the entries beyond are counted.
MAX_CASE_TEXT = 400_000
#: Longer texts are folded: their beginning is shown, and the rest on demand.
FOLD = 280
_MAX_ID = 300


def write(report: Report, directory: Path) -> Iterable[Path]:
    """Write ``report.html`` into the directory."""
    return [files.write(directory / "report.html", render(report))]


def render(report: Report) -> str:
    """The page as text."""
    environment = _environment()
    style, script = ((_TEMPLATES / f"report.{kind}").read_text("utf-8") for kind in ("css", "js"))
    drawn = _Drawn(environment, report)
    return environment.get_template("report.html.j2").render(
        report=report,
        run=report.run,
        policy=f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        style=style,
        script=script,
        data=script_json(drawn.data()),
        headline=headline(report),
        started=_when(report.run.started),
        not_run=report.counts["skipped"] + report.counts["not_started"],
        not_passed=sum(report.counts[status] for status in SHOWN),
        unpassed=list(_unpassed(report)),
        statuses=[status for status in STATUSES if report.counts[status]],
        segments=_segments(report),
        cases=drawn.shown,
        templates=drawn.passing,
        left_out=drawn.left_out,
        rowless=sum(suite.total - len(suite.cases) for suite in report.suites),
        command=shlex.join(report.run.command),
        limits={"shown": MAX_SHOWN, "text": MAX_TEXT, "entries": MAX_ENTRIES},
        tally=terminal.tally,
    )


def headline(report: Report) -> str:
    """The answer in one sentence: is the merge blocked, and by how much."""
    total, counts = report.total, report.counts
    cases = f"{total:,} case{'' if total == 1 else 's'}"
    if report.run.withheld and not total:
        return "What ran is withheld."
    if report.exit_code == ExitCode.NOTHING_RAN or not total:
        return "Nothing ran."
    if report.exit_code == ExitCode.INTERRUPTED:
        return f"Interrupted: {counts['pass']:,} of {cases} passed until then."
    if report.exit_code in (ExitCode.HARNESS, ExitCode.USAGE):
        return f"Something broke around the agent: {counts['error']:,} of {cases} ended in an error."
    if report.exit_code == ExitCode.GATE_FAILED:
        return f"Blocked: {counts['fail']:,} of {cases} failed." if counts["fail"] else "Blocked: a gate failed."
    return f"Passed: all {cases}." if counts["pass"] == total else f"Passed: {counts['pass']:,} of {cases}."


def _unpassed(report: Report) -> Iterator[str]:
    for status in STATUSES:
        number_of = report.counts[status]
        if status in SHOWN and number_of:
            word = {"fail": "failed", "error": "error" if number_of == 1 else "errors"}.get(status, status)
            yield f"{number_of:,} {word}"


class _Compiled(BytecodeCache):
    """Compiled templates, kept where Python keeps compiled modules; to compile takes longer than to draw a page."""

    def get_source_checksum(self, source: str) -> str:
        return super().get_source_checksum(source + Path(__file__).read_text("utf-8"))  # which says how to compile it

    def load_bytecode(self, bucket: Bucket) -> None:
        try:
            with _kept(bucket).open("rb") as file:
                bucket.load_bytecode(file)  # refuses what another Python or jinja2 compiled, or another text
        except (OSError, EOFError, ValueError, UnpicklingError):
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        if not sys.dont_write_bytecode:
            with suppress(HarnessError):  # a folder that may not be written
                files.write(_kept(bucket), bucket.bytecode_to_string())


def _kept(bucket: Bucket) -> Path:
    return _TEMPLATES / "__pycache__" / f"{bucket.key}.{sys.implementation.cache_tag}.jinja"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        bytecode_cache=_Compiled(),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(marks=MARKS, gate_marks=GATE_MARKS)
    environment.filters.update(
        seconds=seconds,
        number=number,
        score_mark=_score_mark,
        missed_side=missed_side,
        sort_scores=_sort_scores,
        words=_words,
    )
    return environment


def _harmless(value: Any) -> Any:
    """Every expression of every template passes here before it is escaped; what is marked safe is our own."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _words(status: str) -> str:
    return status.replace("_", " ")


def _score_mark(score: Score) -> str:
    return timeline.score_mark(score.status, score.passed)


def _sort_scores(scores: Iterable[Score]) -> list[Score]:
    """What fell short first."""
    order = ("fail", "error", "pass", "", "none")
    return sorted(scores, key=lambda score: order.index(_score_mark(score)))


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _when(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1_000_000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _segments(report: Report) -> list[dict[str, Any]]:
    """Shares of the bar as percentages; a status that occurs is never thinner than 0.6 %."""
    total = report.total or 1
    shares = {status: max(0.6, 100 * report.counts[status] / total) for status in STATUSES if report.counts[status]}
    scale = 100 / (sum(shares.values()) or 1)
    segments, left = [], 0.0
    for status, share in shares.items():
        segments.append({"status": status, "x": f"{left:.3f}", "width": f"{share * scale:.3f}"})
        left += share * scale
    return segments


@dataclass
class _Line:
    """A line of the timeline as the page shows it: what is longer than `FOLD` is folded, what exceeds the limit cut."""

    line: timeline.Line
    anchor: str
    cited: str
    text: str = ""
    folded: bool = False

    @property
    def word(self) -> str:
        return MARKS[self.line.mark][2] if self.line.mark in MARKS else self.line.mark


@dataclass
class _Entry(_Line):
    entry: Entry | None = None
    lines: list[_Line] = field(default_factory=list)


@dataclass
class _TrialView:
    trial: TrialResult
    entries: list[_Entry]
    entries_left_out: int
    links: dict[int, str]


class _Drawn:
    """The cases drawn as HTML within the limits, and the rest as data; in the order in which a reader needs them."""

    def __init__(self, environment: Environment, report: Report) -> None:
        self._environment = environment
        self._report = report
        self.shown: list[str] = []
        self.passing: list[tuple[str, str]] = []
        self.left_out = 0
        self._rows: list[tuple[SuiteResult, CaseResult, str]] = []
        self._suites = {id(suite): place for place, suite in enumerate(report.suites)}
        self._draw()

    @cached_property
    def _template(self) -> Template:
        """Compiled when the first case is drawn: a large run without a failure draws none."""
        return self._environment.get_template("case.html.j2")

    def _draw(self) -> None:
        size = 0
        passing = 0 if self._report.total <= MAX_RUN_WITH_PASSING else MAX_PASSING_BYTES
        for suite, case in _ordered(self._report):
            anchor = _anchor(suite, case)
            if case.status in SHOWN and len(self.shown) < MAX_SHOWN and size < MAX_SHOWN_BYTES:
                html = self._case(suite, case, anchor, opened=not self.shown)
                size += len(html)
                self.shown.append(html)
                continue
            self._rows.append((suite, case, anchor))
            if case.status in SHOWN:
                self.left_out += 1
            elif case.status == "pass" and len(self.passing) < MAX_PASSING and passing < MAX_PASSING_BYTES:
                body = self._body(suite, case, anchor)
                if body:
                    passing += len(body)
                    self.passing.append((anchor, body))

    def _case(self, suite: SuiteResult, case: CaseResult, anchor: str, *, opened: bool) -> str:
        trials = self._trials(case, anchor)
        return self._template.render(**self._context(suite, case, anchor, trials), whole=True, opened=opened)

    def _body(self, suite: SuiteResult, case: CaseResult, anchor: str) -> str | None:
        trials = self._trials(case, anchor)
        if not any(view.entries for view in trials):
            return None
        return self._template.render(**self._context(suite, case, anchor, trials), whole=False, opened=False)

    def _context(self, suite: SuiteResult, case: CaseResult, anchor: str, trials: list[_TrialView]) -> dict[str, Any]:
        return {
            "suite": suite,
            "case": case,
            "anchor": anchor,
            "trials": trials,
            "trials_left_out": max(0, len(case.trials) - MAX_TRIALS),
            "show": terminal.show_command(self._report, suite, case),
            "repeat": terminal.repeat_command(suite, case),
        }

    def _trials(self, case: CaseResult, anchor: str) -> list[_TrialView]:
        # Trials that did not pass first: they explain the verdict, and the limit must not cut them off.
        ordered = sorted(case.trials, key=lambda trial: trial.status == "pass")
        views, room = [], MAX_CASE_TEXT
        for trial in ordered[:MAX_TRIALS]:
            view, room = self._trial(trial, anchor, room)
            views.append(view)
        return views

    def _trial(self, trial: TrialResult, anchor: str, room: int) -> tuple[_TrialView, int]:
        found = self._report.transcript(trial.session)
        entries = timeline.build(found) if found else ()
        cited = _cited(trial)
        prefix = f"{anchor}-t{trial.trial}"
        told = [entry for entry in entries if entry.voice != "score"]
        views: list[_Entry] = []
        for entry in told[:MAX_ENTRIES]:
            view = _view(entry, prefix, cited)
            room -= len(view.text) + sum(len(line.text) for line in view.lines)
            if room < 0:
                break
            views.append(view)
        seen = {line.line.seq for view in views for line in (view, *view.lines)}
        links = {seq: f"{prefix}-e{seq}" for score in trial.scores for seq in score.events if seq in seen}
        return _TrialView(trial, views, len(told) - len(views), links), room

    def data(self) -> dict[str, Any]:
        """What the script draws the other rows from; each text is cut at `_MAX_ID` characters."""
        metrics = list(dict.fromkeys(one.metric for suite in self._report.suites for one in suite.metrics))
        places = {metric: place for place, metric in enumerate(metrics)}
        return {
            "suites": [[visible(suite.name), visible(suite.file or suite.name)] for suite in self._report.suites],
            "metrics": [visible(metric) for metric in metrics],
            "rowless": sum(suite.total - len(suite.cases) for suite in self._report.suites),
            "marks": {status: [MARKS[status][0], MARKS[status][2]] for status in STATUSES},
            "rows": [self._row(suite, case, anchor, places) for suite, case, anchor in self._rows],
        }

    def _row(self, suite: SuiteResult, case: CaseResult, anchor: str, metrics: dict[str, int]) -> list[Any]:
        trials = case.trials
        scores = [
            [metrics[score.metric], number(score.value) if score.status == "ok" else score.status, score.threshold]
            for trial in trials[:MAX_TRIALS]
            for score in trial.scores
        ]
        return [
            self._suites[id(suite)],
            visible(shorten(case.id, _MAX_ID)),
            case.status,
            seconds(case.duration) if trials else "",
            visible(shorten("; ".join(case.reasons), _MAX_ID)),
            anchor,
            visible(shorten(case.source, _MAX_ID)),
            visible(shorten(" ".join(case.tags), _MAX_ID)),
            len(trials),
            sum(trial.actions for trial in trials),
            sum(trial.held for trial in trials),
            sum(trial.denied for trial in trials),
            scores,
            terminal.show_command(self._report, suite, case),
        ]


def _ordered(report: Report) -> Iterator[tuple[SuiteResult, CaseResult]]:
    by_status: dict[CaseStatus, list[tuple[SuiteResult, CaseResult]]] = {status: [] for status in STATUSES}
    for suite in report.suites:
        for case in suite.cases:
            by_status[case.status].append((suite, case))
    for status in STATUSES:
        yield from by_status[status]


def _anchor(suite: SuiteResult, case: CaseResult) -> str:
    """The same case has the same anchor in every run, so a link to it stays good."""
    text = f"{suite.name}::{case.id}".encode("utf-8", "surrogatepass")
    return f"c-{hashlib.sha256(text).hexdigest()[:12]}"


def _cited(trial: TrialResult) -> dict[int, str]:
    """Events that explain a score that fell short or broke; those of a met score are linked, not marked."""
    cited: dict[int, str] = {}
    for score in trial.scores:
        if _score_mark(score) in ("fail", "error"):
            for seq in score.events:
                cited[seq] = f"{cited[seq]}, {score.metric}" if seq in cited else score.metric
    return cited


def _view(entry: Entry, prefix: str, cited: dict[int, str]) -> _Entry:
    text, folded = _fold(entry.text)
    lines = [_line(one, prefix, cited) for one in entry.lines]
    for one in lines:
        # The mark of an action stands for its lines too, unless one of them explains something else.
        one.cited = "" if one.cited == cited.get(entry.seq) else one.cited
    return _Entry(entry, f"{prefix}-e{entry.seq}", cited.get(entry.seq, ""), text, folded, entry, lines)


def _line(one: timeline.Line, prefix: str, cited: dict[int, str]) -> _Line:
    text, folded = _fold(one.text)
    return _Line(one, f"{prefix}-e{one.seq}" if one.seq else "", cited.get(one.seq, ""), text, folded)


def _fold(text: str) -> tuple[str, bool]:
    return shorten(text, MAX_TEXT), len(text) > FOLD or text.count("\n") > 7
