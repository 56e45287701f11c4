"""Runs agentcheck and pytest as a user would: in a process of their own, in a folder of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DESK = Path(__file__).parent / "acceptance" / "desk"


@dataclass(frozen=True)
class Done:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Both streams."""
        return self.out + self.err


def environment(folder: Path) -> dict[str, str]:
    """The environment of a command: plain terminal, and the folder's own modules importable."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "AGENTCHECK_"))}
    return {**kept, "PYTHONPATH": str(folder), "COLUMNS": "120", "NO_COLOR": "1", "PYTHONWARNINGS": "default"}


def call(folder: Path, *command: str, timeout: float = 120, **variables: str) -> Done:
    """Run a command of this interpreter, such as ``-m agentcheck run``, with further variables of its environment."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**environment(folder), **variables},
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


def agentcheck(folder: Path, *arguments: str, **variables: str) -> Done:
    """Run agentcheck."""
    return call(folder, "-m", "agentcheck", *arguments, **variables)


def pytest_(folder: Path, *arguments: str) -> Done:
    """Run pytest."""
    return call(folder, "-m", "pytest", "-p", "no:cacheprovider", *arguments)


def desk(folder: Path) -> Path:
    """A copy of the helpdesk project."""
    target = folder / "desk"
    shutil.copytree(DESK, target, ignore=shutil.ignore_patterns("reports", "__pycache__"))
    return target


def edit(file: Path, old: str, new: str) -> None:
    """Replace a text that must be there."""
    text = file.read_text("utf-8")
    assert old in text, f"{file} lacks {old!r}"
    file.write_text(text.replace(old, new), "utf-8")


def last_run(folder: Path) -> Path:
    """The latest run's folder."""
    return sorted(path for path in (folder / "reports").iterdir() if re.match(r"\d{8}-", path.name))[-1]
