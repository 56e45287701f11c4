"""Conformance kit for metrics: strategies for transcripts, and what every metric owes on any of them.

Use: ``check(metric, transcript)`` in a property test over ``transcripts()``. A metric never raises, gives a finite
value in its range or none with a status, gives the same score twice, changes nothing, and explains itself.
"""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

from hypothesis import strategies as st

from agentcheck.contracts import Metric
from agentcheck.records import (
    Case,
    Document,
    Effect,
    ExpectedAction,
    Recording,
    Score,
    Step,
    ToolSpec,
    Transcript,
    Turn,
)

NAMES = st.sampled_from(["send_payment", "get_bill", "search", "delete_file", "no such tool", "", "[x*?"])
WORDS = ["the", "dose", "is", "not", "400 mg", "1,234.50", "$5", "Ibuprofen", "INV-7", "known.", "paid", "?", "\n", "é"]
TEXTS = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join),
    st.text(max_size=40),
    st.sampled_from(
        ["", " ", "\x00\x1b[31m", "<script>", "=1+1", "{", '{"a": 1}', "[[", "\ud800", "９９", "1e999", "∞"]
    ),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(st.sampled_from(["amount", "to", "id", "one_of", "any"]), JSON, max_size=3)
CONDITIONS = st.sampled_from(
    [
        {"one_of": [1, "a"]},
        {"one_of": 3},
        {"contains": "a"},
        {"matches": "^a"},
        {"matches": "("},
        {"gt": 1, "lte": 9},
        {"gt": "x"},
        {"any": True},
    ]
)
WANTED = st.dictionaries(st.sampled_from(["amount", "to", "id"]), st.one_of(JSON, CONDITIONS), max_size=2)


def expected_actions() -> st.SearchStrategy[ExpectedAction]:
    """Lines of a case about actions, some with conditions that cannot be read."""
    return st.builds(
        ExpectedAction,
        name=NAMES,
        arguments=WANTED,
        kind=st.sampled_from(["tool_call", "message"]),
        outcome=st.sampled_from(["allow", "hold", "deny", "any"]),
        count=st.integers(0, 2),
    )


def steps() -> st.SearchStrategy[Step]:
    """Steps in every state, coherent or not: a metric may meet a ledger that another version wrote."""
    return st.builds(
        Step,
        id=st.integers(1, 9).map(lambda number: f"a{number}"),
        kind=st.sampled_from(["tool_call", "message", "model_call", "memory", "delegate"]),
        name=NAMES,
        arguments=ARGUMENTS,
        outcome=st.sampled_from(["allow", "hold", "deny"]),
        status=st.sampled_from(["done", "error", "denied", "held", "orphan", "cancelled"]),
        turn=st.integers(1, 3),
        control=st.sampled_from(["", "policy"]),
        output=JSON,
        error=TEXTS,
        key=st.sampled_from(["", "k1", "k2", "k3"]),
        input_tokens=st.integers(0, 10),
        cost=st.sampled_from(["0", "0.25", "x"]),
        approved=st.booleans(),
        seqs=st.lists(st.integers(1, 99), max_size=3).map(tuple),
    )


def turns() -> st.SearchStrategy[Turn]:
    """Scripted turns with expectations."""
    expect = st.fixed_dictionaries(
        {},
        optional={
            "answer": JSON,
            "contains": st.lists(TEXTS, max_size=2),
            "excludes": st.lists(TEXTS, max_size=2),
            "retains": st.lists(TEXTS, max_size=2),
            "corrects": st.dictionaries(TEXTS, TEXTS, max_size=2),
        },
    )
    return st.builds(Turn, text=TEXTS, expect=expect)


def _several(strategy: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=most).map(tuple)


def cases() -> st.SearchStrategy[Case]:
    """Cases that name all that a metric may read."""
    return st.builds(
        Case,
        id=st.just("c"),
        prompt=TEXTS,
        documents=_several(st.builds(Document, id=TEXTS, text=TEXTS, title=TEXTS, trusted=st.booleans()), 2),
        turns=_several(turns(), 2),
        answer=JSON,
        contains=_several(TEXTS, 2),
        excludes=_several(TEXTS, 2),
        expected=_several(expected_actions(), 3),
        forbidden=_several(expected_actions(), 2),
        metadata=st.sampled_from([{}, {"tool_calls": 2}]),
        recording=st.none() | st.just(Recording((), "r")),
    )


def transcripts() -> st.SearchStrategy[Transcript]:
    """Any transcript, from the empty one to ones that no run would leave."""
    return st.builds(
        Transcript,
        case=cases(),
        session=st.just("s::c#1"),
        prompts=_several(TEXTS, 3),
        answers=_several(TEXTS, 3),
        steps=_several(steps(), 5),
        effects=st.none()
        | _several(st.builds(Effect, key=st.sampled_from(["", "k1"]), name=NAMES, arguments=ARGUMENTS), 3),
        tools=_several(st.builds(ToolSpec, name=NAMES, effect=st.booleans(), trusted=st.booleans()), 3),
        duration=st.integers(-1, 10**12),
    )


def check(metric: Metric, transcript: Transcript) -> Score:
    """Hold a metric to its contract on one transcript, and give the score."""
    before = repr(transcript)
    score = asyncio.run(metric.score(transcript))
    assert repr(transcript) == before, "a metric changes nothing"
    assert score.metric == metric.name
    assert score.status in ("ok", "error", "not_measured")
    assert (score.value is None) == (score.status != "ok"), "no value, and only then, where nothing was measured"
    if score.value is not None:
        highest = getattr(metric, "highest", 1.0)
        assert math.isfinite(score.value)
        assert 0 <= score.value <= (highest if highest is not None else math.inf)
    assert score.reason, "every score says why"
    recorded = {seq for step in transcript.steps for seq in step.seqs}
    assert set(score.events) <= recorded, "the events that explain it are events of the trial"
    assert list(score.events) == sorted(set(score.events))
    if score.status == "ok" and all(step.seqs for step in transcript.steps) and transcript.steps:
        assert score.events, "a value names the events that explain it"
    json.dumps(score.detail, default=_refuse)
    again = asyncio.run(metric.score(transcript))
    assert repr(again) == repr(score), "the same transcript gives the same score"
    return score


def _refuse(value: Any) -> Any:
    raise AssertionError(f"a detail is no JSON value: {value!r}")
