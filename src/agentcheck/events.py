"""The closed table of event types; everything agentcheck says is a fold over these.

An event is ``(type, session, body)`` plus what the ledger adds (stream, sequence, time). Bodies hold a narrow
subset of JSON, on which fast encoders and RFC 8785 agree byte for byte: objects with ASCII keys, arrays, strings,
booleans, null, and integers below 2**53. There are no floats: money and scores are decimal strings, times are
integers (microseconds since the Unix epoch, durations in microseconds). Values that come from outside (arguments,
outputs) may be any JSON; they are carried as JSON *text* in fields of kind ``json``.

Acknowledgement: a ``durable`` event is on disk before anything happens in the world because of it; a ``buffered``
one goes with the next commit. Older versions are upcast when read, never rewritten.

Retention: events of the class ``content`` carry what users, agents, tools and datasets wrote; those of the class
``record`` say what was decided, by what rule and with what result. The two may be kept for different times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from agentcheck.errors import LedgerError

FORMAT_VERSION = 1
MAX_INTEGER = 2**53 - 1

Acknowledgement = Literal["durable", "buffered"]
Retention = Literal["content", "record"]


class Event(NamedTuple):
    """One event as it is folded. ``session`` is ``""`` for events of the run itself.

    ``time`` is in microseconds since the Unix epoch; ``seq`` counts from 1 without gaps in its ``stream``.
    """

    type: str
    body: Mapping[str, Any]
    session: str = ""
    time: int = 0
    seq: int = 0
    stream: str = ""


_PYTHON: Mapping[str, type] = {
    "text": str,
    "int": int,
    "bool": bool,
    "decimal": str,
    "json": str,
    "list": list,
    "map": dict,
}


@dataclass(frozen=True)
class EventType:
    """One row of the table: what the type means, its acknowledgement class and its fields (``?`` = optional)."""

    name: str
    meaning: str
    acknowledgement: Acknowledgement
    fields: Mapping[str, str]
    version: int = 1
    retention: Retention = "record"
    required: frozenset[str] = field(init=False)
    kinds: Mapping[str, str] = field(init=False)
    exact: Mapping[str, type] = field(init=False)

    def __post_init__(self) -> None:
        required = frozenset(name for name, kind in self.fields.items() if not kind.endswith("?"))
        object.__setattr__(self, "required", required)
        kinds = {name: kind.rstrip("?") for name, kind in self.fields.items()}
        object.__setattr__(self, "kinds", kinds)
        object.__setattr__(self, "exact", {name: _PYTHON[kind] for name, kind in kinds.items()})


#: Types that carry what users, agents, tools and datasets wrote. A plugin's events are content too.
_CONTENT = frozenset(
    {
        "action.finished",
        "action.requested",
        "agent.reasoning",
        "case.started",
        "case.turn",
        "fact.observed",
    }
)
_VERSIONS = {"run.suite": 2}


def _type(name: str, acknowledgement: Acknowledgement, meaning: str, /, **fields: str) -> EventType:
    retention: Retention = "content" if name in _CONTENT else "record"
    return EventType(name, meaning, acknowledgement, fields, _VERSIONS.get(name, 1), retention)


_ROWS = (
    # The run and its streams
    _type(
        "run.started",
        "durable",
        "A process opened its stream of a run; the first event of every stream.",
        run="text",
        agentcheck="text",
        python="text",
        platform="text",
        command="list",
        worker="text",
        seed="int?",
        commit="text?",
        dirty="bool?",
        author="text?",
        configuration="map",
        previous="list",
        unsafe="bool",
        redaction="text",
    ),
    _type(
        "run.suite",
        "durable",
        "A suite takes part, with every configuration hash in force.",
        suite="text",
        file="text",
        domain="text",
        agent="text",
        world="text",
        model="text",
        user="text",
        suite_hash="text",
        dataset_hash="text",
        policy_hash="text",
        agent_hash="text",
        agent_commit="text?",
        agent_author="text?",
        trials="int",
        cases="int",
        deselected="int",
        skipped_records="list",
        gate="map",
        changed="list",
        base="text?",
        unsafe="bool",
        tags="list",
        retention="text",
    ),
    _type(
        "run.finished",
        "durable",
        "The stream ends in good order. `streams` lists the heads of the workers' streams.",
        status="text",
        exit_code="int",
        counts="map",
        streams="list",
        partial="bool",
    ),
    _type(
        "run.note",
        "buffered",
        "Something a reader of the run should know (a warning, a plugin's failure).",
        level="text",
        text="text",
    ),
    # A trial of a case
    _type(
        "case.started",
        "durable",
        "A trial of a case begins; `case` holds what the verdict will be judged by.",
        suite="text",
        case="text",
        trial="int",
        attempt="int",
        case_hash="text",
        given="json",
        expected="json",
        tools="json",
        source="text?",
    ),
    _type("case.turn", "buffered", "The user speaks.", turn="int", text="text"),
    _type("case.aborted", "durable", "The trial was stopped before a verdict.", reason="text"),
    _type("case.skipped", "durable", "The case was collected and not run.", suite="text", case="text", reason="text"),
    # An action
    _type(
        "action.requested",
        "durable",
        "The agent asks to do one thing.",
        action="text",
        kind="text",
        name="text",
        arguments="json",
        turn="int",
        key="text",
        principal="map?",
        cause="text?",
    ),
    _type(
        "action.decided",
        "durable",
        "All controls were asked; deny wins over hold over allow.",
        action="text",
        outcome="text",
        control="text",
        rule="text",
        reason="text",
        level="int",
        policy="text",
        others="list?",
    ),
    _type(
        "action.started",
        "durable",
        "A held action that was approved starts; the intent after an approval.",
        action="text",
        approval="text",
    ),
    _type(
        "action.finished",
        "buffered",
        "What came back. An allowed action without it is an orphan intent.",
        action="text",
        status="text",
        output="json",
        error="text?",
        duration="int",
        input_tokens="int?",
        output_tokens="int?",
        cost="decimal?",
        key="text?",
    ),
    _type(
        "agent.reasoning", "buffered", "What the agent says of why; optional and redactable.", turn="int", text="text"
    ),
    # Approvals
    _type(
        "approval.requested",
        "durable",
        "A held action asks for votes.",
        approval="text",
        action="text",
        level="int",
        arguments_hash="text",
        needed="int",
        reason="text",
    ),
    _type(
        "approval.voted",
        "durable",
        "One vote for one exact action.",
        approval="text",
        voter="text",
        vote="text",
        arguments_hash="text",
        reason="text?",
    ),
    _type(
        "approval.resolved",
        "durable",
        "The votes are decided; a timeout denies.",
        approval="text",
        action="text",
        outcome="text",
        reason="text",
    ),
    # Bounds
    _type(
        "breaker.opened",
        "durable",
        "A circuit breaker opened: nothing passes until it half-opens.",
        breaker="text",
        reason="text",
        until="int",
    ),
    _type("breaker.closed", "buffered", "A trial call succeeded; the breaker is closed again.", breaker="text"),
    _type(
        "budget.charged",
        "buffered",
        "Spend and tokens were counted.",
        action="text",
        cost="decimal",
        input_tokens="int",
        output_tokens="int",
    ),
    # Facts from outside
    _type(
        "fact.observed",
        "buffered",
        "Something a decision or a score needs from outside, with its source.",
        source="text",
        value="json",
    ),
    # Scores and verdicts
    _type(
        "score.recorded",
        "buffered",
        "A metric's value for one trial, with the events that explain it.",
        metric="text",
        status="text",
        value="decimal?",
        threshold="decimal?",
        passed="bool?",
        reason="text",
        events="list",
        detail="json?",
    ),
    _type(
        "verdict.reached",
        "durable",
        "A trial is decided: pass, fail, error or inconclusive.",
        suite="text",
        case="text",
        trial="int",
        status="text",
        reasons="list",
        duration="int",
    ),
    _type(
        "gate.decided",
        "durable",
        "A suite's gate is decided over all its cases.",
        suite="text",
        passed="bool?",
        rules="list",
        counts="map",
        partial="bool",
    ),
    # The ledger itself
    _type(
        "checkpoint.signed",
        "buffered",
        "A checkpoint over the first `size` events of this stream was signed; `published` says where it went.",
        size="int",
        root="text",
        key="text",
        published="list",
    ),
    _type(
        "custody.opened",
        "durable",
        "Somebody opened a stream of custody on a run; its first event. `previous` holds the heads found.",
        run="text",
        agentcheck="text",
        command="list",
        by="text",
        previous="list",
    ),
    _type("custody.closed", "durable", "The stream of custody ends in good order.", status="text"),
    _type(
        "hold.placed",
        "durable",
        "A legal hold: nothing of the run is withheld until it is released.",
        hold="text",
        reason="text",
        by="text",
    ),
    _type("hold.released", "durable", "A legal hold ends.", hold="text", reason="text", by="text"),
    _type(
        "events.withheld",
        "durable",
        "The tombstone: the payloads of these events are taken away, their leaf hashes stay. Written before they go.",
        stream="text",
        ranges="list",
        count="int",
        purpose="text",
        retention="text",
        reason="text",
        by="text",
    ),
)

TABLE: Mapping[str, EventType] = {row.name: row for row in _ROWS}


def retention(name: str) -> Retention:
    """The retention class of a type; plugin events (``x.<plugin>.*``) are content."""
    row = TABLE.get(name)
    return row.retention if row else "content"


def acknowledgement(name: str) -> Acknowledgement:
    """The acknowledgement class of a type; plugin events (``x.<plugin>.*``) are buffered."""
    row = TABLE.get(name)
    return row.acknowledgement if row else "buffered"


class _Shape(NamedTuple):
    """A set of fields that was found good before: the types of its values, and which need a closer look."""

    types: tuple[type, ...]
    integers: tuple[str, ...]
    containers: tuple[str, ...]


#: Types whose values need no look of their own inside a list.
_PLAIN = frozenset({str, bool, type(None)})


#: Bodies of one type come in few shapes; what was looked at once is compared as a whole afterwards.
_SHAPES: dict[tuple[str, ...], _Shape] = {}
_SHAPES_KEPT = 1000


def check(name: str, body: Mapping[str, Any]) -> None:
    """Refuse a body that the table does not allow.

    Raises:
        LedgerError: an unknown type or field, a missing field, a wrong kind, a float, a non-ASCII key or an
            integer of 2**53 or more; the message names the field.
    """
    key = (name, *body)
    shape = _SHAPES.get(key)
    if shape is not None and tuple(map(type, body.values())) == shape.types:
        for field_name in shape.integers:
            if not -MAX_INTEGER <= body[field_name] <= MAX_INTEGER:
                raise LedgerError(f"event {name}, field {field_name!r}: integer outside +-(2**53-1)")
        for field_name in shape.containers:
            value = body[field_name]
            if value and not (type(value) is list and _is_plain(value)):
                _check_value(value, f"{name}.{field_name}")
        return
    _check_closely(name, body)
    if name in TABLE and len(_SHAPES) < _SHAPES_KEPT:
        types = tuple(map(type, body.values()))
        _SHAPES[key] = _Shape(
            types,
            tuple(field_name for field_name, kind in zip(body, types, strict=True) if kind is int),
            tuple(field_name for field_name, kind in zip(body, types, strict=True) if kind in (list, tuple, dict)),
        )


def _is_plain(items: list[Any]) -> bool:
    """Whether a list holds nothing but text, booleans, null and small integers, as most do."""
    kinds = set(map(type, items))
    if int in kinds:
        kinds.discard(int)
        # Booleans among them are compared as 0 and 1, which are small too; texts cannot be compared.
        return kinds <= {bool} and min(items) >= -MAX_INTEGER and max(items) <= MAX_INTEGER
    return kinds <= _PLAIN


def _check_closely(name: str, body: Mapping[str, Any]) -> None:
    row = TABLE.get(name)
    if row is None:
        if not name.startswith("x.") or name.count(".") < 2:
            raise LedgerError(f"unknown event type {name!r}", advice="plugins use x.<plugin>.<name>")
        _check_value(body, name)
        return
    exact = row.exact
    for key, value in body.items():
        kind = exact.get(key)
        if type(value) is kind:
            if isinstance(value, int) and kind is int:
                if not -MAX_INTEGER <= value <= MAX_INTEGER:
                    raise LedgerError(f"event {name}, field {key!r}: integer outside +-(2**53-1)")
            elif kind is list or kind is dict:
                _check_value(value, f"{name}.{key}")
        elif value is None and kind is not None and key not in row.required:
            continue
        elif kind is list and isinstance(value, tuple):
            _check_value(value, f"{name}.{key}")
        elif kind is str and isinstance(value, str):
            continue
        elif kind is None:
            raise LedgerError(f"event {name} has no field {key!r}")
        else:
            raise LedgerError(f"event {name}, field {key!r}: expected {row.kinds[key]}, got {type(value).__name__}")
    if not row.required <= body.keys():
        missing = ", ".join(sorted(row.required - body.keys()))
        raise LedgerError(f"event {name} lacks {missing}")


def _check_value(value: Any, path: str) -> None:
    if value is None or isinstance(value, (str, bool)):
        return
    if isinstance(value, int):
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise LedgerError(f"{path}: integer outside +-(2**53-1)")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_value(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise LedgerError(f"{path}: key {key!r} is not an ASCII string")
            _check_value(item, f"{path}.{key}")
    else:
        raise LedgerError(f"{path}: {type(value).__name__} is not allowed in an event (use a decimal string)")
