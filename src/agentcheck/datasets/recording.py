"""Building a `Recording` step by step, and the rules that every importer shares.

1. The order of steps is the recorded order.
2. A model output is one ``model_call``; each call it asks for is one ``tool_call``; an output that asks for none and
   says something is one ``message``.
3. A result belongs to the unanswered call with its id, of the latest output that asked for calls; without an id to the
   first unanswered one of its name, else to the first.
4. A call without a result keeps the error `NO_RESULT`. A result without a call stays as a ``tool_call`` marked
   ``{"_no_call": true}``: its text did reach the agent, as text from outside.
5. Arguments that are no object are kept word for word as ``{"_raw": text}``.

What 4. and 5. did is counted in the labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentcheck.datasets.fields import arguments_of
from agentcheck.records import Document, ExpectedAction, RecordedStep, Recording

NO_RESULT = "the recording holds no result of this call"
NO_CALL = "_no_call"
UNNAMED = "(unnamed)"


@dataclass
class _Step:
    kind: str
    name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    output: Any = None
    error: str = ""
    text: str = ""
    injected: bool = False
    usage: Mapping[str, Any] = field(default_factory=dict)

    def freeze(self) -> RecordedStep:
        return RecordedStep(
            self.kind, self.name, self.arguments, self.output, self.error, self.text, self.injected, self.usage
        )


@dataclass
class _Call:
    step: _Step
    id: str | None
    batch: int


@dataclass
class Request:
    """A call that a model output asks for; ``arguments`` as recorded: an object, or text that should write one."""

    name: str
    arguments: Any
    id: str | None = None


class Draft:
    """A recording in the making."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []
        self.calls: list[_Step] = []
        self.malformed = 0
        self.without_call = 0
        self._open: list[_Call] = []
        self._abandoned = 0
        self._outputs = 0
        self._batch = 0

    def user(self, text: str) -> None:
        """The user speaks."""
        self.steps.append(_Step("user", text=text))

    def think(self, text: str) -> None:
        """Stated reasoning; empty text is none."""
        if text.strip():
            self.steps.append(_Step("reasoning", text=text))

    def output(
        self,
        model: str,
        text: str,
        requests: Sequence[Request] = (),
        *,
        agent: str = "",
        usage: Mapping[str, Any] | None = None,
        says: bool = True,
    ) -> int:
        """One model output, the calls it asks for, and the message it is where it asks for none and says something.

        ``agent`` is who of several agents it is of; ``says`` is false where the text is no message. Gives the index of
        its step.
        """
        arguments: dict[str, Any] = {"recorded": self._outputs}
        if agent:
            arguments["agent"] = agent
        self._outputs += 1
        self._batch += 1
        step = _Step("model_call", model or "model", arguments, usage=usage or {})
        at = len(self.steps)
        self.steps.append(step)
        asked = [self.call(request.name, request.arguments, request.id) for request in requests]
        step.output = {"text": text, "tool_calls": asked}
        if not requests and says and text.strip():
            self.message(text, agent)
        return at

    def call(self, name: str, arguments: Any, id: str | None = None) -> dict[str, Any]:  # noqa: A002 - the field's word
        """One tool call; gives it as ``{"name", "arguments"}``."""
        found, malformed = arguments_of(arguments)
        self.malformed += malformed
        step = _Step("tool_call", name or UNNAMED, found, error=NO_RESULT)
        self.steps.append(step)
        self.calls.append(step)
        self._open.append(_Call(step, id, self._batch))
        return {"name": step.name, "arguments": found}

    def result(self, output: Any, *, error: str = "", id: str | None = None, name: str = "") -> None:  # noqa: A002
        """What came back, for the call that it answers."""
        found = self._answered(id, name)
        if found is None:
            self.without_call += 1
            self.steps.append(_Step("tool_call", name or UNNAMED, {NO_CALL: True}, output, error))
            return
        self._open.remove(found)
        found.step.output, found.step.error = output, error

    def ran(self, name: str, arguments: Any, output: Any, *, error: str = "", id: str | None = None) -> None:  # noqa: A002
        """A call that was carried out, with its result: the one that was asked for, or one that nobody asked for.

        What was carried out counts, where its arguments differ from those that were asked for.
        """
        found, malformed = arguments_of(arguments)
        asked = [call for call in self._open if call.step.name == (name or UNNAMED)]
        same = [call for call in asked if call.id == id] if id else []
        equal = [call for call in asked if call.step.arguments == found]
        chosen = next(iter(same or equal or asked), None)
        if chosen is None:
            self.malformed += malformed
            self.call(name, found, id)
            chosen = self._open[-1]
        self._open.remove(chosen)
        chosen.step.arguments, chosen.step.output, chosen.step.error = found, output, error

    def _answered(self, id: str | None, name: str) -> _Call | None:  # noqa: A002
        waiting = [call for call in self._open if id is None or call.id == id]
        if not waiting and id is not None:
            # An id on one side only tells nothing.
            waiting = [call for call in self._open if call.id is None]
        if id is None and name:
            waiting = [call for call in waiting if call.step.name == name]
        latest = max((call.batch for call in waiting), default=0)
        waiting = [call for call in waiting if call.batch == latest]
        return next((call for call in waiting if call.step.name == name), waiting[0] if waiting else None)

    def abandon(self) -> None:
        """Nothing that comes later answers the calls that are open now, as when another conversation begins."""
        self._abandoned += len(self._open)
        self._open.clear()

    def delegate(self, name: str, arguments: Any, output: Any, error: str = "") -> None:
        """The agent hands work to another agent, and gets something back."""
        found, malformed = arguments_of(arguments)
        self.malformed += malformed
        self.steps.append(_Step("delegate", name or UNNAMED, found, output, error))

    def message(self, text: str, agent: str = "") -> None:
        """The agent says something; ``agent`` is who of several."""
        self.steps.append(_Step("message", agent, {"agent": agent} if agent else {}, text=text))

    @property
    def waiting(self) -> int:
        """Calls without a result so far."""
        return len(self._open)

    @property
    def actions(self) -> int:
        """Actions so far: every step but what the user said and reasoning."""
        return sum(step.kind not in ("user", "reasoning") for step in self.steps)

    def counts(self) -> dict[str, int]:
        """What a reader of the labels should know of this recording."""
        return {
            "tool_calls": len(self.calls),
            "malformed_arguments": self.malformed,
            "calls_without_result": self._abandoned + len(self._open),
            "results_without_call": self.without_call,
        }

    def freeze(self, source: str, labels: Mapping[str, Any], asked: int) -> Recording:
        """The recording."""
        return Recording(tuple(step.freeze() for step in self.steps), source, labels, asked)


@dataclass
class Run:
    """What an importer makes of one record.

    ``asked`` is the number of actions in the record, counted by the importer straight from the raw record and not from
    the ``draft``; the two must agree.
    """

    id: str
    draft: Draft
    asked: int
    labels: dict[str, Any]
    tags: tuple[str, ...] = ()
    documents: tuple[Document, ...] = ()
    expected: tuple[ExpectedAction, ...] = ()
    forbidden: tuple[ExpectedAction, ...] = ()
    prompt: str = ""
