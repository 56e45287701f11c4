"""docs/checkpoints.md: its settings are read, its commands run one after another, its CI step keeps every note."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

import cli
from agentcheck.anchors.git_notes import GitNotesAnchor
from agentcheck.ledger.notes import checkpoint, split
from agentcheck.ledger.trust import read_trust
from agentcheck.settings import read_settings
from checkpointed import git
from kits.anchor import no_proof, signed

TEXT = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of a language, in order; also those that belong to a list."""
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```", TEXT, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(each) for each in found]


def shell(folder: Path, script: str) -> None:
    """Run a script as CI does: it ends at the first command that fails."""
    environment = {
        **cli.environment(folder),
        "HOME": str(folder.parent / "home"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # Nobody has told Git a name.
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "user.useConfigOnly",
        "GIT_CONFIG_VALUE_0": "true",
    }
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A helpdesk project in a repository with a commit."""
    folder = cli.desk(tmp_path)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_the_commands_work_in_the_order_of_the_page(desk: Path) -> None:
    """Settings, key, run, anchors, proof, witness and second key: every command of the page succeeds."""
    (settings,) = blocks("toml")
    (desk / "pyproject.toml").write_text(settings)
    scripts = blocks("sh")
    assert len(scripts) == 7
    shell(desk, "".join(scripts))
    assert read_settings(desk).checkpoints.publish == ("file:checkpoints", "git:refs/notes/agentcheck")
    trust = read_trust(desk / "trusted-keys.txt")
    assert ([each.name for each in trust.logs], len(trust.witnesses)) == (["example.org/acme"] * 2, 1)
    cosigned = checkpoint((desk / "cosigned.checkpoint").read_text("utf-8"))
    assert trust.witnesses[0].time_of(cosigned.note)
    assert trust.logs[0].time_of(cosigned.note) == 0
    assert (desk / "event-3.json").exists()
    assert (desk / "event-3.tlog-proof").exists()
    keys = [desk.parent / "home" / ".config" / "agentcheck" / name for name in ("acme.key", "acme-2.key")]
    assert all(key.exists() for key in keys)
    # Nothing that Git would take is a private key.
    assert not [file for file in desk.rglob("*") if file.is_file() and b"PRIVATE+KEY" in file.read_bytes()]


def test_what_is_carried_to_a_witness_may_be_one_of_many(desk: Path) -> None:
    """With several checkpoints of a stream, and after a new key, the recipe cosigns the latest one."""
    (settings,) = blocks("toml")
    (desk / "pyproject.toml").write_text(settings.replace("every_events = 10000", "every_events = 100"))
    scripts = blocks("sh")
    (recipe,) = (each for each in scripts if "cosign" in each)
    (rotation,) = (each for each in scripts if "acme-2.key" in each)
    (run,) = (each for each in scripts if "agentcheck run" in each)
    (made,) = (each for each in scripts if "witness init" in each)
    shell(desk, "".join([scripts[0], run.partition("agentcheck verify")[0], made, rotation, recipe]))
    sizes = [int(file.stem) for file in (desk / "checkpoints").glob("*/main/*.checkpoint")]
    assert len(sizes) > 1
    cosigned = checkpoint((desk / "cosigned.checkpoint").read_text("utf-8"))
    assert cosigned.size == max(sizes)
    assert read_trust(desk / "trusted-keys.txt").witnesses[0].time_of(cosigned.note)


def test_making_a_key_again_leaves_the_trust_file_as_it_was(desk: Path) -> None:
    """The command of the page, run twice, refuses and takes nothing away."""
    first = blocks("sh")[0]
    shell(desk, first)
    before = (desk / "trusted-keys.txt").read_text()
    shell(desk, f"{first.strip()} && exit 1 || true")
    assert (desk / "trusted-keys.txt").read_text() == before != ""


def test_the_step_of_ci_keeps_every_note(desk: Path) -> None:
    """Jobs on the same commit, each in a clone of its own, push their notes one after another; all are there then."""
    (step,) = (job for job in _steps() if "if" in job)
    origin = desk.parent / "origin.git"
    git(desk.parent, "clone", "-q", "--bare", str(desk), str(origin))
    for number in range(1, 4):
        clone = desk.parent / f"clone{number}"
        git(desk.parent, "clone", "-q", str(origin), str(clone))
        GitNotesAnchor("git:refs/notes/agentcheck", clone).publish(signed(number), no_proof)
        shell(clone, step["run"])
    shown = git(origin, "notes", "--ref=agentcheck", "show")
    assert {checkpoint(each).size for each in split(shown)} == {1, 2, 3}
    anchor = GitNotesAnchor("git:refs/notes/agentcheck", origin)
    assert set(anchor.notes("20250101-120000-ab12")) == {signed(number) for number in range(1, 4)}


def _steps() -> list[Any]:
    (text,) = blocks("yaml")
    found: list[Any] = yaml.safe_load(text)
    return found
