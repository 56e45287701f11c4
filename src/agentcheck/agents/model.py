"""The scripted model: replies written in the suite, in order or by what was asked; the same on every run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator, model_validator

from agentcheck.agents.options import Options, read
from agentcheck.errors import AgentTransportError, SuiteError
from agentcheck.records import Case, ModelReply

_DECIMAL = r"^\d{1,12}(\.\d{1,12})?$"


class ScriptedCall(Options):
    """One tool that the model asks for."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    id: str = ""


class ScriptedReply(Options):
    """One reply; a text alone is a reply too. Tokens and cost are what the runtime charges for it."""

    text: str = ""
    tool_calls: tuple[ScriptedCall, ...] = ()
    input_tokens: int = Field(0, ge=0)
    output_tokens: int = Field(0, ge=0)
    cost: str = Field("0", pattern=_DECIMAL)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value

    def reply(self, number: int) -> ModelReply:
        """The reply; calls without an id get one that is unique in the conversation."""
        calls = tuple(
            {"id": call.id or f"call_{number}_{index}", "name": call.name, "arguments": dict(call.arguments)}
            for index, call in enumerate(self.tool_calls, start=1)
        )
        return ModelReply(self.text, calls, self.input_tokens, self.output_tokens, self.cost)


class ScriptedRule(ScriptedReply):
    """A reply given where ``match``, a regular expression, is found in the last message; ``role`` narrows it."""

    match: str
    role: str = ""

    @field_validator("match")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from None
        return value


class ScriptedOptions(Options):
    """``rules`` are tried first, in order; then ``replies`` are used up in order; then comes ``default``, if any."""

    replies: tuple[ScriptedReply, ...] = ()
    rules: tuple[ScriptedRule, ...] = ()
    default: ScriptedReply | None = None


class Factory:
    """Makes the models of ``[model] use = "scripted"``."""

    def check(self, options: Mapping[str, Any]) -> ScriptedOptions:
        """Read the script.

        Raises:
            SuiteError: an unknown option, a pattern that does not compile, or nothing to say at all.
        """
        chosen = read(ScriptedOptions, options, "the model 'scripted'")
        if not chosen.replies and not chosen.rules and chosen.default is None:
            raise SuiteError("the model 'scripted' needs replies, rules or a default")
        return chosen

    def __call__(self, options: Mapping[str, Any], case: Case) -> ScriptedModel:
        """The model of one trial, at the start of its script."""
        return ScriptedModel(self.check(options))


make = Factory()


class ScriptedModel:
    """Implements `contracts.Model` from a script."""

    name = "scripted"

    def __init__(self, options: ScriptedOptions) -> None:
        self._options = options
        self._used = 0
        self._asked = 0

    async def complete(self, arguments: Mapping[str, Any]) -> ModelReply:
        """The reply for these messages.

        Raises:
            AgentTransportError: the script has nothing for them; the last message is shown.
        """
        self._asked += 1
        role, text = last_message(arguments.get("messages") or ())
        for rule in self._options.rules:
            if (not rule.role or rule.role == role) and re.search(rule.match, text):
                return rule.reply(self._asked)
        if self._used < len(self._options.replies):
            self._used += 1
            return self._options.replies[self._used - 1].reply(self._asked)
        if self._options.default is not None:
            return self._options.default.reply(self._asked)
        raise AgentTransportError(
            f"the scripted model has no reply left for {text[:200]!r}",
            where=f"model call {self._asked}",
            advice="add a rule, a reply or a default to [model]",
        )


def last_message(messages: Sequence[Any]) -> tuple[str, str]:
    """Role and text of the last message; parts of a message with several are joined."""
    message = messages[-1] if messages else {}
    if not isinstance(message, Mapping):
        return "", str(message)
    content = message.get("content", "")
    if isinstance(content, Sequence) and not isinstance(content, str):
        parts = (part.get("text", "") if isinstance(part, Mapping) else part for part in content)
        content = "\n".join(str(part) for part in parts)
    return str(message.get("role", "")), "" if content is None else str(content)
