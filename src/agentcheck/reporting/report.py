"""What every report is rendered from: a run, its suites, their cases and trials, as plain frozen dataclasses.

Whoever ran the cases fills it from the fold of the ledger. Only summary rows are held, so that a run of 10,000 cases
stays small; the events of a trial are asked for one at a time through `Report.transcript`. Counts and metric means are
derived here and nowhere else, so that two reports of one run cannot disagree.

Times are microseconds since the Unix epoch, durations microseconds, money decimal strings in US dollars.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from agentcheck.errors import ExitCode
from agentcheck.records import Score, Transcript
from agentcheck.reporting.timeline import number

RunStatus = Literal["finished", "interrupted", "crashed"]
#: ``not_started``: collected and never begun, because the run ended before.
CaseStatus = Literal["pass", "fail", "error", "inconclusive", "skipped", "aborted", "not_started"]
#: The order in which verdicts are listed: what needs a reader first.
STATUSES: tuple[CaseStatus, ...] = ("fail", "error", "inconclusive", "aborted", "not_started", "skipped", "pass")
#: Statuses whose events a report shows.
SHOWN: frozenset[CaseStatus] = frozenset(("fail", "error", "inconclusive", "aborted"))


@dataclass(frozen=True, slots=True)
class StreamHead:
    """One stream of the run's ledger: how many events it holds and the chain value after the last (hex)."""

    name: str
    events: int
    head: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something a reader of the run should know. ``level`` is ``info``, ``warning`` or ``error``."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class GateRule:
    """One rule of a gate with what it required and what was observed, as text; ``passed`` ``None`` = undecided."""

    name: str
    required: str
    observed: str
    passed: bool | None


@dataclass(frozen=True, slots=True)
class Gate:
    """A suite's gate; ``passed`` is ``None`` where it could not be decided. ``partial``: not all cases were run."""

    passed: bool | None
    rules: tuple[GateRule, ...] = ()
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """One row of the enforcement table: ``value`` of ``of`` (``None`` = a count without a denominator).

    ``value`` is ``None`` where it was not measured; ``note`` then says why.
    """

    label: str
    value: int | None
    of: int | None = None
    note: str = ""


#: What became of a gate -> the mark that stands for it.
GATE_MARKS: Mapping[str, str] = {
    "passed": "pass",
    "failed": "fail",
    "undecided": "inconclusive",
    "skipped": "skipped",
}


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """One metric over the trials of a suite: the mean of what was measured, and what was not.

    ``passed`` and ``failed`` count the scores held against a threshold; ``side`` is where those that failed lie,
    ``below`` it or, where lower is better, ``above``.
    """

    metric: str
    mean: float | None
    measured: int
    errors: int
    not_measured: int
    passed: int = 0
    failed: int = 0
    threshold: float | None = None
    side: str = "below"

    @property
    def missed(self) -> str:
        """How many scores missed the threshold, and on which side of it, in words."""
        if self.threshold is None:
            return "–"
        return f"{self.failed} {self.side if self.failed else 'missed'} {number(self.threshold)}"

    @property
    def trials(self) -> int:
        """Trials that were to be scored: the denominator that is always shown."""
        return self.measured + self.errors + self.not_measured


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One trial: its verdict, its scores, and how many actions it asked for, by what was decided on them.

    ``session`` is the key for `Report.transcript`. ``held`` counts actions that a control held, ``approved`` those of
    them that were then approved; ``orphans`` are actions that were allowed and have no recorded result.
    """

    session: str
    trial: int
    status: CaseStatus
    reasons: tuple[str, ...] = ()
    scores: tuple[Score, ...] = ()
    duration: int = 0
    attempt: int = 1
    actions: int = 0
    allowed: int = 0
    held: int = 0
    denied: int = 0
    approved: int = 0
    tool_errors: int = 0
    orphans: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: str = "0"
    events: int = 0


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case over its trials; ``source`` is ``file:line`` of its dataset row, ``reasons`` say why it did not pass."""

    id: str
    status: CaseStatus
    reasons: tuple[str, ...] = ()
    trials: tuple[TrialResult, ...] = ()
    source: str = ""
    tags: tuple[str, ...] = ()

    @property
    def duration(self) -> int:
        """Time of all its trials, in microseconds."""
        return sum(trial.duration for trial in self.trials)


@dataclass(frozen=True)
class SuiteResult:
    """One suite: what it was run with, its gate and its cases.

    ``collected`` is how many cases were collected; those without a row in ``cases`` count as not started.
    ``hashes`` holds ``suite``, ``dataset``, ``policy`` and ``agent``. ``skipped_records`` are the dataset records that
    could not be read, as ``file:record: why``. ``changed`` lists how the bar differs from the branch ``base``.
    """

    name: str
    file: str = ""
    domain: str = ""
    agent: str = ""
    world: str = ""
    model: str = ""
    user: str = ""
    description: str = ""
    hashes: Mapping[str, str] = field(default_factory=dict)
    agent_commit: str = ""
    agent_author: str = ""
    trials: int = 1
    tags: tuple[str, ...] = ()
    unsafe: bool = False
    gate: Gate = field(default_factory=lambda: Gate(None))
    cases: tuple[CaseResult, ...] = ()
    collected: int = 0
    skipped_records: tuple[str, ...] = ()
    enforcement: tuple[Tally, ...] = ()
    base: str = ""
    changed: tuple[str, ...] = ()

    @cached_property
    def counts(self) -> Mapping[CaseStatus, int]:
        """Cases by status; every status is present, so that a zero is said too."""
        counts = count(case.status for case in self.cases)
        counts["not_started"] += max(0, self.collected - len(self.cases))
        return counts

    @property
    def total(self) -> int:
        """All cases of the suite, whatever became of them."""
        return sum(self.counts.values())

    @cached_property
    def metrics(self) -> tuple[MetricSummary, ...]:
        """Each metric over all trials of the suite."""
        return summarise(score for case in self.cases for trial in case.trials for score in trial.scores)

    @property
    def gate_word(self) -> str:
        """What became of the gate: ``passed``, ``failed``, ``undecided``, or ``skipped`` where every case was."""
        if self.total and self.counts["skipped"] == self.total:
            return "skipped"
        return "undecided" if self.gate.passed is None else "passed" if self.gate.passed else "failed"

    def rule_word(self, rule: GateRule) -> str:
        """The same for one rule of the gate."""
        if rule.passed is None:
            return self.gate_word if self.gate_word == "skipped" else "undecided"
        return "passed" if rule.passed else "failed"

    @property
    def duration(self) -> int:
        """Time of all trials; cases run side by side, so a run takes less."""
        return sum(case.duration for case in self.cases)


@dataclass(frozen=True, slots=True)
class Run:
    """Where, when and with what a run took place.

    ``crashed`` runs have no ending in their ledger. ``partial``: some cases have no verdict. ``directory`` is the
    run's folder as it is shown to a reader. ``withheld`` counts events whose payload was taken away; the notes say by
    whom and why. ``configuration`` maps a file or setting to its hash. ``changed`` lists
    changes of the bar that belong to no suite of this run (a suite that was removed, say).
    """

    id: str
    started: int
    duration: int = 0
    status: RunStatus = "finished"
    partial: bool = False
    agentcheck: str = ""
    python: str = ""
    platform: str = ""
    command: tuple[str, ...] = ()
    commit: str = ""
    dirty: bool | None = None
    author: str = ""
    seed: int | None = None
    redaction: str = ""
    unsafe: bool = False
    configuration: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    changed: tuple[str, ...] = ()
    directory: str = ""
    streams: tuple[StreamHead, ...] = ()
    notes: tuple[Note, ...] = ()
    withheld: int = 0


def _no_transcript(session: str) -> Transcript | None:
    return None


@dataclass(frozen=True)
class Report:
    """A run as reports show it; ``transcript(session)`` folds one trial's events, ``None`` where it has none."""

    run: Run
    suites: tuple[SuiteResult, ...] = ()
    exit_code: ExitCode = ExitCode.PASSED
    transcript: Callable[[str], Transcript | None] = _no_transcript

    @cached_property
    def counts(self) -> Mapping[CaseStatus, int]:
        """Cases of all suites by status."""
        totals: dict[CaseStatus, int] = dict.fromkeys(STATUSES, 0)
        for suite in self.suites:
            for status, cases in suite.counts.items():
                totals[status] += cases
        return totals

    @property
    def total(self) -> int:
        """All cases that were collected."""
        return sum(self.counts.values())

    @property
    def changed(self) -> tuple[str, ...]:
        """How thresholds, gates and policies differ from the base branch, each with the suite it belongs to."""
        return (*self.run.changed, *(f"{suite.name}: {change}" for suite in self.suites for change in suite.changed))

    @property
    def base(self) -> str:
        """The branch or commit whose bar the run was held to; empty where none was given."""
        return self.run.base or next((suite.base for suite in self.suites if suite.base), "")

    @property
    def unsafe(self) -> bool:
        """True where any suite ran with the bypass in place of a policy."""
        return self.run.unsafe or any(suite.unsafe for suite in self.suites)

    def shown(self) -> Iterator[tuple[SuiteResult, CaseResult]]:
        """Cases whose events a report shows, in the order of `STATUSES`, then of collection."""
        for status in STATUSES:
            if status in SHOWN:
                for suite in self.suites:
                    yield from ((suite, case) for case in suite.cases if case.status == status)

    def find(self, case: str, suite: str = "") -> tuple[SuiteResult, CaseResult] | None:
        """A case by its id, or by ``suite::id``; ``None`` where there is none."""
        if not suite and "::" in case:
            named = self.find(case.partition("::")[2], case.partition("::")[0])
            if named:
                return named
        for one in self.suites:
            if not suite or one.name == suite:
                for row in one.cases:
                    if row.id == case:
                        return one, row
        return None


def count(statuses: Iterable[CaseStatus]) -> dict[CaseStatus, int]:
    """Count statuses; every status is a key, in the order of `STATUSES`."""
    counts: dict[CaseStatus, int] = dict.fromkeys(STATUSES, 0)
    for status in statuses:
        counts[status] += 1
    return counts


def summarise(scores: Iterable[Score]) -> tuple[MetricSummary, ...]:
    """One `MetricSummary` per metric, in the order in which metrics first appear.

    A score that broke (``error``) or could not be taken (``not_measured``) never counts as a value.
    """
    by_metric: dict[str, list[Score]] = {}
    for score in scores:
        by_metric.setdefault(score.metric, []).append(score)
    return tuple(_summary(metric, found) for metric, found in by_metric.items())


def _summary(metric: str, scores: list[Score]) -> MetricSummary:
    values = [score.value for score in scores if score.status == "ok" and score.value is not None]
    errors = sum(score.status == "error" for score in scores)
    return MetricSummary(
        metric=metric,
        mean=sum(values) / len(values) if values else None,
        measured=len(values),
        errors=errors,
        not_measured=len(scores) - len(values) - errors,
        passed=sum(score.passed is True for score in scores),
        failed=sum(score.passed is False for score in scores),
        threshold=next((score.threshold for score in scores if score.threshold is not None), None),
        side="above" if any(missed_side(score) == "above" for score in scores) else "below",
    )


def missed_side(score: Score) -> str:
    """On which side of its threshold a score that missed it lies: ``below``, or ``above`` where lower is better."""
    missed = score.passed is False and score.value is not None and score.threshold is not None
    return "" if not missed else "above" if score.value > score.threshold else "below"  # type: ignore[operator]
