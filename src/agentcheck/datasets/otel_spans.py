"""Spans as exporters write them, in one shape: attribute objects or OTLP key-value lists, ids as numbers or text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

from agentcheck.datasets.fields import BadRecord, join, maybe, need, says, text_of
from agentcheck.datasets.files import Entry, parse
from agentcheck.datasets.recording import Request

MODEL = frozenset({"call_llm", "chat", "text_completion", "generate_content"})
TOOL = frozenset({"execute_tool"})
AGENT = frozenset({"invoke_agent", "create_agent", "invoke_workflow"})
_FRACTION = re.compile(r"\.(\d+)")
_OTLP_VALUES = ("stringValue", "intValue", "boolValue", "doubleValue", "bytesValue")


@dataclass
class Span:
    """One span. ``kind`` is model, tool, agent or other; ``at`` is its path in the record, ``start`` in nanoseconds."""

    name: str
    kind: str
    attributes: Mapping[str, Any]
    at: str
    id: str = ""
    parent: str = ""
    trace: str = ""
    start: int = 0
    error: str = ""

    def first(self, *names: str) -> Any:
        """The first of several attributes that is there."""
        return next((self.attributes[name] for name in names if self.attributes.get(name) is not None), None)

    def text(self, name: str) -> str:
        """An attribute that must be text where it is there.

        Raises:
            BadRecord: it is not.
        """
        found: str = maybe(self.attributes, name, str, "", f"{self.at}.attributes")
        return found

    def number(self, name: str) -> Decimal | None:
        """An attribute that must be a number of 0 or more where it is there.

        Raises:
            BadRecord: it is not.
        """
        value = maybe(self.attributes, name, (int, float, str), None, f"{self.at}.attributes")
        if value is None:
            return None
        try:
            found = Decimal(str(value))
        except InvalidOperation:
            found = Decimal(-1)
        if not found.is_finite() or found < 0:
            raise BadRecord(f"{self.at}.attributes.{name}: expected a number, found {value!r}")
        return found


def spans_of(raw: list[Any]) -> list[Span]:
    """The spans of a trace in the order in which they began.

    Raises:
        BadRecord: a field of a span is missing or of the wrong kind.
    """
    spans = [_span(need(raw, index, dict, "spans"), join("spans", index)) for index in range(len(raw))]
    return sorted(spans, key=lambda span: span.start)


def _span(raw: Mapping[str, Any], at: str) -> Span:
    name = need(raw, "name", str, at)
    attributes = _attributes(raw.get("attributes"), f"{at}.attributes")
    context = maybe(raw, "context", dict, {}, at)
    parent = raw.get("parent")
    holder = parent.get("span_id") if isinstance(parent, Mapping) else None
    span = Span(
        name=name,
        kind="other",
        attributes=attributes,
        at=at,
        id=_hex(_any(context.get("span_id"), raw.get("spanId"), raw.get("span_id")), 16),
        parent=_hex(_any(holder, raw.get("parentSpanId"), raw.get("parent_id")), 16),
        trace=trace_of(raw),
        start=_time(_any(raw.get("start_time"), raw.get("startTimeUnixNano")), f"{at}.start_time"),
    )
    operation = span.text("gen_ai.operation.name") or name.split(" ")[0]
    if operation in TOOL or (operation not in MODEL | AGENT and "gen_ai.tool.name" in attributes):
        span.kind = "tool"
    elif operation in MODEL:
        span.kind = "model"
    elif operation in AGENT:
        span.kind = "agent"
    span.error = _error(raw, span)
    return span


def _error(raw: Mapping[str, Any], span: Span) -> str:
    status = maybe(raw, "status", dict, {}, span.at)
    code = _any(status.get("status_code"), status.get("code"))
    kind = span.text("error.type")
    if str(code).upper() in ("ERROR", "STATUS_CODE_ERROR", "STATUSCODE.ERROR", "2") or kind:
        described = _any(status.get("description"), status.get("message"))
        return str(described or kind or "error")
    return ""


def _any(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _hex(value: Any, width: int) -> str:
    """An id as text: numbers in hex, ``0x`` cut off."""
    if isinstance(value, bool) or value is None:
        return ""
    return format(value, f"0{width}x") if isinstance(value, int) else str(value).removeprefix("0x")


def _time(value: Any, at: str) -> int:
    if value is None:
        return 0
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isdecimal() and len(value) < 25:
        return int(value)
    if isinstance(value, str):
        try:
            # Python 3.10 reads a fraction of three or six digits only.
            moment = datetime.fromisoformat(
                _FRACTION.sub(lambda one: f".{one[1]:0<6}"[:7], value.replace("Z", "+00:00"))
            )
        except ValueError:
            raise BadRecord(f"{at}: expected a time, found {value[:40]!r}") from None
        since = moment.replace(tzinfo=moment.tzinfo or timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc)
        return (since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds) * 1000
    raise BadRecord(f"{at}: expected a time, found {says(value)}")


def _attributes(raw: Any, at: str) -> Mapping[str, Any]:
    if raw is None:
        return {}
    if isinstance(raw, dict):
        return raw
    if not isinstance(raw, list):
        raise BadRecord(f"{at}: expected an object or a list, found {says(raw)}")
    found: dict[str, Any] = {}
    for index in range(len(raw)):
        pair = need(raw, index, dict, at)
        found[need(pair, "key", str, join(at, index))] = _otlp(pair.get("value"), f"{join(at, index)}.value")
    return found


def _otlp(value: Any, at: str) -> Any:
    if not isinstance(value, dict):
        raise BadRecord(f"{at}: expected an object, found {says(value)}")
    for name in _OTLP_VALUES:
        if name in value:
            plain = value[name]
            return int(plain) if name == "intValue" and str(plain).lstrip("-").isdecimal() else plain
    if "arrayValue" in value:
        items = maybe(need(value, "arrayValue", dict, at), "values", list, [], f"{at}.arrayValue")
        return [_otlp(item, f"{at}.arrayValue") for item in items]
    if "kvlistValue" in value:
        return dict(_attributes(need(value["kvlistValue"], "values", list, f"{at}.kvlistValue"), f"{at}.kvlistValue"))
    return None


def json_or_text(value: Any) -> Any:
    """The value that a text writes in JSON; the text where it writes none; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except ValueError:
        return value


def messages_in(span: Span, name: str) -> list[tuple[str, str, list[Request]]]:
    """``(role, text, calls)`` of each message in an attribute, which holds JSON text or a list."""
    value = json_or_text(span.attributes.get(name))
    if not isinstance(value, list):
        return []
    found = []
    for index in range(len(value)):
        at = join(f"{span.at}.attributes.{name}", index)
        message = need(value, index, dict, f"{span.at}.attributes.{name}")
        text, calls = parts_of(_any(message.get("parts"), message.get("content")), at)
        found.append((maybe(message, "role", str, "", at), text, calls))
    return found


def parts_of(parts: Any, at: str = "parts") -> tuple[str, list[Request]]:
    """Text and calls of a message's parts (``{type: text | tool_call, ...}``), or of plain text."""
    if not isinstance(parts, list):
        return text_of(parts, at), []
    texts: list[Any] = []
    calls: list[Request] = []
    for index, part in enumerate(parts):
        if isinstance(part, Mapping) and part.get("type") == "tool_call":
            where = join(at, index)
            id_ = part.get("id")
            calls.append(
                Request(need(part, "name", str, where), part.get("arguments"), id_ if isinstance(id_, str) else None)
            )
        else:
            texts.append(part)
    return text_of(texts, at), calls


def trace_of(raw: Mapping[str, Any]) -> str:
    """The trace id of a raw span, in hex; empty where it has none."""
    context = raw.get("context")
    held = context.get("trace_id") if isinstance(context, Mapping) else None
    return _hex(_any(held, raw.get("traceId"), raw.get("trace_id")), 32)


def by_trace(entries: Iterable[Entry]) -> Iterator[Entry]:
    """One entry a trace. Records with ``spans`` pass as they are; OTLP batches and single spans are gathered."""
    gathered: dict[str, tuple[Entry, list[Any]]] = {}
    for entry in entries:
        data = entry.data
        if not isinstance(data, dict) or "spans" in data:
            yield entry
            continue
        try:
            spans = list(_otlp_spans(data)) if "resourceSpans" in data else [data]
        except BadRecord as problem:
            yield entry._replace(data=None, problem=str(problem))
            continue
        for span in spans:
            trace = trace_of(span) if isinstance(span, Mapping) else ""
            gathered.setdefault(trace or f"{entry.number}", (entry, []))[1].append(span)
    for first, spans in gathered.values():
        yield first._replace(data={"spans": spans})


def _otlp_spans(data: Mapping[str, Any]) -> Iterator[Any]:
    resources = need(data, "resourceSpans", list)
    for index in range(len(resources)):
        resource = need(resources, index, dict, "resourceSpans")
        at = join("resourceSpans", index)
        scopes = maybe(resource, "scopeSpans", list, [], at)
        for number in range(len(scopes)):
            scope = need(scopes, number, dict, f"{at}.scopeSpans")
            yield from maybe(scope, "spans", list, [], join(f"{at}.scopeSpans", number))
