"""What one decision costs: ``python benchmarks/decide.py`` prints microseconds per decision and per event.

The runtime has every built-in control, with a policy of 20 rules over six tools (comparisons, fields, history), and a
session with 50 earlier actions. Run it on a quiet machine; figures are the best of several rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from agentcheck.events import Event
from agentcheck.governance.build import build_controls
from agentcheck.governance.state import SessionState
from agentcheck.records import Action

TOOLS = ("send_money", "read_mail", "send_mail", "schedule", "delete_file", "search")
SCHEMA = {
    "type": "object",
    "properties": {"to": {"type": "string"}, "amount": {"type": "number"}, "note": {"type": "string"}},
    "required": ["to", "amount"],
    "additionalProperties": False,
}


def policy(flow: bool) -> dict[str, Any]:
    """Twenty rules, of which most concern the tool that is measured."""
    rules: list[dict[str, Any]] = [{"effect": "allow", "when": {"tool": list(TOOLS)}}]
    rules += [
        {"effect": "hold", "when": {"tool": "send_money", "args": {"amount": {"gt": 1000 * n}}}} for n in (1, 2, 3)
    ]
    rules += [
        {"effect": "deny", "when": {"tool": "send_*", "args": {"to": {"in": [f"bad{n}", "worse"]}}}} for n in range(4)
    ]
    rules += [{"effect": "deny", "when": {"tool": "*", "principal": {"role": {"not_in": ["clerk", "boss"]}}}}]
    rules += [
        {"effect": "deny", "when": {"tool": "send_money", "args": {"to": {"starts_with": f"x{n}"}}}} for n in range(3)
    ]
    rules += [
        {"effect": "hold", "when": {"tool": "send_money", "args": {"note": {"matches": "^urgent", "exists": True}}}}
    ]
    rules += [{"effect": "deny", "when": {"tool": t, "turn": {"gt": 50}}} for t in ("send_*", "delete_*", "schedule")]
    rules += [{"effect": "hold", "when": {"tool": "delete_*", "not_after": {"tool": "search"}}}]
    rules += [{"effect": "hold", "when": {"any": [{"tool": "schedule"}, {"args": {"to": "ceo"}}], "tool": "s*"}}]
    rules += [{"effect": "deny", "when": {"kind": "message", "args": {"text": {"contains": "password"}}}}]
    last = {"flow": {"argument": "to", "from": "untrusted_only"}} if flow else {"args": {"to": {"length": {"gt": 99}}}}
    rules += [{"effect": "hold", "when": {"tool": "send_*", **last}}]
    assert len(rules) == 20, len(rules)
    return {
        "policy": {"name": "bench", "default": "deny"},
        "rule": [{"id": f"r{number}", **rule} for number, rule in enumerate(rules)],
    }


def events(actions: int) -> list[Event]:
    """A session of so many finished actions."""
    tools = [{"name": name, "parameters": SCHEMA, "trusted": name != "read_mail"} for name in TOOLS]
    given = {"prompt": "send 20 to ann", "principal": {"role": "clerk"}}
    start = {"suite": "s", "case": "c", "trial": 1, "attempt": 1, "case_hash": "", "expected": "{}"}
    found = [Event("case.started", {**start, "given": json.dumps(given), "tools": json.dumps(tools)}, "s", 1)]
    for number in range(actions):
        name = TOOLS[number % len(TOOLS)]
        asked = {"action": f"a{number}", "kind": "tool_call", "name": name, "turn": 1, "key": f"k{number}"}
        found.append(Event("action.requested", {**asked, "arguments": '{"to":"ann","amount":5}'}, "s", 2 + number))
        decided = {"outcome": "allow", "control": "policy", "rule": "r0", "reason": "", "level": 0, "policy": ""}
        found.append(Event("action.decided", {"action": f"a{number}", **decided}, "s", 2 + number))
        done = {"status": "done", "output": '"mail from bob"', "duration": 1}
        found.append(Event("action.finished", {"action": f"a{number}", **done}, "s", 2 + number))
    return found


def best(call: Callable[[], object], rounds: int, each: int) -> tuple[float, float]:
    """Best and median time of a call in microseconds."""
    times = []
    for _ in range(rounds):
        before = time.perf_counter()
        for _ in range(each):
            call()
        times.append((time.perf_counter() - before) / each * 1e6)
    return min(times), statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--each", type=int, default=500)
    options = parser.parse_args()
    told = events(50)
    state = SessionState("s")
    for event in told:
        state.apply(event)
    action = Action("n", "tool_call", "send_money", {"to": "ann", "amount": 5, "note": "x"}, 1, "k", {"role": "clerk"})
    print(f"{'':44}{'best':>10}{'median':>10}   µs")
    parts: dict[str, dict[str, Any]] = {
        "policy of 20 rules alone": {"policy": policy(flow=False), "unknown_tools": "allow"},
        "all controls, policy of 20 rules": {},
        "the same with a data-flow rule": {"policy": policy(flow=True)},
    }
    full = {
        "policy": policy(flow=False),
        "forbidden": ["drop_*"],
        "levels": {"send_*": 1, "delete_*": 3},
        "limits": {"actions": 1000, "seconds": 3600, "spend": "5", "tokens": 10**6, "per_tool": {"send_money": 100}},
        "breaker": {"failures": 5, "cooldown": 30},
    }
    for title, changes in parts.items():
        alone = "alone" in title
        runtime = build_controls({**({} if alone else full), **changes})
        control = runtime.policy if alone else runtime
        assert control.decide(action, state, 100).outcome == "allow"
        fastest, median = best(lambda c=control: c.decide(action, state, 100), options.rounds, options.each)  # type: ignore[misc]
        print(f"{title:44}{fastest:10.2f}{median:10.2f}")

    def fold() -> None:
        fresh = SessionState("s")
        for event in told:
            fresh.apply(event)

    fastest, median = best(fold, options.rounds, max(1, options.each // 50))
    print(f"{'apply one event to the state':44}{fastest / len(told):10.2f}{median / len(told):10.2f}")


if __name__ == "__main__":
    main()
