"""The part of JSON Schema by which tool arguments are checked.

Checked: ``type``, ``enum``, ``const``, ``required``, ``properties``, ``additionalProperties``, ``items``, ``anyOf``,
``oneOf`` (as ``anyOf``), ``allOf``, ``minimum``, ``maximum``, ``exclusiveMinimum``, ``exclusiveMaximum``,
``minLength``, ``maxLength``, ``minItems``, ``maxItems`` and ``$ref`` into the same schema. Every other keyword is
left to the tool (``pattern`` among them: a schema's regular expression could take unbounded time). A schema that
cannot be used raises, and the control that raises denies.
Source of the meaning of each keyword: JSON Schema Validation 2020-12, sections 6 and 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple


class Problem(NamedTuple):
    """Where (``order.lines[2].amount``) arguments do not fit, and what was expected there; never the value."""

    path: str
    expected: str


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    # 2020-12, 6.1.1: a number with a zero fraction is an integer.
    return _is_number(value) and (isinstance(value, int) or value == value // 1)


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": _is_integer,
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, (list, tuple)),
    "object": lambda value: isinstance(value, Mapping),
    "null": lambda value: value is None,
}


#: ``(value, path, found)``: adds the problems of a value at a path.
Check = Callable[[Any, str, list[Problem]], None]


def problems(schema: Any, value: Any) -> list[Problem]:
    """All places where a value does not fit a schema, outermost first; raises as `compile_schema` does."""
    return compile_schema(schema)(value)


def compile_schema(schema: Any) -> Callable[[Any], list[Problem]]:
    """The check of a schema as a function of the value.

    Raises:
        ValueError: the schema cannot be used (unknown type, a reference to nowhere); where it nests without end,
            the function raises it.
    """
    check = _Compiler(schema).check(schema)

    def problems_of(value: Any) -> list[Problem]:
        found: list[Problem] = []
        try:
            check(value, "", found)
        except RecursionError:
            raise ValueError("the schema nests without end") from None
        return found

    return problems_of


class _Compiler:
    """Compiles the parts of one schema, each of them once: references may lead in circles."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.known: dict[int, list[Check]] = {}

    def check(self, schema: Any) -> Check:
        if schema is True:
            return lambda value, path, found: None
        if schema is False:
            return lambda value, path, found: found.append(Problem(path or "arguments", "not allowed"))
        if not isinstance(schema, Mapping):
            raise ValueError(f"a schema must be an object, got {type(schema).__name__}")
        checks = self.known.get(id(schema))
        if checks is None:
            checks = self.known[id(schema)] = []
            checks.extend(self._checks(schema))
        fits_type = _type_test(schema["type"]) if "type" in schema else None
        expected = " or ".join([schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type") or ())
        parts = checks

        def check(value: Any, path: str, found: list[Problem]) -> None:
            if fits_type is not None and not fits_type(value):
                found.append(Problem(path or "arguments", f"expected {expected}"))
                return
            for part in parts:
                part(value, path, found)

        return check

    def _checks(self, schema: Mapping[str, Any]) -> list[Check]:
        """The checks of each keyword, after the type fits."""
        checks: list[Check] = []
        if "$ref" in schema:
            checks.append(self.check(_resolve(schema["$ref"], self.root)))
        if "enum" in schema:
            checks.append(_one_of(list(schema["enum"]), f"expected one of {list(schema['enum'])}"))
        if "const" in schema:
            checks.append(_one_of([schema["const"]], f"expected {schema['const']!r}"))
        checks.extend(_bound(keyword, schema[keyword]) for keyword in _BOUNDS if keyword in schema)
        if schema.keys() & {"properties", "required", "additionalProperties"}:
            checks.append(self._object(schema))
        if "items" in schema:
            checks.append(_items(self.check(schema["items"])))
        checks.extend(self.check(each) for each in schema.get("allOf") or ())
        for keyword in ("anyOf", "oneOf"):
            if schema.get(keyword):
                checks.append(_any_of([self.check(each) for each in schema[keyword]]))
        return checks

    def _object(self, schema: Mapping[str, Any]) -> Check:
        properties = {name: self.check(each) for name, each in (schema.get("properties") or {}).items()}
        required = tuple(schema.get("required") or ())
        extra = schema.get("additionalProperties", True)
        others = self.check(extra) if extra is not True and extra is not False else None
        unknown = f"unknown argument (known: {', '.join(properties) or 'none'})"

        def check(value: Any, path: str, found: list[Problem]) -> None:
            if not isinstance(value, Mapping):
                return
            prefix = f"{path}." if path else ""
            for name in required:
                if name not in value:
                    found.append(Problem(prefix + name, "required"))
            for name, item in value.items():
                known = properties.get(name)
                if known is not None:
                    known(item, prefix + name, found)
                elif extra is False:
                    found.append(Problem(prefix + str(name), unknown))
                elif others is not None:
                    others(item, prefix + str(name), found)

        return check


def _type_test(declared: Any) -> Callable[[Any], bool]:
    names = [declared] if isinstance(declared, str) else declared
    if not isinstance(names, Sequence) or not names or not all(name in _TYPES for name in names):
        raise ValueError(f"unknown type {declared!r} in a tool's schema")
    if len(names) == 1:
        return _TYPES[names[0]]
    tests = [_TYPES[name] for name in names]
    return lambda value: any(test(value) for test in tests)


def _one_of(options: list[Any], expected: str) -> Check:
    def check(value: Any, path: str, found: list[Problem]) -> None:
        if not any(_same(value, each) for each in options):
            found.append(Problem(path or "arguments", expected))

    return check


def _items(each: Check) -> Check:
    def check(value: Any, path: str, found: list[Problem]) -> None:
        if isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                each(item, f"{path}[{index}]", found)

    return check


def _any_of(options: list[Check]) -> Check:
    def check(value: Any, path: str, found: list[Problem]) -> None:
        closest: list[Problem] | None = None
        for option in options:
            trial: list[Problem] = []
            option(value, path, trial)
            if not trial:
                return
            if closest is None or len(trial) < len(closest):
                closest = trial
        # The option that came closest says most.
        found.extend(closest or ())

    return check


def _same(left: Any, right: Any) -> bool:
    # True == 1 in Python, not in JSON.
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


#: keyword -> (which values it is for, whether the value fits the bound, how to say it)
_BOUNDS: Mapping[str, tuple[Callable[[Any], bool], Callable[[Any, Any], bool], str]] = {
    "minimum": (_is_number, lambda value, bound: value >= bound, "at least {}"),
    "maximum": (_is_number, lambda value, bound: value <= bound, "at most {}"),
    "exclusiveMinimum": (_is_number, lambda value, bound: value > bound, "more than {}"),
    "exclusiveMaximum": (_is_number, lambda value, bound: value < bound, "less than {}"),
    "minLength": (_TYPES["string"], lambda value, bound: len(value) >= bound, "at least {} characters"),
    "maxLength": (_TYPES["string"], lambda value, bound: len(value) <= bound, "at most {} characters"),
    "minItems": (_TYPES["array"], lambda value, bound: len(value) >= bound, "at least {} items"),
    "maxItems": (_TYPES["array"], lambda value, bound: len(value) <= bound, "at most {} items"),
}


def _bound(keyword: str, bound: Any) -> Check:
    applies, fits, words = _BOUNDS[keyword]
    expected = "expected " + words.format(bound)

    def check(value: Any, path: str, found: list[Problem]) -> None:
        if applies(value) and not fits(value, bound):
            found.append(Problem(path or "arguments", expected))

    return check


def _resolve(reference: Any, root: Mapping[str, Any]) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise ValueError(f"a tool's schema may refer only into itself, not to {reference!r}")
    found: Any = root
    for part in reference[1:].strip("/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if key:
            if not isinstance(found, Mapping) or key not in found:
                raise ValueError(f"a tool's schema refers to {reference!r}, which it does not hold")
            found = found[key]
    return found
