"""The whole extension surface: every plugin hook, with a docstring each and no bodies.

A plugin is a module or object named by an entry point of the group ``agentcheck``; it implements any of these with
``@agentcheck.hookimpl``. Built-ins enter by the same door. Each hook returns a mapping from a name, as suite files
use it, to a factory or to ``"package.module:attribute"``, which is imported only when a suite names it.
A misspelt hook, an unknown argument or a name that is already taken stops the run and names the plugin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pluggy

hookspec = pluggy.HookspecMarker("agentcheck")
hookimpl = pluggy.HookimplMarker("agentcheck")


@hookspec
def agentcheck_agents() -> Mapping[str, Any]:
    """Ways of reaching an agent: name -> `contracts.AgentFactory`."""


@hookspec
def agentcheck_worlds() -> Mapping[str, Any]:
    """Tools with state: name -> `contracts.WorldFactory`."""


@hookspec
def agentcheck_models() -> Mapping[str, Any]:
    """Models behind the session: name -> `contracts.ModelFactory`."""


@hookspec
def agentcheck_users() -> Mapping[str, Any]:
    """Who talks to the agent: name -> `contracts.UserFactory`."""


@hookspec
def agentcheck_metrics() -> Mapping[str, Any]:
    """Measures of a trial: name -> `contracts.MetricFactory`."""


@hookspec
def agentcheck_controls() -> Mapping[str, Any]:
    """Further rules of the runtime: id -> `contracts.ControlFactory`. They may add a denial, never lift one."""


@hookspec
def agentcheck_datasets() -> Mapping[str, Any]:
    """Readers of datasets, recordings and traces: format -> `contracts.DatasetReader`."""


@hookspec
def agentcheck_reporters() -> Mapping[str, Any]:
    """Files written after a run: name -> `contracts.Reporter`."""


@hookspec
def agentcheck_stores() -> Mapping[str, Any]:
    """Where the events of a run are kept: scheme of ``AGENTCHECK_STORE`` -> `contracts.RunStoreFactory`."""


@hookspec
def agentcheck_anchors() -> Mapping[str, Any]:
    """Where signed checkpoints are kept: scheme of an address -> `contracts.AnchorFactory`."""


#: Hook name without its prefix -> what one entry of it is called in messages and in ``agentcheck list``.
KINDS: Mapping[str, str] = {
    "agents": "agent",
    "worlds": "world",
    "models": "model",
    "users": "user",
    "metrics": "metric",
    "controls": "control",
    "datasets": "dataset format",
    "reporters": "reporter",
    "stores": "store",
    "anchors": "place for checkpoints",
}
