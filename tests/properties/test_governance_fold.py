"""The state after n events is the fold of the first n, whatever the session did."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentcheck.events import Event
from agentcheck.governance.state import SessionState, fold
from agentcheck.records import ToolSpec
from fakes_governance import Story

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from(["read", "pay", "unknown"])
KINDS = st.sampled_from(["tool_call", "memory", "model_call", "message"])
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["allow", "hold", "deny", "finish", "vote", "turn", "wait", "charge", "stop", "open"]),
        NAMES, KINDS, JSON, st.booleans(), st.integers(0, 3),
    ),
    max_size=25,
)  # fmt: skip


def _move(story: Story, move: tuple[str, str, str, Any, bool, int]) -> None:
    what, name, kind, value, yes, number = move
    running = [step for step in story.state.in_flight.values() if step.status == "running"]
    waiting = [step for step in story.state.in_flight.values() if step.status == "waiting"]
    if what == "allow":
        story.allow(name, kind, x=value)
    elif what == "hold":
        story.hold(name, x=value)
    elif what == "deny":
        story.deny(name, x=value)
    elif what == "finish" and running:
        usage = {"cost": f"0.0{number}", "input_tokens": number, "output_tokens": 1} if yes else {}
        story.finish(running[number % len(running)], value, ["done", "error", "cancelled", "error"][number], **usage)  # type: ignore[arg-type]
    elif what == "vote" and waiting:
        story.resolve(waiting[number % len(waiting)], yes)  # type: ignore[arg-type]
    elif what == "turn":
        story.tell("case.turn", turn=number + 1, text=str(value))
    elif what == "wait":
        story.wait(number - 1)
    elif what == "charge" and running:
        story.tell("budget.charged", action=running[0].id, cost="0.01", input_tokens=1, output_tokens=number)
    elif what == "stop":
        story.tell("breaker.opened", breaker="session", reason="x", until=story.now)
    elif what == "open":
        story.tell("breaker.closed", breaker="session")


def _ledger_like(event: Event) -> Event:
    """The same event as it is read back: another object with another body."""
    return Event(event.type, dict(event.body), event.session, event.time, event.seq, event.stream)


@given(MOVES)
def test_the_state_after_n_events_is_the_fold_of_the_first_n(moves: list[Any]) -> None:
    """Folding any prefix again, from events as a ledger gives them, gives the live state of that moment."""
    story = Story(tools=[ToolSpec("read", trusted=False), "pay"])
    snapshots = {len(story.events): story.state.values()}
    for move in moves:
        _move(story, move)
        for step in story.state.steps:
            _ = step.output_text, step.arguments  # looking at a value is no part of the state
        snapshots[len(story.events)] = story.state.values()
    for count, values in snapshots.items():
        assert fold(map(_ledger_like, story.events[:count]), "s").values() == values


@given(MOVES)
def test_counts_follow_from_the_steps(moves: list[Any]) -> None:
    """Every counter is what counting the steps gives, so none can drift."""
    story = Story(tools=["read", "pay"])
    for move in moves:
        _move(story, move)
    state: SessionState = story.state
    everything = [*state.steps, *state.in_flight.values()]
    committed = [step for step in everything if step.status in ("running", "waiting", "done", "error")]
    effects = [step for step in committed if step.kind in ("tool_call", "memory", "delegate")]
    assert state.asked == len(everything)
    assert state.committed == len(committed)
    assert state.carried_out == sum(step.status in ("done", "error") for step in everything)
    assert state.denied == sum(step.status == "denied" for step in everything)
    for name in ("read", "pay", "unknown"):
        assert state.committed_by_tool.get(name, 0) == sum(step.name == name for step in effects)
        in_flight = [step for step in effects if step.id in state.in_flight and step.name == name]
        assert state.in_flight_by_tool.get(name, 0) == len(in_flight)
    assert state.effects_in_flight == sum(step.id in state.in_flight for step in effects)
