"""Reading events back: stored bytes to `events.Event`, older versions upcast, never rewritten."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import itemgetter
from typing import Any

import orjson

from agentcheck.contracts import Row, Store
from agentcheck.errors import LedgerError
from agentcheck.events import TABLE, Event

#: ``(type, version)`` -> the body of that version as the next version has it.
UPCASTS: Mapping[tuple[str, int], Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
    ("run.suite", 1): lambda body: {**body, "retention": "standard"},
}

_FIELDS = (("body", dict), ("seq", int), ("session", str), ("stream", str), ("time", int), ("type", str), ("v", int))
_KINDS = tuple(kind for _, kind in _FIELDS)
#: What `Event` does, without a call of Python for each of the events that the end of a run reads.
_event: Callable[[tuple[str, Mapping[str, Any], str, int, int, str]], Event] = partial(tuple.__new__, Event)
_fields = itemgetter(*(name for name, _ in _FIELDS))


def read_events(store: Store, stream: str, start: int = 1) -> Iterator[Event]:
    """The events of a stream from ``start``, in order, decoded; withheld ones are passed over.

    The chain is not checked; that is `verify`'s work.

    Raises:
        LedgerError: a row that is no event, or that a newer agentcheck wrote; ``where`` is ``stream:seq``.
        StoreError: the store cannot be read.
    """
    return map(decode, (row for row in store.read(stream, start) if row[2][:1] != b"\x00"))


def decode(row: Row) -> Event:
    """One stored row as an event.

    Raises:
        LedgerError: see `read_events`.
    """
    try:
        record = orjson.loads(row.payload)
        found = body, seq, session, stream, time, name, version = _fields(record)
        if tuple(map(type, found)) != _KINDS:
            field, kind = next(each for each, value in zip(_FIELDS, found, strict=True) if type(value) is not each[1])
            raise TypeError(f"{field} is no {kind.__name__}")
    except (ValueError, TypeError, KeyError) as error:
        raise LedgerError(
            f"the row holds no event ({type(error).__name__}: {error})", where=_where(row), advice=_ADVICE
        ) from error
    if seq != row.seq or stream != row.stream:
        raise LedgerError(f"the row holds the event {stream}:{seq}", where=_where(row), advice=_ADVICE)
    known = TABLE.get(name)
    if known is None or version != known.version:
        body = _upcast(name, version, body, _where(row))
    return _event((name, body, session, time, seq, stream))


def _where(row: Row) -> str:
    return f"{row.stream}:{row.seq}"


_ADVICE = "`agentcheck verify` tells which events are still whole"


def _upcast(name: str, version: int, body: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    row = TABLE.get(name)
    current = row.version if row else version
    if version > current or (row is None and not name.startswith("x.")):
        raise LedgerError(
            f"event {name} in version {version} is not known", where=where, advice="a newer agentcheck reads it"
        )
    while version < current:
        try:
            body = UPCASTS[name, version](body)
        except KeyError:
            raise LedgerError(f"event {name} in version {version} cannot be read any more", where=where) from None
        version += 1
    return body
