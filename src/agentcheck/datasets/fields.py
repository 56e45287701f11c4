"""Reading fields of a record that others wrote: the value, or an error that names the field."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Mapping
from typing import Any

from agentcheck.datasets.files import parse

#: Longest text that is tried as a Python literal; longer ones are kept as they are.
MAX_LITERAL = 100_000
#: Where arguments that are no object are kept, word for word.
RAW = "_raw"
_NAMES: Mapping[type, str] = {
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


class BadRecord(ValueError):
    """A record that cannot be read as a run; the text names the field and what is wrong with it."""


def says(value: Any) -> str:
    """What a value is, in words."""
    return _NAMES.get(type(value), type(value).__name__)


def need(holder: Any, key: str | int, kind: type | tuple[type, ...], at: str = "") -> Any:
    """The value of a field that a run cannot be read without.

    Raises:
        BadRecord: it is missing or of another kind; ``at`` is the path of the holder.
    """
    path = join(at, key)
    if isinstance(key, int):
        if not isinstance(holder, list):
            raise BadRecord(f"{at or 'the record'}: expected a list, found {says(holder)}")
        if key >= len(holder):
            raise BadRecord(f"{path}: missing")
        value = holder[key]
    else:
        if not isinstance(holder, Mapping):
            raise BadRecord(f"{at or 'the record'}: expected an object, found {says(holder)}")
        if key not in holder:
            raise BadRecord(f"{path}: missing")
        value = holder[key]
    return _checked(value, kind, path)


def maybe(holder: Any, key: str, kind: type | tuple[type, ...], default: Any, at: str = "") -> Any:
    """The value of a field that may be absent or null, in which case it is ``default``.

    Raises:
        BadRecord: it is there, and of another kind.
    """
    if not isinstance(holder, Mapping):
        raise BadRecord(f"{at or 'the record'}: expected an object, found {says(holder)}")
    value = holder.get(key)
    return default if value is None else _checked(value, kind, join(at, key))


def _checked(value: Any, kind: type | tuple[type, ...], path: str) -> Any:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    # bool is an int in Python, and is none in JSON.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(dict.fromkeys(_NAMES.get(one, one.__name__) for one in kinds))
        raise BadRecord(f"{path}: expected {wanted}, found {says(value)}")
    return value


def join(at: str, key: str | int) -> str:
    """The path of a field: ``messages[3].role``."""
    if isinstance(key, int):
        return f"{at}[{key}]"
    return f"{at}.{key}" if at else key


def text_of(content: Any, path: str) -> str:
    """The text of a message: text, null, or a list of parts, of which those without text are kept as JSON.

    Raises:
        BadRecord: it is none of these.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRecord(f"{path}: expected text, found {says(content)}")
    parts = []
    for part in content:
        text = part if isinstance(part, str) else None
        if isinstance(part, Mapping):
            text = part.get("text", part.get("content"))
        parts.append(text if isinstance(text, str) else json.dumps(part, ensure_ascii=False))
    return "\n".join(parts)


def arguments_of(value: Any) -> tuple[dict[str, Any], bool]:
    """The arguments of a call as an object, and whether they had to be kept raw.

    Takes an object, JSON text, or the text of a Python literal. Anything else is kept word for word under ``_raw``.
    """
    if isinstance(value, dict):
        return value, False
    if value is None or (isinstance(value, str) and not value.strip()):
        return {}, False
    if not isinstance(value, str):
        return {RAW: json.dumps(value, ensure_ascii=False)}, True
    found = object_in(value)
    return ({RAW: value}, True) if found is None else (found, False)


def object_in(text: str) -> dict[str, Any] | None:
    """The object that a text writes as JSON or as a Python literal; ``None`` where it writes none."""
    try:
        found = parse(text)
    except ValueError:
        found = literal(text)
    return found if isinstance(found, dict) else None


def literal(text: str) -> Any:
    """The value of a Python literal, as JSON can hold it; ``None`` where it is none."""
    if len(text) > MAX_LITERAL or "\0" in text:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an unknown escape in somebody else's text is not our warning
        try:
            return parse(json.dumps(ast.literal_eval(text.strip())))
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return None
