"""The fold of a session's events."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from agentcheck.errors import LedgerError
from agentcheck.events import Event
from agentcheck.governance.state import SessionState, fold
from agentcheck.records import Decision, Document, ToolSpec
from fakes_governance import SECOND, START, Story


def test_the_case_gives_prompt_documents_principal_system_and_tools() -> None:
    """`case.started` fills what the user, the case and the world gave."""
    story = Story(
        "pay the rent",
        tools=[ToolSpec("read", trusted=False), ToolSpec("pay", effect=True)],
        documents=[Document("d1", "text", trusted=False)],
        principal={"user": "ann"},
        system="you are careful",
    )
    state = story.state
    assert state.prompts == ["pay the rent"]
    assert state.system == "you are careful"
    assert state.documents == [Document("d1", "text", trusted=False)]
    assert state.principal == {"user": "ann"}
    assert state.tools is not None
    assert not state.tools["read"].trusted
    assert state.tools["pay"].effect
    assert state.started == START


def test_a_trust_flag_that_is_not_true_is_not_trust() -> None:
    """Only the JSON value true trusts a document or a tool; text such as "yes" does not."""
    state = SessionState("s")
    body = {
        "given": json.dumps({"documents": [{"id": "d", "text": "x", "trusted": "yes"}]}),
        "tools": json.dumps([{"name": "t", "trusted": 1}]),
    }
    state.apply(Event("case.started", body, "s", 1))
    assert not state.documents[0].trusted
    assert state.tools is not None
    assert not state.tools["t"].trusted


def test_the_first_turn_told_twice_counts_once() -> None:
    """The prompt and a `case.turn` of turn 1 with the same text are one prompt; later turns append."""
    story = Story("hello")
    story.tell("case.turn", turn=1, text="hello")
    story.tell("case.turn", turn=2, text="hello")
    story.tell("case.turn", turn=3, text="more")
    assert story.state.prompts == ["hello", "hello", "more"]
    assert story.state.turn == 3


def test_an_allowed_action_is_in_flight_until_it_finishes() -> None:
    """Allowed actions are committed at once and become steps when they finish, in order of finishing."""
    story = Story(tools=["a", "b"])
    first, second = story.allow("a", x=1), story.allow("b")
    assert list(story.state.in_flight) == [first.id, second.id]
    assert story.state.committed == 2
    assert story.state.steps == []
    story.finish(second, {"ok": True})
    story.finish(first, "text")
    assert [step.name for step in story.state.steps] == ["b", "a"]
    assert story.state.in_flight == {}
    assert story.state.committed_by_tool == {"a": 1, "b": 1}
    assert story.state.in_flight_by_tool == {"a": 0, "b": 0}
    assert story.state.carried_out == 2


def test_steps_give_structured_values_and_text() -> None:
    """Arguments and outputs are values; the text of an output is what a reader would see."""
    story = Story(tools=["a"])
    story.did("a", {"to": "Ärzte"}, x=[1, 2])
    story.did("a", "plain")
    story.did("a")
    first, second, third = story.state.steps
    assert first.arguments == {"x": [1, 2]}
    assert first.output == {"to": "Ärzte"}
    assert first.output_text == '{"to": "Ärzte"}'
    assert second.output_text == "plain"
    assert (third.output, third.output_text) == (None, "")


def test_text_that_is_no_json_stays_text() -> None:
    """A field that should hold JSON and does not gives its text as output and no arguments."""
    story = Story(tools=["a"])
    action = story.action("a")
    story.tell("action.requested", action=action.id, kind="tool_call", name="a", arguments="{", turn=1, key="k")
    story.decided(action, Decision("allow", "policy"))
    story.tell("action.finished", action=action.id, status="done", output="not json", duration=1)
    step = story.state.steps[0]
    assert step.arguments == {}
    assert step.output == "not json"


def test_a_step_is_trusted_only_as_its_tool_says() -> None:
    """Outputs of unknown tools, and of what is no tool call, are not trusted."""
    story = Story(tools=[ToolSpec("good"), ToolSpec("bad", trusted=False)])
    story.did("good")
    story.did("bad")
    story.did("unknown")
    action = story.allow("good", "delegate")
    story.finish(action)
    assert [step.trusted for step in story.state.steps] == [True, False, False, False]
    assert all(step.is_source for step in story.state.steps)


def test_a_denied_action_closes_at_once_and_commits_nothing() -> None:
    """A denial is a step with status denied; a finished event that repeats it changes nothing."""
    story = Story(tools=["a"])
    action = story.deny("a")
    story.finish(action, None, "denied")
    state = story.state
    assert [step.status for step in state.steps] == ["denied"]
    assert (state.committed, state.carried_out, state.denied, state.asked) == (0, 0, 1, 1)


def test_a_held_action_is_committed_until_it_is_refused() -> None:
    """A hold counts as in flight; an approval starts it, anything else gives its place back."""
    story = Story(tools=["a"])
    first, second = story.hold("a"), story.hold("a")
    assert story.state.committed_by_tool == {"a": 2}
    story.resolve(first, approved=True)
    story.resolve(second, approved=False)
    assert story.state.step(first.id).status == "running"  # type: ignore[union-attr]
    assert story.state.step(second.id).status == "held"  # type: ignore[union-attr]
    assert story.state.committed_by_tool == {"a": 1}
    assert list(story.state.in_flight) == [first.id]


def test_an_outcome_of_an_approval_that_is_not_known_does_not_start_the_action() -> None:
    """Only "approved" (or "allow") approves."""
    story = Story(tools=["a"])
    action = story.hold("a")
    story.tell("approval.resolved", approval="p", action=action.id, outcome="maybe", reason="")
    assert story.state.step(action.id).status == "held"  # type: ignore[union-attr]


def test_spend_and_tokens_are_charged_once() -> None:
    """A cost told by the result and by a charge of the same action counts once; charges add up."""
    story = Story()
    first = story.allow("m", "model_call")
    story.finish(first, cost="0.10", input_tokens=10, output_tokens=5)
    story.tell("budget.charged", action=first.id, cost="0.10", input_tokens=10, output_tokens=5)
    second = story.allow("m", "model_call")
    story.tell("budget.charged", action=second.id, cost="0.20", input_tokens=1, output_tokens=1)
    story.tell("budget.charged", action=second.id, cost="0.05", input_tokens=1, output_tokens=1)
    story.finish(second, cost="0.25", input_tokens=2, output_tokens=2)
    third = story.allow("m", "model_call")
    story.finish(third, cost="0")
    story.tell("budget.charged", action=third.id, cost="1", input_tokens=0, output_tokens=0)
    assert story.state.spend == Decimal("1.35")
    assert story.state.tokens == 19


@pytest.mark.parametrize("cost", ["-1", "NaN", "Infinity", "x"])
def test_a_cost_that_is_no_amount_is_refused(cost: str) -> None:
    """A negative or broken charge could lift a bound, so it is refused."""
    story = Story()
    action = story.allow("m", "model_call")
    with pytest.raises(LedgerError):
        story.finish(action, cost=cost)


def test_negative_tokens_are_refused() -> None:
    """A negative count of tokens could lift a bound, so it is refused."""
    story = Story()
    action = story.allow("m", "model_call")
    with pytest.raises(LedgerError):
        story.finish(action, input_tokens=-1)


def test_failures_count_in_a_row_and_a_success_ends_them() -> None:
    """Errors of a tool add up until it succeeds; refusals and stopped actions are no failures."""
    story = Story(tools=["a", "b"])
    story.did("a", None, "error")
    story.wait(1)
    story.did("a", None, "error")
    story.did("b", None, "error")
    story.deny("a")
    story.did("a", None, "cancelled")
    state = story.state
    assert state.failures_by_tool == {"a": 2, "b": 1}
    assert state.last_failure_by_tool["a"] == START + SECOND
    assert state.failures == 3
    story.did("a")
    assert state.failures_by_tool == {"b": 1}
    assert state.failures == 0


def test_corrections_count_new_arguments_after_a_refusal() -> None:
    """Asking again for the same tool with other arguments after a refusal or error is a correction."""
    story = Story(tools=["a"])
    story.deny("a", x=1)
    story.deny("a", x=1)
    story.did("a", None, "error", x=2)
    story.did("a", x=3)
    story.did("a", x=4)
    assert story.state.corrections == 2


def test_time_never_runs_backwards() -> None:
    """A clock that is set back does not give a session more time."""
    story = Story()
    story.wait(10)
    story.tell("case.turn", turn=2, text="x")
    story.wait(-8)
    assert story.state.elapsed(story.now) == 10 * SECOND
    assert SessionState().elapsed(5) is None


def test_events_of_another_session_are_refused() -> None:
    """A state folds one session."""
    story = Story()
    with pytest.raises(LedgerError, match="another"):
        story.state.apply(Event("case.turn", {"turn": 2, "text": "x"}, "another", 1))


def test_a_state_without_a_name_takes_that_of_its_first_event() -> None:
    """The session may be learnt from the events; events of the run belong to every session."""
    story = Story()
    state = fold([Event("run.note", {"level": "info", "text": "x"}), *story.events])
    assert state.session == "s"


@pytest.mark.parametrize("type_", ["action.decided", "action.finished", "approval.resolved"])
def test_an_event_of_an_action_never_requested_is_refused(type_: str) -> None:
    """A result or decision without its request breaks the fold loudly."""
    with pytest.raises(LedgerError, match="never requested"):
        SessionState("s").apply(Event(type_, {"action": "a9"}, "s", 1))


def test_impossible_orders_are_refused() -> None:
    """An action is requested once, decided once, finishes once, and only while it runs."""
    story = Story(tools=["a"])
    action = story.allow("a")
    with pytest.raises(LedgerError, match="requested twice"):
        story.ask(action)
    with pytest.raises(LedgerError, match="decided twice"):
        story.decided(action, Decision("allow", "policy"))
    with pytest.raises(LedgerError, match="not waiting"):
        story.resolve(action, approved=True)
    story.finish(action)
    with pytest.raises(LedgerError, match="was not running"):
        story.finish(action)
    held = story.hold("a")
    with pytest.raises(LedgerError, match="was not running"):
        story.finish(held)


def test_history_holds_closed_steps_then_those_in_flight() -> None:
    """`history` is oldest first, and leaves out what is in flight on request."""
    story = Story(tools=["a", "b"])
    story.allow("b")
    story.did("a")
    assert [step.name for step in story.state.history()] == ["a", "b"]
    assert [step.name for step in story.state.history(in_flight=False)] == ["a"]


def test_states_compare_by_what_they_hold() -> None:
    """Two folds of the same events are equal, whatever was looked at meanwhile; one more event makes a difference."""
    story = Story(tools=["a"])
    story.did("a", "x")
    other = fold(story.events, "s")
    assert story.state.steps[0].output == "x"
    assert other == story.state
    story.deny("a")
    assert other != story.state
