"""Agents behind HTTP: an endpoint passes the kit, and everything that a server can do wrong is named."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from agentcheck.agents.http import make
from agentcheck.contracts import Agent
from agentcheck.errors import AgentTransportError, SuiteError
from agentcheck.records import Case, Task
from fakes import FakeSession
from kits.agent import AgentKit, KitModel, KitWorld
from kits.obedient.server import Answer, obedient, said, serving

CASE = Case("c", "p")


class TestHttp(AgentKit):
    """An obedient agent behind an endpoint."""

    @pytest.fixture(autouse=True)
    def _serve(self) -> Iterator[None]:
        with serving(obedient) as url:
            self.url = url
            yield

    def make(self) -> Agent:
        return make({"url": f"{self.url}/agent"}, CASE)


def talk(answer: Answer, *, turns: int = 1, session: Any = None, **options: Any) -> Any:
    """The answer of the last turn of an agent behind a server."""

    async def run(url: str) -> Any:
        agent = make({"url": f"{url}/agent", **options}, CASE)
        try:
            last = None
            for turn in range(1, turns + 1):
                last = await agent.respond(Task("p", turn), session or FakeSession(KitWorld(), KitModel()))
            return last
        finally:
            await agent.close()

    with serving(answer) as url:
        return asyncio.run(run(url))


def _raw(status: int, body: bytes = b"", **headers: str) -> Answer:
    return lambda path, given, task: (status, {key.replace("_", "-"): value for key, value in headers.items()}, body)


BROKEN: dict[str, tuple[Answer, str]] = {
    "status": (_raw(500, b"out of\norder"), "HTTP 500 Internal Server Error: out of order"),
    "not found": (_raw(404), "HTTP 404"),
    "no JSON": (_raw(200, b"<html>"), "response 1: the agent sent no JSON"),
    "empty": (_raw(200), "sent no JSON"),
    "no UTF-8": (_raw(200, b'{"answer": "\xff"}'), "sent no JSON"),
    "no object": (_raw(200, b'"hi"'), "expected an object"),
    "neither": (_raw(200, b'{"text": "hi"}'), "neither 'answer' nor a list of 'actions'"),
    "no actions": (_raw(200, b'{"actions": []}'), "neither 'answer' nor a list of 'actions'"),
    "actions no objects": (_raw(200, b'{"actions": ["pay"]}'), "neither 'answer' nor a list of 'actions'"),
    "unknown action": (_raw(200, b'{"actions": [{"type": "dance"}]}'), "asked for 'dance'"),
    "answer no text": (_raw(200, b'{"answer": {"a": 1}}'), "'answer' must be text or null"),
    "redirect to a host": (
        _raw(307, location="http://127.0.0.2:9/x"),
        "it redirects to another host (http://127.0.0.2:9)",
    ),
    "redirect to a port": (_raw(307, location="http://127.0.0.1:9/x"), "it redirects to another host"),
    "redirect to a scheme": (_raw(308, location="file:///etc/passwd"), "it redirects to another host"),
    "redirect that drops": (_raw(302, location="/other"), "HTTP 302 redirects and would drop the body"),
    "redirect without end": (_raw(307, location="/agent"), "more than 5 redirects"),
    "redirect nowhere": (_raw(307), "more than 5 redirects"),
}


@pytest.mark.parametrize(("answer", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_what_a_server_does_wrong_is_named(answer: Answer, says: str) -> None:
    """Every status, body and redirect that is no answer is an error with the address."""
    with pytest.raises(AgentTransportError) as caught:
        talk(answer)
    assert says in str(caught.value)
    assert "/agent, response 1" in caught.value.where


def test_a_redirect_on_the_same_host_is_followed() -> None:
    """The task arrives whole at the new path."""

    def answer(path: str, headers: dict[str, str], task: Any) -> Any:
        if path == "/agent":
            return 307, {"location": "/v2/agent"}, b""
        return said({"answer": f"{path} {task['prompt']}"})

    assert talk(answer) == "/v2/agent p"


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
def test_a_response_that_is_too_large_is_given_up(packed: bool) -> None:
    """The bound counts what comes out of the compression, and is an option."""
    body = json.dumps({"answer": "x" * 50_000}).encode()
    answer = _raw(200, gzip.compress(body), content_encoding="gzip") if packed else _raw(200, body)
    assert len(talk(answer)) == 50_000
    with pytest.raises(AgentTransportError, match="larger than 40000 bytes"):
        talk(answer, max_response=40_000)


def test_a_server_that_does_not_answer_in_time_is_named() -> None:
    """The time of one request is bounded."""
    release = threading.Event()

    def answer(path: str, headers: dict[str, str], task: Any) -> Any:
        release.wait(30)
        return said({"answer": "late"})

    try:
        with pytest.raises(AgentTransportError, match="no answer within"):
            talk(answer, timeout=0.2)
    finally:
        release.set()


def test_no_server_is_an_error_of_the_transport() -> None:
    """A refused connection names the address."""

    async def run(url: str) -> None:
        agent = make({"url": url}, CASE)
        with pytest.raises(AgentTransportError, match="ConnectError"):
            await agent.respond(Task("p"), FakeSession())
        await agent.close()

    with serving(obedient) as url:
        pass
    asyncio.run(run(url))


def test_an_agent_that_never_answers_is_stopped() -> None:
    """The rounds of one turn are bounded."""
    door = FakeSession(KitWorld())
    action = {"type": "tool_call", "name": "echo", "arguments": {}}
    with pytest.raises(AgentTransportError, match="asked for actions 3 times without an answer"):
        talk(lambda path, headers, task: said({"actions": [action]}), session=door, rounds=3)
    assert len(door.actions) == 3


def test_a_server_needs_no_memory() -> None:
    """Each request holds the conversation's id, the state of the last response and all results of the turn."""
    seen: list[Any] = []

    def answer(path: str, headers: dict[str, str], task: Any) -> Any:
        seen.append({key: task[key] for key in ("conversation", "turn", "state", "protocol")})
        seen[-1]["results"] = [(each["action"]["id"], each["id"], each["status"]) for each in task["results"]]
        if len(task["results"]) == 2:
            return said({"answer": "done", "state": {"step": "end"}})
        actions = [{"type": "tool_call", "id": name, "name": "echo", "arguments": {}} for name in "ab"]
        return said({"actions": actions, "state": {"step": 1}})

    assert talk(answer, turns=2) == "done"
    assert len({each.pop("conversation") for each in seen}) == 1
    results = [("a", "a", "done"), ("b", "b", "done")]
    assert seen == [
        {"turn": 1, "state": None, "protocol": 1, "results": []},
        {"turn": 1, "state": {"step": 1}, "protocol": 1, "results": results},
        {"turn": 2, "state": {"step": "end"}, "protocol": 1, "results": []},
        {"turn": 2, "state": {"step": 1}, "protocol": 1, "results": results},
    ]


def test_headers_and_the_key_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """``headers`` are sent as they are; the key comes from the environment."""
    monkeypatch.setenv("AGENT_KEY", "s3cret")

    def answer(path: str, headers: dict[str, str], task: Any) -> Any:
        return said({"answer": f"{headers['x-tenant']} {headers['authorization']} {headers['content-type']}"})

    sent = talk(answer, headers={"X-Tenant": "t1"}, key_env="AGENT_KEY")
    assert sent == "t1 Bearer s3cret application/json"


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server on the loopback address is reached directly."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert talk(lambda path, headers, task: said({"answer": "here"})) == "here"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "needs the option 'url'"),
        ({"url": "ftp://x"}, "no http:// or https:// address"),
        ({"url": "http://"}, "no http:// or https:// address"),
        ({"url": "http://ann:pw@x/"}, "it holds a password"),
        ({"url": "http://x", "key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY, which is not set"),
        ({"url": "http://x", "timeot": 1}, "did you mean 'timeout'"),
        ({"url": "http://x", "timeout": 0}, "'timeout'"),
    ],
)
def test_wrong_options_are_refused_when_the_suite_is_collected(options: dict[str, Any], says: str) -> None:
    """An address that is none, a missing key and a misspelt option are mistakes of the suite."""
    with pytest.raises(SuiteError, match=says):
        make.check(options)
