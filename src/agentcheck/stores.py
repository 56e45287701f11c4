"""Which store new runs go to (``AGENTCHECK_STORE``), and its driver by the scheme of the address."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from agentcheck import plugins
from agentcheck.contracts import RunStoreFactory
from agentcheck.errors import AgentcheckError, UserError
from agentcheck.storage.address import Address, read_address

#: The variable that names the store of new runs.
STORE_VARIABLE = "AGENTCHECK_STORE"
#: How the default is written.
_DEFAULT = ("", "sqlite", "sqlite:", "sqlite://")


def wanted() -> Address | None:
    """What ``AGENTCHECK_STORE`` says; None for the default, SQLite files in the run's folder.

    Raises:
        UserError: it is no address, or one for SQLite, which has none.
    """
    if is_default():
        return None
    address = read_address(os.environ[STORE_VARIABLE].strip(), where=STORE_VARIABLE)
    if address.scheme == "sqlite":
        raise UserError(
            "SQLite takes no address: its files are in the run's folder",
            where=STORE_VARIABLE,
            advice=f"leave {STORE_VARIABLE} unset, which means SQLite; --reports DIR says where runs' folders are",
        )
    return address


def is_default() -> bool:
    """Whether ``AGENTCHECK_STORE`` asks for the default, whatever else it may say."""
    return os.environ.get(STORE_VARIABLE, "").strip() in _DEFAULT


def factory(address: Address) -> RunStoreFactory:
    """The driver for an address.

    Raises:
        UserError: no store has its scheme.
    """
    registry = plugins.load()
    if address.scheme not in registry.names("stores"):
        raise UserError(
            f"no store is called {address.scheme!r}",
            where=address.shown,
            advice=f"known: {', '.join(registry.names('stores'))}",
        )
    found: RunStoreFactory = registry.get("stores", address.scheme)
    return found


def examine() -> Sequence[tuple[str, str, str]]:
    """What ``agentcheck doctor`` says of the store of new runs: ``ok``, ``warn`` or ``fail``, what, and advice.

    A driver that can say more than whether it answers has a method ``condition`` that gives such rows.
    """
    try:
        address = wanted()
        if address is None:
            return [("ok", "SQLite: a file for each stream, in the run's folder", "")]
        store = factory(address)(str(address), "doctor", Path())
        condition = getattr(store, "condition", None)
        if condition is not None:
            return [*condition()]
        store.streams()
    except AgentcheckError as error:
        return [("fail", f"{error.where}: {error.what}" if error.where else error.what, error.advice)]
    return [("ok", f"{address.shown} answers", "")]


def migrate() -> tuple[str, Sequence[str]]:
    """Bring the tables of the store of new runs up to date: where it is, and what was applied.

    Raises:
        UserError: the store has no tables.
        StoreError: it does not answer, or the login may not.
    """
    address = wanted()
    store = None if address is None else factory(address)(str(address), "migrate", Path())
    apply = getattr(store, "migrate", None)
    if address is None or apply is None:
        raise UserError(
            "this store has no tables to migrate",
            where=STORE_VARIABLE,
            advice=f"set {STORE_VARIABLE} to postgresql://owner@host:5432/database",
        )
    return address.shown, apply()
