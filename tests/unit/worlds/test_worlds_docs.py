"""docs/worlds.md says what the worlds are: its tables are those of the code, its example works, its counts hold."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from agentcheck.errors import ToolError
from agentcheck.records import Case
from agentcheck.worlds import clinic, maintenance, payables
from agentcheck.worlds.simulated import Tool
from mutants import DOMAINS, MUTANTS, ROOT

TEXT = (ROOT / "docs" / "worlds.md").read_text(encoding="utf-8")


def row(tool: Tool) -> str:
    """The line of a tool in its domain's table."""
    spec = tool.spec
    required = spec.parameters["required"]
    arguments = [f"`{name}`{'' if name in required else ' (optional)'}" for name in spec.parameters["properties"]]
    mark = " **Effect.**" if spec.effect else "" if spec.trusted else " *Not trusted.*"
    return f"| `{spec.name}` | {', '.join(arguments)} | {spec.description}{mark} |"


@pytest.mark.parametrize(
    ("domain", "tools"), [("clinic", clinic.TOOLS), ("payables", payables.TOOLS), ("maintenance", maintenance.TOOLS)]
)
def test_the_tables_are_those_of_the_code(domain: str, tools: tuple[Tool, ...]) -> None:
    """Each domain's section lists exactly its tools, with arguments, effect and trust."""
    section = TEXT.split(f"\n### {domain}\n")[1].split("\n## ")[0].split("\n### ")[0]
    assert [line for line in section.splitlines() if line.startswith("| `")] == [row(tool) for tool in tools]


def test_the_example_works(tmp_path: Path) -> None:
    """The world of the example switches a lamp on once, refuses the second time, and takes the case's state."""
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    world = names["make"]({}, Case(id="c", prompt="p", state={"lamps": {"L3": {"on": False}}}), tmp_path)
    assert asyncio.run(world.call("switch_on", {"lamp": "L3"}, key="a1")) == {"lamp": "L3", "on": True}
    with pytest.raises(ToolError, match="on already"):
        asyncio.run(world.call("switch_on", {"lamp": "L3"}, key="a2"))
    assert [effect.key for effect in world.effects()] == ["a1"]


def test_the_counts_are_right() -> None:
    """The numbers of cases and of mutants are those of the files."""
    counts = {name: len((ROOT / "golden_datasets" / f"{name}.jsonl").read_text().splitlines()) for name in DOMAINS}
    said = ", ".join(f"{name} {count}" for name, count in counts.items())
    plain = " ".join(TEXT.split())
    assert f"{sum(counts.values())} cases ({said})" in plain
    assert f"holds {len(MUTANTS)} agents" in plain


def test_the_example_row_is_valid() -> None:
    """The example of a case's state is JSON that the payables world takes."""
    (line,) = re.findall(r'^\{"id": .*\}$', TEXT, re.MULTILINE)
    assert json.loads(line)["state"].keys() <= payables.SEED.keys()
