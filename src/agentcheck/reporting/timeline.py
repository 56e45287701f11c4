"""A trial's events as a timeline: one entry per action with all that was decided on it, one per other event.

Derived once here and drawn by the terminal, the HTML page and the step summary, so that they tell the same story.
Text is as the ledger holds it; each medium makes it harmless itself (`agentcheck.reporting.safe_text`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentcheck.events import Event
from agentcheck.records import LEVEL_NAMES, Step, Transcript

#: A mark and the word that always stands beside it: (Unicode, ASCII, word). Never told by colour alone.
MARKS: Mapping[str, tuple[str, str, str]] = {
    "allow": ("✓", "+", "allow"),
    "hold": ("‖", "=", "hold"),
    "deny": ("✗", "x", "deny"),
    "approve": ("✓", "+", "approved"),
    "reject": ("✗", "x", "not approved"),
    "for": ("✓", "+", "for"),
    "against": ("✗", "x", "against"),
    "done": ("→", ">", "result"),
    "broken": ("!", "!", "error"),
    "orphan": ("?", "?", "no result"),
    "withheld": ("–", "-", "withheld"),
    "pass": ("✓", "+", "pass"),
    "fail": ("✗", "x", "fail"),
    "error": ("!", "!", "error"),
    "inconclusive": ("?", "?", "inconclusive"),
    "aborted": ("■", "#", "aborted"),
    "not_started": ("·", ".", "not started"),
    "skipped": ("○", "o", "skipped"),
    "abstained": ("–", "-", "no answer"),
    "none": ("–", "-", "not measured"),
    "": (" ", " ", ""),
}


@dataclass(slots=True)
class Line:
    """One event: ``mark`` is a key of `MARKS`, ``label`` says what it is, ``text`` what it holds.

    ``offset`` is microseconds since the trial began; ``seq`` is 0 for what is said about a missing event.
    """

    seq: int
    offset: int
    mark: str
    label: str
    text: str = ""
    note: str = ""


@dataclass(slots=True)
class Entry(Line):
    """An event with the events that belong to it; ``voice`` says whose doing it is.

    ``voice`` is ``user``, ``agent``, ``thought``, ``answer``, ``runtime`` or ``score``.
    """

    voice: str = "runtime"
    lines: list[Line] = field(default_factory=list)

    @property
    def worst(self) -> str:
        """The mark to see at a glance: what was refused or broke first; empty where nothing was decided."""
        marks = {line.mark for line in self.lines}
        order = ("deny", "reject", "broken", "orphan", "approve", "hold", "allow")
        return next((mark for mark in order if mark in marks), "")


def build(transcript: Transcript) -> tuple[Entry, ...]:
    """Entries in the order of their first event; events of one action are gathered, whatever ran beside it."""
    builder = _Builder(transcript.started, transcript.withheld)
    for event in transcript.events:
        builder.take(event)
    return builder.finish()


def seconds(microseconds: int) -> str:
    """A duration or offset for a reader: ``0.012s``, ``3.4s``, ``2m05s``."""
    value = microseconds / 1_000_000
    if value < 1:
        return f"{value:.3f}s"
    if value < 60:
        return f"{value:.1f}s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}m{rest:02d}s"


def number(value: float | None) -> str:
    """A score for a reader: two decimals, more only where two would hide a difference from 0 or 1."""
    if value is None:
        return "–"
    text = f"{value:.2f}"
    return f"{value:.4g}" if text in ("0.00", "1.00") and value not in (0, 1) else text


def call(name: str, arguments: Mapping[str, Any]) -> str:
    """An action as a call: ``send_payment(amount=10, recipient="…")``."""
    return f"{name}({', '.join(f'{key}={plain(value)}' for key, value in arguments.items())})"


def plain(value: Any) -> str:
    """A JSON value as compact text."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (RecursionError, ValueError):
        return f"(a {type(value).__name__} that cannot be shown)"


def asked(step: Step) -> str:
    """What a step asked for, as a call; a message is its text."""
    if step.kind == "message":
        return str(step.arguments.get("text", ""))
    return call(step.name, step.arguments)


def _read(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return text


class _Builder:
    def __init__(self, started: int, withheld: str = "") -> None:
        self.started = started
        self.withheld = withheld
        self.entries: list[Entry] = []
        if withheld:
            self.entries.append(Entry(0, 0, "withheld", "withheld", withheld))
        self.actions: dict[str, Entry] = {}
        self.approvals: dict[str, str] = {}
        self.open: dict[str, Entry] = {}

    def take(self, event: Event) -> None:
        handler = _HANDLERS.get(event.type, _Builder.other)
        handler(self, event, event.body)

    def finish(self) -> tuple[Entry, ...]:
        for entry in self.open.values():
            told = ("withheld", "withheld", "its result, if there was one")
            if not self.withheld:
                told = ("orphan", "no result", "allowed, and no result was recorded")
            entry.lines.append(Line(0, entry.offset, *told))
        return tuple(self.entries)

    def add(self, event: Event, mark: str, label: str, text: str = "", voice: str = "runtime") -> Entry:
        entry = Entry(event.seq, event.time - self.started, mark, label, text, voice=voice)
        self.entries.append(entry)
        return entry

    def under(self, event: Event, action: str, mark: str, label: str, text: str, note: str = "") -> None:
        entry = self.actions.get(action)
        line = Line(event.seq, event.time - self.started, mark, label, text, note)
        if entry is None:
            missing = "withheld" if self.withheld else "missing"
            entry = self.actions[action] = self.add(event, "", "action", f"{action}: its request is {missing}")
        entry.lines.append(line)

    def case_started(self, event: Event, body: Mapping[str, Any]) -> None:
        given, tools = _read(body.get("given")), _read(body.get("tools"))
        documents = len(given.get("documents") or ()) if isinstance(given, dict) else 0
        offered = len(tools) if isinstance(tools, list) else 0
        self.add(event, "", "started", f"documents: {documents}, tools: {offered}")

    def turn(self, event: Event, body: Mapping[str, Any]) -> None:
        self.add(event, "", f"user, turn {body.get('turn', 1)}", str(body.get("text", "")), "user")

    def reasoning(self, event: Event, body: Mapping[str, Any]) -> None:
        self.add(event, "", "thinks", str(body.get("text", "")), "thought")

    def requested(self, event: Event, body: Mapping[str, Any]) -> None:
        arguments = _read(body.get("arguments"))
        kind, name = str(body.get("kind", "")), str(body.get("name", ""))
        if kind == "message" and isinstance(arguments, dict):
            label = "answers" if name == "answer" else "says"
            entry = self.add(event, "", label, str(arguments.get("text", "")), "answer")
        else:
            shown = call(name, arguments) if isinstance(arguments, dict) else f"{name}({plain(arguments)})"
            entry = self.add(event, "", _KINDS.get(kind, kind), shown, "agent")
        self.actions[str(body.get("action"))] = entry

    def decided(self, event: Event, body: Mapping[str, Any]) -> None:
        action, outcome = str(body.get("action")), str(body.get("outcome"))
        rule = f" · {body['rule']}" if body.get("rule") else ""
        self.under(event, action, outcome, f"{body.get('control')}{rule}", str(body.get("reason", "")), _level(body))
        for other in body.get("others") or ():
            name = f"{other.get('control')} · {other.get('rule')}" if other.get("rule") else str(other.get("control"))
            self.under(event, action, str(other.get("outcome")), f"also {name}", str(other.get("reason", "")))
        if outcome == "allow":
            self.open[action] = self.actions[action]

    def approval_requested(self, event: Event, body: Mapping[str, Any]) -> None:
        self.approvals[str(body.get("approval"))] = str(body.get("action"))
        votes = body.get("needed", 1)
        text = f"{votes} vote{'' if votes == 1 else 's'} needed"
        self.under(event, str(body.get("action")), "", "approval asked", text, _level(body))

    def voted(self, event: Event, body: Mapping[str, Any]) -> None:
        vote = str(body.get("vote"))
        mark = {"approve": "for", "deny": "against"}.get(vote, "abstained")
        reason = f": {body['reason']}" if body.get("reason") else ""
        action = self.approvals.get(str(body.get("approval")), str(body.get("approval")))
        self.under(event, action, mark, f"vote of {body.get('voter')}", f"{vote}{reason}")

    def resolved(self, event: Event, body: Mapping[str, Any]) -> None:
        action = str(body.get("action"))
        approved = body.get("outcome") == "allow"
        self.under(event, action, "approve" if approved else "reject", "approval", str(body.get("reason", "")))
        if approved:
            self.open[action] = self.actions[action]

    def began(self, event: Event, body: Mapping[str, Any]) -> None:
        self.under(event, str(body.get("action")), "", "starts", "after its approval")

    def finished(self, event: Event, body: Mapping[str, Any]) -> None:
        action = str(body.get("action"))
        self.open.pop(action, None)
        entry = self.actions.get(action)
        status, output = str(body.get("status")), _read(body.get("output"))
        note = " · ".join(_costs(body))
        if status != "done":
            self.under(event, action, "broken", status, str(body.get("error") or plain(output)), note)
        elif output is None and entry is not None and entry.voice == "answer":
            self.under(event, action, "done", "delivered", "", note)
        else:
            self.under(event, action, "done", "result", output if isinstance(output, str) else plain(output), note)

    def charged(self, event: Event, body: Mapping[str, Any]) -> None:
        self.under(event, str(body.get("action")), "", "charged", " · ".join(_costs(body)))

    def fact(self, event: Event, body: Mapping[str, Any]) -> None:
        value = _read(body.get("value"))
        text = "not measured" if value is None else plain(value)
        self.add(event, "", f"fact from {body.get('source')}", text)

    def score(self, event: Event, body: Mapping[str, Any]) -> None:
        value, threshold = body.get("value"), body.get("threshold")
        held = f" (threshold {threshold})" if threshold is not None else ""
        shown = value if value is not None else str(body.get("status")).replace("_", " ")
        text = f"{shown}{held}  {body.get('reason', '')}".rstrip()
        self.add(event, score_mark(str(body.get("status")), body.get("passed")), str(body.get("metric")), text, "score")

    def verdict(self, event: Event, body: Mapping[str, Any]) -> None:
        text = "; ".join(str(reason) for reason in body.get("reasons") or ())
        self.add(event, str(body.get("status")), "verdict", text, "score")

    def aborted(self, event: Event, body: Mapping[str, Any]) -> None:
        self.add(event, "aborted", "aborted", str(body.get("reason", "")))

    def breaker(self, event: Event, body: Mapping[str, Any]) -> None:
        opened = event.type == "breaker.opened"
        reason = str(body.get("reason", ""))
        state = "opened" if opened else "closed"
        self.add(event, "deny" if opened else "allow", f"breaker {body.get('breaker')} {state}", reason)

    def other(self, event: Event, body: Mapping[str, Any]) -> None:
        self.add(event, "", event.type, plain(dict(body)))


_KINDS = {"tool_call": "calls", "model_call": "asks the model", "memory": "memory", "delegate": "delegates"}
_HANDLERS: Mapping[str, Callable[[_Builder, Event, Mapping[str, Any]], None]] = {
    "case.started": _Builder.case_started,
    "case.turn": _Builder.turn,
    "case.aborted": _Builder.aborted,
    "agent.reasoning": _Builder.reasoning,
    "action.requested": _Builder.requested,
    "action.decided": _Builder.decided,
    "action.started": _Builder.began,
    "action.finished": _Builder.finished,
    "approval.requested": _Builder.approval_requested,
    "approval.voted": _Builder.voted,
    "approval.resolved": _Builder.resolved,
    "breaker.opened": _Builder.breaker,
    "breaker.closed": _Builder.breaker,
    "budget.charged": _Builder.charged,
    "fact.observed": _Builder.fact,
    "score.recorded": _Builder.score,
    "verdict.reached": _Builder.verdict,
}


def score_mark(status: str, passed: bool | None) -> str:
    """The mark of a score: a broken judge and an unmeasured score never look like a low one."""
    if status != "ok":
        return "error" if status == "error" else "none"
    return {True: "pass", False: "fail"}.get(passed, "") if passed is not None else ""


def _level(body: Mapping[str, Any]) -> str:
    level = body.get("level") or 0
    return f"level {level} {LEVEL_NAMES[level]}" if isinstance(level, int) and 0 < level < len(LEVEL_NAMES) else ""


def _costs(body: Mapping[str, Any]) -> Iterable[str]:
    if body.get("duration"):
        yield seconds(body["duration"])
    if body.get("input_tokens") or body.get("output_tokens"):
        yield f"{body.get('input_tokens') or 0:,} + {body.get('output_tokens') or 0:,} tokens"
    if body.get("cost") not in (None, "", "0"):
        yield f"${body['cost']}"
