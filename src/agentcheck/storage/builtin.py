"""The names that the room `storage` brings; strings only, so listing them imports nothing."""

from __future__ import annotations

from collections.abc import Mapping

from agentcheck.hookspecs import hookimpl


@hookimpl
def agentcheck_stores() -> Mapping[str, str]:
    """Stores by URL scheme."""
    return {"sqlite": "agentcheck.storage.sqlite:open_store"}
