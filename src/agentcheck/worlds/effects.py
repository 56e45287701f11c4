"""The witness: a world's own log of what it did, kept apart from the ledger in code, format and storage.

One JSON object a line, ``{"effect": 1, "key": "...", "tool": "...", "arguments": {...}}``, in a file of the trial's
scratch folder. A line is on disk (``fsync``) before the tool returns, so that an effect which the agent saw is an
effect which the witness has. The file is made on the first effect: a trial without effects costs nothing.
Secrets and personal data in the arguments become the ledger's placeholders before they are on disk, where whoever
makes the world says how (`redacting`). Standard library only.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from agentcheck.errors import ToolError, WorldError
from agentcheck.records import Effect

FILE_NAME = "effects.jsonl"
#: JSON text in, the same without secrets out; by default as it came.
_REDACT: ContextVar[Callable[[str], str]] = ContextVar("redact", default=str)


@contextmanager
def redacting(redact: Callable[[str], str]) -> Iterator[None]:
    """Effect logs that are made in this block pass the JSON text of arguments through ``redact`` before writing."""
    token = _REDACT.set(redact)
    try:
        yield
    finally:
        _REDACT.reset(token)


class EffectLog:
    """Carries out effects, each idempotency key once, and logs them in ``folder``, which is made when needed."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._redact = _REDACT.get()
        self._count = 0
        self._done: dict[str, tuple[str, Any]] = {}
        self._broken = ""

    def once(self, key: str, name: str, arguments: Mapping[str, Any], act: Callable[[], Any]) -> Any:
        """Act and log it, or give the first result again where ``key`` has acted before.

        An ``act`` that raises `ToolError` did nothing: nothing is logged, and the key may be used again.

        Raises:
            ToolError: the key belongs to another call.
            WorldError: there is no key, or the log could not be written.
        """
        if not key:
            raise WorldError(f"the effect {name!r} came without an idempotency key")
        if self._broken:
            raise WorldError(self._broken)
        request = json.dumps([name, arguments], sort_keys=True)
        if key in self._done:
            first, result = self._done[key]
            if first != request:
                raise ToolError(f"the idempotency key of {name} belongs to another call")
            return copy.deepcopy(result)
        kept = json.loads(self._redact(json.dumps(arguments)))  # where this fails, nothing has happened
        result = act()
        self._write(key, name, kept)
        self._done[key] = (request, copy.deepcopy(result))
        return result

    def entries(self) -> tuple[Effect, ...]:
        """The effects in order, read back from the file."""
        return read_effects(self.path) if self._count else ()

    def _write(self, key: str, name: str, arguments: Mapping[str, Any]) -> None:
        line = json.dumps({"effect": self._count + 1, "key": key, "tool": name, "arguments": arguments})
        try:
            if not self._count:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            # "x": the folder is this trial's own, so a file that is already there is somebody else's.
            with open(self.path, "a" if self._count else "x", encoding="utf-8", newline="\n") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            # The effect happened and is not witnessed: nothing more may happen here.
            self._broken = f"the effect log {self.path.name} could not be written: {error}"
            raise WorldError(self._broken) from error
        self._count += 1


def read_effects(path: Path) -> tuple[Effect, ...]:
    """The effects of a log file, in order.

    A last line without its end belongs to an effect that never returned (the process died) and is left out.

    Raises:
        WorldError: any other line cannot be read, or the count has a gap; the line is named.
    """
    *lines, _torn = path.read_text(encoding="utf-8").split("\n")
    effects = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            effect = Effect(entry["key"], entry["tool"], entry["arguments"])
            counted = entry["effect"]
        except (ValueError, KeyError, TypeError) as error:
            raise WorldError(f"not an effect: {error!r}", where=f"{path}:{number}") from error
        if counted != number:
            raise WorldError(f"effect {counted!r} where {number} was expected", where=f"{path}:{number}")
        effects.append(effect)
    return tuple(effects)
