"""A model that answers with recorded outputs: an agent runs again without a provider, a key or a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentcheck.agents.recorded import recording_of, reply_of
from agentcheck.errors import AgentTransportError, ToolError
from agentcheck.records import Case, ModelReply, Recording


def make(options: Mapping[str, Any], case: Case) -> RecordedModel:
    """The model ``recorded``; it takes no options.

    Raises:
        SuiteError: an option, or a case without a recording.
    """
    return RecordedModel(recording_of(case, options, "model"))


class RecordedModel:
    """Gives the model outputs of a recording, one for each call, in order; what it is asked is not compared.

    A call with an argument ``recorded`` gets the output of that number, counted from 0.
    """

    def __init__(self, recording: Recording) -> None:
        self._outputs = [step for step in recording.steps if step.kind == "model_call"]
        self._next = 0
        self.name = str(recording.labels.get("model") or (self._outputs[0].name if self._outputs else "recorded"))

    async def complete(self, arguments: Mapping[str, Any]) -> ModelReply:
        """The next recorded output.

        Raises:
            AgentTransportError: the recording holds no further output.
            ToolError: the recorded call failed.
        """
        wanted = arguments.get("recorded")
        at = wanted if isinstance(wanted, int) and not isinstance(wanted, bool) else self._next
        if not 0 <= at < len(self._outputs):
            raise AgentTransportError(
                f"the recording holds {len(self._outputs)} model outputs, and number {at + 1} was asked for"
            )
        self._next = at + 1
        step = self._outputs[at]
        if step.error:
            raise ToolError(step.error)
        return reply_of(step)
