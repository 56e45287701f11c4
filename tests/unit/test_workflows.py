"""The workflows and the action by structure: what they start, what they are allowed, and what may reach a shell."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "src" / "agentcheck" / "installation" / "templates" / "agentcheck.yml.txt"
WORKFLOWS = (*sorted((ROOT / ".github" / "workflows").glob("*.yml")), TEMPLATE)
ACTION = ROOT / "action.yml"
MAJOR_TAG = re.compile(r"^[\w-]+/[\w/.-]+@v\d+$")
#: Contexts that somebody who opens a pull request can write into.
UNTRUSTED = re.compile(r"\$\{\{")


def load(path: Path) -> dict[str, Any]:
    """A workflow; YAML 1.1 reads the key ``on`` as true."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return {"on" if key is True else key: value for key, value in document.items()}


def steps(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All steps of a workflow or of a composite action."""
    if "runs" in document:
        yield from document["runs"]["steps"]
    for job in document.get("jobs", {}).values():
        yield from job.get("steps", ())


def faults(document: Mapping[str, Any]) -> list[str]:
    """What GitHub would refuse, or what would hand a stranger's text to a shell."""
    found = []
    for name, job in document.get("jobs", {}).items():
        found += [f"job {name} lacks {key}" for key in ("runs-on", "steps", "timeout-minutes") if key not in job]
    for step in steps(document):
        title = step.get("name") or step.get("uses") or step.get("run", "?")
        if ("run" in step) == ("uses" in step):
            found.append(f"{title}: a step either runs or uses")
        if "uses" in step and not (MAJOR_TAG.match(step["uses"]) or step["uses"].startswith("./")):
            found.append(f"{title}: not pinned by a major version tag")
        if "run" in step and UNTRUSTED.search(step["run"]):
            found.append(f"{title}: an expression inside a shell command; pass it as a variable")
        if "runs" in document and "run" in step and "shell" not in step:
            found.append(f"{title}: a composite step needs its shell")
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_sound(path: Path) -> None:
    """Every workflow says when it runs and what it may do, and none of its steps has a fault."""
    document = load(path)
    assert document["on"]
    assert document["jobs"]
    assert document["permissions"]["contents"] == "read"
    assert faults(document) == []


def test_the_action_is_sound() -> None:
    """The composite action describes every input and output, and none of its steps has a fault."""
    document = load(ACTION)
    assert document["runs"]["using"] == "composite"
    assert all(each.get("description") for each in [*document["inputs"].values(), *document["outputs"].values()])
    assert faults(document) == []


@pytest.mark.parametrize(
    "step",
    [
        {"uses": "actions/checkout@main"},
        {"uses": "actions/checkout@v5", "run": "true"},
        {"run": "echo ${{ github.head_ref }}", "shell": "bash"},
        {"run": "true"},
        {},
    ],
    ids=["not pinned", "both", "injection", "no shell", "neither"],
)
def test_faults_are_found(step: dict[str, Any]) -> None:
    """The rules on steps can fail."""
    assert faults({"runs": {"steps": [step]}})


def test_inputs_and_outputs_that_are_used_exist() -> None:
    """Every input the action reads is declared, and every step output it reads is written by that step."""
    document, text = load(ACTION), ACTION.read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.([\w-]+)", text)) <= set(document["inputs"])
    run = next(step for step in steps(document) if step.get("id") == "run")
    for name in set(re.findall(r"steps\.run\.outputs\.([\w-]+)", text)):
        assert f"{name}=" in run["run"]


def test_this_repository_uses_its_own_action() -> None:
    """The suites of this repository run through the action that others use, held to the base branch's bar."""
    jobs = load(ROOT / ".github" / "workflows" / "agentcheck.yml")["jobs"]
    suites = jobs["suites"]
    assert {"uses": "./"} in suites["steps"]
    assert suites["steps"][0]["with"]["fetch-depth"] == 0
    assert suites["permissions"]["security-events"] == "write"
    assert jobs["tests"]["strategy"]["matrix"]["python"] == ["3.10", "3.13"]


@pytest.mark.parametrize("path", [*WORKFLOWS, ACTION], ids=lambda path: path.name)
def test_shell_steps_parse(path: Path) -> None:
    """Bash reads every shell step without an error."""
    for step in steps(load(path)):
        if "run" in step:
            done = subprocess.run(["bash", "-n", "-c", step["run"]], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
