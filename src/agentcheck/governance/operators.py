"""The operators of policy conditions, compiled to tests of three-valued logic.

Every test answers true, false or ``None``: *not decidable*, because the field is missing, or its value is of another
type than the test is for. What follows from ``None`` is decided by the rule (see `agentcheck.governance.conditions`).
"""

from __future__ import annotations

import operator
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from agentcheck.governance.fields import MISSING, Field, kind_of, parse_field
from agentcheck.governance.place import Place
from agentcheck.governance.regex import SafePattern, Unsafe

#: True, false, or not decidable.
Truth = bool | None
#: ``(subject, state) -> truth``; the subject is an `Action` or a step of the history.
Condition = Callable[[Any, Any], Truth]
#: ``(value, subject, state) -> truth``
Test = Callable[[Any, Any, Any], Truth]


def _fold_case(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _plain(value: Any) -> Any:
    return value


# Each maker checks its operand and gives the test.


def _equality(operand: Any, place: Place, fold: Callable[[Any], Any]) -> Test:
    kind = kind_of(operand)
    if kind not in ("text", "number", "bool", "list", "table"):
        place.fail(f"cannot compare with {operand!r}")
    wanted = fold(operand) if kind == "text" else operand
    if kind == "text" and fold is not _plain:
        return lambda value, subject, state: fold(value) == wanted if isinstance(value, str) else None
    return lambda value, subject, state: value == wanted if kind_of(value) == kind else None


def _membership(operand: Any, place: Place, fold: Callable[[Any], Any]) -> Test:
    if not isinstance(operand, list):
        place.fail("expected a list")
    if not operand:
        place.fail("an empty list can never match", "remove the rule, or list what it is about")
    tests = [_equality(each, place, fold) for each in operand]
    if {kind_of(each) for each in operand} <= {"text"}:
        wanted = frozenset(map(fold, operand))
        if fold is _plain:
            return lambda value, subject, state: value in wanted if isinstance(value, str) else None
        return lambda value, subject, state: fold(value) in wanted if isinstance(value, str) else None

    def test(value: Any, subject: Any, state: Any) -> Truth:
        answers = [each(value, subject, state) for each in tests]
        if True in answers:
            return True
        return False if False in answers else None

    return test


def _comparison(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Place, Any], Test]:
    def make(operand: Any, place: Place, fold: Any) -> Test:
        if kind_of(operand) != "number":
            place.fail(f"expected a number, got {operand!r}")
        return lambda value, subject, state: compare(value, operand) if kind_of(value) == "number" else None

    return make


def _texts(compare: Callable[[str, str], bool]) -> Callable[[Any, Place, Callable[[Any], Any]], Test]:
    def make(operand: Any, place: Place, fold: Callable[[Any], Any]) -> Test:
        operands = operand if isinstance(operand, list) else [operand]
        if not operands or not all(isinstance(each, str) and each for each in operands):
            place.fail(f"expected text (or a list of texts) that is not empty, got {operand!r}")
        wanted = [fold(each) for each in operands]
        if fold is _plain and len(wanted) == 1:
            only = wanted[0]
            return lambda value, subject, state: compare(value, only) if isinstance(value, str) else None

        def test(value: Any, subject: Any, state: Any) -> Truth:
            if not isinstance(value, str):
                return None
            text = fold(value)
            return any(compare(text, each) for each in wanted)

        return test

    return make


def _contains(operand: Any, place: Place, fold: Callable[[Any], Any]) -> Test:
    in_text = _texts(operator.contains)(operand, place, fold) if _is_text(operand) else None
    in_list = _membership(operand if isinstance(operand, list) else [operand], place, fold)

    def test(value: Any, subject: Any, state: Any) -> Truth:
        if isinstance(value, (list, tuple)):
            answers = [in_list(each, subject, state) for each in value]
            return True if True in answers else (None if None in answers else False)
        return in_text(value, subject, state) if in_text else None

    return test


def _is_text(operand: Any) -> bool:
    each = operand if isinstance(operand, list) else [operand]
    return bool(each) and all(isinstance(one, str) for one in each)


def _matches(operand: Any, place: Place, fold: Callable[[Any], Any]) -> Test:
    if not isinstance(operand, str) or not operand:
        place.fail(f"expected a regular expression, got {operand!r}")
    try:
        pattern = SafePattern(operand, ignore_case=fold is not _plain)
    except (Unsafe, re.error, RecursionError, OverflowError) as error:
        place.fail(f"the regular expression {operand!r} cannot be used: {error}")
    return lambda value, subject, state: pattern.search(value) if isinstance(value, str) else None


def _length(operand: Any, place: Place, fold: Callable[[Any], Any]) -> Test:
    table = operand if isinstance(operand, dict) else {"equals": operand}
    for key, bound in table.items():
        if key not in COMPARISONS:
            place.unknown(key, COMPARISONS, "operator")
        if type(bound) is not int or bound < 0:
            place.at(key).fail(f"expected a whole number from 0, got {bound!r}")
    if not table:
        place.fail("expected a number or a comparison")
    check_bounds(table, place, lowest=0)
    tests = [(COMPARISONS[key], bound) for key, bound in table.items()]

    def test(value: Any, subject: Any, state: Any) -> Truth:
        if not isinstance(value, (str, list, tuple, Mapping)):
            return None
        size = len(value)
        return all(compare(size, bound) for compare, bound in tests)

    return test


#: Comparisons of whole numbers: of lengths, and of counts of steps.
COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "equals": operator.eq,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def _negated(make: Callable[[Any, Place, Callable[[Any], Any]], Test]) -> Callable[[Any, Place, Any], Test]:
    def negation(operand: Any, place: Place, fold: Callable[[Any], Any]) -> Test:
        test = make(operand, place, fold)

        def opposite(value: Any, subject: Any, state: Any) -> Truth:
            answer = test(value, subject, state)
            return None if answer is None else not answer

        return opposite

    return negation


def _of_field(compare: Callable[[Any, Any], bool], numbers: bool) -> Callable[[Any, Place, Any], Test]:
    def make(operand: Any, place: Place, fold: Callable[[Any], Any]) -> Test:
        if not isinstance(operand, str):
            place.fail(f"expected the name of a field, got {operand!r}")
        other = parse_field(operand, place)
        if other.many:
            place.fail("cannot compare with all elements of a list", "name one element: list[0]")

        def test(value: Any, subject: Any, state: Any) -> Truth:
            with_ = other.get(subject, state)
            kind = kind_of(value)
            if with_ is MISSING or not kind or kind == "null" or kind != kind_of(with_):
                return None
            if numbers and kind != "number":
                return None
            return compare(fold(value), fold(with_)) if kind == "text" else compare(value, with_)

        return test

    return make


OPERATORS: Mapping[str, Callable[[Any, Place, Callable[[Any], Any]], Test]] = {
    "equals": _equality,
    "not_equals": _negated(_equality),
    "in": _membership,
    "not_in": _negated(_membership),
    "gt": _comparison(operator.gt),
    "gte": _comparison(operator.ge),
    "lt": _comparison(operator.lt),
    "lte": _comparison(operator.le),
    "contains": _contains,
    "not_contains": _negated(_contains),
    "starts_with": _texts(str.startswith),
    "ends_with": _texts(str.endswith),
    "matches": _matches,
    "not_matches": _negated(_matches),
    "length": _length,
    "equals_field": _of_field(operator.eq, numbers=False),
    "not_equals_field": _of_field(operator.ne, numbers=False),
    "gt_field": _of_field(operator.gt, numbers=True),
    "gte_field": _of_field(operator.ge, numbers=True),
    "lt_field": _of_field(operator.lt, numbers=True),
    "lte_field": _of_field(operator.le, numbers=True),
}
#: Keys of a condition table that are no tests by themselves.
MODIFIERS = ("exists", "ignore_case")


def is_condition(value: Any) -> bool:
    """True for a table that holds an operator; any other table holds fields."""
    return isinstance(value, dict) and any(key in OPERATORS or key in MODIFIERS for key in value)


def compile_field(field: Field, value: Any, place: Place) -> Condition:
    """The condition that a literal or a table of operators puts on a field."""
    if isinstance(value, list):
        place.fail("a list is no condition", f"write {{ in = {value!r} }}, or {{ equals = {value!r} }}")
    table = value if isinstance(value, dict) else {"equals": value}
    for key in table:
        if key not in OPERATORS and key not in MODIFIERS:
            place.unknown(key, (*OPERATORS, *MODIFIERS), "operator")
    for key in MODIFIERS:
        if key in table and not isinstance(table[key], bool):
            place.at(key).fail(f"expected true or false, got {table[key]!r}")
    exists = table.get("exists")
    operands = {key: each for key, each in table.items() if key not in MODIFIERS}
    if not operands and exists is None:
        place.fail("the condition is empty", f"known operators: {', '.join(OPERATORS)}")
    if exists is False and operands:
        place.fail("a field that does not exist has no value: this can never match")
    fold = _fold_case if table.get("ignore_case") else _plain
    tests = [OPERATORS[key](each, place.at(key), fold) for key, each in operands.items()]
    check_bounds(operands, place)
    _check_candidates(operands, tests, place)
    when_missing = None if exists is None else not exists
    if exists is False:
        tests = [lambda value, subject, state: False]
    return _spread_condition(field, tests, when_missing) if field.many else _condition(field, tests, when_missing)


def _condition(field: Field, tests: list[Test], when_missing: bool | None) -> Condition:
    get = field.get
    if len(tests) == 1:
        only = tests[0]

        def one(subject: Any, state: Any) -> Truth:
            value = get(subject, state)
            if value is MISSING or value is None:
                return when_missing
            return only(value, subject, state)

        return one

    def condition(subject: Any, state: Any) -> Truth:
        value = get(subject, state)
        if value is MISSING or value is None:
            return when_missing
        return _all(value, tests, subject, state)

    return condition


def _all(value: Any, tests: list[Test], subject: Any, state: Any) -> Truth:
    answer: Truth = True
    for test in tests:
        truth = test(value, subject, state)
        if truth is False:
            return False
        if truth is None:
            answer = None
    return answer


def _spread_condition(field: Field, tests: list[Test], when_missing: bool | None) -> Condition:
    """True when it holds for all elements, false when for none; not decidable when for some."""

    def condition(subject: Any, state: Any) -> Truth:
        values = field.get(subject, state)
        if when_missing is not None:
            values = [value for value in values if value is not MISSING and value is not None]
            if not tests:
                return bool(values) is not when_missing
        if not values:
            return when_missing
        answers = {
            when_missing if value is MISSING or value is None else _all(value, tests, subject, state)
            for value in values
        }
        return answers.pop() if len(answers) == 1 else None

    return condition


def check_bounds(operands: Mapping[str, Any], place: Place, lowest: float | None = None) -> None:
    """Refuse bounds that no number (none from ``lowest`` on) can meet."""
    low, strict_low = lowest, False
    high: float | None = None
    strict_high = False
    for key, bound in operands.items():
        if kind_of(bound) != "number":
            continue
        if key in ("gt", "gte", "equals") and (low is None or bound > low or (bound == low and key == "gt")):
            low, strict_low = bound, key == "gt"
        if key in ("lt", "lte", "equals") and (high is None or bound < high or (bound == high and key == "lt")):
            high, strict_high = bound, key == "lt"
    if low is not None and high is not None and (low > high or (low == high and (strict_low or strict_high))):
        place.fail(f"no number is above {low} and below {high}: this can never match")


def _check_candidates(operands: Mapping[str, Any], tests: list[Test], place: Place) -> None:
    """Refuse a list of values of which none meets the other operators."""
    if "equals" in operands:
        candidates = [operands["equals"]]
    elif isinstance(operands.get("in"), list):
        candidates = operands["in"]
    else:
        return
    literal = [test for key, test in zip(operands, tests, strict=True) if not key.endswith("_field")]
    if not any(_all(candidate, literal, None, None) is True for candidate in candidates):
        place.fail("no value meets all of these: this can never match")
