"""``agentcheck doctor``: does this installation work here, said as facts with advice; no heavy package is imported.

Packages are looked up by their metadata, never imported. What the doctor cannot know by itself (how plugins are
loaded, which pytest plugins our runs keep out) is handed to it.
"""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from packaging.requirements import Requirement

from agentcheck.errors import DISTRIBUTION, AgentcheckError

if TYPE_CHECKING:
    from agentcheck.settings import Settings

Status = Literal["ok", "warn", "fail", "absent"]
OLDEST_PYTHON = (3, 10)
#: WAL exists since 3.7.0; below 3.37 there are no STRICT tables, and all supported systems have more.
OLDEST_SQLITE = (3, 37, 0)
#: pytest plugins that are known to slow every session of their environment by seconds.
SLOW_PYTEST_PLUGINS = ("deepeval", "phoenix")
#: Extras for people who work on agentcheck; nobody misses them.
INTERNAL_EXTRAS = ("test", "dev")
#: The group of entry points by which plugins are found.
PLUGINS = "agentcheck"
GIB = 1024**3


@dataclass(frozen=True)
class Check:
    """One thing looked at. ``fail`` means that runs will not work; ``warn`` and ``absent`` do not stop them."""

    name: str
    status: Status
    detail: str
    advice: str = ""


def main(reports: Path | None = None) -> tuple[str, int]:
    """The command: what was found, a line each, and the exit code, 0 or 1.

    Raises:
        UserError: ``[tool.agentcheck]`` cannot be read.
    """
    from agentcheck import plugins, stores
    from agentcheck.settings import read_settings

    settings = read_settings(Path.cwd())
    checks = examine(
        reports=reports or settings.reports_path,
        load_plugins=lambda: [(entry.plugin, entry.kind, entry.name) for entry in plugins.load().entries()],
        ask_store=stores.examine,
        ask_checkpoints=lambda: _published(settings),
        events_in_reports=stores.is_default(),
    )
    return text(checks), 0 if works(checks) else 1


def _published(settings: Settings) -> Sequence[tuple[str, str, str]]:
    if not settings.checkpoints.publish:
        return [("ok", "nothing is published: the settings name no place", "")]
    from agentcheck import plugins, publishing  # what reads suites comes with it, which takes its time

    return publishing.examine(settings, plugins.load, os.environ)


def text(checks: Sequence[Check]) -> str:
    """What was found as plain text: status, name, detail, and the advice below where there is something to do."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.status:<6} {check.name:<{width}}  {check.detail}")
        if check.advice:
            lines.append(f"{'':<6} {'':<{width}}  -> {check.advice}")
    failed = sum(check.status == "fail" for check in checks)
    lines.append(f"\n{failed} of {len(checks)} checks failed" if failed else f"\n{len(checks)} checks, none failed")
    return "\n".join(lines)


def examine(
    *,
    reports: Path,
    load_plugins: Callable[[], Sequence[tuple[str, str, str]]],
    ask_store: Callable[[], Sequence[tuple[str, str, str]]],
    ask_checkpoints: Callable[[], Sequence[tuple[str, str, str]]],
    events_in_reports: bool = True,
    kept_out: Collection[str] = SLOW_PYTEST_PLUGINS,
    encoding: str | None = None,
) -> list[Check]:
    """Look at everything and return what was found, in a fixed order.

    Args:
        reports: where runs are written; it need not exist.
        load_plugins: loads all plugins and returns what they bring, as (plugin, kind, name); raises `AgentcheckError`.
        ask_store: looks at the store of new runs and returns what it found, as (``ok``, ``warn`` or ``fail``, what,
            advice).
        ask_checkpoints: the same for where checkpoints are published, and by which key.
        events_in_reports: whether events are written below ``reports``, into SQLite files.
        kept_out: pytest plugins that our runs switch off.
        encoding: of the terminal; default: standard output's.
    """
    return [
        _python(),
        *_packages(),
        *_extras(),
        *_plugins(load_plugins),
        *_pytest_plugins(kept_out),
        _sqlite(),
        *(Check("store", cast("Status", status), detail, advice) for status, detail, advice in ask_store()),
        *(Check("checkpoints", cast("Status", status), *rest) for status, *rest in ask_checkpoints()),
        _durable_write(reports) if events_in_reports else _write(reports),
        _disk(reports),
        _git(),
        _terminal(encoding if encoding is not None else sys.stdout.encoding),
    ]


def works(checks: Collection[Check]) -> bool:
    """True where nothing failed; ``agentcheck doctor`` exits 0 then, and 1 otherwise."""
    return all(check.status != "fail" for check in checks)


def _python() -> Check:
    version = platform.python_version()
    detail = f"{platform.python_implementation()} {version} on {platform.system()} {platform.machine()}"
    if sys.version_info < OLDEST_PYTHON:
        return Check("python", "fail", detail, "agentcheck needs Python 3.10 or newer")
    return Check("python", "ok", detail)


def _requirements() -> Iterator[tuple[str, Requirement]]:
    """``(extra, requirement)`` as our own metadata declares them; ``""`` for the core."""
    for line in metadata.requires(DISTRIBUTION) or ():
        requirement = Requirement(line)
        for extra in ("", *(metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or ())):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                yield extra, requirement
                break


def _fits(requirement: Requirement) -> tuple[Status, str]:
    """Whether a requirement is met here, and in words what is installed."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return "absent", f"{requirement.name} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return "fail", f"{requirement.name} {version} is outside {requirement.specifier}"
    return "ok", f"{requirement.name} {version}"


def _packages() -> Iterator[Check]:
    try:
        found = [_fits(requirement) for extra, requirement in _requirements() if not extra]
    except metadata.PackageNotFoundError:
        yield Check("packages", "warn", "agentcheck runs from source, without metadata", "pip install -e .")
        return
    wrong = [text for status, text in found if status != "ok"]
    if wrong:
        yield Check("packages", "fail", "; ".join(wrong), f"pip install --upgrade {DISTRIBUTION}")
    else:
        yield Check("packages", "ok", ", ".join(text for _, text in found))


def _extras() -> Iterator[Check]:
    wanted: dict[str, list[tuple[Status, str]]] = defaultdict(list)
    try:
        for extra, requirement in _requirements():
            if extra and extra not in INTERNAL_EXTRAS:
                wanted[extra].append(_fits(requirement))
    except metadata.PackageNotFoundError:
        return
    for extra, found in wanted.items():
        name, advice = f"extra {extra}", f'pip install "{DISTRIBUTION}[{extra}]"'
        statuses = {status for status, _ in found}
        detail = ", ".join(text for _, text in found)
        if "fail" in statuses:
            yield Check(name, "warn", detail, advice)
        elif "absent" in statuses:
            yield Check(name, "absent", detail, advice)
        else:
            yield Check(name, "ok", detail)


def _plugins(load_plugins: Callable[[], Sequence[tuple[str, str, str]]]) -> Iterator[Check]:
    """What is registered in all, then each plugin that is installed: where it comes from and what it brings."""
    try:
        entries = load_plugins()
    except AgentcheckError as error:
        yield Check("plugins", "fail", error.what, error.advice)
        return
    yield Check("plugins", "ok", f"{len(entries)} names registered")
    for point in metadata.entry_points(group=PLUGINS):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
        brought = [f"{kind.removesuffix('s')} {name}" for plugin, kind, name in entries if plugin == point.name]
        yield Check(
            f"plugin {point.name}", "ok", f"{point.value} of {package}: {', '.join(brought) or 'it brings no names'}"
        )


def _pytest_plugins(kept_out: Collection[str]) -> Iterator[Check]:
    """Foreign pytest plugins that load themselves into every session, by name; they are not imported."""
    for point in metadata.entry_points(group="pytest11"):
        if point.name not in SLOW_PYTEST_PLUGINS:
            continue
        name = f"pytest plugin {point.name}"
        if point.name in kept_out:
            detail = "loads into every pytest session here; `agentcheck run` keeps it out"
            yield Check(name, "warn", detail, f"for plain pytest, add to addopts: -p no:{point.name}")
        else:
            yield Check(name, "fail", "loads into our runs too, and slows each by seconds", f"-p no:{point.name}")


def _sqlite() -> Check:
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        return Check("sqlite", "fail", f"SQLite {version} is older than {oldest}", "use a newer Python or SQLite")
    return Check("sqlite", "ok", f"SQLite {version}")


def _nearest(path: Path) -> Path:
    """The folder itself, or its nearest parent that exists."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _write(reports: Path) -> Check:
    """Write a file where the folders of runs will be, whose events go elsewhere."""
    folder = _nearest(reports)
    try:
        with tempfile.TemporaryFile(prefix=".agentcheck-doctor-", dir=folder) as file:
            file.write(b"written")
    except OSError as error:
        return Check(
            "reports", "fail", f"cannot write in {folder}: {error.strerror}", "choose another --reports folder"
        )
    return Check("reports", "ok", f"a file was written in {folder}; events go to the store, not there")


def _durable_write(reports: Path) -> Check:
    """Write one row as a ledger would (WAL, synchronous FULL) where runs will be written, and read it back."""
    folder = _nearest(reports)
    try:
        with tempfile.TemporaryDirectory(prefix=".agentcheck-doctor-", dir=folder) as scratch:
            return _probe(Path(scratch) / "probe.db", folder)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Check(
            "ledger", "fail", f"cannot write a ledger in {folder}: {reason}", "choose another --reports folder"
        )


def _probe(path: Path, folder: Path) -> Check:
    connection = sqlite3.connect(path)
    try:
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE probe (value TEXT)")
        connection.execute("INSERT INTO probe VALUES ('written')")
        connection.commit()
    finally:
        connection.close()
    connection = sqlite3.connect(path)
    try:
        row = connection.execute("SELECT value FROM probe").fetchone()
    finally:
        connection.close()
    if row != ("written",):
        return Check(
            "ledger", "fail", f"a row written in {folder} did not come back", "choose another --reports folder"
        )
    if mode != "wal":
        return Check(
            "ledger",
            "fail",
            f"the file system of {folder} does not carry SQLite's WAL",
            "write reports to a local disk",
        )
    return Check("ledger", "ok", f"a durable row was written and read back in {folder}")


def _disk(reports: Path) -> Check:
    folder = _nearest(reports)
    free = shutil.disk_usage(folder).free
    detail = f"{free / GIB:.1f} GiB free in {folder}"
    if free < GIB // 10:
        return Check("disk", "fail", detail, "a ledger that cannot be written stops every action; make room")
    return Check("disk", "warn" if free < GIB else "ok", detail, "make room" if free < GIB else "")


def _git() -> Check:
    program = shutil.which("git")
    if program is None:
        return Check("git", "absent", "git is not on the path", "runs then record no commit, and --base cannot be used")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    return Check("git", "ok" if done.returncode == 0 else "warn", done.stdout.strip() or done.stderr.strip())


def _terminal(encoding: str | None) -> Check:
    """Whether the terminal can show what reports are written in."""
    try:
        "✓ – →".encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return Check("terminal", "warn", f"encoding {encoding or 'unknown'}", "set PYTHONIOENCODING=utf-8")
    return Check("terminal", "ok", f"encoding {encoding}")
