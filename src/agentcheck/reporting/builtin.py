"""The names that the room `reporting` brings; strings only, so listing them imports nothing."""

from __future__ import annotations

from collections.abc import Mapping

from agentcheck.hookspecs import hookimpl


@hookimpl
def agentcheck_reporters() -> Mapping[str, str]:
    """Files written after a run."""
    return {
        "json": "agentcheck.reporting.json_report:write",
        "junit": "agentcheck.reporting.junit:write",
        "html": "agentcheck.reporting.html:write",
        "summary": "agentcheck.reporting.summary:write",
        "sarif": "agentcheck.reporting.sarif:write",
    }
