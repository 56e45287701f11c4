"""Transcripts for tests of metrics, written as the trial they tell: steps in order, sequence numbers by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from agentcheck.metrics.builtin import METRICS
from agentcheck.plugins import resolve
from agentcheck.records import Case, Score, Step, Transcript

_OUTCOMES = {"denied": "deny", "held": "hold"}


def step(name: str, arguments: Mapping[str, Any] | None = None, status: str = "done", **more: Any) -> Step:
    """A tool call; `transcript` gives it its id, key and sequence numbers."""
    given: dict[str, Any] = {"kind": "tool_call", "outcome": _OUTCOMES.get(status, "allow"), **more}
    return Step(id="", name=name, arguments=dict(arguments or {}), status=status, **given)


def said(text: str, turn: int = 1, **more: Any) -> Step:
    """The message that delivers an answer."""
    return step("answer", {"text": text}, kind="message", turn=turn, **more)


def transcript(
    case: Case | None = None, steps: Sequence[Step] = (), answers: Sequence[str] = (), **more: Any
) -> Transcript:
    """A trial with these steps and answers; each answer is also the message that carried it, at the turn's end."""
    ordered = [*steps, *(said(text, turn) for turn, text in enumerate(answers, start=1) if text)]
    numbered = [
        Step(
            **{
                **{name: getattr(each, name) for name in Step.__slots__},
                "id": f"a{index}",
                "key": each.key or f"s/a{index}",
                "seqs": (10 * index, 10 * index + 1),
            }
        )
        for index, each in enumerate(ordered, start=1)
    ]
    case = case or Case("c", "Do it.")
    prompts = tuple(more.pop("prompts", (case.prompt, *(turn.text for turn in case.turns))))
    return Transcript(case, "s::c#1", prompts=prompts, answers=tuple(answers), steps=tuple(numbered), **more)


def score(metric: str, trial: Transcript, **options: Any) -> Score:
    """The score of a built-in metric."""
    scored: Score = asyncio.run(resolve(METRICS[metric])(options).score(trial))
    return scored
