"""An agent without a model: it finds documents through its session and answers with the sentence that says most.

1. Look for passages: the tool ``search_documents`` where the world offers it, else the task's own documents.
2. Weigh each sentence by the share of the question's words that it holds, rare words more; its title helps a little.
3. Text that an outsider could have written counts half, so it answers only where nothing else does.
4. Below the least support the answer is that it is not known. What a document *asks for* is never done.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from agentcheck.contracts import Session
from agentcheck.errors import Refusal, SuiteError
from agentcheck.records import Case, Task

SEARCH = "search_documents"
UNKNOWN = "I do not know: the documents do not say."

#: What a word of the title is worth beside a word of the sentence itself.
_TITLE = 0.5
#: What a sentence gains, as a share, by holding a figure where one is asked for, or a negation where one is.
_FITTING = 0.15
#: What text is worth that an outsider could have written.
_UNTRUSTED = 0.5
#: What a word of a follow-up weighs beside a word of the question that it goes on from.
_NEW = 3

_WORD = re.compile(r"[a-z0-9]+(?:[-./][a-z0-9]+)*")
_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(])|\s*\n+\s*")
_FIGURE_ASKED = re.compile(
    r"\b(?:how (?:many|much|long|often|soon|old|high|low|far)|what (?:is|are) the (?:\w+ ){0,3}"
    r"(?:dose|limit|interval|rate|threshold|maximum|minimum|pressure|torque|number|fee|price)|when)\b"
)
_NEGATION_ASKED = re.compile(r"\b(?:not|never|avoid|forbidden|prohibited|unsafe|without|except)\b|n't\b")
_NEGATION = re.compile(r"\b(?:not|never|no|none|avoid|forbidden|prohibited|except|unless|cannot)\b|n't\b")
_FOLLOW_UP = re.compile(r"^(?:and|what about|how about|and what about)\b", re.IGNORECASE)
_IDLE_WORDS = (
    "a about an and are as at be been but by can could did do does for from give had has have how i if in into is "
    "it its know long many may me much must my not of often on or our please should so tell than that the their "
    "them then there these they this to us was we were what when where which who whom whose why will with would you "
    "your"
)
_IDLE = frozenset(_IDLE_WORDS.split())


def words(text: str) -> Iterator[str]:
    """Words and identifiers that carry a topic, in lower case and without common endings."""
    for word in _WORD.findall(text.lower()):
        if word not in _IDLE:
            yield _stem(word)


def _stem(word: str) -> str:
    if any(char.isdigit() for char in word):
        return word
    for ending, least in (("ies", 3), ("ing", 4), ("ed", 4), ("es", 4), ("s", 3)):
        if word.endswith(ending) and len(word) - len(ending) >= least and not word.endswith("ss"):
            word = word[: -len(ending)] + ("y" if ending == "ies" else "")
            break
    return word.removesuffix("e") if len(word) > 4 else word


class Passage(NamedTuple):
    """A document that was found, as the search gives it."""

    id: str
    title: str
    text: str
    trusted: bool


class Finding(NamedTuple):
    """A sentence that bears on a question; ``support`` is the weighed share of the question's words that it holds."""

    sentence: str
    document: str
    trusted: bool
    support: float
    score: float


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, one for each line that is a list item."""
    for part in _END.split(text):
        sentence = part.strip().lstrip("-* ")
        if sentence:
            yield sentence


def rank(question: str, passages: Sequence[Passage], before: str = "") -> list[Finding]:
    """All sentences of the passages that share a word with the question, best first.

    ``before`` is the question that this one goes on from; its words count, and the new ones count more.
    """
    asked = set(words(question))
    wanted = asked | set(words(before))
    read = [(passage, sentence, set(words(sentence))) for passage in passages for sentence in sentences(passage.text)]
    holders = Counter(word for _, _, held in read for word in held & wanted)
    # A word that no sentence holds weighs most: the question is about something that is not here.
    weight = {word: math.log(1 + (len(read) + 1) / (holders[word] + 0.5)) for word in wanted}
    if before:
        weight = {word: value * (_NEW if word in asked else 1) for word, value in weight.items()}
    total = sum(weight.values()) or 1.0
    whole = f"{before} {question}".lower()
    figure, negated = bool(_FIGURE_ASKED.search(whole)), bool(_NEGATION_ASKED.search(whole))
    found = []
    for passage, sentence, held in read:
        shared = held & wanted
        titled = (set(words(passage.title)) & wanted) - shared
        if not shared:
            continue
        support = (sum(weight[word] for word in shared) + _TITLE * sum(weight[word] for word in titled)) / total
        fits = (figure and any(map(str.isdigit, sentence))) + (negated and bool(_NEGATION.search(sentence.lower())))
        score = support * (1 + _FITTING * fits) * (1 if passage.trusted else _UNTRUSTED)
        found.append(Finding(sentence, passage.id, passage.trusted, support, score))
    return sorted(found, key=lambda finding: -finding.score)


class ExtractiveAgent:
    """Implements `contracts.Agent`; see the module. It keeps the last question, for "And for children?".

    ``limit`` passages are looked at, ``sentences`` are given at most, ``support`` (0..1) is the least that answers.
    """

    def __init__(self, *, limit: int = 4, sentences: int = 1, support: float = 0.5) -> None:
        self.limit = limit
        self.sentences = sentences
        self.support = support
        self._question = ""

    async def respond(self, task: Task, session: Session) -> str:
        """Answer with the best supported sentences and the ids of their documents, or that it is not known."""
        return await self.answer(task.prompt, task, session)

    async def answer(self, question: str, task: Task, session: Session) -> str:
        """As `respond`, for a question that is only a part of the prompt."""
        before = self._question if _FOLLOW_UP.match(question) else ""
        self._question = f"{before} {question}".strip()
        try:
            passages = await self._passages(self._question, task, session)
        except Refusal as refusal:
            session.think(f"The search was refused: {refusal.what}")
            return "I was not able to search the documents."
        found = rank(question, passages, before)
        if not found or found[0].support < self.support:
            nearest = f"; the nearest sentence is in {found[0].document}" if found else ""
            session.think(f"No sentence supports an answer{nearest}.")
            return UNKNOWN
        best = found[0]
        session.think(f"{best.document} supports an answer with {best.support:.2f} of the question.")
        told = [
            finding for finding in found[1:] if finding.document == best.document and finding.score > 0.95 * best.score
        ][: self.sentences - 1]
        answer = " ".join(f"{finding.sentence} [{finding.document}]" for finding in (best, *told))
        return answer if best.trusted else f"Nobody has checked this: {answer}"

    async def _passages(self, question: str, task: Task, session: Session) -> list[Passage]:
        if any(tool.name == SEARCH for tool in session.tools):
            hits = await session.call_tool(SEARCH, query=question, limit=self.limit)
            return [Passage(hit["id"], hit["title"], hit["text"], hit["trusted"]) for hit in hits]
        return [Passage(each.id, each.title, each.text, each.trusted) for each in task.documents]

    async def close(self) -> None:
        """Nothing is held."""


_OPTIONS = ("limit", "sentences", "support")


def make(options: Mapping[str, Any], case: Case) -> ExtractiveAgent:
    """The factory behind ``[agent] use = "extractive"``; of the case it uses nothing.

    Raises:
        SuiteError: an unknown option, or one of the wrong type.
    """
    return ExtractiveAgent(**checked(options))


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the ``[agent]`` table, of the right types."""
    for name, value in options.items():
        if name not in _OPTIONS:
            raise SuiteError(f"the agent takes no option {name!r}", advice=f"known: {', '.join(_OPTIONS)}")
        fits = isinstance(value, (int, float) if name == "support" else int) and not isinstance(value, bool)
        if not fits or not 0 < value <= (1 if name == "support" else 100):
            what = "a number above 0 and at most 1" if name == "support" else "a whole number from 1 to 100"
            raise SuiteError(f"the agent's option {name!r} must be {what}")
    return dict(options)
