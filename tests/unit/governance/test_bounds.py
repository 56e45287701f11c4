"""The envelope, levels, forbidden actions and the breaker."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from agentcheck.governance.authorization import AuthorizationLevel, ForbiddenAction
from agentcheck.governance.breaker import Breaker
from agentcheck.governance.envelope import MaxActions, MaxRequests, MaxSeconds, MaxSpend, MaxTokens, PerTool
from agentcheck.governance.patterns import NamePattern
from agentcheck.governance.state import SessionState
from agentcheck.records import Action
from fakes_governance import SECOND, Story


def _denies(control: Any, story: Story, action: Action | None = None) -> bool:
    decision = control.decide(action or story.action("tool"), story.state, story.now)
    assert decision is None or decision.control == control.id
    return decision is not None and decision.outcome == "deny"


def test_actions_in_flight_and_held_count_towards_the_bound() -> None:
    """The bound holds before the effect: what runs and what waits for approval has its place."""
    story, control = Story(), MaxActions(2)
    story.allow("a")
    assert not _denies(control, story)
    held = story.hold("a")
    assert _denies(control, story)
    story.resolve(held, approved=False)
    assert not _denies(control, story)


def test_requests_count_refused_ones_too() -> None:
    """An agent that keeps asking is stopped, whether or not the door has applied the request it asks about."""
    story, control = Story(), MaxRequests(2)
    story.deny("a")
    second = story.action("a")
    assert not _denies(control, story, second)
    story.ask(second)
    assert not _denies(control, story, second)
    assert _denies(control, story, story.action("a"))


def test_time_is_over_after_the_bound_and_without_a_start() -> None:
    """The last microsecond is allowed, the next one is not; a session without a start has no time."""
    story, control = Story(), MaxSeconds(10 * SECOND)
    story.wait(10)
    assert not _denies(control, story)
    story.now += 1
    assert _denies(control, story)
    assert control.decide(story.action("a"), SessionState(), 0) is not None


@pytest.mark.parametrize(("spent", "kind", "denied"), [
    ("0.99", "model_call", False), ("1.00", "model_call", True), ("1.00", "tool_call", False),
    ("1.01", "tool_call", True), ("1.01", "message", True), ("1.01", "delegate", True),
])  # fmt: skip
def test_spend_stops_the_next_call(spent: str, kind: Any, denied: bool) -> None:
    """What costs is denied once the bound is reached, everything once it is passed."""
    story = Story()
    story.finish(story.allow("m", "model_call"), cost=spent)
    assert _denies(MaxSpend(Decimal("1.00")), story, story.action("x", kind)) is denied


def test_a_reserve_keeps_concurrent_calls_within_the_spend() -> None:
    """With a reserve for each call, calls in flight cannot pass the bound together."""
    story, control = Story(), MaxSpend(Decimal("1.00"), reserve=Decimal("0.40"))
    for denied in (False, False, True):
        action = story.action("m", "model_call")
        assert _denies(control, story, action) is denied
        if not denied:
            story.allow("m", "model_call")
    assert not _denies(control, story, story.action("t"))


@pytest.mark.parametrize(("used", "kind", "denied"), [
    (99, "model_call", False), (100, "model_call", True), (100, "tool_call", False), (101, "tool_call", True),
])  # fmt: skip
def test_tokens_stop_the_next_call(used: int, kind: Any, denied: bool) -> None:
    """Tokens are bounded as spend is."""
    story = Story()
    story.finish(story.allow("m", "model_call"), input_tokens=used - 9, output_tokens=9)
    assert _denies(MaxTokens(100), story, story.action("x", kind)) is denied


def test_a_reserve_keeps_concurrent_calls_within_the_tokens() -> None:
    """A reserve of tokens is counted for the call asked for as well."""
    story = Story()
    assert not _denies(MaxTokens(100, reserve=100), story, story.action("m", "model_call"))
    assert _denies(MaxTokens(100, reserve=101), story, story.action("m", "model_call"))


def test_a_tool_is_bounded_by_name_and_by_shared_pattern() -> None:
    """An exact name bounds one tool, a pattern all its tools together, whatever kind they are asked under."""
    story, control = Story(), PerTool({"pay": 1, "send_*": 2})
    story.allow("pay")
    assert _denies(control, story, story.action("pay"))
    assert _denies(control, story, story.action("pay", "memory"))
    assert not _denies(control, story, story.action("pay", "message"))
    story.did("send_a")
    story.allow("send_b")
    assert _denies(control, story, story.action("send_c"))
    assert not _denies(control, story, story.action("read"))


def test_a_tool_bound_of_zero_denies_the_first_call() -> None:
    """Zero means never."""
    assert _denies(PerTool({"pay": 0}), Story(), Story().action("pay"))


def _level(control: AuthorizationLevel, name: str, kind: Any = "tool_call") -> int | None:
    story = Story()
    decision = control.decide(story.action(name, kind), story.state, 0)
    if decision is None:
        return None
    assert decision.outcome == ("hold" if decision.level >= 2 else "allow")
    return decision.level


def test_the_most_specific_pattern_gives_the_level() -> None:
    """An exact name beats a pattern, a longer pattern a shorter one; no pattern is no opinion."""
    control = AuthorizationLevel({"*": 1, "pay_*": 3, "pay_small*": 2, "pay_small_one": 0})
    assert _level(control, "read") == 1
    assert _level(control, "pay_big") == 3
    assert _level(control, "pay_small_two") == 2
    assert _level(control, "pay_small_one") == 0
    assert _level(AuthorizationLevel({"pay": 3}), "read") is None


def test_levels_do_not_depend_on_the_order_of_the_table() -> None:
    """Of equally specific patterns the highest level counts, in either order."""
    assert _level(AuthorizationLevel({"a*": 1, "*b": 4}), "ab") == 4
    assert _level(AuthorizationLevel({"*b": 4, "a*": 1}), "ab") == 4


def test_a_level_holds_for_every_kind_that_reaches_the_world() -> None:
    """Another kind does not get round a level; messages and model calls are named by their kind."""
    control = AuthorizationLevel({"*": 3, "message:*": 2})
    assert _level(control, "pay", "delegate") == 3
    assert _level(control, "pay", "memory") == 3
    assert _level(control, "say", "message") == 2
    assert _level(control, "gpt", "model_call") is None


def test_forbidden_actions_are_denied_by_pattern() -> None:
    """Names match with regard to case, whatever kind reaches the world."""
    control, story = ForbiddenAction(["delete_*", "delegate:*"]), Story()
    assert _denies(control, story, story.action("delete_all"))
    assert _denies(control, story, story.action("delete_all", "memory"))
    assert _denies(control, story, story.action("anything", "delegate"))
    assert not _denies(control, story, story.action("Delete_all"))
    assert not _denies(control, story, story.action("delete_all", "message"))


def test_a_pattern_with_an_unknown_kind_is_a_name() -> None:
    """Only the kinds of actions are prefixes; other colons belong to the name."""
    assert NamePattern.parse("mcp:delete").matches("tool_call", "mcp:delete")
    assert not NamePattern.parse("tool_call:delete").matches("memory", "delete")


BREAKER = Breaker(failures=2, cooldown=30 * SECOND, session_failures=3)


def _failing(*names: str) -> Story:
    story = Story()
    for name in names:
        story.did(name, None, "error")
    return story


def test_a_breaker_opens_for_its_tool_only() -> None:
    """After enough failures in a row nothing of that tool passes; other tools do, under every kind."""
    story = _failing("a")
    assert not _denies(BREAKER, story, story.action("a"))
    story.did("a", None, "error")
    assert _denies(BREAKER, story, story.action("a"))
    assert _denies(BREAKER, story, story.action("a", "memory"))
    assert not _denies(BREAKER, story, story.action("b"))
    assert not _denies(BREAKER, story, story.action("a", "message"))


def test_a_half_open_breaker_lets_exactly_one_through() -> None:
    """After the cooldown one call passes; its failure opens the breaker again, its success closes it."""
    story = _failing("a", "a")
    story.wait(29.999999)
    assert BREAKER.position("tool:a", story.state, story.now) == "open"
    story.wait(0.000001)
    assert BREAKER.position("tool:a", story.state, story.now) == "half-open"
    assert not _denies(BREAKER, story, story.action("a"))
    trial = story.allow("a")
    assert _denies(BREAKER, story, story.action("a"))
    story.finish(trial, None, "error")
    assert BREAKER.position("tool:a", story.state, story.now) == "open"
    story.wait(30)
    story.finish(story.allow("a"))
    assert BREAKER.position("tool:a", story.state, story.now) == "closed"
    assert not _denies(BREAKER, story, story.action("a"))


def test_a_sessions_breaker_counts_all_tools_together() -> None:
    """Different tools that fail in a row stop every tool; half-open lets one of them through."""
    story = _failing("a", "b", "c")
    assert _denies(BREAKER, story, story.action("d"))
    story.wait(30)
    assert not _denies(BREAKER, story, story.action("d"))
    story.allow("d")
    assert _denies(BREAKER, story, story.action("e"))


def test_an_event_opens_a_breaker_and_never_shortens_one() -> None:
    """An operator's stop holds until its time; it does not end a cooldown early."""
    story = _failing()
    story.tell("breaker.opened", breaker="session", reason="stop", until=story.now + 60 * SECOND)
    assert _denies(BREAKER, story)
    story.wait(60)
    assert BREAKER.position("session", story.state, story.now) == "half-open"
    story.tell("breaker.closed", breaker="session")
    assert not _denies(BREAKER, story)
    again = _failing("a", "a")
    again.tell("breaker.opened", breaker="tool:a", reason="x", until=again.now + 1)
    again.wait(1)
    assert _denies(BREAKER, again, again.action("a"))


def test_the_door_is_told_what_to_record_of_a_breaker() -> None:
    """An opening and a closing each give one event with its breaker; in between there is nothing to record."""
    story = _failing("a")
    assert BREAKER.events("a1", story.state) == []
    story.did("a", None, "error")
    (opened,) = BREAKER.events("a2", story.state)
    assert opened[0] == "breaker.opened"
    assert opened[1]["breaker"] == "tool:a"
    assert opened[1]["until"] == story.now + 30 * SECOND
    story.tell(opened[0], **opened[1])
    story.wait(30)
    trial = story.allow("a")
    story.finish(trial)
    assert BREAKER.events(trial.id, story.state) == [("breaker.closed", {"breaker": "tool:a"})]
    assert BREAKER.events("unknown", story.state) == []
    message = story.allow("say", "message")
    story.finish(message)
    assert BREAKER.events(message.id, story.state) == []


def test_without_a_session_bound_only_tools_have_breakers() -> None:
    """`session_failures` 0 means no breaker for the session."""
    story = _failing("a", "b", "c", "d")
    assert not _denies(Breaker(failures=2, cooldown=1), story, story.action("e"))
