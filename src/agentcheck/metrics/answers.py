"""What the agent said, held against the case: exact match, and pieces it must or must not hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from agentcheck.metrics.matching import name_matches, number
from agentcheck.metrics.measure import (
    Measure,
    Said,
    held_to,
    listed,
    measured,
    not_measured,
    reached,
    said_events,
    shown,
)
from agentcheck.metrics.options import Options, read
from agentcheck.metrics.pieces import Text
from agentcheck.metrics.structured import compare
from agentcheck.metrics.text import normal, parse_number
from agentcheck.records import Score, Step, Transcript

_EDGES = re.compile(r"^[\W_]+|[\W_]+$")


class ExactOptions(Options):
    """``case``: letters' case counts. ``punctuation``: marks at the ends of the answer count."""

    case: bool = False
    punctuation: bool = False


class ContainsOptions(Options):
    """``tools``: patterns of tools whose arguments must not hold what the case excludes either."""

    tools: tuple[str, ...] = ()


def make_exact(options: Mapping[str, Any]) -> Measure:
    """Share of expected answers (the final one, and those of turns) that the agent gave, in normal form.

    Normal form: NFKC, case and white space aside, no marks at the ends. An expected number is equal by value
    (``1,234.50`` is ``1234.5``). An expected list or table is compared with the JSON in the answer.
    """
    chosen = read(ExactOptions, options, "exact_match")
    return Measure(chosen.name or "exact_match", partial(exact_match, options=chosen))


def make_contains(options: Mapping[str, Any]) -> Measure:
    """Share of ``contains`` found in the answers; 0 where anything of ``excludes`` was said.

    The final answer is held to the case's lists, the answer of a turn to the turn's. The case's ``excludes`` holds
    for every message that was sent, not only for the final answer. See `pieces.Text` for how a piece is found.
    """
    chosen = read(ContainsOptions, options, "contains")
    return Measure(chosen.name or "contains", partial(contains, options=chosen))


def exact_match(transcript: Transcript, options: ExactOptions) -> Score:
    """See `make_exact`."""
    wanted = held_to(transcript, "answer", transcript.case.answer)
    if not wanted:
        return not_measured("the case expects no answer")
    wrong = [said for said in wanted if not _same(said, options)]
    words = [f"turn {said.turn}: expected {shown(said.expected)}, got {shown(said.text)}" for said in wrong]
    events = [seq for said in wanted for seq in said.events]
    reason = listed(words) if words else "equal"
    return measured((len(wanted) - len(wrong)) / len(wanted), reason, events, wrong=[said.turn for said in wrong])


def _same(said: Said, options: ExactOptions) -> bool:
    if said.expected == said.text:
        return True
    if isinstance(said.expected, (Mapping, list, tuple)):
        return compare(said.expected, said.text, subset=False).value == 1.0
    if isinstance(said.expected, bool):
        return normal(said.text).strip(".! ") in (("true", "yes") if said.expected else ("false", "no"))
    wanted = number(said.expected) if not isinstance(said.expected, str) else parse_number(said.expected)
    if wanted is not None and not options.punctuation and parse_number(said.text.strip(" .")) == wanted:
        return True
    return _form(str(said.expected), options) == _form(said.text, options)


def _form(text: str, options: ExactOptions) -> str:
    form = " ".join(text.split()) if options.case else normal(text)
    # A sign belongs to a number, so marks are stripped only from what is not one.
    return form if options.punctuation or parse_number(form) is not None else _EDGES.sub("", form) or form


def contains(transcript: Transcript, options: ContainsOptions) -> Score:
    """See `make_contains`."""
    wanted = list(pieces_of(held_to(transcript, "contains", transcript.case.contains)))
    unwanted = list(pieces_of(held_to(transcript, "excludes")))
    everywhere = [piece for piece in transcript.case.excludes if piece]
    if not (wanted or unwanted or everywhere):
        return not_measured("the case names no piece to find or to miss")
    if not (transcript.answers or transcript.steps):
        return not_measured("the agent did nothing")
    absent = [(said.turn, piece) for said, piece in wanted if not Text(said.text).holds(piece)]
    leaks = [(f"turn {said.turn}", piece, said.events) for said, piece in unwanted if Text(said.text).leaks(piece)]
    leaks += _leaked(transcript, everywhere, options)
    words = [f"{where} says {shown(piece)}, which is excluded" for where, piece, _ in leaks]
    words += [f"turn {turn} lacks {shown(piece)}" for turn, piece in absent]
    share = (len(wanted) - len(absent)) / len(wanted) if wanted else 1.0
    events = [seq for _, _, found in leaks for seq in found] + [seq for said, _ in wanted for seq in said.events]
    return measured(
        0.0 if leaks else share,
        listed(words)
        if words
        else f"{len(wanted)} pieces found, {len(unwanted) + len(everywhere)} excluded ones absent",
        events or said_events(transcript, len(transcript.answers)),
        absent=[piece for _, piece in absent],
        leaked=[piece for _, piece, _ in leaks],
    )


def pieces_of(wanted: Iterable[Said]) -> Iterator[tuple[Said, str]]:
    """Each piece that an expectation names, with the answer that it is looked for in; one text is one piece."""
    for said in wanted:
        pieces = [said.expected] if isinstance(said.expected, str) else said.expected
        for piece in pieces:
            yield said, str(piece)


def _leaked(
    transcript: Transcript, excluded: list[str], options: ContainsOptions
) -> list[tuple[str, str, tuple[int, ...]]]:
    """Where an excluded piece was said: in a message that was sent, in an answer, or to one of the named tools."""
    if not excluded:
        return []
    places = [
        (f"{step.name} (turn {step.turn})", Text("\n".join(_strings(step.arguments))), step.seqs)
        for step in transcript.steps
        if reached(step) and _speaks(step, options)
    ]
    sent = {text.normal for _, text, _ in places}
    for turn, answer in enumerate(transcript.answers, start=1):
        text = Text(answer)
        if text.normal not in sent:
            places.append((f"answer (turn {turn})", text, said_events(transcript, turn)))
    return [(where, piece, events) for where, text, events in places for piece in excluded if text.leaks(piece)]


def _speaks(step: Step, options: ContainsOptions) -> bool:
    if step.kind == "message":
        return True
    return step.kind == "tool_call" and any(name_matches(step.name, pattern) for pattern in options.tools)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)
    elif value is not None:
        yield str(value)
