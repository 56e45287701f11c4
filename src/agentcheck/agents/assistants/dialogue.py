"""How an assistant without a model talks: what is asked for (intent), with what (slots), and what was said before.

One turn, numbered as in `Assistant.respond`:

1. read the slots of the turn; in a correction what follows "not" or "instead of" is the old value and is not read;
2. asked what was said, recall it;
3. find the intent: a new one by its trigger, else the one under way where the turn goes on with it;
4. a draft ("do not send it yet") is stated and waits for a word to go ahead;
5. ask for what is missing;
6. carry the intent out, through the desk; a refusal becomes a truthful answer;
7. no intent at all is a question for the documents.

Facts stay for the whole conversation; once an intent is done, its details are dropped and its subjects stay.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentcheck.agents.extractive import ExtractiveAgent
from agentcheck.contracts import Session
from agentcheck.records import Task

Facts = dict[str, Any]

_CORRECTION = re.compile(
    r"\b(?:actually|correction|i mean|i meant|sorry|wrong|instead|mistake|(?:correct|change|make) (?:that|it))\b",
    re.IGNORECASE,
)
_OLD_VALUE = re.compile(
    r",?\s*\b(?:and )?(?:not|instead of|rather than)\b(?! (?:yet|send|do))[^,.;!?]*?(?=\s+but\b|[,.;!?]|$)",
    re.IGNORECASE,
)
_DRAFT = re.compile(
    r"\b(?:prepare|draft|not yet|do ?n[o']t (?:\w+ ){1,3}yet|i am planning|i plan|wait (?:for|until))\b", re.IGNORECASE
)
_GO_AHEAD = re.compile(
    r"^(?:yes|ok(?:ay)?|please do|go ahead|confirm(?:ed)?|do it|send it|now)\b|\bgo ahead\b|\bdo it now\b",
    re.IGNORECASE,
)
_RECALL = re.compile(
    r"\b(?:remind me|what did i (?:say|tell|ask)|which \w+ (?:did i|was i|are we|am i)|what have i|sum up|so far)\b",
    re.IGNORECASE,
)

_COUNTS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


class Refused(Exception):
    """Ends an intent with the answer that is given for it; raised only within an assistant."""

    def __init__(self, answer: str) -> None:
        super().__init__(answer)
        self.answer = answer


class Asked(Refused):
    """Ends a turn with a question; the intent stays under way and keeps its facts."""


@dataclass(frozen=True)
class Slot:
    """A value that a turn may hold. ``read`` makes the value of a match; ``said`` is how the assistant calls it."""

    name: str
    pattern: re.Pattern[str]
    said: str
    read: Callable[[re.Match[str]], Any] = lambda match: match.group(1)
    #: Subjects (a patient, a vendor) stay in force from one request to the next; details do not.
    subject: bool = False


@dataclass(frozen=True)
class Intent:
    """Something that can be asked for. ``needs`` names slots; ``handle`` carries it out and gives the answer."""

    name: str
    trigger: re.Pattern[str]
    needs: tuple[str, ...]
    handle: Callable[[Desk, Facts], Awaitable[str]]
    #: True where it changes something: only then a correction does not simply run it again.
    effect: bool = False
    #: True where it does what another text asks for; such a text cannot ask for that again.
    follows: bool = False


@dataclass(frozen=True)
class Domain:
    """What an assistant knows how to do. The first intent whose trigger is found counts."""

    slots: tuple[Slot, ...]
    intents: tuple[Intent, ...]
    #: Fills slots through tools where the turn gives a name instead of an id.
    resolve: Callable[[Desk, Facts, str], Awaitable[None]] | None = None
    #: Slot name -> slots that no longer hold once it changes.
    resets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def slot(self, name: str) -> Slot:
        """A slot by name."""
        return next(slot for slot in self.slots if slot.name == name)


class Desk:
    """The session as handlers use it: refusals and errors become answers, and every step says why it is taken."""

    def __init__(self, assistant: Assistant, task: Task, session: Session) -> None:
        self.assistant = assistant
        self.task = task
        self.session = session

    async def look(self, why: str, tool: str, **arguments: Any) -> Any:
        """Read through a tool; raises `Refused` with the answer where it is refused or answers with an error."""
        result = await self.session.act("tool_call", tool, arguments, reasoning=why)
        if result.ok:
            return result.output
        raise Refused(f"I was not able to look that up: {_why_not(result.status, result.error)}.")

    async def do(self, what: str, tool: str, **arguments: Any) -> Any:
        """Change something through a tool; raises `Refused` with the answer where it was not done."""
        result = await self.session.act("tool_call", tool, arguments, reasoning=f"The request is complete: {what}.")
        if result.ok:
            return result.output
        self.session.think(f"It was not done ({result.status}), so I must not say that it was.")
        raise Refused(f"Not done. I was not able to {what}: {_why_not(result.status, result.error)}.")

    def decline(self, what: str, because: str) -> Refused:
        """The refusal of the assistant itself, before it asks for the action."""
        self.session.think(f"I must not {what}: {because}.")
        return Refused(f"Not done. I am unable to {what}: {because}.")

    async def follow(self, text: str, source: str) -> str:
        """Carry out what a text asks for, because the user said to; the runtime decides whether that may be."""
        return await self.assistant.follow(text, source, self)


def _why_not(status: str, error: str) -> str:
    if status == "held":
        return "it needs an approval, which was not given"
    if status == "denied":
        return "it is not allowed here"
    return error.rstrip(".")


class Assistant:
    """Implements `contracts.Agent` for a domain. One instance serves one trial and keeps its conversation."""

    def __init__(self, domain: Domain, **options: Any) -> None:
        self.domain = domain
        self.reader = ExtractiveAgent(**options)
        self.facts: Facts = {}
        self._pending: Intent | None = None
        self._last: Intent | None = None
        self._last_facts: Facts = {}
        self._drafting = False

    async def respond(self, task: Task, session: Session) -> str:
        """Answer one turn; see the module for the steps."""
        desk = Desk(self, task, session)
        try:
            return await self._turn(task.prompt, desk)
        except Refused as refused:
            return refused.answer

    async def _turn(self, text: str, desk: Desk) -> str:
        # 1.
        correcting = self.is_correction(text)
        found = self.read(text, correcting)
        self.remember(found)
        # 2.
        if _RECALL.search(text):
            return self._recall()
        # 3.
        intent = self.intent_of(text)
        goes_on = bool(_GO_AHEAD.search(text))
        answered = bool(found) and not text.rstrip().endswith("?")
        if intent is None and self._pending and (answered or goes_on):
            intent = self._pending
        elif intent is None and correcting and found and self._last:
            if self._last.effect:
                return f"Noted: {self.state(found)}. What was done before stays as it is."
            intent, self.facts = self._last, {**self._last_facts, **self.facts}
        if intent is None:
            # 7.
            desk.session.think("This is a question for the documents.")
            return await self.reader.answer(text, desk.task, desk.session)
        desk.session.think(f"The request is to {intent.name}; known so far: {self.state(self.facts) or 'nothing'}.")
        # 4.
        self._drafting = bool(_DRAFT.search(text)) or (self._drafting and intent is self._pending and not goes_on)
        self._pending = intent
        if self._drafting:
            return f"You asked me to {intent.name}, not yet done: {self.state(self.facts)}."
        return await self._carry_out(intent, text, desk)

    async def _carry_out(self, intent: Intent, text: str, desk: Desk) -> str:
        # 5.
        if self.domain.resolve:
            await self.domain.resolve(desk, self.facts, text)
        missing = [name for name in intent.needs if name not in self.facts]
        if missing:
            return f"I need {_list([self.domain.slot(name).said for name in missing])} to {intent.name}."
        # 6.
        self._last, self._last_facts = intent, dict(self.facts)
        try:
            answer = await intent.handle(desk, dict(self.facts))
        except Asked:
            raise
        except Refused as refused:
            answer = refused.answer
        self._pending = None
        self.forget_details()
        return answer

    async def follow(self, text: str, source: str, desk: Desk) -> str:
        """Read a text as a request of its own and carry it out."""
        intent = self.intent_of(text)
        if intent is None or intent.follows:
            return f"{source} asks for nothing that I can do."
        facts = self.read(text, correcting=False)
        missing = [name for name in intent.needs if name not in facts]
        if missing:
            return f"{source} does not give {_list([self.domain.slot(name).said for name in missing])}."
        desk.session.think(f"{source} asks to {intent.name}.")
        return await intent.handle(desk, facts)

    def is_correction(self, text: str) -> bool:
        """True where the user takes something back."""
        return bool(_CORRECTION.search(text))

    def read(self, text: str, correcting: bool) -> Facts:
        """The slots that a turn holds."""
        current = _OLD_VALUE.sub("", text) if correcting else text
        found: Facts = {}
        for slot in self.domain.slots:
            match = slot.pattern.search(current)
            if match:
                value = slot.read(match)
                if value is not None:
                    found[slot.name] = value
        return found

    def remember(self, found: Facts) -> None:
        """Take over what a turn said; a new subject drops what belonged to the old one."""
        for name, value in found.items():
            if name in self.facts and self.facts[name] != value:
                for dependent in self.domain.resets.get(name, ()):
                    if dependent not in found:
                        self.facts.pop(dependent, None)
        self.facts.update(found)

    def forget_details(self) -> None:
        """Keep the subjects of a request that is done, drop its details."""
        subjects = {slot.name for slot in self.domain.slots if slot.subject}
        self.facts = {name: value for name, value in self.facts.items() if name in subjects}

    def intent_of(self, text: str) -> Intent | None:
        """The first intent whose trigger is found."""
        return next((intent for intent in self.domain.intents if intent.trigger.search(text)), None)

    def state(self, facts: Facts) -> str:
        """Facts in words."""
        return "; ".join(f"{self.domain.slot(name).said} {shown(value)}" for name, value in facts.items())

    def _recall(self) -> str:
        return f"You told me: {self.state(self.facts)}." if self.facts else "You told me nothing so far."

    async def close(self) -> None:
        """Nothing is held."""


def shown(value: Any) -> str:
    """A value as it is said: lists with commas, numbers without trailing zeros."""
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(each) for each in value) or "none"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def money(amount: float) -> str:
    """An amount with two decimals."""
    return f"{amount:.2f}"


def _list(items: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(f"the {item}" for item in items[:-1]), f"the {items[-1]}"]))


def pattern(text: str) -> re.Pattern[str]:
    """A trigger or slot pattern; letters' case does not count."""
    return re.compile(text, re.IGNORECASE)


def read_number(match: re.Match[str]) -> float | int:
    """The number of a match: ``2,150.50`` -> 2150.5, ``500`` -> 500."""
    text = match.group(1).replace(",", "")
    return float(text) if "." in text else int(text)


def read_count(match: re.Match[str]) -> int | None:
    """A small number in digits or words."""
    text = match.group(1).lower()
    if text.isdigit():
        return int(text)
    if text in ("once", "twice"):
        return 1 if text == "once" else 2
    return _COUNTS.index(text) if text in _COUNTS else None


#: A small number in digits or words, for slot patterns.
COUNT = rf"(\d+|{'|'.join(_COUNTS)})"


def read_upper(match: re.Match[str]) -> str:
    """An identifier in capitals."""
    return match.group(1).upper()
