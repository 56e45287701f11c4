"""What all metrics here share: a plain function of a transcript, named, with a direction, that cannot break a run."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from agentcheck.errors import JudgeError
from agentcheck.records import Score, Step, Transcript

Direction = Literal["higher", "lower"]
#: What a measure gives: a `Score` whose metric name is filled in by `Measure`.
Function = Callable[[Transcript], Score]
_SHOWN = 120


@dataclass(frozen=True)
class Measure:
    """A metric made of a pure function; implements `contracts.Metric`.

    ``direction`` says whether a threshold is a least or a most; ``highest`` bounds the value (``None`` = unbounded).
    A ``heavy`` function runs in a thread, so that other trials and their time limits go on meanwhile.
    """

    name: str
    function: Function
    direction: Direction = "higher"
    highest: float | None = 1.0
    heavy: bool = False

    async def score(self, transcript: Transcript) -> Score:
        """Measure; a function that raises, or gives NaN or a value out of range, is ``error``, never a low value."""
        try:
            score = await asyncio.to_thread(self.function, transcript) if self.heavy else self.function(transcript)
            if score.value is not None:
                check_value(score.value, self.highest)
        except JudgeError as error:
            return Score(self.name, None, reason=error.what, status="error")
        except Exception as error:
            return Score(self.name, None, reason=f"{type(error).__name__}: {error}", status="error")
        events = tuple(sorted(set(score.events)))
        # As `replace` would make it, in a third of the time: this runs for every score of a run.
        return Score(
            self.name, score.value, score.reason, score.status, score.threshold, score.passed, events, score.detail
        )


def check_value(value: float, highest: float | None) -> None:
    """Refuse NaN, infinities and values outside 0..``highest``.

    Raises:
        JudgeError: the value is none that a score may have.
    """
    if not math.isfinite(value) or value < 0 or (highest is not None and value > highest):
        raise JudgeError(f"the metric gave {value!r}, which is not a value from 0 to {highest or 'infinity'}")


def measured(value: float, reason: str, events: Iterable[int] = (), **detail: Any) -> Score:
    """A value with its reason, the events that explain it, and details (JSON values)."""
    return Score("", value, reason, events=tuple(events), detail=detail)


def not_measured(reason: str, events: Iterable[int] = (), **detail: Any) -> Score:
    """Nothing to measure here, and why; never reads as a value."""
    return Score("", None, reason, status="not_measured", events=tuple(events), detail=detail)


def reached(step: Step) -> bool:
    """True when the action reached the world, whatever came back; one stopped half-way may have had its effect."""
    return step.carried_out or step.status == "cancelled"


def seqs(steps: Iterable[Step]) -> Iterator[int]:
    """The sequence numbers of the events of steps."""
    for step in steps:
        yield from step.seqs


def shown(value: Any) -> str:
    """A value as it is quoted in a reason: one line, shortened."""
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def listed(items: Iterable[str], most: int = 5) -> str:
    """Items for a reason, joined, with the number of those left out."""
    found = list(items)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return "; ".join(found[:most]) + more


class Said(NamedTuple):
    """An answer and what it is held to: its turn (from 1), its text, the expectation, the events that show it."""

    turn: int
    text: str
    expected: Any
    events: tuple[int, ...]


def said_events(transcript: Transcript, turn: int) -> tuple[int, ...]:
    """The events that show what the agent said last in a turn; where it said nothing, the turn's last action."""
    of_turn = [step for step in transcript.steps if step.turn == turn]
    messages = [step for step in of_turn if step.kind == "message"]
    last = (messages or of_turn or list(transcript.steps))[-1:]
    return tuple(seqs(last))


def answer_of(transcript: Transcript, turn: int) -> str:
    """The answer of a turn (from 1); empty where the conversation did not get there or the agent said nothing."""
    return transcript.answers[turn - 1] if 0 < turn <= len(transcript.answers) else ""


def held_to(transcript: Transcript, key: str, final: Any = None) -> list[Said]:
    """Answers and what each is held to: ``turns[i].expect[key]``, then the final answer to ``final``.

    The first turn is the prompt, so ``case.turns[0]`` is turn 2. A key that is empty or absent holds nothing.
    """
    found = []
    for turn, scripted in enumerate(transcript.case.turns, start=2):
        wanted = scripted.expect.get(key)
        if wanted not in (None, [], (), {}, ""):
            found.append(Said(turn, answer_of(transcript, turn), wanted, said_events(transcript, turn)))
    if final not in (None, [], (), {}, ""):
        last = len(transcript.case.turns) + 1
        spoken = transcript.answer if len(transcript.answers) >= last else ""
        found.append(Said(last, spoken, final, said_events(transcript, max(last, len(transcript.answers)))))
    return found
