"""``agentcheck ledger ...``: keys, checkpoints, proofs, copies, holds and purges of a run's ledger.

Each command imports what it needs when it runs, as in `agentcheck.cli`.
"""

from __future__ import annotations

import getpass
import sys
import time as time_module
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import click

from agentcheck.cli_checkpoints import COMMANDS
from agentcheck.errors import AgentcheckError, UserError


@click.group()
def ledger() -> None:
    """Sign, copy, hold and purge the ledger of a run."""


def _run(name: str, reports: str | None) -> Any:
    from agentcheck.runs import RunFolder
    from agentcheck.settings import read_settings

    return RunFolder.find(Path(reports) if reports else read_settings(Path.cwd()).reports_path, name)


def _login(by: str | None) -> str:
    """The name given, or that of the operating system's login."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise UserError("the name of the login is not known", advice="say who with --by") from None


def _command() -> list[str]:
    return ["agentcheck", *sys.argv[1:]]


_reports = click.option("--reports", metavar="DIR", help="Where runs are (default: reports).")
_by = click.option("--by", metavar="NAME", help="Who does it (default: the name of the login).")


@ledger.command()
@click.argument("run_name", metavar="RUN")
@click.option("--reason", required=True, metavar="TEXT", help="Why; recorded, and told to whoever wants to purge.")
@_by
@_reports
def hold(run_name: str, reason: str, by: str | None, reports: str | None) -> None:
    """Place a legal hold: nothing of RUN is purged until it is released."""
    from agentcheck import custody
    from agentcheck.publishing import run_of
    from agentcheck.reporting.safe_text import visible

    folder = _run(run_name, reports)
    placed = custody.hold(folder, reason, _login(by), command=_command())
    click.echo(visible(f"{placed.id} placed on run {run_of(folder)} by {placed.by}: {placed.reason}"))


@ledger.command()
@click.argument("run_name", metavar="RUN")
@click.argument("hold_id", metavar="HOLD")
@click.option("--reason", required=True, metavar="TEXT", help="Why; recorded.")
@_by
@_reports
def release(run_name: str, hold_id: str, reason: str, by: str | None, reports: str | None) -> None:
    """Release a legal hold of RUN by its id, such as hold-1."""
    from agentcheck import custody
    from agentcheck.publishing import run_of
    from agentcheck.reporting.safe_text import visible

    folder = _run(run_name, reports)
    released = custody.release(folder, hold_id, reason, _login(by), command=_command())
    left = len(custody.read_custody(folder).in_force)
    click.echo(visible(f"{released.id} of run {run_of(folder)} is released; holds still in force: {left}"))


@ledger.command("custody")
@click.argument("run_name", metavar="RUN")
@_reports
def custody_(run_name: str, reports: str | None) -> None:
    """List the holds and tombstones of RUN, and who did what to its ledger."""
    from agentcheck.custody import read_account
    from agentcheck.publishing import run_of
    from agentcheck.reporting.custody_text import listing

    folder = _run(run_name, reports)
    click.echo(listing(run_of(folder), read_account(folder)))


@ledger.command()
@click.argument("run_name", metavar="[RUN]", required=False)
@click.option("--all", "every", is_flag=True, help="All runs; one that is held or in trouble does not stop the others.")
@click.option("--dry-run", is_flag=True, help="Only tell what would go.")
@click.option("--yes", is_flag=True, help="Do not ask. Needed where nobody can answer.")
@click.option("--reason", default="", metavar="TEXT", help="Recorded before the rule that made the events due.")
@click.option("--now", metavar="TIME", help="What is due at this time (ISO 8601, UTC unless it says so; default: now).")
@_by
@_reports
def purge(
    run_name: str | None,
    every: bool,
    dry_run: bool,
    yes: bool,
    reason: str,
    now: str | None,
    by: str | None,
    reports: str | None,
) -> None:
    """Take away the payloads whose time has passed, by the retention classes of pyproject.toml.

    What is taken away cannot be brought back. Leaf hashes, chain values and a tombstone stay, so the ledger still
    verifies. Exit code: 0, or 4 where a run is held or written, 3 where one could not be read or written.
    """
    from agentcheck import custody
    from agentcheck.reporting.custody_text import idle, purged
    from agentcheck.runs import RunFolder
    from agentcheck.settings import read_settings

    if (run_name is None) == (not every):
        raise click.UsageError("name a run, or say --all")
    settings, who, time = read_settings(Path.cwd()), _login(by), _time(now)
    folder = Path(reports) if reports else settings.reports_path
    runs = RunFolder.all(folder) if run_name is None else [RunFolder.find(folder, run_name)]

    act = partial(custody.purge, classes=settings.retention, now=time, by=who, reason=reason, command=_command())

    code, wanted, plans = 0, [], []
    for run in runs:
        plan, failed = _tried(run, partial(act, run, dry_run=True))
        code = _worse(code, failed)
        if plan is not None:
            _tell(plan, brief=every)
            plans.append(plan)
            wanted += [] if plan.is_empty else [run]
    if wanted and not dry_run:
        if not yes and not sys.stdin.isatty():
            raise click.UsageError("nothing was purged: nobody can be asked here; say --yes")
        if yes or click.confirm(f"Purge {len(wanted)} of {len(runs)} runs? It cannot be undone"):
            for run in wanted:
                plan, failed = _tried(run, partial(act, run))
                code = _worse(code, failed)
                if plan is not None:
                    click.echo(purged(plan))
    if not wanted and every and not code:
        click.echo(idle(plans))
    sys.exit(code)


def _tried(run: Any, act: Callable[[], Any]) -> tuple[Any, int]:
    """What an act on a run gave, or None and the exit code of its failure, which is told."""
    from agentcheck.reporting.safe_text import visible

    try:
        return act(), 0
    except AgentcheckError as error:
        told = str(error) if run.id in error.what else f"run {run.id}: {error}"
        click.echo(visible(f"agentcheck: {told}"), err=True)
        return None, int(error.exit_code)


def _worse(one: int, other: int) -> int:
    """What broke tells more than what was refused."""
    return min(filter(None, (one, other)), default=0)


def _tell(plan: Any, *, brief: bool) -> None:
    from agentcheck.reporting.custody_text import purge as told

    if not (brief and plan.is_empty and not plan.undefined):
        click.echo(told(plan))


def _time(text: str | None) -> int:
    """A time in microseconds since the Unix epoch."""
    if text is None:
        return time_module.time_ns() // 1000
    try:
        found = datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith(("Z", "z")) else text)
    except ValueError:
        raise UserError(f"--now is no time: {text!r}", advice="such as 2031-01-31 or 2031-01-31T12:00:00Z") from None
    zoned = found if found.tzinfo else found.replace(tzinfo=timezone.utc)
    return int(zoned.timestamp() * 1_000_000)


@ledger.command()
@click.argument("run_name", metavar="RUN")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--withhold",
    multiple=True,
    metavar="WHAT",
    help="content, an event type, SUITE::CASE, SUITE::CASE#TRIAL or STREAM:FIRST-LAST; can be repeated.",
)
@click.option("--reason", default="", metavar="TEXT", help="Recorded in the copy, beside what is withheld.")
@_by
@_reports
def export(
    run_name: str, directory: Path, withhold: tuple[str, ...], reason: str, by: str | None, reports: str | None
) -> None:
    """Copy the ledger of RUN into the new folder DIR as SQLite files, with chosen events withheld.

    The copy verifies like the run itself, against the same checkpoints. What is withheld in it is named there, by a
    stream of custody; where nothing is withheld, the ledger is the same byte for byte.
    """
    from agentcheck.copies import export as copy
    from agentcheck.reporting.safe_text import visible

    made = copy(_run(run_name, reports), directory, withhold, by=_login(by), reason=reason, command=_command())
    for stream, events in made.events.items():
        click.echo(visible(f"{stream}  {events} events, {len(made.withheld.get(stream, ()))} withheld for this copy"))
    says = f"{made.custody} says so in {directory}" if made.custody else f"{directory} holds the same events"
    click.echo(visible(f"{says}; check it with: agentcheck verify {directory}"))


for command in COMMANDS:
    ledger.add_command(command)


@ledger.command()
def migrate() -> None:
    """Make the tables in the database that AGENTCHECK_STORE names, or bring them up to date, as their owner."""
    from agentcheck import stores

    where, applied = stores.migrate()
    click.echo(f"{where}: {'applied ' + ', '.join(applied) if applied else 'nothing to do'}")
