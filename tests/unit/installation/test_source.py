"""Where agentcheck came from, as a workflow on another machine installs it."""

from __future__ import annotations

import json
import os
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from agentcheck.installation import source
from agentcheck.installation.init import main, write_project


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, origin: Any) -> None:
    """An installation of version 3.2.1 with this ``direct_url.json``; ``None``: it came from an index."""
    record = folder / "agentcheck_governance-3.2.1.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text("Metadata-Version: 2.4\nName: agentcheck-governance\nVersion: 3.2.1\n")
    if origin is not None:
        (record / "direct_url.json").write_text(origin if isinstance(origin, str) else json.dumps(origin))
    monkeypatch.setattr(
        source.metadata, "distribution", lambda name: metadata.PathDistribution(record) if name else None
    )


GIT = {"vcs": "git", "commit_id": "0" * 40, "requested_revision": "main"}


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [
        (None, "agentcheck-governance==3.2.1"),
        (
            {"url": "https://git.example.org/x/agentcheck", "vcs_info": GIT},
            f"agentcheck-governance @ git+https://git.example.org/x/agentcheck@{'0' * 40}",
        ),
        (
            {"url": "ssh://git@git.example.org/x/agentcheck", "vcs_info": GIT, "subdirectory": "python"},
            f"agentcheck-governance @ git+ssh://git@git.example.org/x/agentcheck@{'0' * 40}#subdirectory=python",
        ),
        (
            {"url": "https://ann:secret@git.example.org/x/agentcheck", "vcs_info": GIT},
            f"agentcheck-governance @ git+https://git.example.org/x/agentcheck@{'0' * 40}",
        ),
        (
            {"url": "https://example.org/a-3.2.1.whl", "archive_info": {"hashes": {"sha256": "ab" * 32}}},
            f"agentcheck-governance @ https://example.org/a-3.2.1.whl#sha256={'ab' * 32}",
        ),
        (
            {"url": "https://example.org/a-3.2.1.whl", "archive_info": {}},
            "agentcheck-governance @ https://example.org/a-3.2.1.whl",
        ),
        ({"url": "file:///srv/a-3.2.1.whl", "archive_info": {}}, ""),
        ({"url": "file:///srv/agentcheck", "dir_info": {"editable": True}}, ""),
        ({"url": "file:///srv/agentcheck", "vcs_info": GIT}, ""),
        ("not JSON", ""),
        ({"url": "https://example.org/x", "vcs_info": {}}, ""),
        ({"url": "https://example.org/x"}, ""),
    ],
    ids=[
        "index",
        "git",
        "git over ssh, a folder of the repository",
        "a secret in the address",
        "archive with a hash",
        "archive",
        "archive on this disk",
        "folder",
        "git on this disk",
        "broken",
        "without a commit",
        "neither",
    ],
)
def test_the_source_is_what_pip_takes_it_from(
    origin: Any, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit, an archive or a version where another machine can fetch it, and nothing where it cannot."""
    install(tmp_path / "site", monkeypatch, origin)
    assert source.requirement() == wanted
    if wanted:
        assert Requirement(wanted).name == "agentcheck-governance"


def test_without_an_installation_there_is_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """agentcheck that runs from a checkout on the Python path has no metadata."""

    def absent(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(source.metadata, "distribution", absent)
    assert source.requirement() == ""


@pytest.mark.parametrize("origin", [None, {"url": "file:///x", "dir_info": {}}], ids=["index", "folder"])
def test_the_workflow_installs_this_agentcheck_and_says_so(
    origin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`init` writes the source into the workflow's one variable, or tells that it is empty and why."""
    install(tmp_path / "site", monkeypatch, origin)
    said = main(tmp_path / "project")
    workflow = yaml.safe_load((tmp_path / "project" / ".github" / "workflows" / "agentcheck.yml").read_text())
    package = workflow["env"]["AGENTCHECK_PACKAGE"]
    if origin is None:
        assert package == "agentcheck-governance==3.2.1"
        assert f"installs {package}" in said
    else:
        assert package == ""
        assert "set AGENTCHECK_PACKAGE at the top of .github/workflows/agentcheck.yml" in said


@pytest.mark.parametrize("package", ["", "agentcheck-governance==3.2.1"])
def test_the_job_stops_while_nothing_says_what_to_install(package: str, tmp_path: Path) -> None:
    """The install step fails with a sentence where the variable is empty, and hands it to pip as one word elsewhere."""
    write_project(tmp_path)
    workflow = yaml.safe_load((tmp_path / ".github" / "workflows" / "agentcheck.yml").read_text())
    step = next(step for step in workflow["jobs"]["suites"]["steps"] if step.get("name") == "Install")
    stub = tmp_path / "python"
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stub.chmod(0o755)
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "AGENTCHECK_PACKAGE": package},
        capture_output=True,
        text=True,
        check=False,
    )
    if package:
        assert (done.returncode, done.stdout.splitlines()) == (0, ["-m", "pip", "install", package])
    else:
        assert done.returncode == 1
        assert "AGENTCHECK_PACKAGE is empty" in done.stdout
