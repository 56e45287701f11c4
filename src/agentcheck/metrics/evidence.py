"""The context an agent saw, cut into segments to search: documents, tool outputs, what became of its calls."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from agentcheck.metrics.reading import Reading, read, union
from agentcheck.metrics.text import sentences
from agentcheck.records import Step, Transcript

#: Characters of context that are read; with more, a claim that is not found is not measured, rather than refused.
MOST_CHARACTERS = 1_000_000
_LONG_VALUE = 200
_BLOCK = 12
_CANDIDATES = 8
#: Places looked up for one claim, those of its rarest words first; keeps a repetitive context from stalling a run.
_LOOKUPS = 5_000


@dataclass(frozen=True)
class Segment:
    """One sentence or record of the context; ``source`` as ``document d1`` or ``tool get_bill``."""

    source: str
    text: str
    reading: Reading
    block: int
    turn: int = 0
    events: tuple[int, ...] = ()


@dataclass
class Context:
    """All segments with an index from stems to segments."""

    segments: list[Segment] = field(default_factory=list)
    titles: dict[str, frozenset[str]] = field(default_factory=dict)
    postings: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    blocks: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    values: set[Decimal] = field(default_factory=set)
    characters: int = 0
    left_out: int = 0
    _readings: dict[str, Reading] = field(default_factory=dict)

    def add(
        self, source: str, lines: Iterator[tuple[int, str]], *, turn: int = 0, events: tuple[int, ...] = ()
    ) -> None:
        """Add the ``(paragraph, text)`` lines of one source."""
        base = len(self.blocks)
        for paragraph, text in lines:
            if self.characters + len(text) > MOST_CHARACTERS:
                self.left_out += len(text)
                continue
            self.characters += len(text)
            index = len(self.segments)
            reading = self._readings.setdefault(text, self._readings.get(text) or read(text))
            segment = Segment(source, text, reading, base + paragraph, turn, events)
            self.segments.append(segment)
            self.values |= reading.values
            self.blocks[segment.block].append(index)
            for stem in segment.reading.stems:
                self.postings[stem].append(index)

    def nearest(self, claim: Reading, turn: int) -> list[int]:
        """The segments that share most with a claim, best first; only what was seen by that turn."""
        shares: Counter[int] = Counter()
        left = _LOOKUPS
        found = sorted(
            (self.postings[stem] for stem in claim.stems if stem in self.postings), key=lambda p: (len(p), p[0])
        )
        for postings in found:
            shares.update(postings[:left])
            left -= min(left, len(postings))
        seen = ((index, count) for index, count in shares.items() if self.segments[index].turn <= turn)
        return [index for index, _ in sorted(seen, key=lambda pair: (-pair[1], pair[0]))[:_CANDIDATES]]

    def windows(self, index: int) -> Iterator[Reading]:
        """The segment, it with its neighbours, and its paragraph or record, each under the title of its source."""
        segment = self.segments[index]
        block = self.blocks[segment.block]
        at = bisect_left(block, index)
        for members in ([index], block[max(0, at - 1) : at + 2], block[max(0, at - _BLOCK // 2) : at + _BLOCK // 2]):
            found = union(self.segments[member].reading for member in members)
            titled = found.stems | self.titles.get(segment.source, frozenset())
            yield Reading(titled, found.pairs, found.numbers, found.names, found.negated)


def gather(transcript: Transcript, *, trusted_only: bool, prompts: bool) -> Context:
    """The context of a trial.

    Documents of the case, outputs of tools, and what became of calls that change the world (a call that was refused is
    context for saying so, not for saying that it was done). ``trusted_only`` leaves out documents and tools that an
    outsider could have written; ``prompts`` adds what the user said.
    """
    context = Context()
    for document in transcript.case.documents:
        if document.trusted or not trusted_only:
            source = f"document {document.id}"
            context.titles[source] = read(document.title[:1000]).stems
            context.add(source, _paragraphs(document.text))
    specs = {tool.name: tool for tool in transcript.tools}
    for step in transcript.steps:
        if step.kind != "tool_call":
            continue
        spec = specs.get(step.name)
        if step.status == "done" and not (trusted_only and spec is not None and not spec.trusted):
            context.add(f"tool {step.name}", _lines(step.output), turn=step.turn, events=step.seqs)
        if spec is None or spec.effect or step.status != "done":
            context.add(f"call {step.name}", iter([(0, _call(step))]), turn=step.turn, events=step.seqs)
    if prompts:
        for turn, prompt in enumerate(transcript.prompts, start=1):
            context.add(f"user turn {turn}", _paragraphs(prompt), turn=turn)
    return context


def _call(step: Step) -> str:
    """What became of a call, in words. What was refused is negated, so that it supports no claim of having done it."""
    name = step.name.replace("_", " ").replace(".", " ")
    arguments = ", ".join(f"{key} {text}" for key, text in _scalars(step.arguments))
    if step.status == "done":
        return f"{name} {arguments}"
    why = step.error or step.reason
    return f"not {name} {arguments}; {step.status} {step.control} {why}"


def _scalars(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _scalars(item, str(name).replace("_", " "))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _scalars(item, key)
    elif value is not None:
        yield key, str(value)


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    paragraph = 0
    for line in text.splitlines():
        if not line.strip():
            paragraph += 1
            continue
        yield from ((paragraph, sentence) for sentence in sentences(line))


def _lines(value: Any) -> Iterator[tuple[int, str]]:
    """A tool's output as records: scalars of one table are one line, long texts are sentences."""
    if isinstance(value, str):
        yield from _paragraphs(value)
        return
    for record, (short, long) in enumerate(_records(value, "")):
        if short:
            yield record, "; ".join(short)
        for text in long:
            yield from ((record, sentence) for sentence in sentences(text))


def _records(value: Any, path: str) -> Iterator[tuple[list[str], list[str]]]:
    if isinstance(value, Mapping):
        short, long = [], []
        nested: list[tuple[str, Any]] = []
        for key, item in value.items():
            name = str(key).replace("_", " ")
            if isinstance(item, (Mapping, list, tuple)) and not _flat(item):
                nested.append((f"{path} {name}".strip(), item))
            elif isinstance(item, str) and len(item) > _LONG_VALUE:
                long.append(item)
            else:
                text = ", ".join(str(part) for part in item) if isinstance(item, (list, tuple)) else str(item)
                short.append(f"{name}: {text}" if item is not None else f"no {name}")
        if short or long:
            yield ([f"{path}: {short[0]}", *short[1:]] if path and short else short), long
        for name, item in nested:
            yield from _records(item, name)
    elif isinstance(value, (list, tuple)) and not _flat(value):
        for item in value:
            yield from _records(item, path)
    elif value is not None:
        text = ", ".join(str(part) for part in value) if isinstance(value, (list, tuple)) else str(value)
        yield ([], [text]) if len(text) > _LONG_VALUE else ([f"{path}: {text}" if path else text], [])


def _flat(value: Any) -> bool:
    return isinstance(value, Sequence) and all(not isinstance(item, (Mapping, list, tuple)) for item in value)
