"""How two spellings of the same value are recognised: normal forms, words, numbers, dates, printed identifiers.

Everything here is linear in the length of the text. Nothing looks at what a text *says*; only at which values it
holds. Standard library only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

#: Characters that show nothing: they would let one value be spelled in two ways.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
)
_QUOTES = str.maketrans({"‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "–": "-", "—": "-", "−": "-"})
_WORD = re.compile(r"[^\s\"'`<>()\[\]{}|;,!?*]+")
#: Characters that may stand around a word without being part of it.
EDGE = ".:;/-=#$€£¥&\\_~^%+"
_PART = re.compile(r"[:=/]")
_DIGITS_ONLY = re.compile(r"[\d.:/\-+=]+")
_NUMBER = re.compile(r"(?<![\w.,:/@\-])[-+]?\d[\d.,]*(?![\w@]|[:/\-]\d)")
_MONTH_NAMES = (
    ("jan", "january"),
    ("feb", "february"),
    ("mar", "march"),
    ("apr", "april"),
    ("may",),
    ("jun", "june"),
    ("jul", "july"),
    ("aug", "august"),
    ("sep", "sept", "september"),
    ("oct", "october"),
    ("nov", "november"),
    ("dec", "december"),
)
_MONTHS = {name: number for number, names in enumerate(_MONTH_NAMES, start=1) for name in names}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_MONTH_FIRST = re.compile(rf"\b({_MONTH})\.? (\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? (\d{{4}})\b)?")
_DAY_FIRST = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? ({_MONTH})\b\.?(?:,? (\d{{4}})\b)?")
_NUMERIC_DATE = re.compile(r"(\d{1,2})[./](\d{1,2})[./](\d{4})")
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)?t?(?:(?<![\d-])(\d{1,2}):(\d\d)(?::\d\d(?:\.\d+)?)?)?(?:z|[+-][\d:]+)?$")
_CLOCK = re.compile(r"(?<![\w:.])(\d{1,2})(?::(\d\d))?(?::\d\d)?\s?([ap])\.?m\b")
_HALVES = frozenset({"am", "pm", "a.m", "p.m"})
_HALF = re.compile(r"\d[ap]\.?m\b")
#: A number longer than this is text (an account number), not an amount.
_LONGEST_NUMBER = 40


def normal(text: str) -> str:
    """Case, compatibility forms, invisible characters, quotes, dashes and runs of white space evened out."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
        # Folding case can undo a composition (Unicode 3.13, D146 asks for the same two steps).
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).translate(_QUOTES)
    return " ".join(text.casefold().split())


def number(value: Any) -> str | None:
    """The one spelling of a number (``98.70``, ``98.7``, ``$98.70``); ``None`` for what is no finite number."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        text = value.strip().strip("$€£¥%").strip()
        return next(_readings(text), None) if _NUMBER.fullmatch(text) else None
    return _canonical(str(value))


def _canonical(text: str) -> str | None:
    if len(text) > _LONGEST_NUMBER:
        return None
    try:
        decimal = Decimal(text)
    except InvalidOperation:
        return None
    if not decimal.is_finite() or abs(decimal.adjusted()) > _LONGEST_NUMBER:
        return None
    plain = format(decimal, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain in ("-0", "+0", "") else plain


def _readings(text: str) -> Iterator[str]:
    """The numbers a digit string may mean: ``1,234.5`` and ``1.234,5`` one each, ``1.234`` two."""
    text = text.rstrip(".,")
    if len(text) > _LONGEST_NUMBER:
        return
    comma, point = text.rfind(","), text.rfind(".")
    spellings: tuple[str, ...]
    if comma >= 0 and point >= 0:
        group, mark = (",", ".") if point > comma else (".", ",")
        spellings = (text.replace(group, "").replace(mark, "."),)
    elif comma < 0 and point < 0:
        spellings = (text,)
    else:
        mark = "," if comma >= 0 else "."
        whole, *groups = text.split(mark)
        grouped = all(len(group) == 3 for group in groups) and 1 <= len(whole.lstrip("+-")) <= 3
        decimal = (text.replace(mark, "."),) if len(groups) == 1 else ()
        thousands = (text.replace(mark, ""),) if grouped else ()
        spellings = thousands + decimal if mark == "," else decimal + thousands
    for spelling in spellings:
        found = _canonical(spelling)
        if found is not None:
            yield found


def numbers(text: str) -> Iterator[str]:
    """The different numbers that stand alone in a normal text, in their one spelling (both readings where two)."""
    for found in dict.fromkeys(_NUMBER.findall(text)):
        yield from _readings(found)


def words(text: str) -> set[str]:
    """What a normal text holds as whole words: words, ``#``-marked numbers, and dates and times in ISO form.

    A word keeps the characters that addresses, names of files and dates are made of; a compound such as
    ``iban:xy12`` also counts as its parts.
    """
    found = {word.strip(EDGE) for word in _WORD.findall(text)}
    compounds = [word for word in found if not word.isalnum()]
    found.discard("")
    moments = not found.isdisjoint(_HALVES)
    for word in compounds:
        if _DIGITS_ONLY.fullmatch(word):
            found.update(_numeric_moment(word))
        elif _PART.search(word):
            found.update(_numeric_moment(word))
            found.update(filter(None, (part.strip(EDGE) for part in _PART.split(word))))
    if not found.isdisjoint(_MONTHS):
        found.update(_named_dates(text))
    if moments or _HALF.search(text):
        found.update(_twelve_hours(text))
    found.update("#" + each for each in numbers(text))
    return found


def _numeric_moment(word: str) -> Iterator[str]:
    """The date and the time of day in a word of digits: ``15/05/2024`` (both readings), ``2024-05-15T10:00:00``."""
    match = _NUMERIC_DATE.fullmatch(word)
    if match:
        yield from _date(match[3], match[2], match[1])
        yield from _date(match[3], match[1], match[2])
    match = _STAMP.match(word)
    if match and match[1]:
        yield match[1]
    if match and match[2]:
        yield f"{int(match[2]):02d}:{match[3]}"


def _named_dates(text: str) -> Iterator[str]:
    """Dates with the name of a month as ``YYYY-MM-DD``, or ``--MM-DD`` where no year is given."""
    for month, day, year in set(_MONTH_FIRST.findall(text)):
        yield from _date(year, _MONTHS[month], day)
    for day, month, year in set(_DAY_FIRST.findall(text)):
        yield from _date(year, _MONTHS[month], day)


def _twelve_hours(text: str) -> Iterator[str]:
    """Times of day with am or pm as ``HH:MM``."""
    for hour, minute, half in set(_CLOCK.findall(text)):
        if int(hour) <= 12:
            yield f"{int(hour) % 12 + (12 if half == 'p' else 0):02d}:{minute or '00'}"


def _date(year: str, month: Any, day: Any) -> Iterator[str]:
    try:
        found = date(int(year or 2000), int(month), int(day))
    except ValueError:
        return
    yield found.isoformat() if year else f"--{found.month:02d}-{found.day:02d}"


def compact(text: str) -> str:
    """A normal text without the spaces and hyphens by which long identifiers are printed in groups."""
    return text.replace(" ", "").replace("-", "")


def holds(text: str, phrase: str, *, strict: bool) -> bool:
    """True when a normal text holds a normal phrase between word boundaries.

    ``strict`` also asks that an address, host or path does not go on after it (``corp.co`` in ``corp.co.uk``), which is
    what may vouch for a value. A text that repeats the beginning of the phrase without end is given up on after
    1,000 tries, to the safe side: not held where that vouches, held where that accuses.
    """
    start = text.find(phrase)
    tries = 0
    while start >= 0:
        if _bounded(text, start, start + len(phrase), strict):
            return True
        tries += 1
        if tries >= 1000:
            return not strict
        start = text.find(phrase, start + 1)
    return False


def _bounded(text: str, start: int, end: int, strict: bool) -> bool:
    before = text[start - 1 : start]
    after = text[end : end + 1]
    if before.isalnum() or after.isalnum() or before == "_" or after == "_":
        return False
    if not strict:
        return True
    beyond = text[end + 1 : end + 2]
    return (
        before not in ("@", ".", "-", "+")
        and after not in ("@",)
        and not (after in (".", "-", "+") and beyond.isalnum())
    )


def is_long_identifier(value: str) -> bool:
    """True for a compact text that is worth looking for in groups: 8 letters and digits or more, 4 of them digits."""
    return len(value) >= 8 and value.isalnum() and sum(map(str.isdigit, value)) >= 4


def holds_spaced(text: str, value: str) -> bool:
    """True when a normal text holds a long identifier printed in groups (``GB29 NWBK 60`` for ``gb29nwbk60``)."""
    pattern = r"[ \-]?".join(map(re.escape, value))
    return re.search(rf"(?<![^\W_]){pattern}(?![^\W_])", text) is not None
