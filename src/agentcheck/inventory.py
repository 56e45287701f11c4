"""What there is: suites with their cases, everything plugins bring, and stored runs; text for the commands."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from agentcheck import hookspecs, plugins
from agentcheck.collection import prepare
from agentcheck.errors import UserError
from agentcheck.reporting import terminal
from agentcheck.reporting.safe_text import line
from agentcheck.run_report import RunFold
from agentcheck.runs import RunFolder
from agentcheck.settings import make_importable, read_settings
from agentcheck.suites import SUFFIXES, load_suite


def look() -> terminal.Look:
    """How standard output looks."""
    columns = shutil.get_terminal_size((100, 24)).columns
    return terminal.Look(min(columns, 140), sys.stdout.isatty(), sys.stdout.encoding or "utf-8")


def suite_files(paths: tuple[str, ...]) -> list[Path]:
    """The suite files at the given paths, or at those that the settings name.

    Raises:
        UserError: a path that does not exist.
    """
    settings = read_settings(Path.cwd())
    found: list[Path] = []
    for path in [Path(path) for path in paths] or [settings.root / suite for suite in settings.suites]:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and ".policy." not in p.name)
        elif path.is_file():
            found.append(path)
        elif paths:
            raise UserError(f"no suite at {path}")
    return found


def listing(paths: tuple[str, ...], kind: str | None) -> str:
    """``agentcheck list``.

    Raises:
        UserError: an unknown kind, or a suite that does not load.
    """
    make_importable(read_settings(Path.cwd()).root)
    registry = plugins.load()
    kinds = ("suites", *hookspecs.KINDS)
    if kind is not None and kind not in kinds:
        raise UserError(f"no kind is called {kind!r}", advice=f"known: {', '.join(kinds)}")
    lines: list[str] = []
    if kind in (None, "suites"):
        files = suite_files(paths)
        for file in files:
            lines += _suite(file, registry)
        if not files:
            lines.append("no suites here; name a path, or begin with: agentcheck init")
    width = max((len(entry.name) for entry in registry.entries()), default=0)
    origin = max((len(entry.reference) for entry in registry.entries()), default=0)
    for name, label in hookspecs.KINDS.items():
        entries = list(registry.entries(name))
        if kind in (None, name) and (entries or kind == name):
            lines += ["", f"{label}s"]
            lines += [f"  {entry.name:<{width}}  {entry.reference:<{origin}}  ({entry.plugin})" for entry in entries]
    return "\n".join(lines).strip("\n")


def _suite(file: Path, registry: plugins.Registry) -> Iterator[str]:
    plan = prepare(load_suite(file), registry, retention=read_settings(Path.cwd()).retention)
    suite, spec = plan.suite, plan.suite.spec
    reason = f", skipped: {suite.skip_reason}" if suite.skip_reason else ""
    shown = os.path.relpath(file) if Path.cwd() in file.absolute().parents else file
    yield f"suite {suite.name}  {shown}  {len(plan.cases)} cases{reason}"
    yield f"  agent {spec.agent.use}, world {spec.world.use}, policy {plan.policy.name} {plan.policy.hash[:12]}"
    runtime = plan.runtime((), "[]")
    for row in runtime.describe():
        settings = f": {row['settings']}" if row["settings"] else ""
        yield f"  control {row['id']}{settings}"
    for measure in plan.measures:
        held = "recorded" if measure.threshold is None else f"threshold {measure.threshold:g}"
        yield f"  metric {measure.name} ({held})"
    for case in plan.cases:
        yield f"    {line(case.id)}  {line(case.source)}"


def show_run(folder: RunFolder) -> str:
    """``agentcheck show RUN``: the run as its ledger holds it."""
    return terminal.stored(RunFold.of(folder).report(), look())


def show_case(folder: RunFolder, name: str, *, full: bool = False) -> str:
    """``agentcheck show RUN CASE``: the timeline of every trial of a case.

    Raises:
        UserError: no such case in the run.
    """
    report = RunFold.of(folder).report()
    found = report.find(name)
    if found is None:
        known = [f"{suite.name}::{case.id}" for suite in report.suites for case in suite.cases]
        near = [each for each in known if name in each][:5]
        raise UserError(
            f"run {folder.id} has no case {name!r}", advice=f"did you mean {', '.join(near)}" if near else ""
        )
    _, case = found
    parts = []
    for trial in case.trials:
        transcript = report.transcript(trial.session)
        assert transcript is not None  # the report names only trials that its own ledger began
        parts.append(terminal.timeline(transcript, look(), full=full))
    return "\n\n".join(parts) or f"{case.id}: {case.status}: {'; '.join(case.reasons)}"
