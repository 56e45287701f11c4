"""The names that the room `datasets` brings; strings only, so listing them imports nothing."""

from __future__ import annotations

from collections.abc import Mapping

from agentcheck.hookspecs import hookimpl


@hookimpl
def agentcheck_datasets() -> Mapping[str, str]:
    """Our own golden format, and the trace formats that recorded runs come in."""
    return {
        "agentcheck": "agentcheck.datasets.golden:read",
        "agentdojo": "agentcheck.datasets.agentdojo:read",
        "taubench": "agentcheck.datasets.taubench:read",
        "tau2": "agentcheck.datasets.tau2:read",
        "who_and_when": "agentcheck.datasets.who_and_when:read",
        "rjudge": "agentcheck.datasets.rjudge:read",
        "toolemu": "agentcheck.datasets.toolemu:read",
        "otel": "agentcheck.datasets.otel:read",
        "swe_agent": "agentcheck.datasets.swe_agent:read",
    }
