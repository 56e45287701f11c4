"""OpenTelemetry spans of agents (the GenAI semantic conventions, and the attribute names of any-agent).

A record is one trace: ``{"spans": [...]}``; files of the OTLP exporter (``resourceSpans``) and files of one span a
line are grouped by trace first. Model spans become model calls, tool spans what was carried out of the calls that a
model asked for, agent spans below another agent's span a ``delegate``. Other spans are no actions; the label
``other_spans`` counts them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from agentcheck.contracts import Loaded
from agentcheck.datasets.fields import join, maybe, need
from agentcheck.datasets.importing import read_traces
from agentcheck.datasets.otel_spans import Span, by_trace, json_or_text, messages_in, parts_of, spans_of
from agentcheck.datasets.recording import Draft, Request, Run
from agentcheck.records import Document


def read(path: Path, options: Mapping[str, Any]) -> Loaded:
    """Read traces; see `agentcheck.datasets.importing.read_traces`."""
    return read_traces(path, options, convert, format="otel", expand=by_trace)


def convert(record: Mapping[str, Any]) -> Run:
    """One trace.

    Raises:
        BadRecord: a field is missing or of the wrong kind.
    """
    spans = spans_of(need(record, "spans", list))
    draft = Draft()
    system, prompts = _asked(spans)
    for prompt in prompts:
        draft.user(prompt)
    model = next((one.text("gen_ai.request.model") for one in spans if one.text("gen_ai.request.model")), "")
    for span in spans:
        _take(draft, span, spans, model)
    requested = draft.waiting
    final = _final(record, draft)
    agent = next((one.text("gen_ai.agent.name") for one in spans if one.kind == "agent"), "")
    framework = maybe(record, "_framework", str, "")
    trace = next((one.trace for one in spans if one.trace), "")
    labels = {
        "model": model,
        "pipeline": framework or agent,
        "framework": framework,
        "agent": agent,
        "trace": trace,
        "other_spans": sum(one.kind == "other" for one in spans),
        "requested_only": requested,
        "failed_spans": sum(bool(one.error) for one in spans),
    }
    return Run(
        id="/".join(part for part in (framework or agent, trace[:16]) if part) or "trace",
        draft=draft,
        asked=count(spans) + requested + final,
        labels=labels,
        tags=(framework.lower(),),
        documents=(Document("system", "\n\n".join(system), "system prompt"),) if system else (),
    )


def _asked(spans: list[Span]) -> tuple[list[str], list[str]]:
    """System texts and user texts of the first model span that holds its messages."""
    for span in spans:
        messages = messages_in(span, "gen_ai.input.messages")
        if messages:
            texts: dict[str, list[str]] = {"system": [], "user": []}
            for role, text, _ in messages:
                texts.get(role, []).append(text)
            instructions = json_or_text(span.attributes.get("gen_ai.system_instructions"))
            if instructions:
                texts["system"].append(parts_of(instructions)[0])
            return texts["system"], texts["user"]
    return [], []


def _take(draft: Draft, span: Span, spans: list[Span], model: str) -> None:
    if span.kind == "model":
        text, requests = _output(span)
        draft.output(span.text("gen_ai.request.model") or model, text, requests, usage=_usage(span))
    elif span.kind == "tool":
        output = span.first("gen_ai.tool.call.result", "gen_ai.output")
        arguments = span.first("gen_ai.tool.call.arguments", "gen_ai.tool.args")
        draft.ran(
            span.text("gen_ai.tool.name") or span.name.removeprefix("execute_tool").strip(),
            arguments,
            output,
            error=span.error,
            id=span.text("gen_ai.tool.call.id") or None,
        )
    elif span.kind == "agent" and _inside_agent(span, spans):
        given = span.first("gen_ai.input.messages")
        draft.delegate(
            span.text("gen_ai.agent.name") or span.name,
            {"input": given} if given is not None else {},
            span.first("gen_ai.output.messages", "gen_ai.output"),
            span.error,
        )


def _inside_agent(span: Span, spans: list[Span]) -> bool:
    by_id = {one.id: one for one in spans if one.id}
    seen = {span.id}
    parent = by_id.get(span.parent)
    while parent is not None and parent.id not in seen:
        if parent.kind == "agent":
            return True
        seen.add(parent.id)
        parent = by_id.get(parent.parent)
    return False


def _output(span: Span) -> tuple[str, list[Request]]:
    """What a model said, and the calls it asked for."""
    texts: list[str] = []
    requests: list[Request] = []
    for _, text, calls in messages_in(span, "gen_ai.output.messages"):
        texts.append(text)
        requests.extend(calls)
    raw = span.attributes.get("gen_ai.output")
    value = json_or_text(raw)
    if isinstance(value, list) and value and all(isinstance(one, Mapping) and "tool.name" in one for one in value):
        for index, one in enumerate(value):
            name = need(one, "tool.name", str, join(f"{span.at}.attributes.gen_ai.output", index))
            requests.append(Request(name, one.get("tool.args")))
    elif raw is not None:
        texts.append(raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False))
    return "\n".join(text for text in texts if text), requests


def _usage(span: Span) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for ours, theirs in (("input_tokens", "input_tokens"), ("output_tokens", "output_tokens")):
        value = span.number(f"gen_ai.usage.{theirs}")
        if value is not None:
            found[ours] = int(value)
    costs = [span.number(f"gen_ai.usage.{side}_cost") for side in ("input", "output")]
    if any(cost is not None for cost in costs):
        found["cost"] = format(sum((cost for cost in costs if cost is not None), Decimal(0)), "f")
    return found


def _final(record: Mapping[str, Any], draft: Draft) -> int:
    """Add the record's own final output, unless it is what the model said last; gives the number of messages added."""
    final = record.get("final_output")
    if final is None or final == "":
        return 0
    last = draft.steps[-1] if draft.steps else None
    if last is not None and last.kind == "message" and (last.text == final or json_or_text(last.text) == final):
        return 0
    draft.message(final if isinstance(final, str) else json.dumps(final, ensure_ascii=False))
    return 1


def count(spans: list[Span]) -> int:
    """Actions in the spans: each model span and each that only says something, each tool span, each nested agent."""
    found = 0
    for span in spans:
        if span.kind == "model":
            text, requests = _output(span)
            found += 1 + (not requests and bool(text.strip()))
        elif span.kind == "tool":
            found += 1
        elif span.kind == "agent":
            found += _inside_agent(span, spans)
    return found
