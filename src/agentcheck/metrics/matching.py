"""When an action that happened is one that a case speaks of; the one reading of `records.ExpectedAction`.

Names match exactly, or by ``*`` and ``?``. Each named argument must be equal: numbers by value (a plain decimal such
as ``"100.00"`` counts as a number against a number; ``"007"`` does not), other text exactly, lists item by item,
tables key by key. A table whose keys are all conditions is a condition, at any depth; several conditions must all hold.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from agentcheck.errors import JudgeError
from agentcheck.records import ExpectedAction, Step

_PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,30})(?:\.\d{1,30})?")
_DEEPEST = 100


def step_matches(step: Step, wanted: ExpectedAction) -> bool:
    """True when the step is the wanted action: kind, name and every named argument; its outcome is not looked at.

    Raises:
        JudgeError: a condition of the case cannot be read (a pattern that does not compile, a bound that is no number).
    """
    return (
        step.kind == wanted.kind
        and name_matches(step.name, wanted.name)
        and next(differences(wanted.arguments, step.arguments), None) is None
    )


def name_matches(name: str, wanted: str) -> bool:
    """Equal, or matched by a pattern with ``*`` or ``?``."""
    if "*" in wanted or "?" in wanted:
        return fnmatch.fnmatchcase(name, wanted.replace("[", "[[]"))
    return name == wanted


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """What keeps ``found`` from holding ``wanted``, one line a path; nothing where it matches."""
    for key, value in wanted.items():
        if key not in found:
            yield f"{key}: absent"
        elif not equal(value, found[key]):
            yield f"{key}: wanted {value!r}, found {found[key]!r}"


def equal(wanted: Any, found: Any, depth: int = 0) -> bool:
    """True when a found value is the wanted one, or meets the wanted condition."""
    if depth > _DEEPEST:
        raise JudgeError("the values to compare are nested too deeply")
    if is_condition(wanted):
        return all(_CONDITIONS[name](bound, found) for name, bound in wanted.items())
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return wanted.keys() == found.keys() and all(equal(wanted[key], found[key], depth + 1) for key in wanted)
    if _is_list(wanted) and _is_list(found):
        return len(wanted) == len(found) and all(
            equal(one, other, depth + 1) for one, other in zip(wanted, found, strict=True)
        )
    if isinstance(wanted, (int, float)) or isinstance(found, (int, float)):
        one, other = number(wanted), number(found)
        return one is not None and one == other
    return bool(wanted == found)


def is_condition(wanted: Any) -> bool:
    """True for a table whose keys are all names of conditions."""
    return isinstance(wanted, Mapping) and bool(wanted) and wanted.keys() <= _CONDITIONS.keys()


def number(value: Any) -> Decimal | None:
    """The value of a number or of a text that is a plain decimal; ``None`` for anything else, NaN included."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float):
        found = Decimal(repr(value))
        return found if found.is_finite() else None
    if isinstance(value, str) and _PLAIN_NUMBER.fullmatch(value.strip()):
        return Decimal(value.strip())
    return None


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _one_of(bound: Any, found: Any) -> bool:
    if not _is_list(bound):
        raise JudgeError(f"the condition one_of needs a list, not {bound!r}")
    return any(equal(choice, found) for choice in bound)


def _contains(bound: Any, found: Any) -> bool:
    if isinstance(found, str):
        return str(bound) in found
    if isinstance(found, Mapping):
        return bound in found if isinstance(bound, str) else False
    return _is_list(found) and any(equal(bound, item) for item in found)


def _matches(bound: Any, found: Any) -> bool:
    try:
        pattern = re.compile(bound)
    except (re.error, TypeError) as error:
        raise JudgeError(f"the condition matches = {bound!r} is no pattern: {error}") from error
    return isinstance(found, str) and pattern.search(found) is not None


def _compares(holds: Callable[[Decimal, Decimal], bool]) -> Callable[[Any, Any], bool]:
    def condition(bound: Any, found: Any) -> bool:
        limit = number(bound)
        if limit is None:
            raise JudgeError(f"a bound must be a number, not {bound!r}")
        value = number(found)
        return value is not None and holds(value, limit)

    return condition


_CONDITIONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "one_of": _one_of,
    "contains": _contains,
    "matches": _matches,
    "gt": _compares(lambda value, limit: value > limit),
    "gte": _compares(lambda value, limit: value >= limit),
    "lt": _compares(lambda value, limit: value < limit),
    "lte": _compares(lambda value, limit: value <= limit),
    "any": lambda bound, found: True,
}


def called(wanted: ExpectedAction) -> str:
    """An expected action as reasons name it: ``send_payment(amount=100)``."""
    arguments = ", ".join(f"{key}={value!r}" for key, value in wanted.arguments.items())
    text = f"{wanted.name}({arguments})"
    return text if len(text) <= 160 else text[:159] + "…"


def nearest_miss(wanted: ExpectedAction, steps: Sequence[Step]) -> str:
    """Why the nearest call of the same name is not the wanted one; empty where the name was never called."""
    same = [step for step in steps if step.kind == wanted.kind and name_matches(step.name, wanted.name)]
    if not same:
        return ""
    lines = min((list(differences(wanted.arguments, step.arguments)) for step in same), key=len)
    return "; ".join(line if len(line) <= 160 else line[:159] + "…" for line in lines[:3])
