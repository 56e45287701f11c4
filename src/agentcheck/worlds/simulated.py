"""A simulated world: a table of tools over a plain state, with the effect log as its witness.

A tool is a function ``(state, arguments) -> JSON value`` beside its `ToolSpec`; a domain is a tuple of tools and a
seed. The case's ``state`` is laid over the seed, so a case states only what differs. See ``docs/worlds.md``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from agentcheck.errors import DatasetError, SuiteError, ToolError
from agentcheck.records import Case, Effect, ToolSpec
from agentcheck.worlds.effects import EffectLog
from agentcheck.worlds.retrieval import Index

State = dict[str, Any]
Run = Callable[[State, Mapping[str, Any]], Any]

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
}


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool of a simulated world: how it is offered, and what it does. ``run`` raises `ToolError` to refuse."""

    spec: ToolSpec
    run: Run


def tool(
    name: str,
    run: Run,
    description: str,
    parameters: Mapping[str, tuple[str, str]],
    *,
    effect: bool = False,
    trusted: bool = True,
) -> Tool:
    """Describe a tool. ``parameters`` gives each argument its JSON type, ``"number?"`` where it may be left out, and
    what it means: ``{"amount": ("number", "Amount in the invoice's currency")}``."""
    return Tool(ToolSpec(name, description, schema(parameters), effect, trusted), run)


def schema(parameters: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """The JSON Schema of short parameter descriptions; ``"array"`` is an array of strings."""
    properties: dict[str, Any] = {}
    for name, (kind, meaning) in parameters.items():
        described: dict[str, Any] = {"type": kind.rstrip("?"), "description": meaning}
        if described["type"] == "array":
            described["items"] = {"type": "string"}
        properties[name] = described
    required = [name for name, (kind, _) in parameters.items() if not kind.endswith("?")]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


SEARCH = ToolSpec(
    "search_documents",
    "Search the documents at hand; gives the passages that fit best, each with its document's id.",
    schema({"query": ("string", "What to look for"), "limit": ("integer?", "At most so many passages (default 4)")}),
)
#: Where an outsider could have written one of the documents, what the search gives is not trusted as a whole.
SEARCH_MIXED = replace(SEARCH, trusted=False)


class SimulatedWorld:
    """Implements `contracts.World` for a table of tools. One instance serves one trial."""

    def __init__(
        self, tools: Sequence[Tool], seed: Mapping[str, Any], case: Case, scratch: Path, options: Mapping[str, Any]
    ) -> None:
        _refuse(options)
        _check_state(seed, case)
        self._tools = {each.spec.name: each for each in tools}
        self._seed = seed
        self._case = case
        self._state: State | None = None
        self._index: Index | None = None
        self._log = EffectLog(scratch)
        mixed = any(not document.trusted for document in case.documents)
        self._search = SEARCH_MIXED if mixed else SEARCH

    @property
    def state(self) -> State:
        """The state as it stands; the seed with the case's state laid over it, copied on first use."""
        if self._state is None:
            self._state = overlay(copy.deepcopy(dict(self._seed)), copy.deepcopy(dict(self._case.state)))
        return self._state

    def tools(self) -> Sequence[ToolSpec]:
        """The search, then the tools of the domain."""
        return (self._search, *(each.spec for each in self._tools.values()))

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str) -> Any:
        """Carry out one tool call; an effect is logged before this returns.

        Nothing is awaited in here, so that calls of one trial never interleave and a cancelled trial leaves no
        effect without its line.
        """
        if name == SEARCH.name:
            check_arguments(SEARCH, arguments)
            return self._find(str(arguments["query"]), int(arguments.get("limit", 4)))
        found = self._tools.get(name)
        if found is None:
            raise ToolError(f"there is no tool {name!r}")
        check_arguments(found.spec, arguments)
        if not found.spec.effect:
            return copy.deepcopy(found.run(self.state, arguments))
        return self._log.once(key, name, arguments, lambda: copy.deepcopy(found.run(self.state, arguments)))

    def effects(self) -> Sequence[Effect]:
        """What the witness holds."""
        return self._log.entries()

    async def close(self) -> None:
        """Nothing is held; the witness's file stays where it is."""

    def _find(self, query: str, limit: int) -> list[dict[str, Any]]:
        if self._index is None:
            self._index = Index(self._case.documents)
        return [
            {
                "id": document.id,
                "title": document.title,
                "text": document.text,
                "trusted": document.trusted,
                "score": round(score, 3),
            }
            for document, score in self._index.search(query, limit)
        ]


@dataclass(frozen=True, slots=True)
class Domain:
    """The factory of a simulated world: a table of tools over a seed, the same for every case."""

    table: Sequence[Tool]
    seed: Mapping[str, Any]

    def __call__(self, options: Mapping[str, Any], case: Case, scratch: Path) -> SimulatedWorld:
        """A world for one trial."""
        return SimulatedWorld(self.table, self.seed, case, scratch, options)

    def known_tools(self, options: Mapping[str, Any]) -> Sequence[ToolSpec]:
        """The tools that the worlds of this domain offer, for checks before the run; raises for any option."""
        _refuse(options)
        return (SEARCH, *(each.spec for each in self.table))


def check_arguments(spec: ToolSpec, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that the tool cannot take; a world holds its own line, whatever the runtime has checked.

    Raises:
        ToolError: an argument is missing, unknown or of the wrong type.
    """
    properties = spec.parameters["properties"]
    for name in spec.parameters["required"]:
        if name not in arguments:
            raise ToolError(f"{spec.name} needs the argument {name!r}")
    for name, value in arguments.items():
        if name not in properties:
            raise ToolError(f"{spec.name} takes no argument {name!r}")
        wanted = properties[name]["type"]
        if not isinstance(value, _TYPES[wanted]) or (isinstance(value, bool) and wanted != "boolean"):
            raise ToolError(f"{spec.name}: {name!r} must be a {wanted}")


def entry(state: State, section: str, key: Any, what: str) -> dict[str, Any]:
    """One entry of a section of the state; raises `ToolError` where there is none."""
    found = state[section].get(key)
    if found is None:
        raise ToolError(f"there is no {what} {key!r}")
    return found  # type: ignore[no-any-return]


def positive(arguments: Mapping[str, Any], *names: str) -> None:
    """Raise `ToolError` where one of the numbers is not above zero."""
    for name in names:
        if not arguments[name] > 0:
            raise ToolError(f"{name} must be more than zero")


def next_id(state: State, section: str, prefix: str, start: int = 900) -> str:
    """The next free id of a section: ``RX-900``, ``RX-901``, ... in the order in which entries are made."""
    number = start
    while f"{prefix}-{number}" in state[section]:
        number += 1
    return f"{prefix}-{number}"


def overlay(below: State, above: Mapping[str, Any]) -> State:
    """``above`` laid over ``below``: tables merge key by key, ``None`` removes a key, anything else replaces."""
    for key, value in above.items():
        if value is None:
            below.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(below.get(key), dict):
            overlay(below[key], value)
        else:
            below[key] = value
    return below


def _refuse(options: Mapping[str, Any]) -> None:
    for key in options:
        raise SuiteError(f"the world takes no option {key!r}", key=key, advice="state belongs into the cases")


def _check_state(seed: Mapping[str, Any], case: Case) -> None:
    for section in case.state:
        if section not in seed:
            near = get_close_matches(section, list(seed), 1)
            raise DatasetError(
                f"the case {case.id!r} seeds {section!r}, which this world does not hold",
                where=case.source,
                advice=f"did you mean {near[0]!r}?" if near else f"known: {', '.join(seed)}",
            )
