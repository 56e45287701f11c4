"""Obedient agents in Python, in every shape that the callable adapter takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from agentcheck.agents.callable import SyncSession
from agentcheck.contracts import Session
from agentcheck.records import Case, ModelReply, Result, Task


def _seen(task: Task, session: Session | SyncSession) -> list[Any]:
    seen = {
        "turn": task.turn,
        "messages": list(task.messages),
        "documents": [f"{each.id}: {each.text}" for each in task.documents],
        "tools": [tool.name for tool in session.tools],
        "case": task.case,
        "metadata": task.metadata,
    }
    return ["done", seen, ""]


def _came(result: Result) -> list[Any]:
    output = result.output
    if isinstance(output, ModelReply):
        output = {"text": output.text, "tool_calls": list(output.tool_calls)}
    return [result.status, output, result.error]


def _wanted(step: Mapping[str, Any]) -> tuple[Any, str, dict[str, Any]]:
    """A step as an action: kind, name and arguments."""
    rest = {key: value for key, value in step.items() if key not in ("type", "name", "arguments")}
    if step["type"] == "tool_call":
        return "tool_call", step["name"], step["arguments"]
    return step["type"], "kit" if step["type"] == "model_call" else "say", rest


def sync_agent(task: Task, session: SyncSession) -> Any:
    """A blocking function."""
    wanted = json.loads(task.prompt)
    came = []
    for step in wanted["steps"]:
        if step["type"] == "reasoning":
            session.think(step["text"])
        elif step["type"] == "seen":
            came.append(_seen(task, session))
        else:
            came.append(_came(session.act(*_wanted(step))))
    return wanted["answer"] if "answer" in wanted else json.dumps(came)


async def async_agent(task: Task, session: Session) -> Any:
    """A coroutine function."""
    wanted = json.loads(task.prompt)
    came = []
    for step in wanted["steps"]:
        if step["type"] == "reasoning":
            session.think(step["text"])
        elif step["type"] == "seen":
            came.append(_seen(task, session))
        else:
            came.append(_came(await session.act(*_wanted(step))))
    return wanted["answer"] if "answer" in wanted else json.dumps(came)


def loop_of_its_own(task: Task, session: SyncSession) -> Any:
    """A blocking function that runs a loop of its own, as frameworks do, and calls the session from other threads."""

    async def work() -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, sync_agent, task, session)

    return asyncio.run(work())


class SyncClass:
    """A class whose instances respond."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    def respond(self, task: Task, session: SyncSession) -> Any:
        """One turn."""
        return sync_agent(task, session)


class AsyncClass:
    """A class with a coroutine method, closed by a coroutine."""

    async def run(self, task: Task, *, session: Session) -> Any:
        """One turn."""
        return await async_agent(task, session)

    async def close(self) -> None:
        """Nothing is held."""


def factory(options: Mapping[str, Any], case: Case) -> Any:
    """A factory like those of plugins."""
    return AsyncClass()


instance = AsyncClass()
