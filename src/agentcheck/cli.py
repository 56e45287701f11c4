"""The commands. Each imports what it needs when it runs, so that ``agentcheck --help`` starts fast."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import click

from agentcheck import __version__
from agentcheck.cli_ledger import ledger as ledger_commands
from agentcheck.errors import AgentcheckError, UserError

#: Foreign pytest plugins that load into every pytest session where they are installed and cost 3 to 25 seconds.
KEPT_OUT = ("-p", "no:deepeval", "-p", "no:phoenix")
#: We are imported before pytest starts, so our own asserts are not rewritten; nobody needs to know.
QUIET = ("-W", "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning")


class _Group(click.Group):
    """Errors of ours end a command with one clear message and their exit code; wrong arguments have the code 4."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **options)
        except click.UsageError as error:
            error.exit_code = 4  # type: ignore[misc]
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            error.exit_code = 4  # type: ignore[misc]
            raise
        except AgentcheckError as error:
            from agentcheck.ledger.redaction import for_no_run
            from agentcheck.reporting.safe_text import visible

            click.echo(f"agentcheck: {visible(for_no_run().text(str(error)))}", err=True)
            ctx.exit(int(error.exit_code))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="agentcheck")
def main() -> None:
    """pytest for the governance of AI agents.

    Runs agents inside a governance runtime, scores what they said and did, and keeps a ledger of every decision.
    """


@main.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": True},
    epilog="Everything else is handed to pytest: -k, -m, -x, --lf, -n, --junitxml, -v ...",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PATHS] [PYTEST OPTIONS]")
@click.option("--base", metavar="REF", help="Hold suites to thresholds, gates and policies of this branch or commit.")
@click.option("--resume", metavar="RUN", help="Finish a stopped run ('last', or an id) without repeating cases.")
@click.option("--reports", metavar="DIR", help="Where runs are written (default: reports).")
@click.option("--case", "case_id", metavar="ID", help="Only the case of this id, in whatever suite.")
@click.option("--concurrency", metavar="N", type=click.IntRange(1, 10000), help="Trials in flight at once.")
def run(
    arguments: tuple[str, ...],
    base: str | None,
    resume: str | None,
    reports: str | None,
    case_id: str | None,
    concurrency: int | None,
) -> None:
    """Run suites and gate on them.

    Exit code: 0 passed, 1 a gate failed, 2 interrupted, 3 the harness, a judge or an agent's transport broke,
    4 your files or arguments are wrong, 5 nothing ran.
    """
    import pytest

    from agentcheck.settings import read_settings

    settings = read_settings(Path.cwd())
    if settings.checkpoints.publish:
        # A place or a key that cannot be used is told before pytest starts, and once: not by each of its workers.
        from agentcheck.plugins import load
        from agentcheck.publishing import configured

        configured(settings, load, os.environ)
    words = list(arguments)
    _refuse_workers_without_xdist(words)
    paths = [word for before, word in zip(["", *words], words, strict=False) if _is_path(word, before)]
    if not paths:
        paths = [str(settings.root / suite) for suite in settings.suites]
        paths = [os.path.relpath(path) for path in paths]
        missing = [path for path in paths if not Path(path).exists()]
        if missing:
            raise UserError(
                f"no suites at {', '.join(missing)}",
                advice="name a path, set [tool.agentcheck] suites in pyproject.toml, or begin with: agentcheck init",
            )
        words = [*paths, *words]
    command = [*KEPT_OUT, *words, *QUIET]
    for path in paths:
        folder = Path(path.partition("::")[0])
        if folder.is_dir() and not _is_project(folder):
            command.append(f"--agentcheck-suites={folder}")
    options = (
        ("base", base),
        ("resume", resume),
        ("reports", reports),
        ("concurrency", concurrency),
        ("case", case_id),
    )
    for name, value in options:
        if value is not None:
            # With "=": as a word of its own, a folder would count when pytest looks for its root.
            command.append(f"--agentcheck-{name}={value}")
    if base is not None:
        command += [
            "-o",
            "addopts=",
        ]  # a change of pytest's configuration does not choose what runs, or that nothing does
    for part in ("agentcheck", "run", *sys.argv[2:]):
        command += [f"--agentcheck-command={part}"]
    # A run that is told to end (a CI job that is cancelled) ends like one that is interrupted: recorded, partial.
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(int(pytest.main(command)))


def _refuse_workers_without_xdist(words: list[str]) -> None:
    from importlib.util import find_spec

    asked = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if _WORKERS.fullmatch(word) and not (before.startswith("-") and _takes_value(before))
    ]
    if asked and find_spec("xdist") is None:
        raise UserError(
            f"{asked[0]} needs pytest-xdist, which is not installed", advice="install it with: pip install pytest-xdist"
        )


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _is_project(folder: Path) -> bool:
    """Whether a folder is a project, and not one of suites: not every TOML and YAML file in it is meant."""
    here = Path.cwd()
    found = folder.resolve()
    return found in (here, *here.parents) or any((found / name).exists() for name in ("pyproject.toml", ".git"))


#: Options of pytest-xdist that ask for worker processes.
_WORKERS = re.compile(r"-n(=?\w+)?|--(numprocesses|maxprocesses|dist|tx)(=.*)?")
#: Short options of pytest, and of pytest-xdist, that take no value; others take it attached or as the next word.
_SHORT = "xvqslhVd"
#: Long ones that take none, so that what follows one may be a path.
_LONG = re.compile(
    r"--(exitfirst|(last|new)-failed|failed-first|new-first|lf|ff|nf|sw|sw-\w+|stepwise.*|strict.*|collect-?only|co|"
    r"keep-?duplicates|continue-on-collection-errors|verbose|quiet|showlocals|full-?trace|pdb|trace|trace-?config|"
    r"runxfail|cache-clear|setup-?\w+|force-short-summary|xfail-tb|pyargs|disable-.*|no-?.*|.*-only)"
)


def _takes_value(option: str) -> bool:
    """Whether the word after an option is its value."""
    if option.startswith("--"):
        return "=" not in option and not _LONG.fullmatch(option)
    return bool(re.fullmatch(f"-[{_SHORT}]*[A-Za-z]", option)) and option[-1] not in _SHORT


def _is_path(word: str, before: str) -> bool:
    """Whether a word of the command line names files: not an option, not the value of one, or plainly a node id."""
    if word.startswith("-") or (before.startswith("-") and _takes_value(before)):
        return False
    return Path(word.partition("::")[0]).exists() or "::" in word or "/" in word


@main.command("list")
@click.argument("paths", nargs=-1)
@click.option("--kind", help="Only one kind: agents, worlds, metrics, controls, datasets, ...")
def list_(paths: tuple[str, ...], kind: str | None) -> None:
    """List suites with their cases, and every agent, world, metric, control and plugin with where it came from."""
    from agentcheck.inventory import listing

    click.echo(listing(paths, kind))


@main.command()
@click.argument("run_name", metavar="RUN")
@click.argument("case", required=False)
@click.option("--reports", metavar="DIR", help="Where runs are (default: reports).")
@click.option("--full", is_flag=True, help="Do not shorten long texts.")
def show(run_name: str, case: str | None, reports: str | None, full: bool) -> None:
    """Print a stored run, or the timeline of one CASE of it. RUN is an id, the beginning of one, or 'last'."""
    from agentcheck.inventory import show_case, show_run

    folder = _find(run_name, reports)
    click.echo(show_case(folder, case, full=full) if case else show_run(folder))


def _find(name: str, reports: str | None) -> Any:
    from agentcheck.runs import RunFolder
    from agentcheck.settings import read_settings

    return RunFolder.find(Path(reports) if reports else read_settings(Path.cwd()).reports_path, name)


@main.command()
@click.argument("ledger", default="last")
@click.option("--checkpoint", "checkpoint", multiple=True, metavar="PATH", help="A signed checkpoint, or a folder.")
@click.option("--keys", metavar="FILE", help="Whose signatures count (a trust file).")
@click.option("--events", is_flag=True, help="Read every event too: form, order, actions without a result.")
@click.option("--whole", is_flag=True, help="Read every event, and exit 1 unless nothing is open.")
@click.option("--witnesses", metavar="N", type=click.IntRange(0), default=0, help="Exit 1 unless N witnesses saw it.")
@click.option("--processes", metavar="N", type=click.IntRange(0), default=0, help="For long streams.")
@click.option("--json", is_flag=True, help="Answer as JSON.")
@click.option("--event", metavar="FILE", help="The bytes of one event, to check with --proof instead of a ledger.")
@click.option("--proof", metavar="FILE", help="A proof that the event is in a checkpoint's tree.")
@click.option("--reports", metavar="DIR", help="Where runs are (default: reports).")
def verify(ledger: str, reports: str | None, **options: Any) -> None:
    """Re-derive a ledger: LEDGER is a ledger file, a run's folder, or a run's id (default: the last run).

    Uses a package that imports the standard library only, and can be run without agentcheck installed.
    A run that is named by its id is also held against the checkpoints that the project's settings say are kept.
    Exit code: 0 what was asked for holds, 1 it does not, 3 a store or place cannot be reached, 4 a path is wrong.
    """
    from argparse import Namespace

    from agentcheck.verifying import verify as check

    sys.exit(check(Namespace(path=ledger, **options), Path(reports) if reports else None))


@main.command()
@click.argument("directory", default=".", type=click.Path(file_okay=False))
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def init(directory: str, force: bool) -> None:
    """Write a working suite, dataset, policy, agent and CI workflow into a repository of yours."""
    from agentcheck.installation.init import main as write

    click.echo(write(Path(directory), force=force))


@main.command()
@click.option("--reports", metavar="DIR", help="Where runs are written (default: reports).")
def doctor(reports: str | None) -> None:
    """Check the installation, plugins and where runs are written; exits 0, or 1 where something must be mended."""
    from agentcheck.installation.doctor import main as examine

    text, code = examine(Path(reports) if reports else None)
    click.echo(text)
    sys.exit(code)


main.add_command(ledger_commands)


if __name__ == "__main__":
    main(prog_name="agentcheck")
