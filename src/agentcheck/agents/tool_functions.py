"""The tools of a session as plain typed Python functions, for frameworks that take functions as tools."""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, Optional

from agentcheck.agents.sync_session import SyncSession
from agentcheck.contracts import Session
from agentcheck.errors import Refusal
from agentcheck.records import ToolSpec

_TYPES: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict[str, Any],
    "null": type(None),
}


def session_tools_as_functions(
    session: Session | SyncSession, *, refusals: Literal["text", "raise"] = "text"
) -> list[Callable[..., Any]]:
    """The tools of a session as functions: name, docstring, typed parameters; asynchronous unless the session is not.

    Each call goes through the session, so it is decided and recorded. With ``refusals="text"`` a denied action and a
    tool's error come back as text, which a model can correct itself by; with ``"raise"`` as `ActionDenied`,
    `ActionHeld` or `ToolError`. ``function.tool`` is the `ToolSpec`, ``function.parameters`` the JSON Schema of the
    arguments. Names that are no Python identifiers are written with underscores.
    """
    return [_function(session, tool, refusals == "text") for tool in session.tools]


def _function(session: Session | SyncSession, tool: ToolSpec, as_text: bool) -> Callable[..., Any]:
    parameters, names = _parameters(tool)
    signature = inspect.Signature(parameters)
    optional = {parameter.name for parameter in parameters if parameter.default is not inspect.Parameter.empty}

    def arguments(given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        bound = signature.bind(*given, **named).arguments
        # A framework fills in the defaults; an optional argument left at None was not given.
        return {names[name]: value for name, value in bound.items() if value is not None or name not in optional}

    function: Any
    if isinstance(session, SyncSession):

        def call(*given: Any, **named: Any) -> Any:
            wanted = arguments(given, named)
            try:
                return session.call_tool(tool.name, **wanted)
            except Refusal as refusal:
                if not as_text:
                    raise
                return _told(refusal)

        function = call
    else:

        async def call_async(*given: Any, **named: Any) -> Any:
            wanted = arguments(given, named)
            try:
                return await session.call_tool(tool.name, **wanted)
            except Refusal as refusal:
                if not as_text:
                    raise
                return _told(refusal)

        function = call_async
    function.__name__ = function.__qualname__ = _identifier(tool.name)
    function.__doc__ = _docstring(tool, names)
    function.__signature__ = signature
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    function.tool = tool
    function.parameters = dict(tool.parameters)
    return function  # type: ignore[no-any-return]


def _told(refusal: Refusal) -> str:
    return f"Not done: {refusal.what}"


def _parameters(tool: ToolSpec) -> tuple[list[inspect.Parameter], dict[str, str]]:
    """The parameters, required ones first, and for each the name that the tool knows it by."""
    properties = tool.parameters.get("properties") or {}
    required = set(tool.parameters.get("required") or ())
    names: dict[str, str] = {}
    found = []
    for original in sorted(properties, key=lambda name: name not in required):
        name = _identifier(original)
        while name in names:
            name += "_"
        names[name] = original
        annotation = _annotation(properties[original])
        needed = original in required
        found.append(
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=inspect.Parameter.empty if needed else None,
                annotation=annotation if needed else Optional[annotation],  # noqa: UP045 - made at run time
            )
        )
    return found, names


def _annotation(schema: Any) -> Any:
    """The Python type of a JSON Schema, as far as a plain type says it; anything else is ``Any``."""
    if not isinstance(schema, Mapping):
        return Any
    choices = schema.get("enum")
    if choices and all(isinstance(choice, (str, int, bool)) for choice in choices):
        return Literal[tuple(choices)]
    kind = schema.get("type")
    if isinstance(kind, list):
        kinds = [one for one in kind if one != "null"]
        if len(kinds) != 1:
            return Any
        inner = _annotation({**schema, "type": kinds[0]})
        return Optional[inner] if "null" in kind else inner  # noqa: UP045 - made at run time
    if kind == "array":
        return list[_annotation(schema.get("items"))]  # type: ignore[misc]
    return _TYPES.get(kind, Any) if isinstance(kind, str) else Any


def _identifier(name: str) -> str:
    plain = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
    return f"_{plain}" if plain[0].isdigit() else f"{plain}_" if keyword.iskeyword(plain) else plain


def _docstring(tool: ToolSpec, names: Mapping[str, str]) -> str:
    """Description and arguments, in the form from which frameworks read descriptions of parameters."""
    properties = tool.parameters.get("properties") or {}
    lines = [f"    {name}: {_described(properties[original])}".rstrip() for name, original in names.items()]
    head = tool.description or tool.name
    return f"{head}\n\nArgs:\n" + "\n".join(lines) if lines else head


def _described(schema: Any) -> str:
    return str(schema.get("description", "")) if isinstance(schema, Mapping) else ""
