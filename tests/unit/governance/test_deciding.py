"""How the answers of all controls become one decision."""

from __future__ import annotations

from typing import Any

import pytest

from agentcheck.governance.decide import MISSING, UnsafeAllowAll, decide
from agentcheck.records import Action, Decision
from fakes_governance import Story


class Says:
    """A control that always gives the same answer."""

    def __init__(self, id_: str, answer: Any, *, grants: bool = False) -> None:
        self.id = id_
        self.answer = answer
        self.grants = grants

    def decide(self, action: Action, state: Any, now: int) -> Any:
        """The answer, or raise it."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


GRANT = Says("policy", Decision("allow", "policy", "r", policy="hash"), grants=True)


def _decide(*controls: Any) -> Decision:
    story = Story()
    return decide(story.action("tool"), story.state, controls, story.now)


def test_a_policy_that_allows_allows() -> None:
    """One grant and no refusal is an allowance, with the policy's rule and hash."""
    assert _decide(Says("x", None), GRANT) == Decision("allow", "policy", "r", policy="hash")


def test_nothing_is_allowed_without_a_policy() -> None:
    """No control at all, and controls that allow without being a policy, are refused by policy.missing."""
    assert _decide() == MISSING
    assert _decide(Says("x", Decision("allow", "x"))).control == "policy.missing"
    assert _decide(Says("policy", None, grants=True)).control == "policy.missing"


def test_without_a_policy_a_control_that_denies_is_the_one_named() -> None:
    """The denial of a control says more than the missing policy, which is among the others."""
    decision = _decide(Says("x", Decision("deny", "x")))
    assert decision.control == "x"
    assert [other.control for other in decision.others] == ["policy.missing"]


def test_deny_wins_over_hold_over_allow_and_the_first_of_equals_decides() -> None:
    """The strictest answer decides, whatever the order; the others are carried along."""
    hold, first, second = (
        Says("hold", Decision("hold", "hold", level=2)),
        Says("first", Decision("deny", "first", "r1", "why")),
        Says("second", Decision("deny", "second")),
    )
    decision = _decide(hold, GRANT, first, second)
    assert (decision.outcome, decision.control, decision.rule, decision.reason) == ("deny", "first", "r1", "why")
    assert [other.control for other in decision.others] == ["hold", "second"]
    assert decision.policy == "hash"
    assert _decide(GRANT, hold).outcome == "hold"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ValueError("the secret pattern"), "the control raised ValueError"),
        (RecursionError(), "the control raised RecursionError"),
        ("allow", "the control answered with str"),
        (True, "the control answered with bool"),
        (Decision("permit", "x"), "the control answered with an unknown outcome"),  # type: ignore[arg-type]
        (Decision(["allow"], "x"), "the control raised TypeError"),  # type: ignore[arg-type]
        (Decision("allow", "x", level=5), "the control answered with an unknown level"),
        (Decision("allow", "x", level=-1), "the control answered with an unknown level"),
        (Decision("allow", "x", level=True), "the control answered with an unknown level"),
        (Decision("allow", "x", reason=None), "the control answered with a reason that is no text"),  # type: ignore[arg-type]
    ],
)
def test_a_control_that_fails_denies_and_names_only_the_kind_of_failure(answer: Any, reason: str) -> None:
    """Raising, or answering outside the table, denies under the control's own id."""
    decision = _decide(GRANT, Says("x", answer))
    assert (decision.outcome, decision.control, decision.rule) == ("deny", "x", "control-failed")
    assert decision.reason == reason


def test_a_failing_policy_denies() -> None:
    """A policy that raises is a denial by the policy, not a missing one."""
    decision = _decide(Says("policy", KeyError("x"), grants=True))
    assert (decision.control, decision.rule) == ("policy", "control-failed")


def test_a_control_without_an_id_denies_under_its_class() -> None:
    """An object that is no proper control cannot be skipped."""

    class Nameless:
        def decide(self, action: Action, state: Any, now: int) -> Decision:
            return Decision("allow", "x")

    assert _decide(GRANT, Nameless()).control == "Nameless"


def test_a_decision_is_recorded_under_the_control_that_made_it() -> None:
    """A control cannot speak in the name of another."""
    assert _decide(GRANT, Says("mine", Decision("deny", "policy"))).control == "mine"


def test_the_level_is_the_highest_one_stated() -> None:
    """Level 1 stays an allowance; from level 2 on the action is held by the control that stated it."""
    notify, approve = Says("l", Decision("allow", "l", level=1)), Says("m", Decision("allow", "m", level=3))
    assert _decide(GRANT, notify) == Decision("allow", "policy", "r", level=1, policy="hash")
    held = _decide(GRANT, notify, approve)
    assert (held.outcome, held.control, held.level) == ("hold", "m", 3)


def test_a_hold_and_a_higher_level_elsewhere_keep_the_higher_level() -> None:
    """A committee asked for by one control is not reduced to an approval by another."""
    decision = _decide(GRANT, Says("a", Decision("hold", "a", level=2)), Says("b", Decision("allow", "b", level=4)))
    assert (decision.outcome, decision.level) == ("hold", 4)


def test_a_hold_without_a_level_needs_approval() -> None:
    """A hold that states no level is one of level 3."""
    assert _decide(GRANT, Says("a", Decision("hold", "a"))).level == 3


def test_a_policys_hold_needs_no_further_grant() -> None:
    """A policy that holds has answered: nothing is missing."""
    decision = _decide(Says("policy", Decision("hold", "policy", level=3), grants=True))
    assert (decision.outcome, decision.control, decision.others) == ("hold", "policy", ())


def test_what_a_policy_collected_beside_its_decision_is_kept() -> None:
    """Further rules of a policy that refuse stay among the others; anything that is no decision is dropped."""
    beside = Decision("hold", "policy", "r2", level=3)
    decision = _decide(Says("policy", Decision("deny", "policy", others=(beside,)), grants=True))
    assert decision.others == (beside,)
    assert _decide(GRANT, Says("x", Decision("deny", "x", others=("bad",)))).others == ()  # type: ignore[arg-type]


def test_the_bypass_allows_and_says_so() -> None:
    """UnsafeAllowAll allows, is marked unsafe, and lifts no other control."""
    bypass = UnsafeAllowAll()
    assert bypass.unsafe
    assert _decide(bypass).rule == "unsafe-allow-all"
    assert _decide(bypass, Says("x", Decision("deny", "x"))).outcome == "deny"
