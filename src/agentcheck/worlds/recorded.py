"""The world of a recording: each call gets what the recorded call with that name and those arguments got.

It carries nothing out and logs no effects of its own: recording and world are one source, so completeness of the audit
is not measured here.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from agentcheck.errors import SuiteError, ToolError
from agentcheck.records import Case, Effect, RecordedStep, Recording, ToolSpec

OPTIONS = ("trusted", "untrusted", "effects")
_TYPES: Mapping[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}


def make(options: Mapping[str, Any], case: Case, scratch: Path) -> RecordedWorld:
    """The world ``recorded``.

    ``options``: lists of patterns of tool names. ``trusted`` tools answer with text that no outsider could have
    written; all others, and those that ``untrusted`` names too, are not trusted. ``effects`` tools change the world.

    Raises:
        SuiteError: another option, a pattern that is no text, or a case without a recording.
    """
    for key, value in options.items():
        if key not in OPTIONS:
            near = get_close_matches(key, OPTIONS, 1)
            raise SuiteError(
                f"the world 'recorded' takes no option {key!r}",
                advice=(f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(OPTIONS)}",
            )
        if not isinstance(value, (list, tuple)) or not all(isinstance(pattern, str) for pattern in value):
            raise SuiteError(f"world.{key} must be a list of patterns of tool names, such as {key} = ['get_*']")
    if case.recording is None:
        raise SuiteError(
            f"the case {case.id!r} holds no recording, which the world 'recorded' needs",
            where=case.source,
            advice="set dataset.format to a trace format, such as agentdojo or otel",
        )
    return RecordedWorld(case.recording, **options)


class RecordedWorld:
    """Serves the tool outputs of one recording."""

    def __init__(
        self,
        recording: Recording,
        *,
        trusted: Sequence[str] = (),
        untrusted: Sequence[str] = (),
        effects: Sequence[str] = (),
    ) -> None:
        calls = [step for step in recording.steps if step.kind == "tool_call"]
        self._answers: dict[tuple[str, str], deque[RecordedStep]] = {}
        for step in calls:
            self._answers.setdefault(_key(step.name, step.arguments), deque()).append(step)
        self._tools = tuple(
            ToolSpec(
                name,
                parameters=_schema(step.arguments for step in calls if step.name == name),
                effect=_any(effects, name),
                trusted=_any(trusted, name) and not _any(untrusted, name),
            )
            for name in dict.fromkeys(step.name for step in calls)
        )

    def tools(self) -> Sequence[ToolSpec]:
        """The tools that the recording calls, with the parameters seen in it; unused ones are not known to it."""
        return self._tools

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str) -> Any:
        """What the recording holds for this call; calls that are equal are answered in recorded order.

        Raises:
            ToolError: the recorded call failed, or there is no (further) such call.
        """
        waiting = self._answers.get(_key(name, arguments))
        if not waiting:
            seen = "holds no further call" if waiting is not None else "holds no call"
            raise ToolError(f"the recording {seen} of {name!r} with these arguments")
        step = waiting.popleft()
        if step.error:
            raise ToolError(step.error)
        return step.output

    def effects(self) -> Sequence[Effect] | None:
        """Not measured: there is no log apart from the recording."""
        return None

    async def close(self) -> None:
        """Nothing is held."""


def _key(name: str, arguments: Mapping[str, Any]) -> tuple[str, str]:
    return name, json.dumps(arguments, sort_keys=True)


def _any(patterns: Sequence[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _schema(calls: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A JSON Schema of the arguments seen in calls of one tool; those kept raw (``_raw``) say nothing of it."""
    seen: dict[str, list[str]] = {}
    for arguments in calls:
        for parameter, value in arguments.items():
            kinds = seen.setdefault(parameter, []) if not parameter.startswith("_") else []
            kind = _TYPES.get(type(value), "string")
            if kind not in kinds:
                kinds.append(kind)
    properties = {name: {"type": kinds[0] if len(kinds) == 1 else kinds} for name, kinds in seen.items()}
    return {"type": "object", "properties": properties}
