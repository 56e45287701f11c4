"""The one redactor: takes secrets and personal data out of an event's body before it is encoded.

A value becomes ``[redacted:<kind>:<commitment>]``. With the run's key, ``salt = HMAC-SHA256(key, kind | value)`` and
``commitment = SHA256(salt || value)``, its first 16 hexadecimal digits (cards and social security numbers: the digits
only). Equal values of a kind give equal placeholders within a run, so events can still be joined; without the key a
placeholder cannot be tried against guessed values, so deleting the run's key file unlinks placeholders from values
for good. With the key, somebody who knows a value can show that a placeholder stands for it.

What is looked for is in `agentcheck.ledger.patterns`; this module says where: every text, every key and every long
integer, in JSON text too, and in JSON inside texts of JSON. The rest of a JSON text stays byte for byte as it was.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Mapping
from typing import Any

import orjson

from agentcheck.events import TABLE
from agentcheck.ledger.patterns import (
    ALL,
    DIGITS,
    IS_PLACEHOLDER,
    WORDS,
    hide_all,
    is_card,
    kind_of_key,
    suspects,
)

#: Fields that are names and hashes of ours. Folds join events by them, so a chance hit (sixteen digits of an id that
#: pass the Luhn check) would tear a run apart; none of them carries what an agent, a tool or a user wrote, but for
#: names that the suites' authors chose.
STRUCTURAL = frozenset(
    {
        *("run", "agentcheck", "python", "platform", "worker", "commit", "previous", "streams", "redaction", "counts"),
        *(
            "suite",
            "domain",
            "world",
            "suite_hash",
            "dataset_hash",
            "policy_hash",
            "agent_hash",
            "base",
        ),
        *("case", "case_hash", "status", "action", "key", "outcome", "control", "rule", "policy", "approval"),
        *("arguments_hash", "vote", "breaker", "metric", "events"),
    }
)
#: JSON within JSON text is followed to this depth; below it, it is read as text.
_MOST_DEPTH = 8
#: A text that still changes after so many passes is hidden as a whole; this only happens to texts made for it.
_MOST_PASSES = 5
#: Texts found clean that are remembered, and their greatest length: 4 MiB at most, much less with usual texts.
_MOST_CLEAN, _LONGEST_CLEAN = 1024, 4096
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"(?:\s*:)?|-?[0-9][0-9.eE+-]*|true|false|null|[\[\]{}]', re.DOTALL)
_LONGEST_DIGITS = re.compile(r"-?[0-9]{13,19}")


def _scanned(name: str) -> tuple[tuple[str, bool], ...]:
    """The fields of an event type that are looked through, and whether each holds JSON text."""
    kinds = TABLE[name].kinds
    wanted = ((field, kind) for field, kind in kinds.items() if field not in STRUCTURAL)
    return tuple((field, kind == "json") for field, kind in wanted if kind in ("text", "json", "list", "map"))


_SCANNED = {name: _scanned(name) for name in TABLE}


class Redactor:
    """Redacts event bodies, ``(type, body) -> body``; a body without a finding comes back as the same object.

    ``key`` is the run's random key, 32 bytes. Pure and deterministic; redacting twice gives what redacting once gave.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("a redaction key has at least 16 bytes")
        self._key = key
        self._clean: set[str] = set()
        #: Names the key without revealing it; recorded in ``run.started``.
        self.key_id = hashlib.sha256(b"agentcheck/redaction/key\n" + key).hexdigest()[:16]

    def __call__(self, type: str, body: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: A002
        """The body with every finding replaced; structural fields (`STRUCTURAL`) are left as they are."""
        fields = _SCANNED.get(type)
        if fields is None:  # an event of a plugin
            redacted = self.value(body)
            return body if redacted == body else redacted
        clean = self._clean
        texts = []
        for name, _ in fields:
            value = body.get(name)
            if value:
                text = value if isinstance(value, str) else _as_text(value)
                if text not in clean:
                    texts.append(text)
        # A text that nothing was found in stands between line feeds, so beside others it is no more suspect than alone.
        if not texts:
            return body
        if not suspects("\n".join(texts)):
            self._remember(texts)
            return body
        changed = {}
        for name, is_json in fields:
            value = body.get(name)
            families = suspects(value if isinstance(value, str) else _as_text(value)) if value else 0
            if families:
                redacted = self._field(value, is_json, families)
                if redacted != value:
                    changed[name] = redacted
        return {**body, **changed} if changed else body

    def _remember(self, texts: list[str]) -> None:
        """Keep short texts without a finding: tools, reasons and expectations are the same in case after case."""
        if len(self._clean) >= _MOST_CLEAN:
            self._clean.clear()
        for text in texts:
            if len(text) <= _LONGEST_CLEAN:
                self._clean.add(text)

    def _field(self, value: Any, is_json: bool, families: int) -> Any:
        if not isinstance(value, str):
            return self._walk(value, families, "")
        if is_json:
            found = self._json(value, families, 0)
            if found is not None:
                return found
        return self._text(value, families, 0)

    def text(self, text: str) -> str:
        """A text with every finding replaced; JSON text stays JSON text."""
        families = suspects(text)
        return self._text(text, families, 0) if families else text

    def value(self, value: Any) -> Any:
        """A copy of a JSON value (dicts, lists, texts, numbers) with every finding replaced, in keys too."""
        return self._walk(value, ALL, "")

    # Values

    def _walk(self, value: Any, families: int, named: str) -> Any:
        if isinstance(value, str):
            return self._named(value, named) if named else self._text(value, families, 0)
        if isinstance(value, bool):
            return value
        if isinstance(value, int):
            if named:
                return self._named(str(value), named)
            return self._hide("card", str(value)) if is_card(str(value)) else value
        if isinstance(value, Mapping):
            return self._walk_mapping(value, families)
        if isinstance(value, (list, tuple)):
            return [self._walk(item, families, named) for item in value]
        return value

    def _walk_mapping(self, value: Mapping[Any, Any], families: int) -> dict[Any, Any]:
        walked: dict[Any, Any] = {}
        for key, item in value.items():
            is_text = isinstance(key, str)
            new = self._text(key, families, 0) if is_text else key
            while new in walked:  # one card, written in two ways, as two keys: neither value is dropped
                new += "'"
            walked[new] = self._walk(item, families, kind_of_key(key) if is_text else "")
        return walked

    def _named(self, value: str, kind: str) -> str:
        """The value under a key that says what it is."""
        if not value.strip() or IS_PLACEHOLDER.fullmatch(value):
            return value
        return self._hide(kind, value)

    # Texts

    def _text(self, text: str, families: int, depth: int) -> str:
        if len(text) > 1 and text.lstrip()[:1] in ("{", "[", '"') and depth < _MOST_DEPTH:
            found = self._json(text, families, depth)
            if found is not None:
                return found
        once = text
        for _ in range(_MOST_PASSES):
            before = once
            once = hide_all(once, families, self._hide)
            if once == before:
                return once
            # What now borders on a placeholder may have passed for a part of what the placeholder stands for.
            families |= suspects(once)
        return self._hide("secret", text)

    def _json(self, text: str, families: int, depth: int) -> str | None:
        """JSON text with every finding replaced and all else as it was; ``None`` where the text is no JSON."""
        if not _is_json(text):
            return None
        named: list[str] = [""]  # for each open array or object: what its values are, by the key above them
        pending = ""

        def replace(match: re.Match[str]) -> str:
            nonlocal pending
            token = match[0]
            first = token[0]
            if first == '"':
                if token[-1] == ":":
                    end = token.rindex('"') + 1
                    key = _content(token[:end])
                    pending = kind_of_key(key) if families & WORDS else ""
                    new = self._text(key, families, _MOST_DEPTH)
                    return token if new == key else _literal(new) + token[end:]
                value = _content(token)
                new = self._named(value, pending) if pending else self._text(value, families, depth + 1)
                pending = named[-1]
                return token if new == value else _literal(new)
            if first in "[{":
                named.append(pending)  # it holds for an array; in an object each value has a key of its own
            elif first in "]}":
                named.pop()
                pending = named[-1]
            elif first in "-0123456789":
                kind, pending = pending, named[-1]
                if kind:
                    return _literal(self._hide(kind, token))
                if families & DIGITS and _LONGEST_DIGITS.fullmatch(token) and is_card(token.lstrip("-")):
                    return _literal(self._hide("card", token))
            else:
                pending = named[-1]
            return token

        return _TOKEN.sub(replace, text)

    def _hide(self, kind: str, value: str) -> str:
        if kind in ("card", "ssn"):
            value = re.sub(r"\D", "", value) or value
        data = value.encode("utf-8", "surrogatepass")
        salt = hmac.digest(self._key, kind.encode() + b"|" + data, "sha256")
        return f"[redacted:{kind}:{hashlib.sha256(salt + data).hexdigest()[:16]}]"


def for_no_run() -> Redactor:
    """A redactor with a key that nobody keeps, for texts that belong to no run, such as errors of a command."""
    return Redactor(os.urandom(32))


def _as_text(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # what the table refuses later, or a lone surrogate: looked through thoroughly
        return "\\u"


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        try:
            json.loads(text)  # integers over 64 bits, lone surrogates
        except (ValueError, RecursionError):
            return False
    return True


def _content(literal: str) -> str:
    if "\\" not in literal:
        return literal[1:-1]
    text: str = json.loads(literal)
    return text


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
