"""`agentcheck run --base REF`: a change cannot lower its own bar, neither by editing, nor moving, nor leaving out."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import cli


def git(folder: Path, *arguments: str) -> None:
    """Run git with an identity of the test's own."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A helpdesk project with a second suite; both are on the branch `base`, and the working tree is on `work`."""
    folder = cli.desk(tmp_path)
    rows = (folder / "golden_datasets" / "desk.jsonl").read_text("utf-8").splitlines(keepends=True)
    (folder / "golden_datasets" / "desk.jsonl").write_text("".join(rows[:4]), "utf-8")
    (folder / "suites" / "second.toml").write_text((folder / "suites" / "desk.toml").read_text("utf-8"), "utf-8")
    cli.edit(folder / "suites" / "second.toml", 'name = "desk"', 'name = "second"')
    (folder / ".gitignore").write_text("reports/\n__pycache__/\n")
    git(folder, "init", "-q", "-b", "base")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    git(folder, "checkout", "-qb", "work")
    return folder


def report(folder: Path) -> Any:
    """The JSON report of the last run."""
    return json.loads((cli.last_run(folder) / "report.json").read_text("utf-8"))


def one_line(text: str) -> str:
    """A text as it would stand without the terminal's line breaks."""
    return " ".join(text.split())


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "workers"])
def test_a_suite_that_was_removed_fails_the_run(desk: Path, workers: list[str]) -> None:
    """Exit code 1, with the suite, its file and what to do in the terminal and in every report; the ledger verifies."""
    assert cli.agentcheck(desk, "run", "--base", "base", *workers).code == 0
    (desk / "suites" / "second.toml").unlink()
    done = cli.agentcheck(desk, "run", "--base", "base", *workers)
    assert done.code == 1, done.text
    assert "4 passed" in done.out
    assert "second: the suite was removed" in done.out
    told = "the base base has the suite 'second' (suites/second.toml), which is not here"
    gone = next(suite for suite in report(desk)["suites"] if suite["name"] == "second")
    assert gone["gate"]["passed"] is False
    assert told in gone["cases"][0]["reasons"][0]
    for name in ("summary.md", "junit.xml", "report.html", "findings.sarif"):
        assert "which is not here" in (cli.last_run(desk) / name).read_text("utf-8"), name
    assert cli.agentcheck(desk, "verify").code == 0
    assert told in cli.agentcheck(desk, "show", "last", "second::*").out


def test_a_part_that_was_named_misses_nothing(desk: Path) -> None:
    """Who names files means these; a suite that nobody named is not asked for."""
    (desk / "suites" / "second.toml").unlink()
    assert cli.agentcheck(desk, "run", "suites/desk.toml", "--base", "base").code == 0
    assert cli.agentcheck(desk, "run", "suites", "--base", "base").code == 1
    assert cli.agentcheck(desk, "run").code == 0


@pytest.mark.parametrize("file", ["suites/moved.toml", "suites/more/second.toml"])
def test_a_suite_that_was_moved_is_held_to_its_bar(desk: Path, file: str) -> None:
    """A new file, the old name, a lower bar: the old bar counts, and all of it is told."""
    (desk / file).parent.mkdir(exist_ok=True)
    (desk / "suites" / "second.toml").rename(desk / file)
    if "more" in file:
        cli.edit(desk / file, "../golden_datasets", "../../golden_datasets")
    cli.edit(desk / "golden_datasets" / "desk.jsonl", "T-2 is", "T-2 was")
    cli.edit(desk / file, "pass_rate = 1.0", "pass_rate = 0.1")
    done = cli.agentcheck(desk, "run", "--base", "base")
    assert done.code == 1, done.text
    assert f"the file of the suite: suites/second.toml -> {file}" in one_line(done.out)
    second = next(suite for suite in report(desk)["suites"] if suite["name"] == "second")
    assert second["gate"]["passed"] is False
    assert "gate.pass_rate: 1.0 -> 0.1" in second["changed"]
    assert len(report(desk)["suites"]) == 2


def test_a_suite_with_a_new_file_and_a_new_name_is_missed(desk: Path) -> None:
    """Nothing says that it is the same suite: one is new, and the other is not here."""
    (desk / "suites" / "second.toml").rename(desk / "suites" / "third.toml")
    cli.edit(desk / "suites" / "third.toml", 'name = "second"', 'name = "third"')
    done = cli.agentcheck(desk, "run", "--base", "base")
    assert done.code == 1, done.text
    assert "new suite: base does not have it" in done.out


def test_a_suite_that_is_not_collected_is_missed(desk: Path) -> None:
    """An option that keeps a file out, which the change may have written into the project's own settings."""
    done = cli.agentcheck(desk, "run", "--base", "base", "--ignore=suites/second.toml")
    assert done.code == 1, done.text
    assert "second: the suite was removed" in done.out


def test_a_case_that_was_removed_is_told(desk: Path) -> None:
    """A dataset that shrinks is the change's own, and every report lists which cases went."""
    file = desk / "golden_datasets" / "desk.jsonl"
    rows = file.read_text("utf-8").splitlines(keepends=True)
    file.write_text("".join(rows[1:]), "utf-8")
    done = cli.agentcheck(desk, "run", "--base", "base")
    assert done.code == 0, done.text
    told = f"1 of 4 cases of base were removed: {json.loads(rows[0])['id']}"
    assert told in one_line(done.out)
    assert all(told in str(suite["changed"]) for suite in report(desk)["suites"])


@pytest.mark.parametrize(
    "addopts",
    ["-k status", "--deselect suites/desk.toml::too-much-1", "--collect-only", "-h", "--ignore=suites/second.toml"],
)
def test_a_change_of_pytests_configuration_chooses_nothing(desk: Path, addopts: str) -> None:
    """All cases run, as if the options were not there."""
    (desk / "pytest.ini").write_text(f"[pytest]\naddopts = {addopts}\n", "utf-8")
    done = cli.agentcheck(desk, "run", "--base", "base")
    assert (done.code, report(desk)["counts"]["pass"]) == (0, 8), done.text


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "workers"])
def test_a_conftest_that_leaves_cases_out_is_an_error(desk: Path, workers: list[str]) -> None:
    """Exit code 4 with the suite and the number; a selection on the command line is the caller's own."""
    hook = "def pytest_collection_modifyitems(items):\n    del items[1:]\n"
    (desk / "suites" / "conftest.py").write_text(hook, "utf-8")
    done = cli.agentcheck(desk, "run", "--base", "base", *workers)
    assert done.code == 4, done.text
    assert "3 of 4 cases of desk are left out by something other than the command line" in one_line(done.text)
    assert cli.agentcheck(desk, "run", *workers).code == 0
    whole = "def pytest_collection_modifyitems(items):\n    items[:] = [i for i in items if 'second' not in i.nodeid]\n"
    (desk / "suites" / "conftest.py").write_text(whole, "utf-8")
    done = cli.agentcheck(desk, "run", "--base", "base", *workers)
    assert (done.code, "4 of 4 cases of second are left out" in one_line(done.text)) == (4, True), done.text
    (desk / "suites" / "conftest.py").unlink()
    assert cli.agentcheck(desk, "run", "--base", "base", "-k", "status", *workers).code == 0
