"""A small helpdesk: an agent and a world of the tests' own, as a user would write them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentcheck.contracts import Session
from agentcheck.errors import ActionDenied, ToolError
from agentcheck.records import Case, Effect, Task, ToolSpec

TEXT = {"type": "string"}


class Desk:
    """A world with one effect; its log is its own: a line of JSON for each effect, on disk before the call returns."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "effects.jsonl"

    def tools(self) -> Sequence[ToolSpec]:
        """One tool that reads, one that acts."""
        return (
            ToolSpec("lookup", "Find a ticket", {"type": "object", "properties": {"ticket": TEXT}}),
            ToolSpec(
                "refund", "Pay back", {"type": "object", "properties": {"amount": {"type": "integer"}}}, effect=True
            ),
            ToolSpec("close", "Close a ticket", {"type": "object", "properties": {"ticket": TEXT}}, effect=True),
        )

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str) -> Any:
        """Carry out a call."""
        if name == "lookup":
            if arguments["ticket"] == "T-404":
                raise ToolError("no such ticket")
            return {"ticket": arguments["ticket"], "status": "open"}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "name": name, "arguments": dict(arguments)}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return {"done": True}

    def effects(self) -> Sequence[Effect]:
        """What the log holds."""
        if not self.log.exists():
            return ()
        return tuple(Effect(**json.loads(line)) for line in self.log.read_text("utf-8").splitlines())

    async def close(self) -> None:
        """Nothing to release."""


def make_desk(options: Mapping[str, Any], case: Case, scratch: Path) -> Desk:
    """The world's factory."""
    return Desk(scratch)


async def agent(task: Task, session: Session) -> str:
    """Looks a ticket up, refunds what is asked for, and reports truthfully."""
    if "crash" in task.prompt:
        raise RuntimeError("the agent lost its way")
    if "forever" in task.prompt:
        while not Path("released").exists():  # noqa: ASYNC240 - a test waits for a file, and yields between looks
            await session.call_tool("lookup", ticket="T-1")
    ticket = re.search(r"T-\d+", task.prompt)
    try:
        found = await session.call_tool("lookup", ticket=ticket.group() if ticket else "T-404")
    except ToolError as error:
        return f"I found nothing: {error.what}"
    amount = re.search(r"refund (\d+)", task.prompt)
    if amount:
        try:
            await session.call_tool("refund", amount=int(amount.group(1)))
        except ActionDenied as refusal:
            return f"I may not refund {amount.group(1)}: {refusal.what}"
        return f"Refunded {amount.group(1)} for {found['ticket']}."
    return f"Ticket {found['ticket']} is {found['status']}."


async def careless_agent(task: Task, session: Session) -> str:
    """Says that it refunded whatever happened: a mutation of `agent`."""
    answer = await agent(task, session)
    return answer.replace("I may not refund", "Refunded")
