"""A misspelt tool in a suite or its policy is told: before the run where the world's tools are known, else in it."""

from __future__ import annotations

from pathlib import Path

import pytest

import cli

SUITE = """\
[dataset]
path = "clinic.jsonl"
[agent]
use = "echo"
[world]
use = "clinic"
[governance]
policy = "clinic.policy.toml"
forbidden = ["delete_*"]
[governance.levels]
prescribe_medication = 3
[governance.limits.per_tool]
disclose_record = 2
[[metrics]]
use = "contains"
threshold = 1.0
"""
POLICY = """\
[policy]
default = "allow"

[[rule]]
id = "chart-first"
effect = "deny"
when = { tool = "prescribe_medication", not_after = { tool = "check_prescription" } }
"""


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """A project with one suite in a world whose tools are known before the run."""
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "clinic.toml").write_text(SUITE)
    (tmp_path / "suites" / "clinic.policy.toml").write_text(POLICY)
    (tmp_path / "suites" / "clinic.jsonl").write_text('{"id": "a", "prompt": "x", "contains": ["x"]}\n')
    return tmp_path


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("clinic.toml", "prescribe_medication", "prescribe_medicine", "clinic.toml:11: [governance.levels]"),
        ("clinic.toml", "disclose_record", "disclose", "clinic.toml:13: [governance.limits] per_tool"),
        ("clinic.toml", '"delete_*"', '"delete_chrat"', "did you mean 'delete_chart'"),
        (
            "clinic.jsonl",
            '["x"]}',
            '["x"], "forbidden": [{"name": "delete_chrat"}, {"name": "launch"}]}',
            "clinic.jsonl:1: the case 'a' forbids: the world offers no tool that matches 'delete_chrat'; did you mean",
        ),
        ("clinic.policy.toml", "check_prescription", "check_perscription", "clinic.policy.toml:7: policy policy"),
    ],
)
def test_a_known_world_refuses_a_misspelt_tool(clinic: Path, file: str, old: str, new: str, told: str) -> None:
    """Exit code 4 before anything runs, with file, line and the tools that there are."""
    assert cli.agentcheck(clinic, "run").code == 0
    cli.edit(clinic / "suites" / file, old, new)
    done = cli.agentcheck(clinic, "run")
    assert done.code == 4, done.text
    assert told in done.out
    assert "tools of the world 'clinic'" in done.out
    assert cli.agentcheck(clinic, "list").code == 4


def test_all_misspelt_tools_are_told_at_once(clinic: Path) -> None:
    """Those of the suite and those of its policy."""
    cli.edit(clinic / "suites" / "clinic.toml", "prescribe_medication", "prescribe_medicine")
    cli.edit(clinic / "suites" / "clinic.toml", "disclose_record", "disclose_recrod")
    cli.edit(clinic / "suites" / "clinic.policy.toml", "check_prescription", "check_perscription")
    out = cli.agentcheck(clinic, "run").out
    assert all(name in out for name in ("'prescribe_medicine'", "'disclose_recrod'", "'check_perscription'"))


def test_a_pattern_that_matches_nothing_is_noted(clinic: Path) -> None:
    """A level for what does not exist yet breaks nothing, and is told; what is forbidden need not exist."""
    cli.edit(clinic / "suites" / "clinic.toml", "prescribe_medication", '"archive_*"')
    done = cli.agentcheck(clinic, "run")
    assert done.code == 0, done.text
    assert "the world offers no tool that matches 'archive_*'" in " ".join(done.out.split())
    assert "delete_*" not in done.out


def test_a_world_of_ones_own_is_asked_in_the_run(tmp_path: Path) -> None:
    """Where the tools are known only in a trial, a misspelt name is a warning of the run."""
    desk = cli.desk(tmp_path)
    cli.edit(desk / "suites" / "desk.toml", "refund = 1", "refnud = 1")
    done = cli.agentcheck(desk, "run", "-k", "status")
    assert done.code == 0, done.text
    told = " ".join(done.out.split())
    assert "warning: desk: [governance.levels]: the world offers no tool that matches 'refnud'" in told
    assert "did you mean 'refund'?" in told


def test_a_world_of_ones_own_may_tell_its_tools_before(tmp_path: Path) -> None:
    """A factory with `known_tools(options)` is asked at collection."""
    desk = cli.desk(tmp_path)
    cli.edit(desk / "suites" / "desk.toml", "refund = 1", "refnud = 1")
    with (desk / "desk.py").open("a") as file:
        file.write("\n\nmake_desk.known_tools = lambda options: [ToolSpec('refund'), ToolSpec('close')]\n")
    done = cli.agentcheck(desk, "run")
    assert done.code == 4, done.text
    assert "suites/desk.toml:20: [governance.levels]" in done.out
