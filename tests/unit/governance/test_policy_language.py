"""What the conditions of the native policy mean."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest

from agentcheck.governance.policy import Policy, load_policy, load_policy_text
from agentcheck.records import Decision
from fakes_governance import Story


def _policy(when: dict[str, Any], effect: str = "deny", default: str = "allow") -> Policy:
    return load_policy({"policy": {"default": default}, "rule": [{"id": "r", "effect": effect, "when": when}]})


def _ask(policy: Policy, story: Story | None = None, name: str = "pay", **arguments: Any) -> Decision:
    story = story or Story()
    return policy.decide(story.action(name, **arguments), story.state, story.now)


def _truth(condition: Any, value: Any) -> bool | None:
    """What a condition on ``args.x`` says of a value: a denial without an allowance is "not decidable"."""
    when = {"args": {"x": condition}}
    denied = _ask(_policy(when), x=value).outcome == "deny"
    allowed = _ask(_policy(when, "allow", "deny"), x=value).outcome == "allow"
    assert not (allowed and not denied)
    return True if allowed else (None if denied else False)


@pytest.mark.parametrize(
    ("condition", "value", "truth"),
    [
        ("EUR", "EUR", True),
        ("EUR", "USD", False),
        ("EUR", 5, None),
        ("EUR", None, None),
        (5, 5.0, True),
        (1, True, None),
        (True, True, True),
        (True, 1, None),
        ({"equals": [1, 2]}, [1, 2], True),
        ({"equals": {"a": 1}}, {"a": 2}, False),
        ({"not_equals": "EUR"}, "USD", True),
        ({"not_equals": "EUR"}, 5, None),
        ({"in": ["a", "b"]}, "b", True),
        ({"in": ["a", "b"]}, "c", False),
        ({"in": ["a", 1]}, 2, False),
        ({"in": ["a", "b"]}, 1, None),
        ({"not_in": ["a", "b"]}, "c", True),
        ({"not_in": ["a", "b"]}, "a", False),
        ({"not_in": ["a", "b"]}, ["a"], None),
        ({"gt": 10}, 10, False),
        ({"gt": 10}, 10.5, True),
        ({"gte": 10}, 10, True),
        ({"lt": 10}, 9, True),
        ({"lt": 10}, 10, False),
        ({"lte": 10}, 10, True),
        ({"gt": 10}, "20", None),
        ({"gt": 10}, True, None),
        ({"gt": 10}, float("nan"), None),
        ({"gt": 10}, float("inf"), True),
        ({"gte": 1, "lt": 5}, 3, True),
        ({"gte": 1, "lt": 5}, 5, False),
        ({"contains": "evil"}, "an evil text", True),
        ({"contains": "evil"}, "a text", False),
        ({"contains": ["x", "evil"]}, "an evil text", True),
        ({"contains": "a"}, ["a", "b"], True),
        ({"contains": "a"}, ["b"], False),
        ({"contains": "a"}, ["b", 1], None),
        ({"contains": 1}, [1], True),
        ({"contains": 1}, "1", None),
        ({"contains": "a"}, 5, None),
        ({"not_contains": "a"}, "b", True),
        ({"starts_with": "https://"}, "https://a", True),
        ({"starts_with": ["http:", "ftp:"]}, "https://a", False),
        ({"ends_with": "@bank.com"}, "a@bank.com", True),
        ({"ends_with": "@bank.com"}, ["a@bank.com"], None),
        ({"ends_with": "@BANK.com", "ignore_case": True}, "a@bank.COM", True),
        ({"equals": "ﬁne", "ignore_case": True}, "FINE", True),
        ({"in": ["A"], "ignore_case": True}, "a", True),
        ({"matches": "^DE[0-9]{2}"}, "DE12", True),
        ({"matches": "^DE[0-9]{2}"}, "FR12", False),
        ({"matches": "^de", "ignore_case": True}, "DE", True),
        ({"not_matches": "^DE"}, "FR", True),
        ({"matches": "^DE"}, 5, None),
        ({"length": 2}, "ab", True),
        ({"length": {"gt": 2}}, [1, 2, 3], True),
        ({"length": {"gte": 1, "lte": 2}}, {"a": 1}, True),
        ({"length": {"lt": 2}}, "ab", False),
        ({"length": 2}, 12, None),
        ({"exists": True}, "x", True),
        ({"exists": True}, None, False),
        ({"exists": False}, "x", False),
        ({"exists": False}, None, True),
        ({"exists": True, "gt": 5}, None, False),
        ({"exists": True, "gt": 5}, "6", None),
    ],
)
def test_an_operator_is_true_false_or_not_decidable(condition: Any, value: Any, truth: bool | None) -> None:
    """Another type than the operator is for is not decidable: a denial matches, an allowance does not."""
    assert _truth(condition, value) is truth


def test_a_missing_field_matches_a_denial_and_no_allowance() -> None:
    """A rule that refuses does not go silent when its field is missing or misspelt; `exists` guards it."""
    when = {"tool": "pay", "args": {"amount": {"gt": 100}}}
    assert _ask(_policy(when), amount=5).outcome == "allow"
    assert _ask(_policy(when), amuont=5).outcome == "deny"
    assert _ask(_policy(when, "hold")).outcome == "hold"
    assert "cannot be decided" in _ask(_policy(when)).reason
    assert _ask(_policy(when, "allow", "deny")).outcome == "deny"
    guarded = {"tool": "pay", "args": {"amount": {"exists": True, "gt": 100}}}
    assert _ask(_policy(guarded)).outcome == "allow"


def test_a_tool_that_a_rule_is_not_about_is_not_touched_by_its_missing_field() -> None:
    """A rule whose tool does not fit is false, whatever else cannot be decided."""
    assert _ask(_policy({"tool": "pay", "args": {"amount": {"gt": 1}}}), name="read").outcome == "allow"
    assert _ask(_policy({"all": [{"tool": "pay"}, {"args": {"amount": {"gt": 1}}}]}), name="read").outcome == "allow"


def test_paths_lead_into_tables_and_lists() -> None:
    """Nested tables, dotted names and indexes are the same path."""
    one = {"equals": 1}
    for args in ({"order": {"lines": {"amount": one}}}, {"order.lines.amount": 1}, {"order": {"lines.amount": one}}):
        assert _ask(_policy({"args": args}), order={"lines": {"amount": 1}}).outcome == "deny"
        assert _ask(_policy({"args": args}), order={"lines": {"amount": 2}}).outcome == "allow"
    second = _policy({"args": {"to[1]": "b"}})
    assert _ask(second, to=["a", "b"]).outcome == "deny"
    assert _ask(second, to=["a", "c"]).outcome == "allow"
    assert _ask(second, to=["a"]).outcome == "deny"
    assert _ask(second, to="ab").outcome == "deny"


@pytest.mark.parametrize(
    ("recipients", "denied", "allowed"),
    [
        (["a@bank.com"], False, True),
        (["a@bank.com", "b@bank.com"], False, True),
        (["a@bank.com", "x@evil.com"], True, False),
        (["x@evil.com"], True, False),
        (["a@bank.com", 5], True, False),
        ([], True, False),
        ("a@bank.com", True, False),
    ],
)
def test_every_element_of_a_list_must_allow_and_any_may_deny(recipients: Any, denied: bool, allowed: bool) -> None:
    """`[*]` is true for all elements, false for none, and not decidable in between."""
    inside = {"args": {"to[*]": {"ends_with": "@bank.com"}}}
    assert (_ask(_policy({"not": inside}), to=recipients).outcome == "deny") is denied
    assert (_ask(_policy(inside, "allow", "deny"), to=recipients).outcome == "allow") is allowed


def test_a_guard_on_a_list_makes_an_empty_one_harmless() -> None:
    """`exists` on elements is false for an empty list, and passes over elements that lack the field."""
    policy = _policy({"args": {"bcc[*]": {"exists": True, "equals": "x"}}})
    assert _ask(policy, bcc=[]).outcome == "allow"
    assert _ask(policy).outcome == "allow"
    assert _ask(policy, bcc=["x"]).outcome == "deny"
    lines = _policy({"args": {"lines[*].sum": {"exists": True}}})
    assert _ask(lines, lines=[{}, {"sum": 1}]).outcome == "deny"
    assert _ask(lines, lines=[{}]).outcome == "allow"
    none = _policy({"args": {"lines[*].sum": {"exists": False}}})
    assert _ask(none, lines=[{}]).outcome == "deny"
    assert _ask(none, lines=[{"sum": 1}]).outcome == "allow"


def test_two_fields_are_compared() -> None:
    """`_field` operators compare with another field of the action; a missing one is not decidable."""
    policy = _policy({"args": {"tenant": {"not_equals_field": "principal.tenant"}}})
    own = Story(principal={"tenant": "a"})
    assert _ask(policy, own, tenant="a").outcome == "allow"
    assert _ask(policy, own, tenant="b").outcome == "deny"
    assert _ask(policy, own).outcome == "deny"
    assert _ask(policy, Story(), tenant="a").outcome == "deny"
    more = _policy({"args": {"amount": {"gt_field": "args.limit"}}})
    assert _ask(more, amount=2, limit=1).outcome == "deny"
    assert _ask(more, amount=1, limit=1).outcome == "allow"
    assert _ask(more, amount=1, limit="2").outcome == "deny"
    same = _policy({"args": {"a": {"equals_field": "args.b", "ignore_case": True}}})
    assert _ask(same, a="X", b="x").outcome == "deny"


def test_the_principal_is_the_actions_or_else_the_sessions() -> None:
    """What the session knows of the principal serves where the action does not say."""
    policy = _policy({"principal": {"role": {"not_in": ["treasurer"]}}})
    story = Story(principal={"role": "treasurer"})
    story.principal = {}
    assert _ask(policy, story).outcome == "allow"
    story.principal = {"role": "clerk"}
    assert _ask(policy, story).outcome == "deny"
    assert _ask(policy, Story()).outcome == "deny"


def test_kind_tool_and_turn_are_fields() -> None:
    """A rule may be about kinds, lists of tools, and turns."""
    story = Story()
    kinds = _policy({"kind": ["message", "model_call"]})
    assert kinds.decide(story.action("x", "message"), story.state, 0).outcome == "deny"
    assert kinds.decide(story.action("x"), story.state, 0).outcome == "allow"
    tools = _policy({"tool": ["send_*", "pay"]})
    assert _ask(tools, name="send_it").outcome == "deny"
    assert _ask(tools, name="read").outcome == "allow"
    turns = _policy({"turn": {"gt": 1}})
    assert turns.decide(story.action("x", "tool_call", 2), story.state, 0).outcome == "deny"
    assert turns.decide(story.action("x", "tool_call", 1), story.state, 0).outcome == "allow"


def test_all_any_and_not_follow_three_valued_logic() -> None:
    """Not decidable stays so under `not`, loses to a true part of `any`, and to a false part of `all`."""
    missing, true, false = {"args": {"m": 1}}, {"args": {"x": 1}}, {"args": {"x": 2}}

    def truth(when: dict[str, Any]) -> bool | None:
        denied = _ask(_policy(when), x=1).outcome == "deny"
        allowed = _ask(_policy(when, "allow", "deny"), x=1).outcome == "allow"
        return True if allowed else (None if denied else False)

    assert truth({"any": [missing, true]}) is True
    assert truth({"any": [missing, false]}) is None
    assert truth({"any": [false, false]}) is False
    assert truth({"all": [missing, true]}) is None
    assert truth({"all": [missing, false]}) is False
    assert truth({"not": missing}) is None
    assert truth({"not": true}) is False
    assert truth({"not": false}) is True
    assert truth({"not": {**missing, "turn": 9}}) is True


def test_all_rules_that_match_are_collected() -> None:
    """Deny wins over hold over allow over the default, the first of equals decides, and the highest level stays."""
    policy = load_policy_text("""
        [policy]
        default = "hold"
        level = 2
        [[rule]]
        id = "a"
        effect = "allow"
        level = 1
        when.args.x = { gte = 1 }
        [[rule]]
        id = "h"
        effect = "hold"
        level = 4
        when.args.x = { gte = 2 }
        [[rule]]
        id = "d1"
        effect = "deny"
        when.args.x = { gte = 3 }
        [[rule]]
        id = "d2"
        effect = "deny"
        when.args.x = { gte = 3 }
    """)
    assert (_ask(policy, x=0).rule, _ask(policy, x=0).outcome, _ask(policy, x=0).level) == ("default", "hold", 2)
    assert (_ask(policy, x=1).rule, _ask(policy, x=1).level) == ("a", 1)
    assert (_ask(policy, x=2).rule, _ask(policy, x=2).level, _ask(policy, x=2).others) == ("h", 4, ())
    assert (_ask(policy, x=3).rule, [other.rule for other in _ask(policy, x=3).others]) == ("d1", ["h", "d2"])
    assert _ask(policy, x=3).policy == policy.hash


def test_the_default_is_deny_where_a_policy_does_not_say() -> None:
    """A policy of allowances alone needs no default."""
    policy = load_policy({"rule": [{"id": "r", "effect": "allow", "when": {"tool": "read"}}]})
    assert _ask(policy, name="read").outcome == "allow"
    assert _ask(policy, name="pay").outcome == "deny"


def test_the_hash_is_of_the_content() -> None:
    """Comments, spacing and the order of keys do not matter; any value does."""
    text = '[policy]\nname = "a"\n[[rule]]\nid = "r"\neffect = "deny"\nwhen = { tool = "x", turn = 1 }\n'
    same = '# why\n[policy]\nname="a"\n[[rule]]\neffect="deny"\nid="r"\n[rule.when]\nturn=1\ntool="x"\n'
    assert load_policy_text(text).hash == load_policy_text(same).hash
    assert load_policy_text(text.replace("turn = 1", "turn = 2")).hash != load_policy_text(text).hash
    assert load_policy_text(text.replace('"a"', '"b"')).hash != load_policy_text(text).hash


def test_what_the_agent_is_told_is_kept_apart_from_the_reason() -> None:
    """A rule's message is looked up by its id."""
    policy = load_policy(
        {"rule": [{"id": "r", "effect": "deny", "reason": "why", "message": "told", "when": {"tool": "x"}}]}
    )
    assert policy.messages == {"r": "told"}
    assert _ask(policy, name="x").reason == "why"


def test_a_text_too_long_for_its_pattern_is_not_decidable() -> None:
    """A pattern is tried on texts for which its worst case is bounded; longer ones fail closed."""
    assert _truth({"matches": "^a.*b.*c"}, "a" * 1_000_000) is None


def test_values_of_subclasses_count_as_what_they_are() -> None:
    """An enum of text or an ordered table, as a Python caller may pass it, is text and a table."""

    class Text(str):
        __slots__ = ()

    assert _truth("EUR", Text("EUR")) is True
    assert _truth({"equals": {"a": 1}}, OrderedDict(a=1)) is True
    assert _truth({"equals": [1]}, (1,)) is False
    assert _truth("EUR", object()) is None


def test_a_path_through_a_value_of_another_type_is_not_decidable() -> None:
    """Text has no fields and a table no elements."""
    inside = _policy({"args": {"order.to": "x"}})
    for order in ("x", ["x"], 5, {}):
        assert _ask(inside, order=order).outcome == "deny"
    elements = _policy({"args": {"to[0].id": "x"}})
    assert _ask(elements, to=[{"id": "y"}]).outcome == "allow"
    assert _ask(elements, to={"0": {"id": "y"}}).outcome == "deny"
    assert _ask(_policy({"args": {"a": {"gt_field": "args.b"}}}), a="2", b="1").outcome == "deny"
