"""What controls may know of a session: the fold of its events, and nothing else.

`SessionState.apply` takes the events of one session in order. The state after *n* events is the fold of the first
*n*, so every decision can be asked again from the ledger. The rules of the fold:

1. An action is *committed* from the moment it is decided ``allow`` or ``hold``: bounds count it before it has an
   effect. Only a refused approval gives it back. The door applies ``action.decided`` in the same synchronous step in
   which it decided, so no two concurrent actions see the same count.
2. `steps` holds closed actions (finished, denied, not approved) in the order in which they closed; `in_flight` holds
   the committed ones that are not closed.
3. A failure is a tool call (or another action of `EFFECT_KINDS`) that was carried out and answered with an error. A
   refusal is not a failure.
4. Spend and tokens are charged once per action, from ``action.finished`` or from ``budget.charged``.
5. Time never runs backwards: `latest` is the latest time seen.

Nothing is dropped from the history, because a forgotten step could turn a denial into an allowance. Arguments and
outputs are kept as the JSON text they came in and parsed when a control first looks at them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from agentcheck.errors import LedgerError
from agentcheck.events import Event
from agentcheck.governance.steps import EFFECT_KINDS, SOURCE_KINDS, StepView, parse_json
from agentcheck.records import Document, ToolSpec

__all__ = ["APPROVED", "COSTLY_KINDS", "EFFECT_KINDS", "SOURCE_KINDS", "SessionState", "StepView", "fold"]

#: Kinds that cost money and tokens by their nature.
COSTLY_KINDS = frozenset({"model_call", "delegate"})
#: ``approval.resolved`` outcomes that let a held action start.
APPROVED = frozenset({"approved", "allow"})
_ZERO = Decimal(0)


class SessionState:
    """The fold of one session's events. Attributes are for reading; only `apply` changes them."""

    def __init__(self, session: str = "") -> None:
        self.session = session
        #: What the user said, turn by turn; the case's prompt first.
        self.prompts: list[str] = []
        #: The system text of the case, where it gives one.
        self.system = ""
        self.documents: list[Document] = []
        self.principal: dict[str, Any] = {}
        #: The tools the world offers, by name; ``None`` while the session has not said.
        self.tools: Mapping[str, ToolSpec] | None = None
        #: Closed actions, in the order in which they closed.
        self.steps: list[StepView] = []
        #: Committed actions that are not closed, by id.
        self.in_flight: dict[str, StepView] = {}
        self.turn = 1
        #: Time of the first event and latest time seen, in microseconds; ``None`` before the first.
        self.started: int | None = None
        self.latest = 0
        #: Actions asked for; committed (allowed or held and not refused); carried out.
        self.asked = 0
        self.committed = 0
        self.carried_out = 0
        #: Committed actions of `EFFECT_KINDS` and those of them in flight, by name.
        self.committed_by_tool: dict[str, int] = {}
        self.in_flight_by_tool: dict[str, int] = {}
        self.effects_in_flight = 0
        self.costly_in_flight = 0
        self.denied = 0
        self.spend = _ZERO
        self.tokens = 0
        #: Consecutive failures by tool, and of all tools together, with the time of the last one.
        self.failures_by_tool: dict[str, int] = {}
        self.last_failure_by_tool: dict[str, int] = {}
        self.failures = 0
        self.last_failure = 0
        #: Breakers opened by an event: name -> time until which nothing passes.
        self.breakers: dict[str, int] = {}
        #: Times the agent asked again with other arguments after a refusal or an error of the same action.
        self.corrections = 0
        self._actions: dict[str, StepView] = {}
        self._charged: dict[str, str] = {}

    def apply(self, event: Event) -> None:
        """Take the next event of the session.

        Raises:
            LedgerError: the event is of another session, or of an action that was never requested.
        """
        if event.session and event.session != self.session:
            if self.session:
                raise LedgerError(f"an event of session {event.session!r} in the state of {self.session!r}")
            self.session = event.session
        if event.time > self.latest:
            self.latest = event.time
        if self.started is None:
            self.started = event.time
        handler = _HANDLERS.get(event.type)
        if handler is not None:
            handler(self, event)

    def step(self, action: str) -> StepView | None:
        """The step of an action id, in whatever status; ``None`` for an unknown id."""
        return self._actions.get(action)

    def history(self, *, in_flight: bool = True) -> Iterable[StepView]:
        """Closed steps, oldest first, then (unless told otherwise) the committed ones that are not closed."""
        yield from self.steps
        if in_flight:
            yield from self.in_flight.values()

    def elapsed(self, now: int) -> int | None:
        """Microseconds since the session began; ``None`` before its first event."""
        return None if self.started is None else max(now, self.latest) - self.started

    def values(self) -> dict[str, Any]:
        """All that the state holds as plain values, for comparing two folds."""
        plain = {
            name: value.copy() if isinstance(value, (dict, list)) else value
            for name, value in vars(self).items()
            if name not in ("steps", "in_flight", "_actions")
        }
        plain["steps"] = [step.values() for step in self.steps]
        plain["in_flight"] = [step.values() for step in self.in_flight.values()]
        plain["actions"] = [step.values() for step in self._actions.values()]
        return plain

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SessionState) and self.values() == other.values()

    __hash__ = None  # type: ignore[assignment]

    # One method per event type, in the order in which they happen.

    def _case_started(self, event: Event) -> None:
        self.started = event.time
        given = parse_json(event.body["given"])
        given = given if isinstance(given, dict) else {}
        if given.get("prompt"):
            self.prompts.append(str(given["prompt"]))
        self.system = str(given.get("system") or "")
        self.principal = dict(given.get("principal") or {})
        self.documents = [_document(each) for each in given.get("documents") or ()]
        self.tools = _tools(event.body["tools"])

    def _case_turn(self, event: Event) -> None:
        turn, text = event.body["turn"], event.body["text"]
        self.turn = turn
        # The first turn may be told twice: as the case's prompt and as a turn.
        if not (turn == 1 and self.prompts and self.prompts[0] == text):
            self.prompts.append(text)

    def _requested(self, event: Event) -> None:
        body = event.body
        if body["action"] in self._actions:
            raise LedgerError(f"action {body['action']!r} was requested twice")
        spec = self.tools.get(body["name"]) if self.tools and body["kind"] == "tool_call" else None
        step = StepView(body, event.time, spec is not None and spec.trusted)
        self.asked += 1
        self.turn = step.turn
        self._actions[step.id] = step
        if self.steps:
            last = self.steps[-1]
            if last.status != "done" and last.name == step.name and last.arguments_json != step.arguments_json:
                self.corrections += 1

    def _decided(self, event: Event) -> None:
        body = event.body
        step = self._known(event)
        if step.status != "requested":
            raise LedgerError(f"action {step.id!r} was decided twice")
        step.outcome, step.control, step.rule = body["outcome"], body["control"], body["rule"]
        step.reason, step.level = body["reason"], body["level"]
        if step.outcome == "deny":
            step.status = "denied"
            self.denied += 1
            self.steps.append(step)
            return
        step.status = "waiting" if step.outcome == "hold" else "running"
        self._commit(step, 1)

    def _commit(self, step: StepView, one: int) -> None:
        """Count a step in (1) or give it back (-1): committed and in flight."""
        self.committed += one
        if step.kind in EFFECT_KINDS:
            name = step.name
            self.committed_by_tool[name] = self.committed_by_tool.get(name, 0) + one
        self._fly(step, one)

    def _fly(self, step: StepView, one: int) -> None:
        if one > 0:
            self.in_flight[step.id] = step
        else:
            del self.in_flight[step.id]
        if step.kind in EFFECT_KINDS:
            name = step.name
            self.in_flight_by_tool[name] = self.in_flight_by_tool.get(name, 0) + one
            self.effects_in_flight += one
        if step.kind in COSTLY_KINDS:
            self.costly_in_flight += one

    def _resolved(self, event: Event) -> None:
        step = self._known(event)
        if step.status != "waiting":
            raise LedgerError(f"action {step.id!r} is not waiting for an approval")
        if event.body["outcome"] in APPROVED:
            step.status = "running"
            return
        step.status = "held"
        self._commit(step, -1)
        self.steps.append(step)

    def _finished(self, event: Event) -> None:
        step = self._known(event)
        if step.status in ("denied", "held"):
            return  # already closed by the decision; the result only repeats the refusal
        if step.status != "running":
            raise LedgerError(f"action {step.id!r} finished and was not running ({step.status})")
        body = event.body
        step.status = "done" if body["status"] == "done" else "error"
        step.answer(body["output"])
        step.error = body.get("error") or ""
        self._fly(step, -1)
        self.steps.append(step)
        self.carried_out += 1
        # An action that the harness stopped says nothing of the tool.
        if step.kind in EFFECT_KINDS and body["status"] != "cancelled":
            self._count_failure(step, event.time)
        if self._charged.get(step.id) != "budget.charged":
            self._charge(event)

    def _count_failure(self, step: StepView, time: int) -> None:
        name = step.name
        if step.status == "done":
            self.failures_by_tool.pop(name, None)
            self.last_failure_by_tool.pop(name, None)
            self.failures = 0
            return
        self.failures_by_tool[name] = self.failures_by_tool.get(name, 0) + 1
        self.last_failure_by_tool[name] = max(time, self.latest)
        self.failures += 1
        self.last_failure = max(time, self.latest)

    def _budget(self, event: Event) -> None:
        action = event.body["action"]
        if not action or self._charged.get(action) != "action.finished":
            self._charge(event)

    def _charge(self, event: Event) -> None:
        body = event.body
        tokens = _count(body.get("input_tokens")) + _count(body.get("output_tokens"))
        cost = _amount(body.get("cost") or "0")
        if tokens or cost:
            self._charged[body["action"]] = event.type
            self.tokens += tokens
            self.spend += cost

    def _breaker_opened(self, event: Event) -> None:
        self.breakers[event.body["breaker"]] = event.body["until"]

    def _breaker_closed(self, event: Event) -> None:
        self.breakers.pop(event.body["breaker"], None)

    def _known(self, event: Event) -> StepView:
        try:
            return self._actions[event.body["action"]]
        except KeyError:
            raise LedgerError(
                f"{event.type} of an action that was never requested: {event.body.get('action')!r}"
            ) from None


def _count(tokens: int | None) -> int:
    if tokens is not None and tokens < 0:
        raise LedgerError(f"{tokens} is no number of tokens")
    return tokens or 0


def _amount(text: str) -> Decimal:
    if text == "0":
        return _ZERO
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    # A charge that is no finite, non-negative amount could lift a bound: refuse it.
    if not value.is_finite() or value < 0:
        raise LedgerError(f"a cost of {text!r} is no amount of money")
    return value


def _document(value: Any) -> Document:
    value = value if isinstance(value, Mapping) else {"text": value}
    return Document(
        id=str(value.get("id", "")),
        text=str(value.get("text", "")),
        title=str(value.get("title") or ""),
        trusted=value.get("trusted", True) is True,
    )


@lru_cache(maxsize=64)
def _tools(text: str) -> Mapping[str, ToolSpec]:
    """The offered tools by name. Sessions of a suite share them: their text is the same, and nobody changes them."""
    tools = parse_json(text)
    return {spec.name: spec for spec in map(_tool, tools)} if isinstance(tools, list) else {}


def _tool(value: Mapping[str, Any]) -> ToolSpec:
    return ToolSpec(
        name=str(value["name"]),
        description=str(value.get("description") or ""),
        parameters=value.get("parameters") or {},
        effect=bool(value.get("effect", False)),
        trusted=value.get("trusted", True) is True,
    )


_HANDLERS: Mapping[str, Callable[[SessionState, Event], None]] = {
    "case.started": SessionState._case_started,
    "case.turn": SessionState._case_turn,
    "action.requested": SessionState._requested,
    "action.decided": SessionState._decided,
    "approval.resolved": SessionState._resolved,
    "action.finished": SessionState._finished,
    "budget.charged": SessionState._budget,
    "breaker.opened": SessionState._breaker_opened,
    "breaker.closed": SessionState._breaker_closed,
}


def fold(events: Iterable[Event], session: str = "") -> SessionState:
    """The state after a sequence of events of one session."""
    state = SessionState(session)
    for event in events:
        state.apply(event)
    return state
