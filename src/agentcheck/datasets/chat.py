"""Chat messages in the OpenAI shape, as several trace formats hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentcheck.datasets.fields import BadRecord, join, maybe, need, text_of
from agentcheck.datasets.recording import Request

#: How the environments of tau-bench and tau2 begin the text of a failed call.
FAILED = "Error"


def content_of(message: Mapping[str, Any], at: str) -> str:
    """The text of a message; the field must be there, and may be null.

    Raises:
        BadRecord: it is missing, or no text.
    """
    if "content" not in message:
        raise BadRecord(f"{at}.content: missing")
    return text_of(message["content"], f"{at}.content")


def requests_of(message: Mapping[str, Any], at: str) -> list[Request]:
    """The calls that an assistant message asks for: ``{id, function: {name, arguments}}`` or ``{id, name, arguments}``.

    The one call of the older ``function_call`` is one of them.

    Raises:
        BadRecord: a call without a name or without arguments.
    """
    calls = maybe(message, "tool_calls", list, [], at)
    requests = []
    single = maybe(message, "function_call", dict, None, at)
    if single is not None:
        name = need(single, "name", str, f"{at}.function_call")
        requests.append(Request(name, single.get("arguments")))
    for number in range(len(calls)):
        where = join(f"{at}.tool_calls", number)
        call = need(calls, number, dict, f"{at}.tool_calls")
        id_ = maybe(call, "id", str, None, where)
        if "function" in call:
            call, where = need(call, "function", dict, where), f"{where}.function"
        name = need(call, "name", str, where)
        if "arguments" not in call:
            raise BadRecord(f"{where}.arguments: missing")
        requests.append(Request(name, call["arguments"], id_))
    return requests


def error_of(text: str) -> str:
    """The text of a result where it says that the call failed; empty where it does not."""
    return text if text.startswith(FAILED) else ""


def count(messages: list[Any]) -> int:
    """Actions in raw messages: each assistant message, each of its calls, and each one said without a call."""
    found = 0
    for message in messages:
        if message["role"] == "assistant":
            calls = (message.get("tool_calls") or []) + [one for one in (message.get("function_call"),) if one]
            found += 1 + len(calls)
            if not calls and text_of(message["content"], "").strip():
                found += 1
    return found
