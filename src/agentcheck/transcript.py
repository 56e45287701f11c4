"""The fold of one trial's events: events in, `Transcript` out; the same for a live run, `show` and a report.

Everything a metric or a report says of a trial is derived here from what the ledger holds (redacted), so that
somebody else can derive it again later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from agentcheck.events import Event
from agentcheck.ledger.canonical import load_json
from agentcheck.records import (
    Case,
    Document,
    Effect,
    ExpectedAction,
    Score,
    Step,
    ToolSpec,
    Transcript,
    Turn,
    Verdict,
)


def given(case: Case) -> dict[str, Any]:
    """What the agent and its world are given, as recorded in ``case.started``."""
    return {
        "prompt": case.prompt,
        "documents": [_document(document) for document in case.documents],
        "turns": [turn.text for turn in case.turns],
        "state": case.state,
        "principal": case.principal,
        "labels": case.recording.labels if case.recording else {},
    }


def _document(document: Document) -> dict[str, Any]:
    return {"id": document.id, "text": document.text, "title": document.title, "trusted": document.trusted}


def expected(case: Case) -> dict[str, Any]:
    """What the trial is judged by, as recorded in ``case.started``."""
    return {
        "answer": case.answer,
        "contains": case.contains,
        "excludes": case.excludes,
        "expected": [_expectation(action) for action in case.expected],
        "forbidden": [_expectation(action) for action in case.forbidden],
        "turns": [turn.expect for turn in case.turns],
        "tags": case.tags,
        "metadata": case.metadata,
    }


def _expectation(action: ExpectedAction) -> dict[str, Any]:
    return {
        "name": action.name,
        "arguments": action.arguments,
        "kind": action.kind,
        "outcome": action.outcome,
        "count": action.count,
    }


def case_from(body: Mapping[str, Any]) -> Case:
    """The case as the ledger holds it, from the body of ``case.started``."""
    had = load_json(body["given"])
    wanted = load_json(body["expected"])
    texts, expects = had["turns"], wanted["turns"]
    return Case(
        id=body["case"],
        prompt=had["prompt"],
        documents=tuple(Document(**document) for document in had["documents"]),
        turns=tuple(Turn(text, expect) for text, expect in zip(texts, expects, strict=False)),
        answer=wanted["answer"],
        contains=tuple(wanted["contains"]),
        excludes=tuple(wanted["excludes"]),
        expected=tuple(ExpectedAction(**action) for action in wanted["expected"]),
        forbidden=tuple(ExpectedAction(**action) for action in wanted["forbidden"]),
        state=had["state"],
        principal=had["principal"],
        tags=tuple(wanted["tags"]),
        metadata=wanted["metadata"],
        source=body.get("source") or "",
    )


def tool_dict(tool: ToolSpec) -> dict[str, Any]:
    """A tool as recorded in ``case.started``."""
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "effect": tool.effect,
        "trusted": tool.trusted,
    }


@lru_cache(maxsize=64)
def _tools(text: str) -> tuple[ToolSpec, ...]:
    """The offered tools. Trials of a suite share them: their text is the same, and nobody changes them."""
    return tuple(ToolSpec(**tool) for tool in load_json(text))


def fold(events: Iterable[Event], withheld: str = "") -> Transcript:
    """Fold the events of one session, in order, into its transcript; other sessions' events must not be among them.

    ``withheld`` says what of the session may be missing because it was taken away; empty: nothing is.
    """
    builder = _Fold(list(events), withheld)
    for event in builder.events:
        handler = _HANDLERS.get(event[0])  # by place: a fold looks at every event of a run
        if handler:
            handler(builder, event)
    return builder.transcript()


_NO_CASE = Case(id="", prompt="")


class _Fold:
    def __init__(self, events: list[Event], withheld: str = "") -> None:
        self.events = events
        self.withheld = withheld
        self.case = _NO_CASE
        self.session = ""
        self.suite = ""
        self.trial = 1
        self.tools: tuple[ToolSpec, ...] = ()
        self.prompts: list[str] = []
        self.answers: dict[int, str] = {}
        self.reasoning: list[str] = []
        self.steps: dict[str, dict[str, Any]] = {}
        self.approvals: dict[str, str] = {}
        self.effects: tuple[Effect, ...] | None = None
        self.started = 0

    def _case_started(self, event: Event) -> None:
        body = event.body
        self.session, self.suite, self.trial = event.session, body["suite"], body["trial"]
        self.started = event.time
        self.case = case_from(body)
        self.tools = _tools(body["tools"])

    def _turn(self, event: Event) -> None:
        self.prompts.append(event.body["text"])

    def _requested(self, event: Event) -> None:
        body = event.body
        self.steps[body["action"]] = {
            "id": body["action"],
            "kind": body["kind"],
            "name": body["name"],
            "arguments": load_json(body["arguments"]),
            "turn": body["turn"],
            "key": body["key"],
            "time": event.time,
            "outcome": "withheld" if self.withheld else "deny",
            "status": "withheld" if self.withheld else "denied",
            "seqs": [event.seq],
        }

    def _step(self, event: Event, action: str) -> dict[str, Any]:
        """The step that an event is about; one whose request is withheld is known by what was decided on it."""
        if self.withheld and action not in self.steps:
            self.steps[action] = {
                "id": action,
                "kind": "tool_call",
                "name": "(withheld)",
                "arguments": {},
                "time": event.time,
                "outcome": "withheld",
                "status": "withheld",
                "seqs": [],
            }
        return self.steps[action]

    def _decided(self, event: Event) -> None:
        body = event.body
        step = self._step(event, body["action"])
        step["seqs"].append(event.seq)
        step["others"] = tuple(body.get("others") or ())
        for name in ("outcome", "control", "rule", "reason", "level"):
            step[name] = body[name]
        step["status"] = {"allow": self.no_result, "hold": "held"}.get(body["outcome"], "denied")

    @property
    def no_result(self) -> str:
        """What an allowed action is while no result is known."""
        return "withheld" if self.withheld else "orphan"

    def _approval_requested(self, event: Event) -> None:
        self.approvals[event.body["approval"]] = event.body["action"]
        self._step(event, event.body["action"])["seqs"].append(event.seq)

    def _voted(self, event: Event) -> None:
        action = self.approvals.get(event.body["approval"])
        if action is None and self.withheld:
            return  # nothing is left to tell what was voted on
        step = self.steps[self.approvals[event.body["approval"]]]
        step["votes"] = (*step.get("votes", ()), {"voter": event.body["voter"], "vote": event.body["vote"]})
        step["seqs"].append(event.seq)

    def _resolved(self, event: Event) -> None:
        step = self._step(event, event.body["action"])
        step["seqs"].append(event.seq)
        if event.body["outcome"] == "allow":
            step["approved"] = True
            step["status"] = self.no_result

    def _started(self, event: Event) -> None:
        self._step(event, event.body["action"])["seqs"].append(event.seq)

    def _finished(self, event: Event) -> None:
        body = event.body
        step = self._step(event, body["action"])
        step["seqs"].append(event.seq)
        step["status"] = body["status"]
        step["output"] = load_json(body["output"])
        step["error"] = body.get("error") or ""
        step["duration"] = body["duration"]
        step["input_tokens"] = body.get("input_tokens") or 0
        step["output_tokens"] = body.get("output_tokens") or 0
        step["cost"] = body.get("cost") or "0"
        if step["kind"] == "message" and step["name"] == "answer" and body["status"] == "done":
            self.answers[step["turn"]] = str(step["arguments"].get("text", ""))

    def _reasoning(self, event: Event) -> None:
        self.reasoning.append(event.body["text"])

    def _fact(self, event: Event) -> None:
        if event.body["source"] == "world.effects":
            logged = load_json(event.body["value"])
            self.effects = None if logged is None else tuple(Effect(**effect) for effect in logged)

    def transcript(self) -> Transcript:
        if self.withheld and not self.session and self.events:
            self.session, self.started = self.events[0].session, self.events[0].time
            self.suite = self.session.partition("::")[0]
        return Transcript(
            case=self.case,
            session=self.session,
            suite=self.suite,
            trial=self.trial,
            prompts=tuple(self.prompts),
            answers=tuple(self.answers.get(turn, "") for turn in range(1, len(self.prompts) + 1)),
            steps=tuple(map(_step, self.steps.values())),
            reasoning=tuple(self.reasoning),
            effects=self.effects,
            tools=self.tools,
            events=self.events,
            started=self.started,
            duration=self.events[-1].time - self.started if self.events else 0,
            withheld=self.withheld,
        )


def _step(values: dict[str, Any]) -> Step:
    return Step(**{**values, "seqs": tuple(values["seqs"])})


_HANDLERS = {
    "case.started": _Fold._case_started,
    "case.turn": _Fold._turn,
    "action.requested": _Fold._requested,
    "action.decided": _Fold._decided,
    "action.started": _Fold._started,
    "action.finished": _Fold._finished,
    "agent.reasoning": _Fold._reasoning,
    "approval.requested": _Fold._approval_requested,
    "approval.voted": _Fold._voted,
    "approval.resolved": _Fold._resolved,
    "fact.observed": _Fold._fact,
}


def score_from(event: Event) -> Score:
    """A score as the ledger holds it."""
    body = event.body
    value, threshold = body.get("value"), body.get("threshold")
    return Score(
        metric=body["metric"],
        value=None if value is None else float(value),
        reason=body["reason"],
        status=body["status"],
        threshold=None if threshold is None else float(threshold),
        passed=body.get("passed"),
        events=tuple(body["events"]),
        detail=load_json(body["detail"]) if body.get("detail") else {},
    )


def verdict_from(event: Event, scores: Iterable[Score] = ()) -> Verdict:
    """A verdict as the ledger holds it."""
    body = event.body
    return Verdict(body["status"], tuple(body["reasons"]), tuple(scores), body["duration"], event.session)
