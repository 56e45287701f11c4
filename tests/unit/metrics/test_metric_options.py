"""Options of metrics are read strictly, and every metric can be used twice under two names."""

from __future__ import annotations

import pytest

from agentcheck.errors import SuiteError
from agentcheck.metrics.builtin import METRICS
from agentcheck.plugins import load, resolve
from agentcheck.records import Case
from fakes_transcript import score, transcript


@pytest.mark.parametrize("name", METRICS)
def test_an_unknown_option_is_refused_and_named(name: str) -> None:
    """A misspelt option stops the suite and names the metric and the option."""
    with pytest.raises(SuiteError, match=f"{name}.*'nmae'") as caught:
        resolve(METRICS[name])({"nmae": "x"})
    assert "did you mean 'name'?" in str(caught.value)


def test_a_wrong_value_is_refused_and_named() -> None:
    """An option out of range or of the wrong kind names itself."""
    for options in ({"support": 1.5}, {"support": "much"}, {"turns": "first"}):
        with pytest.raises(SuiteError, match=next(iter(options))):
            resolve(METRICS["groundedness"])(options)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_can_be_given_another_name(name: str) -> None:
    """``name`` renames the score, so that a suite can use one metric with two sets of options."""
    assert score(name, transcript(Case("c", "p")), name="second").metric == "second"
    assert score(name, transcript(Case("c", "p"))).metric == name


def test_the_registry_lists_every_metric() -> None:
    """The names that suite files use are registered by the room."""
    assert set(METRICS) <= set(load(entry_points=False).names("metrics"))
