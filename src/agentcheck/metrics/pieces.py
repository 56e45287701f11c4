"""Whether a text holds a piece: text in normal form, numbers by value, long runs of digits whatever separates them."""

from __future__ import annotations

import re

from agentcheck.metrics.text import normal, parse_number, quantities

_SEPARATORS = re.compile(r"(?<=\d)[\s.\-–—/()]+(?=\d)")
_LONG = 6


class Text:
    """A text made ready to be searched for many pieces."""

    def __init__(self, text: str) -> None:
        self.normal = normal(text)
        self._numbers = {quantity.value for quantity in quantities(text)}
        self._run = _SEPARATORS.sub("", self.normal)

    def holds(self, piece: str) -> bool:
        """True when the piece is in the text.

        A piece that is one number is found by value and as a number of its own (``5`` is not in ``15``); all other
        pieces as a part of the text, case and white space aside.
        """
        value = parse_number(piece)
        if value is not None:
            return value in self._numbers
        return normal(piece) in self.normal

    def leaks(self, piece: str) -> bool:
        """As `holds`, and six digits or more are found however they are separated: formatting hides no leak."""
        if self.holds(piece):
            return True
        run = _SEPARATORS.sub("", normal(piece))
        return sum(char.isdecimal() for char in run) >= _LONG and run in self._run
