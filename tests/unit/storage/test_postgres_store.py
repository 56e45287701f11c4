"""The PostgreSQL driver: the kits, and what is its own."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import pytest

from agentcheck.contracts import Store
from agentcheck.storage.postgres import PostgresStore
from agentcheck.storage.postgres_server import Server as Database
from agentcheck.storage.postgres_tables import migrate
from kits.run_store import Place, RunStoreKit
from kits.store import StoreKit


@pytest.fixture
def name() -> str:
    """The name of a run that nothing was written of."""
    return f"run-{secrets.token_hex(6)}"


class TestPostgresConforms(StoreKit):
    """The kit on one database, each test under a run of its own."""

    @pytest.fixture
    def reopen(self, ledger_url: str, name: str) -> Callable[..., Store]:
        """One run for the whole test."""
        database = Database(ledger_url)
        migrate(database)
        return lambda read_only=False: PostgresStore(database, name, read_only=read_only)


class TestPostgresRunConforms(RunStoreKit):
    """The kit of runs."""

    @pytest.fixture
    def place(self, ledger_url: str, name: str) -> Place:
        """A run of the shared database."""
        return "agentcheck.storage.postgres_run:PostgresRun", ledger_url, name, ""
