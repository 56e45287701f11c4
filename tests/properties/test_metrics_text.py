"""Reading numbers and sentences: what is written in different ways is read the same, and nothing breaks it."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from agentcheck.metrics.matching import equal, number
from agentcheck.metrics.reading import read
from agentcheck.metrics.text import normal, parse_number, quantities, sentences

AMOUNTS = st.decimals(min_value=0, max_value=10**9, places=2, allow_nan=False)


@given(amount=AMOUNTS, sign=st.sampled_from(["", "$", "€", "£"]))
def test_an_amount_is_read_however_it_is_written(amount: Decimal, sign: str) -> None:
    """Thousands separators, currency signs, codes and percent signs do not change the value."""
    for text in (
        f"{amount:f}",
        f"{amount:,f}",
        f"{sign}{amount:,f}",
        f"{amount:,f} USD",
        f"EUR {amount:f}",
        f"{amount}%",
    ):
        assert parse_number(text) == amount, text


@given(amount=AMOUNTS)
def test_an_amount_is_found_in_a_sentence(amount: Decimal) -> None:
    """In running text the same number is found once, with its unit where it has a known one."""
    assert [(q.value, q.unit) for q in quantities(f"Pay {amount:,f} mg now.")] == [(amount, "mg")]
    assert [q.value for q in quantities(f"It was -{amount:f}, INV-{amount:.0f} and A{amount:.0f}.")] == [-amount]


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_equals_itself_as_decimal(value: float) -> None:
    """Numbers are compared by value, exactly, without a tolerance."""
    assert equal(value, value)
    assert equal(value, Decimal(repr(value)).__float__())
    assert number(value) == Decimal(repr(value))


@given(text=st.text(max_size=200))
def test_reading_any_text_never_raises_and_loses_no_word(text: str) -> None:
    """Sentences hold every letter and digit of the text, in order; a normal form is its own normal form."""
    together = "".join(sentences(text))
    assert [char for char in together if char.isalpha()] == [char for char in text if char.isalpha()]
    assert normal(normal(text)) == normal(text)
    read(text)
    parse_number(text)


@given(number=st.integers(0, 10**6), word=st.sampled_from(["apples", "x", "tablets"]))
def test_a_number_stands_apart_from_the_word_after_it(number: int, word: str) -> None:
    """``5 apples`` holds the number 5, ``5apples`` is a name, and neither is a number as a whole."""
    assert [q.value for q in quantities(f"{number} {word}")] == [number]
    assert [q.value for q in quantities(f"{number}apples")] == []
    assert parse_number(f"{number} {word}") is None
    assert parse_number("USD") is None


@given(piece=st.sampled_from(["Dr. ", "a", "a b ", "no. 1 ", "x-", "A. "]), times=st.integers(1, 5000))
def test_no_sentence_is_longer_than_what_can_be_read(piece: str, times: int) -> None:
    """A text without an end of a sentence is cut, at white space where there is any, and nothing of it is lost."""
    text = piece * times
    found = list(sentences(text))
    assert max(map(len, found)) <= 2_010
    assert "".join("".join(found).split()) == "".join(text.split())
