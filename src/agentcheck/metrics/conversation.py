"""What an agent keeps and mends over several turns: retained facts, corrected values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agentcheck.metrics.answers import pieces_of
from agentcheck.metrics.measure import Measure, held_to, listed, measured, not_measured, said_events, shown
from agentcheck.metrics.options import Options, read
from agentcheck.metrics.pieces import Text
from agentcheck.metrics.text import normal, sentences
from agentcheck.records import Score, Transcript

#: Words that mark an old value as old, so that naming it in passing is no mistake.
_MARKED_OLD = re.compile(
    r"\b(?:not|no longer|never|instead of|rather than|replac\w+|correct\w+|chang\w+ from|was|were|previous\w*|former\w*"
    r"|earlier|old|wrong\w*|mistake\w*|sorry|apolog\w+|updated? from|(?:isn|wasn|aren|weren)['’]t)\b"
)


class PlainOptions(Options):
    """No options but the name."""


def make_retention(options: Mapping[str, Any]) -> Measure:
    """Share of the facts in ``expect.retains`` of the turns that the answers of those turns still hold."""
    chosen = read(PlainOptions, options, "retention")
    return Measure(chosen.name or "retention", retention)


def make_correction(options: Mapping[str, Any]) -> Measure:
    """Share of the corrections in ``expect.corrects`` (old value -> new value) that the agent took over.

    Taken over: the answer of the turn holds the new value and does not state the old one (naming it as the old one,
    as in "12, not 15", is fine), and no later answer states the old one without the new.
    """
    chosen = read(PlainOptions, options, "correction")
    return Measure(chosen.name or "correction", correction)


def retention(transcript: Transcript) -> Score:
    """See `make_retention`."""
    wanted = list(pieces_of(held_to(transcript, "retains")))
    if not wanted:
        return not_measured("no turn of the case says what must be retained")
    lost = [(said, piece) for said, piece in wanted if not Text(said.text).holds(piece)]
    words = [f"turn {said.turn} no longer holds {shown(piece)}" for said, piece in lost]
    return measured(
        (len(wanted) - len(lost)) / len(wanted),
        listed(words) if words else f"all {len(wanted)} facts retained",
        [seq for said, _ in wanted for seq in said.events],
        lost=[{"turn": said.turn, "fact": piece} for said, piece in lost],
    )


def correction(transcript: Transcript) -> Score:
    """See `make_correction`."""
    wanted = [
        (said, str(old), str(new))
        for said in held_to(transcript, "corrects")
        for old, new in (said.expected.items() if isinstance(said.expected, Mapping) else ())
    ]
    if not wanted:
        return not_measured("no turn of the case says what was corrected")
    faults = []
    events = [seq for said, _, _ in wanted for seq in said.events]
    for said, old, new in wanted:
        fault = _fault(said.text, old, new)
        where = said.turn
        if not fault:
            where = _relapse(transcript, said.turn, old, new)
            fault = f"states {shown(old)} again, which was corrected to {shown(new)}" if where else ""
            events += said_events(transcript, where) if where else ()
        if fault:
            faults.append({"turn": where, "old": old, "new": new, "why": fault})
    return measured(
        (len(wanted) - len(faults)) / len(wanted),
        listed(f"turn {fault['turn']} {fault['why']}" for fault in faults)
        or f"all {len(wanted)} corrections taken over",
        events,
        faults=faults,
    )


def _fault(answer: str, old: str, new: str) -> str:
    if not Text(answer).holds(new):
        return f"lacks the corrected {shown(new)}"
    return f"still states {shown(old)}" if _states(answer, old, new) else ""


def _relapse(transcript: Transcript, turn: int, old: str, new: str) -> int:
    """The first later turn whose answer states the old value and not the new one; 0 where there is none."""
    for later, answer in enumerate(transcript.answers[turn:], start=turn + 1):
        if not Text(answer).holds(new) and _states(answer, old, new):
            return later
    return 0


def _states(answer: str, old: str, new: str) -> bool:
    """True when a sentence gives the old value as current. Inside the new value (15 mg in 115 mg) it is none."""
    for sentence in sentences(answer):
        rest = normal(sentence).replace(normal(new), " ") if normal(old) in normal(new) else sentence
        if Text(rest).holds(old) and not _MARKED_OLD.search(normal(sentence)):
            return True
    return False
