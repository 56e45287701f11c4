"""The names that the room `agents` brings; strings only, so listing them imports nothing."""

from __future__ import annotations

from collections.abc import Mapping

from agentcheck.hookspecs import hookimpl


@hookimpl
def agentcheck_agents() -> Mapping[str, str]:
    """Ways of reaching an agent."""
    return {
        "callable": "agentcheck.agents.callable:make",
        "process": "agentcheck.agents.process:make",
        "http": "agentcheck.agents.http:make",
        "recorded": "agentcheck.agents.recorded:make",
        "echo": "agentcheck.agents.echo:make",
        "extractive": "agentcheck.agents.extractive:make",
        "clinic-assistant": "agentcheck.agents.assistants.clinic:make",
        "payables-assistant": "agentcheck.agents.assistants.payables:make",
        "maintenance-assistant": "agentcheck.agents.assistants.maintenance:make",
    }


@hookimpl
def agentcheck_models() -> Mapping[str, str]:
    """Models behind the session."""
    return {
        "scripted": "agentcheck.agents.model:make",
        "openai": "agentcheck.agents.openai_model:make",
        "recorded": "agentcheck.agents.recorded_model:make",
    }


@hookimpl
def agentcheck_users() -> Mapping[str, str]:
    """Who talks to the agent."""
    return {
        "scripted": "agentcheck.agents.user:make",
        "recorded": "agentcheck.agents.recorded:make_user",
    }
