"""The texts of a session with their normal forms, and which of them holds a value: what data-flow rules ask.

A `Trace` grows with the session: each closed action is read once. Matching is strict where it vouches for a value and
lax where it accuses; see the module `agentcheck.governance.provenance` for what counts as trusted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from agentcheck.governance import provenance_text as texts
from agentcheck.governance.provenance_fields import fields, unescaped
from agentcheck.governance.provenance_values import MARKS, Leaf
from agentcheck.governance.state import SOURCE_KINDS, SessionState, StepView

#: Options by which rules learn whom to trust.
TRUST = ("trusted", "untrusted", "fields", "lookups")
#: Numbers of fewer characters are told apart only within one call.
SHORT_NUMBER = 5
#: Tables of options that are remembered by identity; more rules than this only cost time.
MOST_RULES = 256
#: Length in words of the sequences by which long texts are compared.
NGRAM = 4


class Source(NamedTuple):
    """A text that may hold a value.

    ``origin`` is ``user``, ``system``, ``document``, ``tool``, ``delegate`` or ``memory``; ``name`` the document or
    tool; ``step`` the position of the call among the closed actions (-1 for what was there from the start).
    """

    origin: str
    name: str
    step: int
    trusted: bool

    def __str__(self) -> str:
        if self.origin in ("user", "system"):
            return f"the {self.origin}"
        return f"{self.name} ({'trusted' if self.trusted else 'untrusted'} {self.origin})"


class Text:
    """A source with its normal form. ``whole`` holds the values of whole fields; ``None`` for running text."""

    __slots__ = ("_compact", "_field_numbers", "_numbers", "source", "text", "time", "whole", "words")

    def __init__(self, source: Source, text: str, time: int = 0, whole: frozenset[str] | None = None) -> None:
        self.source = source
        self.text = text
        self.time = time
        self.whole = whole
        self.words = texts.words(text)
        self._compact: str | None = None
        self._numbers: tuple[str, ...] | None = None
        self._field_numbers: frozenset[str] | None = None

    @property
    def numbers(self) -> tuple[str, ...]:
        """The numbers that stand alone in the text, in order."""
        if self._numbers is None:
            self._numbers = tuple(texts.numbers(self.text))
        return self._numbers

    def holds(self, leaf: Leaf, *, strict: bool) -> bool:
        """True when the text holds a value: a whole word, a phrase, a date, an identifier printed in groups."""
        if self.whole is not None and strict:
            if leaf.text in self.whole or (leaf.digits and self._holds_number(leaf)):
                return True
            if leaf.digits:
                return False  # a piece of another field's text is no number of its own
        words = self.words
        for key in leaf.keys:
            if key in words:
                return True
        if leaf.digits:
            return False
        if leaf.moment and any(words.issuperset(moment) for moment in leaf.moment):
            return True
        if leaf.identifier and self._holds_spaced(leaf.identifier):
            return True
        text = leaf.text
        if strict and text.isalnum():
            return False  # it would have been a word
        for word in leaf.inner:
            if word not in words:
                return False
        return texts.holds(self.text, text, strict=strict)

    def _holds_number(self, leaf: Leaf) -> bool:
        # Fields keep their own spelling (98.70); compared by value.
        if self._field_numbers is None:
            self._field_numbers = frozenset(filter(None, map(texts.number, self.whole or ())))
        return leaf.keys[-1][1:] in self._field_numbers

    def _holds_spaced(self, identifier: str) -> bool:
        if self._compact is None:
            self._compact = texts.compact(self.text)
        return identifier in self._compact and texts.holds_spaced(self.text, identifier)


class Trace:
    """The texts of one session under one set of trust options (`TRUST`)."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._trusted: Sequence[str] = options.get("trusted") or ()
        self._untrusted: Sequence[str] = options.get("untrusted") or ()
        self._fields: Mapping[str, Sequence[str]] = options.get("fields") or {}
        self._lookups: Sequence[str] = options.get("lookups") or ()
        #: What was said or given before any action, and the outputs of actions in the order in which they closed.
        self.given: list[Text] = []
        self.outputs: list[Text] = []
        self._used: list[tuple[int, Text, bool]] = []
        self._running: tuple[StepView, ...] = ()
        self._seen = (-1, "", -1)
        self._closed = 0
        self._grams: dict[str, Source] | None = None
        self._gram_texts = 0

    def read(self, state: SessionState) -> None:
        """Take what was said and done since the last time."""
        seen = (len(state.prompts), state.system, len(state.documents))
        if seen != self._seen:
            self._seen = seen
            self.given = list(_given(state))
            self._grams = None
        for position in range(self._closed, len(state.steps)):
            self._take(position, state.steps[position])
        self._closed = len(state.steps)
        self._running = tuple(step for step in state.in_flight.values() if step.status == "running")

    def all(self) -> Iterator[Text]:
        """Every text, oldest first."""
        yield from self.given
        yield from self.outputs

    def _take(self, position: int, step: StepView) -> None:
        if step.kind not in SOURCE_KINDS or not step.carried_out:
            return  # it wrote nothing into the world and read nothing from it
        self._used.append((position, _carried(step), _matches(step.name, self._lookups)))
        if step.error:
            self.outputs.append(Text(_source(position, step, False), texts.normal(step.error), step.time))
        if step.output_text:
            self.outputs.extend(self._texts(position, step))

    def _texts(self, position: int, step: StepView) -> Iterator[Text]:
        """One text for an output, or two where only some of its fields are trusted."""
        names = None if _matches(step.name, self._untrusted) else self._trusted_fields(step.name)
        if names is None or step.status == "error":
            trusted = step.status == "done" and self._trusts(step)
            yield Text(_source(position, step, trusted), _running_text(step), step.time)
            return
        inside, outside = _split(step.output, names)
        if inside:
            yield Text(_source(position, step, True), "\n".join(inside), step.time, frozenset(inside))
        text = _running_text(step) if outside is None else "\n".join(outside)
        if text:
            yield Text(_source(position, step, False), text, step.time)

    def _trusts(self, step: StepView) -> bool:
        if _matches(step.name, self._untrusted):
            return False
        return step.trusted or (step.kind == "tool_call" and _matches(step.name, self._trusted))

    def _trusted_fields(self, name: str) -> frozenset[str] | None:
        for pattern, names in self._fields.items():
            if fnmatchcase(name, pattern):
                return frozenset(names)
        return None

    def vouching(self, leaf: Leaf) -> Source | None:
        """The first trusted source that vouches for a value (rules 3 and 4 of the provenance module)."""
        for text in self.given:
            if text.source.trusted and text.holds(leaf, strict=True):
                return text.source
        uses: list[tuple[int, int, bool]] | None = None
        for text in self.outputs:
            if not text.source.trusted or not text.holds(leaf, strict=True):
                continue
            if uses is None:
                uses = self._uses(leaf)
            if not any(_echoes(leaf, text, use) for use in uses):
                return text.source
        return None

    def _uses(self, leaf: Leaf) -> list[tuple[int, int, bool]]:
        """Actions that carried a value: position among the closed actions, time of asking, whether it is a lookup."""
        uses = [(at, text.time, lookup) for at, text, lookup in self._used if text.holds(leaf, strict=False)]
        running = [_carried(step) for step in self._running if step.kind in SOURCE_KINDS]
        return uses + [(self._closed, text.time, False) for text in running if text.holds(leaf, strict=False)]

    def accusing(self, leaf: Leaf) -> Source | None:
        """The first untrusted source that holds a value."""
        for text in self.all():
            if not text.source.trusted and text.holds(leaf, strict=False):
                return text.source
        return None

    def named(self, leaf: Leaf) -> bool:
        """True when the user said the value."""
        return any(text.source.origin == "user" and text.holds(leaf, strict=True) for text in self.given)

    def copied(self, leaf: Leaf) -> tuple[float, Source] | None:
        """Which share of a text came in first by untrusted texts, and by which; ``None`` for none.

        Compared by sequences of `NGRAM` words; a shorter text as one value.
        """
        grams = list(_grams(leaf.text))
        if leaf.text.count(" ") < NGRAM - 1 or not grams:
            source = self.accusing(leaf)
            return (1.0, source) if source and not self.vouching(leaf) else None
        first = self._first_grams()
        hits = [first[gram] for gram in grams if gram in first and not first[gram].trusted]
        return (len(hits) / len(grams), hits[0]) if hits else None

    def _first_grams(self) -> dict[str, Source]:
        """Word sequence -> the source that held it first; what was given counts before all outputs."""
        if self._grams is None:
            self._grams = {}
            self._gram_texts = 0
            for text in self.given:
                for gram in _grams(text.text):
                    held = self._grams.setdefault(gram, text.source)
                    if text.source.trusted and not held.trusted:
                        self._grams[gram] = text.source
        for text in self.outputs[self._gram_texts :]:
            for gram in _grams(text.text):
                self._grams.setdefault(gram, text.source)
        self._gram_texts = len(self.outputs)
        return self._grams


def _grams(text: str) -> Iterator[str]:
    """Sequences of `NGRAM` words, without the marks around words."""
    words = [bare for word in text.split() if (bare := word.strip(MARKS))]
    for at in range(len(words) - NGRAM + 1):
        yield " ".join(words[at : at + NGRAM])


def _echoes(leaf: Leaf, text: Text, use: tuple[int, int, bool]) -> bool:
    """True when an output may only repeat what an action wrote, or was asked with."""
    at, time, lookup = use
    step = text.source.step
    if at == step:
        return not (lookup and text.whole is not None)
    # A short number stands in too many places to say that it was carried from one to the other.
    return not (leaf.digits and len(leaf.text) < SHORT_NUMBER) and (at < step or time < text.time)


def _given(state: SessionState) -> Iterator[Text]:
    for prompt in state.prompts:
        yield Text(Source("user", "", -1, True), texts.normal(prompt))
    if state.system:
        yield Text(Source("system", "", -1, True), texts.normal(state.system))
    for document in state.documents:
        source = Source("document", document.id, -1, document.trusted)
        yield Text(source, texts.normal(f"{document.title}\n{document.text}"))


def _source(position: int, step: StepView, trusted: bool) -> Source:
    return Source("tool" if step.kind == "tool_call" else step.kind, step.name, position, trusted)


def _running_text(step: StepView) -> str:
    """An output as running text in normal form, with escapes resolved, so that no word hides behind one."""
    output = step.output
    if not isinstance(output, str):
        found = fields(output)
        if found is not None:
            return "\n".join(filter(None, (_normal(each.value) for each in found)))
        output = step.output_text
    plain = texts.normal(output)
    return plain if "\\" not in output else f"{plain}\n{texts.normal(unescaped(output))}"


def _split(output: Any, names: frozenset[str]) -> tuple[list[str], list[str] | None]:
    """Normal values of the trusted fields and of the others; ``None`` for the others where there is no structure."""
    found = fields(output)
    if found is None:
        return [], None
    inside: list[str] = []
    outside: list[str] = []
    for path, value in found:
        text = _normal(value)
        if text:
            prefixes = (".".join(path[:length]) for length in range(1, len(path) + 1))
            (inside if any(prefix in names for prefix in prefixes) else outside).append(text)
    return inside, outside


def _normal(value: Any) -> str:
    if isinstance(value, str):
        return texts.normal(value)
    return texts.number(value) or texts.normal(str(value))


def _carried(step: StepView) -> Text:
    """What an action carried: the texts in its arguments."""
    found = fields({"": step.arguments})
    if found is None:
        held = texts.normal(str(step.arguments))
    else:
        held = "\n".join(filter(None, (_normal(each.value) for each in found)))
    return Text(_source(-1, step, False), held, step.time)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


class _Memory:
    """The traces of one session: by what the options say, and (quicker) by the options themselves."""

    def __init__(self, state: SessionState, forget: Callable[[Any], None]) -> None:
        self.state = weakref.ref(state, forget)
        self.by_trust: dict[str, Trace] = {}
        self.by_options: dict[int, tuple[Mapping[str, Any], Trace]] = {}


# What is remembered. Keyed by identity, because states compare by value; dropped with the state.
_MEMORY: dict[int, _Memory] = {}


def _forgetting(key: int) -> Callable[[Any], None]:
    def forget(_: Any) -> None:
        _MEMORY.pop(key, None)

    return forget


def trace(state: SessionState, options: Mapping[str, Any]) -> Trace:
    """The texts of a session under the trust that ``options`` state, read up to now."""
    key = id(state)
    memory = _MEMORY.get(key)
    if memory is None or memory.state() is not state:
        memory = _MEMORY[key] = _Memory(state, _forgetting(key))
    # The options are kept, so that no other table can take their identity; a rule's options do not change.
    kept = memory.by_options.get(id(options))
    if kept is not None:
        found = kept[1]
    else:
        trust = repr([options.get(name) for name in TRUST])
        found = memory.by_trust.setdefault(trust, Trace(options))
        if len(memory.by_options) < MOST_RULES:
            memory.by_options[id(options)] = (options, found)
    found.read(state)
    return found
