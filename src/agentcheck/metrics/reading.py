"""What a sentence says, as far as words tell: content words, adjacent pairs, numbers, names and what is negated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from agentcheck.metrics.text import WORD, counted, quantities, stem, words


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOPWORDS = _listed(
    "a an the this that these those it its he him his she her they them their we us our you your i me my and or but so"
    " if then than as of at by for from in into on onto to with about over under up down out off is are was were be"
    " been being am do does did done doing have has had having will would shall should can could may might must there"
    " here what which who whom whose when where why how all any both each few more most other some such only own same"
    " too very just also both between through during before after above below again further once because while until"
    " against per via one upon within yes ok okay please dr mr mrs ms prof etc eg ie"
)
_TITLES = _listed("dr mr mrs ms prof st")
_NEGATORS = _listed("not no never without neither nor cannot none nothing unable nobody nowhere hardly")
_SCOPE_ENDS = re.compile(r"[.,;:!?()\n]|\b(?:but|however|although|though|except|unless|because|only)\b")
_SCOPE = 5
_IRREGULAR = {
    "paid": "pay",
    "payment": "pay",
    "sent": "send",
    "made": "mak",
    "found": "find",
    "took": "tak",
    "taken": "tak",
    "gave": "giv",
    "given": "giv",
    "held": "hold",
    "began": "begin",
    "begun": "begin",
    "wrote": "writ",
    "written": "writ",
    "known": "know",
    "knew": "know",
    "grew": "grow",
    "bought": "buy",
    "sold": "sell",
    "became": "becom",
    "left": "leav",
    "led": "lead",
    "men": "man",
    "women": "woman",
    "children": "child",
    "people": "person",
}
#: Word stems that say the opposite of each other; one in the claim and the other in the evidence is a contradiction.
_OPPOSITES = tuple(
    tuple(frozenset(stem(word) for word in side.split()) for side in pair.split("|"))
    for pair in (
        "allowed permitted|forbidden prohibited banned",
        "approved accepted granted|denied rejected refused declined",
        "increase increased rose raised|decrease decreased fell reduced lowered",
        "maximum|minimum",
        "active enabled|inactive disabled",
        "open opened|closed",
        "passed|failed",
        "valid|invalid expired",
        "serviceable airworthy|unserviceable unairworthy",
        "positive|negative",
        "safe|unsafe dangerous",
        "mandatory required|optional",
    )
)
#: All of them: a claim and its contradiction differ in these, so they do not count when asking what both speak of.
TURNING = frozenset().union(*(side for pair in _OPPOSITES for side in pair))
_ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+|https?://[^\s)>\]]+")
_NUMBERLIKE = re.compile(r"\d[\d.,/:-]*(?:[^\W\d_]{1,12})?")


@dataclass(frozen=True)
class Reading:
    """The features of a text. ``stems`` holds content words and numbers (as ``#value``)."""

    stems: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    numbers: frozenset[tuple[Decimal, str]]
    names: frozenset[str]
    negated: frozenset[str]

    @property
    def values(self) -> frozenset[Decimal]:
        """The numbers without their units."""
        return frozenset(value for value, _ in self.numbers)

    @property
    def content(self) -> frozenset[str]:
        """The content words without the numbers."""
        return frozenset(word for word in self.stems if not word.startswith("#"))


def read(text: str) -> Reading:
    """Read a sentence, a line or a clause."""
    found = list(_ordered(text))
    numbers = frozenset((quantity.value, quantity.unit) for quantity in [*quantities(text), *counted(text)])
    stems = frozenset(found) | {f"#{value.normalize()}" for value, _ in numbers}
    pairs = frozenset(pairwise(found))
    return Reading(stems, pairs, numbers, frozenset(_names(text)), frozenset(_negated(text)))


def union(readings: Iterable[Reading]) -> Reading:
    """The features of several texts side by side."""
    every = list(readings)
    return Reading(
        frozenset().union(*(one.stems for one in every)),
        frozenset().union(*(one.pairs for one in every)),
        frozenset().union(*(one.numbers for one in every)),
        frozenset().union(*(one.names for one in every)),
        frozenset().union(*(one.negated for one in every)),
    )


def reduce(word: str) -> str:
    """The stem by which words are compared."""
    folded = word.casefold()
    return _IRREGULAR.get(folded) or stem(folded)


def _ordered(text: str) -> Iterator[str]:
    for word in words(text):
        folded = word.casefold()
        if folded in STOPWORDS or _is_negator(folded) or _NUMBERLIKE.fullmatch(word):
            continue
        yield reduce(word)
        if "-" in word or "/" in word:
            yield from (reduce(part) for part in re.split("[-/]", word) if len(part) > 2 and not part.isdecimal())


def _is_negator(folded: str) -> bool:
    return folded in _NEGATORS or folded.endswith(("n't", "n’t"))


def _names(text: str) -> Iterator[str]:
    """Names: capitalised words that do not just begin a sentence, words with digits, capitals, addresses."""
    for match in _ADDRESS.finditer(text):
        yield match.group(0).casefold().rstrip(".,")
    plain = _ADDRESS.sub(" ", text)
    found = list(WORD.finditer(plain))
    for index, match in enumerate(found):
        word = match.group(0)
        if word.casefold() in STOPWORDS or _NUMBERLIKE.fullmatch(word):
            continue
        before = found[index - 1].group(0).casefold() if index else ""
        mark = plain[max(0, match.start() - 9) : match.start()].rstrip()[-1:]
        first = not before or (mark in ".!?:" and before not in _TITLES)
        followed = index + 1 < len(found) and found[index + 1].group(0)[:1].isupper()
        coded = word.isascii() and (any(char.isdigit() for char in word) or (len(word) > 1 and word.isupper()))
        if coded or (word[0].isupper() and (not first or followed) and len(word) > 1):
            yield reduce(word)


def _negated(text: str) -> Iterator[str]:
    """Content words within reach of a negation."""
    for clause in _SCOPE_ENDS.split(text):
        left = 0
        for word in words(clause):
            folded = word.casefold()
            if _is_negator(folded):
                left = _SCOPE
            elif left and folded not in STOPWORDS:
                left -= 1
                yield reduce(word)


def opposed(claim: Reading, evidence: Reading) -> str:
    """Why two texts about the same thing contradict each other in their polarity; empty where they do not."""
    shared = claim.content & evidence.content
    turned = (claim.negated ^ evidence.negated) & shared
    alike = claim.negated & evidence.negated & shared
    if turned and not alike and len(turned) / len(shared) >= 0.3:
        side = "the claim" if claim.negated & turned else "the context"
        return f"{side} negates {', '.join(sorted(turned)[:4])}"
    for one, other in _OPPOSITES:
        for here, there in ((one, other), (other, one)):
            ours, theirs = claim.content & here, evidence.content & there
            if ours and theirs and not (claim.content & there) and not (evidence.content & here):
                if bool(ours & claim.negated) != bool(theirs & evidence.negated):
                    continue
                return f"the claim says {sorted(ours)[0]}, the context {sorted(theirs)[0]}"
    return ""
