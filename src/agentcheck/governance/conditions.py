"""The ``when`` of a policy rule, compiled once to closures of three-valued logic.

A condition is true, false, or not decidable (``None``): a field is missing, or its value has another type than the
condition is for. ``all``, ``any`` and ``not`` follow Kleene's strong logic of three values, so learning less about an
action never turns "not decidable" into an answer. A rule that denies or holds matches unless its condition is
*false*; a rule that allows matches only when it is *true*. Hence no missing, misspelt or mistyped field ever widens
what is allowed. ``exists = true`` makes a condition false where the field is missing.

Source: S. C. Kleene, Introduction to Metamathematics (1952), section 64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from agentcheck.governance.fields import MISSING, Field, kind_of, parse_field
from agentcheck.governance.operators import (
    COMPARISONS,
    MODIFIERS,
    OPERATORS,
    Condition,
    Truth,
    check_bounds,
    compile_field,
    is_condition,
)
from agentcheck.governance.patterns import NamePattern
from agentcheck.governance.place import Place
from agentcheck.records import ACTION_KINDS

ACTION_KEYS = (
    "kind", "tool", "args", "principal", "turn", "after", "not_after", "count", "same_arguments_as", "flow",
    "all", "any", "not",
)  # fmt: skip
STEP_KEYS = ("kind", "tool", "args", "principal", "turn", "output", "status", "same", "all", "any", "not")
STATUSES = ("done", "error", "denied", "held", "running", "waiting")
#: What "happened" means where a rule does not say: it came back without an error.
HAPPENED = frozenset({"done"})
#: Committed and not back yet: whether it happened cannot be decided.
MAY_HAPPEN = frozenset({"running", "waiting"})
#: What counts where a rule does not say: all that was or may still be carried out.
COMMITTED = frozenset({"done", "error", "running", "waiting"})


@dataclass
class _Flows:
    """What flow conditions need while a ``when`` is compiled, the reasons they can give afterwards, and all tools."""

    trust: Mapping[str, Any]
    reasons: list[Callable[[Any, Any], str]]
    tools: list[tuple[str, str]]


@dataclass(frozen=True)
class When:
    """A compiled ``when``: ``select`` looks at kind and name alone, ``test`` at everything else (``None``: nothing).

    ``tools`` are all tool patterns in it, those of earlier steps too, each with its place.
    """

    select: Callable[[str, str], bool]
    test: Condition | None
    flows: tuple[Callable[[Any, Any], str], ...] = ()
    tools: tuple[tuple[str, str], ...] = ()


def compile_when(table: Any, place: Place, trust: Mapping[str, Any]) -> When:
    """Compile a rule's ``when``; ``trust`` says for flow conditions whom the policy trusts.

    Raises:
        PolicyError: an unknown key or operator, a wrong type, or a condition that can never be met.
    """
    if not isinstance(table, dict):
        place.fail(f"expected a table of conditions, got {table!r}")
    if not table:
        place.fail("there is no condition", 'to decide on every action, set default in [policy], or write tool = "*"')
    names = {key: table[key] for key in ("kind", "tool") if key in table}
    flows = _Flows(trust, [], [])
    select = _selector(names, place, flows)
    rest = {key: value for key, value in table.items() if key not in names}
    conditions = _conditions(rest, place, ACTION_KEYS, flows)
    return When(select, _every(conditions) if conditions else None, tuple(flows.reasons), tuple(flows.tools))


def _conditions(table: Mapping[str, Any], place: Place, known: Sequence[str], flows: _Flows) -> list[Condition]:
    """The conditions of a table, all of which must hold."""
    found: list[Condition] = []
    names = {key: table[key] for key in ("kind", "tool") if key in table}
    if names:
        select = _selector(names, place, flows)
        found.append(lambda subject, state: select(subject.kind, subject.name))
    for key, value in table.items():
        at = place.at(key)
        if key not in known:
            place.unknown(key, known)
        if key in ("args", "principal", "output"):
            found.extend(_fields(key, value, at, output=key == "output"))
        elif key == "turn":
            found.append(compile_field(parse_field("turn", at), value, at))
        elif key in ("all", "any", "not"):
            found.append(_composed(key, value, at, known, flows))
        elif key == "after":
            found.append(_happened(value, at, flows))
        elif key == "not_after":
            found.append(_negation(_happened(value, at, flows)))
        elif key == "count":
            found.append(_count(value, at, flows))
        elif key == "same_arguments_as":
            found.append(_repeated(value, at, flows))
        elif key == "flow":
            from agentcheck.governance.flow import compile_flow  # heavy, and few policies have one

            flow = compile_flow(value, at, flows.trust)
            flows.reasons.append(flow.reason)
            found.append(flow.test)
    return found


def _selector(names: Mapping[str, Any], place: Place, flows: _Flows) -> Callable[[str, str], bool]:
    """``kind`` and ``tool``: a test of kind and name alone; the tool patterns in it are noted."""
    kinds = set(ACTION_KINDS)
    patterns: list[NamePattern] = []
    if "kind" in names:
        given = _text_list(names["kind"], place.at("kind"))
        for kind in given:
            if kind not in ACTION_KINDS:
                place.at("kind").unknown(kind, ACTION_KINDS, "kind")
        kinds &= set(given)
    if "tool" in names:
        at = place.at("tool")
        for text in _text_list(names["tool"], at):
            pattern = NamePattern.parse(text, where=at.location)
            if not pattern.kinds & kinds:
                at.fail(f"{text!r} is of another kind: this can never match")
            patterns.append(pattern)
            flows.tools.append((text, at.location))
    kinds_given = "kind" in names

    def select(kind: str, name: str) -> bool:
        if kinds_given and kind not in kinds:
            return False
        return not patterns or any(pattern.matches(kind, name) for pattern in patterns)

    return select


def _text_list(value: Any, place: Place) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not values:
        place.fail("an empty list can never match")
    if not all(isinstance(each, str) and each for each in values):
        place.fail(f"expected text or a list of texts, got {value!r}")
    return values


def _fields(root: str, table: Any, place: Place, *, output: bool = False) -> list[Condition]:
    """``args``, ``principal`` and ``output``: a path, or nested tables of paths, each with a condition."""
    if root == "output" and not (isinstance(table, dict) and not is_condition(table)):
        return [compile_field(parse_field("output", place, output=True), table, place)]
    if not isinstance(table, dict) or not table:
        place.fail("expected a table of fields", f'{root} = {{ name = "value" }} or {root} = {{ name = {{ gt = 1 }} }}')
    found: list[Condition] = []
    for name, value in table.items():
        at, path = place.at(name), f"{root}.{name}"
        if "." in root:
            _check_nested(name, value, place)
        if isinstance(value, dict) and not is_condition(value):
            if root == "principal":
                at.fail("a principal's fields have no fields", "write { equals = ... } or another operator")
            found.extend(_fields(path, value, at, output=output))
        else:
            found.append(compile_field(parse_field(path, at, output=output), value, at))
    return found


def _check_nested(name: str, value: Any, place: Place) -> None:
    """A misspelt operator must not pass for the name of a nested field."""
    near = get_close_matches(name, (*OPERATORS, *MODIFIERS), 1, 0.75)
    if not isinstance(value, dict) or near:
        meant = f"did you mean {near[0]!r}? " if near else f"known: {', '.join(OPERATORS)}; "
        place.at(name).fail(
            f"unknown operator {name!r}",
            f'{meant}a field in a field is written "a.b" = ..., or a.b = {{ equals = ... }}',
        )


def _every(conditions: Sequence[Condition]) -> Condition:
    """All of them: false when one is false."""
    if len(conditions) == 1:
        return conditions[0]

    def every(subject: Any, state: Any) -> Truth:
        answer: Truth = True
        for condition in conditions:
            truth = condition(subject, state)
            if truth is False:
                return False
            if truth is None:
                answer = None
        return answer

    return every


def _some(conditions: Sequence[Condition]) -> Condition:
    """One of them: true when one is true."""

    def some(subject: Any, state: Any) -> Truth:
        answer: Truth = False
        for condition in conditions:
            truth = condition(subject, state)
            if truth is True:
                return True
            if truth is None:
                answer = None
        return answer

    return some


def _negation(condition: Condition) -> Condition:
    def negation(subject: Any, state: Any) -> Truth:
        truth = condition(subject, state)
        return None if truth is None else not truth

    return negation


def _composed(key: str, value: Any, place: Place, known: Sequence[str], flows: _Flows) -> Condition:
    """``all`` and ``any`` take a list of tables, ``not`` takes one table."""
    tables = [value] if key == "not" else value
    if not isinstance(tables, list) or not tables:
        place.fail("expected a list of conditions" if key != "not" else "expected a table of conditions")
    parts: list[Condition] = []
    for table in tables:
        if not isinstance(table, dict) or not table:
            place.fail(f"expected a table of conditions, got {table!r}")
        parts.append(_every(_conditions(table, place, known, flows)))
    if key == "not":
        return _negation(parts[0])
    return _every(parts) if key == "all" else _some(parts)


# Earlier events.


def _step_condition(
    table: Any, place: Place, default: frozenset[str], flows: _Flows, extra: Iterable[str] = ()
) -> _StepMatch:
    """What a table says about one step of the history: statuses, and the condition on the step."""
    if not isinstance(table, dict):
        place.fail(f"expected a table, got {table!r}", 'write { tool = "name" }')
    rest = {key: value for key, value in table.items() if key not in ("status", "same", *extra)}
    for key in rest:
        if key not in STEP_KEYS:
            place.unknown(key, (*STEP_KEYS, *extra))
    statuses = default
    if "status" in table:
        given = _text_list(table["status"], place.at("status"))
        for status in given:
            if status not in STATUSES:
                place.at("status").unknown(status, STATUSES, "status")
        statuses = frozenset(given)
    same: list[Field] = []
    if "same" in table:
        at = place.at("same")
        same = [parse_field(f"args.{name}", at) for name in _text_list(table["same"], at)]
        if any(field.many for field in same):
            at.fail("cannot compare all elements of a list", "name the whole argument")
    conditions = _conditions(rest, place, STEP_KEYS, _Flows({}, [], flows.tools))
    open_ = MAY_HAPPEN if default is HAPPENED and "status" not in table else frozenset()
    return _StepMatch(statuses, open_, _every(conditions) if conditions else None, tuple(same))


@dataclass(frozen=True)
class _StepMatch:
    statuses: frozenset[str]
    open: frozenset[str]
    test: Condition | None
    same: tuple[Field, ...]

    def matches(self, step: Any, action: Any, state: Any) -> Truth:
        if step.status not in self.statuses and step.status not in self.open:
            return False
        answer = True if self.test is None else self.test(step, state)
        if answer and step.status in self.open:
            answer = None
        for field in self.same:
            if answer is False:
                return False
            alike = _alike(field.get(step, state), field.get(action, state))
            answer = False if alike is False else (None if alike is None else answer)
        return answer


def _alike(left: Any, right: Any) -> Truth:
    if left is MISSING or right is MISSING or left is None or right is None or kind_of(left) != kind_of(right):
        return None
    return bool(left == right)


def _happened(table: Any, place: Place, flows: _Flows) -> Condition:
    """``after``: a step like this came before; not decidable while one is still in flight."""
    step_match = _step_condition(table, place, HAPPENED, flows)
    if not table:
        place.fail("there is no condition on the step", 'write { tool = "name" }')

    def happened(action: Any, state: Any) -> Truth:
        answer: Truth = False
        for step in state.history():
            truth = step_match.matches(step, action, state)
            if truth is True:
                return True
            if truth is None:
                answer = None
        return answer

    return happened


def _count(table: Any, place: Place, flows: _Flows) -> Condition:
    """``count``: how many steps like this were, or may still be, carried out; the action asked for not included."""
    step_match = _step_condition(table, place, COMMITTED, flows, COMPARISONS)
    bounds = {key: table[key] for key in COMPARISONS if key in table}
    if not bounds:
        place.fail("there is no bound", f"add one of: {', '.join(COMPARISONS)}")
    for key, bound in bounds.items():
        if type(bound) is not int or bound < 0:
            place.at(key).fail(f"expected a whole number from 0, got {bound!r}")
    check_bounds(bounds, place, lowest=0)

    def fits(number: int) -> bool:
        return all(COMPARISONS[key](number, bound) for key, bound in bounds.items())

    def count(action: Any, state: Any) -> Truth:
        truths = [step_match.matches(step, action, state) for step in state.history()]
        surely = truths.count(True)
        answers = {fits(number) for number in range(surely, surely + truths.count(None) + 1)}
        return answers.pop() if len(answers) == 1 else None

    return count


def _repeated(table: Any, place: Place, flows: _Flows) -> Condition:
    """``same_arguments_as``: a step of the same name carried the same arguments; ``{}`` for any such step.

    Arguments that agree in all they share, while one side names more, are not decidable: adding a remark to a payment
    does not make it another payment.
    """
    step_match = _step_condition(table, place, COMMITTED, flows)

    def repeated(action: Any, state: Any) -> Truth:
        answer: Truth = False
        for step in state.history():
            if step.name != action.name or step.kind != action.kind:
                continue
            truth = step_match.matches(step, action, state)
            if truth is not False and not step_match.same:
                alike = _same_arguments(step.arguments, action.arguments)
                truth = alike if alike is False or truth is True else None
            if truth is True:
                return True
            if truth is None:
                answer = None
        return answer

    return repeated


def _same_arguments(left: Mapping[str, Any], right: Mapping[str, Any]) -> Truth:
    if any(left[name] != right[name] for name in left.keys() & right.keys()):
        return False
    return True if left.keys() == right.keys() else None
