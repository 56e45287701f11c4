"""The house's map, read from the source: who may import whom, and what may be loaded before it is needed.

The rules look at every import statement, wherever it stands: inside functions and under ``TYPE_CHECKING`` too. Each
rule is also shown a small planted tree that breaks it, so a rule that can no longer fail is found.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "agentcheck"

#: Folders that never import each other.
ROOMS = (
    "governance",
    "ledger",
    "approvals",
    "agents",
    "worlds",
    "datasets",
    "metrics",
    "storage",
    "anchors",
    "serve",
    "reporting",
)
#: From the top of the house to its ground; a module may import only what stands on a later line, and itself.
#: ``errors`` stands on ``records``, which import nothing: a refusal carries the decision that made it.
FLOORS = (
    ("__main__",),
    ("cli",),
    ("cli_ledger",),
    ("cli_checkpoints",),
    ("copies",),
    ("custody", "inventory", "installation", "pytest_plugin", "verifying"),
    ("pytest_governed",),
    ("pytest_suites",),
    ("pytest_finish",),
    ("pytest_run",),
    ("run_report", "pytest_redaction", "publishing"),
    ("runs",),
    ("engine",),
    ("collection",),
    ("session",),
    ("transcript", "verdicts", "base"),
    ("stores",),
    ("plugins", "suites", "settings", *ROOMS),
    ("retention",),
    ("tombstones",),
    ("hookspecs",),
    ("contracts",),
    ("events",),
    ("deadlines",),
    ("errors",),
    ("records",),
)
#: What every floor may name: the package itself (``from agentcheck import __version__``).
PACKAGE = "__init__"
FORBIDDEN_NAMES = {"utils", "common", "core", "helpers", "managers", "services", "models", "types"}
#: Third-party modules of the core, and the only places that may import the particular ones.
CORE = {"pytest", "_pytest", "pluggy", "pydantic", "click", "rich", "yaml", "orjson", "httpx", "tomli", "packaging"}
ONLY_IN = {
    "jinja2": ("reporting",),
    "pandas": ("reporting",),
    "xdist": ("pytest_plugin",),
    "cryptography": ("ledger",),
    "psycopg": ("storage",),
    "psycopg_pool": ("storage",),
}
#: Plain dataclasses and names only; pydantic validates at the borders, never here.
PLAIN = {"__init__", "records", "events", "errors", "contracts", "hookspecs", "plugins"}
#: What would bring a clock, randomness or the outside world into a decision.
IMPURE = {"asyncio", "threading", "socket", "subprocess", "time", "random", "secrets", "uuid", "sqlite3", "httpx"}
#: Never loaded by importing agentcheck, by its pytest plugin, or by listing the plugins.
HEAVY = (
    "pydantic",
    "deepeval",
    "pandas",
    "numpy",
    "phoenix",
    "rich",
    "httpx",
    "jinja2",
    "yaml",
    "sqlite3",
    "click",
    "psycopg",
)


class Import(NamedTuple):
    """One imported module, as written in a file of the tree."""

    path: Path
    line: int
    target: str

    def says(self, what: str) -> str:
        """A finding, with the place."""
        return f"{self.path}:{self.line}: {what}"


def modules(root: Path) -> Iterator[tuple[Path, ast.Module]]:
    """Every Python file under ``root`` with its path relative to it; templates are data, not code of the house."""
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if "templates" not in relative.parts:
            yield relative, ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(root: Path) -> Iterator[Import]:
    """All imports of the tree, absolute ones as written, relative ones resolved."""
    for path, tree in modules(root):
        package = ("agentcheck", *path.parent.parts)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(path, node.lineno, alias.name)
            elif isinstance(node, ast.ImportFrom):
                base = list(package[: len(package) - node.level + 1]) if node.level else []
                stem = ".".join([*base, *(node.module.split(".") if node.module else [])])
                if stem == "agentcheck":
                    for alias in node.names:
                        yield Import(path, node.lineno, f"agentcheck.{alias.name}")
                else:
                    yield Import(path, node.lineno, stem)


def place(path: Path) -> str:
    """The room or top-level module a file belongs to."""
    return path.parts[0] if len(path.parts) > 1 else path.stem


def inner(item: Import) -> str | None:
    """The room or top-level module of ours that an import names; ``None`` for a foreign one."""
    parts = item.target.split(".")
    if parts[0] != "agentcheck" or len(parts) == 1:
        return None
    floors = {name for floor in FLOORS for name in floor}
    return parts[1] if parts[1] in floors or (parts[1].islower() and not parts[1].startswith("_")) else PACKAGE


def unmapped(root: Path) -> Iterator[str]:
    """Top-level modules and folders that the map does not know."""
    known = {name for floor in FLOORS for name in floor} | {PACKAGE}
    for path, _ in modules(root):
        if place(path) not in known:
            yield f"{path}: not on the map of the house"


def sideways(root: Path) -> Iterator[str]:
    """A room that imports another room."""
    for item in imports(root):
        here, there = place(item.path), inner(item)
        if here in ROOMS and there in ROOMS and here != there:
            yield item.says(f"room {here} imports room {there}")


def upwards(root: Path) -> Iterator[str]:
    """A module that imports one of its own floor, or of a floor above it."""
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    for item in imports(root):
        here, there = place(item.path), inner(item)
        if there is None or there == PACKAGE or here == there:
            continue
        if here == PACKAGE:
            if there not in ("hookspecs", "errors"):
                yield item.says(f"agentcheck/__init__ imports {there}")
        elif here in floor and floor.get(there, -1) <= floor[here]:
            yield item.says(f"{here} imports {there}, which is not below it")


def borrowed(root: Path) -> Iterator[str]:
    """A name of a room's ``builtin.py`` that lives in another room."""
    for path, tree in modules(root):
        if path.name != "builtin.py":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and ":" in node.value:
                module = node.value.partition(":")[0]
                if module.startswith("agentcheck.") and module.split(".")[1] != place(path):
                    yield f"{path}:{node.lineno}: registers {node.value}, which is of another room"


def foreign(root: Path) -> Iterator[str]:
    """A third-party import that the core does not have, or that stands outside the only place for it."""
    for item in imports(root):
        top = item.target.partition(".")[0]
        if top in sys.stdlib_module_names or top in ("agentcheck", "tomllib"):
            continue
        if top in ONLY_IN:
            if place(item.path) not in ONLY_IN[top]:
                yield item.says(f"{top} is imported only in {', '.join(ONLY_IN[top])}")
        elif top not in CORE:
            yield item.says(f"{top} is not a dependency of the core")


def verifier(root: Path) -> Iterator[str]:
    """An import of ``ledger/verify`` beyond itself and the standard library: a third party runs that folder alone."""
    for item in imports(root):
        if item.path.parts[:2] != ("ledger", "verify") or item.target.startswith("agentcheck.ledger.verify."):
            continue
        if item.target.partition(".")[0] not in sys.stdlib_module_names:
            yield item.says(f"the verifier imports {item.target}")


def plain(root: Path) -> Iterator[str]:
    """Pydantic in a module that is loaded before the first border."""
    for item in imports(root):
        if item.target.partition(".")[0] == "pydantic" and place(item.path) in PLAIN:
            yield item.says("pydantic in a plain module")


def impure(root: Path) -> Iterator[str]:
    """A clock, randomness or I/O in governance, which decides from its arguments alone."""
    for item in imports(root):
        if place(item.path) == "governance" and item.target.partition(".")[0] in IMPURE:
            yield item.says(f"governance imports {item.target}")


def vague(root: Path) -> Iterator[str]:
    """A module or folder whose name says nothing."""
    for path in sorted(root.rglob("*")):
        if path.stem in FORBIDDEN_NAMES and path.suffix in ("", ".py"):
            yield f"{path.relative_to(root)}: the house has no {path.stem!r}"


def undocumented(root: Path) -> Iterator[str]:
    """A public module, function or class without a docstring; a hook is documented by its specification."""
    for path, tree in modules(root):
        if not ast.get_docstring(tree):
            yield f"{path}:1: the module has no docstring"
        for node in tree.body:
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                continue
            if node.name.startswith(("_", "agentcheck_", "pytest_")) or ast.get_docstring(node):
                continue
            if any(isinstance(each, ast.Name) and each.id == "overload" for each in node.decorator_list):
                continue  # the implementation that follows says it for all
            yield f"{path}:{node.lineno}: {node.name} has no docstring"


Rule = Callable[[Path], Iterator[str]]
#: Each rule with a file that breaks it.
RULES: dict[Rule, tuple[str, str]] = {
    unmapped: ("attic.py", '"""x"""'),
    sideways: (
        "metrics/peek.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from agentcheck.storage import sqlite\n",
    ),
    upwards: ("records.py", "def late():\n    from agentcheck.engine import run\n"),
    borrowed: ("agents/builtin.py", 'NAMES = {"x": "agentcheck.worlds.clinic:Clinic"}'),
    foreign: ("cli.py", "import jinja2"),
    verifier: ("ledger/verify/rows.py", "from agentcheck.ledger.chain import leaf"),
    plain: ("events.py", "from pydantic import BaseModel"),
    impure: ("governance/clock.py", "from time import time"),
    vague: ("metrics/utils.py", ""),
    undocumented: ("agents/silent.py", '"""x"""\ndef speak():\n    return 1\n'),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule: Rule) -> None:
    """The source tree breaks none of the rules of the map."""
    assert list(rule(SOURCE)) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_each_rule_can_fail(rule: Rule, tmp_path: Path) -> None:
    """A tree with one planted breach is found, and the finding names the file."""
    name, text = RULES[rule]
    planted = tmp_path / name
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_text(text, encoding="utf-8")
    assert [finding for finding in rule(tmp_path) if finding.startswith(name)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metrics/a.py", "from ..governance import decide"),
        ("metrics/a.py", "import agentcheck.governance.decide"),
        ("ledger/a.py", "def f():\n    from agentcheck import approvals\n"),
    ],
    ids=["relative", "dotted", "from the package"],
)
def test_every_way_of_writing_an_import_is_seen(name: str, text: str, tmp_path: Path) -> None:
    """A room that reaches another one is found, however the import is written."""
    planted = tmp_path / name
    planted.parent.mkdir(parents=True)
    planted.write_text(text, encoding="utf-8")
    assert list(sideways(tmp_path))


def test_a_planted_tree_without_a_breach_is_clean(tmp_path: Path) -> None:
    """The rules let a well-built room pass, so they do not find what is not there."""
    planted = tmp_path / "metrics" / "exact.py"
    planted.parent.mkdir()
    planted.write_text('"""Exact."""\nfrom agentcheck.records import Score\nimport json\n', encoding="utf-8")
    assert [finding for rule in RULES for finding in rule(tmp_path)] == []


LISTING = """
from agentcheck import plugins
registry = plugins.load(entry_points=False)
assert all(entry.reference for entry in registry.entries())
"""


@pytest.mark.parametrize(
    "statement",
    ["import agentcheck", "import agentcheck.pytest_plugin", LISTING],
    ids=["the package", "the pytest plugin", "listing plugins"],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(statement: str) -> None:
    """Importing agentcheck, loading its pytest plugin and listing its names import none of the heavy packages."""
    assert loaded_by(statement) == set()


def test_loading_something_heavy_is_seen() -> None:
    """The probe itself sees a heavy package when one is imported."""
    assert "pydantic" in loaded_by("import agentcheck, pydantic")


def loaded_by(statement: str) -> set[str]:
    """The heavy packages that a fresh interpreter holds after a statement."""
    program = f"import sys\n{statement}\nprint(*({set(HEAVY)!r} & sys.modules.keys()))"
    # Without the measuring of coverage, which loads modules of its own.
    env = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    answer = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return set(answer.stdout.split())
