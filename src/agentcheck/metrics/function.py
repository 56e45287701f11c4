"""A plain function of a transcript as a metric: ``def politeness(transcript): return "thank" in transcript.answer``."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agentcheck.errors import JudgeError, SuiteError
from agentcheck.metrics.measure import said_events
from agentcheck.metrics.options import known_keys
from agentcheck.records import Score, Transcript

#: Keys of a ``[[metrics]]`` table that are not handed to the function.
RESERVED = ("name", "direction")


def factory(target: Any) -> Callable[[Mapping[str, Any]], FunctionMetric] | None:
    """The factory of a metric whose function is given in its place; ``None`` for what is a factory already.

    A function is told from a factory by its first parameter, which is called ``transcript`` or annotated `Transcript`.
    """
    if inspect.isclass(target) or not callable(target):
        return None
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return None
    if not parameters:
        return None
    annotation = parameters[0].annotation
    named = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    if parameters[0].name != "transcript" and named.rpartition(".")[2] != Transcript.__name__:
        return None
    return lambda options: _made(target, options)


@dataclass(frozen=True)
class FunctionMetric:
    """Implements `contracts.Metric`. A function that waits for nothing runs in a thread, beside other trials."""

    name: str
    function: Callable[..., Any]
    direction: str = "higher"
    options: Mapping[str, Any] = field(default_factory=dict)

    async def score(self, transcript: Transcript) -> Score:
        """What the function gives: a number, a truth value, a `Score`, or ``None`` for nothing to measure.

        Raises:
            JudgeError: it gave something else, or no finite number.
        """
        if inspect.iscoroutinefunction(self.function):
            found = await self.function(transcript, **self.options)
        else:
            found = await asyncio.to_thread(self.function, transcript, **self.options)
        if isinstance(found, Score):
            return replace(found, metric=self.name)
        if found is None:
            return Score(self.name, None, "the function gave no value", "not_measured")
        if not isinstance(found, (bool, int, float)):
            raise JudgeError(f"the function gave {type(found).__name__}; expected a number, True or False, or a Score")
        if not math.isfinite(found):
            raise JudgeError(f"the function gave {found!r}, which is no finite number")
        # A bare value cannot say what explains it: the last thing that the agent said is where a reader begins.
        events = tuple(sorted(set(said_events(transcript, len(transcript.answers)))))
        return Score(self.name, float(found), f"{self.name} gave {found}", events=events)


def _made(target: Any, options: Mapping[str, Any]) -> FunctionMetric:
    name = str(options.get("name") or getattr(target, "__name__", type(target).__name__))
    direction = options.get("direction", getattr(target, "direction", "higher"))
    if direction not in ("higher", "lower"):
        raise SuiteError(
            f"the metric {name!r}, option 'direction': {direction!r}", key="direction", advice="one of: higher, lower"
        )
    further = {key: value for key, value in options.items() if key not in RESERVED}
    parameters = list(inspect.signature(target).parameters.values())[1:]
    if not any(each.kind is each.VAR_KEYWORD for each in parameters):
        known = [each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
        for key in further:
            if key not in known:
                raise SuiteError(
                    f"the metric {name!r} has no option {key!r}", key=key, advice=known_keys(key, [*known, *RESERVED])
                )
    for each in parameters:
        if (
            each.default is each.empty
            and each.name not in further
            and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ):
            raise SuiteError(f"the metric {name!r} needs the option {each.name!r}")
    return FunctionMetric(name, target, direction, further)
