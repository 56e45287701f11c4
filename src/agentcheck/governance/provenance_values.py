"""The values in an argument whose origin can be asked for, each with the forms in which a text may hold it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from agentcheck.governance import provenance_text as texts

#: An argument with more values than this is not traced.
MOST_LEAVES = 2_000
#: A text of more words than this is not taken for an address, whatever it holds.
ADDRESS_WORDS = 16
#: Characters around a word that are no part of it.
MARKS = texts.EDGE + "\"'`<>()[]{}|,;!?*"
_ADDRESS = re.compile(r"[\w.+%\-]+@[\w\-]+(?:\.[\w\-]+)+")
_WHEN = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[t ](\d\d:\d\d)(?::\d\d)?)?")


class Leaf:
    """One traced value: its normal text, and the forms in which a text may hold it.

    ``keys`` are words any of which stands for it; ``digits`` says that it is a number; ``moment`` holds the words of a
    date (with or without its year, with its time), ``identifier`` the value without the marks between its groups, and
    ``inner`` those words of a phrase that a text must hold as whole words.
    """

    __slots__ = ("digits", "identifier", "inner", "keys", "moment", "text")

    def __init__(self, text: str, keys: tuple[str, ...], digits: bool = False) -> None:
        self.text = text
        self.keys = keys
        self.digits = digits
        self.moment: tuple[tuple[str, ...], ...] = ()
        self.identifier = ""
        self.inner: tuple[str, ...] = ()
        if digits:
            return
        self.moment = _moments(text)
        compact = texts.compact(text)
        self.identifier = compact if texts.is_long_identifier(compact) else ""
        if " " in text:
            self.inner = tuple(word for word in text.split(" ")[1:-1] if word.isalnum())


def _moments(text: str) -> tuple[tuple[str, ...], ...]:
    """Sets of words any of which spells a date (with a time) in another order or form."""
    match = _WHEN.fullmatch(text)
    if match is None:
        return ()
    year, month, day, time = match.groups()
    rest = (time,) if time else ()
    return (f"{year}-{month}-{day}", *rest), (f"--{month}-{day}", *rest)


def leaves(value: Any) -> list[Leaf] | None:
    """The values in an argument that have an origin; ``None`` when there are too many to trace.

    Booleans, ``None`` and empty texts have none. A short text with e-mail addresses stands for the addresses.
    """
    found: list[Leaf] = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            stack.extend(item.values())
            stack.extend(key for key in item if isinstance(key, str) and ("@" in key or any(map(str.isdigit, key))))
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
        elif isinstance(item, str):
            found.extend(_text_leaves(item))
        elif item is not None and not isinstance(item, bool):
            text = texts.number(item) or texts.normal(str(item))
            found.append(Leaf(text, (f"#{text}",), digits=True))
        if len(found) + len(stack) > MOST_LEAVES:
            return None
    return found


def _text_leaves(item: str) -> Iterator[Leaf]:
    text = texts.normal(item)
    if not text:
        return
    if "@" in text and text.count(" ") < ADDRESS_WORDS:
        addresses = _ADDRESS.findall(text)
        yield from (Leaf(each, (each,)) for each in addresses)
        if addresses:
            # A display name says nothing of where something goes; anything else beside the address may.
            rest = " ".join(filter(None, (word.strip(MARKS) for word in _ADDRESS.sub(" ", text).split())))
            if rest and not rest.replace(" ", "").replace(".", "").isalpha():
                yield Leaf(rest, (rest,))
            return
    spelled = texts.number(text)
    if spelled is not None:
        yield Leaf(text, (text, f"#{spelled}"), digits=True)
        return
    bare = text.strip(MARKS)
    yield Leaf(text, (text, bare) if bare and bare != text else (text,))
