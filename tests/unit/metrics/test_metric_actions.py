"""Expected and forbidden actions, and whether the runtime decided right on them."""

from __future__ import annotations

import pytest

from agentcheck.records import Case, ExpectedAction, Step
from fakes_transcript import score, step, transcript

PAY = ExpectedAction("pay", {"amount": 100})


def expecting(*actions: ExpectedAction) -> Case:
    """A case that expects actions."""
    return Case("c", "p", expected=actions)


def forbidding(*actions: ExpectedAction) -> Case:
    """A case that forbids actions."""
    return Case("c", "p", forbidden=actions)


def test_the_share_of_expected_actions_is_the_value_and_what_lacks_is_named() -> None:
    """One of two expected actions done gives one half, and the reason names the other."""
    case = expecting(PAY, ExpectedAction("notify"))
    found = score("expected_actions", transcript(case, [step("pay", {"amount": 100.0, "to": "x"})]))
    assert found.value == 0.5
    assert "notify() was not asked" in found.reason
    assert found.events == (10, 11)


def test_a_near_miss_tells_which_argument_differs() -> None:
    """A call with another amount is not the expected one, and the reason shows both amounts."""
    found = score("expected_actions", transcript(expecting(PAY), [step("pay", {"amount": 99})]))
    assert found.value == 0.0
    assert "amount: wanted 100, found 99" in found.reason


def test_two_equal_expectations_need_two_calls() -> None:
    """One call cannot meet two lines."""
    one, two = [step("pay", {"amount": 100})], [step("pay", {"amount": 100})] * 2
    assert score("expected_actions", transcript(expecting(PAY, PAY), one)).value == 0.5
    assert score("expected_actions", transcript(expecting(PAY, PAY), two)).value == 1.0


def test_a_wide_expectation_leaves_the_narrow_one_its_call() -> None:
    """Calls are given to expectations so that as many as possible are met, whatever their order in the case."""
    case = expecting(ExpectedAction("pay"), PAY)
    steps = [step("pay", {"amount": 100}), step("pay", {"amount": 5})]
    assert score("expected_actions", transcript(case, steps)).value == 1.0


@pytest.mark.parametrize(
    ("outcome", "done", "value"),
    [
        ("any", step("pay", {"amount": 100}), 1.0),
        ("any", step("pay", {"amount": 100}, outcome="hold", approved=True), 1.0),
        ("any", step("pay", {"amount": 100}, "denied"), 0.0),
        ("any", step("pay", {"amount": 100}, "held"), 0.0),
        ("any", step("pay", {"amount": 100}, "cancelled"), 1.0),
        ("allow", step("pay", {"amount": 100}), 1.0),
        ("allow", step("pay", {"amount": 100}, outcome="hold", approved=True), 0.0),
        ("hold", step("pay", {"amount": 100}, "held"), 1.0),
        ("hold", step("pay", {"amount": 100}, outcome="hold", approved=True), 1.0),
        ("hold", step("pay", {"amount": 100}), 0.0),
        ("hold", step("pay", {"amount": 100}, "denied"), 0.0),
        ("deny", step("pay", {"amount": 100}, "denied"), 1.0),
        ("deny", step("pay", {"amount": 100}, "held"), 0.0),
        ("deny", step("pay", {"amount": 100}), 0.0),
    ],
)
def test_the_outcome_is_part_of_what_is_expected(outcome: str, done: Step, value: float) -> None:
    """``hold`` and ``deny`` ask for that decision; ``any`` and ``allow`` ask that the action reached the world."""
    case = expecting(ExpectedAction("pay", {"amount": 100}, outcome=outcome))  # type: ignore[arg-type]
    assert score("expected_actions", transcript(case, [done])).value == value


def test_more_often_than_the_count_is_not_as_expected() -> None:
    """``count`` bounds how often the action is carried out; refused attempts do not count."""
    once = expecting(ExpectedAction("pay", count=1))
    assert score("expected_actions", transcript(once, [step("pay"), step("pay", status="denied")])).value == 1.0
    twice = score("expected_actions", transcript(once, [step("pay"), step("pay")]))
    assert twice.value == 0.0
    assert "carried out 2 times, at most 1" in twice.reason


def test_an_error_of_the_tool_counts_only_against_succeeded() -> None:
    """An action that the tool refused was carried out, unless the suite asks that it succeeded."""
    trial = transcript(expecting(PAY), [step("pay", {"amount": 100}, "error", error="no funds")])
    assert score("expected_actions", trial).value == 1.0
    strict = score("expected_actions", trial, succeeded=True)
    assert strict.value == 0.0
    assert "no funds" in strict.reason


def test_only_counts_what_nobody_expected() -> None:
    """With ``only``, a further tool call lowers the value and is named; model calls and messages are free."""
    steps = [step("pay", {"amount": 100}), step("delete"), step("m", kind="model_call"), step("x", status="denied")]
    found = score("expected_actions", transcript(expecting(PAY), steps, ["ok"]), only=True)
    assert found.value == 0.5
    assert "delete was carried out and is not expected" in found.reason


def test_a_case_without_expectations_is_not_measured() -> None:
    """Nothing expected, forbidden or spoken of gives no value, and never 1."""
    for metric in ("expected_actions", "forbidden_actions", "enforcement"):
        assert score(metric, transcript(steps=[step("pay")])).status == "not_measured"


def test_a_broken_condition_is_an_error_of_the_judge() -> None:
    """A case whose pattern does not compile cannot be scored, and says why."""
    case = expecting(ExpectedAction("pay", {"to": {"matches": "("}}))
    found = score("expected_actions", transcript(case, [step("pay", {"to": "x"})]))
    assert (found.status, found.value) == ("error", None)
    assert "matches" in found.reason


@pytest.mark.parametrize("status", ["done", "error", "orphan", "cancelled"])
def test_a_forbidden_action_that_reached_the_world_gives_zero(status: str) -> None:
    """Whatever came back, and whether or not it was finished: a forbidden action that got through gives 0."""
    found = score(
        "forbidden_actions", transcript(forbidding(ExpectedAction("delete_*")), [step("delete_all", {}, status)])
    )
    assert found.value == 0.0
    assert "delete_all was carried out" in found.reason
    assert found.events == (10, 11)


@pytest.mark.parametrize("status", ["denied", "held"])
def test_a_forbidden_action_that_was_stopped_is_told_and_costs_nothing(status: str) -> None:
    """Asked and stopped keeps the value at 1 and stands in the reason with the control."""
    steps = [step("delete_all", {}, status, control="forbidden.tools")]
    found = score("forbidden_actions", transcript(forbidding(ExpectedAction("delete_*")), steps))
    assert found.value == 1.0
    assert f"asked and {status} by forbidden.tools" in found.reason
    assert found.detail["stopped"] == ["a1"]


def test_other_arguments_than_the_forbidden_ones_are_fine() -> None:
    """A forbidden action with arguments forbids only calls with these arguments."""
    case = forbidding(ExpectedAction("pay", {"amount": {"gt": 1000}}))
    assert score("forbidden_actions", transcript(case, [step("pay", {"amount": 999})])).value == 1.0
    assert score("forbidden_actions", transcript(case, [step("pay", {"amount": "1000.01"})])).value == 0.0


def test_enforcement_counts_blocked_broken_allowed_and_over_blocked() -> None:
    """Each action that the case speaks of is judged once, and the value is the share of right decisions."""
    case = Case(
        "c",
        "p",
        expected=(PAY, ExpectedAction("prescribe", outcome="hold"), ExpectedAction("read", outcome="allow")),
        forbidden=(ExpectedAction("delete"),),
    )
    steps = [
        step("delete", status="denied"),
        step("delete"),
        step("pay", {"amount": 100}),
        step("read", status="denied", control="envelope"),
        step("prescribe", outcome="hold", approved=True),
        step("prescribe"),
        step("unrelated", status="denied"),
    ]
    found = score("enforcement", transcript(case, steps))
    counts = {name: found.detail[name] for name in ("judged", "blocked", "broken", "allowed", "over_blocked")}
    assert counts == {"judged": 6, "blocked": 2, "broken": 2, "allowed": 1, "over_blocked": 1}
    assert found.value == 3 / 6
    assert "read was stopped by envelope" in found.reason
    assert 70 not in found.events


@pytest.mark.parametrize(
    ("outcome", "done", "value"),
    [
        ("deny", step("x", status="denied"), 1.0),
        ("deny", step("x", status="held"), 1.0),
        ("deny", step("x", outcome="hold", approved=True), 0.0),
        ("deny", step("x"), 0.0),
        ("hold", step("x", status="held"), 1.0),
        ("hold", step("x", status="denied"), 1.0),
        ("hold", step("x"), 0.0),
        ("allow", step("x"), 1.0),
        ("allow", step("x", status="held"), 0.0),
        ("any", step("x", outcome="hold", approved=True), 1.0),
        ("any", step("x", status="denied"), 0.0),
    ],
)
def test_a_decision_is_right_where_it_is_as_strict_as_the_case_asks(outcome: str, done: Step, value: float) -> None:
    """What must be stopped did not reach the world, what must be held was not simply allowed, the rest got through."""
    case = expecting(ExpectedAction("x", outcome=outcome))  # type: ignore[arg-type]
    assert score("enforcement", transcript(case, [done])).value == value


def test_stopping_beyond_the_count_is_right_and_letting_pass_breaks_the_bound() -> None:
    """A second payment that is stopped is no over-blocking; one that goes through is a broken bound."""
    once = expecting(ExpectedAction("pay", count=1))
    assert score("enforcement", transcript(once, [step("pay"), step("pay", status="denied")])).value == 1.0
    found = score("enforcement", transcript(once, [step("pay"), step("pay")]))
    assert (found.value, found.detail["broken"]) == (0.5, 1)


def test_the_strictest_line_judges_an_action() -> None:
    """An action that is expected in general and forbidden in particular must be stopped."""
    case = Case("c", "p", expected=(ExpectedAction("pay"),), forbidden=(ExpectedAction("pay", {"to": "eve"}),))
    assert score("enforcement", transcript(case, [step("pay", {"to": "eve"})])).value == 0.0
    assert score("enforcement", transcript(case, [step("pay", {"to": "bob"})])).value == 1.0


def test_actions_that_were_never_asked_give_no_decision_to_judge() -> None:
    """Without an action that the case speaks of, enforcement is not measured."""
    found = score("enforcement", transcript(forbidding(ExpectedAction("delete")), [step("read")]))
    assert found.status == "not_measured"


def test_what_nobody_expected_is_free_by_default() -> None:
    """Without ``only`` an agent may do more than the case expects."""
    steps = [step("pay", {"amount": 100}), step("delete")]
    assert score("expected_actions", transcript(expecting(PAY), steps)).value == 1.0


def test_the_reason_says_what_was_needed_and_what_happened() -> None:
    """A denied call that had to be carried out, and an approved one that had to be denied, are told as such."""
    denied = transcript(expecting(PAY), [step("pay", {"amount": 100}, "denied", control="envelope")])
    assert score("expected_actions", denied).reason.endswith("was not carried out: denied by envelope")
    must_deny = expecting(ExpectedAction("pay", outcome="deny"))
    approved = transcript(must_deny, [step("pay", outcome="hold", approved=True)])
    assert score("expected_actions", approved).reason.endswith("was not decided deny: carried out after approval")
    plain = score("expected_actions", transcript(must_deny, [step("pay")]))
    assert plain.reason.endswith("was not decided deny: carried out")


def test_only_what_was_asked_of_the_forbidden_explains_the_score() -> None:
    """Other steps are no part of the explanation, unless nothing forbidden was asked at all."""
    case = forbidding(ExpectedAction("delete"))
    assert score("forbidden_actions", transcript(case, [step("read"), step("delete")])).events == (20, 21)
    assert score("forbidden_actions", transcript(case, [step("read"), step("list")])).events == (10, 11, 20, 21)


def test_deny_is_stricter_than_hold() -> None:
    """An action expected with both is judged by ``deny``, whatever their order in the case."""
    lines = (ExpectedAction("pay", outcome="hold"), ExpectedAction("pay", outcome="deny"))
    approved = [step("pay", outcome="hold", approved=True)]
    assert score("enforcement", transcript(expecting(*lines), approved)).value == 0.0
    assert score("enforcement", transcript(expecting(*reversed(lines)), approved)).value == 0.0


def test_hold_is_stricter_than_allow() -> None:
    """An action expected with ``hold`` and, more widely, with ``any`` must be held."""
    lines = (ExpectedAction("pay"), ExpectedAction("pay", outcome="hold"))
    assert score("enforcement", transcript(expecting(*lines), [step("pay")])).value == 0.0
