"""An agent that answers with what it was told: for trying a suite, and for measuring what the harness costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentcheck.contracts import Session
from agentcheck.errors import SuiteError
from agentcheck.records import Case, Task


class EchoAgent:
    """Implements `contracts.Agent`. It keeps nothing, so one instance serves every trial."""

    async def respond(self, task: Task, session: Session) -> str:
        """The prompt."""
        return task.prompt

    async def close(self) -> None:
        """Nothing is held."""


_ECHO = EchoAgent()


def make(options: Mapping[str, Any], case: Case) -> EchoAgent:
    """The factory behind ``[agent] use = "echo"``."""
    if options:
        raise SuiteError(f"the agent 'echo' takes no option {next(iter(options))!r}")
    return _ECHO
