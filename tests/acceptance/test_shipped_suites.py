"""The shipped suites: all cases pass with the shipped agents, and every case catches agents with a fault.

Which mutants each case catches is in ``shipped_kills.json``, written by ``python tests/mutants.py`` and run again here.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from agentcheck import plugins
from agentcheck.collection import Plan, prepare
from agentcheck.governance.names import unmatched
from agentcheck.records import Case
from agentcheck.suites import GovernanceTable
from mutants import DOMAINS, KILLS, MUTANTS, mutated, plan_of, run

TABLE: dict[str, dict[str, list[str]]] = json.loads(KILLS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=DOMAINS)
def plan(request: pytest.FixtureRequest) -> Plan:
    """A shipped suite."""
    return plan_of(request.param)


def test_every_case_passes_with_the_shipped_agent(plan: Plan, tmp_path: Path) -> None:
    """All cases pass, and every metric of the suite is measured in at least one of them."""
    results = run(plan, tmp_path / "honest")
    assert {case: result.reasons for case, result in results.items() if result.status != "pass"} == {}
    measured = {
        score.metric
        for result in results.values()
        for trial in result.trials
        for score in trial.scores
        if score.status == "ok"
    }
    assert measured == {measure.name for measure in plan.measures}


def test_every_case_catches_a_faulty_agent(plan: Plan) -> None:
    """Each case is in the table with at least one mutant that fails it; each domain catches most kinds of fault."""
    kills = TABLE[plan.suite.name]
    assert set(kills) == {case.id for case in plan.cases}
    assert [case for case, mutants in kills.items() if not mutants] == []
    assert len({mutant for mutants in kills.values() for mutant in mutants}) >= 10


def test_every_fault_is_caught() -> None:
    """Each mutant fails some case of the shipped suites."""
    assert {mutant for kills in TABLE.values() for mutants in kills.values() for mutant in mutants} == set(MUTANTS)


#: What a case is about -> the faults of which it must catch at least one.
FAULTS: Mapping[str, set[str]] = {
    "question": {"WrongDocument"},
    "out-of-scope": {"WrongDocument"},
    "numbers": {"InventsNumber"},
    "approved": {"SkipsApproval"},
    "held": {"SkipsApproval"},
    "denied": {"ClaimsDone"},
    "error": {"ClaimsDone"},
    "unanswered": {"DefiesRefusal"},
    "role": {"DefiesRefusal"},
    "earlier-events": {"DefiesRefusal"},
    "data-flow": {"DefiesRefusal", "SkipsApproval"},
    "duplicates": {"ActsTwice", "IgnoresWarning"},
    "safety": {"IgnoresWarning"},
    "injection": {"ObeysInjection"},
    "privacy": {"LeaksField", "TellsEverything"},
    "correction": {"IgnoresCorrection"},
    "retention": {"ForgetsFact"},
}


def test_a_case_catches_the_fault_that_it_is_about(plan: Plan) -> None:
    """A case about corrections catches an agent that ignores them, a case about privacy one that leaks, and so on."""
    kills = TABLE[plan.suite.name]
    missed = [
        f"{case.id} ({tag})"
        for case in plan.cases
        for tag in case.tags
        if tag in FAULTS and not FAULTS[tag] & set(kills[case.id])
    ]
    assert missed == []


@pytest.mark.parametrize("name", MUTANTS)
def test_a_faulty_agent_fails_the_cases_that_catch_it(name: str, plan: Plan, tmp_path: Path) -> None:
    """An agent with this fault fails the cases that the table names, each for a stated reason."""
    caught = {case for case, mutants in TABLE[plan.suite.name].items() if name in mutants}
    if not caught:
        return
    results = run(mutated(plan, MUTANTS[name]), tmp_path / name, caught)
    assert {case: result.status for case, result in results.items() if result.status != "fail"} == {}
    assert all(result.reasons for result in results.values())


def test_without_governance_the_governed_cases_fail(plan: Plan, tmp_path: Path) -> None:
    """With the policy, the levels and the bounds taken away, every case that needs a hold or a denial fails."""
    spec = plan.suite.spec.model_copy(update={"governance": GovernanceTable(policy="UnsafeAllowAll")})
    bare = prepare(dataclasses.replace(plan.suite, spec=spec), plugins.load(entry_points=False))
    governed = {case.id for case in plan.cases if any(action.outcome in ("hold", "deny") for action in case.expected)}
    assert len(governed) >= 10
    results = run(bare, tmp_path / "bare", governed)
    assert {case: result.status for case, result in results.items() if result.status != "fail"} == {}


def test_nobody_approves_by_default(plan: Plan, tmp_path: Path) -> None:
    """With the scripted approvers taken away, no case passes that needs an approval."""
    governance = plan.suite.spec.governance.model_copy(update={"votes": ()})
    spec = plan.suite.spec.model_copy(update={"governance": governance})
    silent = prepare(dataclasses.replace(plan.suite, spec=spec), plugins.load(entry_points=False))
    approved = {case.id for case in plan.cases if "approved" in case.tags}
    assert approved
    results = run(silent, tmp_path / "silent", approved)
    assert {case: result.status for case, result in results.items() if result.status != "fail"} == {}


def test_the_suites_are_broad(plan: Plan) -> None:
    """Each domain has its share of cases of every kind that the suites are there for."""
    tags = Counter(tag for case in plan.cases for tag in case.tags)
    assert len(plan.cases) >= 22
    assert sum(len(each) for each in TABLE.values()) >= 66
    for tag, least in {
        "question": 8,
        "out-of-scope": 2,
        "action": 8,
        "held": 5,
        "approved": 2,
        "denied": 4,
        "unanswered": 1,
        "forbidden": 2,
        "injection": 2,
        "untrusted": 1,
        "data-flow": 1,
        "duplicates": 2,
        "error": 2,
        "limits": 1,
        "negation": 2,
        "exact": 1,
        "conversation": 4,
        "retention": 2,
        "correction": 2,
    }.items():
        assert tags[tag] >= least, tag


def test_a_question_has_distractors(plan: Plan) -> None:
    """A question comes with documents of which most do not answer it."""
    questions = [case for case in plan.cases if {"question", "out-of-scope"} & set(case.tags)]
    assert all(len(case.documents) >= 3 for case in questions)
    assert len({case.prompt for case in questions}) >= 8


def test_every_policy_rule_names_tools_that_exist(plan: Plan, tmp_path: Path) -> None:
    """No rule of a shipped policy speaks of a tool that the world does not offer."""
    world = plan.make_world({}, Case(id="c", prompt="p"), tmp_path)
    offered = {tool.name: tool for tool in world.tools()}
    assert list(unmatched(plan.policy.named_tools(), offered)) == []
    assert plan.runtime(tuple(offered.values()), "").notes == ()


def texts(case: Case) -> Iterator[str]:
    """Everything that a case and its documents say."""
    yield case.prompt
    yield from (turn.text for turn in case.turns)
    yield from (document.text for document in case.documents)
    yield json.dumps(dict(case.state))


def test_the_data_is_made_up(plan: Plan, tmp_path: Path) -> None:
    """Addresses are of reserved domains, telephone numbers of the fictional range; no run of digits is a long one."""
    world = plan.make_world({}, Case(id="c", prompt="p"), tmp_path)
    found: dict[str, list[str]] = defaultdict(list)
    for text in [json.dumps(world.state), *(text for case in plan.cases for text in texts(case))]:
        found["addresses"] += re.findall(r"@[\w.-]+\w", text)
        found["telephones"] += re.findall(r"\b\d{3}-\d{4}\b", text)
        found["long numbers"] += re.findall(r"\d{7,}", text)
    assert all(re.search(r"(?:^|[.@])example\.(?:com|org|net)$", address) for address in found["addresses"])
    assert all(number.startswith("555-01") for number in found["telephones"])
    assert found["long numbers"] == []
