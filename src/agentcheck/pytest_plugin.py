"""The pytest plugin, as pytest loads it at start: the standard library and pytest, nothing of ours.

A suite file is a collector and a case an item; the code for both is imported when the first suite file is met
(`agentcheck.pytest_suites`), so a session without suites or our fixtures pays for two string comparisons a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SUFFIXES = (".toml", ".yaml", ".yml")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of suite files; ``agentcheck run`` sets them from its own."""
    group = parser.getgroup("agentcheck", "governance suites for AI agents")
    group.addoption(
        "--agentcheck-reports", metavar="DIR", help="where runs are written (default: reports, or pyproject.toml)"
    )
    group.addoption("--agentcheck-concurrency", metavar="N", type=int, help="trials in flight at once (default 32)")
    group.addoption("--agentcheck-base", metavar="REF", help="hold suites to the bar of this git branch or commit")
    group.addoption("--agentcheck-resume", metavar="RUN", help="finish a run that was stopped, without repeating cases")
    group.addoption("--agentcheck-case", metavar="ID", help="only the case of this id, in whatever suite")
    group.addoption(
        "--agentcheck-suites",
        metavar="DIR",
        action="append",
        default=[],
        help="every TOML and YAML file below this folder is a suite (besides folders called suites)",
    )
    group.addoption("--agentcheck-command", action="append", default=[], help="(internal)")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of our fixtures."""
    config.addinivalue_line(
        "markers",
        "agentcheck(policy=..., world=..., dataset=..., levels=..., limits=..., votes=...): "
        "how the fixtures `governed` and `agentcheck_case` are set up",
    )
    if any(config.getoption(f"--agentcheck-{name}") is not None for name in ("resume", "base", "reports")):
        # A wrong run or branch is told at once, as the wrong argument that it is.
        from agentcheck.pytest_suites import of

        of(config)
    if os.environ.get("AGENTCHECK_STORE") and config.getoption("--agentcheck-command"):
        # So is a store that does not answer; plain pytest, which may meet no suite, asks it when something is recorded.
        from agentcheck.pytest_suites import reach_store

        reach_store(config)


def is_suite(path: Path, config: pytest.Config) -> bool:
    """Whether a file is a suite, from its name alone.

    TOML and YAML files in a folder called ``suites`` (or below one named by ``--agentcheck-suites``), files called
    ``*.suite.toml``, and files named on the command line. Policies (``*.policy.toml``) are not.
    """
    if path.suffix not in SUFFIXES or ".policy." in path.name or path.name == "pyproject.toml":
        return False
    if path.parent.name == "suites" or path.stem.endswith(".suite"):
        return True
    folders = [Path(folder).resolve() for folder in config.getoption("--agentcheck-suites")]
    named = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    return path.resolve() in named or any(folder in path.resolve().parents for folder in folders)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A suite file becomes a collector; the rest of agentcheck is imported at the first one."""
    if file_path.suffix not in SUFFIXES or not is_suite(file_path, parent.config):
        return None
    from agentcheck.pytest_suites import SuiteCollector, of

    of(parent.config)
    return SuiteCollector.from_parent(parent, path=file_path)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist, in the main process: tell a worker which run it belongs to."""
    from agentcheck.pytest_suites import of

    run = of(node.config)
    node.workerinput["agentcheck_run"] = str(run.folder.path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests that use ``agentcheck_case`` over the dataset their marker names."""
    if "agentcheck_case" in metafunc.fixturenames:
        from agentcheck.pytest_governed import parametrize

        parametrize(metafunc)


@pytest.fixture
def governed(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A session under governance for a Python test: what it does is decided, recorded and part of the run.

    Set up by ``@pytest.mark.agentcheck(policy=..., world=..., ...)``; see docs/pytest.md.
    """
    from agentcheck.pytest_governed import session

    yield from session(request)


@pytest.fixture
def agentcheck_case(request: pytest.FixtureRequest) -> Any:
    """One case of the dataset that ``@pytest.mark.agentcheck(dataset=...)`` names; the test runs once per case."""
    return request.param
