"""A helpdesk project whose ledger is signed and published, and a witness in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cli
from agentcheck.ledger.notes import Checkpoint, PublicKey, checkpoint, public_key, split

NAME, WITNESS = "example.org/acme", "witness.example.net"


@dataclass(frozen=True)
class Project:
    """A project with a key, a witness's folder and a trust file; everything is below ``folder``."""

    folder: Path
    desk: Path
    key: Path
    log: PublicKey
    witness: PublicKey

    def run(self, *arguments: str, **variables: str) -> cli.Done:
        """Run agentcheck in the project, with its key."""
        return cli.agentcheck(self.desk, *arguments, **{"AGENTCHECK_SIGNING_KEY": str(self.key), **variables})

    def publish(self, *addresses: str, more: str = "") -> None:
        """Write the settings."""
        listed = ", ".join(f'"{each}"' for each in addresses)
        (self.desk / "pyproject.toml").write_text(f"[tool.agentcheck.checkpoints]\npublish = [{listed}]\n{more}")

    def kept(self) -> list[Checkpoint]:
        """What the folder `kept` of the project holds, by stream and size."""
        found = [checkpoint(file.read_text("utf-8")) for file in (self.desk / "kept").rglob("*.checkpoint")]
        return sorted(found, key=lambda each: (each.origin, each.size, len(each.note.signatures)))

    def noted(self) -> list[Checkpoint]:
        """What the Git notes of the commit hold, as Git shows them."""
        return [checkpoint(each) for each in split(git(self.desk, "notes", "--ref=agentcheck", "show"))]


def git(folder: Path, *arguments: str) -> str:
    """Run Git."""
    command = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def project(folder: Path) -> Project:
    """The helpdesk project as a Git repository, with keys made by the commands."""
    desk = cli.desk(folder)
    made = cli.agentcheck(folder, "ledger", "keygen", NAME, "--out", "log.key")
    assert made.code == 0, made.text
    witness = cli.agentcheck(folder, "ledger", "witness", "init", "w", "--name", WITNESS)
    assert witness.code == 0, witness.text
    (desk / "trust.txt").write_text(made.out + witness.out)
    git(desk, "init", "-q")
    git(desk, "add", ".")
    git(desk, "commit", "-q", "-m", "first")
    keys = [public_key(line.split()[1], 0x01, 0x04) for line in (made.out, witness.out)]
    return Project(folder, desk, folder / "log.key", *keys)


@contextmanager
def witness(of: Project, listen: str = "127.0.0.1:0") -> Iterator[str]:
    """The project's witness, served by its command; gives its URL, and ends it as a service manager does."""
    command = [sys.executable, "-m", "agentcheck", "ledger", "witness", "serve", "w", "--log", str(of.log)]
    with subprocess.Popen(
        [*command, "--listen", listen],
        cwd=of.folder,
        env={**cli.environment(of.folder), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(f"witness {WITNESS} answers at http://"), line
            yield line.split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    assert process.returncode == 0
