"""One action of a session as controls see it. Values are parsed from their JSON text when first looked at."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

#: Kinds that reach the world: bounds by tool, levels and breakers hold for them, whatever kind an agent gives.
EFFECT_KINDS = frozenset({"tool_call", "delegate", "memory"})
#: Kinds whose output is text that came from outside the conversation.
SOURCE_KINDS = EFFECT_KINDS
_MISSING: Any = object()
_LONG_NUMBER = re.compile(r"\d{19}")


def parse_json(text: str) -> Any:
    """The value of a field of kind ``json``; text that is no JSON stays text."""
    if not _LONG_NUMBER.search(text):  # orjson would round it
        try:
            return orjson.loads(text)
        except ValueError:
            pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


class StepView:
    """One action of the session so far.

    ``status`` is ``requested`` (not decided), ``waiting`` (held), ``running``, ``done``, ``error``, ``denied`` or
    ``held`` (not approved). ``trusted`` says whether its output is text that no outsider could have written: for a
    tool call as the tool's `ToolSpec` says, false for everything else and for a tool that is not known.
    """

    __slots__ = (
        "_arguments",
        "_output",
        "_output_text",
        "arguments_json",
        "control",
        "error",
        "id",
        "key",
        "kind",
        "level",
        "name",
        "outcome",
        "output_json",
        "principal",
        "reason",
        "rule",
        "status",
        "time",
        "trusted",
        "turn",
    )

    def __init__(self, body: Mapping[str, Any], time: int, trusted: bool) -> None:
        self.id: str = body["action"]
        self.kind: str = body["kind"]
        self.name: str = body["name"]
        self.turn: int = body["turn"]
        self.key: str = body["key"]
        self.principal: Mapping[str, str] = body.get("principal") or {}
        self.arguments_json: str = body["arguments"]
        self.output_json = "null"
        self.time = time
        self.trusted = trusted
        self.status = "requested"
        self.outcome = ""
        self.control = ""
        self.rule = ""
        self.reason = ""
        self.level = 0
        self.error = ""
        self._arguments: Any = _MISSING
        self._output: Any = _MISSING
        self._output_text: str | None = None

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments as structured values; empty where they are not a JSON object."""
        if self._arguments is _MISSING:
            value = parse_json(self.arguments_json)
            self._arguments = value if isinstance(value, dict) else {}
        return self._arguments  # type: ignore[no-any-return]

    @property
    def output(self) -> Any:
        """The output as a structured value; ``None`` while there is none."""
        if self._output is _MISSING:
            self._output = parse_json(self.output_json)
        return self._output

    @property
    def output_text(self) -> str:
        """The output as a reader would see it: text as it is, anything else as JSON text; empty for no output."""
        if self._output_text is None:
            value = self.output
            if isinstance(value, str):
                self._output_text = value
            else:
                self._output_text = "" if value is None else json.dumps(value, ensure_ascii=False)
        return self._output_text

    def answer(self, output: str) -> None:
        """Take the output, as JSON text."""
        self.output_json = output
        self._output, self._output_text = _MISSING, None

    @property
    def carried_out(self) -> bool:
        """True when the action reached the world and came back."""
        return self.status in ("done", "error")

    @property
    def is_source(self) -> bool:
        """True when its output is text that later arguments may have been taken from."""
        return self.kind in SOURCE_KINDS and self.carried_out

    def values(self) -> tuple[Any, ...]:
        """All that is known of the step, for comparing two folds."""
        return tuple(getattr(self, name) for name in self.__slots__ if not name.startswith("_"))
