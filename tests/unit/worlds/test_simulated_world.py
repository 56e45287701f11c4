"""What all simulated worlds have in common, and the world without tools."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agentcheck.errors import DatasetError, ToolError, WorldError
from agentcheck.records import Case, Document
from agentcheck.worlds import none
from agentcheck.worlds.simulated import SimulatedWorld, State, entry, next_id, overlay, tool
from kits.world import EffectKit, WorldKit

SEED: Mapping[str, Any] = {"lamps": {"L1": {"on": False, "watts": 40}}, "log": []}


def switch(state: State, arguments: Mapping[str, Any]) -> Any:
    """Switch a lamp on."""
    lamp = entry(state, "lamps", arguments["lamp"], "lamp")
    if lamp["on"]:
        raise ToolError("it is on")
    lamp["on"] = True
    state["log"].append(dict(arguments))
    return {"lamp": arguments["lamp"], "log": state["log"]}


def look(state: State, arguments: Mapping[str, Any]) -> Any:
    """Read a lamp."""
    return entry(state, "lamps", arguments["lamp"], "lamp")


TOOLS = (
    tool(
        "switch_on", switch, "Switch on.", {"lamp": ("string", "Which"), "hours": ("integer?", "How long")}, effect=True
    ),
    tool("read_lamp", look, "Read.", {"lamp": ("string", "Which"), "tags": ("array?", "Tags")}, trusted=False),
)


def make(options: Mapping[str, Any], case: Case, scratch: Path) -> SimulatedWorld:
    """A world of lamps."""
    return SimulatedWorld(TOOLS, SEED, case, scratch, options)


def world(tmp_path: Path, *documents: Document, **state: Any) -> SimulatedWorld:
    """The lamps of a case."""
    return make({}, Case(id="c", prompt="p", documents=documents, state=state, source="set.jsonl:3"), tmp_path / "s")


def call(world: SimulatedWorld, name: str, key: str = "k", **arguments: Any) -> Any:
    """One tool call."""
    return asyncio.run(world.call(name, arguments, key=key))


class TestLamps(EffectKit):
    """A simulated world passes the kit."""

    make = staticmethod(make)
    read = ("read_lamp", {"lamp": "L1"})
    effect = ("switch_on", {"lamp": "L1"})


class TestNowhere(WorldKit):
    """The world without tools passes the kit."""

    make = staticmethod(none.make)


def test_nowhere_offers_nothing_and_measures_nothing_happening(tmp_path: Path) -> None:
    """Without tools there is nothing to call, and no effect is a measurement."""
    nowhere = none.make({}, Case(id="c", prompt="p"), tmp_path)
    assert nowhere.tools() == ()
    assert nowhere.effects() == ()


def test_specs_follow_the_short_descriptions(tmp_path: Path) -> None:
    """Types, optional arguments, effect and trust are as the tool was described."""
    search, switch_on, read_lamp = world(tmp_path).tools()
    assert search.name == "search_documents"
    assert switch_on.parameters["required"] == ["lamp"]
    assert switch_on.parameters["properties"]["hours"] == {"type": "integer", "description": "How long"}
    assert read_lamp.parameters["properties"]["tags"]["items"] == {"type": "string"}
    assert (switch_on.effect, read_lamp.effect) == (True, False)
    assert (switch_on.trusted, read_lamp.trusted) == (True, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs the argument 'lamp'"),
        ({"lamp": "L1", "color": "red"}, "takes no argument 'color'"),
        ({"lamp": 1}, "'lamp' must be a string"),
        ({"lamp": "L1", "hours": "two"}, "'hours' must be a integer"),
        ({"lamp": "L1", "hours": True}, "'hours' must be a integer"),
        ({"lamp": "L2"}, "there is no lamp 'L2'"),
    ],
)
def test_a_call_that_does_not_fit_is_refused(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Wrong arguments answer with an error and take no effect."""
    lamps = world(tmp_path)
    with pytest.raises(ToolError, match=message):
        call(lamps, "switch_on", **arguments)
    assert lamps.effects() == ()


def test_a_broken_tool_is_no_answer_of_the_tool(tmp_path: Path) -> None:
    """An exception that is no `ToolError` reaches the caller as it is."""

    def broken(state: State, arguments: Mapping[str, Any]) -> Any:
        raise ZeroDivisionError

    tools = (tool("break", broken, "Breaks.", {}, effect=True),)
    lamps = SimulatedWorld(tools, {}, Case(id="c", prompt="p"), tmp_path, {})
    with pytest.raises(ZeroDivisionError):
        call(lamps, "break")
    assert lamps.effects() == ()


def test_what_is_given_out_does_not_reach_back_in(tmp_path: Path) -> None:
    """Changing an output or the seed's own tables changes no state."""
    lamps = world(tmp_path)
    call(lamps, "read_lamp", lamp="L1")["watts"] = 1000
    call(lamps, "switch_on", lamp="L1")["log"].clear()
    assert call(lamps, "read_lamp", lamp="L1") == {"on": True, "watts": 40}
    assert len(lamps.state["log"]) == 1
    assert SEED["lamps"]["L1"]["on"] is False


def test_the_case_is_laid_over_the_seed(tmp_path: Path) -> None:
    """A case states what differs: tables merge, values replace, null removes."""
    lamps = world(tmp_path, lamps={"L1": {"watts": 60}, "L2": {"on": True}}, log=["x"])
    assert lamps.state == {"lamps": {"L1": {"on": False, "watts": 60}, "L2": {"on": True}}, "log": ["x"]}
    assert overlay({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}) == {"a": {"c": 2}}


def test_a_section_that_the_world_does_not_hold_is_named(tmp_path: Path) -> None:
    """A misspelt section of a case is an error with the place and the nearest section, not silence."""
    with pytest.raises(DatasetError, match="seeds 'lamp'") as caught:
        world(tmp_path, lamp={})
    assert caught.value.where == "set.jsonl:3"
    assert "'lamps'" in caught.value.advice


def test_ids_are_given_in_order(tmp_path: Path) -> None:
    """New entries get the next free id, so that a case can name it beforehand."""
    assert next_id({"orders": {}}, "orders", "ORD") == "ORD-900"
    assert next_id({"orders": {"ORD-900": 1, "ORD-901": 1}}, "orders", "ORD") == "ORD-902"


TRUSTED = Document("d1", "The lamp has 40 watts.", "Lamps")
UNTRUSTED = Document("d2", "The lamp has 900 watts.", "Flyer", trusted=False)


def test_search_gives_passages_with_their_trust(tmp_path: Path) -> None:
    """Passages come best first with id, title, text, trust and score."""
    found = call(world(tmp_path, TRUSTED, UNTRUSTED), "search_documents", query="watts of the lamp")
    assert [(hit["id"], hit["trusted"]) for hit in found] == [("d1", True), ("d2", False)]
    assert found[0]["text"] == TRUSTED.text
    assert found[0]["score"] >= found[1]["score"] > 0
    assert len(call(world(tmp_path, TRUSTED, UNTRUSTED), "search_documents", query="lamp", limit=1)) == 1


@pytest.mark.parametrize(("documents", "trusted"), [((), True), ((TRUSTED,), True), ((TRUSTED, UNTRUSTED), False)])
def test_search_is_trusted_only_where_all_documents_are(
    documents: tuple[Document, ...], trusted: bool, tmp_path: Path
) -> None:
    """One document that an outsider could have written takes the trust from the search as a whole."""
    assert world(tmp_path, *documents).tools()[0].trusted is trusted


def test_a_call_without_a_key_takes_no_effect(tmp_path: Path) -> None:
    """An effect needs the key of its action."""
    lamps = world(tmp_path)
    with pytest.raises(WorldError):
        call(lamps, "switch_on", key="", lamp="L1")
    assert call(lamps, "read_lamp", lamp="L1")["on"] is False
