"""What a trial took: actions, seconds, dollars. Recorded; a threshold on them is a most, and they have no upper end."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from agentcheck.errors import JudgeError
from agentcheck.metrics.matching import name_matches
from agentcheck.metrics.measure import Measure, measured, not_measured, seqs
from agentcheck.metrics.options import Options, read
from agentcheck.records import ActionKind, Score, Transcript


class CountOptions(Options):
    """``kinds``: the kinds of actions that count; ``tools``: patterns of names, all where empty."""

    kinds: tuple[ActionKind, ...] = ("tool_call",)
    tools: tuple[str, ...] = ()


class PlainOptions(Options):
    """No options but the name."""


def make_action_count(options: Mapping[str, Any]) -> Measure:
    """How many actions the agent asked for, refused ones included; tool calls where the options say nothing."""
    chosen = read(CountOptions, options, "action_count")
    return Measure(chosen.name or "action_count", partial(action_count, options=chosen), "lower", None)


def make_latency(options: Mapping[str, Any]) -> Measure:
    """Seconds from the start of the trial to its end, as the ledger's clock has it."""
    chosen = read(PlainOptions, options, "latency_seconds")
    return Measure(chosen.name or "latency_seconds", latency_seconds, "lower", None)


def make_cost(options: Mapping[str, Any]) -> Measure:
    """US dollars spent on model calls; not measured where no action reports tokens or cost."""
    chosen = read(PlainOptions, options, "cost")
    return Measure(chosen.name or "cost", cost, "lower", None)


def action_count(transcript: Transcript, options: CountOptions) -> Score:
    """See `make_action_count`."""
    counted = [
        step
        for step in transcript.steps
        if step.kind in options.kinds
        and (not options.tools or any(name_matches(step.name, pattern) for pattern in options.tools))
    ]
    return measured(float(len(counted)), f"{len(counted)} actions asked", seqs(counted or transcript.steps))


def latency_seconds(transcript: Transcript) -> Score:
    """See `make_latency`."""
    seconds = max(0, transcript.duration) / 1_000_000
    return measured(seconds, f"{seconds:.3f} s", seqs(transcript.steps))


def cost(transcript: Transcript) -> Score:
    """See `make_cost`."""
    charged = [step for step in transcript.steps if step.input_tokens or step.output_tokens or step.cost != "0"]
    if not charged:
        return not_measured("no action reports tokens or cost", seqs(transcript.steps))
    try:
        dollars = sum((Decimal(step.cost) for step in charged), Decimal(0))
    except InvalidOperation:
        raise JudgeError("a recorded cost is no decimal number") from None
    tokens = sum(step.input_tokens + step.output_tokens for step in charged)
    return measured(float(dollars), f"{dollars} USD, {tokens} tokens", seqs(charged), tokens=tokens)
