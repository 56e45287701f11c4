"""The scripted user: says the case's turns one after the other, whatever the agent answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentcheck.errors import SuiteError
from agentcheck.records import Case


class ScriptedUser:
    """Implements `contracts.User` from `Case.turns`."""

    def __init__(self, case: Case) -> None:
        self._turns = case.turns

    async def next(self, answers: Sequence[str]) -> str | None:
        """The turn after the answers so far; ``None`` when the script is over."""
        said = len(answers) - 1  # the case's prompt came first
        return self._turns[said].text if said < len(self._turns) else None


def make(options: Mapping[str, Any], case: Case) -> ScriptedUser:
    """The user of ``[user] use = "scripted"``; takes no options.

    Raises:
        SuiteError: options were given.
    """
    if options:
        raise SuiteError(f"the scripted user takes no options, got {', '.join(options)}")
    return ScriptedUser(case)
