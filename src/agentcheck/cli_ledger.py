"""``agentcheck ledger ...``: keys, checkpoints, proofs, copies, holds and purges of a run's ledger.

Each command imports what it needs when it runs, as in `agentcheck.cli`.
"""

from __future__ import annotations

import click


@click.group()
def ledger() -> None:
    """Sign, copy, hold and purge the ledger of a run."""
