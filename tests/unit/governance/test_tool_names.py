"""Names that no tool of the world answers to: which are mistakes, which are told, which are nobody's business."""

from __future__ import annotations

from typing import Any

import pytest

from agentcheck.governance.build import build_controls, unmatched_names
from agentcheck.governance.policy import load_policy, load_policy_text
from agentcheck.records import ToolSpec

OFFERED = ("refund", "lookup", "send_email")


def found(config: dict[str, Any], **when: Any) -> list[tuple[str, bool]]:
    """What no tool answers to in a table and one rule, and whether it is a mistake."""
    policy = load_policy({"policy": {"default": "allow"}, "rule": [{"id": "r", "effect": "deny", "when": when}]})
    return [(each.named.text, each.mistake) for each in unmatched_names(config, policy, OFFERED)]


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"levels": {"refund": 3, "*": 0, "message:*": 1, "delegate:ann": 2}}, []),
        ({"levels": {"refnd": 3}}, [("refnd", True)]),
        ({"levels": {"close": 3}}, [("close", True)]),
        ({"levels": {"close_*": 3}}, [("close_*", False)]),
        ({"levels": {"close": 3}, "unknown_tools": "allow"}, [("close", False)]),
        ({"limits": {"per_tool": {"refnd": 3, "lookup": 1}}}, [("refnd", True)]),
        ({"forbidden": ["delete_*", "delete_all"]}, []),
        ({"forbidden": ["refunds"]}, [("refunds", True)]),
        ({"votes": [{"tool": "answer"}, {"tool": "*"}, {}, {"tool": "refunt"}]}, [("refunt", True)]),
    ],
)
def test_names_of_the_suite(config: dict[str, Any], wanted: list[tuple[str, bool]]) -> None:
    """Levels and bounds name tools of this world; who forbids or votes may name what does not exist."""
    assert found(config, tool="lookup") == wanted


@pytest.mark.parametrize(
    ("when", "wanted"),
    [
        ({"tool": ["send_*", "message:x", "model_call:*"]}, []),
        ({"tool": ["refnd", "pay", "pay_*"]}, [("refnd", True), ("pay", False), ("pay_*", False)]),
        ({"tool": "refund", "not_after": {"tool": "lokup"}}, [("lokup", True)]),
        ({"tool": "refund", "after": {"tool": "read"}}, [("read", False)]),
        ({"tool": "refund", "count": {"tool": "refunds", "gt": 1}}, [("refunds", True)]),
        ({"tool": "refund", "same_arguments_as": {"not": {"tool": "lookpu"}}}, [("lookpu", True)]),
        ({"any": [{"tool": "refund"}, {"not": {"tool": "sendemail"}}]}, [("sendemail", True)]),
    ],
)
def test_names_in_a_policy(when: dict[str, Any], wanted: list[tuple[str, bool]]) -> None:
    """Wherever a rule names a tool: nearly the name of one is a mistake, another world's name is a note."""
    assert found({}, **when) == wanted


def test_a_note_says_who_names_what_and_what_there_is() -> None:
    """The sentence for a reader names the rule or table, the name, and the nearest tool."""
    policy = {"policy": {"default": "allow"}, "rule": [{"id": "r", "effect": "deny", "when": {"tool": "refnd"}}]}
    tools = [ToolSpec(name) for name in OFFERED]
    runtime = build_controls({"policy": policy, "levels": {"x_*": 1}, "forbidden": ["delete_*"]}, tools=tools)
    assert runtime.notes == (
        "[governance.levels]: the world offers no tool that matches 'x_*'",
        "policy policy, rule r: the world offers no tool that matches 'refnd'; did you mean 'refund'?",
    )
    assert build_controls({"policy": policy, "levels": {"x_*": 1}}).notes == ()


def test_a_mistake_in_a_policy_has_its_line() -> None:
    """The place is the key in the rule that names the tool."""
    text = '[policy]\ndefault = "allow"\n\n[[rule]]\nid = "r"\neffect = "deny"\nwhen.not_after = { tool = "lokup" }\n'
    named = list(load_policy_text(text, "p.toml").named_tools())
    assert [(each.text, each.where) for each in named] == [("lokup", "p.toml:7")]
