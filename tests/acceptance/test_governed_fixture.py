"""The fixtures `governed` and `agentcheck_case`: Python tests under governance, in the run's ledger."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import cli
from agentcheck.runs import RunFolder

DOCUMENT = Path(__file__).parents[2] / "docs" / "pytest.md"


def examples() -> str:
    """The Python of docs/pytest.md as one test file."""
    return "\n\n".join(re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL))


def test_the_documented_examples_run_and_are_recorded(tmp_path: Path) -> None:
    """What docs/pytest.md shows works; each test is a case with a verdict, and the ledger verifies."""
    (tmp_path / "test_doc.py").write_text(examples(), "utf-8")
    (tmp_path / "cases.jsonl").write_text('{"id": "a", "prompt": "one"}\n{"id": "b", "prompt": "two"}\n')
    done = cli.pytest_(tmp_path, "-q")
    assert done.code == 0, done.text
    assert "3 passed" in done.out
    report = json.loads((cli.last_run(tmp_path) / "report.json").read_text("utf-8"))
    assert sorted(case["id"] for suite in report["suites"] for case in suite["cases"]) == ["a", "b", "test"]
    assert cli.agentcheck(tmp_path, "verify").code == 0


def test_a_failing_python_test_fails_its_case_and_the_run(tmp_path: Path) -> None:
    """An assertion that fails is the verdict fail, exit code 1; a wrong marker is an error that says what is known."""
    (tmp_path / "test_bad.py").write_text(
        "import pytest\n"
        "@pytest.mark.agentcheck(policy='UnsafeAllowAll')\n"
        "def test_it(governed):\n    governed.say('hello')\n    assert False, 'not so'\n"
    )
    done = cli.pytest_(tmp_path, "-q")
    assert done.code == 1, done.text
    report = json.loads((cli.last_run(tmp_path) / "report.json").read_text("utf-8"))
    case = report["suites"][0]["cases"][0]
    assert case["status"] == "fail"
    assert "not so" in case["reasons"][0]
    (tmp_path / "test_bad.py").write_text(
        "import pytest\n@pytest.mark.agentcheck(polic='x')\ndef test_it(governed):\n    pass\n"
    )
    done = cli.pytest_(tmp_path, "-q")
    assert "the agentcheck marker has no polic" in done.out
    assert done.code != 0


@pytest.mark.parametrize(
    ("marker", "told"),
    [
        ("forbidden=['pay']", "denied by forbidden.action"),
        ("levels={'pay': 3}", "held and not approved by authorization.level, rule pay"),
    ],
)
def test_a_refusal_in_a_test_says_who_refused_and_why(tmp_path: Path, marker: str, told: str) -> None:
    """Control, rule and reason stand in the failure and in the verdict; of the traceback only the test's own frame."""
    (tmp_path / "test_pay.py").write_text(
        "import pytest\n"
        f"@pytest.mark.agentcheck(policy='UnsafeAllowAll', unknown_tools='allow', {marker})\n"
        "def test_it(governed):\n    governed.call_tool('pay', amount=5)\n"
    )
    done = cli.pytest_(tmp_path, "-q")
    assert done.code == 1, done.text
    assert told in done.out
    assert "test_pay.py:4" in done.out
    assert not re.search(r"(pytest_governed|session|base_events)\.py", done.out)
    report = json.loads((cli.last_run(tmp_path) / "report.json").read_text("utf-8"))
    assert told in report["suites"][0]["cases"][0]["reasons"][0]


WHOLE = """\
import asyncio

import pytest

from agentcheck.errors import ToolError

GOVERNED = {
    "policy": {"policy": {"name": "p", "default": "allow"}},
    "world": "desk:make_desk",
    "model": {"use": "scripted", "replies": [{"text": "look it up", "input_tokens": 3}]},
    "levels": {"close": 3},
    "prompt": "status of T-1",
}


@pytest.mark.agentcheck(**GOVERNED)
def test_all(governed):
    assert [tool.name for tool in governed.tools] == ["lookup", "refund", "close"]
    governed.think("first ask the model")
    assert governed.call_model([{"role": "user", "content": "how?"}]).text == "look it up"
    assert governed.call_tool("lookup", ticket="T-1")["status"] == "open"
    with pytest.raises(ToolError, match="no such ticket"):
        governed.call_tool("lookup", ticket="T-404")
    governed.call_tool("refund", amount=3)
    held = governed.act("tool_call", "close", {"ticket": "T-1"})
    decision = governed.decision(held.action)
    assert (decision.outcome, decision.control, decision.level) == ("hold", "authorization.level", 3)
    assert governed.decision("a1").outcome == "allow"
    assert governed.transcript.prompts == ("status of T-1",)


@pytest.mark.agentcheck(**GOVERNED)
def test_a_tool_that_refuses(governed):
    governed.call_tool("lookup", ticket="T-404")


@pytest.mark.agentcheck(**GOVERNED)
def test_an_agent_of_ones_own(governed):
    async def agent(session):
        found = await asyncio.gather(*(session.call_tool("lookup", ticket=f"T-{n}") for n in (1, 2)))
        return [each["ticket"] for each in found]

    assert asyncio.run(agent(governed.session)) == ["T-1", "T-2"]
    assert [step.status for step in governed.transcript.steps] == ["done", "done"]
"""


def test_a_python_test_has_the_whole_session(tmp_path: Path) -> None:
    """Tools, model, reasoning, decisions and an asynchronous agent; a tool's own refusal fails the test in one line."""
    desk = cli.desk(tmp_path)
    (desk / "test_whole.py").write_text(WHOLE, "utf-8")
    done = cli.pytest_(desk, "-q", "test_whole.py")
    assert done.code == 1, done.text
    assert "2 passed" in done.out
    assert "1 failed" in done.out
    assert re.search(r"^E +agentcheck\.errors\.ToolError: no such ticket$", done.out, re.MULTILINE)
    assert not re.search(r"(session|base_events|desk)\.py", done.out)
    report = json.loads((cli.last_run(desk) / "report.json").read_text("utf-8"))
    assert [suite["cases"][0]["status"] for suite in report["suites"]] == ["pass", "fail", "pass"]
    assert cli.agentcheck(desk, "verify").code == 0


@pytest.mark.parametrize(
    ("marker", "arguments", "told"),
    [
        ("'UnsafeAllowAll'", "governed", "the agentcheck marker takes keywords only"),
        ("levels={'pay': 9}", "governed", "the agentcheck marker is not usable: governance.policy"),
        ("policy='UnsafeAllowAll', levels={'pay': 9}", "governed", "governance.levels.pay: Input should be less than"),
        ("policy='no.policy.toml'", "governed", "no such policy: no.policy.toml"),
        ("policy='UnsafeAllowAll'", "governed, agentcheck_case", "agentcheck_case needs a dataset"),
        ("policy='UnsafeAllowAll', dataset='no.jsonl'", "governed, agentcheck_case", "no.jsonl"),
    ],
    ids=["positional", "no policy", "a wrong level", "a missing policy", "no dataset", "a missing dataset"],
)
def test_a_marker_that_cannot_be_used_says_why_and_where(
    tmp_path: Path, marker: str, arguments: str, told: str
) -> None:
    """A mistake in the marker is told with the test's name, and nothing passes."""
    (tmp_path / "test_bad.py").write_text(
        f"import pytest\n@pytest.mark.agentcheck({marker})\ndef test_it({arguments}):\n    pass\n"
    )
    done = cli.pytest_(tmp_path, "-q")
    assert done.code != 0, done.text
    assert told in done.text
    assert "test_bad.py" in done.text
    assert "passed" not in done.out


def test_pytest_without_suites_is_left_alone(tmp_path: Path) -> None:
    """A session that uses nothing of ours imports nothing of ours, writes nothing, and says nothing."""
    (tmp_path / "settings.toml").write_text("a = 1\n")
    (tmp_path / "test_plain.py").write_text(
        "import sys\n\ndef test_it():\n"
        "    assert not [m for m in sys.modules if m.startswith('agentcheck.') and m != 'agentcheck.pytest_plugin'"
        " and m != 'agentcheck.hookspecs']\n    assert 'pydantic' not in sys.modules\n"
    )
    done = cli.pytest_(tmp_path, "-q")
    assert done.code == 0, done.text
    assert "agentcheck" not in done.out
    assert not (tmp_path / "reports").exists()


def test_a_marker_names_the_retention_class_of_its_suite(tmp_path: Path) -> None:
    """A Python test's events are kept as its class says; one that pyproject.toml does not define is refused."""
    (tmp_path / "pyproject.toml").write_text("[tool.agentcheck.retention.patient]\ncontent_days = 1\n")
    marker = "@pytest.mark.agentcheck(policy='UnsafeAllowAll', retention='{}')"
    text = f"import pytest\n{marker}\ndef test_it(governed):\n    pass\n"
    (tmp_path / "test_it.py").write_text(text.format("patient"))
    done = cli.pytest_(tmp_path, "test_it.py")
    assert done.code == 0, done.text
    suites = [event.body for event in RunFolder(cli.last_run(tmp_path)).events() if event.type == "run.suite"]
    assert [suite["retention"] for suite in suites] == ["patient"]
    (tmp_path / "test_it.py").write_text(text.format("trade"))
    assert "no retention class is called 'trade'" in cli.pytest_(tmp_path, "test_it.py").text
