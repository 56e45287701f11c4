"""Canonical bytes of an event, and JSON text for values that come from outside.

An event's bytes are the JSON object ``{"body", "salt", "seq", "session", "stream", "time", "type", "v"}`` in UTF-8:
keys sorted by code point at every level, no white space, and only the escapes that JSON requires. The body holds no
floats and no integer of 2**53 or more, its keys are ASCII (`agentcheck.events.check`); on that subset the standard
library, orjson and RFC 8785 (JCS) give the same bytes. ``v`` is the version of the event's type; ``salt`` is 32
hexadecimal digits drawn for this event, so that nobody can guess the event from its leaf hash.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from pathlib import PurePath
from typing import Any

import orjson

from agentcheck.errors import LedgerError

_SORTED = orjson.OPT_SORT_KEYS
_ADVICE = "give objects, arrays, text, numbers, booleans or null"


def encode(
    type: str,  # noqa: A002
    body: Mapping[str, Any],
    session: str,
    time: int,
    seq: int,
    stream: str,
    version: int,
    salt: str,
) -> bytes:
    """Canonical bytes of an event whose body `agentcheck.events.check` has passed.

    Raises:
        TypeError: a text holds a lone surrogate; see `repair`.
    """
    return orjson.dumps(
        {
            "body": body,
            "salt": salt,
            "seq": seq,
            "session": session,
            "stream": stream,
            "time": time,
            "type": type,
            "v": version,
        },
        option=_SORTED,
    )


def repair(value: Any) -> Any:
    """A copy of a value in which texts can be encoded: a surrogate pair is joined, a lone surrogate becomes U+FFFD."""
    if isinstance(value, str):
        return _repair_text(value)
    if isinstance(value, Mapping):
        return {repair(key): repair(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [repair(item) for item in value]
    return value


def _repair_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def dump_json(value: Any, where: str = "value") -> str:
    """JSON text of any JSON value, for event fields of kind ``json``: keys sorted, no white space.

    Tuples and sets become arrays (sets sorted by their text), keys that are numbers, booleans or null become text,
    `Decimal` and paths become text, pydantic models are dumped; dataclasses, enums, dates, times and UUIDs are
    written as orjson writes them.

    Raises:
        LedgerError: NaN or an infinity, an object that is none of these, two keys that become the same text, or
            nesting too deep; the message names the place, starting with ``where``.
    """
    try:
        data = orjson.dumps(value, option=_SORTED)
        if b"null" in data:  # where orjson writes NaN and the infinities
            _refuse_nan(value, where)
    except (TypeError, RecursionError):  # keys that are no text, big integers, lone surrogates, other objects
        return _dump_slowly(value, where)
    return data.decode()


_LONG_NUMBER = re.compile(r"\d{19}")


def load_json(text: str) -> Any:
    """Read a field of kind ``json``; integers of any size.

    Raises:
        LedgerError: the text is no JSON.
    """
    if not _LONG_NUMBER.search(text):
        try:
            return orjson.loads(text)
        except ValueError:
            pass
    try:
        return json.loads(text)  # orjson rounds integers over 64 bits and refuses escaped lone surrogates
    except (ValueError, RecursionError) as error:
        raise LedgerError(f"not JSON: {error}") from None


def _refuse_nan(value: Any, where: str) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise LedgerError(f"{where}: {value} is no JSON number", advice="use null or a text for a missing number")
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_nan(item, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _refuse_nan(item, f"{where}[{index}]")
    elif value is not None and not isinstance(value, (str, int)):
        _refuse_nan(_plain(value, where), where)  # an object that orjson knows, perhaps with a float inside


def _dump_slowly(value: Any, where: str) -> str:
    try:
        plain = _plain(value, where)
        try:
            return orjson.dumps(plain, option=_SORTED).decode()  # numbers are written as those of any other value
        except TypeError:  # integers over 64 bits
            pass
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise LedgerError(f"{where}: nested too deeply", advice="give a flatter value") from None


def _plain(value: Any, where: str) -> Any:
    """A copy of nothing but plain dicts with text keys, lists, text, finite numbers, booleans and None."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _repair_text(str.__str__(value))
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        _refuse_nan(value, where)
        return float(value)
    if isinstance(value, Mapping):
        return _plain_mapping(value, where)
    if isinstance(value, AbstractSet):
        return sorted((_plain(item, f"{where}{{}}") for item in value), key=lambda item: json.dumps(item, default=str))
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    return _plain_object(value, where)


def _plain_mapping(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, item in value.items():
        name = _key(key, where)
        if name in plain:
            raise LedgerError(f"{where}: two keys become {name!r} as text", advice="keys of a JSON object are texts")
        plain[name] = _plain(item, f"{where}.{name}")
    return plain


def _key(key: Any, where: str) -> str:
    if isinstance(key, str):
        return _repair_text(str.__str__(key))
    if key is None or isinstance(key, (bool, int, float)):
        return json.dumps(_plain(key, f"{where} (a key)"))
    named = _plain_object(key, f"{where} (a key)")
    if not isinstance(named, str):
        raise LedgerError(f"{where}: a key of type {type(key).__name__} has no text", advice=_ADVICE)
    return named


def _plain_object(value: Any, where: str) -> Any:
    if isinstance(value, (Decimal, PurePath)):
        return _repair_text(str(value))
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return _plain(dump(mode="json"), where)
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is not None and not isinstance(value, type):
        shown = (name for name in fields if not name.startswith("_"))  # as orjson does
        return {name: _plain(getattr(value, name), f"{where}.{name}") for name in shown if hasattr(value, name)}
    try:
        return orjson.loads(orjson.dumps(value))  # enums, dates, times, UUIDs
    except (TypeError, ValueError, RecursionError):
        raise LedgerError(f"{where}: {type(value).__name__} is no JSON value", advice=_ADVICE) from None
