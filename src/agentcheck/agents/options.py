"""Options of ``[agent]``, ``[model]`` and ``[user]`` tables, read strictly: the nearest known key is named."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from agentcheck.errors import SuiteError


class Options(BaseModel):
    """What the options of every adapter share: further keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Read = TypeVar("Read", bound=Options)


def read(kind: type[Read], options: Mapping[str, Any], what: str) -> Read:
    """Validate options; ``what`` is called in messages, such as ``the agent 'http'``.

    Raises:
        SuiteError: an unknown key (the nearest known one is named), a missing one, or a value of the wrong kind.
    """
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        known = sorted(kind.model_fields)
        if first["type"] == "extra_forbidden":
            near = get_close_matches(key, known, 1)
            advice = (f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(known)}"
            raise SuiteError(
                f"{what} has no option {key!r}", advice=advice if len(first["loc"]) == 1 else "", key=key
            ) from None
        if first["type"] == "missing":
            raise SuiteError(f"{what} needs the option {key!r}") from None
        raise SuiteError(f"{what}, option {key!r}: {first['msg']}", key=key) from None


def secret(name: str, what: str) -> str:
    """A secret from the environment; suite files name the variable and never hold the value.

    Raises:
        SuiteError: the variable is not set.
    """
    value = os.environ.get(name, "")
    if not value:
        raise SuiteError(f"{what} reads a key from the environment variable {name}, which is not set")
    return value
