"""Actions that agents wrote as free text: which tool they call and with what, as far as the text says so.

Shapes, tried in this order (R-Judge holds all of them):

==============================================================  ==================================================
text                                                            read as
==============================================================  ==================================================
``Final Answer: ...``                                           a message
``Tool{'a': 1}``, ``Tool: {...}``, ``Tool Input: {...}``,       ``Tool``
``Tool\\nAction Input: {...}``
a fenced block of bash, sh, shell, cmd, powershell or python    the language, with ``{"code": ...}``
``"command": {"name": ..., "args": {...}}``                     the name
``"command": "line"``                                           ``command`` with ``{"command": line}``
``{"Tool": {...}}``                                             ``Tool``
``The action is {"action_type": ..., ...}``                     the action type
``Tool(a=1)``, ``Tool('a': 1)``                                 ``Tool``
one short line that is no sentence, as ``click <Allow>``        its first word, the rest kept raw
anything else                                                   a message
==============================================================  ==================================================
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from typing import Any

from agentcheck.datasets.fields import RAW, arguments_of, literal, object_in

LONGEST_COMMAND = 120
_TOOL = re.compile(r"([A-Za-z_][\w.-]*)\s*(?:\n\s*Action Input|[ \t]Input)?\s*:?\s*(\{.*)", re.S)
_FENCED = re.compile(r"(?:\w+\s+)?```(bash|sh|shell|cmd|powershell|python)[ \t]*\n(.*?)\n?```", re.S)
_COMMAND = re.compile(r'"command"\s*:\s*(.*)', re.S)
_STATED = re.compile(r"The action is (\{.*\})", re.S)
_CALL = re.compile(r"([A-Za-z_]\w*)\((.*)\)", re.S)
_FINAL = "Final Answer:"
_RELAXED = json.JSONDecoder(strict=False)  # raw line breaks inside of strings


@dataclass(frozen=True)
class Parsed:
    """What a text asks for: a call of ``tool``, or a message where there is none.

    ``raw`` is true where only the tool was understood, and its arguments are kept word for word.
    """

    text: str
    tool: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    raw: bool = False


def parse_action(action: str) -> Parsed:
    """Read one action; never fails."""
    text = action.strip()
    if text.startswith(_FINAL):
        return Parsed(text.removeprefix(_FINAL).strip())
    for shape in (_tool, _fenced, _command, _keyed, _stated, _call, _word):
        found = shape(text)
        if found is not None:
            return found
    return Parsed(text)


def _tool(text: str) -> Parsed | None:
    match = _TOOL.fullmatch(text)
    if match is None:
        return None
    return _called(text, match[1], match[2])


def _called(text: str, tool: str, written: str) -> Parsed:
    found = _object(written)
    return Parsed(text, tool, {RAW: written}, raw=True) if found is None else Parsed(text, tool, found)


def _object(written: str) -> dict[str, Any] | None:
    """The object at the start of a text, after which only closing brackets may come."""
    try:
        found, end = _RELAXED.raw_decode(written)
    except (ValueError, RecursionError):
        return object_in(written)
    return found if isinstance(found, dict) and not written[end:].strip(" \t\r\n}") else None


def _fenced(text: str) -> Parsed | None:
    match = _FENCED.fullmatch(text)
    return Parsed(text, match[1], {"code": match[2]}) if match else None


def _command(text: str) -> Parsed | None:
    match = _COMMAND.match(text)
    if match is None:
        return None
    try:
        found, _ = _RELAXED.raw_decode(match[1])
    except (ValueError, RecursionError):
        return Parsed(text, "command", {RAW: match[1]}, raw=True)
    if isinstance(found, dict) and isinstance(found.get("name"), str):
        arguments, raw = arguments_of(found.get("args"))
        return Parsed(text, found["name"], arguments, raw)
    return Parsed(text, "command", {"command": found})


def _keyed(text: str) -> Parsed | None:
    found = object_in(text) if text.startswith("{") else None
    if found is None or len(found) != 1:
        return None
    tool, arguments = next(iter(found.items()))
    return Parsed(text, tool, arguments) if isinstance(arguments, dict) and tool else None


def _stated(text: str) -> Parsed | None:
    match = _STATED.fullmatch(text)
    found = object_in(match[1]) if match else None
    if found is None or not isinstance(found.get("action_type"), str):
        return None
    return Parsed(text, found["action_type"], {key: value for key, value in found.items() if key != "action_type"})


def _call(text: str) -> Parsed | None:
    match = _CALL.fullmatch(text)
    if match is None:
        return None
    found = _keywords(text)
    if found is None:
        written = literal("{" + match[2] + "}")
        found = written if isinstance(written, dict) else None
    if found is None:
        return Parsed(text, match[1], {RAW: match[2]}, raw=True)
    return Parsed(text, match[1], found)


def _keywords(text: str) -> dict[str, Any] | None:
    """The keyword arguments of a Python call whose values are literals."""
    if len(text) > 10_000 or "\0" in text:
        return None
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or call.args or not all(keyword.arg for keyword in call.keywords):
            return None
        found = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
        return arguments_of(json.dumps(found))[0]
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _word(text: str) -> Parsed | None:
    if not text or "\n" in text or len(text) > LONGEST_COMMAND or text[-1] in ".!?:":
        return None
    match = re.search(r"[A-Za-z_]\w*", text)
    if match is None:
        return None
    return Parsed(text, match[0].lower(), {RAW: text}, raw=True)
