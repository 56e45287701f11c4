"""The conformance kit of `contracts.World`: every world passes it.

A world's test module holds one class with the factory, a call that reads and a call that has an effect (a world
without effects takes `WorldKit` and names the factory only)::

    class TestMyWorld(EffectKit):
        make = staticmethod(my_world.make)
        read = ("read_balance", {"account": "1000"})
        effect = ("pay_invoice", {"invoice": "INV-4001", "amount": 480, "account": "1000"})
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agentcheck.contracts import World
from agentcheck.errors import SuiteError, ToolError
from agentcheck.records import Case

Call = tuple[str, Mapping[str, Any]]


class WorldKit:
    """What holds for every world."""

    make: Callable[..., Any]

    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        """The world for an empty case, in a folder that does not exist yet."""
        made: World = self.make({}, Case(id="c", prompt="p"), tmp_path / "scratch")
        return made

    def test_fits_the_contract(self, world: World) -> None:
        """A world has all that `contracts.World` names."""
        assert isinstance(world, World)

    def test_tools_are_described(self, world: World) -> None:
        """Every tool has a name of its own, a description and a valid JSON Schema that knows all its arguments."""
        tools = world.tools()
        assert len({tool.name for tool in tools}) == len(tools)
        for tool in tools:
            assert tool.description.strip()
            jsonschema.Draft202012Validator.check_schema(tool.parameters)
            assert tool.parameters["type"] == "object"
            assert tool.parameters["additionalProperties"] is False
            assert set(tool.parameters["required"]) <= set(tool.parameters["properties"])

    def test_an_unknown_tool_is_an_error_of_the_call(self, world: World) -> None:
        """A tool that is not offered answers with an error, and nothing takes effect."""
        with pytest.raises(ToolError):
            asyncio.run(world.call("no_such_tool", {}, key="k"))
        assert list(world.effects() or ()) == []

    def test_an_unknown_option_is_refused(self, tmp_path: Path) -> None:
        """A misspelt option of the suite stops the trial before it begins."""
        with pytest.raises(SuiteError, match="colour"):
            self.make({"colour": "blue"}, Case(id="c", prompt="p"), tmp_path)

    def test_closes_twice(self, world: World) -> None:
        """Closing is safe at any time."""
        asyncio.run(world.close())
        asyncio.run(world.close())


class EffectKit(WorldKit):
    """What holds for every world with state and a witness."""

    read: Call
    effect: Call

    def test_reading_leaves_nothing_behind(self, world: World, tmp_path: Path) -> None:
        """A tool that only reads logs no effect and makes no file."""
        output = asyncio.run(world.call(self.read[0], self.read[1], key="k"))
        assert json.loads(json.dumps(output)) == output
        assert list(world.effects() or ()) == []
        assert not (tmp_path / "scratch").exists()

    def test_an_effect_is_witnessed(self, world: World) -> None:
        """An effect is in the world's own log with its key, name and arguments once the call returned."""
        name, arguments = self.effect
        assert {tool.name: tool.effect for tool in world.tools()}[name]
        asyncio.run(world.call(name, arguments, key="k1"))
        (logged,) = world.effects() or ()
        assert (logged.key, logged.name, logged.arguments) == ("k1", name, arguments)

    def test_the_same_key_acts_once(self, world: World) -> None:
        """A repeated key gives the first result again and acts no second time."""
        name, arguments = self.effect
        first = asyncio.run(world.call(name, arguments, key="k1"))
        assert asyncio.run(world.call(name, arguments, key="k1")) == first
        assert len(world.effects() or ()) == 1

    def test_trials_share_nothing(self, tmp_path: Path) -> None:
        """What happened in one trial is not seen by the next."""
        name, arguments = self.effect
        results = []
        for trial in ("one", "two"):
            world = self.make({}, Case(id="c", prompt="p"), tmp_path / trial)
            results.append(asyncio.run(world.call(name, arguments, key="k1")))
            asyncio.run(world.close())
        assert results[0] == results[1]

    def test_the_witness_outlives_the_world(self, world: World) -> None:
        """The effects can still be read once the world is closed."""
        asyncio.run(world.call(self.effect[0], self.effect[1], key="k1"))
        asyncio.run(world.close())
        assert len(world.effects() or ()) == 1
