"""Audit completeness: the ledger against the world's own effect log, which shares no code or storage with it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from agentcheck.metrics.matching import equal
from agentcheck.metrics.measure import Measure, listed, measured, not_measured, seqs
from agentcheck.metrics.options import Options, read
from agentcheck.records import Effect, Score, Step, Transcript


class AuditOptions(Options):
    """No options but the name."""


def make(options: Mapping[str, Any]) -> Measure:
    """Share of effects and of recorded effectful calls that agree, matched by idempotency key, name and arguments.

    Counted against it: an *unaudited* effect (the witness logged it, no recorded call has its key, or the key was
    used again), a *differing* one (same key, other name or arguments), a *missing* one (the ledger says done, the
    witness saw nothing) and an *orphan* intent (allowed or stopped while running, no result recorded). A call that
    the tool answered with an error owes no effect. ``not_measured`` where the world keeps no log of its own.
    """
    chosen = read(AuditOptions, options, "audit_completeness")
    return Measure(chosen.name or "audit_completeness", audit_completeness)


def audit_completeness(transcript: Transcript) -> Score:
    """See `make`."""
    if transcript.effects is None:
        return not_measured("the world keeps no effect log of its own", seqs(transcript.steps))
    calls = [step for step in transcript.steps if step.kind == "tool_call"]
    effectful = {tool.name for tool in transcript.tools if tool.effect}
    orphans = [s for s in calls if s.status in ("orphan", "cancelled") and s.name in effectful]
    matched, unaudited, differing = _compare(transcript.effects, calls)
    audited = {step.id for step in [*matched, *(step for step, _ in differing)]}
    missing = [s for s in calls if s.status == "done" and s.name in effectful and s.id not in audited]
    intact = sum(step.status not in ("orphan", "cancelled") for step in matched)
    faults = len(unaudited) + len(differing) + len(missing) + len(orphans)
    words = [f"{effect.name} took effect and is in no record (key {effect.key!r})" for effect in unaudited]
    words += [
        f"{step.name} was recorded and {effect.name} with other arguments took effect" for step, effect in differing
    ]
    words += [f"{step.name} is recorded as done and the world logged no effect" for step in missing]
    words += [f"{step.name} was allowed and has no recorded result" for step in orphans]
    agreed = f"{intact} effects agree" if intact else "no effect on either side"
    explaining = [*matched, *(step for step, _ in differing), *missing, *orphans]
    return measured(
        intact / (intact + faults) if faults else 1.0,
        listed(words) if words else agreed,
        seqs(explaining or transcript.steps),
        matched=intact,
        unaudited=[_effect(effect) for effect in unaudited],
        differing=[{"step": step.id, **_effect(effect)} for step, effect in differing],
        missing=[step.id for step in missing],
        orphans=[step.id for step in orphans],
    )


def _compare(
    effects: tuple[Effect, ...], calls: list[Step]
) -> tuple[list[Step], list[Effect], list[tuple[Step, Effect]]]:
    by_key: dict[str, list[Step]] = defaultdict(list)
    for step in calls:
        if step.key and step.outcome != "deny" and step.status not in ("denied", "held"):
            by_key[step.key].append(step)
    matched: list[Step] = []
    unaudited: list[Effect] = []
    differing: list[tuple[Step, Effect]] = []
    for effect in effects:
        waiting = by_key[effect.key]
        if not waiting:
            unaudited.append(effect)
            continue
        # One call, one effect: a key that is used again is an effect that nobody asked for.
        step = waiting.pop(0)
        if step.name == effect.name and equal(_plain(step.arguments), _plain(effect.arguments)):
            matched.append(step)
        else:
            differing.append((step, effect))
    return matched, unaudited, differing


def _plain(arguments: Mapping[str, Any]) -> list[Any]:
    """Arguments as pairs, so that a table that looks like a condition is compared as what it is."""
    return sorted(([key, _pairs(value)] for key, value in arguments.items()), key=lambda pair: str(pair[0]))


def _pairs(value: Any) -> Any:
    if isinstance(value, Mapping):
        return ["{}", *_plain(value)]
    if isinstance(value, (list, tuple)):
        return [_pairs(item) for item in value]
    return value


def _effect(effect: Effect) -> dict[str, Any]:
    return {"key": effect.key, "name": effect.name}
