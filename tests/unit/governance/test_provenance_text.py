"""Normal forms: what counts as the same value, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcheck.governance import provenance_text as texts
from agentcheck.governance.provenance_fields import fields, unescaped
from agentcheck.governance.provenance_trace import Source, Text
from agentcheck.governance.provenance_values import leaves

RUNNING = Source("tool", "read", 0, False)


def holds(text: str, value: Any, *, strict: bool = True) -> bool:
    """True when a running text holds the one value."""
    (leaf,) = leaves(value) or ()
    return Text(RUNNING, texts.normal(text)).holds(leaf, strict=strict)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Pay 98.70 now", 98.7),
        ("Total: $98.70.", "98.7"),
        ("$10,000 in total", 10000),
        ("10.000,50 EUR", 10000.5),
        ("1.234 pieces", 1234),
        ("1.234 pieces", 1.234),
        ("three of 3", 3.0),
        ("change of -5", -5),
        ("GB29 NWBK 6016 1331 9268 19", "GB29NWBK60161331926819"),
        ("gb29-nwbk-6016-1331-9268-19", "GB29NWBK60161331926819"),
        ("GB29NWBK60161331926819.", "GB29 NWBK 6016 1331 9268 19"),
        ("IBAN:GB29NWBK60161331926819", "GB29NWBK60161331926819"),
        ("mail to Mark.Black-21@Mail.example.", "mark.black-21@mail.example"),
        ("‘mark@mail.example’", "mark@mail.example"),
        ("m\u200bark@mail.example", "mark@mail.example"),
        ("ｍａｒｋ@mail.example", "mark@mail.example"),
        ("the file 'march 2024.txt', please", "march 2024.txt"),
        ("live in Dalton\n  Street 123, NY", "Dalton Street 123"),
        ("on May 30th, 2024", "2024-05-30"),
        ("on the 30th of May 2024", "2024-05-30"),
        ("on May 30", "2024-05-30"),
        ("30.05.2024", "2024-05-30"),
        ("5/30/2024", "2024-05-30"),
        ("at 10:20 on 2024-05-30", "2024-05-30 10:20"),
        ("from 2024-05-30T10:20:00Z", "2024-05-30 10:20"),
        ("2024-05-30 10:20:00", "2024-05-30T10:20"),
        ("8 pm, May 30 2024", "2024-05-30 20:00"),
        ("12:15am on 2024-05-30", "2024-05-30 00:15"),
        ("<b>aaa-111</b>", "aaa-111"),
        ("see (aaa-111)!", "'aaa-111'"),
    ],
)
def test_same_value(text: str, value: Any) -> None:
    """Spellings of one value are recognised, also where they vouch."""
    assert holds(text, value)
    assert holds(text, value, strict=False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("US133000000121212121212", "US13300000012121212121"),
        ("2024-05-13", "13"),
        ("13:30", 13),
        ("10,000", 100),
        ("account 1234567", "123456"),
        ("98.71", 98.7),
        ("x13", "13"),
        ("5", -5),
        ("GB29 NWBK 6016", "GB29NWBK60161331926819"),
        ("Dalton Street 1234", "Dalton Street 123"),
        ("New Dalton Streets", "Dalton Street"),
        ("on May 31, 2024", "2024-05-30"),
        ("on May 30, 2023", "2024-05-30"),
        ("2024-05-30 at 11:20", "2024-05-30 10:20"),
        ("", "a"),
        ("9" * 60, "9" * 59),
        ("not a number", float("nan")),
    ],
)
def test_other_value(text: str, value: Any) -> None:
    """A part of a longer value, or a near one, is another value."""
    assert not holds(text, value)


def test_lax_matching_finds_what_strict_does_not() -> None:
    """Where a match accuses, an address that goes on is found, too."""
    assert holds("corp.co.example", "corp.co", strict=False)
    assert not holds("corp.co.example", "corp.co")
    assert holds("write to a@b.example.Thanks", "a@b.example", strict=False)


@pytest.mark.parametrize("strict", [True, False])
def test_endless_repetition_is_given_up_on_to_the_safe_side(strict: bool) -> None:
    """A text that repeats the beginning of a phrase without end vouches for nothing and accuses."""
    assert texts.holds("xa b" * 3000, "a b", strict=strict) == (not strict)
    assert texts.holds("xa b" * 900 + " a b", "a b", strict=strict)


@pytest.mark.parametrize("text", ["1," * 50_000, "1'" * 50_000, "a@" * 50_000, "may 1 " * 20_000, "1:11pm " * 20_000])
def test_hostile_texts_are_read(text: str) -> None:
    """Texts made to cost time are read like any other."""
    assert isinstance(texts.words(texts.normal(text)), set)


@given(st.text())
def test_normal_form_is_final(text: str) -> None:
    """A normal text is its own normal form."""
    assert texts.normal(texts.normal(text)) == texts.normal(text)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9))
def test_numbers_have_one_spelling(number: Any) -> None:
    """A number is found in a text however it is written: plain, grouped, as a float."""
    spelled = texts.number(number)
    for written in (f"{number:f}", f"{number:,f}", str(float(number))):
        assert texts.number(written) == spelled
        assert f"#{spelled}" in texts.words(f"the amount is {written} .")


IDENTIFIER = st.from_regex(r"[a-z]{2}[0-9]{4,20}", fullmatch=True)
AROUND = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("L", "N", "M", "P", "S", "C")), max_size=5)


@given(IDENTIFIER, AROUND, AROUND, st.sampled_from(["", "'", '"', "(", "<", "„"]))
def test_value_is_found_whatever_stands_around_it(value: str, before: str, after: str, quote: str) -> None:
    """White space and quotes around a value do not hide it."""
    assert holds(f"x {before}{quote}{value}{quote}{after} y", value)
    assert holds(f"x {before}{quote}{value}{quote}{after} y", value.upper())


@given(IDENTIFIER, st.integers(1, 5), st.sampled_from([" ", "-"]))
def test_identifier_is_found_in_groups(value: str, size: int, mark: str) -> None:
    """A long identifier printed in groups is the same identifier."""
    printed = mark.join(value[at : at + size] for at in range(0, len(value), size))
    assert len(value) < 8 or holds(f"account {printed} please", value)


@given(st.text(max_size=200))
def test_escapes_never_fail(text: str) -> None:
    """Any text can be read as one with escapes."""
    assert isinstance(unescaped(text), str)


def test_escapes() -> None:
    """The escapes of quoted text are resolved."""
    assert unescaped(r"a\nb\t\"c\" \x41\u0042 \\ \q") == 'a\nb\t"c" AB \\ q'
    assert unescaped("one\\\n   \\ two") == "one two"


def found(output: Any) -> list[tuple[str, Any]]:
    """Fields as ``(dotted path, value)``, sorted."""
    return sorted((".".join(each.path), each.value) for each in fields(output) or ())


def test_fields_of_structured_values_and_json() -> None:
    """Leaves of nested values with the keys on the way; keys of nested tables are leaves, too."""
    value = {"a": 1, "b": [{"c": "x"}, {"c": None}], "d": {"ann@x.example": "r"}}
    expected = [("a", 1), ("b", "c"), ("b", "c"), ("b.c", "x"), ("d", "ann@x.example"), ("d.ann@x.example", "r")]
    assert found(value) == sorted(expected)
    assert found('{"a": 1, "b": ["x"]}') == [("a", 1), ("b", "x")]


BLOCK = """- name: Ann
  body: 'It''s

    name: Eve'
  shared:
    ann@x.example: r
    bob@x.example: rw
  to:
  - ann@x.example
  - 'b

    c'
  note: "one\\
    \\ two\\nname: Eve"
  empty: []
- name: Bob
"""


def test_fields_of_a_block() -> None:
    """Records, quoted texts over several lines, lists and tables of a block are read by indentation."""
    assert found(BLOCK) == [
        ("body", "It's\n\nname: Eve"),
        ("empty", "[]"),
        ("name", "Ann"),
        ("name", "Bob"),
        ("note", "one two\nname: Eve"),
        ("shared", "ann@x.example"),
        ("shared", "bob@x.example"),
        ("shared", "r"),
        ("shared", "rw"),
        ("to", "ann@x.example"),
        ("to", "b\n\nc"),
    ]


def test_fields_of_a_single_record() -> None:
    """A block that is one record, with a list and a text kept line by line."""
    block = "name: Ann\nto:\n- bob\n- eve\nnote: |-\n  name: Eve\n  two\nage: 7\n"
    expected = [("age", "7"), ("name", "Ann"), ("note", "\nname: Eve\ntwo"), ("to", "bob"), ("to", "eve")]
    assert found(block) == expected


@pytest.mark.parametrize(
    "output",
    [
        "a plain sentence",
        "name: Ann\nand then some text",
        "- name: Ann\nname: Bob",
        "  name: Ann",
        "- - nested",
        "",
        '{"a": ',
        "[" * 200_000,
        None,
        12,
        "{'a': 1}",
    ],
)
def test_doubtful_structure_has_no_fields(output: Any) -> None:
    """Where one line does not fit, nothing of the output is taken for a field."""
    assert fields(output) is None


def test_too_many_fields_are_given_up_on() -> None:
    """An output with more leaves than can be read has no fields."""
    assert fields({"a": list(range(200))}, most=100) is None
    assert fields("a: b\n" * 200, most=100) is None


STRINGS = st.text(max_size=60) | st.sampled_from(
    ["\nto: eve", "x\n\nto: eve\n", "- to: eve", "'\nto: eve", '"\n  to: eve', "|\nto: eve"]
)


@settings(deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries({"to": st.sampled_from(["ann", "bob"]), "text": STRINGS, "id": st.integers(0, 99)}),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
def test_no_text_passes_for_a_field_of_its_own(records: list[dict[str, Any]], unicode: bool) -> None:
    """Whatever an outsider writes into one field of a YAML block, no other field changes."""
    yaml = pytest.importorskip("yaml")
    output = yaml.safe_dump(records, allow_unicode=unicode)
    read = fields(output)
    if read is None:
        return  # nothing is trusted then
    assert {each.value for each in read if each.path == ("to",)} <= {"ann", "bob"}
    assert {each.path for each in read} <= {("to",), ("text",), ("id",)}
