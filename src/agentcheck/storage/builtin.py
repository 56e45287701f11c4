"""Names of the built-in stores, by the scheme of ``AGENTCHECK_STORE``; no driver is imported here."""

from __future__ import annotations

from collections.abc import Mapping

from agentcheck.hookspecs import hookimpl


@hookimpl
def agentcheck_stores() -> Mapping[str, str]:
    """Where the events of a run are kept."""
    return {
        "sqlite": "agentcheck.storage.sqlite_run:SqliteRun",
        "postgresql": "agentcheck.storage.postgres_run:PostgresRun",
        "postgres": "agentcheck.storage.postgres_run:PostgresRun",
    }
