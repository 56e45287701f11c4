"""``agentcheck init``: a working suite, dataset, policy, agent and CI workflow in the user's own repository.

All or nothing: everything is checked and written beside its place first and then moved there, and what was moved is
moved back when a later step fails. Nothing that exists is overwritten unless asked for.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path

from agentcheck.errors import UserError
from agentcheck.installation.source import requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Template -> where it goes. A template keeps a suffix of its own so that no tool takes it for code of this package.
FILES: Mapping[str, str] = {
    "shop.toml.txt": "suites/shop.toml",
    "shop.policy.toml.txt": "suites/policies/shop.policy.toml",
    "shop.jsonl.txt": "golden_datasets/shop.jsonl",
    "shop_assistant.py.txt": "shop_assistant.py",
    "reports.gitignore.txt": "reports/.gitignore",
    "agentcheck.yml.txt": ".github/workflows/agentcheck.yml",
}
WORKFLOW = "agentcheck.yml.txt"
#: The line of the workflow that says what pip installs.
PACKAGE = 'AGENTCHECK_PACKAGE: ""'
CONFIGURATION = '[tool.agentcheck]\nsuites = ["suites"]\n'


def main(directory: Path, *, force: bool = False) -> str:
    """The command: write the project and say what was written and what to do next; raises as `write_project`."""
    written = write_project(directory, force=force)
    lines = [f"wrote {path}" for path in written]
    return "\n".join([*lines, "", "next:", *(f"  {step}" for step in next_steps(directory))])


def write_project(directory: Path, *, force: bool = False) -> list[Path]:
    """Write the example project into a folder, which is made when absent; returns the files written.

    Raises:
        UserError: a file is already there (all of them are named) and ``force`` is not set, or the folder cannot be
            written. Nothing has been changed then.
    """
    texts = {directory / target: _template(name) for name, target in FILES.items()}
    workflow = directory / FILES[WORKFLOW]
    # A JSON text is a YAML text.
    texts[workflow] = texts[workflow].replace(PACKAGE, PACKAGE.replace('""', json.dumps(requirement())))
    _refuse_obstacles(directory, list(texts), force=force)
    made: list[Path] = []
    staged: dict[Path, Path] = {}
    try:
        for target, text in texts.items():
            made += _make_folders(target.parent)
            staged[target] = _stage(target, text)
        _move(staged)
    except BaseException as error:
        for path in staged.values():
            path.unlink(missing_ok=True)
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise UserError(
                f"cannot write the project: {error.strerror}",
                where=str(error.filename or directory),
                advice="nothing was changed; is the folder writable, and is there room?",
            ) from error
        raise
    return list(texts)


def next_steps(directory: Path) -> list[str]:
    """What to do after `write_project`, a line each: the command that runs the suite, and what could be configured."""
    here = directory.resolve() == Path.cwd().resolve()
    steps = ["agentcheck run"] if here else [f"cd {directory}", "agentcheck run"]
    package = requirement()
    if package:
        steps.append(f"in CI, {FILES[WORKFLOW]} installs {package}")
    else:
        steps.append(f"set AGENTCHECK_PACKAGE at the top of {FILES[WORKFLOW]}, which fails until then:")
        steps.append("  this agentcheck was installed from a folder or file of this machine, which CI cannot reach")
    project = directory / "pyproject.toml"
    if project.is_file() and not _is_configured(project):
        steps.append("to name other folders than suites/, add to pyproject.toml:")
        steps += [f"  {line}" for line in CONFIGURATION.splitlines()]
    return steps


def _is_configured(project: Path) -> bool:
    try:
        return "agentcheck" in tomllib.loads(project.read_text(encoding="utf-8")).get("tool", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return True  # nothing sensible can be said about a file that does not parse


def _template(name: str) -> str:
    return (resources.files("agentcheck.installation") / "templates" / name).read_text(encoding="utf-8")


def _refuse_obstacles(directory: Path, targets: Sequence[Path], *, force: bool) -> None:
    for target in targets:
        for parent in (target, *target.parents):
            if parent.is_dir() and parent == target:
                raise UserError("a folder is in the way", where=str(parent), advice="move it, or choose another folder")
            if parent != target and parent.exists() and not parent.is_dir():
                raise UserError("a file stands where a folder is needed", where=str(parent))
    present = [target for target in targets if os.path.lexists(target)]
    if present and not force:
        names = ", ".join(str(path.relative_to(directory)) for path in present)
        raise UserError(
            f"already there: {names}", where=str(directory), advice="--force overwrites them; nothing was changed"
        )


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and its parents; returns those that were made, outermost first."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _stage(target: Path, text: str) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    staged = Path(name)
    staged.chmod(0o644)
    return staged


def _move(staged: Mapping[Path, Path]) -> None:
    """Move all staged files to their places, keeping what they replace until the last one stands."""
    kept: dict[Path, Path | None] = {}
    try:
        for target, path in staged.items():
            kept[target] = None
            if os.path.lexists(target):
                old = path.with_name(f"{path.name}.old")
                target.replace(old)
                kept[target] = old
            path.replace(target)
    except BaseException:
        for target, previous in kept.items():
            if previous is not None:
                previous.replace(target)
            elif not staged[target].exists():
                target.unlink(missing_ok=True)
        raise
    for previous in kept.values():
        if previous is not None:
            previous.unlink()
