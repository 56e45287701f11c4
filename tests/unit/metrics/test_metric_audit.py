"""The ledger against the world's own effect log, and what a trial took."""

from __future__ import annotations

from typing import Any

import pytest

from agentcheck.records import Case, Effect, Score, Step, ToolSpec
from fakes_transcript import score, step, transcript

TOOLS = (ToolSpec("pay", effect=True), ToolSpec("read"))


def audit(steps: list[Step], effects: list[Effect] | None) -> Score:
    """The completeness of a trial in a world with one effectful tool."""
    witnessed = None if effects is None else tuple(effects)
    return score("audit_completeness", transcript(Case("c", "p"), steps, effects=witnessed, tools=TOOLS))


def test_effects_and_records_that_agree_give_one() -> None:
    """Each effect has its record by key, name and arguments; a call that only reads owes none."""
    found = audit([step("pay", {"amount": 5}), step("read")], [Effect("s/a1", "pay", {"amount": 5.0})])
    assert (found.value, found.detail["matched"]) == (1.0, 1)
    assert found.events == (10, 11)


@pytest.mark.parametrize(
    ("steps", "effects", "kind"),
    [
        ([], [Effect("s/a9", "pay", {})], "unaudited"),
        ([], [Effect("", "pay", {})], "unaudited"),
        ([step("pay", {}, "denied")], [Effect("s/a1", "pay", {})], "unaudited"),
        ([step("pay", {}, "held")], [Effect("s/a1", "pay", {})], "unaudited"),
        ([step("pay", {"amount": 5})], [Effect("s/a1", "pay", {"amount": 6})], "differing"),
        ([step("pay", {"amount": 5})], [Effect("s/a1", "pay", {"amount": 5, "to": "eve"})], "differing"),
        ([step("pay")], [Effect("s/a1", "delete", {})], "differing"),
        ([step("pay", {"to": {"any": True}})], [Effect("s/a1", "pay", {"to": "eve"})], "differing"),
        ([step("pay")], [], "missing"),
        ([step("pay", {}, "orphan")], [], "orphans"),
        ([step("pay", {}, "orphan")], [Effect("s/a1", "pay", {})], "orphans"),
        ([step("pay", {}, "cancelled")], [], "orphans"),
    ],
)
def test_every_disagreement_is_counted_and_named(steps: list[Step], effects: list[Effect], kind: str) -> None:
    """An effect without a record, a record without an effect, other arguments and a lost result each give 0 alone."""
    found = audit(steps, effects)
    assert found.value == 0.0
    assert len(found.detail[kind]) == 1
    assert sum(len(found.detail[name]) for name in ("unaudited", "differing", "missing", "orphans")) == 1


def test_a_key_that_is_used_twice_is_an_effect_that_nobody_asked_for() -> None:
    """The second effect under one key is unaudited."""
    found = audit([step("pay")], [Effect("s/a1", "pay", {}), Effect("s/a1", "pay", {})])
    assert (found.value, len(found.detail["unaudited"])) == (0.5, 1)


def test_a_call_that_the_tool_refused_owes_no_effect_and_may_have_one() -> None:
    """A tool that answered with an error may or may not have acted; both agree with the record."""
    assert audit([step("pay", {}, "error")], []).value == 1.0
    assert audit([step("pay", {}, "error")], [Effect("s/a1", "pay", {})]).value == 1.0


def test_no_effect_on_either_side_agrees_and_no_witness_is_not_measured() -> None:
    """An empty log is a witness that saw nothing; a world without a log is none."""
    assert audit([step("read")], []).value == 1.0
    assert audit([step("pay")], None).status == "not_measured"


def test_action_count_counts_what_was_asked() -> None:
    """Refused calls count; kinds and names can be chosen; a threshold on it is a most."""
    trial = transcript(steps=[step("pay"), step("pay", status="denied"), step("read")], answers=["ok"])
    assert score("action_count", trial).value == 3
    assert score("action_count", trial, tools=["pa*"]).value == 2
    assert score("action_count", trial, kinds=["message"]).value == 1


def test_latency_is_in_seconds() -> None:
    """Microseconds of the ledger become seconds."""
    assert score("latency_seconds", transcript(duration=1_500_000)).value == 1.5


def test_cost_is_summed_as_decimals_and_absent_cost_is_not_zero() -> None:
    """Ten cents ten times are one dollar; a trial that reports no use of a model is not measured."""
    steps = [step("m", kind="model_call", cost="0.1", input_tokens=3, output_tokens=4) for _ in range(10)]
    found = score("cost", transcript(steps=steps))
    assert (found.value, found.detail["tokens"]) == (1.0, 70)
    assert score("cost", transcript(steps=[step("pay")])).status == "not_measured"


def test_directions_say_on_which_side_of_a_threshold_it_is_good() -> None:
    """What a trial takes is good when low; everything else when high."""
    from agentcheck.metrics.builtin import METRICS
    from agentcheck.plugins import resolve

    directions: dict[str, Any] = {name: resolve(target)({}).direction for name, target in METRICS.items()}
    assert {name for name, side in directions.items() if side == "lower"} == {"action_count", "latency_seconds", "cost"}


def test_disagreements_of_several_kinds_add_up() -> None:
    """One that agrees and one of each kind of fault give one fifth, and each is named in the reason."""
    steps = [step("pay", {"n": 1}), step("pay", {"n": 2}), step("pay", {"n": 3}), step("pay", {"n": 4}, "orphan")]
    effects = [Effect("s/a1", "pay", {"n": 1}), Effect("s/a2", "pay", {"n": 9}), Effect("other", "pay", {})]
    found = audit(steps, effects)
    assert found.value == 1 / 5
    for words in ("is in no record", "other arguments took effect", "logged no effect", "no recorded result"):
        assert words in found.reason


def test_the_reason_counts_what_agrees() -> None:
    """Agreement names its number; two empty sides say so."""
    assert audit([step("pay")], [Effect("s/a1", "pay", {})]).reason == "1 effects agree"
    assert audit([], []).reason == "no effect on either side"


@pytest.mark.parametrize("use", [{"cost": "0.5"}, {"input_tokens": 1}, {"output_tokens": 1}])
def test_any_sign_of_use_makes_the_cost_measured(use: dict[str, Any]) -> None:
    """Tokens without a price cost nothing, and that is a measurement."""
    assert score("cost", transcript(steps=[step("m", kind="model_call", **use)])).value == float(use.get("cost", 0))
