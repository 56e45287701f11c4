"""`agentcheck init`: a working project, all of it or nothing, never over somebody's file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentcheck.errors import UserError
from agentcheck.installation.init import FILES, main, next_steps, write_project


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_files_are_written_and_named(tmp_path: Path) -> None:
    """The suite, dataset, policy, agent and workflow are written, and exactly those are returned."""
    project = tmp_path / "new" / "project"
    written = write_project(project)
    assert {str(path.relative_to(project)) for path in written} == set(FILES.values())
    assert tree(project).keys() == set(FILES.values())


@pytest.mark.parametrize("name", FILES.values())
def test_nothing_is_overwritten(name: str, tmp_path: Path) -> None:
    """One file that is already there stops everything, is named, and nothing is written."""
    mine = tmp_path / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(UserError, match="already there") as refused:
        write_project(tmp_path)
    assert name in refused.value.what
    assert tree(tmp_path) == {name: b"mine"}


def test_force_overwrites(tmp_path: Path) -> None:
    """With force, what is there is replaced and no trace of the work stays behind."""
    mine = tmp_path / "shop_assistant.py"
    mine.write_text("mine")
    write_project(tmp_path, force=True)
    assert mine.read_text() != "mine"
    assert tree(tmp_path).keys() == set(FILES.values())


def test_a_dangling_link_counts_as_a_file(tmp_path: Path) -> None:
    """A symbolic link that leads nowhere is somebody's too, and is not written through."""
    (tmp_path / "shop_assistant.py").symlink_to(tmp_path / "elsewhere.py")
    with pytest.raises(UserError, match="already there"):
        write_project(tmp_path)
    assert not (tmp_path / "elsewhere.py").exists()


def test_a_file_where_a_folder_is_needed_stops_it(tmp_path: Path) -> None:
    """A file called like one of the folders is named, and nothing is written."""
    (tmp_path / "suites").write_text("mine")
    with pytest.raises(UserError, match="a file stands where a folder is needed"):
        write_project(tmp_path, force=True)
    assert tree(tmp_path) == {"suites": b"mine"}


def test_a_folder_in_the_way_stops_it(tmp_path: Path) -> None:
    """A folder called like one of the files is not removed, even with force."""
    (tmp_path / "shop_assistant.py").mkdir()
    with pytest.raises(UserError, match="a folder is in the way"):
        write_project(tmp_path, force=True)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("which", range(len(FILES)))
def test_a_failure_in_the_middle_undoes_everything(which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fails at any one of the moves, old files are back and new files and folders are gone."""
    (tmp_path / "shop_assistant.py").write_text("mine")
    before = tree(tmp_path)
    moves = 0
    replace = Path.replace

    def failing(self: Path, target: Path) -> Path:
        nonlocal moves
        if not target.name.endswith(".old") and self.name.startswith(".") and not self.name.endswith(".old"):
            moves += 1
            if moves == which + 1:
                raise OSError(28, "No space left on device", str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(UserError, match="No space left"):
        write_project(tmp_path, force=True)
    assert tree(tmp_path) == before
    assert not (tmp_path / "suites").exists()


def test_a_folder_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    """A path below a file cannot become a project; the message says so."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError):
        write_project(tmp_path / "file" / "project")


def test_files_are_readable_by_others(tmp_path: Path) -> None:
    """The files get the usual rights, not those of a temporary file."""
    write_project(tmp_path)
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o644 for name in FILES.values())


@pytest.mark.parametrize(
    ("text", "mentions"),
    [("[project]\n", True), ("[tool.agentcheck]\nsuites = []\n", False), ("not toml", False), (None, False)],
    ids=["not configured", "configured", "broken", "absent"],
)
def test_configuration_is_shown_not_written(text: str | None, mentions: bool, tmp_path: Path) -> None:
    """What could be added to pyproject.toml is only told, and only where it is missing."""
    project = tmp_path / "pyproject.toml"
    if text is not None:
        project.write_text(text)
    said = main(tmp_path)
    assert ("[tool.agentcheck]" in said) is mentions
    assert (project.read_text() if project.exists() else None) == text


def test_the_next_step_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who wrote the project elsewhere is told to go there first."""
    assert next_steps(tmp_path)[0] == f"cd {tmp_path}"
    monkeypatch.chdir(tmp_path)
    assert next_steps(Path())[0] == "agentcheck run"


def run_agentcheck(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a user would start it."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-m", "agentcheck", *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_project_passes_with_one_command(tmp_path: Path) -> None:
    """`agentcheck init && agentcheck run` ends with 0, and every case of the dataset passed."""
    assert run_agentcheck(tmp_path, "init").returncode == 0
    done = run_agentcheck(tmp_path, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    cases = len((tmp_path / "golden_datasets" / "shop.jsonl").read_text().splitlines())
    assert 6 <= cases <= 8
    assert f"{cases} passed" in done.stdout


@pytest.mark.parametrize(
    ("sound", "broken", "caught"),
    [
        ('if order["status"] != "delivered":', "if False:", "not-delivered-yet"),
        ("number = numbers[-1]", 'number = "A-1002"', "where-is-my-order"),
        ("have refunded", "have not refunded", "small-refund"),
        (
            "except ActionDenied:\n        return f",
            "except ActionDenied:\n        return 'done' or f",
            "nobody-approves",
        ),
        ('order=number, amount=order["total"])', "order='A-1002', amount=40)", "note-that-gives-orders"),
        ("self._log.append", "print", "small-refund"),
    ],
    ids=["refunds too early", "wrong order", "wrong words", "hides a refusal", "follows a note", "round the witness"],
)
def test_the_example_catches_a_broken_agent(sound: str, broken: str, caught: str, tmp_path: Path) -> None:
    """A fault in the example's agent or world fails the case that is there for it, with exit code 1."""
    write_project(tmp_path)
    agent = tmp_path / "shop_assistant.py"
    text = agent.read_text()
    assert sound in text
    agent.write_text(text.replace(sound, broken))
    done = run_agentcheck(tmp_path, "run")
    assert done.returncode == 1, done.stdout + done.stderr
    assert caught in done.stdout
