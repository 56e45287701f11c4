"""A world without tools, for agents that only answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentcheck.errors import SuiteError, ToolError
from agentcheck.records import Case, Effect, ToolSpec


class NoWorld:
    """Implements `contracts.World` with nothing in it. It holds no state, so one instance serves every trial."""

    def tools(self) -> Sequence[ToolSpec]:
        """None."""
        return ()

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str) -> Any:
        """Raise `ToolError`: there is nothing to call."""
        raise ToolError(f"there is no tool {name!r}")

    def effects(self) -> Sequence[Effect]:
        """Nothing can happen here, which is a measurement and not the lack of one."""
        return ()

    async def close(self) -> None:
        """Nothing is held."""


_NOWHERE = NoWorld()


def make(options: Mapping[str, Any], case: Case, scratch: Path) -> NoWorld:
    """The factory behind ``[world] use = "none"``."""
    if options:
        raise SuiteError(f"the world 'none' takes no option {next(iter(options))!r}")
    return _NOWHERE
