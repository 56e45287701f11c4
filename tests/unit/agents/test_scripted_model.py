"""The scripted model and the scripted user: the same words on every run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentcheck.agents.model import make
from agentcheck.agents.user import make as make_user
from agentcheck.errors import AgentTransportError, SuiteError
from agentcheck.records import Case, ModelReply, Turn

CASE = Case("c", "p")


def replies(options: dict[str, Any], *contents: Any) -> list[ModelReply]:
    """What one model says to these last messages, in order."""

    async def talk() -> list[ModelReply]:
        model = make(options, CASE)
        return [await model.complete({"messages": [{"role": "user", "content": each}]}) for each in contents]

    return asyncio.run(talk())


def test_rules_come_first_then_replies_in_order_then_the_default() -> None:
    """A rule is used as often as it matches, a reply once, the default for all the rest."""
    options = {"replies": ["one", "two"], "rules": [{"match": "dose|pill", "text": "ask"}], "default": "rest"}
    said = [each.text for each in replies(options, "hi", "a pill?", "hi", "hi", "the dose")]
    assert said == ["one", "ask", "two", "rest", "ask"]


def test_a_rule_can_ask_for_a_role() -> None:
    """``role`` tells a tool's output from what the user said."""
    model = make({"rules": [{"match": "ok", "role": "tool", "text": "done"}], "default": "wait"}, CASE)

    async def talk(role: str) -> str:
        return (await model.complete({"messages": [{"role": role, "content": "ok"}]})).text

    assert [asyncio.run(talk(role)) for role in ("user", "tool")] == ["wait", "done"]


def test_a_reply_carries_tool_calls_and_what_it_costs() -> None:
    """Calls get ids of their own; tokens and cost are charged."""
    call = {"name": "pay", "arguments": {"amount": 5}}
    option = {"text": "", "tool_calls": [call, {**call, "id": "mine"}], "input_tokens": 3, "cost": "0.25"}
    (reply,) = replies({"replies": [option]}, "hi")
    assert [each["id"] for each in reply.tool_calls] == ["call_1_1", "mine"]
    assert reply.tool_calls[0] == {"id": "call_1_1", "name": "pay", "arguments": {"amount": 5}}
    assert (reply.input_tokens, reply.output_tokens, reply.cost) == (3, 0, "0.25")


def test_messages_in_parts_and_without_text_are_read() -> None:
    """Parts are joined; a message without content is empty text."""
    options = {"rules": [{"match": "^a\nb$", "text": "parts"}, {"match": "^$", "text": "empty"}]}
    said = replies(options, [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], None)
    assert [each.text for each in said] == ["parts", "empty"]


def test_a_script_that_has_ended_is_an_error_and_no_empty_reply() -> None:
    """The message shows what had no reply."""
    with pytest.raises(AgentTransportError, match="no reply left for 'more'"):
        replies({"replies": ["one"]}, "hi", "more")


def test_each_trial_starts_the_script_anew() -> None:
    """Models of two trials do not use up each other's replies."""
    assert [each.text for _ in range(2) for each in replies({"replies": ["one"]}, "hi")] == ["one", "one"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "needs replies, rules or a default"),
        ({"reply": ["x"]}, "did you mean 'replies'"),
        ({"rules": [{"match": "(", "text": "x"}]}, "no regular expression"),
        ({"rules": [{"text": "x"}]}, "needs the option 'rules.0.match'"),
        ({"replies": [{"cost": "cheap"}]}, "cost"),
    ],
)
def test_a_script_that_cannot_be_read_is_refused(options: dict[str, Any], says: str) -> None:
    """Nothing to say, a pattern that does not compile and a misspelt key are mistakes of the suite."""
    with pytest.raises(SuiteError, match=says):
        make.check(options)


def test_the_user_says_the_turns_of_the_case_and_ends() -> None:
    """After each answer comes the next turn, whatever the answer was; then nothing."""
    user = make_user({}, Case("c", "p", turns=(Turn("second"), Turn("third"))))

    async def talk() -> list[str | None]:
        return [await user.next(["x"] * count) for count in (1, 2, 3, 4)]

    assert asyncio.run(talk()) == ["second", "third", None, None]
    with pytest.raises(SuiteError, match="takes no option"):
        make_user({"tone": "kind"}, CASE)
