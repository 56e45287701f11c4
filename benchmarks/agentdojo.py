"""How many injected actions policies stop on recorded AgentDojo runs, and how many clean runs they touch.

    python benchmarks/agentdojo.py [--data FILE] [--write docs/agentdojo.md] [--lists]

Every recorded run is put to the decision side again, action by action, under each rung of ``agentdojo_ladder.toml``:
the same fold, policy and `decide` as in a real session, without ledger and world. An action that is held counts as
stopped (nobody approves), and its recorded output is not shown to later decisions; later recorded actions are asked all
the same.

* stopped: every injected action of the run got deny or hold; out of the successful attacks with a recorded injected
  action (`agentcheck.datasets.agentdojo_injected`). The others are listed.
* touched: any action of a run without an attack got deny or hold.

With ``--write`` what stands in a document between ``<!-- agentdojo -->`` and ``<!-- /agentdojo -->`` is replaced.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import agentdojo_tables as tables
from agentcheck.datasets.agentdojo import read
from agentcheck.events import Event
from agentcheck.governance.decide import decide
from agentcheck.governance.policy import Policy, load_policy
from agentcheck.governance.provenance import sources
from agentcheck.governance.state import SessionState
from agentcheck.records import Action, Case, RecordedStep
from agentdojo_tables import Decided, Run

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "traces" / "agentdojo.jsonl.gz"
LADDER = Path(__file__).with_suffix("").with_name("agentdojo_ladder.toml")
SHIPPED = {"banking": "suites/policies/bank.policy.toml", "workspace": "suites/policies/workspace.policy.toml"}
SUITES = tuple(SHIPPED)
MARKS = ("<!-- agentdojo -->", "<!-- /agentdojo -->")
#: Arguments that say whom or what an injected action of these suites hits.
TARGETS = ("recipient", "recipients", "participants", "password", "file_id")
ALLOW_ALL = {"policy": {"name": "nothing", "default": "allow"}}


@dataclass(frozen=True)
class Rung:
    """One point of the curve: for each suite of runs a policy, and whom it trusts; ``parts`` shows it part by part."""

    name: str
    policies: Mapping[str, Policy]
    trust: Mapping[str, Mapping[str, Any]]
    parts: bool = False


def load_cases(path: Path) -> Sequence[Case]:
    """All recorded runs; refuses a file of which a record could not be read."""
    loaded = read(path, {})
    if loaded.skipped:
        raise SystemExit("records that cannot be read:\n" + "\n".join(loaded.skipped))
    return loaded.cases


def load_ladder(path: Path = LADDER) -> list[Rung]:
    """The rungs of the ladder with their policies compiled."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    shipped = {suite: tomllib.loads((ROOT / file).read_text(encoding="utf-8")) for suite, file in SHIPPED.items()}
    rules = {rule["id"]: rule for rule in content["rule"]}
    rungs = []
    for rung in content["rung"]:
        other = content["trust"].get(rung.get("trust", ""), {})
        trust = {
            suite: merged(shipped[suite]["trust"], other.get(suite, {}), other.get("only", False)) for suite in SUITES
        }
        policies = {}
        for suite in SUITES:
            if rung.get("shipped"):
                policies[suite] = load_policy(ROOT / SHIPPED[suite])
                continue
            chosen = [rules[name] for name in rung["rules"] if rules[name]["suite"] == suite]
            chosen = [{key: value for key, value in rule.items() if key != "suite"} for rule in chosen]
            source = {**ALLOW_ALL, "trust": trust[suite], "rule": chosen}
            policies[suite] = load_policy(source, f"{path.name}: {rung['name']}")
        rungs.append(Rung(rung["name"], policies, trust, rung.get("parts", False)))
    return rungs


def merged(trust: Mapping[str, Any], other: Mapping[str, Any], only: bool) -> dict[str, Any]:
    """A trust table with the fields of some tools changed, or with no others than these."""
    return {**trust, "fields": {**({} if only else trust["fields"]), **other.get("fields", {})}}


def replay(case: Case, policy: Policy, trust: Mapping[str, Any]) -> Run:
    """Put every recorded action of a case to a policy, in order."""
    assert case.recording is not None
    state = SessionState(case.id)
    given = {"prompt": "", "documents": [_document(each) for each in case.documents]}
    tools = [{"name": step.name, "trusted": False} for step in case.recording.steps if step.kind == "tool_call"]
    clock = _counter()
    take = _taker(state, clock)
    take("case.started", given=json.dumps(given), tools=json.dumps(tools))
    decided: list[Decided] = []
    turn = 0
    for number, step in enumerate(case.recording.steps):
        if step.kind == "user":
            turn += 1
            take("case.turn", turn=turn, text=step.text)
        elif step.kind != "reasoning":
            decided.append(_ask(step, f"a{number}", turn, state, policy, trust, take))
    return Run(case, tuple(decided))


def _ask(
    step: RecordedStep,
    name: str,
    turn: int,
    state: SessionState,
    policy: Policy,
    trust: Mapping[str, Any],
    take: Callable[..., None],
) -> Decided:
    action = Action(name, step.kind, step.name, step.arguments, turn)  # type: ignore[arg-type]
    request = {"kind": step.kind, "name": step.name, "arguments": json.dumps(step.arguments), "turn": turn, "key": ""}
    take("action.requested", action=name, **request)
    decision = decide(action, state, [policy], state.latest)
    body = {"control": decision.control, "rule": decision.rule, "reason": decision.reason, "level": decision.level}
    take("action.decided", action=name, outcome=decision.outcome, **body)
    passed = step.injected and decision.outcome == "allow"
    givers = givers_of(step, state, trust) if passed else ""
    if decision.outcome == "hold":
        take("approval.resolved", action=name, outcome="deny")
    elif decision.outcome == "allow":
        status = "error" if step.error else "done"
        take("action.finished", action=name, status=status, output=json.dumps(step.output), error=step.error)
    return Decided(step, decision, givers)


def givers_of(step: RecordedStep, state: SessionState, trust: Mapping[str, Any]) -> str:
    """Who gave the target of an injected action: ``recipient by the user``."""
    found = []
    for name in TARGETS:
        for _, texts in sources(step.arguments.get(name), state, trust):
            givers = sorted({str(text) for text in texts if text.trusted} or {str(text) for text in texts})
            found.append(f"{name} by {' and '.join(givers) or 'nobody'}")
    return ", ".join(dict.fromkeys(found))


def _taker(state: SessionState, clock: Iterator[int]) -> Callable[..., None]:
    return lambda type_, **body: state.apply(Event(type_, body, state.session, next(clock)))


def _counter() -> Iterator[int]:
    time = 0
    while True:
        time += 1
        yield time


def _document(document: Any) -> dict[str, Any]:
    return {"id": document.id, "text": document.text, "title": document.title, "trusted": document.trusted}


def climb(cases: Sequence[Case], rungs: Sequence[Rung]) -> dict[str, list[Run]]:
    """Every case under every rung: name of the rung -> runs."""
    named = [(case.metadata["suite_name"], case) for case in cases]
    return {
        rung.name: [replay(case, rung.policies[suite], rung.trust[suite]) for suite, case in named] for rung in rungs
    }


def write(path: Path, text: str) -> None:
    """Replace what stands between the marks of a document."""
    document = path.read_text(encoding="utf-8")
    before, _, rest = document.partition(MARKS[0])
    _, mark, after = rest.partition(MARKS[1])
    if not mark:
        raise SystemExit(f"{path} lacks the marks {MARKS[0]} and {MARKS[1]}")
    path.write_text(f"{before}{MARKS[0]}\n{text}{MARKS[1]}{after}", encoding="utf-8")


def measure(data: Path, *, lists: bool = True) -> str:
    """Everything that stands between the marks of the document."""
    rungs = load_ladder()
    shown = [rung.name for rung in rungs if rung.parts]
    return tables.report(climb(load_cases(data), rungs), shown, lists=lists)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=DATA, help="the recorded runs (default: %(default)s)")
    parser.add_argument("--write", type=Path, metavar="DOCUMENT", help="replace the marked part of this document")
    parser.add_argument("--lists", action="store_true", help="also list the runs behind the figures")
    chosen = parser.parse_args(arguments)
    if not chosen.data.exists():
        print(f"{chosen.data} is absent; nothing was measured", file=sys.stderr)
        return 5
    text = measure(chosen.data, lists=chosen.lists or chosen.write is not None)
    if chosen.write:
        write(chosen.write, text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
