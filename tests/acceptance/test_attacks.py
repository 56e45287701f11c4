"""Runs that go wrong in the ways that CI, hostile agents and tired people bring about: no exit code may be kind."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import cli
from agentcheck.runs import RunFolder


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A helpdesk project of a user, with four cases."""
    folder = cli.desk(tmp_path)
    rows = (folder / "golden_datasets" / "desk.jsonl").read_text("utf-8").splitlines(keepends=True)
    (folder / "golden_datasets" / "desk.jsonl").write_text("".join(rows[:4]), "utf-8")
    return folder


def agent(desk: Path, body: str) -> None:
    """Replace the agent by one that does this when it is asked about T-2, and else works as before."""
    text = f"import desk\nasync def agent(task, session):\n    if 'T-2' in task.prompt:\n        {body}\n"
    (desk / "odd.py").write_text(text + "    return await desk.agent(task, session)\n", "utf-8")
    cli.edit(desk / "suites" / "desk.toml", "desk:agent", "odd:agent")


def report(folder: Path) -> Any:
    """The JSON report of the last run."""
    return json.loads((cli.last_run(folder) / "report.json").read_text("utf-8"))


def test_an_agent_that_calls_exit_is_an_error_and_the_others_run(desk: Path) -> None:
    """sys.exit(0) in an agent: exit code 3, no traceback of ours, three cases passed."""
    agent(desk, "raise SystemExit(0)")
    done = cli.agentcheck(desk, "run")
    assert done.code == 3, done.text
    assert "INTERNALERROR" not in done.text
    assert report(desk)["counts"]["pass"] == 3


def test_a_world_that_exits_at_the_end_does_not_exit_0(desk: Path) -> None:
    """sys.exit(0) while the witness is read, also at the end of a run."""
    cli.edit(desk / "desk.py", "if not self.log.exists():", "raise SystemExit(0)\n        if not self.log.exists():")
    done = cli.agentcheck(desk, "run")
    assert done.code == 3, done.text
    assert "INTERNALERROR" not in done.text


def test_a_worker_that_dies_is_no_failed_gate(desk: Path) -> None:
    """os._exit(0) in a worker of pytest-xdist: exit code 3; what another worker takes up is a new attempt."""
    rows = (cli.DESK / "golden_datasets" / "desk.jsonl").read_text("utf-8").splitlines(keepends=True)
    (desk / "golden_datasets" / "desk.jsonl").write_text("".join(rows[:6]), "utf-8")
    agent(desk, "await session.call_tool('lookup', ticket='T-1')\n        __import__('os')._exit(0)")
    done = cli.agentcheck(desk, "run", "-n", "2")
    assert done.code == 3, done.text
    assert report(desk)["suites"][0]["gate"]["passed"] is None
    started = [event.session for event in RunFolder(cli.last_run(desk)).events() if event.type == "case.started"]
    assert len(started) == len(set(started))


def test_wrong_files_are_the_users_with_workers_too(desk: Path) -> None:
    """A dataset that does not load has the exit code 4, whoever collects it."""
    cli.edit(desk / "golden_datasets" / "desk.jsonl", '"prompt"', '"promt"')
    done = cli.agentcheck(desk, "run", "-n", "2")
    assert done.code == 4, done.text


def test_stopping_early_with_workers_is_a_failed_gate_and_no_interruption(desk: Path) -> None:
    """-x under pytest-xdist: something failed, nobody interrupted."""
    cli.edit(desk / "suites" / "desk.toml", "desk:agent", "desk:careless_agent")
    done = cli.agentcheck(desk, "run", "-n", "2", "-x")
    assert done.code == 1, done.text
    assert report(desk)["run"]["status"] == "finished"


@pytest.mark.parametrize("option", ["--base=", "--resume=", "--reports="])
def test_an_empty_option_is_a_mistake(desk: Path, option: str) -> None:
    """An empty variable of a CI script does not switch the base branch's bar off."""
    done = cli.agentcheck(desk, "run", option)
    assert done.code == 4, done.text
    assert f"{option[:-1]} is empty" in done.err
    assert not (desk / "reports").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["run", "--reports", "desk.py"], 3, "cannot write the run's folder"),
        (["run", "--resume", "nosuch"], 4, "no run 'nosuch'"),
        (["run", "-n", "2", "--resume", "nosuch"], 4, "no run 'nosuch'"),
        (["run", "--base", "nosuch"], 4, "--base nosuch"),
        (["run", "--concurrency", "x"], 4, "not a valid integer"),
        (["run", "--case", "status-3"], 4, "did you mean 'status-2'"),
        (["nosuch"], 4, "No such command"),
        (["doctor", "--nosuch"], 4, "No such option"),
    ],
)
def test_wrong_arguments_are_told_without_a_traceback(desk: Path, arguments: list[str], code: int, told: str) -> None:
    """What is wrong, in words."""
    done = cli.agentcheck(desk, *arguments)
    assert done.code == code, done.text
    assert told in done.text
    assert "Traceback" not in done.text
    assert "INTERNALERROR" not in done.text


@pytest.mark.parametrize("returncode", [42, 0])
def test_an_exit_that_a_test_asks_for_is_never_a_pass(desk: Path, returncode: int) -> None:
    """pytest.exit() in the middle keeps its code, and where that is 0 the missing cases still count."""
    (desk / "test_exit.py").write_text(f"import pytest\ndef test_x():\n    pytest.exit('x', returncode={returncode})\n")
    assert cli.agentcheck(desk, "run", "test_exit.py", "suites").code == (returncode or 3)


def test_one_case_is_found_by_its_id_in_any_suite(desk: Path) -> None:
    """--case needs no path, and takes an id that pytest would read as an expression."""
    cli.edit(desk / "golden_datasets" / "desk.jsonl", '"status-2"', '"-k [x] or \\u00fc"')
    done = cli.agentcheck(desk, "run", "--case=-k [x] or \u00fc")
    assert done.code == 0, done.text
    assert [case["id"] for case in report(desk)["suites"][0]["cases"]] == ["-k [x] or \u00fc"]


@pytest.mark.parametrize("selection", [["-k", "status"], ["suites/desk.toml::status-2"], ["-p", "cuts"]])
def test_a_part_of_a_suite_is_told_however_it_was_chosen(desk: Path, selection: list[str]) -> None:
    """An expression, a node id, or a plugin that takes items away without a word: the rest is counted."""
    (desk / "cuts.py").write_text("def pytest_collection_modifyitems(items):\n    items[:] = items[1:2]\n")
    done = cli.agentcheck(desk, "run", *selection)
    assert done.code == 0, done.text
    assert "desk: 3 of 4 cases not selected" in done.out


@pytest.mark.parametrize(
    ("file", "old", "new", "what"),
    [
        ("suites/desk.toml", "pass_rate = 1.0", "pass_rate = 0.0", "suite"),
        ("golden_datasets/desk.jsonl", "T-2", "T-7", "dataset"),
        ("suites/policies/desk.policy.toml", "gt = 100", "gt = 10000", "policy"),
        ("desk.py", "I may not refund", "Refunded", "agent"),
    ],
)
def test_a_run_is_not_resumed_with_something_else(desk: Path, file: str, old: str, new: str, what: str) -> None:
    """Verdicts of two states of suite, dataset, policy or agent do not end up in one run."""
    assert cli.agentcheck(desk, "run").code == 0
    assert cli.agentcheck(desk, "run", "--resume", "last").code == 0
    cli.edit(desk / file, old, new)
    done = cli.agentcheck(desk, "run", "--resume", "last")
    assert done.code == 4, done.text
    assert f"{what} changed since the run" in done.out


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_a_run_is_not_resumed_with_another_selection(desk: Path, workers: list[str]) -> None:
    """What the run began with is what it has to finish."""
    assert cli.agentcheck(desk, "run", "-k", "status").code == 0
    done = cli.agentcheck(desk, "run", "--resume", "last", *workers)
    assert done.code == 4, done.text
    assert "selected 1 cases of desk, and 4 are selected now" in done.text


def test_a_run_that_is_going_on_is_not_resumed(desk: Path) -> None:
    """Two processes do not decide the same cases."""
    (desk / "odd.py").write_text("def agent(prompt):\n    print('asked', flush=True)\n    input()\n    return 'x'\n")
    cli.edit(desk / "suites" / "desk.toml", "desk:agent", "odd:agent")
    command = [cli.sys.executable, "-m", "agentcheck", "run", "-s"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=desk, env=cli.environment(desk), stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert any(b"asked" in line for line in process.stdout)
        done = cli.agentcheck(desk, "run", "--resume", "last")
        process.kill()
    assert done.code == 4, done.text
    assert "still going on" in done.err


def test_a_ledger_that_is_garbage_is_told_by_every_command(desk: Path) -> None:
    """What is wrong and where; a resume is broken, not interrupted."""
    assert cli.agentcheck(desk, "run").code == 0
    (cli.last_run(desk) / "ledger.db").write_bytes(b"garbage" * 1000)
    for command in (["show", "last"], ["run", "--resume", "last"]):
        done = cli.agentcheck(desk, *command)
        assert done.code == 3, done.text
        assert "ledger.db" in done.err
        assert "Traceback" not in done.text


def test_a_project_is_not_a_folder_of_suites(desk: Path) -> None:
    """`agentcheck run .` takes the suites of a project, not its other YAML files."""
    (desk / "docker-compose.yaml").write_text("services: {}\n")
    done = cli.agentcheck(desk, "run", ".")
    assert done.code == 0, done.text
    assert "4 passed" in done.out


def test_without_a_project_file_runs_are_written_where_one_stands(desk: Path, tmp_path: Path) -> None:
    """Not in whatever folder the working directory and the suites have in common."""
    here = tmp_path / "here"
    here.mkdir()
    done = cli.call(here, "-c", f"import sys; sys.path.insert(0, {str(desk)!r})\n" + RUN, "run", str(desk / "suites"))
    assert done.code == 0, done.text
    assert [path.name for path in here.iterdir()] == ["reports"]
    assert not (tmp_path / "reports").exists()


RUN = "from agentcheck.cli import main\nmain(prog_name='agentcheck')"


def test_strict_warnings_of_a_project_are_kept_apart(desk: Path) -> None:
    """-W error on the command line does not end in a traceback of ours."""
    done = cli.agentcheck(desk, "run", "-W", "error", "-p", "no:cacheprovider")
    assert done.code == 0, done.text


@pytest.mark.parametrize("before", ["-n0", "-vv", "--cache-clear", "--tb=short", "-ra", "--strict-markers"])
def test_the_path_after_an_option_is_a_path(desk: Path, before: str) -> None:
    """Only what was named runs."""
    (desk / "suites" / "other.toml").write_text("broken")
    done = cli.agentcheck(desk, "run", before, "suites/desk.toml")
    assert done.code == 0, done.text


def test_what_agents_print_comes_with_the_case_that_failed(desk: Path) -> None:
    """The progress line stays whole; prints, of processes too, are shown with a failed case and with -s at once."""
    body = "print('told in passing'); __import__('os').system('echo told by a process >&2'); return 'wrong'"
    agent(desk, body)
    done = cli.agentcheck(desk, "run")
    assert done.code == 1, done.text
    progress, _, failures = done.out.partition("= FAILURES =")
    assert "told" not in progress
    assert "Captured stdout of this case and others" in failures
    assert "told in passing" in failures
    assert "told by a process" in failures
    assert "told in passing" in cli.agentcheck(desk, "run", "-s").out.partition("= FAILURES =")[0]
    cli.edit(desk / "odd.py", "return 'wrong'", "pass")
    done = cli.agentcheck(desk, "run")
    assert done.code == 0, done.text
    assert "told" not in done.text


def test_what_agents_print_is_harmless_in_a_terminal(desk: Path) -> None:
    """Escapes in captured text are spelled out, as everywhere."""
    agent(desk, r"print('\x1b[2J\x1b]0;owned\x07'); return 'wrong'")
    done = cli.agentcheck(desk, "run")
    assert done.code == 1, done.text
    assert "\x1b" not in done.text
    assert r"\x1b[2J\x1b]0;owned\x07" in done.text


def test_a_ledger_that_is_removed_during_the_run_is_no_empty_run(desk: Path) -> None:
    """An agent that clears the folder of reports: exit code 3, and what happened."""
    agent(desk, "import glob, shutil; [shutil.rmtree(each) for each in glob.glob('reports/2*')]")
    done = cli.agentcheck(desk, "run")
    assert done.code == 3, done.text
    assert "the run's ledger was removed or replaced while it ran" in done.text
