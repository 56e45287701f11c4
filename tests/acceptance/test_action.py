"""The composite action's shell steps, run with bash in a checkout, with the environment that GitHub sets."""

from __future__ import annotations

import html
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentcheck.installation.init import write_project

ACTION = Path(__file__).parents[2] / "action.yml"
DOCUMENT = yaml.safe_load(ACTION.read_text(encoding="utf-8"))


def step(name: str) -> dict[str, Any]:
    """A step of the action by its name."""
    return next(each for each in DOCUMENT["runs"]["steps"] if each["name"] == name)


def git(folder: Path, *arguments: str) -> None:
    """One git command with a fixed identity."""
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


class Checkout:
    """A repository as actions/checkout leaves it, and a runner's environment files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.temp = folder / "runner"
        self.temp.mkdir()
        self.summary = folder / "summary.md"
        self.output = folder / "output"
        write_project(self.folder)
        git(self.folder, "init", "-q", "-b", "main")
        self.commit("first")

    def commit(self, message: str) -> None:
        """Commit everything."""
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-q", "-m", message)

    def run(self, name: str, variables: Mapping[str, str], **github: str) -> subprocess.CompletedProcess[str]:
        """Run one step as the runner does: bash, its options, and the step's own variables."""
        env = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "PYTEST_"))}
        env |= {"RUNNER_TEMP": str(self.temp), "GITHUB_OUTPUT": str(self.output), "CI": "true"}
        env |= {"GITHUB_STEP_SUMMARY": str(self.summary), "GITHUB_ACTIONS": "true", "GITHUB_BASE_REF": "", **github}
        env |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}", **variables}
        assert set(variables) == set(step(name)["env"])
        self.output.write_text("")
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step(name)["run"]],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @property
    def outputs(self) -> dict[str, str]:
        """What the last step wrote to its output file."""
        return dict(line.split("=", 1) for line in self.output.read_text().splitlines())


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh checkout of the example project."""
    return Checkout(tmp_path)


PLAIN = {"PATHS": "", "BASE": "", "ARGS": ""}


def test_a_passing_run_writes_summary_and_outputs(checkout: Checkout) -> None:
    """The step ends well, names the run's folder and its SARIF file, and fills the step summary."""
    done = checkout.run("Run agentcheck", PLAIN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert checkout.outputs["exit-code"] == "0"
    assert (Path(checkout.outputs["run"]) / "ledger.db").is_file()
    assert Path(checkout.outputs["sarif"]).is_file()
    assert "shop" in checkout.summary.read_text()


def test_a_failing_gate_keeps_its_exit_code(checkout: Checkout) -> None:
    """The run step does not end the job, so findings are uploaded; the last step ends it with the code of the run."""
    agent = checkout.folder / "shop_assistant.py"
    agent.write_text(agent.read_text().replace("I cannot find", "I lost"))
    done = checkout.run("Run agentcheck", PLAIN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert checkout.outputs["exit-code"] == "1", done.stdout + done.stderr
    assert "no-such-order" in html.unescape(checkout.summary.read_text())
    assert checkout.run("Pass on the exit code", {"CODE": "1"}).returncode == 1
    assert checkout.run("Pass on the exit code", {"CODE": "0"}).returncode == 0


def test_a_run_that_cannot_start_says_so(checkout: Checkout) -> None:
    """A suite that does not load leaves its exit code and a sentence in the summary."""
    (checkout.folder / "suites" / "shop.toml").write_text("[suit]\n")
    done = checkout.run("Run agentcheck", PLAIN)
    assert done.returncode == 0
    assert checkout.outputs["exit-code"] == "4"
    assert "exit code 4" in checkout.summary.read_text()


def test_a_pull_request_is_held_to_its_target(checkout: Checkout) -> None:
    """On a pull request the suites get the thresholds of the target branch, although the change lowers them."""
    git(checkout.folder, "update-ref", "refs/remotes/origin/main", "HEAD")
    git(checkout.folder, "checkout", "-q", "-b", "lower")
    agent = checkout.folder / "shop_assistant.py"
    agent.write_text(agent.read_text().replace("I cannot find", "I lost"))
    suite = checkout.folder / "suites" / "shop.toml"
    suite.write_text(suite.read_text().replace("pass_rate = 1.0", "pass_rate = 0.1"))
    checkout.commit("lower the bar")
    held = checkout.run("Run agentcheck", PLAIN, GITHUB_BASE_REF="main")
    assert held.returncode == 0, held.stdout + held.stderr
    assert checkout.outputs["exit-code"] == "1", held.stdout + held.stderr
    assert "pass_rate" in html.unescape(checkout.summary.read_text())
    checkout.run("Run agentcheck", {**PLAIN, "BASE": "none"}, GITHUB_BASE_REF="main")
    assert checkout.outputs["exit-code"] == "0"


def test_paths_and_arguments_reach_the_command(checkout: Checkout) -> None:
    """Paths come a line each, further arguments as on a command line, quotes included."""
    variables = {**PLAIN, "PATHS": "suites/shop.toml\n\n", "ARGS": "-k 'small or large' -q"}
    done = checkout.run("Run agentcheck", variables)
    assert checkout.outputs["exit-code"] == "0", done.stdout + done.stderr
    assert "3 passed" in done.stdout


@pytest.mark.parametrize("variable", ["PATHS", "BASE", "ARGS"])
def test_inputs_are_never_commands(variable: str, checkout: Checkout) -> None:
    """Shell syntax in an input is text: nothing that it names is started."""
    planted = checkout.folder / "planted"
    hostile = f"$(touch {shlex.quote(str(planted))});`touch {planted}`;x"
    checkout.run("Run agentcheck", {**PLAIN, variable: hostile})
    assert not planted.exists()
    assert checkout.outputs["exit-code"] not in ("0", "")


def test_a_hostile_branch_name_is_never_a_command(checkout: Checkout) -> None:
    """The target branch's name comes from outside as well."""
    planted = checkout.folder / "planted"
    checkout.run("Run agentcheck", PLAIN, GITHUB_BASE_REF=f"$(touch {planted})")
    assert not planted.exists()


def test_two_runs_in_one_job_do_not_mix(checkout: Checkout) -> None:
    """The action may be used twice in a job; each use has a folder of its own."""
    checkout.run("Run agentcheck", PLAIN)
    first = checkout.outputs["run"]
    checkout.run("Run agentcheck", PLAIN)
    assert checkout.outputs["run"] != first


@pytest.mark.parametrize(
    ("package", "requirements", "wanted"),
    [
        ("", "", ["/the action"]),
        (
            "agentcheck-governance==0.1.0",
            "-e .\n\n-r requirements.txt",
            ["agentcheck-governance==0.1.0", "-e", ".", "-r", "requirements.txt"],
        ),
    ],
    ids=["this version", "named"],
)
def test_what_is_installed(
    package: str, requirements: str, wanted: list[str], checkout: Checkout, tmp_path: Path
) -> None:
    """Without a package named, the action installs the version it is; requirements follow as pip arguments."""
    programs = tmp_path / "programs"
    programs.mkdir()
    log = tmp_path / "asked"
    stub = programs / "python"
    stub.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {shlex.quote(str(log))}\n')
    stub.chmod(0o755)
    variables = {"PACKAGE": package, "REQUIREMENTS": requirements, "ACTION_PATH": "/the action"}
    script = {**variables, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step("Install agentcheck")["run"]],
        env=script,
        cwd=checkout.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert log.read_text().splitlines() == ["-m", "pip", "install", "--disable-pip-version-check", *wanted]
