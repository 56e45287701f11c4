"""Plugins: one door for built-ins and strangers, and a plugin that fails stops the run by name."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from agentcheck import hookimpl, hookspecs, plugins
from agentcheck.errors import CannotImport, PluginError, SuiteError
from agentcheck.plugins import resolve


def plugin(name: str, **hooks: Any) -> types.ModuleType:
    """A plugin module with these hooks."""
    module = types.ModuleType(name)
    for hook, value in hooks.items():

        def implementation(value: Any = value) -> Any:
            return value() if callable(value) else value

        def call() -> Any:
            return implementation()

        call.__name__ = hook
        setattr(module, hook, hookimpl(call))
    return module


def test_builtins_and_strangers_stand_in_one_list() -> None:
    """A name that a plugin brings is found beside the built-in ones, with where it came from."""
    registry = plugins.load([plugin("mine", agentcheck_metrics={"tone": "json:dumps"})], entry_points=False)
    entry = next(entry for entry in registry.entries("metrics") if entry.name == "tone")
    assert (entry.plugin, entry.reference) == ("mine", "json:dumps")
    assert "exact_match" in registry.names("metrics")
    import json

    assert registry.get("metrics", "tone") is json.dumps


def test_an_unknown_name_suggests_the_nearest_one() -> None:
    """A misspelt name in a suite says what it may have meant, and where."""
    registry = plugins.load(entry_points=False)
    with pytest.raises(SuiteError, match=r"x.toml: no metric is called 'exact_mach'\n.*did you mean 'exact_match'"):
        registry.get("metrics", "exact_mach", where="x.toml")


def test_a_reference_that_does_not_import_is_named() -> None:
    """A dotted name whose module or attribute is missing says which, with the nearest attribute."""
    registry = plugins.load(entry_points=False)
    with pytest.raises(PluginError, match=r"cannot import 'no_such_module'"):
        registry.get("agents", "no_such_module:agent")
    with pytest.raises(PluginError, match=r"has no 'dump_'\n.*did you mean 'dump"):
        registry.get("agents", "json:dump_")


def test_a_misspelt_hook_stops_the_run_and_names_the_plugin() -> None:
    """A hook that does not exist is an error at registration."""
    with pytest.raises(PluginError, match=r"plugin typo: unknown hook 'agentcheck_metrik'\n.*agentcheck_metrics"):
        plugins.load([plugin("typo", agentcheck_metrik={})], entry_points=False)


def test_an_unknown_argument_stops_the_run_and_names_the_plugin() -> None:
    """A hook with an argument that its specification lacks is an error at registration."""
    module = types.ModuleType("greedy")

    def agentcheck_metrics(secret: str) -> dict[str, str]:
        return {secret: secret}

    module.agentcheck_metrics = hookimpl(agentcheck_metrics)  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match="plugin greedy"):
        plugins.load([module], entry_points=False)


def test_a_name_that_is_taken_stops_the_run_and_names_both() -> None:
    """Two plugins cannot bring the same name; neither wins quietly."""
    with pytest.raises(PluginError, match=r"plugin second brings the metric 'tone', which first already brings"):
        plugins.load(
            [plugin("first", agentcheck_metrics={"tone": "a:b"}), plugin("second", agentcheck_metrics={"tone": "c:d"})],
            entry_points=False,
        )


def test_a_hook_that_raises_stops_the_run_and_names_the_plugin() -> None:
    """A plugin whose hook fails is not passed over."""

    def broken() -> Any:
        raise ZeroDivisionError("no")

    with pytest.raises(PluginError, match=r"plugin bad: agentcheck_agents\(\) failed"):
        plugins.load([plugin("bad", agentcheck_agents=broken)], entry_points=False)


def test_every_hook_has_a_kind_and_says_what_it_is_for() -> None:
    """The hook specifications, the kinds and the documentation name the same set."""
    hooks = {name.removeprefix("agentcheck_") for name in dir(hookspecs) if name.startswith("agentcheck_")}
    assert hooks == set(hookspecs.KINDS)
    assert all((getattr(hookspecs, f"agentcheck_{kind}").__doc__ or "").strip() for kind in hooks)


def test_every_builtin_name_resolves() -> None:
    """No built-in name points at nothing."""
    registry = plugins.load(entry_points=False)
    for entry in registry.entries():
        assert callable(registry.get(entry.kind, entry.name)), entry


def test_listing_plugins_imports_no_factory() -> None:
    """Names are strings until a suite uses them."""
    code = (
        "import sys\nfrom agentcheck import plugins\nlist(plugins.load(entry_points=False).entries())\n"
        "print([m for m in ('pydantic', 'jinja2', 'httpx', 'pandas', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def f(:\n", r"^\S*shop_bot\.py:1: invalid syntax: def f\(:\n  -> mend the line"),
        ("x = 1\n\nraise KeyError('wire')\n", r"shop_bot\.py:3: KeyError: 'wire'\n  -> the module raises when"),
        (
            "import no_such_thing\n",
            r"shop_bot\.py:1: ModuleNotFoundError.*\n  -> is 'no_such_thing', which",
        ),
        ("def g():\n    1 / 0\n\ng()\n", r"shop_bot\.py:2: ZeroDivisionError"),
    ],
)
def test_code_that_does_not_import_is_told_by_its_own_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, told: str
) -> None:
    """The line of the user's code that cannot be read or that raises, and what to do about it."""
    (tmp_path / "shop_bot.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CannotImport) as raised:
        resolve("shop_bot:agent", where="s.toml:4")
    assert str(raised.value).startswith("s.toml:4: cannot import 'shop_bot': ")
    assert re.search(told, str(raised.value).removeprefix("s.toml:4: cannot import 'shop_bot': "))
