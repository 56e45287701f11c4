"""Canonical bytes, chain values, and JSON text for what comes from outside."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections import UserDict, UserList
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pydantic
import pytest

from agentcheck.errors import LedgerError
from agentcheck.ledger.canonical import dump_json, encode, load_json, repair
from agentcheck.ledger.chain import genesis, leaf, step


def test_an_event_has_these_bytes() -> None:
    """The bytes of an event are fixed: a second implementation can be held against this example."""
    data = encode("case.turn", {"turn": 1, "text": 'Zoë "said"\n\x1f/'}, "s::c#1", 5, 2, "main", 1, "0f" * 16)
    assert data == (
        b'{"body":{"text":"Zo\xc3\xab \\"said\\"\\n\\u001f/","turn":1},"salt":"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",'
        b'"seq":2,"session":"s::c#1",'
        b'"stream":"main","time":5,"type":"case.turn","v":1}'
    )


def test_every_character_is_escaped_as_the_standard_library_does() -> None:
    """orjson and json agree on every code point of the first planes, so a verifier needs the standard library only."""
    for start in range(0, 0x20000, 0x400):
        text = "".join(chr(code) for code in range(start, start + 0x400) if not 0xD800 <= code < 0xE000)
        ours = encode("x.a.b", {"t": text}, "", 0, 1, "main", 1, "0f" * 16)
        assert ours == json.dumps(json.loads(ours), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_the_chain_is_what_the_documentation_says() -> None:
    """Genesis, leaf and chain values are plain SHA-256 with their prefixes."""
    first = hashlib.sha256(b"agentcheck/ledger/v1\nmain").digest()
    assert genesis("main") == first
    assert leaf(b"event") == hashlib.sha256(b"\x00event").digest()
    assert step(first, b"event") == hashlib.sha256(b"\x02" + first + leaf(b"event")).digest()
    assert genesis("gw0") != first


def test_lone_surrogates_are_replaced_and_pairs_joined() -> None:
    """Text that no encoder takes becomes text that all take, always in the same way."""
    assert repair("a\ud83d\ude00b") == "a\U0001f600b"
    assert repair("\ud83d") == repair("\ude00") == "\ufffd"
    assert repair({"\ud800": ["x\udfff", ("y",), 1, None]}) == {"\ufffd": ["x\ufffd", ["y"], 1, None]}
    assert dump_json({"a": "\ud800!"}) == '{"a":"\ufffd!"}'


class Colour(enum.Enum):
    """An enumeration."""

    RED = "red"


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: int
    y: Any = None


class Invoice(pydantic.BaseModel):
    """A pydantic model."""

    number: int
    total: Decimal


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [1.5, True, None, "é"]}, '{"a":[1.5,true,null,"é"],"b":1}'),
        ((1, (2,)), "[1,[2]]"),
        ({1: "a", 2.5: "b", False: "c", None: "d"}, '{"1":"a","2.5":"b","false":"c","null":"d"}'),
        ({None: 1.5e-7}, '{"null":1.5e-7}'),
        (2**70, str(2**70)),
        ({"n": [-(2**64)]}, f'{{"n":[{-(2**64)}]}}'),
        (Decimal("1.50"), '"1.50"'),
        (PurePosixPath("/tmp/x"), '"/tmp/x"'),
        ({3, 1, 2}, "[1,2,3]"),
        (frozenset({"b", "a"}), '["a","b"]'),
        (datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone.utc), '"2024-01-02T03:04:05+00:00"'),
        (UUID(int=5), '"00000000-0000-0000-0000-000000000005"'),
        (Colour.RED, '"red"'),
        (Point(1, {2: Decimal(3)}), '{"x":1,"y":{"2":"3"}}'),
        (Invoice(number=7, total=Decimal("9.90")), '{"number":7,"total":"9.90"}'),
        (UserDict({"a": UserList([1])}), '{"a":[1]}'),
        ({Colour.RED: 1}, '{"red":1}'),
        ("null", '"null"'),
    ],
)
def test_outside_values_become_json_text(value: Any, text: str) -> None:
    """What a tool may give becomes sorted JSON text without white space, and reads back as JSON."""
    assert dump_json(value) == text
    load_json(text)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("wrap", "place"),
    [
        (lambda n: n, "output"),
        (lambda n: {"rows": [1, {"price": n}]}, "output.rows[1].price"),
        (lambda n: {"p": Point(1, n)}, "output.p.y"),
        (lambda n: {1: [n]}, "output.1[0]"),
        (lambda n: [2**70, n], "output[1]"),
    ],
    ids=["itself", "nested", "dataclass", "slow path", "beside a big integer"],
)
def test_what_is_no_number_is_refused_with_its_place(number: float, wrap: Any, place: str) -> None:
    """NaN and the infinities are refused and the message names where they stand; a null beside them is no fault."""
    with pytest.raises(LedgerError, match=r"is no JSON number") as caught:
        dump_json(wrap(number), "output")
    assert str(caught.value).startswith(f"{place}:")
    dump_json({"null": None, "text": "null"})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [object()]}, r"value\.a\[0\]: object is no JSON value"),
        (b"bytes", "value: bytes is no JSON value"),
        (print, "value: builtin_function_or_method is no JSON value"),
        (Invoice, "value: ModelMetaclass is no JSON value"),
        ({1: "a", "1": "b"}, "two keys become '1'"),
        ({(1, 2): "a"}, "value: a key of type tuple has no text"),
    ],
)
def test_other_objects_are_refused_with_their_place(value: Any, message: str) -> None:
    """What has no JSON form is refused by name and place, never written as something else."""
    with pytest.raises(LedgerError, match=message):
        dump_json(value)


def test_bottomless_values_are_refused() -> None:
    """A value that holds itself, or is nested too deeply, is an error of ours and not a crash."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(LedgerError, match="nested too deeply"):
        dump_json(loop)
    deep: Any = 1
    for _ in range(400):  # deeper than orjson goes
        deep = [deep]
    assert load_json(dump_json(deep)) == deep


def test_reading_what_is_no_json_is_an_error() -> None:
    """A field of kind json that holds no JSON is named as such."""
    with pytest.raises(LedgerError, match="not JSON"):
        load_json("{")
    assert load_json(str(2**100)) == 2**100
