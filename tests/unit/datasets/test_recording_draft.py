"""Building recordings: the rules that every importer shares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcheck.datasets.fields import arguments_of
from agentcheck.datasets.importing import read_traces
from agentcheck.datasets.recording import NO_CALL, NO_RESULT, UNNAMED, Draft, Request, Run
from agentcheck.records import RecordedStep, Recording


def calls(draft: Draft) -> list[tuple[str, Any, str]]:
    """Name, output and error of each tool call."""
    return [(step.name, step.output, step.error) for step in draft.steps if step.kind == "tool_call"]


def test_an_output_its_calls_and_a_message() -> None:
    """An output with calls is a model call and its calls; one without is a model call and a message."""
    draft = Draft()
    draft.output("m", "I look.", [Request("a", {"x": 1}, "1"), Request("b", '{"y": 2}', "2")])
    draft.output("m", "Done.")
    draft.output("m", " ")
    recording = draft.freeze("f", {}, draft.actions)
    assert [step.kind for step in recording.steps] == [
        "model_call",
        "tool_call",
        "tool_call",
        "model_call",
        "message",
        "model_call",
    ]
    assert recording.steps[0].output == {
        "text": "I look.",
        "tool_calls": [{"name": "a", "arguments": {"x": 1}}, {"name": "b", "arguments": {"y": 2}}],
    }
    assert [step.arguments.get("recorded") for step in recording.steps if step.kind == "model_call"] == [0, 1, 2]
    assert recording.asked == 6


def test_results_find_their_calls_by_id_in_any_order() -> None:
    """Results of parallel calls belong to the call with their id, whatever their order."""
    draft = Draft()
    draft.output("m", "", [Request("f", {}, "1"), Request("f", {}, "2"), Request("g", {}, "3")])
    for id_ in ("3", "1", "2"):
        draft.result(f"out {id_}", id=id_)
    assert calls(draft) == [("f", "out 1", ""), ("f", "out 2", ""), ("g", "out 3", "")]


def test_an_id_used_again_belongs_to_the_latest_output() -> None:
    """An id that comes back in a later output answers the later call, and the unanswered one stays unanswered."""
    draft = Draft()
    draft.output("m", "", [Request("f", {"n": 1}, "same")])
    draft.output("m", "", [Request("f", {"n": 2}, "same")])
    draft.result("second", id="same")
    assert calls(draft) == [("f", None, NO_RESULT), ("f", "second", "")]
    assert draft.counts()["calls_without_result"] == 1


def test_results_without_ids_go_by_name_then_by_order() -> None:
    """Without ids a result goes to the first waiting call of its name, and without a name to the first."""
    draft = Draft()
    draft.output("m", "", [Request("f", {}), Request("g", {}), Request("f", {})])
    draft.result("g out", name="g")
    draft.result("first f")
    draft.result("second f", error="bad", name="f")
    assert calls(draft) == [("f", "first f", ""), ("g", "g out", ""), ("f", "second f", "bad")]


def test_an_id_on_one_side_only() -> None:
    """A result with an id answers a call without one, and never a call with another id."""
    draft = Draft()
    draft.output("m", "", [Request("f", {}), Request("g", {}, "9")])
    draft.result("x", id="1")
    draft.result("y", id="2")
    assert calls(draft) == [("f", "x", ""), ("g", None, NO_RESULT), (UNNAMED, "y", "")]


def test_a_result_without_a_call_is_kept() -> None:
    """A result that answers nothing stays in its place as text from outside, and is counted."""
    draft = Draft()
    draft.user("hi")
    draft.result("surprise", name="bell")
    assert draft.steps[1].name == "bell"
    assert draft.steps[1].arguments == {NO_CALL: True}
    assert draft.counts()["results_without_call"] == 1
    assert draft.counts()["tool_calls"] == 0


def test_abandoned_calls_are_answered_by_nothing() -> None:
    """What comes in another conversation answers none of the calls before it."""
    draft = Draft()
    draft.call("f", {})
    draft.abandon()
    draft.result("later")
    assert calls(draft) == [("f", None, NO_RESULT), (UNNAMED, "later", "")]
    assert draft.counts()["calls_without_result"] == 1


def test_what_was_carried_out_counts() -> None:
    """A span of a tool answers the call asked for, by id, by arguments, by name; one that nobody asked for is new."""
    draft = Draft()
    draft.output("m", "", [Request("f", {"n": 1}), Request("f", {"n": 2}), Request("g", "{}", "i")])
    draft.ran("f", {"n": 2}, "two")
    draft.ran("f", {"n": 3}, "three")
    draft.ran("g", {"more": 1}, "gee", id="i")
    draft.ran("h", '{"n": 4', "four", error="e")
    found = [(step.name, dict(step.arguments), step.output, step.error) for step in draft.steps[1:]]
    assert found == [
        ("f", {"n": 3}, "three", ""),
        ("f", {"n": 2}, "two", ""),
        ("g", {"more": 1}, "gee", ""),
        ("h", {"_raw": '{"n": 4'}, "four", "e"),
    ]
    assert (draft.waiting, draft.counts()["malformed_arguments"]) == (0, 1)


@pytest.mark.parametrize(
    ("written", "arguments", "raw"),
    [
        ({"a": 1}, {"a": 1}, False),
        (None, {}, False),
        ("", {}, False),
        (" \n", {}, False),
        ('{"a": [1, null]}', {"a": [1, None]}, False),
        ("{'a': True, 'b': (1, 2), 3: None}", {"a": True, "b": [1, 2], "3": None}, False),
        ('{"a": NaN}', {"a": "NaN"}, False),
        ('{"big": 123456789012345678901234567890}', {"big": 123456789012345678901234567890}, False),
        ('{"a": 1', {"_raw": '{"a": 1'}, True),
        ("[1, 2]", {"_raw": "[1, 2]"}, True),
        ("plain words", {"_raw": "plain words"}, True),
        ("{1, 2}", {"_raw": "{1, 2}"}, True),
        ("__import__('os')", {"_raw": "__import__('os')"}, True),
        ([1], {"_raw": "[1]"}, True),
        (7, {"_raw": "7"}, True),
        ("[" * 100_000, {"_raw": "[" * 100_000}, True),
        ("9" * 5000, {"_raw": "9" * 5000}, True),
    ],
)
def test_arguments_in_every_shape(written: Any, arguments: dict[str, Any], raw: bool) -> None:
    """Objects, JSON text and Python literals become arguments; anything else is kept word for word and counted."""
    assert arguments_of(written) == (arguments, raw)


@given(st.text() | st.dictionaries(st.text(), st.integers() | st.text()).map(repr))
def test_arguments_of_any_text(written: str) -> None:
    """Any text gives arguments that JSON can hold, and raises nothing."""
    found, raw = arguments_of(written)
    assert json.loads(json.dumps(found)) == found
    assert not raw or found == {"_raw": written}


def step(kind: str, text: str = "") -> RecordedStep:
    """A step with nothing but its kind and text."""
    return RecordedStep(kind, text=text)


@pytest.mark.parametrize(
    ("kinds", "turns"),
    [
        ("", [("", "")]),
        ("u", [("u0", "")]),
        ("um", [("u0", "m")]),
        ("mum", [("u1", "mm")]),
        ("uum", [("u0\n\nu1", "m")]),
        ("umu", [("u0", "m")]),
        ("umuum", [("u0", "m"), ("u2\n\nu3", "m")]),
        ("mm", [("", "mm")]),
        ("muumum", [("u1\n\nu2", "mm"), ("u4", "m")]),
    ],
)
def test_turns_of_a_recording(kinds: str, turns: list[tuple[str, str]]) -> None:
    """A greeting belongs to the first turn, texts in a row are one prompt, a last word opens no turn."""
    steps = tuple(step("user", f"u{at}") if kind == "u" else step("message") for at, kind in enumerate(kinds))
    found = Recording(steps, "f").turns()
    assert [(prompt, "m" * len(actions)) for prompt, actions in found] == turns


@given(st.lists(st.sampled_from(["user", "message", "tool_call", "reasoning"])))
def test_turns_hold_every_step_once(kinds: list[str]) -> None:
    """Whatever the order, the turns hold all steps but the user's, in their order."""
    steps = tuple(RecordedStep(kind, str(at)) for at, kind in enumerate(kinds))
    found = [one for _, actions in Recording(steps, "f").turns() for one in actions]
    assert found == [one for one in steps if one.kind != "user"]


def test_an_id_tells_more_than_a_name() -> None:
    """A result whose name differs from the call's belongs to the call with its id all the same."""
    draft = Draft()
    draft.output("m", "", [Request("f", {}, "1"), Request("g", {}, "2")])
    draft.result("out", id="2", name="renamed")
    assert calls(draft) == [("f", None, NO_RESULT), ("g", "out", "")]


def test_a_record_whose_actions_were_not_all_understood(tmp_path: Path) -> None:
    """Where the importer's own count of the raw record differs from what it built, the record is skipped and named."""

    def convert(record: Mapping[str, Any]) -> Run:
        draft = Draft()
        draft.message("hi")
        return Run("r", draft, asked=record["asked"], labels={})

    path = tmp_path / "file.jsonl"
    path.write_text('{"asked": 1}\n{"asked": 2}\n', encoding="utf-8")
    loaded = read_traces(path, {}, convert, format="own")
    assert len(loaded.cases) == 1
    assert loaded.skipped == ["file.jsonl: record 2: holds 2 actions, and 1 were understood"]
