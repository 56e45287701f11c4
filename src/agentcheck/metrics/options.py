"""Options of a ``[[metrics]]`` table, read strictly: an unknown key or a wrong value names the nearest known key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentcheck.errors import SuiteError


class Options(BaseModel):
    """What every metric takes: ``name``, so that a suite can use one metric twice with different options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("", max_length=80)


Read = TypeVar("Read", bound=Options)


def read(kind: type[Read], options: Mapping[str, Any], metric: str) -> Read:
    """Validate the options of a metric.

    Raises:
        SuiteError: an unknown key (the nearest known one is named) or a value of the wrong kind.
    """
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise SuiteError(
                f"the metric {metric!r} has no option {key!r}", key=key, advice=known_keys(key, kind.model_fields)
            ) from None
        raise SuiteError(f"the metric {metric!r}, option {key!r}: {first['msg']}", key=key) from None


def known_keys(key: str, options: Iterable[str]) -> str:
    """Advice for an unknown key of a ``[[metrics]]`` table: the nearest one that is known, and all of them."""
    known = sorted({*options, "use", "threshold"})
    near = get_close_matches(key, known, 1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(known)}"
