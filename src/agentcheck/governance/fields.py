"""Fields of an action, or of an earlier step, that a policy may look at: paths into arguments, principal and output."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from agentcheck.governance.place import Place

MISSING: Any = object()
ROOTS = ("args", "principal", "output", "turn", "tool", "kind")


def kind_of(value: Any) -> str:
    """The JSON kind of a value: text, number, bool, list, table, null; empty for anything else, and for NaN."""
    found = _KINDS.get(type(value))
    if found == "number":
        return "number" if value == value else ""
    if found is not None:
        return found
    for types, kind in ((str, "text"), (list, "list"), (tuple, "list"), (Mapping, "table")):
        if isinstance(value, types):
            return kind
    return ""


_KINDS: Mapping[type, str] = {
    str: "text",
    bool: "bool",
    int: "number",
    float: "number",
    Decimal: "number",
    list: "list",
    tuple: "list",
    dict: "table",
    type(None): "null",
}


@dataclass(frozen=True)
class Field:
    """A field by its path. ``get`` gives the value, or `MISSING`; the values of all elements where it is ``many``."""

    text: str
    get: Callable[[Any, Any], Any]
    many: bool = False


def parse_field(text: str, place: Place, *, output: bool = False) -> Field:
    """Read ``args.order.lines[*].amount``, ``principal.role``, ``turn``, ``tool`` or ``kind``.

    ``output`` allows the output of a step. Raises `PolicyError` for anything else.
    """
    root, _, rest = text.partition(".")
    if root == "output" and not output:
        place.fail("an action has no output yet", "look at the output of an earlier step: after = { output = ... }")
    if root in ("turn", "tool", "kind") and not rest:
        attribute = "name" if root == "tool" else root
        return Field(text, lambda subject, state: getattr(subject, attribute))
    if root == "principal" and rest:
        return Field(text, lambda subject, state: _principal(subject, state, rest))
    if root in ("args", "output") and (rest or root == "output"):
        return _path_field(text, root, rest, place)
    return place.unknown(root if rest else text, [each for each in ROOTS if output or each != "output"], "field")


def _principal(subject: Any, state: Any, key: str) -> Any:
    if key in subject.principal:
        return subject.principal[key]
    return state.principal.get(key, MISSING)


def _path_field(text: str, root: str, rest: str, place: Place) -> Field:
    steps = parse_path(rest, place) if rest else ()
    many = "*" in steps
    if root == "args" and len(steps) == 1 and not many:
        key = steps[0]
        return Field(text, lambda subject, state: subject.arguments.get(key, MISSING))
    attribute = "arguments" if root == "args" else "output"
    if not many:
        return Field(text, lambda subject, state: _walk(getattr(subject, attribute), steps))

    def every(subject: Any, state: Any) -> list[Any]:
        found: list[Any] = []
        _spread(getattr(subject, attribute), steps, found)
        return found

    return Field(text, every, many=True)


_STEP = re.compile(r"([^.\[\]]+)((?:\[(?:\d+|\*)\])*)")


def parse_path(text: str, place: Place) -> tuple[str | int, ...]:
    """Read ``order.lines[*].amount`` into ``("order", "lines", "*", "amount")``; indexes are integers."""
    steps: list[str | int] = []
    for part in text.split("."):
        match = _STEP.fullmatch(part)
        if match is None or match[1] == "*":
            place.fail(f"{text!r} is no path", "write it as name, a.b, list[0] or list[*].name")
        steps.append(match[1])
        steps.extend(index if index == "*" else int(index) for index in re.findall(r"\[(\d+|\*)\]", match[2]))
    return tuple(steps)


def _walk(value: Any, steps: tuple[str | int, ...]) -> Any:
    for step in steps:
        if isinstance(step, int):
            if not isinstance(value, (list, tuple)) or step >= len(value):
                return MISSING
            value = value[step]
        else:
            if not isinstance(value, Mapping):
                return MISSING
            value = value.get(step, MISSING)
            if value is MISSING:
                return MISSING
    return value


def _spread(value: Any, steps: tuple[str | int, ...], found: list[Any]) -> None:
    """Collect the values of all elements; an element that lacks the rest of the path gives `MISSING`."""
    if "*" not in steps:
        found.append(_walk(value, steps))
        return
    position = steps.index("*")
    value = _walk(value, steps[:position])
    if not isinstance(value, (list, tuple)):
        found.append(MISSING)
        return
    for element in value:
        _spread(element, steps[position + 1 :], found)
