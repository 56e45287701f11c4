"""Every metric keeps its contract on any transcript whatever."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentcheck.metrics.builtin import METRICS
from agentcheck.metrics.measure import Measure, measured
from agentcheck.plugins import resolve
from agentcheck.records import Case, Transcript
from kits.metric import check, transcripts


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(transcript=transcripts())
def test_a_metric_never_raises_and_explains_itself(name: str, transcript: Transcript) -> None:
    """On any transcript a metric gives a value in range or none with a status, twice the same, with its reason."""
    check(resolve(METRICS[name])({}), transcript)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1])
def test_a_value_that_no_score_may_have_is_an_error(value: float) -> None:
    """NaN, infinities and values out of range are a broken metric, never a low or a high value."""
    metric = Measure("planted", lambda transcript: measured(value, "planted"))
    score = asyncio.run(metric.score(Transcript(Case("c", ""), "s")))
    assert (score.status, score.value) == ("error", None)


@given(value=st.floats(0, 1))
def test_the_kit_sees_a_metric_that_does_not_explain_itself(value: float) -> None:
    """The kit can fail: a value without a reason is refused."""
    with pytest.raises(AssertionError):
        check(Measure("planted", lambda transcript: measured(value, "")), Transcript(Case("c", ""), "s"))
