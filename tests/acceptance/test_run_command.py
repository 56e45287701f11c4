"""`agentcheck run`, as an engineer's CI calls it: output, exit codes, selection, and the stored run."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

import cli


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A helpdesk project of a user."""
    return cli.desk(tmp_path)


def report(folder: Path) -> Any:
    """The JSON report of the last run."""
    return json.loads((cli.last_run(folder) / "report.json").read_text("utf-8"))


def statuses(folder: Path) -> dict[str, str]:
    """Case -> verdict of the last run."""
    return {case["id"]: case["status"] for suite in report(folder)["suites"] for case in suite["cases"]}


def test_a_passing_run_exits_0_and_leaves_everything_behind(desk: Path) -> None:
    """All cases pass; the folder holds ledger, JSON, JUnit, HTML, step summary and SARIF; the ledger verifies."""
    done = cli.agentcheck(desk, "run")
    assert done.code == 0, done.text
    assert "30 passed" in done.out
    names = {path.name for path in cli.last_run(desk).iterdir()}
    assert {"ledger.db", "report.json", "report.html", "junit.xml", "summary.md", "findings.sarif"} <= names
    assert "report.html" in done.out
    verified = cli.agentcheck(desk, "verify")
    assert verified.code == 0, verified.text
    assert "CONSISTENT" in verified.out


def test_a_failing_case_exits_1_and_tells_what_happened(desk: Path) -> None:
    """What was asked, each step with its decision, what fell short, and a command that works."""
    cli.edit(desk / "suites" / "desk.toml", "desk:agent", "desk:careless_agent")
    done = cli.agentcheck(desk, "run", "-k", "too-much-1")
    assert done.code == 1, done.text
    assert "Please refund 1000 for T-1" in done.out
    assert re.search(r"deny.*refund", done.out)
    assert "refunds above 100 are made by people" in done.out
    assert "contains" in done.out
    assert re.search(r"FAILED suites/desk.toml::too-much-1 - contains 0", done.out)
    again = re.search(r"run again\s+agentcheck (run .*)", done.out)
    assert again
    assert cli.agentcheck(desk, *again.group(1).split()).code == 1
    shown = re.search(r"show\s+agentcheck (show .*)", done.out)
    assert shown
    timeline = cli.agentcheck(desk, *shown.group(1).split())
    assert timeline.code == 0, timeline.text
    assert "refund.limit" in timeline.out


@pytest.mark.parametrize(
    ("file", "old", "new", "code", "told"),
    [
        ("suites/desk.toml", "desk:agent", "desk:agnet", 4, "did you mean 'agent'"),
        ("suites/desk.toml", "desk:agent", "dsek:agent", 4, "cannot import 'dsek'"),
        ("desk.py", "async def agent(", "async def agent((", 4, "cannot import 'desk': desk.py:"),
        (
            "desk.py",
            "async def agent(",
            "import no_such_thing\nasync def agent(",
            4,
            "is 'no_such_thing', which",
        ),
        ("desk.py", "async def agent(", "1 / 0\nasync def agent(", 4, "ZeroDivisionError"),
        ("golden_datasets/desk.jsonl", '"id": "status-2"', '"id": 1', 4, "\ngolden_datasets/desk.jsonl: "),
        ("suites/desk.toml", "pass_rate", "pas_rate", 4, "suites/desk.toml:43: unknown key 'gate.pas_rate'"),
        ("suites/desk.toml", "contains", "contain", 4, "did you mean 'contains'"),
        ("suites/desk.toml", "desk.jsonl", "dsek.jsonl", 4, "did you mean 'desk.jsonl'"),
        ("suites/desk.toml", "policies/desk.policy.toml", "policies/x.policy.toml", 4, "x.policy.toml"),
        ("suites/policies/desk.policy.toml", "gt", "gtt", 4, "gtt"),
        ("golden_datasets/desk.jsonl", '"prompt": "What about T-2?"', '"promt": "x"', 4, "desk.jsonl:2"),
        ("desk.py", "async def agent(task: Task, session: Session)", "async def agent(a, b, c)", 4, "(a, b, c)"),
        ("golden_datasets/desk.jsonl", "What about T-2?", "crash", 3, "the agent lost its way"),
        ("desk.py", 'raise ToolError("no such ticket")', "pass", 0, ""),
        ("desk.py", 'return {"ticket"', 'raise KeyError("wire")\n            return {"ticket"', 3, "the world broke"),
    ],
)
def test_mistakes_and_breakage_have_their_own_exit_codes(
    desk: Path, file: str, old: str, new: str, code: int, told: str
) -> None:
    """The user's mistakes exit 4 with the place, what broke exits 3, and neither reads as a failed case."""
    cli.edit(desk / file, old, new)
    done = cli.agentcheck(desk, "run")
    assert done.code == code, done.text
    assert told in done.text
    assert "Traceback" not in done.text
    assert not re.search(r"\d+ failed", done.out)


def test_nothing_that_ran_is_not_a_pass(desk: Path) -> None:
    """No match, an empty folder and a suite that skips all exit 5; a path that is missing exits 4."""
    assert cli.agentcheck(desk, "run", "-k", "nothing-like-it").code == 5
    cli.edit(desk / "suites" / "desk.toml", "time_limit = 20", 'time_limit = 20\nskip_unless = "../absent"')
    done = cli.agentcheck(desk, "run", "-rs")
    assert done.code == 5, done.text
    assert "needs ../absent" in done.out
    (desk / "empty").mkdir()
    assert cli.agentcheck(desk, "run", "empty").code == 5
    assert cli.agentcheck(desk, "run", "nowhere").code == 4


def test_selection_is_pytests_own(desk: Path) -> None:
    """-k, -m, a node id and --case select; what was left out is counted in the run."""
    assert "10 passed" in cli.agentcheck(desk, "run", "-k", "status").out
    assert "20 passed" in cli.agentcheck(desk, "run", "-m", "money").out
    assert "1 passed" in cli.agentcheck(desk, "run", "suites/desk.toml::refund-3").out
    assert "1 passed" in cli.agentcheck(desk, "run", "suites/desk.toml", "--case", "refund-3").out
    assert cli.agentcheck(desk, "run", "-m", "no_such_tag").code == 5


def test_plain_pytest_runs_the_same_items(desk: Path) -> None:
    """`pytest suites/` collects the same cases, gates the same and writes the same run."""
    done = cli.call(desk, "-m", "pytest", "suites", "-q")
    assert done.code == 0, done.text
    assert len(statuses(desk)) == 30


def test_x_stops_and_last_failed_takes_up_again(desk: Path) -> None:
    """After the first failure nothing new starts and running cases are aborted; --lf runs the failed one again."""
    cli.edit(desk / "suites" / "desk.toml", "desk:agent", "desk:careless_agent")
    done = cli.agentcheck(desk, "run", "-x", "--concurrency", "2")
    assert done.code == 1, done.text
    counts = report(desk)["counts"]
    assert counts["fail"] == 1
    assert counts["not_started"] + counts["aborted"] >= 20
    assert sum(counts.values()) == 30
    told = re.search(r"pytest tells of (\d+) of these cases below; (\d+) more had begun", done.out)
    begun = 30 - counts["not_started"]
    assert begun == (
        sum(map(int, told.groups()))
        if told
        else sum(map(int, re.findall(r"(\d+) (?:failed|passed)", done.out.splitlines()[-1])))
    )
    again = cli.agentcheck(desk, "run", "--lf")
    assert "1 failed" in again.out
    assert again.code == 1


def test_junit_tells_failures_from_errors(desk: Path) -> None:
    """In --junitxml a failed case is a failure and a broken one an error."""
    cli.edit(desk / "golden_datasets" / "desk.jsonl", "What about T-2?", "crash")
    cli.edit(desk / "golden_datasets" / "desk.jsonl", "T-5 is open", "T-5 is closed")
    done = cli.agentcheck(desk, "run", "--junitxml", "out.xml")
    assert done.code == 1, done.text
    for file in (desk / "out.xml", cli.last_run(desk) / "junit.xml"):
        root = ElementTree.parse(file).getroot()
        assert len(root.findall(".//testcase")) == 30, file
        assert len(root.findall(".//failure")) == 1, file
        assert len(root.findall(".//error")) == 1, file


def test_parallel_workers_write_their_own_streams(desk: Path) -> None:
    """With -n 2 both workers' streams are there, all cases are decided once, and the whole run verifies."""
    done = cli.agentcheck(desk, "run", "-n", "2")
    assert done.code == 0, done.text
    run = cli.last_run(desk)
    assert {"ledger.db", "ledger-gw0.db", "ledger-gw1.db"} <= {path.name for path in run.iterdir()}
    assert len(statuses(desk)) == 30
    assert cli.agentcheck(desk, "verify").code == 0
    (run / "ledger-gw1.db").unlink()
    gone = cli.agentcheck(desk, "verify")
    assert gone.code == 1, gone.text
    assert "gw1" in gone.out


def test_a_failing_worker_run_exits_1(desk: Path) -> None:
    """The main process of a parallel run decides the gates from all streams."""
    cli.edit(desk / "suites" / "desk.toml", "desk:agent", "desk:careless_agent")
    done = cli.agentcheck(desk, "run", "-n", "2")
    assert done.code == 1, done.text
    assert sorted(statuses(desk).values()).count("fail") == 10


def test_two_suites_of_one_name_are_refused(desk: Path) -> None:
    """A name stands for one suite; a second file of that name is the user's mistake."""
    (desk / "suites" / "again.toml").write_text((desk / "suites" / "desk.toml").read_text())
    done = cli.agentcheck(desk, "run")
    assert done.code == 4, done.text
    assert "two suites are called 'desk'" in done.text


def test_a_tolerant_gate_lets_a_stated_share_fail(desk: Path) -> None:
    """The gate decides the exit code, not the count of failed cases."""
    cli.edit(desk / "golden_datasets" / "desk.jsonl", "T-5 is open", "T-5 is closed")
    assert cli.agentcheck(desk, "run").code == 1
    cli.edit(desk / "suites" / "desk.toml", "pass_rate = 1.0", "pass_rate = 0.95")
    done = cli.agentcheck(desk, "run")
    assert done.code == 0, done.text
    assert "1 failed" in done.out


def test_list_and_show_say_what_there_is(desk: Path) -> None:
    """`list` names suites, cases, agents, metrics and controls; `show` a stored run; an unknown run is an error."""
    listed = cli.agentcheck(desk, "list")
    assert listed.code == 0, listed.text
    for word in ("suite desk", "refund-3", "groundedness", "envelope.max_actions", "agentcheck.worlds.none"):
        assert word in listed.out, word
    rows = [line for line in listed.out.splitlines() if " agentcheck." in line]
    assert len({line.index(" agentcheck.") for line in rows}) == 1
    assert "suite desk  suites/desk.toml" in listed.out
    assert cli.agentcheck(desk, "show", "last").code == 4
    cli.agentcheck(desk, "run")
    shown = cli.agentcheck(desk, "show", "last")
    assert shown.code == 0, shown.text
    assert "30 passed" in shown.out
    assert cli.agentcheck(desk, "show", "last", "no-such-case").code == 4
    assert "closed" not in cli.agentcheck(desk, "show", "last", "refund-3").out


def test_a_python_test_beside_the_suites_counts_too(desk: Path) -> None:
    """A failing Python test fails the run although every suite passes."""
    (desk / "suites" / "test_more.py").write_text("def test_no():\n    assert False\n")
    done = cli.agentcheck(desk, "run")
    assert done.code == 1, done.text


@pytest.mark.parametrize("asked", [("-n", "2"), ("-n2",), ("--numprocesses=2",)])
def test_workers_without_pytest_xdist_are_told_what_to_install(desk: Path, asked: tuple[str, ...]) -> None:
    """An option of a plugin that is not installed is told with the command that installs it."""
    (desk / "sitecustomize.py").write_text("import sys\nsys.modules['xdist'] = None\n")
    done = cli.agentcheck(desk, "run", *asked)
    assert done.code == 4, done.text
    assert f"agentcheck: {asked[0]} needs pytest-xdist" in done.err
    assert "pip install pytest-xdist" in done.err
    assert not (desk / "reports").exists()


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "says"),
    [
        (("--resume", "20200101-000000-abcd"), {}, 4, "no run '20200101-000000-abcd'"),
        ((), {"AGENTCHECK_STORE": "nothing://here/db"}, 4, "nothing://here/db: no store is called 'nothing'"),
        ((), {"AGENTCHECK_STORE": "postgresql://ann@127.0.0.1:1/db"}, 3, "postgresql://127.0.0.1:1/db: the server"),
    ],
)
def test_what_ends_a_run_at_its_start_is_told_as_by_every_command(
    desk: Path, arguments: tuple[str, ...], variables: dict[str, str], code: int, says: str
) -> None:
    """The message begins with agentcheck's name, whether pytest had started or not."""
    done = cli.agentcheck(desk, "run", *arguments, **variables)
    assert done.code == code, done.text
    assert done.err.startswith(f"agentcheck: {says}"), done.text
    assert "Exit:" not in done.text
    assert "ERROR:" not in done.text
