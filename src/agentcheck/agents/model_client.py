"""The session's model for frameworks: an httpx client whose chat completions are model calls of the session.

Frameworks that are built on the OpenAI SDK take an httpx client. Given this one, every completion they ask for is
decided and recorded like any other action, and answered by the model of the suite; nothing leaves the machine here.
Only ``/chat/completions`` is served, whatever the base address.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, overload

import httpx

from agentcheck.agents.sync_session import SyncSession
from agentcheck.contracts import Session
from agentcheck.errors import ActionDenied, ToolError
from agentcheck.records import ModelReply

#: Where a response carries the refusal that it stands for, so that it is known again when the framework raises it.
REFUSAL = "agentcheck.refusal"
_NOT_ASKED = ("stream", "stream_options")


@overload
def model_client(session: Session) -> httpx.AsyncClient: ...
@overload
def model_client(session: SyncSession) -> httpx.Client: ...


def model_client(session: Session | SyncSession) -> httpx.AsyncClient | httpx.Client:
    """An httpx client for the OpenAI SDK whose model is the session's; synchronous for a `SyncSession`.

    A refused model call is answered with status 403, which the SDK raises and does not try again; where the agent
    lets that escape, its turn ends as with any other refusal. A model that cannot answer ends the trial as ``error``.
    """
    if isinstance(session, SyncSession):
        return httpx.Client(transport=_Transport(session), trust_env=False)
    return httpx.AsyncClient(transport=_AsyncTransport(session), trust_env=False)


class _AsyncTransport(httpx.AsyncBaseTransport):
    def __init__(self, session: Session) -> None:
        self._session = session

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One completion, asked of the session."""
        wanted = _wanted(request, await request.aread())
        if isinstance(wanted, httpx.Response):
            return wanted
        messages, parameters, streamed = wanted
        try:
            return _answered(await self._session.call_model(messages, **parameters), streamed)
        except (ActionDenied, ToolError) as refusal:
            return _refused(refusal)


class _Transport(httpx.BaseTransport):
    def __init__(self, session: SyncSession) -> None:
        self._session = session

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One completion, asked of the session; called in the agent's thread."""
        wanted = _wanted(request, request.read())
        if isinstance(wanted, httpx.Response):
            return wanted
        messages, parameters, streamed = wanted
        try:
            return _answered(self._session.call_model(messages, **parameters), streamed)
        except (ActionDenied, ToolError) as refusal:
            return _refused(refusal)


def _wanted(request: httpx.Request, body: bytes) -> tuple[list[Any], dict[str, Any], bool] | httpx.Response:
    """Messages, further parameters, and whether a stream is wanted; or why this is no request for a completion."""
    if request.method != "POST" or not request.url.path.endswith("/chat/completions"):
        return _failed(404, f"only chat completions go through the session, not {request.method} {request.url.path}")
    try:
        asked = json.loads(body)
        messages = asked.pop("messages")
    except (ValueError, KeyError, AttributeError, TypeError):
        return _failed(400, "the body is no request for a chat completion")
    streamed = bool(asked.get("stream"))
    return messages, {key: value for key, value in asked.items() if key not in _NOT_ASKED}, streamed


def _answered(reply: ModelReply, streamed: bool) -> httpx.Response:
    calls = [
        {
            "index": index,
            "id": call.get("id") or f"call_{index}",
            "type": "function",
            "function": {"name": call.get("name", ""), "arguments": _text(call.get("arguments", {}))},
        }
        for index, call in enumerate(reply.tool_calls)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or (None if calls else "")}
    if calls:
        message["tool_calls"] = calls
    usage = {
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": reply.input_tokens + reply.output_tokens,
    }
    head = {"id": "chatcmpl-session", "created": 0, "model": "session", "usage": usage}
    ended = {"index": 0, "finish_reason": "tool_calls" if calls else "stop"}
    if not streamed:
        return httpx.Response(
            200, json={**head, "object": "chat.completion", "choices": [{**ended, "message": message}]}
        )
    # A stream in one piece: the reply is complete before it is recorded, and is handed on as it was recorded.
    chunk = {**head, "object": "chat.completion.chunk", "choices": [{**ended, "delta": message}]}
    events = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=events.encode())


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def _refused(refusal: ActionDenied | ToolError) -> httpx.Response:
    if isinstance(refusal, ActionDenied):
        response = _failed(403, refusal.what)
        response.extensions[REFUSAL] = refusal
        return response
    return _failed(400, refusal.what)


def _failed(status: int, message: str) -> httpx.Response:
    error: Mapping[str, Any] = {"message": message, "type": "agentcheck", "code": None, "param": None}
    return httpx.Response(status, json={"error": error})
