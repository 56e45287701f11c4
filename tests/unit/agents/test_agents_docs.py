"""docs/agents.md: its examples are run, its protocol and its options are those of the code."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
import types
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from agentcheck.agents import http, model, openai_model, process, protocol
from agentcheck.agents.builtin import agentcheck_agents
from agentcheck.agents.callable import make, shape_of
from agentcheck.records import Action, Case, Document, Task, ToolSpec
from fakes import FakeSession
from kits.agent import KitWorld

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXT = (Path(__file__).parents[3] / "docs" / "agents.md").read_text(encoding="utf-8")
CASE = Case("c", "p")
SCRIPT = {
    "rules": [{"match": "find", "role": "user", "tool_calls": [{"name": "search", "arguments": {"text": "a cat"}}]}],
    "default": "Found it.",
}


def blocks(language: str, section: str = "") -> list[str]:
    """The code blocks of a language, of one section or of the whole page."""
    text = TEXT.split(f"\n## {section}\n")[1].split("\n## ")[0] if section else TEXT
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


class SearchWorld(KitWorld):
    """One tool, as in the examples."""

    def tools(self) -> tuple[ToolSpec, ...]:
        """Gives back what it is asked for."""
        schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
        return (ToolSpec("search", "Searches.", schema),)


def deny_tools(action: Action) -> Any:
    """Refuse every tool call."""
    return "deny" if action.kind == "tool_call" else "allow"


def ask(agent: Any, prompt: str = "a cat", decide: Any = lambda action: "allow") -> tuple[Any, FakeSession]:
    """One turn of an agent of the page."""
    door = FakeSession(SearchWorld(), model.make(SCRIPT, CASE), decide)

    async def talk() -> Any:
        try:
            return await agent.respond(Task(prompt, 1, ({"role": "user", "content": prompt},)), door)
        finally:
            await agent.close()

    return asyncio.run(talk()), door


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """The user's module ``desk``."""
    found = types.ModuleType("desk")
    monkeypatch.setitem(sys.modules, "desk", found)
    shape_of.cache_clear()
    yield found
    shape_of.cache_clear()


def test_the_callable_works(module: types.ModuleType) -> None:
    """The first example finds, and is refused politely."""
    (code,) = blocks("python", "A Python callable")
    exec(code, module.__dict__)
    assert ask(make({"target": "desk:agent"}, CASE))[0] == "I found a cat"
    assert ask(make({"target": "desk:agent"}, CASE), decide=deny_tools)[0] == "I may not do that: deny by the fake"


@pytest.mark.parametrize(
    ("number", "package"), [(0, "langchain-openai"), (1, "openai-agents"), (2, "pydantic-ai-slim")]
)
@pytest.mark.filterwarnings("ignore")
def test_a_framework_works_in_five_lines(module: types.ModuleType, number: int, package: str) -> None:
    """Where the framework is installed, its tools and its model go through the session, refusals too."""
    code = blocks("python", "Frameworks")[number]
    body = code.split("async def agent")[1].strip().splitlines()[1:]
    assert len(body) <= 5
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"needs {package}, which is not installed")
    exec(code, module.__dict__)
    answer, door = ask(make({"target": "desk:agent"}, CASE), "find a cat")
    assert answer == "Found it."
    assert [(each.kind, each.name) for each in door.actions] == [
        ("model_call", "scripted"),
        ("tool_call", "search"),
        ("model_call", "scripted"),
    ]
    refused, door = ask(make({"target": "desk:agent"}, CASE), "find a cat", deny_tools)
    assert refused == "Found it."
    assert "deny by the fake" in json.dumps(door.actions[-1].arguments["messages"])
    silent, _ = ask(make({"target": "desk:agent"}, CASE), "find a cat", lambda action: "deny")
    assert silent is None


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, which is not installed")
def test_the_process_works(tmp_path: Path) -> None:
    """The JavaScript of the page speaks the protocol."""
    (code,) = blocks("javascript")
    program = tmp_path / "agent.js"
    program.write_text(code, encoding="utf-8")
    options = {"command": ["node", str(program)]}
    assert ask(process.make(options, CASE))[0] == "I found a cat"
    assert ask(process.make(options, CASE), decide=deny_tools)[0] == "No: deny by the fake"


def test_the_endpoint_works() -> None:
    """The HTTP server of the page speaks the protocol."""
    (code,) = blocks("python", "An HTTP endpoint")
    names: dict[str, Any] = {}
    exec(code, names)
    names["Endpoint"].log_message = lambda *arguments: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), names["Endpoint"])
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        options = {"url": f"http://127.0.0.1:{server.server_port}/"}
        assert ask(http.make(options, CASE))[0] == "I found a cat"
        assert ask(http.make(options, CASE), decide=deny_tools)[0] == "No: deny by the fake"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_messages_of_the_page_are_those_of_the_code() -> None:
    """The task and the result of the page have exactly the fields that the harness sends."""
    messages = [json.loads(block) for block in blocks("json")]
    task, result, answer, actions = messages
    tool = ToolSpec("refund", "Refunds an order.", {"type": "object"}, effect=True)

    class Refunds(KitWorld):
        def tools(self) -> tuple[ToolSpec, ...]:
            return (tool,)

    door = FakeSession(Refunds())
    given = Task(task["prompt"], 1, tuple(task["messages"]), (Document("d1", "Refunds take 3 days."),), "refund-1")
    assert protocol.task_message(given, door) == task
    request = {"type": "tool_call", "id": 1, "name": "refund", "arguments": {"refunded": 7}}
    assert asyncio.run(protocol.perform(request, door, "")) == result
    assert protocol.answer_in(answer, "answer", "") == "Order 7 is refunded."
    assert asyncio.run(protocol.perform(actions["actions"][0], door, ""))["id"] == "a"  # type: ignore[index]


def test_every_request_is_in_the_table() -> None:
    """The table of what an agent writes names exactly the requests that are understood, and the answer."""
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \| (?:`id`|`text`)", TEXT, re.MULTILINE)
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert names == {*protocol.REQUESTS, "answer"}


def test_the_options_of_the_page_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every table of the page is read without an error, and names every option there is."""
    monkeypatch.setenv("DESK_KEY", "x")
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "agents" / "desk").mkdir(parents=True)
    checks: dict[str, tuple[Any, Any]] = {
        "process": (process.make, process.ProcessOptions),
        "http": (http.make, http.HttpOptions),
        "scripted": (model.make, model.ScriptedOptions),
        "openai": (openai_model.make, openai_model.OpenAIOptions),
    }
    seen = {}
    for block in blocks("toml"):
        for table in tomllib.loads(block).values():
            name = table.pop("use")
            if name in checks:
                checks[name][0].check(table)
                seen[name] = set(table)
    headers = {"openai": {"headers", "retry_wait"}}
    assert seen == {name: set(kind.model_fields) - headers.get(name, set()) for name, (_, kind) in checks.items()}


def test_every_registered_agent_is_named() -> None:
    """The table of names is complete."""
    for name in agentcheck_agents():
        assert f"`{name}`" in TEXT
