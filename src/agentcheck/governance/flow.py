"""``flow`` conditions: where the value of an argument came from.

``flow = { argument = "recipient", from = "untrusted_only" }`` names arguments (a path, a shell pattern over the paths,
or a list of them) and one of the kinds in `agentcheck.governance.provenance`; all other keys are options of that kind.
Kinds that judge the action as a whole take no argument. Whom to trust is said once, in the policy's ``[trust]`` table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from agentcheck.governance.fields import MISSING, parse_field
from agentcheck.governance.operators import Condition, Truth
from agentcheck.governance.place import Place
from agentcheck.governance.provenance import OPTIONS, RULES, TRUST, WHOLE_ACTION

_Values = Callable[[Any, Any], list[Any]]
_Rule = Callable[[Any, Any, Any, Mapping[str, Any]], str | None]
_KEYS = ("argument", "from", "exists")
_EXAMPLE = 'write { argument = "name", from = "untrusted_only" }'


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and each for each in value)


#: Options of the kinds, with their types.
_OPTIONS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "share": (lambda value: type(value) in (int, float) and 0 <= value <= 1, "a share from 0 to 1"),
    "words": (_are_texts, "a list of texts"),
    "agree": (_are_texts, "a list of arguments"),
    "delegate": (
        lambda value: isinstance(value, dict) and all(isinstance(each, str) for each in value.values()),
        "a table of texts",
    ),
}


@dataclass(frozen=True)
class Flow:
    """A compiled flow condition, and the words for why it is met."""

    test: Condition
    reason: Callable[[Any, Any], str]


def compile_flow(table: Any, place: Place, trust: Mapping[str, Any]) -> Flow:
    """Compile a ``flow`` table; ``trust`` holds the options that the policy gives to all of them.

    A named argument that the action lacks makes the condition not decidable, unless ``exists = true``.

    Raises:
        PolicyError: no argument, an unknown kind, or an option that the kind does not know.
    """
    if not isinstance(table, dict):
        place.fail(f"expected a table, got {table!r}", _EXAMPLE)
    kind = table.get("from")
    if kind is None:
        place.fail("lacks 'from'", _EXAMPLE)
    if not isinstance(kind, str) or kind not in RULES:
        place.at("from").unknown(kind, RULES, "kind of flow rule")
    whole = kind in WHOLE_ACTION
    if ("argument" in table) is whole:
        place.fail("judges the action as a whole; it takes no argument" if whole else "lacks 'argument'", _EXAMPLE)
    exists = table.get("exists", False)
    if not isinstance(exists, bool):
        place.at("exists").fail(f"expected true or false, got {exists!r}")
    own = {key: value for key, value in table.items() if key not in _KEYS}
    for key in own:
        if key not in TRUST and key not in OPTIONS[kind]:
            place.unknown(key, (*_KEYS, *TRUST, *sorted(OPTIONS[kind])), "option")
        if key in _OPTIONS and not _OPTIONS[key][0](own[key]):
            place.at(key).fail(f"expected {_OPTIONS[key][1]}, got {own[key]!r}")
    check_trust({key: own[key] for key in TRUST if key in own}, place)
    readers = [_whole_action] if whole else _readers(table["argument"], place.at("argument"))
    return _flow(RULES[kind], {**trust, **own}, readers, exists)


def _flow(fires: _Rule, options: Mapping[str, Any], readers: Sequence[_Values], exists: bool) -> Flow:
    def test(action: Any, state: Any) -> Truth:
        missing = False
        for read in readers:
            values = read(action, state)
            missing = missing or not values
            for value in values:
                if fires(action, value, state, options) is not None:
                    return True
        return None if missing and not exists else False

    def reason(action: Any, state: Any) -> str:
        found = (fires(action, value, state, options) for read in readers for value in read(action, state))
        return "; ".join(dict.fromkeys(each for each in found if each))

    return Flow(test, reason)


def check_trust(table: Any, place: Place) -> Mapping[str, Any]:
    """Check whom a policy trusts: tool patterns, and for some tools the names of trusted fields."""
    if not isinstance(table, dict):
        place.fail(f"expected a table, got {table!r}")
    for key, value in table.items():
        at = place.at(key)
        if key not in TRUST:
            place.unknown(key, TRUST)
        if key == "fields":
            if not isinstance(value, dict):
                at.fail("expected a table", 'write fields = { "get_*" = ["recipient"] }')
            for pattern, names in value.items():
                _texts(names, at.at(pattern))
        else:
            _texts(value, at)
    return table


def _texts(value: Any, place: Place) -> None:
    if not _are_texts(value):
        place.fail(f"expected a list of texts, got {value!r}")


def _whole_action(action: Any, state: Any) -> list[Any]:
    return [None]


def _readers(argument: Any, place: Place) -> list[_Values]:
    names = argument if isinstance(argument, list) else [argument]
    if not names or not all(isinstance(name, str) and name for name in names):
        place.fail(f"expected the name of an argument or a list of names, got {argument!r}")
    return [_glob_reader(name) if set(name.replace("[*]", "")) & set("*?") else _reader(name, place) for name in names]


def _reader(name: str, place: Place) -> _Values:
    field = parse_field(f"args.{name}", place)

    def read(action: Any, state: Any) -> list[Any]:
        found = field.get(action, state)
        values = found if field.many else [found]
        return [value for value in values if value is not MISSING and value is not None]

    return read


def _glob_reader(pattern: str) -> _Values:
    """Values of all arguments whose name, or the path of whose part, falls under a shell pattern."""
    # A name's brackets are indexes, not sets of characters.
    glob = pattern.replace("[", "[[]")

    def read(action: Any, state: Any) -> list[Any]:
        found: list[Any] = []
        _collect("", action.arguments, glob, found)
        return found

    return read


def _collect(path: str, value: Any, glob: str, found: list[Any]) -> None:
    """Take what matches as a whole; look inside what does not."""
    if path and value is not None and fnmatchcase(path, glob):
        found.append(value)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            _collect(f"{path}.{name}" if path else str(name), each, glob, found)
    elif isinstance(value, (list, tuple)):
        for index, each in enumerate(value):
            _collect(f"{path}[{index}]", each, glob, found)
