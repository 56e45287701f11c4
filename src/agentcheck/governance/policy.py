"""The native policy: rules in TOML, compiled once, asked as a control.

All rules that match are collected: deny wins over hold over allow, and ``default`` decides where none matches. The
language is described in ``docs/policy.md``. Other engines enter the same way: whatever decides with ``grants = True``
is a policy to `agentcheck.governance.decide`.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from agentcheck.errors import PolicyError
from agentcheck.governance.conditions import When, compile_when
from agentcheck.governance.decide import DEFAULT_HOLD_LEVEL, HIGHEST_LEVEL, HOLD_LEVEL
from agentcheck.governance.flow import check_trust
from agentcheck.governance.names import Named
from agentcheck.governance.operators import Condition
from agentcheck.governance.place import Place
from agentcheck.governance.state import SessionState
from agentcheck.records import SEVERITY, Action, Decision, Outcome

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

_TOP_KEYS = ("policy", "trust", "rule")
_POLICY_KEYS = ("name", "version", "description", "default", "level")
_RULE_KEYS = ("id", "effect", "level", "reason", "message", "description", "when")
_UNDECIDED = " (it cannot be decided: a field is missing or of another type)"
_NOTHING = "the policy's default: no rule matches"


class PolicyEngine(Protocol):
    """What `decide` needs of a policy: a control that may grant."""

    id: str
    name: str
    version: str
    hash: str
    grants: bool

    def decide(self, action: Action, state: Any, now: int) -> Decision | None:
        """Decide; ``allow`` grants."""
        ...


@dataclass(frozen=True)
class Rule:
    """One compiled rule. ``reason`` goes on record, ``message`` is what the agent is told."""

    id: str
    effect: Outcome
    level: int
    reason: str
    message: str
    when: When
    matched: Decision
    undecided: Decision

    def with_sources(self, action: Action, state: Any) -> Decision:
        """The decision of a rule with flow conditions, with the words for where the values came from."""
        found = [text for reason in self.when.flows if (text := reason(action, state))]
        if not found:
            return self.matched
        matched = self.matched
        reason = f"{self.reason}: {'; '.join(found)}"
        return Decision(matched.outcome, matched.control, matched.rule, reason, matched.level, matched.policy)


class Policy:
    """Allows, holds or denies by the rules of a policy file.

    Build one with `load_policy`. Holds no state of a session: one may serve many at a time.
    """

    id = "policy"
    grants = True
    unsafe = False

    def __init__(self, name: str, version: str, digest: str, default: Decision, rules: Iterable[Rule]) -> None:
        self.name = name
        self.version = version
        self.hash = digest
        self.default = default
        self.rules = tuple(rules)
        self.messages: Mapping[str, str] = {rule.id: rule.message for rule in self.rules}
        # Which rules a name can fall under does not change; names come from agents, so the memory is bounded.
        self._candidates = lru_cache(maxsize=1024)(self._select)

    def _select(self, kind: str, name: str) -> tuple[tuple[Rule, Condition | None], ...]:
        return tuple((rule, rule.when.test) for rule in self.rules if rule.when.select(kind, name))

    def decide(self, action: Action, state: SessionState, now: int) -> Decision:
        """The strictest of the rules that match, the first of equally strict ones; else the default.

        A rule that cannot be decided may only make the answer stricter: it does not take the default's place.
        """
        matched: list[Decision] | None = None
        undecided: list[Decision] | None = None
        for rule, test in self._candidates(action.kind, action.name):
            truth = True if test is None else test(action, state)
            if truth is False:
                continue
            if truth:
                decision = rule.matched if not rule.when.flows else rule.with_sources(action, state)
                matched = [decision] if matched is None else [*matched, decision]
            elif rule.effect != "allow":
                undecided = [rule.undecided] if undecided is None else [*undecided, rule.undecided]
        if undecided is not None:
            return _strictest([*(matched or [self.default]), *undecided])
        if matched is None:
            return self.default
        return matched[0] if len(matched) == 1 else _strictest(matched)

    def named_tools(self) -> Iterable[Named]:
        """Every tool pattern in the rules, those on earlier steps too, with its place."""
        for rule in self.rules:
            for text, where in rule.when.tools:
                yield Named(f"policy {self.name}, rule {rule.id}", text, where)


def _strictest(decisions: list[Decision]) -> Decision:
    """The first of the strictest, at the highest level, with the others that refuse."""
    best = max(decisions, key=lambda each: SEVERITY[each.outcome])
    level = max(each.level for each in decisions)
    others = tuple(each for each in decisions if each is not best and each.outcome != "allow")
    return Decision(best.outcome, best.control, best.rule, best.reason, level, best.policy, others)


def load_policy(source: Path | Mapping[str, Any], where: str = "") -> Policy:
    """Load a policy from a TOML file or from the mapping that such a file holds.

    ``where`` names the file of an inline policy in errors.

    Raises:
        PolicyError: it cannot be read, is empty, or any part of it is not understood; file and line are named.
    """
    if isinstance(source, Mapping):
        return _compile(source, Place(where))
    where = where or str(source)
    try:
        text = Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"the policy cannot be read: {error}", where=where) from None
    return load_policy_text(text, where)


def load_policy_text(text: str, where: str = "") -> Policy:
    """Load a policy from TOML text; raises as `load_policy` does."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = found[1] if found else max(1, len(text.splitlines()))
        raise PolicyError(f"the policy is no TOML: {error}", where=f"{where}:{line}" if where else "") from None
    except RecursionError:
        raise PolicyError("the policy is nested too deeply", where=where) from None
    except ValueError as error:  # a number that Python does not hold
        raise PolicyError(f"the policy is no TOML: {error}", where=where) from None
    return _compile(content, Place(where, tuple(text.splitlines())))


def _compile(content: Mapping[str, Any], place: Place) -> Policy:
    _check_values(content, place)
    for key in content:
        if key not in _TOP_KEYS:
            place.unknown(key, _TOP_KEYS, "table")
    head = content.get("policy", {})
    if not isinstance(head, Mapping):
        place.at("policy").fail("expected a table [policy]")
    for key in head:
        if key not in _POLICY_KEYS:
            place.unknown(key, _POLICY_KEYS)
    for key in ("name", "version", "description"):
        if not isinstance(head.get(key, ""), str):
            place.at(key).fail(f"expected text, got {head[key]!r}")
    tables = content.get("rule", [])
    if not isinstance(tables, list):
        place.at("rule").fail("expected a list of rules", "write [[rule]]")
    if not tables and "default" not in head:
        place.fail("the policy is empty", 'write rules, or say what holds without any: default = "deny"')
    digest = _digest(content)
    default = _default(head, place, digest)
    trust = check_trust(content.get("trust", {}), place.at("trust"))
    rules: list[Rule] = []
    for index, table in enumerate(tables):
        rule = _rule(table, place.in_rule(index), digest, trust)
        if any(rule.id == other.id for other in rules):
            place.in_rule(index, rule.id).at("id").fail("another rule has this id", "ids name rules in every report")
        rules.append(rule)
    return Policy(head.get("name", "policy"), head.get("version", ""), digest, default, rules)


def _default(head: Mapping[str, Any], place: Place, digest: str) -> Decision:
    """What holds where no rule matches; ``deny`` where the policy does not say."""
    outcome = head.get("default", "deny")
    if outcome not in SEVERITY:
        place.at("default").unknown(outcome, SEVERITY, "effect")
    level = _level(outcome, head.get("level"), place)
    return Decision(outcome, Policy.id, "default", _NOTHING, level, digest)


def _rule(table: Any, place: Place, digest: str, trust: Mapping[str, Any]) -> Rule:
    if not isinstance(table, Mapping):
        place.fail("expected a table")
    name = table.get("id")
    if not isinstance(name, str) or not name.strip():
        place.fail("lacks an id", 'write id = "short-name"; it names the rule in every report')
    place = place.in_rule(place.rule or 0, name)
    for key in table:
        if key not in _RULE_KEYS:
            place.unknown(key, _RULE_KEYS)
    if name in ("default", "control-failed"):
        place.at("id").fail(f"{name!r} is taken")
    effect = table.get("effect")
    if effect is None:
        place.fail("lacks an effect", "one of: allow, hold, deny")
    if effect not in SEVERITY:
        place.at("effect").unknown(effect, SEVERITY, "effect")
    for key in ("reason", "message", "description"):
        if not isinstance(table.get(key, ""), str):
            place.at(key).fail(f"expected text, got {table[key]!r}")
    if "when" not in table:
        place.fail("lacks a condition (when)", "to decide on every action, set default in [policy]")
    level = _level(effect, table.get("level"), place)
    when = compile_when(table["when"], place.at("when"), trust)
    reason = table.get("reason") or f"rule {name} of the policy"
    matched = Decision(effect, Policy.id, name, reason, level, digest)
    undecided = Decision(effect, Policy.id, name, reason + _UNDECIDED, level, digest)
    return Rule(name, effect, level, reason, table.get("message", ""), when, matched, undecided)


def _level(effect: Outcome, level: Any, place: Place) -> int:
    if level is None:
        return DEFAULT_HOLD_LEVEL if effect == "hold" else 0
    at = place.at("level")
    if effect == "deny":
        at.fail("a denial has no level", "remove it, or use effect = 'hold'")
    lowest, highest = (HOLD_LEVEL, HIGHEST_LEVEL) if effect == "hold" else (0, HOLD_LEVEL - 1)
    if type(level) is not int or not lowest <= level <= highest:
        at.fail(f"{effect} goes with a level from {lowest} to {highest}, got {level!r}")
    return level


def _digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the content as canonical JSON: comments, spacing and the order of keys do not matter."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return sha256(b"agentcheck/policy/v1\n" + text.encode()).hexdigest()


def _check_values(value: Any, place: Place) -> None:
    """Refuse what no canonical form holds: dates, infinities, anything that is no JSON."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            _check_values(each, place.at(key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            _check_values(each, place.in_rule(index) if place.trail == ("rule",) else place)
    elif not isinstance(value, (str, int, float)) or (isinstance(value, float) and not math.isfinite(value)):
        place.fail(f"{value!r} is no text, number, truth value, list or table")
