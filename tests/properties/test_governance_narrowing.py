"""What may be added, and what may go missing, without ever widening what is allowed."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentcheck.governance.build import build_controls
from agentcheck.governance.policy import Policy, load_policy
from agentcheck.records import SEVERITY, Action, Decision, ToolSpec
from fakes_governance import Story

VALUE = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b", "ann", "x@evil.com", "x@bank.com"])
ARGUMENTS = st.dictionaries(
    st.sampled_from(["to", "sum", "note", "lines", "order"]),
    VALUE | st.lists(VALUE, max_size=3) | st.lists(st.dictionaries(st.sampled_from(["sum", "to"]), VALUE), max_size=2)
    | st.dictionaries(st.sampled_from(["sum", "to"]), VALUE),
)  # fmt: skip
TOOLS = st.sampled_from(["pay", "send_mail", "read", "verify"])
# Guards with `exists` are left out: they say that a missing field is harmless.
FIELD = st.one_of(
    VALUE.filter(lambda value: value is not None),
    st.builds(lambda op, n: {op: n}, st.sampled_from(["gt", "gte", "lt", "lte"]), st.integers(-2, 2)),
    st.builds(lambda op, v: {op: v}, st.sampled_from(["in", "not_in"]), st.just(["a", 1])),
    st.builds(lambda op, v: {op: v}, st.sampled_from(["contains", "starts_with", "not_contains"]), st.just("x")),
    st.builds(lambda op: {op: "principal.user"}, st.sampled_from(["equals_field", "not_equals_field"])),
    st.just({"length": {"gt": 1}}),
    st.just({"matches": "^x"}),
)
PATH = st.sampled_from(["to", "sum", "note", "lines[*].sum", "lines[*]", "order.to", "to[0]"])
ATOM = st.one_of(
    st.builds(lambda path, field: {"args": {path: field}}, PATH, FIELD),
    st.builds(lambda tool: {"tool": tool}, TOOLS),
    st.builds(lambda key, tool: {key: {"tool": tool}}, st.sampled_from(["after", "not_after"]), TOOLS),
    st.builds(lambda tool: {"not_after": {"tool": tool, "same": ["to"]}}, TOOLS),
    st.builds(lambda tool, n: {"count": {"tool": tool, "args": {"to": "a"}, "gte": n}}, TOOLS, st.integers(0, 2)),
    st.just({"same_arguments_as": {}}),
    st.just({"same_arguments_as": {"same": ["to"]}}),
    st.just({"principal": {"user": {"not_in": ["ann"]}}}),
    st.just({"flow": {"argument": ["to", "note"], "from": "untrusted_only"}}),
)
WHEN = st.recursive(
    ATOM,
    lambda inner: st.builds(lambda parts, key: {key: parts}, st.lists(inner, min_size=1, max_size=3),
                            st.sampled_from(["all", "any"])) | st.builds(lambda part: {"not": part}, inner),
    max_leaves=4,
)  # fmt: skip
RULES = st.lists(st.tuples(st.sampled_from(["allow", "hold", "deny"]), WHEN), max_size=4)
STEPS = st.lists(st.tuples(TOOLS, ARGUMENTS, st.sampled_from(["done", "error", "running", "denied"])), max_size=4)


def _policy(rules: list[tuple[str, Any]], default: str) -> Policy:
    tables = [{"id": f"r{number}", "effect": effect, "when": when} for number, (effect, when) in enumerate(rules)]
    return load_policy({"policy": {"default": default}, "rule": copy.deepcopy(tables)})


def _story(steps: list[tuple[str, dict[str, Any], str]]) -> Story:
    story = Story("pay a", tools=[ToolSpec("read", trusted=False), "pay", "send_mail", "verify"])
    story.principal = {"user": "ann"}
    for name, arguments, status in steps:
        if status == "running":
            story.allow(name, **arguments)
        elif status == "denied":
            story.deny(name, **arguments)
        else:
            story.did(name, "x@evil.com b", status, **arguments)
    return story


def _deletions(value: Any) -> list[Any]:
    """The value with one field of any table in it deleted, or renamed: every such value."""
    found: list[Any] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            rest = {name: each for name, each in value.items() if name != key}
            found += [rest, {**rest, f"{key}s": inner}]
            found += [{**value, key: changed} for changed in _deletions(inner)]
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += [[*value[:index], changed, *value[index + 1 :]] for changed in _deletions(inner)]
    return found


@settings(max_examples=150, deadline=None)
@given(RULES, st.sampled_from(["allow", "hold", "deny"]), STEPS, TOOLS, ARGUMENTS)
def test_a_missing_or_misspelt_field_never_widens(
    rules: list[Any], default: str, steps: list[Any], name: str, arguments: dict[str, Any]
) -> None:
    """Deleting or misspelling any field of an action, or its principal, never makes the answer of any policy milder."""
    story, policy = _story(steps), _policy(rules, default)
    action = story.action(name, **arguments)
    before = SEVERITY[policy.decide(action, story.state, story.now).outcome]
    mutated = [Action(action.id, action.kind, name, changed, 1, "k", action.principal) for changed in
               _deletions(arguments)]  # fmt: skip
    mutated.append(Action(action.id, action.kind, name, arguments, 1, "k", {}))
    for changed in mutated:
        assert SEVERITY[policy.decide(changed, story.state, story.now).outcome] >= before, changed


@settings(max_examples=100, deadline=None)
@given(RULES, st.tuples(st.sampled_from(["hold", "deny"]), WHEN), st.integers(0, 4),
       st.sampled_from(["hold", "deny"]), STEPS, TOOLS, ARGUMENTS)  # fmt: skip
def test_a_rule_that_refuses_never_widens(
    rules: list[Any], added: Any, at: int, default: str, steps: list[Any], name: str, arguments: dict[str, Any]
) -> None:
    """Adding a denial or a hold anywhere in a policy never lets through what was refused or only held before.

    With ``default`` deny or hold a new hold may be milder than the default: it never allows.
    """
    story = _story(steps)
    action = story.action(name, **arguments)
    before = _policy(rules, default).decide(action, story.state, story.now).outcome
    after = _policy([*rules[:at], added, *rules[at:]], default).decide(action, story.state, story.now).outcome
    assert after != "allow" or before == "allow"
    open_before = _policy(rules, "allow").decide(action, story.state, story.now).outcome
    open_after = _policy([*rules[:at], added, *rules[at:]], "allow").decide(action, story.state, story.now).outcome
    assert SEVERITY[open_after] >= SEVERITY[open_before]


class Plugin:
    """A control of a plugin that answers anything at all, or raises."""

    id = "plugin"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def decide(self, action: Action, state: Any, now: int) -> Any:
        """The answer, or raise it."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


ANSWERS = st.one_of(
    st.none(),
    st.sampled_from([ValueError("x"), "allow", 1, True]),
    st.builds(
        Decision, st.sampled_from(["allow", "hold", "deny", "maybe"]), st.just("policy"), level=st.integers(-1, 5)
    ),
)


@settings(max_examples=100, deadline=None)
@given(RULES, st.sampled_from(["allow", "hold", "deny"]), ANSWERS, STEPS, TOOLS, ARGUMENTS)
def test_a_plugins_control_never_widens(
    rules: list[Any], default: str, answer: Any, steps: list[Any], name: str, arguments: dict[str, Any]
) -> None:
    """Whatever a plugin's control answers, the decision is at least as strict, and never at a lower level."""
    story, policy = _story(steps), _policy(rules, default)
    config = {"policy": policy, "levels": {"send_*": 3, "pay": 1}, "limits": {"actions": 3}}
    action = story.action(name, **arguments)
    before = build_controls(config).decide(action, story.state, story.now)
    after = build_controls(config, extra_controls=[Plugin(answer)]).decide(action, story.state, story.now)
    assert SEVERITY[after.outcome] >= SEVERITY[before.outcome]
    assert after.level >= before.level or after.outcome == "deny"
    assert after.policy == before.policy == policy.hash
