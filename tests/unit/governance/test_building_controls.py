"""From the [governance] table to the controls in force."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agentcheck.errors import PolicyError
from agentcheck.governance.build import build_controls
from agentcheck.governance.decide import UnsafeAllowAll
from agentcheck.governance.policy import load_policy
from agentcheck.records import Action, Decision, ToolSpec
from fakes_governance import Story

ALLOW = {"policy": {"name": "open", "version": "1", "default": "allow"}}
FULL: dict[str, Any] = {
    "policy": ALLOW,
    "forbidden": ["delete_*"],
    "unknown_tools": "deny",
    "levels": {"prescribe_*": 3},
    "limits": {
        "actions": 30,
        "requests": 60,
        "seconds": 20.5,
        "spend": "1.00",
        "tokens": 1000,
        "per_tool": {"pay": 2},
        "reserve": {"spend": "0.05", "tokens": 10},
    },
    "breaker": {"failures": 5, "cooldown": 30, "session_failures": 9},
}


class Refuses:
    """A plugin's control that denies everything."""

    id = "mine"

    def decide(self, action: Action, state: Any, now: int) -> Decision | None:
        """Deny."""
        return Decision("deny", self.id)


def test_every_part_of_the_table_becomes_a_control() -> None:
    """The controls come in the documented order, and describe themselves with their settings."""
    runtime = build_controls(FULL, extra_controls=[Refuses()])
    assert [control.id for control in runtime.controls] == [
        "tool.unknown", "tool.arguments", "forbidden.action", "envelope.max_actions", "envelope.max_requests",
        "envelope.max_seconds", "envelope.max_spend", "envelope.max_tokens", "envelope.per_tool", "breaker",
        "authorization.level", "policy", "mine",
    ]  # fmt: skip
    rows = {row["id"]: row for row in runtime.describe()}
    assert rows["envelope.max_seconds"]["settings"] == "20.5"
    assert rows["envelope.per_tool"]["settings"] == "pay = 2"
    assert rows["breaker"]["settings"] == "5 failures, 30 s"
    assert rows["policy"]["settings"].startswith("open 1 (0 rules, ")
    assert all(row["what"] for row in rows.values())
    assert not runtime.unsafe
    assert runtime.policy_hash == load_policy(ALLOW).hash


def test_settings_that_are_not_given_are_off() -> None:
    """Values of None, as a validated suite file may give them, count as not given."""
    nothing = {key: None for key in FULL if key != "policy"}
    runtime = build_controls({**nothing, "policy": ALLOW, "limits": {"actions": None, "per_tool": {}}})
    assert [control.id for control in runtime.controls] == ["tool.unknown", "tool.arguments", "policy"]


def test_unknown_tools_are_denied_unless_told_otherwise() -> None:
    """`unknown_tools` takes deny, hold and allow."""
    story = Story(tools=["read"])
    for setting, outcome in ((None, "deny"), ("deny", "deny"), ("hold", "hold"), ("allow", "allow")):
        runtime = build_controls({"policy": ALLOW, "unknown_tools": setting})
        assert runtime.decide(story.action("other"), story.state, story.now).outcome == outcome


def test_a_policy_is_required() -> None:
    """Nothing runs without a policy; the bypass has to be written out and marks the run."""
    with pytest.raises(PolicyError, match="there is no policy"):
        build_controls({}, where="suite.toml:3")
    with pytest.raises(PolicyError, match="there is no policy"):
        build_controls({"policy": ""})
    assert build_controls({"policy": "UnsafeAllowAll"}).unsafe
    assert build_controls({"policy": UnsafeAllowAll()}).unsafe
    with pytest.raises(PolicyError, match="a path or a table"):
        build_controls({"policy": 3})


def test_a_policy_is_read_from_a_file_a_table_or_as_it_is(tmp_path: Path) -> None:
    """A relative path starts from the suite's folder."""
    (tmp_path / "p.toml").write_text('[policy]\nname = "open"\nversion = "1"\ndefault = "allow"\n')
    loaded = load_policy(ALLOW)
    found = {
        build_controls({"policy": "p.toml"}, base=tmp_path).policy_hash,
        build_controls({"policy": tmp_path / "p.toml"}).policy_hash,
        build_controls({"policy": loaded}).policy_hash,
        loaded.hash,
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"limts": {}}, "did you mean 'limits'"),
        ({"limits": {"action": 1}}, "did you mean 'actions'"),
        ({"limits": 3}, "must be a table"),
        ({"limits": {"actions": -1}}, "whole number"),
        ({"limits": {"actions": True}}, "whole number"),
        ({"limits": {"actions": 1.5}}, "whole number"),
        ({"limits": {"seconds": "1"}}, "number of seconds"),
        ({"limits": {"seconds": -1}}, "number of seconds"),
        ({"limits": {"seconds": float("inf")}}, "number of seconds"),
        ({"limits": {"spend": 1.5}}, "amount in quotes"),
        ({"limits": {"spend": "x"}}, "amount in quotes"),
        ({"limits": {"spend": "-1"}}, "amount in quotes"),
        ({"limits": {"spend": "NaN"}}, "amount in quotes"),
        ({"limits": {"per_tool": {"a": "1"}}}, "whole number"),
        ({"limits": {"reserve": 1}}, "must be a table"),
        ({"limits": {"reserve": {"spnd": 1}}}, "did you mean 'spend'"),
        ({"levels": {"a": 5}}, "from 0 to 4"),
        ({"levels": {"": 1}}, "must be text"),
        ({"forbidden": "delete_*"}, "a list of tool patterns"),
        ({"forbidden": [3]}, "must be text"),
        ({"unknown_tools": "denny"}, "one of: deny, hold, allow"),
        ({"breaker": {"failures": 0}}, "whole number from 1"),
        ({"breaker": {"failure": 1}}, "did you mean 'failures'"),
        ({"breaker": 5}, "must be a table"),
    ],
)
def test_what_cannot_be_used_is_refused(config: dict[str, Any], message: str) -> None:
    """Unknown keys and wrong values name what was meant."""
    with pytest.raises(PolicyError, match=message):
        build_controls({"policy": ALLOW, **config}, where="suite.toml")


def test_spend_may_be_a_decimal_or_a_whole_number() -> None:
    """Validated suite files give decimals; both forms are exact."""
    for spend in (Decimal("1.00"), 1, "1.0"):
        assert build_controls({"policy": ALLOW, "limits": {"spend": spend}}).controls[2].id == "envelope.max_spend"


def test_a_plugins_control_may_only_restrict() -> None:
    """A control that would grant, takes a known id, or is no control stops the build."""
    grants, taken, broken = Refuses(), Refuses(), object()
    grants.grants = True  # type: ignore[attr-defined]
    taken.id = "policy"
    with pytest.raises(PolicyError, match="never lift"):
        build_controls({"policy": ALLOW}, extra_controls=[grants])
    with pytest.raises(PolicyError, match="two controls"):
        build_controls({"policy": ALLOW}, extra_controls=[taken])
    with pytest.raises(PolicyError, match="is no control"):
        build_controls({"policy": ALLOW}, extra_controls=[broken])  # type: ignore[list-item]


def test_the_configuration_hash_covers_the_table_and_the_policys_content() -> None:
    """A changed bound or rule changes the hash; the path of the policy does not."""
    one = build_controls(FULL).configuration_hash
    assert one == build_controls(dict(FULL)).configuration_hash
    assert one == build_controls({**FULL, "policy": load_policy(ALLOW)}).configuration_hash
    assert one != build_controls({**FULL, "levels": {"prescribe_*": 2}}).configuration_hash
    assert one != build_controls({**FULL, "policy": {"policy": {"default": "deny"}}}).configuration_hash


def test_the_agent_is_told_the_control_and_never_the_pattern() -> None:
    """A rule's own message is given; bad arguments say what to correct; everything else is a fixed sentence."""
    policy = {
        "policy": {"default": "allow"},
        "rule": [
            {"id": "told", "effect": "deny", "reason": "secret", "message": "ask ann", "when": {"tool": "a"}},
            {"id": "silent", "effect": "deny", "reason": "secret", "when": {"tool": "b"}},
        ],
    }
    config = {
        "policy": policy,
        "forbidden": ["delete_*"],
        "levels": {"c": 3},
        "limits": {"per_tool": {"d": 0}},
        "breaker": {"failures": 1},
    }
    tools = [*("a", "b", "c", "d", "f", "delete_it"), ToolSpec("e", parameters={"required": ["x"]})]
    story = Story(tools=tools)
    story.did("f", None, "error")
    runtime = build_controls(config)
    told = {name: runtime.message(runtime.decide(story.action(name), story.state, story.now)) for name in
            ("a", "b", "c", "d", "e", "f", "g", "delete_it")}  # fmt: skip
    assert told == {
        "a": "policy: ask ann",
        "b": "policy: not allowed by the policy",
        "c": "authorization.level: this action needs an approval",
        "d": "envelope.per_tool: a bound of this session is reached",
        "e": "tool.arguments: x: required",
        "f": "breaker: this tool is stopped for now after failures",
        "g": "tool.unknown: there is no such tool",
        "delete_it": "forbidden.action: this action is forbidden",
    }
    mine = build_controls(config, extra_controls=[Refuses()])
    assert mine.message(Decision("deny", "mine", reason="secret")) == "mine: refused"
    broken = Decision("deny", "tool.arguments", "control-failed", "the control raised KeyError")
    assert runtime.message(broken) == "tool.arguments: refused"


def test_the_runtime_tells_what_to_record_after_a_result() -> None:
    """A breaker's events come from the runtime; without a breaker there are none."""
    story = Story(tools=["a"])
    action = story.did("a", None, "error")
    runtime = build_controls({"policy": ALLOW, "breaker": {"failures": 1, "cooldown": 1}})
    assert [type_ for type_, _ in runtime.after(action.id, story.state)] == ["breaker.opened"]
    assert build_controls({"policy": ALLOW}).after(action.id, story.state) == []


def test_rules_about_tools_that_are_not_offered_are_noted() -> None:
    """Notes are for the run's record; they stop nothing."""
    policy = {"rule": [{"id": "r", "effect": "deny", "when": {"tool": "pya"}}]}
    assert len(build_controls({"policy": policy}, tools=[ToolSpec("pay")]).notes) == 1
    assert build_controls({"policy": policy}).notes == ()
