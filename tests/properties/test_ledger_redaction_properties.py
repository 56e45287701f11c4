"""Whatever surrounds a secret, it is taken out, once and for all, and everything else stays."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentcheck.events import check
from agentcheck.ledger.patterns import is_card, suspects
from agentcheck.ledger.redaction import Redactor
from fakes_ledger import body

REDACT = Redactor(b"p" * 32)
#: Pieces that make up texts in which the expressions meet each other's edges.
PIECES = st.sampled_from(
    [
        *("password", "=", ":", " ", '"', "'", "\\", "@", ".", "-", "/", "{", "}", "[", "]", ",", "\n", "://", "token"),
        *("bob@example.com", "4111111111111111", "123-45-6789", "sk-" + "a1" * 10, "Bearer ", "Authorization", "eyJ"),
        *(
            "[redacted:",
            "[redacted:email:0123456789abcdef]",
            "ssn ",
            "1",
            "4111 ",
            "x",
            "é",
            "\ud800",
            "\x00",
            "\\u0040",
        ),
    ]
)
TEXTS = st.lists(PIECES, max_size=14).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def cards(prefix: int) -> str:
    """A card number with its check digit."""
    return next(text for digit in range(10) if is_card(text := f"4{prefix:014d}{digit}"))


SECRETS = st.one_of(
    st.from_regex(r"[a-z][a-z0-9.]{0,10}[a-z0-9]@[a-z]{2,8}\.(com|org|co\.uk)", fullmatch=True),
    st.integers(0, 10**14 - 1).map(cards),
    st.from_regex(r"[1-8]([0-57-9][0-9])-[1-9][0-9]-[0-9]{3}[1-9]", fullmatch=True),
    st.from_regex(r"sk-[A-Za-z0-9]{20,40}[0-9]", fullmatch=True),
    st.from_regex(r"AKIA[A-Z0-9]{16}", fullmatch=True),
    st.from_regex(r"gh[po]_[A-Za-z0-9]{36}", fullmatch=True),
    st.from_regex(r"eyJ[A-Za-z0-9_-]{15,25}\.[A-Za-z0-9_-]{10,30}\.[A-Za-z0-9_-]{10,30}", fullmatch=True),
)
#: Text that ends, or begins, without running into a secret beside it.
BESIDE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\"), max_size=20)


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_redacting_twice_is_redacting_once(text: str) -> None:
    """A redacted text is stable, and the same text always gives the same result."""
    once = REDACT.text(text)
    assert REDACT.text(once) == once
    assert REDACT.text(text) == once


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_json_stays_json_and_keeps_its_shape(value: Any) -> None:
    """A json field stays JSON with the same shape; the event fits the table, and is stable."""
    text = json.dumps(value)
    found = REDACT("action.finished", body("action.finished", output=text))
    check("action.finished", found)
    assert _shape(json.loads(found["output"])) == _shape(json.loads(text))
    assert REDACT("action.finished", found) == found


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return len(value)  # keys may be replaced; two that differ stay two
    if isinstance(value, list):
        return [_shape(item) for item in value]
    return "leaf"


@given(BESIDE, SECRETS, BESIDE)
@settings(max_examples=200, deadline=None)
def test_a_secret_between_any_words_is_gone(before: str, secret: str, after: str) -> None:
    """A secret with a blank on each side is not in the result, as text, in JSON, and in JSON within JSON."""
    text = f"{before} {secret} {after}"
    if secret in f"{before} {after}":
        return
    assert secret not in REDACT.text(text)
    nested = json.dumps({"a": [text], "b": json.dumps({"c": text})})
    assert secret not in REDACT("action.finished", body("action.finished", output=nested))["output"]
    assert secret not in str(REDACT.value({"k": [text], text: 1}))


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(lambda text: bool(text.strip())))
@settings(max_examples=200, deadline=None)
def test_whatever_stands_under_a_secret_key_is_gone(secret: str) -> None:
    """The value of a key called password is replaced whole, whatever it is."""
    found = REDACT("action.finished", body("action.finished", output=json.dumps({"password": secret, "x": 1})))
    value = json.loads(found["output"])
    assert value["x"] == 1
    assert (
        value["password"] == secret if re.fullmatch(r"\[redacted:\w+:\w{16}\]", secret) else value["password"] != secret
    )


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_the_quick_look_never_misses(text: str) -> None:
    """A text that the quick look calls clean is one in which the thorough look finds nothing either."""
    if suspects(text) == 0:
        assert REDACT._text(text, 15, 0) == text


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_is_taken(text: str) -> None:
    """No text makes the redactor fail, and the quick look misses nothing in it."""
    once = REDACT.text(text)
    assert REDACT.text(once) == once
    if suspects(text) == 0:
        assert REDACT._text(text, 15, 0) == text
