"""A recording as a world."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentcheck.contracts import World
from agentcheck.errors import SuiteError, ToolError
from agentcheck.records import Case, RecordedStep, Recording, ToolSpec
from agentcheck.worlds import recorded

STEPS = (
    RecordedStep("tool_call", "get_bill", {"id": 1, "full": True}, "first"),
    RecordedStep("tool_call", "send_money", {"to": "A", "amount": 1.5}, {"ok": True}),
    RecordedStep("tool_call", "get_bill", {"full": True, "id": 1}, "second"),
    RecordedStep("tool_call", "get_bill", {"id": None}, None, "no such bill"),
    RecordedStep("tool_call", "read_file", {"_raw": "bill"}, "text"),
    RecordedStep("model_call", "m", {}, {"text": ""}),
)
CASE = Case("c", "p", recording=Recording(STEPS, "f:1"))


def make(**options: Any) -> recorded.RecordedWorld:
    """The world of the recording."""
    return recorded.make(options, CASE, Path("unused"))


def call(world: recorded.RecordedWorld, name: str, **arguments: Any) -> Any:
    """One call."""
    return asyncio.run(world.call(name, arguments, key="k"))


def test_it_implements_the_contract_and_measures_nothing() -> None:
    """It is a world, whose effects are not measured: recording and world are one source."""
    world = make()
    assert isinstance(world, World)
    assert world.effects() is None
    asyncio.run(world.close())


def test_equal_calls_are_answered_in_recorded_order() -> None:
    """Calls are told by name and arguments, in any order of the keys; equal ones get their results one by one."""
    world = make()
    assert call(world, "get_bill", full=True, id=1) == "first"
    assert call(world, "send_money", to="A", amount=1.5) == {"ok": True}
    assert call(world, "get_bill", id=1, full=True) == "second"
    with pytest.raises(ToolError, match="holds no further call of 'get_bill'"):
        call(world, "get_bill", id=1, full=True)


def test_recorded_errors_and_unknown_calls() -> None:
    """A recorded error is raised again; a call that was never made is a tool's error, not a result."""
    world = make()
    with pytest.raises(ToolError, match="no such bill"):
        call(world, "get_bill", id=None)
    for name, arguments in (("get_bill", {"id": 2}), ("get_bill", {}), ("delete", {"id": 1}), ("m", {})):
        with pytest.raises(ToolError, match="holds no call of"):
            call(world, name, **arguments)


def test_tools_are_those_that_were_called() -> None:
    """Tools and their parameters are inferred from the calls; kinds seen are listed, raw arguments say nothing."""
    assert make().tools() == (
        ToolSpec(
            "get_bill",
            parameters={
                "type": "object",
                "properties": {"id": {"type": ["integer", "null"]}, "full": {"type": "boolean"}},
            },
            trusted=False,
        ),
        ToolSpec(
            "send_money",
            parameters={"type": "object", "properties": {"to": {"type": "string"}, "amount": {"type": "number"}}},
            trusted=False,
        ),
        ToolSpec("read_file", parameters={"type": "object", "properties": {}}, trusted=False),
    )


def test_trust_and_effects_by_pattern() -> None:
    """Nothing is trusted unless it is named; a tool named both ways is not trusted."""
    world = make(trusted=["get_*", "read_*"], untrusted=["read_file"], effects=["send_*"])
    assert {tool.name: (tool.trusted, tool.effect) for tool in world.tools()} == {
        "get_bill": (True, False),
        "send_money": (False, True),
        "read_file": (False, False),
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trustd": []}, "takes no option 'trustd'"),
        ({"trusted": "get_*"}, "world.trusted must be a list"),
        ({"effects": [1]}, "world.effects must be a list"),
    ],
)
def test_wrong_options(options: Any, said: str) -> None:
    """A misspelt option or a pattern that is no text is an error of the suite."""
    with pytest.raises(SuiteError, match=said):
        make(**options)


def test_a_case_without_a_recording() -> None:
    """A world of nothing is an error of the suite that says what is needed."""
    with pytest.raises(SuiteError, match="holds no recording"):
        recorded.make({}, Case("d", "p"), Path("unused"))
