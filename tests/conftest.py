"""Makes this folder importable, so that tests find ``kits`` and ``fakes`` wherever pytest is started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from postgres_server import Server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A private PostgreSQL for the whole session, started by the first test that asks for it."""
    from postgres_server import server

    with server() as running:
        yield running


@pytest.fixture(scope="session")
def ledger_url(postgres: Server) -> str:
    """The address of a database for ledgers, which the tests of a session share under runs of different names."""
    return postgres.url(postgres.database())
