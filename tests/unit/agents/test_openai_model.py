"""The OpenAI-compatible model, against a local server that speaks the API."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from agentcheck.agents.openai_model import make
from agentcheck.errors import AgentTransportError, SuiteError
from agentcheck.records import Case, ModelReply
from kits.obedient.server import Answer, said, serving

CASE = Case("c", "p")
ASK = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-key")


def completion(message: dict[str, Any], **more: Any) -> Any:
    """A response as the API gives it."""
    return said({"object": "chat.completion", "choices": [{"index": 0, "message": message}], **more})


def ask(answer: Answer, arguments: dict[str, Any] = ASK, **options: Any) -> ModelReply:
    """One completion from a server."""
    with serving(answer) as url:
        model = make({"model": "m1", "base_url": f"{url}/v1/", "retry_wait": 0, **options}, CASE)
        return asyncio.run(model.complete(arguments))


def test_a_completion_becomes_a_reply_with_tokens_and_cost() -> None:
    """Text, usage and the price per million tokens give what the runtime charges, exactly."""
    usage = {"prompt_tokens": 1200, "completion_tokens": 300, "total_tokens": 1500}
    reply = ask(
        lambda path, headers, body: completion({"role": "assistant", "content": "hello"}, usage=usage),
        price={"input": "0.15", "output": "0.60"},
    )
    assert reply == ModelReply("hello", (), 1200, 300, "0.00036")


def test_tool_calls_come_back_as_tables() -> None:
    """Arguments are parsed; what the model wrote as no JSON stays text."""
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "pay", "arguments": '{"amount": 5}'}},
        {"id": "c2", "type": "function", "function": {"name": "pay", "arguments": '{"amount": '}},
        {"id": "c3", "type": "function", "function": {"name": "list", "arguments": ""}},
        {"id": "c4", "type": "function", "function": {"name": "pay", "arguments": '{"amount": NaN}'}},
    ]
    reply = ask(lambda path, headers, body: completion({"content": None, "tool_calls": calls}))
    assert reply.text == ""
    assert reply.tool_calls == (
        {"id": "c1", "name": "pay", "arguments": {"amount": 5}},
        {"id": "c2", "name": "pay", "arguments": '{"amount": '},
        {"id": "c3", "name": "list", "arguments": {}},
        {"id": "c4", "name": "pay", "arguments": '{"amount": NaN}'},
    )


def test_the_request_is_what_the_api_wants() -> None:
    """Path, key, model, parameters and tools; an agent's parameters win, the model and the form are the suite's."""
    seen: list[Any] = []

    def answer(path: str, headers: dict[str, str], body: Any) -> Any:
        seen.append((path, headers["authorization"], headers["x-team"], body))
        return completion({"content": "ok"})

    tools = [
        {"name": "pay", "description": "Pays.", "parameters": {"type": "object"}, "effect": True},
        {"type": "function", "function": {"name": "list"}},
    ]
    arguments = {**ASK, "tools": tools, "temperature": 1, "model": "other", "stream": True}
    ask(answer, arguments, parameters={"temperature": 0, "seed": 7}, headers={"X-Team": "t"})
    path, key, team, body = seen[0]
    assert (path, key, team) == ("/v1/chat/completions", "Bearer sk-secret-key", "t")
    assert body == {
        "model": "m1",
        "stream": False,
        "temperature": 1,
        "seed": 7,
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [
            {"type": "function", "function": {"name": "pay", "description": "Pays.", "parameters": {"type": "object"}}},
            {"type": "function", "function": {"name": "list"}},
        ],
    }


def test_a_busy_server_is_asked_again() -> None:
    """Too many requests and server errors are tried again, up to the bound; other errors are not."""
    statuses = [429, 503, 200]

    def busy(path: str, headers: dict[str, str], body: Any) -> Any:
        status = statuses.pop(0)
        return (status, {"retry-after": "0"}, b"busy") if status != 200 else completion({"content": "at last"})

    assert ask(busy).text == "at last"
    asked: list[int] = []

    def down(path: str, headers: dict[str, str], body: Any) -> Any:
        asked.append(1)
        return 503, {}, b"down"

    with pytest.raises(AgentTransportError, match="HTTP 503: down"):
        ask(down, retries=1)
    assert len(asked) == 2

    def refused(path: str, headers: dict[str, str], body: Any) -> Any:
        asked.append(1)
        return 400, {}, b"bad request"

    with pytest.raises(AgentTransportError, match="HTTP 400: bad request"):
        ask(refused)
    assert len(asked) == 3


def test_no_error_shows_the_key() -> None:
    """A server that echoes the key does not get it into the message."""
    with pytest.raises(AgentTransportError) as caught:
        ask(lambda path, headers, body: (401, {}, f"wrong key {headers['authorization']}".encode()))
    assert "sk-secret-key" not in str(caught.value)
    assert "[key]" in str(caught.value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>", "no JSON"),
        (b"[]", "expected an object"),
        (b'{"error": {"message": "x"}}', "no completion"),
        (b'{"choices": []}', "no completion"),
        (b'{"choices": [{}]}', "no 'message'"),
        (b'{"choices": [{"message": {"content": 5}}]}', "'content' is no text"),
        (b'{"choices": [{"message": {"tool_calls": "x"}}]}', "'tool_calls' no list"),
        (b'{"choices": [{"message": {"tool_calls": [{}]}}]}', "no 'function' with a 'name'"),
    ],
)
def test_a_body_that_is_no_completion_is_an_error_of_the_transport(body: bytes, says: str) -> None:
    """The message says what is missing, with the address."""
    with pytest.raises(AgentTransportError, match=says) as caught:
        ask(lambda path, headers, task: (200, {}, body))
    assert "/v1/chat/completions" in caught.value.where


@pytest.mark.parametrize("usage", [None, [], {"prompt_tokens": "many"}, {"prompt_tokens": -1}, {"prompt_tokens": True}])
def test_usage_that_cannot_be_read_counts_as_none(usage: Any) -> None:
    """Servers that report no usage, or nonsense, do not break a run."""
    reply = ask(lambda path, headers, body: completion({"content": "x"}, usage=usage))
    assert (reply.input_tokens, reply.output_tokens, reply.cost) == (0, 0, "0")


def test_a_server_that_does_not_answer_in_time_is_named() -> None:
    """The time of one request is bounded as a whole."""
    release = threading.Event()

    def slow(path: str, headers: dict[str, str], body: Any) -> Any:
        release.wait(30)
        return completion({"content": "late"})

    try:
        with pytest.raises(AgentTransportError, match="no completion within"):
            ask(slow, timeout=0.2)
    finally:
        release.set()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "needs the option 'model'"),
        ({"model": "m", "key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY, which is not set"),
        ({"model": "m", "base_url": "nowhere"}, "'base_url'"),
        ({"model": "m", "base_url": "http://a:b@c"}, "'base_url'"),
        ({"model": "m", "price": {"input": "1"}}, "'price.output'"),
        ({"model": "m", "modle": "x"}, "did you mean 'model'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], says: str) -> None:
    """A missing key, an address that is none and a misspelt option are mistakes of the suite."""
    with pytest.raises(SuiteError, match=says):
        make.check(options)


def test_a_server_without_a_key_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """``key_env = ""`` is for local servers."""
    monkeypatch.delenv("OPENAI_API_KEY")
    reply = ask(lambda path, headers, body: completion({"content": json.dumps("authorization" in headers)}), key_env="")
    assert reply.text == "false"
