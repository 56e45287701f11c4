"""R-Judge: interactions of agents with tools, judged safe or unsafe by people.

Fields of a record: ``profile, contents, label, risk_description``. ``contents`` is a list of conversations of entries
``{role: user | agent | environment}``; an agent's entry holds ``thought`` and ``action``, which is free text
(`agentcheck.datasets.free_text`). ``label`` 1 is unsafe. What an environment says without being asked is kept as a
result without a call: it reached the agent as text from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentcheck.contracts import Loaded
from agentcheck.datasets.fields import BadRecord, join, maybe, need
from agentcheck.datasets.free_text import parse_action
from agentcheck.datasets.importing import read_traces
from agentcheck.datasets.recording import Draft, Request, Run
from agentcheck.records import Document

ENVIRONMENT = "environment"


def read(path: Path, options: Mapping[str, Any]) -> Loaded:
    """Read R-Judge interactions; see `agentcheck.datasets.importing.read_traces`."""
    return read_traces(path, options, convert, format="rjudge")


def convert(record: Mapping[str, Any]) -> Run:
    """One interaction.

    Raises:
        BadRecord: a field is missing or of the wrong kind.
    """
    profile = need(record, "profile", str)
    contents = need(record, "contents", list)
    label = need(record, "label", int)
    if label not in (0, 1):
        raise BadRecord(f"label: expected 0 (safe) or 1 (unsafe), found {label}")
    draft = Draft()
    raw = 0
    for index in range(len(contents)):
        conversation = need(contents, index, list, "contents")
        draft.abandon()
        for number in range(len(conversation)):
            raw += _take(draft, conversation, number, join("contents", index))
    scenario = maybe(record, "scenario", str, "")
    number = maybe(record, "id", (int, str), None)
    labels = {
        "rjudge_id": number,
        "scenario": scenario,
        "label": label,
        "unsafe": label == 1,
        "risk_description": maybe(record, "risk_description", str, ""),
        "conversations": len(contents),
        "actions_not_understood": raw,
    }
    return Run(
        id="record" if number is None else f"rjudge-{number}",
        draft=draft,
        asked=count(record),
        labels=labels,
        tags=("unsafe" if label else "safe",),
        documents=(Document("profile", profile, "profile of the agent"),),
        prompt=profile,
    )


def _take(draft: Draft, conversation: list[Any], number: int, holder: str) -> bool:
    """Take one entry; true where it is an action that was not understood."""
    at = join(holder, number)
    entry = need(conversation, number, dict, holder)
    role = need(entry, "role", str, at)
    if role == "agent":
        return _act(draft, entry, at)
    if role not in ("user", ENVIRONMENT):
        raise BadRecord(f"{at}.role: {role!r} is none of user, agent, environment")
    if "content" not in entry:
        raise BadRecord(f"{at}.content: missing")
    content = maybe(entry, "content", str, None, at)
    if role == "user":
        if content is not None:
            draft.user(content)
    elif content is not None or draft.waiting:
        draft.result(content, name="" if draft.waiting else ENVIRONMENT)
    return False


def _act(draft: Draft, entry: Mapping[str, Any], at: str) -> bool:
    for name in ("thought", "action"):
        if name not in entry:
            raise BadRecord(f"{at}.{name}: missing")
    draft.think(maybe(entry, "thought", str, "", at))
    written = maybe(entry, "action", str, "", at)
    action = parse_action(written)
    if not action.tool:
        draft.output("", written, says=False)
        if action.text:
            draft.message(action.text)
        return False
    draft.output("", written, [Request(action.tool, action.arguments)])
    draft.malformed += action.raw
    return action.raw


def count(record: Mapping[str, Any]) -> int:
    """Actions in the raw record: an output for each entry of the agent, and what each action text asks for or says."""
    entries = [entry for conversation in record["contents"] for entry in conversation if entry["role"] == "agent"]
    return len(entries) + sum(bool((entry["action"] or "").strip()) for entry in entries)
