"""The fields of a tool's output: structured values, JSON text, and the block style that YAML writers give.

Whom a field belongs to is read from the structure alone, so that a text inside a field can never pass for a field of
its own; an output whose structure is in doubt has no fields. Linear in the length of the output; standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Field(NamedTuple):
    """One leaf of a structured output: the keys on the way to it (list positions left out) and its value."""

    path: tuple[str, ...]
    value: Any


def fields(output: Any, *, most: int = 100_000) -> list[Field] | None:
    """The leaves of a structured output; ``None`` where it has no structure that could be relied on.

    Structured values and JSON text are walked; text in the block style that YAML writers give is read by its
    indentation, so that a text *inside* a field can never pass for a field of its own. Keys of nested mappings
    are leaves, too (``shared_with: {ann@example.org: r}``). More than ``most`` leaves are given up on.
    """
    if isinstance(output, str):
        stripped = output.lstrip()
        if stripped.startswith(("{", "[")):
            try:
                output = json.loads(stripped)
            except (ValueError, RecursionError):
                return None
        else:
            return _block_fields(output, most)
    if not isinstance(output, (Mapping, list, tuple)):
        return None
    found: list[Field] = []
    stack: list[tuple[tuple[str, ...], Any]] = [((), output)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, Mapping):
            if path:
                found.extend(Field(path, str(key)) for key in value)
            stack.extend(((*path, str(key)), item) for key, item in value.items())
        elif isinstance(value, (list, tuple)):
            stack.extend((path, item) for item in value)
        elif value is not None:
            found.append(Field(path, value))
        if len(found) + len(stack) > most or len(path) > 64:
            return None
    return found


_KEY = re.compile(r"([A-Za-z_][\w.\-]*):(?:[ \t]+(.*))?$")
_NESTED = re.compile(r"(\S+): (.*)$")


def _block_fields(text: str, most: int) -> list[Field] | None:
    """Fields of ``key: value`` lines (or a list of such records) by indentation; ``None`` when a line does not fit."""
    lines = text.expandtabs().split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines or len(lines) > most:
        return None
    listed = lines[0].startswith("- ")
    column = 2 if listed else 0
    found: list[Field] = []
    key, block = "", []
    for line in lines:
        body = line.lstrip(" ")
        indent = len(line) - len(body)
        if listed and indent == 0 and body.startswith("- "):
            body, indent = body[2:], 2
        elif not body or indent > column or (indent == column and key and body.startswith("- ")):
            if not key:
                return None
            block.append(body)
            continue
        match = _KEY.match(body) if indent == column else None
        if match is None:
            return None
        if key:
            found.extend(_block(key, block))
        key, block = match[1], [match[2] or ""]
    found.extend(_block(key, block))
    return found


def _block(key: str, lines: list[str]) -> Iterable[Field]:
    """The leaves under one key: one scalar over several lines, or the items of a list or mapping."""
    first, rest = lines[0].strip(), lines[1:]
    if first or not rest:
        yield Field((key,), _scalar([first, *rest]))
        return
    item: list[str] = []
    for line in [*rest, "- "]:
        if not line.startswith("- ") and not _NESTED.match(line):
            item.append(line)
            continue
        if item:
            yield Field((key,), _scalar(item))
        if line.startswith("- "):
            line = line[2:]
        nested = _NESTED.match(line) if not line.startswith(("'", '"')) else None
        if nested:
            yield Field((key,), _scalar([nested[1]]))
            line = nested[2]
        item = [line]


def _scalar(lines: list[str]) -> str:
    text = "\n".join(lines).strip()
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return unescaped(text[1:-1])
    return text[1:].lstrip("+-0123456789") if text[:1] in ("|", ">") else text


_ESCAPE = re.compile(r"\\(\n\s*\\?|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.S)
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "0": "", "_": " ", "N": "\n", "L": "\n", "P": "\n"}


def unescaped(text: str) -> str:
    r"""A text with backslash escapes (``\n``, ``\"``, ``A``, an escaped line break) resolved."""
    if "\\" not in text:
        return text

    def one(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] == "\n":
            return ""
        if len(code) > 1:
            point = int(code[1:], 16)
            return chr(point) if point < 0x110000 else ""
        return _SIMPLE.get(code, code)

    return _ESCAPE.sub(one, text)
