"""An agent that is a Python callable or class, by dotted name: ``use = "package.module:attribute"``.

What may stand there, told apart by its signature once, when the suite is collected:

- a function ``f(prompt)``, ``f(task)``, ``f(prompt, session)`` or ``f(task, session)``, synchronous or asynchronous;
- a class, made once per trial with no arguments or with the options of ``[agent]``, with a method ``respond``, ``run``
  or ``__call__`` of one of these shapes, and ``close`` where it has something to release;
- an object with such a method, which then serves all trials;
- a factory ``f(options, case)`` that gives such an object, once per trial.

The first parameter gets the prompt as text, unless it is called ``task`` or annotated `Task`. Synchronous code runs in
a daemon thread with a `SyncSession`, so that it can wait without holding other trials up. A thread cannot be killed:
after the time limit its next call to the session raises `SessionOver`.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentcheck.agents.sync_session import SyncSession, in_a_thread
from agentcheck.agents.tool_functions import session_tools_as_functions
from agentcheck.contracts import Session
from agentcheck.errors import (
    ActionDenied,
    AgentcheckError,
    AgentError,
    CannotImport,
    PluginError,
    SuiteError,
    ToolError,
)
from agentcheck.records import Case, Task

__all__ = ["CallableAgent", "Factory", "SyncSession", "make", "session_tools_as_functions"]

METHODS = ("respond", "run", "__call__")
_SHAPES = "f(prompt), f(task), f(prompt, session) or f(task, session)"
_OURS = Path(__file__).parent.parent
#: `model_client.REFUSAL`, written again so that httpx is not loaded for agents that do not need it.
_REFUSAL = "agentcheck.refusal"
_DEEPEST = 20
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class Factory:
    """Makes agents of ``use = "package.module:attribute"``, or of ``use = "callable"`` with the option ``target``."""

    def check(self, options: Mapping[str, Any]) -> None:
        """Import the target and look at its signature, once, when a suite is collected.

        Raises:
            PluginError: it does not import, or has a shape that cannot be called.
            SuiteError: no target, or options for something that takes none.
        """
        _split(options)

    def __call__(self, options: Mapping[str, Any], case: Case) -> CallableAgent:
        """The agent of one trial; raises as `check` does."""
        shape, target, rest = _split(options)
        return CallableAgent(shape, target, rest, case)


make = Factory()


@dataclass(frozen=True)
class _Call:
    """How a function is called for one turn."""

    takes_task: bool
    takes_session: bool
    session_by_name: bool
    is_async: bool


@dataclass(frozen=True)
class Shape:
    """What a target is: ``kind`` is ``function``, ``class``, ``object`` or ``factory``.

    ``arguments`` names what a class or factory is made with; ``call`` is ``None`` where only the made object can tell.
    """

    kind: str
    target: Any
    arguments: tuple[str, ...] = ()
    method: str = ""
    call: _Call | None = None


def _split(options: Mapping[str, Any]) -> tuple[Shape, str, dict[str, Any]]:
    rest = dict(options)
    target = rest.pop("target", None)
    if not isinstance(target, str) or ":" not in target:
        raise SuiteError("the callable agent needs target = 'package.module:attribute'")
    shape = shape_of(target)
    if rest and not {"options", ""} & set(shape.arguments):
        what = "class whose constructor takes no options" if shape.kind == "class" else f"{shape.kind} and takes none"
        raise SuiteError(f"{target} is a {what}; the suite gives it {', '.join(rest)}")
    return shape, target, rest


@lru_cache(maxsize=128)
def shape_of(reference: str) -> Shape:
    """Import a target and look at its signature; once for all trials.

    Raises:
        PluginError: it does not import, or nothing of it has a shape that can be called; what was found is named.
    """
    target = _import(reference)
    if inspect.isclass(target):
        method = _method(target, reference)
        made_with = _made_with(target, reference)
        static = isinstance(inspect.getattr_static(target, method), (staticmethod, classmethod))
        return Shape("class", target, made_with, method, _call(getattr(target, method), reference, skip=not static))
    if not inspect.isroutine(target) and any(callable(getattr(target, name, None)) for name in METHODS[:2]):
        method = _method(target, reference)
        return Shape("object", target, (), method, _call(getattr(target, method), reference))
    if not callable(target):
        raise PluginError(f"{reference}: a {type(target).__name__} cannot be called", advice=f"write {_SHAPES}")
    names = [parameter.name for parameter in _parameters(target, reference)]
    if names == ["options", "case"]:
        return Shape("factory", target, ("options", "case"))
    return Shape("function", target, call=_call(target, reference))


def _import(reference: str) -> Any:
    module, _, attribute = reference.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        raise CannotImport(module, error) from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            near = get_close_matches(part, dir(found), 1)
            advice = f"did you mean {near[0]!r}?" if near else "write it as package.module:attribute"
            raise PluginError(f"{module!r} has no {attribute!r}", advice=advice) from None
    return found


def _method(target: Any, reference: str) -> str:
    """The first of the methods that a class or object has; ``__call__`` of a class is that of its instances."""
    for name in METHODS:
        if callable(getattr(target, name, None)) and (name != "__call__" or "__call__" in dir(target)):
            return name
    raise PluginError(f"{reference}: it has none of the methods {', '.join(METHODS)}", advice=f"write {_SHAPES}")


def _made_with(target: Any, reference: str) -> tuple[str, ...]:
    """What a class is made with: names of keywords, ``""`` for the options in its only position."""
    parameters = _parameters(target, reference)
    known = tuple(each.name for each in parameters if each.name in ("options", "case"))
    needed = [each.name for each in parameters if each.default is each.empty]
    if set(needed) <= set(known):
        return known
    if len(needed) == 1:
        return ("",)
    raise PluginError(
        f"{reference} needs ({', '.join(needed)}) to be made",
        advice="a class takes nothing, (options), or (options, case)",
    )


def _parameters(function: Any, reference: str) -> list[inspect.Parameter]:
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise PluginError(f"{reference}: its signature cannot be read: {error}", advice=f"write {_SHAPES}") from None
    return [each for each in found if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]


def _call(function: Any, reference: str, *, skip: int = 0) -> _Call:
    parameters = _parameters(function, reference)[skip:]
    positional = [each for each in parameters if each.kind is not each.KEYWORD_ONLY]
    needed = [each for each in parameters if each.default is each.empty]
    by_name = next((each for each in parameters if each.kind is each.KEYWORD_ONLY and each.name == "session"), None)
    second = positional[1] if len(positional) > 1 else by_name
    if not positional or not all(each in (positional[0], second) for each in needed):
        found = ", ".join(each.name for each in parameters)
        raise PluginError(f"{reference} takes ({found})", advice=f"an agent is {_SHAPES}")
    first = positional[0]
    return _Call(
        takes_task=first.name == "task" or getattr(first.annotation, "__name__", first.annotation) == "Task",
        takes_session=second is not None and (second in needed or second.name == "session"),
        session_by_name=second is not None and second is by_name,
        is_async=inspect.iscoroutinefunction(function)
        or inspect.iscoroutinefunction(getattr(type(function), "__call__", None)),  # noqa: B004 - looks, calls nothing
    )


class CallableAgent:
    """Implements `contracts.Agent` around a user's callable, class or object."""

    def __init__(self, shape: Shape, reference: str, options: Mapping[str, Any], case: Case) -> None:
        self._reference = reference
        self._made: Any = None
        self._threads: list[SyncSession] = []
        method, call, target = shape.method, shape.call, shape.target
        if shape.kind in ("class", "factory"):
            values = {"options": dict(options), "case": case}
            positional = [values["options"] for name in shape.arguments if not name]
            named = {name: values[name] for name in shape.arguments if name}
            with users_code(reference):
                self._made = target = target(*positional, **named)
        if shape.kind == "factory":
            method = _method(target, reference)
            call = _call(getattr(target, method), reference)
        assert call is not None
        self._call = call
        self._function: Callable[..., Any] = getattr(target, method) if method else target

    async def respond(self, task: Task, session: Session) -> str | None:
        """Call the user's code for one turn; tables, lists and numbers that it returns become JSON text.

        Code that lets an `ActionDenied` escape stopped at a refusal: that is an end of its turn without an answer
        (``None``) and no error, also where a framework wrapped the refusal in an exception of its own.

        Raises:
            AgentError: the code raised anything else, a tool's error included; ``where`` is its last line.
        """
        if self._call.is_async:
            return await self._ask(task, session, self._function)
        facade = SyncSession(session, asyncio.get_running_loop())
        self._threads.append(facade)
        try:
            return await self._ask(task, facade, self._in_thread)
        finally:
            await facade.end()

    async def _ask(self, task: Task, session: Session | SyncSession, function: Callable[..., Any]) -> str | None:
        given: list[Any] = [task if self._call.takes_task else task.prompt]
        named: dict[str, Any] = {}
        if self._call.session_by_name:
            named["session"] = session
        elif self._call.takes_session:
            given.append(session)
        try:
            with users_code(self._reference):
                answer = await function(*given, **named)
        except ActionDenied:
            return None
        return self._text(answer)

    async def _in_thread(self, *given: Any, **named: Any) -> Any:
        answer = await in_a_thread(lambda: self._function(*given, **named), f"agent {self._reference}")
        # A synchronous function may hand back something to wait for (a partial, a lambda).
        return await answer if inspect.isawaitable(answer) else answer

    def _text(self, answer: Any) -> str | None:
        if answer is None or isinstance(answer, str):
            return answer
        try:
            if isinstance(answer, (dict, list, tuple, int, float)):
                return json.dumps(answer, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise AgentError(f"{self._reference} answered with what is no JSON: {error}") from None
        raise AgentError(
            f"{self._reference} answered with {type(answer).__name__}", advice="return text, None, or a JSON value"
        )

    async def close(self) -> None:
        """Close what was made for this trial, once; a thread that still runs finds its session ended."""
        for facade in self._threads:
            await facade.end()
        made, self._made = self._made, None
        closing = getattr(made, "close", None)
        if callable(closing):
            with users_code(self._reference):
                waiting = closing()
                if inspect.isawaitable(waiting):
                    await waiting


@contextmanager
def users_code(reference: str) -> Iterator[None]:
    """Turn what a user's code raises into an `AgentError` that names its last line; what the harness raised passes.

    A refusal passes as `ActionDenied`, and a broken harness as itself, whatever a framework wrapped them in.
    """
    try:
        yield
    except Exception as error:
        ours = _ours_in(error)
        if ours is not None:
            if isinstance(ours, AgentError):
                ours.where = ours.where or _last_line(error)
            if ours is error:
                raise
            raise ours from error
        said = error.what if isinstance(error, ToolError) else str(error)
        raise AgentError(f"{reference} raised {type(error).__name__}: {said}", where=_last_line(error)) from error


def _ours_in(error: BaseException, depth: int = 0) -> AgentcheckError | None:
    """What of ours an exception is, was raised from, consists of, or was answered with; a tool's error is not meant.

    A group counts only where all its parts do, and as the harness's where one of them is.
    """
    if isinstance(error, AgentcheckError) and not isinstance(error, ToolError):
        return error
    if depth > _DEEPEST:
        return None
    answered = getattr(getattr(error, "response", None), "extensions", None)
    refusal = answered.get(_REFUSAL) if isinstance(answered, dict) else None
    if isinstance(refusal, ActionDenied):
        return refusal
    parts = getattr(error, "exceptions", None)
    if isinstance(parts, (tuple, list)) and parts:
        found = [_ours_in(part, depth + 1) for part in parts]
        broken = next((each for each in found if each is not None and not isinstance(each, ActionDenied)), None)
        return broken or (found[0] if all(found) else None)
    return _ours_in(error.__cause__, depth + 1) if error.__cause__ is not None else None


def _last_line(error: BaseException) -> str:
    """The last frame of the user's own code, as ``file:line in function``; a library's, where there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    foreign = [frame for frame in frames if not Path(frame.filename).is_relative_to(_OURS)]
    own = [frame for frame in foreign if not frame.filename.startswith(_INSTALLED)]
    for frame in (own or foreign)[-1:]:
        return f"{frame.filename}:{frame.lineno} in {frame.name}"
    return _last_line(error.__cause__) if error.__cause__ is not None else ""
