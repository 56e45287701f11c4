"""Reading text the way metrics compare it: normal forms, numbers by value, sentences and words. No language model.

Numbers: ``1,234.50``, ``$1234.5``, ``1234.5 USD`` and ``1.234,50 €`` are the same value; ``5 %`` is 5 with the unit
``%``; ``1.234`` is read with a decimal point, ``1,234`` with a thousands separator.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

_SPACES = re.compile(r"\s+")
_CURRENCY = "$€£¥₹"
_MONEY = "usd eur gbp jpy chf inr cad aud cny dollars dollar euros euro pounds cents"
_CODES = frozenset(_MONEY.split())
_NUMBER = re.compile(
    rf"(?<![0-9A-Za-z\u00c0-\u024f_.])(?<![A-Za-z]-)(?P<sign>(?:(?<=[\s(=:])|(?<![^\s]))[-+\u2212])?[{_CURRENCY}]?[ ]?"
    r"(?P<digits>\d(?:[\d.,'\u00a0\u202f]*\d)?)(?P<after>[ ]?[A-Za-zµμ\u00c0-\u024f]+|[ ]?[%°])?"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_COMMA = re.compile(r"\d{1,3}(?:\.\d{3})+,\d+|\d+,\d+")
_POINT = re.compile(r"\d+(?:\.\d+)?")
_MARKS = re.compile(r"[.,]")
_MOST_DIGITS = 60
#: Units that are told apart, each with its common spellings.
_UNITS = {
    spelling: spellings.split()[0]
    for spellings in (
        "mg milligram milligrams",
        "g gram grams",
        "mcg µg μg microgram micrograms",
        "kg kilogram kilograms",
        "ml millilitre millilitres milliliter milliliters",
        "l litre litres liter liters",
        "% percent",
        "s sec second seconds",
        "min minute minutes",
        "h hr hrs hour hours",
        "d day days",
        "wk week weeks",
        "mo month months",
        "y year years",
        "m metre metres meter meters",
        "km kilometre kilometres kilometer kilometers",
        "ft foot feet",
        "nm",
        "psi",
        "bar bars",
        "times",
        "thousand",
        "million",
        "billion",
        "cycles cycle",
        "tablets tablet",
    )
    for spelling in spellings.split()
}
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_WORDS_FOR = {word: Decimal(value) for value, word in enumerate(_NAMES)} | {
    "fifteen": Decimal(15),
    "twenty": Decimal(20),
    "thirty": Decimal(30),
    "once": Decimal(1),
    "twice": Decimal(2),
}
_ORDINAL = frozenset(("st", "nd", "rd", "th"))
_SHORT = "dr mr mrs ms prof st no nos fig eq e.g i.e vs approx inc ltd co jr sr dept est ca cf al sec art u.s u.k"
_ABBREVIATIONS = frozenset(_SHORT.split())
_BREAK = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+|(?<=[。！？])\s*")
_BULLET = re.compile(r"^\s*(?:[-*•‣–#>]+|\(?\d{1,2}[.)])\s+")
#: Characters of the longest sentence; what reads sentences may take time that grows with its square.
_LONGEST = 2_000
WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)*(?:[-/][^\W_]+)*")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def normal(text: str) -> str:
    """NFKC, case folded, invisible characters dropped, white space collapsed."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    visible = "".join(char for char in folded if unicodedata.category(char) not in ("Cf", "Cs"))
    return _SPACES.sub(" ", visible).strip()


def parse_number(text: str) -> Decimal | None:
    """The value of a text that is one number, with or without currency or percent; ``None`` for anything else."""
    plain = unicodedata.normalize("NFKC", text).strip().casefold()
    words = plain.strip("%° ").split(" ")
    if len(words) > 1 and words[-1] in _CODES:
        words.pop()
    if len(words) > 1 and words[0] in _CODES:
        words.pop(0)
    digits = "".join(words).strip(_CURRENCY)
    sign = ""
    if digits[:1] in ("-", "+", "\u2212"):
        sign, digits = ("" if digits[0] == "+" else "-"), digits[1:].strip(_CURRENCY)
    value = _digits(digits)
    return None if value is None else (-value if sign else value)


def _digits(text: str) -> Decimal | None:
    if text.isdecimal():
        return Decimal(text) if len(text) <= _MOST_DIGITS else None
    if len(text) > _MOST_DIGITS or not text[:1].isdecimal():
        return None
    text = text.replace("'", "").replace("\u00a0", "").replace("\u202f", "")
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    elif _COMMA.fullmatch(text):
        text = text.replace(".", "").replace(",", ".")
    return Decimal(text) if _POINT.fullmatch(text) else None


class Quantity(NamedTuple):
    """A number in running text: its value, its unit (``""`` = none that is known), and how it was written."""

    value: Decimal
    unit: str
    written: str


def quantities(text: str) -> Iterator[Quantity]:
    """The numbers written with digits in a text. Parts of names such as ``A320`` or ``INV-12`` are none."""
    for match in _NUMBER.finditer(unicodedata.normalize("NFKC", text)):
        after = (match["after"] or "").strip().casefold()
        attached = bool(match["after"]) and not match["after"].startswith(" ")
        unit = _UNITS.get(after, "")
        if attached and not unit and after not in _ORDINAL and after not in _CODES and after != "°":
            continue
        written = match.group(0).strip() if unit or attached else match.group(0)[: match.end("digits") - match.start()]
        value = _digits(match["digits"])
        parts = [value] if value is not None else [_digits(part) for part in _MARKS.split(match["digits"])]
        for part in parts:
            if part is not None:
                negative = match["sign"] in ("-", "\u2212")
                yield Quantity(-part if negative else part, unit, written.strip())


def counted(text: str) -> Iterator[Quantity]:
    """Numbers written as words before a known unit: ``three times``, ``two hours``."""
    found = re.findall(r"[^\W_]+", text.casefold())
    for word, following in zip(found, [*found[1:], ""], strict=False):
        if word in ("once", "twice"):
            yield Quantity(_WORDS_FOR[word], "times", word)
        elif word in _WORDS_FOR and following in _UNITS:
            yield Quantity(_WORDS_FOR[word], _UNITS[following], f"{word} {following}")


def sentences(text: str) -> Iterator[str]:
    """The sentences and list items of a text, without bullets; abbreviations and decimals do not end one."""
    for line in text.splitlines():
        held = ""
        for part in _BREAK.split(_BULLET.sub("", line)):
            piece = f"{held} {part}".strip()
            last = piece.rsplit(" ", 1)[-1].rstrip(".").lstrip("(").casefold()
            initial = len(last) == 1 and last.isalpha() and " " in piece
            if piece.endswith(".") and (last in _ABBREVIATIONS or initial) and len(piece) < _LONGEST:
                held = piece
                continue
            held = ""
            yield from _cut(piece)
        if held:
            yield held


def _cut(piece: str) -> Iterator[str]:
    """A sentence in parts that are short enough to be read, cut at white space where there is any."""
    while len(piece) > _LONGEST:
        at = piece.rfind(" ", 1, _LONGEST) + 1 or _LONGEST
        yield piece[:at].rstrip() or piece[:at]
        piece = piece[at:].lstrip()
    if piece:
        yield piece


def words(text: str) -> Iterator[str]:
    """Words and identifiers of a text as written; scripts without spaces give single characters."""
    for match in WORD.finditer(text):
        word = match.group(0)
        if _CJK.search(word):
            yield from _CJK.findall(word)
        else:
            yield word


def stem(word: str) -> str:
    """A word without its common English endings, case folded; other languages are hardly touched."""
    word = word.casefold().replace("’", "'")
    word = word.removesuffix("'s").removesuffix("n't")
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    for ending in ("ing", "edly", "ed", "es", "ly", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word.removesuffix(ending)
            break
    return word.removesuffix("e") if len(word) > 3 else word
