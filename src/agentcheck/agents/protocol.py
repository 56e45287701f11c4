"""What an agent behind a wire and the harness say to each other: JSON objects, the same over pipes and HTTP.

The harness sends a ``task``; the agent asks (``tool_call``, ``model_call``, ``message``, ``memory``, ``delegate``,
``reasoning``) and gets a ``result`` for each but the last; an ``answer`` ends the turn. ``docs/agents.md`` is the
reference; this module is where both wires read and write it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from agentcheck.contracts import Session
from agentcheck.errors import ActionDenied, ActionHeld, AgentTransportError, ToolError
from agentcheck.records import ModelReply, Result, Task

VERSION = 1
#: What an agent may ask for; ``answer`` is read by the wires themselves.
REQUESTS = ("tool_call", "model_call", "message", "memory", "delegate", "reasoning")
_SHOWN = 200


def task_message(task: Task, session: Session) -> dict[str, Any]:
    """The task of one turn as a JSON object."""
    return {
        "type": "task",
        "protocol": VERSION,
        "case": task.case,
        "turn": task.turn,
        "prompt": task.prompt,
        "messages": [dict(message) for message in task.messages],
        "documents": [
            {"id": each.id, "title": each.title, "text": each.text, "trusted": each.trusted} for each in task.documents
        ],
        "tools": [
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters, "effect": tool.effect}
            for tool in session.tools
        ],
        "metadata": task.metadata,
    }


async def perform(request: Mapping[str, Any], session: Session, where: str) -> dict[str, Any] | None:
    """Carry out one request through the session and give its ``result`` message; ``None`` for reasoning.

    A denial, a hold and a tool's error are results like any other.

    Raises:
        AgentTransportError: a field is missing or of the wrong kind; ``where`` says in which message.
    """
    kind = request.get("type")
    if kind == "reasoning":
        session.think(_text(request, "text", where))
        return None
    if kind == "message":
        result = await session.act("message", "say", {"text": _text(request, "text", where)})
    elif kind == "model_call":
        result = await _ask_model(request, session, where)
    elif kind in ("tool_call", "memory", "delegate"):
        result = await session.act(kind, _text(request, "name", where), _table(request, "arguments", where))
    else:
        broken(f"the agent asked for {_short(kind)}; known: {', '.join(REQUESTS)}, answer", where)
    output = result.output
    if isinstance(output, ModelReply):
        output = _reply(output)
    return {
        "type": "result",
        "id": request.get("id"),
        "status": result.status,
        "output": output,
        "error": result.error,
    }


async def _ask_model(request: Mapping[str, Any], session: Session, where: str) -> Result:
    messages = request.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        broken("'messages' must be a list of objects", where)
    rest = {key: value for key, value in request.items() if key not in ("type", "id", "messages")}
    try:
        reply = await session.call_model(messages, **rest)
    except ActionDenied as denied:
        return Result("", "held" if isinstance(denied, ActionHeld) else "denied", error=denied.what)
    except ToolError as error:
        return Result("", "error", error=error.what)
    return Result("", "done", _reply(reply))


def _reply(reply: ModelReply) -> dict[str, Any]:
    return {
        "text": reply.text,
        "tool_calls": [dict(call) for call in reply.tool_calls],
        "input_tokens": reply.input_tokens,
        "output_tokens": reply.output_tokens,
        "cost": reply.cost,
    }


def encode(message: Mapping[str, Any], where: str) -> str:
    """A message as one line of ASCII JSON, so that no control character or lone surrogate meets the wire.

    Raises:
        AgentTransportError: it holds something that JSON cannot say (NaN, an object); ``where`` says in which message.
    """
    try:
        return json.dumps(message, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise AgentTransportError(f"a message to the agent is no JSON: {error}", where=where) from error


def decode(text: str | bytes, where: str) -> dict[str, Any]:
    """Read one message of the agent.

    Raises:
        AgentTransportError: no UTF-8, no JSON, or no object; the beginning of what came is shown.
    """
    try:
        plain = text.decode("utf-8") if isinstance(text, bytes) else text
        message = json.loads(plain, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        broken(f"the agent sent no JSON ({error}): {_short(text)}", where, "print for people to standard error")
    if not isinstance(message, dict):
        broken(f"the agent sent {_short(text)}; expected an object with a 'type'", where)
    return message


def no_constant(name: str) -> NoReturn:
    """Refuse the ``NaN`` and ``Infinity`` that Python's JSON reader lets pass."""
    raise ValueError(f"{name} is no JSON value")


def answer_in(message: Mapping[str, Any], key: str, where: str) -> str | None:
    """The answer in a message: text, or ``null`` for none."""
    if key not in message:
        broken(f"the answer has no {key!r}", where, "send null for no answer")
    answer = message[key]
    if answer is not None and not isinstance(answer, str):
        broken(f"{key!r} must be text or null, not {_short(answer)}", where)
    return answer


def broken(what: str, where: str, advice: str = "") -> NoReturn:
    """Say that the agent broke the protocol, and where."""
    raise AgentTransportError(what, where=where, advice=advice)


def _text(request: Mapping[str, Any], key: str, where: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        broken(f"{request.get('type')}: {key!r} must be text, not {_short(value)}", where)
    return value


def _table(request: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = request.get(key, {})
    if not isinstance(value, dict):
        broken(f"{request.get('type')}: {key!r} must be an object, not {_short(value)}", where)
    return value


def _short(value: Any) -> str:
    text = value if isinstance(value, bytes) else repr(value)
    text = repr(text[: 2 * _SHOWN]) if isinstance(text, bytes) else text
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
