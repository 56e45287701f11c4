"""What an auditor does with a ledger: the walk-through of docs/ledger.md, copies, stale copies, keys that change."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import agentcheck.ledger.verify as verifier
from agentcheck.contracts import Row
from agentcheck.ledger.ledger import Ledger, unsafe_keep_all
from agentcheck.storage.sqlite import SqliteStore
from fakes_ledger import finished, started

DOCUMENT = Path(__file__).parents[2] / "docs" / "ledger.md"
SETTINGS = """
[tool.agentcheck.checkpoints]
publish = ["file:checkpoints"]
trust = "trusted-keys.txt"
"""


def agentcheck(*arguments: str, folder: Path, key: Path | None = None, code: int = 0) -> str:
    """Run the command in a folder, and give what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AGENTCHECK_")}
    if key is not None:
        environment["AGENTCHECK_SIGNING_KEY"] = str(key)
    done = subprocess.run(
        [sys.executable, "-m", "agentcheck", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose run was signed, and a second one signed by a newer key; the first key is beside it."""
    folder = tmp_path_factory.mktemp("walk") / "project"
    folder.mkdir()
    agentcheck("init", folder=folder)
    (folder / "pyproject.toml").write_text(SETTINGS)
    keys = ""
    for name in ("first", "second"):
        key = folder.parent / f"{name}.key"
        keys += agentcheck("ledger", "keygen", "example.com/shop", "--out", str(key), folder=folder)
        (folder / "trusted-keys.txt").write_text(keys)
        agentcheck("run", "--reports", f"reports-{name}", folder=folder, key=key)
    return folder


def run_of(project: Path, name: str) -> Path:
    """The folder of the run that a key signed."""
    (found,) = (project / f"reports-{name}").iterdir()
    return found


@pytest.fixture
def assessed(project: Path, tmp_path: Path) -> Path:
    """What an auditor is given, and where he works."""
    run = run_of(project, "first")
    shutil.copytree(run, tmp_path / "assessed" / "run", ignore=shutil.ignore_patterns("*.key", "report*"))
    shutil.copytree(project / "checkpoints" / run.name, tmp_path / "assessed" / "checkpoints")
    shutil.copyfile(project / "trusted-keys.txt", tmp_path / "trusted-keys.txt")
    shutil.copytree(Path(verifier.__file__).parent, tmp_path / "verify", ignore=shutil.ignore_patterns("__pycache__"))
    (checkpoint,) = (tmp_path / "assessed" / "checkpoints").rglob("*.checkpoint")
    made = tmp_path / "event.tlog-proof"
    agentcheck("ledger", "prove", str(run), "main:7", "--checkpoint", str(checkpoint), "-o", str(made), folder=project)
    return tmp_path


def test_the_walk_through_is_what_happens(assessed: Path) -> None:
    """Each command of the page is executed, by an interpreter without any package, and does what the page says."""
    page = DOCUMENT.read_text("utf-8")
    section = page[page.index("## An auditor's walk-through") : page.index("## Streams")]
    commands = [
        command.strip()
        for block in re.findall(r"```console\n(.+?)```", section, re.DOTALL)
        for command in re.split(r"^\$ ", block, flags=re.MULTILINE)
        if command.strip()
    ]
    answers = []
    for command in commands:
        script = re.sub(r"^python ", f"{sys.executable} -I -S ", command)
        done = subprocess.run(
            ["bash", "-c", script], cwd=assessed, capture_output=True, text=True, timeout=60, check=False
        )
        assert not done.stderr, command
        answers.append((done.returncode, done.stdout))
    whole, _, changed_by, changed, _, cut_by, cut, missing, proven = answers
    assert whole[0] == changed_by[0] == cut_by[0] == 0
    assert re.search(r"^CONSISTENT_WITH_CHECKPOINT\(size (\d+) of \1, time 20", whole[1], re.MULTILINE)
    assert changed[0] == 1
    assert re.search(r"^INCONSISTENT: ledger.db, stream main, event \d+: altered", changed[1], re.MULTILINE)
    assert cut[0] == 0
    assert "\nCONSISTENT, 5 events" in cut[1]
    assert "stream main has no end" in cut[1]
    assert missing[0] == 1
    assert "stream main, event 6: missing rows" in missing[1]
    assert "asked for, and not there" not in missing[1]  # the checkpoint was there; it is the events that are not
    assert proven[0] == 0
    assert proven[1].startswith("INCLUDED: case.started, event 7 of the ")


def test_old_checkpoints_stay_verifiable_after_a_rotation(project: Path) -> None:
    """Runs signed before and after the key was changed are both covered; the trust file names both keys."""
    for name in ("first", "second"):
        answer = agentcheck("verify", "--reports", f"reports-{name}", "--whole", folder=project)
        assert "CONSISTENT_WITH_CHECKPOINT" in answer


def test_a_revoked_key_is_named(project: Path, tmp_path: Path) -> None:
    """A checkpoint of a revoked key does not count, and the answer names the key, the time and the reason."""
    keys = (project / "trusted-keys.txt").read_text()
    label = re.search(r"log (\S+\+[0-9a-f]{8})\+", keys)
    assert label is not None
    file = tmp_path / "keys.txt"
    file.write_text(f"{keys}revoked {label[1]} 2020-01-01T00:00:00Z it was printed in a build log\n")
    answer = agentcheck("verify", "--reports", "reports-first", "--keys", str(file), folder=project, code=1)
    assert f"key {label[1]}, which is revoked from 2020-01-01T00:00:00Z on (it was printed in a build log)" in answer
    assert "CONSISTENT_WITH_CHECKPOINT" in agentcheck(
        "verify", "--reports", "reports-second", "--keys", str(file), folder=project
    )


def test_the_key_of_another_is_not_taken(project: Path, tmp_path: Path) -> None:
    """Held against a trust file of other keys, a checkpoint does not count, and whose it claims to be is said."""
    other = agentcheck("ledger", "keygen", "example.com/shop", "--out", str(tmp_path / "x.key"), folder=project)
    (tmp_path / "keys.txt").write_text(other)
    answer = agentcheck(
        "verify", "--reports", "reports-first", "--keys", str(tmp_path / "keys.txt"), folder=project, code=1
    )
    assert "signed by no key that is trusted" in answer


def test_checkpoints_without_keys_are_not_taken_for_anything(project: Path) -> None:
    """A checkpoint that is named without any key to trust is a mistake of the caller, and nothing is verified."""
    agentcheck("verify", str(run_of(project, "first")), "--checkpoint", "checkpoints", folder=project, code=4)


def test_a_private_key_is_not_repeated(project: Path, tmp_path: Path) -> None:
    """The private key in the place of the trust file, or as an entry of it, is told without a letter of its secret."""
    private = (project.parent / "first.key").read_text().strip()
    for text in (private, f"log {private}"):
        (tmp_path / "keys.txt").write_text(f"{text}\n")
        done = subprocess.run(
            [sys.executable, str(Path(verifier.__file__).parent), ".", "--keys", str(tmp_path / "keys.txt")],
            cwd=run_of(project, "first"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 4
        assert "line 1: this is a private key" in done.stderr
        assert private.rpartition("+")[2][:12] not in done.stdout + done.stderr


def test_a_swapped_checkpoint_is_found(project: Path) -> None:
    """The checkpoint of another run does not pass for this one's, named or in a folder."""
    other = next((project / "checkpoints" / run_of(project, "second").name).rglob("*.checkpoint"))
    run = str(run_of(project, "first"))
    trust = ("--keys", "trusted-keys.txt")
    answer = agentcheck("verify", run, "--checkpoint", str(other), *trust, folder=project, code=1)
    assert f"a checkpoint of example.com/shop/{run_of(project, 'second').name}/main, not of the run" in answer
    answer = agentcheck("verify", run, "--checkpoint", str(other.parent), *trust, folder=project, code=1)
    assert "asked for, and not there: a checkpoint of this run" in answer


# Copies


def test_a_copy_made_while_the_ledger_is_written_verifies_as_far_as_it_goes(tmp_path: Path) -> None:
    """SQLite's backup of a ledger that is being written is a whole prefix of it."""
    source, copy = tmp_path / "ledger.db", tmp_path / "copy.db"
    with Ledger(SqliteStore(source), "main", redact=unsafe_keep_all) as ledger:
        ledger.record(*started())
        for _ in range(500):
            ledger.record("run.note", {"level": "info", "text": "x"})
        ledger.flush()
        with closing(sqlite3.connect(source)) as reading, closing(sqlite3.connect(copy)) as writing:
            reading.backup(writing)
        ledger.record(*finished())
    result = verifier.verify(copy, events=True)
    assert result.consistent
    assert (result.events, result.notices) == (501, [])
    assert verifier.verify(source).events == 502


def test_a_stale_copy_is_told_from_the_current_one(project: Path, tmp_path: Path) -> None:
    """A restored older state verifies by itself; the checkpoint of the later one shows that events are missing."""
    run = run_of(project, "first")
    stale = tmp_path / "stale"
    stale.mkdir()
    with closing(sqlite3.connect(run / "ledger.db")) as connection:
        kept = connection.execute("SELECT stream, seq, payload, chain FROM events WHERE seq <= 40").fetchall()
    with closing(SqliteStore(stale / "ledger.db")) as store:
        store.append([Row(*row) for row in kept])
    assert "\nCONSISTENT, 40 events" in agentcheck("verify", str(stale), folder=project)
    folder = str(project / "checkpoints")
    answer = agentcheck(
        "verify", str(stale), "--checkpoint", folder, "--keys", "trusted-keys.txt", folder=project, code=1
    )
    assert "event 41: missing rows" in answer
    assert "or this is an older copy" in answer


def test_a_plain_copy_of_a_run_still_verifies(project: Path, tmp_path: Path) -> None:
    """Backup by copying the folder, restore under another name: the checkpoints still cover every event."""
    copy = tmp_path / "restored"
    shutil.copytree(run_of(project, "first"), copy)
    folder = str(project / "checkpoints")
    answer = agentcheck(
        "verify", str(copy), "--checkpoint", folder, "--keys", "trusted-keys.txt", "--whole", folder=project
    )
    assert "CONSISTENT_WITH_CHECKPOINT" in answer
