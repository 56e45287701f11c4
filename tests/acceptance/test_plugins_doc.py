"""docs/plugins.md: the plugin that it shows is found by its entry point and does what the page says."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import cli
from agentcheck.hookspecs import KINDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXT = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project of `agentcheck init`, with the page's plugin installed beside it and named by its suite."""
    _, packaging, suite = blocks("toml")
    hooks, rules = blocks("python")
    assert cli.agentcheck(tmp_path, "init").code == 0
    package = tmp_path / "desk_rules"
    package.mkdir()
    (package / "__init__.py").write_text(hooks, "utf-8")
    (package / "rules.py").write_text(rules, "utf-8")
    # What pip makes of the page's pyproject.toml, as far as entry points go.
    table = tomllib.loads(packaging)["project"]
    installed = tmp_path / f"{table['name'].replace('-', '_')}-{table['version']}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {table['name']}\nVersion: {table['version']}\n", "utf-8"
    )
    (points,) = table["entry-points"].items()
    lines = [f"[{points[0]}]", *(f"{name} = {value}" for name, value in points[1].items())]
    (installed / "entry_points.txt").write_text("\n".join(lines) + "\n", "utf-8")
    with (tmp_path / "suites" / "shop.toml").open("a", encoding="utf-8") as file:
        file.write("\n" + suite)
    return tmp_path


def test_the_plugin_is_listed_and_takes_part(project: Path) -> None:
    """Its names are listed with the plugin; its metric is measured where something was refused, and only there."""
    listed = cli.agentcheck(project, "list")
    for name in ("desk.persistence", "owns_up", "refusals"):
        line = rf"^  {re.escape(name)} +desk_rules\.rules:\w+ +\(desk_rules\)$"
        assert re.search(line, listed.out, re.MULTILINE), name
    done = cli.agentcheck(project, "run")
    assert done.code == 0, done.text
    report = json.loads((cli.last_run(project) / "report.json").read_text("utf-8"))
    (found,) = [metric for metric in report["suites"][0]["metrics"] if metric["metric"] == "owns_up"]
    assert (found["mean"], found["measured"], found["not_measured"]) == (1, 1, 7)


def test_an_action_that_was_refused_is_not_asked_twice(project: Path) -> None:
    """The control denies the second request, and the report of the plugin holds the lines of the page."""
    asking = 'await session.call_tool("refund", order=number, amount=order["total"])'
    first = 'await session.act("tool_call", "refund", {"order": number, "amount": order["total"]})'
    cli.edit(project / "shop_assistant.py", asking, f"{first}\n        {asking}")
    cli.agentcheck(project, "run", "-k", "nobody")
    written = (cli.last_run(project) / "refusals.jsonl").read_text("utf-8")
    assert written in blocks("json")


def test_an_option_that_the_metric_lacks_stops_the_run(project: Path) -> None:
    """A misspelt option of the page's metric is named, with the suite."""
    cli.edit(project / "suites" / "shop.toml", 'words = ["may', 'wrds = ["may')
    done = cli.agentcheck(project, "run")
    assert done.code == 4
    assert re.search(r"suites/shop\.toml:\d+: metric 'owns_up' does not take these options", done.text)
    assert "wrds" in done.text


def test_every_hook_is_documented() -> None:
    """The table names exactly the hooks that there are."""
    assert re.findall(r"^\| `agentcheck_(\w+)` \|", TEXT, re.MULTILINE) == list(KINDS)
