"""Only offered tools, with arguments that fit their schema."""

from __future__ import annotations

from typing import Any

import pytest

from agentcheck.governance.schema import problems
from agentcheck.governance.state import SessionState
from agentcheck.governance.tools import ToolArguments, UnknownTool
from agentcheck.records import ToolSpec
from fakes_governance import Story

PAY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "to": {"type": "string", "minLength": 2},
        "amount": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
        "currency": {"enum": ["EUR", "USD"]},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "maxItems": 2},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "count": {"type": "integer"},
        "version": {"const": 1},
    },
    "required": ["to", "amount"],
    "additionalProperties": False,
    "$defs": {"line": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}},
}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"to": "ab", "amount": 5}, []),
        ({"to": "ab", "amount": 5.5, "currency": "EUR", "note": None, "count": 2.0, "version": 1}, []),
        ({"amount": 5}, ["to: required"]),
        ({"to": "ab", "amount": "5"}, ["amount: expected number"]),
        ({"to": "ab", "amount": True}, ["amount: expected number"]),
        ({"to": "ab", "amount": 0}, ["amount: expected more than 0"]),
        ({"to": "ab", "amount": 101}, ["amount: expected at most 100"]),
        ({"to": "a", "amount": 1}, ["to: expected at least 2 characters"]),
        ({"to": "ab", "amount": 1, "currency": "GBP"}, ["currency: expected one of ['EUR', 'USD']"]),
        ({"to": "ab", "amount": 1, "x": 1}, [f"x: unknown argument (known: {', '.join(PAY['properties'])})"]),
        ({"to": "ab", "amount": 1, "lines": [{"id": "1"}, {}]}, ["lines[1].id: required"]),
        ({"to": "ab", "amount": 1, "lines": [{"id": 1}]}, ["lines[0].id: expected string"]),
        ({"to": "ab", "amount": 1, "lines": [{"id": "1"}] * 3}, ["lines: expected at most 2 items"]),
        ({"to": "ab", "amount": 1, "note": 3}, ["note: expected string"]),
        ({"to": "ab", "amount": 1, "count": 2.5}, ["count: expected integer"]),
        ({"to": "ab", "amount": 1, "version": True}, ["version: expected 1"]),
        ([], ["arguments: expected object"]),
    ],
)
def test_arguments_are_held_to_the_schema(arguments: Any, expected: list[str]) -> None:
    """Each problem names its path and what was expected there, and never the value."""
    assert [f"{each.path}: {each.expected}" for each in problems(PAY, arguments)] == expected


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        (True, 1, True),
        ({"properties": {"a": False}}, {"a": 1}, False),
        ({"additionalProperties": {"type": "string"}}, {"a": "x"}, True),
        ({"additionalProperties": {"type": "string"}}, {"a": 1}, False),
        ({"allOf": [{"type": "string"}, {"minLength": 2}]}, "a", False),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, 1, True),
        ({"type": ["string", "null"]}, None, True),
        ({"type": ["string", "null"]}, 1, False),
        ({"minimum": 2}, 1, False),
        ({"exclusiveMaximum": 2}, 2, False),
        ({"maxLength": 1}, "ab", False),
        ({"minItems": 1}, [], False),
        ({"enum": [1]}, True, False),
        ({"pattern": "^a$", "format": "email"}, "b", True),
        ({"$ref": "#"}, 1, None),
        ({"$ref": "#/nowhere"}, 1, None),
        ({"$ref": "https://elsewhere"}, 1, None),
        ({"type": "strng"}, "x", None),
        ({"items": 3}, [1], None),
    ],
)
def test_keywords_mean_what_the_standard_says(schema: Any, value: Any, fits: bool | None) -> None:
    """Known keywords are checked, unknown ones left to the tool; a schema that cannot be used raises (None)."""
    if fits is None:
        with pytest.raises(ValueError, match="schema"):
            problems(schema, value)
    else:
        assert (problems(schema, value) == []) is fits


def test_a_tool_that_is_not_offered_is_refused() -> None:
    """The session's own list counts; without one, the list given when the runtime was built."""
    story = Story(tools=["read"])
    control = UnknownTool({"pay": ToolSpec("pay")})
    assert control.decide(story.action("read"), story.state, 0) is None
    decision = control.decide(story.action("pay"), story.state, 0)
    assert decision is not None
    assert (decision.outcome, decision.control) == ("deny", "tool.unknown")
    assert control.decide(story.action("pay"), SessionState(), 0) is None
    assert control.decide(story.action("say", "message"), story.state, 0) is None


def test_unknown_tools_may_be_held() -> None:
    """A suite may ask for an approval in place of a denial."""
    story = Story(tools=["read"])
    decision = UnknownTool({}, "hold").decide(story.action("pay"), story.state, 0)
    assert decision is not None
    assert decision.outcome == "hold"


def test_bad_arguments_are_denied_with_what_to_correct() -> None:
    """The reason lists the problems, at most eight."""
    story = Story(tools=[ToolSpec("pay", parameters=PAY), ToolSpec("free")])
    control = ToolArguments({})
    decision = control.decide(story.action("pay", to="ab"), story.state, 0)
    assert decision is not None
    assert (decision.outcome, decision.reason) == ("deny", "amount: required")
    assert control.decide(story.action("pay", to="ab", amount=1), story.state, 0) is None
    assert control.decide(story.action("free", x=1), story.state, 0) is None
    assert control.decide(story.action("other", x=1), story.state, 0) is None
    assert control.decide(story.action("pay", "message", x=1), story.state, 0) is None
    many = control.decide(story.action("pay", **{f"x{number}": 1 for number in range(20)}), story.state, 0)
    assert many is not None
    assert len(many.reason.split("; ")) == 8
