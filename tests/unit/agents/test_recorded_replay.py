"""A recording as agent, user and model."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentcheck.agents import recorded, recorded_model
from agentcheck.contracts import Agent
from agentcheck.errors import AgentTransportError, SuiteError, ToolError
from agentcheck.records import Case, ModelReply, RecordedStep, Recording, Task
from agentcheck.worlds.recorded import RecordedWorld
from fakes import FakeSession

STEPS = (
    RecordedStep("message", text="Hello!"),
    RecordedStep("user", text="Pay it."),
    RecordedStep("reasoning", text="I look it up."),
    RecordedStep(
        "model_call",
        "m",
        {"recorded": 0},
        {"text": "", "tool_calls": [{"name": "find", "arguments": {}}]},
        usage={"input_tokens": 3, "output_tokens": 2, "cost": "0.01"},
    ),
    RecordedStep("tool_call", "find", {"n": 1}, "found"),
    RecordedStep("message", text="Found it."),
    RecordedStep("tool_call", "pay", {"n": 1}, None, "refused"),
    RecordedStep("user", text="And now?"),
    RecordedStep("delegate", "helper", {"n": 2}, "helped"),
    RecordedStep("message", "Checker", {"agent": "Checker"}, text="I agree."),
    RecordedStep("model_call", "m", {"recorded": 1}, {"text": "Done.", "tool_calls": []}),
    RecordedStep("message", text="Done."),
    RecordedStep("reasoning", text="That was all."),
    RecordedStep("user", text="Bye."),
)
CASE = Case("c", "Pay it.", recording=Recording(STEPS, "f:1", {"model": "some-model"}))


def replay(session: FakeSession, case: Case = CASE) -> list[str | None]:
    """The answers of a whole conversation of the recorded agent with the recorded user."""

    async def run() -> list[str | None]:
        agent = recorded.make({}, case)
        user = recorded.make_user({}, case)
        answers: list[str | None] = []
        prompt: str | None = case.prompt
        while prompt is not None:
            answers.append(await agent.respond(Task(prompt, turn=len(answers) + 1), session))
            prompt = await user.next([answer or "" for answer in answers])
        await agent.close()
        return answers

    return asyncio.run(run())


def world() -> RecordedWorld:
    """The world of the same recording."""
    assert CASE.recording is not None
    return RecordedWorld(CASE.recording)


def test_it_implements_the_contract() -> None:
    """The recorded agent is an agent."""
    assert isinstance(recorded.make({}, CASE), Agent)


def test_every_action_is_asked_in_order() -> None:
    """Actions are asked in recorded order, turn by turn; the message that ends a turn is its answer."""
    session = FakeSession(world())
    answers = replay(session)

    assert answers == [None, "Done."]
    assert [(action.kind, action.name) for action in session.actions] == [
        ("message", "say"),
        ("model_call", "m"),
        ("tool_call", "find"),
        ("message", "say"),
        ("tool_call", "pay"),
        ("delegate", "helper"),
        ("message", "Checker"),
        ("model_call", "m"),
    ]
    assert session.actions[6].arguments == {"text": "I agree.", "agent": "Checker"}
    assert session.reasoning == ["I look it up.", "That was all."]
    assert [result.status for result in session.results] == ["done"] * 4 + ["error"] + ["done"] * 3
    assert session.results[1].output == ModelReply(
        "", ({"name": "find", "arguments": {}},), input_tokens=3, output_tokens=2, cost="0.01"
    )
    assert (session.results[2].output, session.results[5].output) == ("found", "helped")
    assert session.results[4].error == "refused"


@pytest.mark.parametrize("outcome", ["deny", "hold"])
def test_a_refusal_does_not_stop_the_replay(outcome: Any) -> None:
    """Denied and held actions are counted, and everything recorded after them is asked all the same."""
    session = FakeSession(world(), decide=lambda action: outcome if action.kind == "tool_call" else "allow")
    agent = recorded.make({}, CASE)
    asyncio.run(agent.respond(Task("Pay it.", turn=1), session))
    answer = asyncio.run(agent.respond(Task("And now?", turn=2), session))

    assert answer == "Done."
    assert len(session.actions) == 8
    assert (agent.asked, agent.refused) == (9, 2)


def test_a_turn_that_was_not_recorded() -> None:
    """A user who goes on after the recording gets no answer."""
    session = FakeSession(world())
    assert asyncio.run(recorded.make({}, CASE).respond(Task("More!", turn=3), session)) is None
    assert session.actions == []


def test_the_recorded_user_says_what_was_said() -> None:
    """The user speaks the prompts after the first, and a last word that nobody reacted to is not said."""

    async def said() -> list[str | None]:
        user = recorded.make_user({}, CASE)
        return [await user.next(["a"] * count) for count in (1, 2, 3)]

    assert asyncio.run(said()) == ["And now?", None, None]


def test_the_recorded_model_answers_in_order() -> None:
    """Outputs come one after the other, or by their number; past the end the wire breaks."""

    async def ask() -> list[str]:
        model = recorded_model.make({}, CASE)
        assert model.name == "some-model"
        texts = [(await model.complete({"messages": []})).text for _ in range(2)]
        texts.append((await model.complete({"recorded": 1})).text)
        texts.append((await model.complete({"recorded": 0})).text)
        texts.append((await model.complete({"messages": []})).text)
        with pytest.raises(AgentTransportError, match="holds 2 model outputs, and number 3 was asked for"):
            await model.complete({"messages": []})
        return texts

    assert asyncio.run(ask()) == ["", "Done.", "Done.", "", "Done."]


def test_a_recorded_model_that_failed() -> None:
    """A recorded failure of the model fails again."""
    case = Case("c", "p", recording=Recording((RecordedStep("model_call", "m", error="overloaded"),), "f"))
    with pytest.raises(ToolError, match="overloaded"):
        asyncio.run(recorded_model.make({}, case).complete({}))
    session = FakeSession()
    replay(session, case)
    assert session.results[0].error == "overloaded"


@pytest.mark.parametrize("make", [recorded.make, recorded.make_user, recorded_model.make])
def test_what_it_cannot_be_made_of(make: Any) -> None:
    """An option, or a case without a recording, is an error of the suite that says what is needed."""
    with pytest.raises(SuiteError, match="takes no option 'speed'"):
        make({"speed": 2}, CASE)
    with pytest.raises(SuiteError, match="'d' holds no recording") as caught:
        make({}, Case("d", "p", source="f:3"))
    assert caught.value.where == "f:3"
    assert "dataset.format" in caught.value.advice
