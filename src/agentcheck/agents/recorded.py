"""A recorded run as an agent: it asks the runtime again for every action that the recording holds, in order.

A refusal does not stop it: what was recorded later is asked all the same, so one replay shows every action that a
policy would have refused. What comes back is not compared with the recording and not reacted to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentcheck.contracts import Perform, Session
from agentcheck.errors import SuiteError, ToolError
from agentcheck.records import Action, Case, ModelReply, RecordedStep, Recording, Task


def make(options: Mapping[str, Any], case: Case) -> RecordedAgent:
    """The agent ``recorded``; it takes no options.

    Raises:
        SuiteError: an option, or a case without a recording.
    """
    return RecordedAgent(recording_of(case, options, "agent"))


def make_user(options: Mapping[str, Any], case: Case) -> RecordedUser:
    """The user ``recorded``; it takes no options.

    Raises:
        SuiteError: an option, or a case without a recording.
    """
    return RecordedUser(recording_of(case, options, "user"))


def recording_of(case: Case, options: Mapping[str, Any], kind: str) -> Recording:
    """The recording of a case, for something that takes no options."""
    if options:
        raise SuiteError(f"the {kind} 'recorded' takes no option {sorted(options)[0]!r}")
    if case.recording is None:
        raise SuiteError(
            f"the case {case.id!r} holds no recording, which the {kind} 'recorded' needs",
            where=case.source,
            advice="set dataset.format to a trace format, such as agentdojo or otel",
        )
    return case.recording


class RecordedAgent:
    """Replays a recording, turn by turn. ``asked`` and ``refused`` count its actions so far."""

    def __init__(self, recording: Recording) -> None:
        self._turns = recording.turns()
        self.asked = 0
        self.refused = 0

    async def respond(self, task: Task, session: Session) -> str | None:
        """Ask for all actions of this turn; the message that ends it, if one does, is the answer."""
        if task.turn > len(self._turns):
            return None
        steps = self._turns[task.turn - 1][1]
        answer = _answer(steps)
        for index, step in enumerate(steps):
            if step.kind == "reasoning":
                session.think(step.text)
            elif index != answer:
                await self._ask(step, session)
        if answer is None:
            return None
        self.asked += 1  # The harness sends the answer through the same door.
        return steps[answer].text

    async def _ask(self, step: RecordedStep, session: Session) -> None:
        if step.kind == "message" and not step.name:
            result = await session.say(step.text)
        elif step.kind == "message":
            result = await session.act("message", step.name, {"text": step.text, **step.arguments})
        elif step.kind == "tool_call":
            result = await session.act("tool_call", step.name, step.arguments)
        else:
            # No world stands behind a model, a memory or another agent: the recording is what there is.
            result = await session.act(step.kind, step.name, step.arguments, perform=_replay(step))  # type: ignore[arg-type]
        self.asked += 1
        self.refused += result.status in ("denied", "held")

    async def close(self) -> None:
        """Nothing is held."""


def _answer(steps: Sequence[RecordedStep]) -> int | None:
    """Index of the message that ends a turn; ``None`` where it ends in something else."""
    for index in range(len(steps) - 1, -1, -1):
        if steps[index].kind == "message":
            return index
        if steps[index].kind != "reasoning":
            return None
    return None


def _replay(step: RecordedStep) -> Perform:
    async def perform(action: Action) -> Any:
        if step.error:
            raise ToolError(step.error)
        return reply_of(step) if step.kind == "model_call" else step.output

    return perform


def reply_of(step: RecordedStep) -> ModelReply:
    """The recorded output of a model as a reply, with its tokens and cost where they were recorded."""
    output: Mapping[str, Any] = step.output if isinstance(step.output, Mapping) else {"text": str(step.output or "")}
    return ModelReply(
        text=str(output.get("text", "")),
        tool_calls=tuple(output.get("tool_calls", ())),
        input_tokens=int(step.usage.get("input_tokens", 0)),
        output_tokens=int(step.usage.get("output_tokens", 0)),
        cost=str(step.usage.get("cost", "0")),
    )


class RecordedUser:
    """Says what the user of the recording said, one turn after the other, whatever the agent answered."""

    def __init__(self, recording: Recording) -> None:
        self._prompts = [prompt for prompt, _ in recording.turns()]

    async def next(self, answers: Sequence[str]) -> str | None:
        """The prompt of the turn after those that were answered."""
        return self._prompts[len(answers)] if len(answers) < len(self._prompts) else None
