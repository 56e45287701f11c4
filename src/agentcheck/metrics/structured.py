"""Structured match: the JSON in an answer against an expected value, with every differing path named."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

from agentcheck.metrics.matching import equal, is_condition
from agentcheck.metrics.measure import Measure, held_to, listed, measured, not_measured
from agentcheck.metrics.options import Options, read
from agentcheck.records import Score, Transcript

_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*?)```", re.DOTALL)
_DECODER = json.JSONDecoder()
#: Openings tried in a text that is not JSON as a whole; a bound, because each try may read to the end.
_MOST_OPENINGS = 50
_ABSENT = object()


class StructuredOptions(Options):
    """``match``: ``subset`` (further keys in the answer are fine) or ``equal`` (they count against it)."""

    match: Literal["subset", "equal"] = "subset"


class Comparison(NamedTuple):
    """Share of expected leaves that are found (with ``equal``, extra ones count), and each difference by path."""

    value: float
    differences: tuple[str, ...]
    leaves: int


def make(options: Mapping[str, Any]) -> Measure:
    """Share of the leaves of the expected JSON value that the answer's JSON holds at the same path.

    Leaves may be condition tables as in expected actions. The JSON is the whole answer, its first fenced block, or
    the first table or list in it; an answer without any scores 0.
    """
    chosen = read(StructuredOptions, options, "structured_match")
    return Measure(chosen.name or "structured_match", partial(structured_match, options=chosen))


def structured_match(transcript: Transcript, options: StructuredOptions) -> Score:
    """See `make`."""
    wanted = held_to(transcript, "answer", transcript.case.answer)
    if not wanted:
        return not_measured("the case expects no answer")
    subset = options.match == "subset"
    found = [(said, compare(_value(said.expected), said.text, subset=subset)) for said in wanted]
    words = [f"turn {said.turn}, {line}" for said, result in found for line in result.differences]
    return measured(
        sum(result.value for _, result in found) / len(found),
        listed(words) if words else f"all {sum(result.leaves for _, result in found)} values equal",
        [seq for said, _ in found for seq in said.events],
        differences=words[:100],
    )


def _value(expected: Any) -> Any:
    if not isinstance(expected, str):
        return expected
    try:
        return json.loads(expected)
    except ValueError:
        return expected


def compare(wanted: Any, answer: str, *, subset: bool) -> Comparison:
    """Compare the JSON found in an answer with a wanted value."""
    found = find_json(answer)
    if found is _ABSENT:
        return Comparison(0.0, ("$: the answer holds no JSON",), 0)
    results = list(_walk(wanted, found, "$", subset))
    wrong = tuple(line for line in results if line)
    return Comparison((len(results) - len(wrong)) / len(results) if results else 1.0, wrong, len(results))


def find_json(answer: str) -> Any:
    """The JSON value of an answer; a sentinel where it holds none."""
    blocks = [answer.strip(), *(match.group(1).strip() for match in _FENCE.finditer(answer))]
    for block in blocks:
        try:
            return json.loads(block)
        except (ValueError, RecursionError):
            continue
    for match in list(re.finditer(r"[{\[]", answer))[:_MOST_OPENINGS]:
        try:
            return _DECODER.raw_decode(answer, match.start())[0]
        except (ValueError, RecursionError):
            continue
    return _ABSENT


def _walk(wanted: Any, found: Any, path: str, subset: bool) -> Iterator[str]:
    """One line a leaf: empty where it is as wanted, otherwise what differs."""
    if isinstance(wanted, Mapping) and wanted and not is_condition(wanted) and isinstance(found, Mapping):
        for key, value in wanted.items():
            yield from _walk(value, found.get(key, _ABSENT), f"{path}.{key}", subset)
        if not subset:
            yield from (f"{path}.{key}: not expected" for key in found if key not in wanted)
    elif isinstance(wanted, (list, tuple)) and wanted and isinstance(found, list):
        for index, value in enumerate(wanted):
            yield from _walk(value, found[index] if index < len(found) else _ABSENT, f"{path}[{index}]", subset)
        # A list says all there is: further items count in both ways of matching.
        yield from (f"{path}[{index}]: not expected" for index in range(len(wanted), len(found)))
    elif found is _ABSENT:
        yield f"{path}: absent"
    else:
        yield "" if equal(wanted, found) else f"{path}: wanted {_short(wanted)}, found {_short(found)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 120 else text[:119] + "…"
