"""What an action may name and carry: only tools that the world offers, with arguments that fit their schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agentcheck.governance.schema import Problem, compile_schema
from agentcheck.governance.state import SessionState
from agentcheck.records import Action, Decision, Outcome, ToolSpec

#: Compiled schemas that a control keeps.
_CHECKS_KEPT = 1024


class _OfferedTools:
    """Finds a tool: in the session's own list, else in the one given when the runtime was built."""

    def __init__(self, tools: Mapping[str, ToolSpec]) -> None:
        self.tools = tools

    def find(self, name: str, state: SessionState) -> ToolSpec | None:
        offered = self.tools if state.tools is None else state.tools
        return offered.get(name)


class UnknownTool(_OfferedTools):
    """Denies (or holds) a call of a tool that the world does not offer."""

    id = "tool.unknown"

    def __init__(self, tools: Mapping[str, ToolSpec], outcome: Outcome = "deny") -> None:
        super().__init__(tools)
        self.outcome = outcome

    def decide(self, action: Action, state: SessionState, now: int) -> Decision | None:
        """Refuse when no tool has exactly this name."""
        if action.kind != "tool_call" or self.find(action.name, state) is not None:
            return None
        return Decision(self.outcome, self.id, "not-offered", "there is no such tool")


class ToolArguments(_OfferedTools):
    """Denies arguments that do not fit the tool's schema, and says which, so that the agent can correct itself."""

    id = "tool.arguments"

    def __init__(self, tools: Mapping[str, ToolSpec]) -> None:
        super().__init__(tools)
        # The tool is kept beside its check, so that no other can take over its identity.
        self._checks: dict[int, tuple[ToolSpec, Callable[[Any], list[Problem]]]] = {}

    def decide(self, action: Action, state: SessionState, now: int) -> Decision | None:
        """Deny with one ``path: expected`` for each problem; values are never repeated."""
        if action.kind != "tool_call":
            return None
        tool = self.find(action.name, state)
        if tool is None or not tool.parameters:
            return None
        kept = self._checks.get(id(tool))
        if kept is None:
            if len(self._checks) >= _CHECKS_KEPT:
                self._checks.clear()
            kept = self._checks[id(tool)] = (tool, compile_schema(tool.parameters))
        found = kept[1](action.arguments)
        if not found:
            return None
        return Decision("deny", self.id, "schema", "; ".join(f"{each.path}: {each.expected}" for each in found[:8]))
