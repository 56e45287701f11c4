"""The names that the room `worlds` brings; strings only, so listing them imports nothing."""

from __future__ import annotations

from collections.abc import Mapping

from agentcheck.hookspecs import hookimpl


@hookimpl
def agentcheck_worlds() -> Mapping[str, str]:
    """Tools with state."""
    return {
        "none": "agentcheck.worlds.none:make",
        "clinic": "agentcheck.worlds.clinic:make",
        "payables": "agentcheck.worlds.payables:make",
        "maintenance": "agentcheck.worlds.maintenance:make",
        "recorded": "agentcheck.worlds.recorded:make",
    }
