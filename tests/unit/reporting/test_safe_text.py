"""Hostile text made harmless, one function per medium."""

from __future__ import annotations

import json
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcheck.reporting import safe_text

DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(10))}
ANY = st.text(st.characters(exclude_categories=()), max_size=80)
SHARP = st.text(
    st.sampled_from("\x1b[]();<>&'\"`*_{}#+-.!|~@=:/\\ \t\r\n\x00\x7f\x9b\u202e\u2066\u200b\ud800Aa1"), max_size=40
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("safe\rhidden", "safe\\x0dhidden"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("tab\tand\nline, ünïcödé 漢字 🙂", "tab\tand\nline, ünïcödé 漢字 🙂"),
    ],
)
def test_what_acts_or_hides_is_spelled_out(text: str, shown: str) -> None:
    """Controls, direction changes, invisible characters and surrogates are visible; ordinary text is untouched."""
    assert safe_text.visible(text) == shown


@given(ANY | SHARP)
def test_visible_text_holds_no_control_and_no_format_character(text: str) -> None:
    """Whatever comes in, only tab and newline remain of the characters that do something."""
    shown = safe_text.visible(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\t\n"]
    assert not any(0x202A <= ord(c) <= 0x202E or 0x2066 <= ord(c) <= 0x2069 for c in shown)
    shown.encode("utf-8")


@given(ANY | SHARP)
def test_visible_text_is_legal_xml(text: str) -> None:
    """Any text survives a trip through an XML 1.0 parser."""
    element = ElementTree.Element("a", {"b": safe_text.visible(text)})
    element.text = safe_text.visible(text)
    parsed = ElementTree.fromstring(ElementTree.tostring(element, encoding="utf-8"))
    assert (parsed.text or "") == safe_text.visible(text)


@given(ANY | SHARP)
def test_one_line_stays_one_line(text: str) -> None:
    """Text cannot fake a line of a report."""
    assert len(safe_text.line(text).splitlines()) <= 1


@given(ANY | SHARP)
def test_markdown_text_has_no_structure(text: str) -> None:
    """Between its code tags no character is left that Markdown or HTML reads as structure."""
    inner = safe_text.markdown(text).removeprefix("<code>").removesuffix("</code>")
    assert not set(inner.replace("&#", "")) & set("`*_{}[]<>|@#$!~:\\\n")


@given(ANY | SHARP)
def test_a_markdown_block_cannot_be_ended_from_inside(text: str) -> None:
    """The preformatted block holds exactly one opening and one closing tag."""
    block = safe_text.markdown_block(text)
    assert (block.count("<"), block.count(">"), "@" in block) == (2, 2, False)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1", "\uff1d1", "=cmd|' /C calc'!A0", "\u200b=1"]
)
def test_a_formula_becomes_text(text: str) -> None:
    """A cell that a spreadsheet would compute starts with an apostrophe."""
    assert safe_text.cell(text).startswith("'")


@pytest.mark.parametrize("value", [-1, 2.5, True, None, "plain", "a=b", ""])
def test_values_that_are_no_formula_stay_as_they_are(value: object) -> None:
    """Numbers stay numbers, and text that does not begin like a formula is untouched."""
    assert safe_text.cell(value) == value


@given(ANY | SHARP)
def test_no_text_makes_a_cell_that_begins_a_formula_or_a_line(text: str) -> None:
    """No cell starts with a formula character, and none holds a line break."""
    cell = safe_text.cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert "\n" not in cell
    assert "\r" not in cell


@pytest.mark.parametrize(
    "text",
    ["../../etc/passwd", "/etc/passwd", "C:\\x", "..", ".", "", "con", "NUL.txt", "a\x00b", "x" * 400, "a/b", "-rf"],
)
def test_a_hostile_file_name_is_changed_and_stays_apart(text: str) -> None:
    """Traversal, device names and endless names become short plain names that still differ from one another."""
    name = safe_text.file_name(text)
    assert name != text
    assert len(name) <= 80
    assert name != safe_text.file_name(f"{text}!")


@given(ANY | SHARP)
def test_a_file_name_is_one_plain_component(text: str) -> None:
    """The name is one component on every system, with nothing but letters, digits, dot, dash and underscore."""
    name = safe_text.file_name(text)
    assert PurePosixPath(name).parts == (name,)
    assert PureWindowsPath(name).parts == (name,)
    assert name.partition(".")[0].upper() not in DEVICES
    assert name.strip(".-") == name
    assert name.isascii()


def test_an_ordinary_file_name_is_kept() -> None:
    """A name that is safe already is not decorated."""
    assert safe_text.file_name("clinic-refill_07.v2") == "clinic-refill_07.v2"


@given(ANY | SHARP)
def test_embedded_json_cannot_leave_its_script_element(text: str) -> None:
    """The JSON has no angle bracket, no ampersand and no character beyond ASCII, and reads back the same."""
    embedded = safe_text.script_json({"t": text})
    assert embedded.isascii()
    assert not set(embedded) & set("<>&")
    assert json.loads(embedded) == {"t": text}


def test_not_a_number_is_refused_in_embedded_json() -> None:
    """NaN is no JSON; it fails loudly instead of breaking the page's script."""
    with pytest.raises(ValueError, match="JSON"):
        safe_text.script_json(float("nan"))


def test_what_is_cut_is_counted() -> None:
    """A shortened text says how many characters are missing."""
    assert safe_text.shorten("a" * 12, 10) == "a" * 10 + "… (2 more characters)"
    assert safe_text.shorten("a" * 10, 10) == "a" * 10
