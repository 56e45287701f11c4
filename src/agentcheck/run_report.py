"""The fold of a whole run: its streams' events in, `reporting.report.Report` out, and the gates decided on the way.

The same fold serves the end of a run, ``agentcheck show``, ``--resume`` and somebody who checks the ledger later.
Passing trials keep only what summaries need; the events of a trial are read again when a report asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from sys import intern
from typing import Any

from agentcheck.collection import Plan
from agentcheck.engine import CaseResult as EngineResult
from agentcheck.errors import ExitCode
from agentcheck.events import Event
from agentcheck.ledger.canonical import dump_json
from agentcheck.ledger.reading import decode, read_events
from agentcheck.records import Case, Score, Transcript, Verdict, VerdictStatus
from agentcheck.reporting.report import (
    CaseResult,
    Gate,
    GateRule,
    Note,
    Report,
    Run,
    RunStatus,
    StreamHead,
    SuiteResult,
    Tally,
    TrialResult,
)
from agentcheck.runs import RunFolder
from agentcheck.settings import read_settings
from agentcheck.tombstones import Account, is_custody
from agentcheck.transcript import fold, score_from
from agentcheck.verdicts import Gate as Decided
from agentcheck.verdicts import GateStatus, Rule, case_status, decide_gate, exit_code


@dataclass(slots=True)
class _Trial:
    """What the fold keeps of one session while it reads."""

    session: str
    suite: str
    case: str
    trial: int
    attempt: int
    stream: str
    first: int
    last: int = 0
    source: str = ""
    status: VerdictStatus | None = None
    reasons: tuple[str, ...] = ()
    duration: int = 0
    scores: tuple[Score, ...] = ()
    allowed_open: set[str] | None = None
    actions: int = 0
    allowed: int = 0
    held: int = 0
    denied: int = 0
    approved: int = 0
    tool_errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    events: int = 0

    def verdict(self) -> Verdict:
        """The trial as a verdict."""
        return Verdict(self.status or "aborted", self.reasons, self.scores, self.duration, self.session)

    def open(self, action: str) -> None:
        """An action may act from now on; it is an orphan until its result is known."""
        if self.allowed_open is None:
            self.allowed_open = set()
        self.allowed_open.add(action)

    def close(self, action: str) -> None:
        """The result of an action is known."""
        if self.allowed_open is not None:
            self.allowed_open.discard(action)
            if not self.allowed_open:
                self.allowed_open = None

    @property
    def orphans(self) -> int:
        """Actions that were allowed and have no result."""
        return len(self.allowed_open or ())


class RunFold:
    """Take the events of all streams of a run, then ask."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.started: list[Mapping[str, Any]] = []
        self.suites: dict[str, dict[str, Any]] = {}
        self.trials: dict[str, _Trial] = {}
        self.skipped: dict[tuple[str, str], str] = {}
        self.gates: dict[str, Mapping[str, Any]] = {}
        self.finished: list[Mapping[str, Any]] = []
        self.streams: dict[str, tuple[int, str]] = {}
        self.notes: list[Note] = []
        self.account = Account()
        self._scores: dict[tuple[Any, ...], Score] = {}
        self.first_time = 0
        self.last_time = 0

    @classmethod
    def of(cls, folder: RunFolder) -> RunFold:
        """Fold what is on disk."""
        run = cls(folder)
        take = run.take
        account = run.account
        for stream in folder.streams():
            with folder.reading(stream) as store:
                if is_custody(stream):
                    for event in read_events(store, stream):
                        account.custody.take(event)
                    continue
                for event in map(decode, account.readable(stream, store.read(stream))):
                    take(event)
                head = store.head(stream)
            if head:
                run.streams[stream] = (head[0], head[1].hex())
        return run

    def take(self, event: Event) -> None:
        """Take one event; the events of one stream come in order."""
        type_, _, session, time, seq, _ = event
        if not self.first_time or time < self.first_time:
            self.first_time = time
        if time > self.last_time:
            self.last_time = time
        if session:
            trial = self.trials.get(session) or self._begun(event)
            if trial is not None:
                trial.last = seq
                trial.events += 1
        handler = _HANDLERS.get(type_)
        if handler:
            handler(self, event)

    def _begun(self, event: Event) -> _Trial | None:
        found = _open(event, at_once=self.account.any_in(event.stream))
        if found is not None:
            self.trials[event.session] = found
        return found

    def _run_started(self, event: Event) -> None:
        self.started.append({**event.body, "stream": event.stream})

    def _suite(self, event: Event) -> None:
        # Every worker records the suites it collected; they say the same, so the first one stands.
        self.suites.setdefault(event.body["suite"], dict(event.body))

    def _run_finished(self, event: Event) -> None:
        self.finished.append({**event.body, "stream": event.stream})

    def _note(self, event: Event) -> None:
        self.notes.append(Note(event.body["level"], event.body["text"]))

    def _case_started(self, event: Event) -> None:
        trial = self.trials[event.session]
        body = event.body
        trial.suite, trial.case, trial.trial = intern(body["suite"]), body["case"], body["trial"]
        trial.attempt, trial.source = body["attempt"], body.get("source") or ""

    def _skipped(self, event: Event) -> None:
        self.skipped[event.body["suite"], event.body["case"]] = event.body["reason"]

    def _aborted(self, event: Event) -> None:
        trial = self.trials[event.session]
        trial.status, trial.reasons = "aborted", (event.body["reason"],)

    def _requested(self, event: Event) -> None:
        self.trials[event.session].actions += 1

    def _decided(self, event: Event) -> None:
        trial = self.trials[event.session]
        outcome = event.body["outcome"]
        if outcome == "allow":
            trial.allowed += 1
            trial.open(event.body["action"])
        elif outcome == "hold":
            trial.held += 1
        else:
            trial.denied += 1

    def _resolved(self, event: Event) -> None:
        if event.body["outcome"] == "allow":
            trial = self.trials[event.session]
            trial.approved += 1
            trial.open(event.body["action"])

    def _finished(self, event: Event) -> None:
        trial = self.trials[event.session]
        body = event.body
        trial.close(body["action"])
        trial.tool_errors += body["status"] != "done"
        trial.input_tokens += body.get("input_tokens") or 0
        trial.output_tokens += body.get("output_tokens") or 0
        if body.get("cost"):
            trial.cost += Decimal(body["cost"])

    def _scored(self, event: Event) -> None:
        body = event.body
        trial = self.trials[event.session]
        if body["status"] == "ok" and body.get("passed") is not False and '"tally"' not in (body.get("detail") or ""):
            # A good score needs no explanation in a report, and most are alike: one object stands for all of them.
            key = (body["metric"], body.get("value"), body.get("threshold"), body.get("passed"))
            score = self._scores.get(key)
            if score is None:
                score = self._scores[key] = replace(score_from(event), detail={}, reason="", events=())
        else:
            score = score_from(event)
        trial.scores = (*trial.scores, score)

    def _verdict(self, event: Event) -> None:
        trial = self.trials[event.session]
        body = event.body
        if not trial.source:
            trial.suite, trial.case, trial.trial = intern(body["suite"]), body["case"], body["trial"]
        trial.status, trial.reasons, trial.duration = body["status"], tuple(body["reasons"]), body["duration"]

    def _gate(self, event: Event) -> None:
        self.gates[event.body["suite"]] = event.body

    def decided_cases(self) -> dict[tuple[str, str], dict[int, _Trial]]:
        """Per case its trials by number: of several attempts the decided one, else the latest."""
        cases: dict[tuple[str, str], dict[int, _Trial]] = {}
        for trial in self.trials.values():
            trials = cases.setdefault((trial.suite, trial.case), {})
            known = trials.get(trial.trial)
            if known is None or (known.status in (None, "aborted") and trial.attempt > known.attempt):
                trials[trial.trial] = trial
        return cases

    def finished_cases(self) -> set[tuple[str, str]]:
        """Cases that need not run again on a resume: every trial has a verdict."""
        return {
            key
            for key, trials in self.decided_cases().items()
            if key[0] in self.suites
            and len(trials) == self.suites[key[0]]["trials"]
            and all(trial.status not in (None, "aborted") for trial in trials.values())
        }

    def attempts(self) -> dict[tuple[str, str], int]:
        """Attempts so far by case."""
        found: dict[tuple[str, str], int] = {}
        for trial in self.trials.values():
            key = (trial.suite, trial.case)
            found[key] = max(found.get(key, 0), trial.attempt)
        return found

    def decide_gates(self) -> dict[str, Decided]:
        """Decide every suite's gate from what the ledger holds; where events are withheld, as it was recorded."""
        cases = self.decided_cases()
        gates = {}
        for name, suite in self.suites.items():
            if self.account.total and name in self.gates:
                gates[name] = _recorded(self.gates[name])
                continue
            rows = {key[1]: trials for key, trials in cases.items() if key[0] == name}
            statuses: list[VerdictStatus] = [_status(trials) for trials in rows.values()]
            skipped = [case for suite_name, case in self.skipped if suite_name == name and case not in rows]
            statuses += ["skipped"] * len(skipped)
            gate = suite["gate"]
            gates[name] = decide_gate(
                statuses,
                pass_rate=float(gate["pass_rate"]),
                max_errors=gate["max_errors"],
                bounds={metric: (float(bound), way) for metric, (bound, way) in gate["metrics"].items()},
                means=_means(rows.values()),
                missing=max(0, suite["cases"] - len(statuses)),
                deselected=suite["deselected"],
            )
        return gates

    def report(self, code: ExitCode | None = None, gates: Mapping[str, Decided] | None = None) -> Report:
        """The report of the run as the ledger holds it now; ``gates`` saves deciding them again."""
        gates = gates if gates is not None else self.decide_gates()
        cases = self.decided_cases()
        suites = tuple(self._suite_result(name, gates[name], cases) for name in self.suites)
        if code is None:
            recorded = [body["exit_code"] for body in self.finished if body["stream"].startswith("main")]
            code = ExitCode(recorded[-1]) if recorded else exit_code(gate.status for gate in gates.values())
        return Report(self._run(gates), suites, code, self.transcript)

    def _run(self, gates: Mapping[str, Decided]) -> Run:
        first = self.started[0] if self.started else {}
        ends = {body["stream"]: body for body in self.finished}
        last = ends.get(self.started[-1]["stream"]) if self.started else None
        mains = [body["stream"] for body in self.started if body["stream"].startswith("main")]
        last = ends.get(mains[-1]) if mains else last
        status: RunStatus = last["status"] if last else "crashed"
        partial = any(gate.counts["aborted"] or gate.counts["not_started"] for gate in gates.values())
        return Run(
            id=self.folder.id,
            started=self.first_time,
            duration=self.last_time - self.first_time,
            status=status,
            partial=partial or status != "finished",
            agentcheck=first.get("agentcheck", ""),
            python=first.get("python", ""),
            platform=first.get("platform", ""),
            command=tuple(first.get("command", ())),
            commit=first.get("commit") or "",
            dirty=first.get("dirty"),
            author=first.get("author") or "",
            redaction=first.get("redaction", ""),
            unsafe=any(suite["unsafe"] for suite in self.suites.values()),
            configuration={suite["file"]: suite["suite_hash"] for suite in self.suites.values()},
            base=next((suite["base"] for suite in self.suites.values() if suite.get("base")), ""),
            directory=str(self.folder.path),
            streams=tuple(StreamHead(name, size, head) for name, (size, head) in self.streams.items()),
            notes=tuple(self.notes + self._left_out() + self._lost() + self._custody()),
            withheld=self.account.total,
        )

    def _custody(self) -> list[Note]:
        total = sum(size for size, _ in self.streams.values())
        return [Note(level, text) for level, text in self.account.notes(total)]

    def _left_out(self) -> list[Note]:
        return [
            Note("info", f"{name}: {suite['deselected']} of {suite['cases'] + suite['deselected']} cases not selected")
            for name, suite in self.suites.items()
            if suite["deselected"]
        ]

    def _lost(self) -> list[Note]:
        notes = []
        for trial in self.trials.values():
            if trial.status is None and self._is_partly_withheld(trial):
                notes.append(Note("warning", f"{trial.session} has no verdict that is left to read"))
            elif trial.status is None:
                orphans = f", {trial.orphans} allowed actions without a result" if trial.orphans else ""
                notes.append(Note("warning", f"{trial.session} has no verdict: its process ended{orphans}"))
        return notes

    def _suite_result(
        self, name: str, gate: Decided, cases: Mapping[tuple[str, str], dict[int, _Trial]]
    ) -> SuiteResult:
        body = self.suites[name]
        found = [(case, trials) for (suite, case), trials in cases.items() if suite == name]
        rows = [_case_result(case, trials, self._is_partly_withheld) for case, trials in found]
        is_partial = any(self._is_partly_withheld(trial) for _, trials in found for trial in trials.values())
        known = {row.id for row in rows}
        rows += [
            CaseResult(case, "skipped", (reason,))
            for (suite, case), reason in self.skipped.items()
            if suite == name and case not in known
        ]
        return SuiteResult(
            name=name,
            file=body["file"],
            domain=body["domain"],
            agent=body["agent"],
            world=body["world"],
            model=body["model"],
            user=body["user"],
            hashes={kind: body[f"{kind}_hash"] for kind in ("suite", "dataset", "policy", "agent")},
            agent_commit=body.get("agent_commit") or "",
            agent_author=body.get("agent_author") or "",
            trials=body["trials"],
            tags=tuple(body["tags"]),
            unsafe=body["unsafe"],
            gate=gate_result(gate),
            cases=tuple(rows),
            collected=max(body["cases"], len(rows)),
            skipped_records=tuple(body["skipped_records"]),
            enforcement=_tallies(rows, no_results=is_partial),
            base=body.get("base") or "",
            changed=tuple(body["changed"]),
        )

    def _is_partly_withheld(self, trial: _Trial) -> bool:
        """Whether events of a trial, such as results, may be among those that are withheld."""
        return self.account.any_in(trial.stream, trial.first)

    def transcript(self, session: str) -> Transcript | None:
        """The transcript of one trial, read again from its stream."""
        trial = self.trials.get(session)
        if trial is None:
            return None
        events = []
        # Other trials' events lie between this one's: passed over without decoding them.
        mark = b'"session":' + dump_json(session).encode()
        with self.folder.reading(trial.stream) as store:
            for row in store.read(trial.stream, trial.first):
                if row.seq > trial.last:
                    break
                if mark in row.payload:
                    event = decode(row)
                    if event.session == session:
                        events.append(event)
        return fold(events, self.account.near(trial.stream, trial.first, trial.last))


def load_run(name: str = "last", reports: str | Path | None = None) -> Report:
    """A stored run for notebooks and scripts: ``name`` is a run's id, the beginning of one, ``last``, or a path.

    ``reports`` is where runs are (default: as ``pyproject.toml`` says, else ``reports``).

    Raises:
        UserError: no such run, or several.
        LedgerError: its ledger cannot be read.
    """
    folder = Path(reports) if reports is not None else read_settings(Path.cwd()).reports_path
    return RunFold.of(RunFolder.find(folder, name)).report()


def _open(event: Event, *, at_once: bool = False) -> _Trial | None:
    """A session begins with ``case.started``, or with its verdict where the world could not even be made.

    ``at_once``: with whatever is left of it, where its beginning may be withheld.
    """
    if not at_once and event.type not in ("case.started", "verdict.reached", "case.aborted"):
        return None
    name, _, rest = event.session.partition("::")
    case, _, number = rest.rpartition("#")
    trial, _, attempt = number.partition("~")
    return _Trial(
        event.session, intern(name), case, int(trial or 1), int(attempt or 1), intern(event.stream), event.seq
    )


def _status(trials: Mapping[int, _Trial]) -> VerdictStatus:
    found: list[VerdictStatus] = [trial.status or "aborted" for trial in trials.values()]
    return case_status(found)


def _means(cases: Iterable[Mapping[int, _Trial]]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for trials in cases:
        for trial in trials.values():
            for score in trial.scores:
                if score.status == "ok" and score.value is not None:
                    values.setdefault(score.metric, []).append(score.value)
    return {metric: sum(found) / len(found) for metric, found in values.items()}


def _recorded(body: Mapping[str, Any]) -> Decided:
    """A gate from the body of ``gate.decided``."""
    rules = tuple(Rule(rule["name"], rule["required"], rule["observed"], rule["passed"]) for rule in body["rules"])
    undecided: GateStatus = "partial" if body["partial"] else "error"
    status: Mapping[bool | None, GateStatus] = {True: "passed", False: "failed"}
    return Decided(status.get(body["passed"], undecided), rules, body["counts"])


def _case_result(case: str, trials: Mapping[int, _Trial], is_withheld: Callable[[_Trial], bool]) -> CaseResult:
    rows = tuple(_trial_result(trials[number], is_withheld(trials[number])) for number in sorted(trials))
    reasons = tuple(dict.fromkeys(reason for row in rows for reason in row.reasons))
    source = next((trial.source for trial in trials.values() if trial.source), "")
    return CaseResult(case, _status(trials), reasons, rows, source)


def _trial_result(trial: _Trial, is_withheld: bool) -> TrialResult:
    ended = "the verdict is withheld, or there was none" if is_withheld else "the process ended before a verdict"
    reasons = trial.reasons if trial.status else (ended,)
    return TrialResult(
        session=trial.session,
        trial=trial.trial,
        status=trial.status or "aborted",
        reasons=reasons,
        scores=trial.scores,
        duration=trial.duration,
        attempt=trial.attempt,
        actions=max(trial.actions, trial.allowed + trial.held + trial.denied),  # requests may be withheld
        allowed=trial.allowed,
        held=trial.held,
        denied=trial.denied,
        approved=trial.approved,
        tool_errors=trial.tool_errors,
        orphans=0 if is_withheld else trial.orphans,
        input_tokens=trial.input_tokens,
        output_tokens=trial.output_tokens,
        cost=str(trial.cost) if trial.cost else "0",
        events=trial.events,
    )


def gate_result(gate: Decided) -> Gate:
    """A decided gate as reports show it."""
    passed: dict[GateStatus, bool | None] = {"passed": True, "failed": False}
    rules = tuple(GateRule(rule.name, rule.required, rule.observed, rule.passed) for rule in gate.rules)
    partial = bool(gate.counts["aborted"] or gate.counts["not_started"])
    return Gate(passed.get(gate.status), rules, partial)


def _tallies(cases: Iterable[CaseResult], *, no_results: bool = False) -> tuple[Tally, ...]:
    """The enforcement table of a suite: what was decided, then what metrics ask to be added up.

    A metric does so with a detail ``tally``: label -> [count, out of how many]. ``no_results``: some are withheld, so
    what has none cannot be counted.
    """
    actions = held = denied = approved = orphans = 0
    added: dict[str, list[int]] = {}
    for case in cases:
        for trial in case.trials:
            actions += trial.actions
            held, denied, approved = held + trial.held, denied + trial.denied, approved + trial.approved
            orphans += trial.orphans
            for score in trial.scores:
                for label, (value, of) in score.detail.get("tally", {}).items():
                    total = added.setdefault(label, [0, 0])
                    total[0] += value
                    total[1] += of
    rows = [
        Tally("actions decided", actions),
        Tally("denied", denied, actions),
        Tally("held", held, actions),
        Tally("held and approved", approved, held),
        Tally("allowed without a result", orphans, actions),
    ]
    if no_results:
        rows[-1] = Tally("allowed without a result", None, note="results are withheld")
    rows = [row for row in rows if row.value or row.of is None]
    rows += [Tally(label, value, of) for label, (value, of) in added.items() if of]
    return tuple(rows)


def view(plan: Plan, case: Case, result: EngineResult, folder: RunFolder) -> tuple[Report, SuiteResult, CaseResult]:
    """One case that was just decided, as reports show it, without waiting for the rest of the run."""
    trials = tuple(
        TrialResult(each.session, number, each.status, each.reasons, each.scores, each.duration)
        for number, each in enumerate(result.trials, 1)
    )
    row = CaseResult(case.id, result.status, result.reasons, trials, case.source, case.tags)
    suite = SuiteResult(plan.suite.name, str(plan.suite.file), cases=(row,))
    transcript = result.transcript

    def find(session: str) -> Transcript | None:
        return transcript if transcript is not None and transcript.session == session else None

    return Report(Run(folder.id, 0, directory=str(folder.path)), (suite,), transcript=find), suite, row


def gate_event(name: str, gate: Decided) -> dict[str, Any]:
    """The body of ``gate.decided``."""
    result = gate_result(gate)
    return {
        "suite": name,
        "passed": result.passed,
        "rules": [
            {"name": rule.name, "required": rule.required, "observed": rule.observed, "passed": rule.passed}
            for rule in gate.rules
        ],
        "counts": dict(gate.counts),
        "partial": result.partial,
    }


_HANDLERS = {
    "run.started": RunFold._run_started,
    "run.suite": RunFold._suite,
    "run.finished": RunFold._run_finished,
    "run.note": RunFold._note,
    "case.started": RunFold._case_started,
    "case.skipped": RunFold._skipped,
    "case.aborted": RunFold._aborted,
    "action.requested": RunFold._requested,
    "action.decided": RunFold._decided,
    "approval.resolved": RunFold._resolved,
    "action.finished": RunFold._finished,
    "score.recorded": RunFold._scored,
    "verdict.reached": RunFold._verdict,
    "gate.decided": RunFold._gate,
}
