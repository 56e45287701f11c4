"""The session's model as an httpx client, the way the OpenAI SDK asks it."""

from __future__ import annotations

import asyncio
import json
import sys
import types
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from agentcheck.agents.callable import make, shape_of
from agentcheck.agents.model_client import model_client
from agentcheck.agents.sync_session import SyncSession
from agentcheck.contracts import Session
from agentcheck.errors import AgentError, AgentTransportError
from agentcheck.records import Case, Task
from fakes import FakeSession
from kits.agent import KitModel, KitWorld

URL = "https://api.example.com/v1/chat/completions"
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0, "stream": False}


def post(session: FakeSession, **more: Any) -> httpx.Response:
    """One request of an asynchronous agent."""

    async def ask() -> httpx.Response:
        async with model_client(session) as client:
            return await client.post(more.pop("url", URL), **(more or {"json": ASK}))

    return asyncio.run(ask())


def test_a_completion_is_a_model_call_of_the_session() -> None:
    """Messages and parameters are decided and recorded; text, tool calls and usage come back in the API's form."""
    door = FakeSession(KitWorld(), KitModel())
    response = post(door).json()
    assert [(each.kind, each.name) for each in door.actions] == [("model_call", "kit")]
    assert door.actions[0].arguments == {"model": "m", "messages": ASK["messages"], "temperature": 0}
    (choice,) = response["choices"]
    assert (choice["finish_reason"], choice["message"]["role"], choice["message"]["content"]) == (
        "tool_calls",
        "assistant",
        "hi",
    )
    (call,) = choice["message"]["tool_calls"]
    assert (call["id"], call["type"]) == ("c1", "function")
    assert call["function"] == {"name": "echo", "arguments": '{"text": "hi"}'}
    assert response["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def test_a_stream_is_handed_on_in_one_piece() -> None:
    """A framework that streams gets the whole reply as one chunk and the end mark."""
    response = post(FakeSession(model=KitModel()), json={**ASK, "stream": True})
    assert response.headers["content-type"] == "text/event-stream"
    chunk, end, rest = response.text.split("\n\n")
    assert json.loads(chunk.removeprefix("data: "))["choices"][0]["delta"]["content"] == "hi"
    assert (end, rest) == ("data: [DONE]", "")


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"url": "https://api.example.com/v1/responses", "json": ASK}, 404),
        ({"content": b"{"}, 400),
        ({"json": {"model": "m"}}, 400),
        ({"json": []}, 400),
    ],
)
def test_anything_else_is_answered_with_an_error_and_asks_nothing(more: dict[str, Any], status: int) -> None:
    """Other paths and bodies reach neither the session nor the network."""
    door = FakeSession(model=KitModel())
    assert post(door, **more).status_code == status
    assert door.actions == []


def test_a_refused_call_is_answered_with_403() -> None:
    """The SDK raises that and does not try again."""
    response = post(FakeSession(model=KitModel(), decide=lambda action: "deny"))
    assert (response.status_code, response.json()["error"]["message"]) == (403, "deny by the fake")


async def _asks(prompt: str, session: Session) -> str:
    async with model_client(session) as client:
        response = await client.post(URL, json=ASK)
        response.raise_for_status()
        return str(response.json()["choices"][0]["message"]["content"])


def _asks_and_waits(prompt: str, session: SyncSession) -> str:
    with model_client(session) as client:
        response = client.post(URL, json=ASK)
        response.raise_for_status()
        return str(response.json()["choices"][0]["message"]["content"])


async def _asks_wrapped(prompt: str, session: Session) -> str:
    try:
        return await _asks(prompt, session)
    except Exception as error:
        raise RuntimeError("the framework wraps it") from error


@pytest.mark.parametrize("agent", [_asks, _asks_and_waits, _asks_wrapped])
def test_agents_use_it_and_refusals_end_their_turn(agent: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Answered, the turn goes on; refused, it ends without an answer; a broken model is the harness's error."""
    module = types.ModuleType("users_module")
    module.agent = agent  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "users_module", module)
    shape_of.cache_clear()

    class Broken(KitModel):
        async def complete(self, arguments: Any) -> Any:
            raise AgentTransportError("no completion")

    def ask(session: FakeSession) -> Any:
        return asyncio.run(make({"target": "users_module:agent"}, Case("c", "p")).respond(Task("p"), session))

    assert ask(FakeSession(model=KitModel())) == "hi"
    assert ask(FakeSession(model=KitModel(), decide=lambda action: "hold")) is None
    with pytest.raises(AgentTransportError, match="no completion"):
        ask(FakeSession(model=Broken()))
    with pytest.raises(AgentError):
        ask(FakeSession(model=None))
    shape_of.cache_clear()
