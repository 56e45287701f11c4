"""Who&When: failures of teams of agents, with the agent and the step that people found decisive.

Fields of a record: ``question, history, mistake_agent, mistake_step, mistake_reason, ground_truth``. An entry of
``history`` is ``{content, role, name}``, or ``{content, role}`` where the role is the name. A code block that the
terminal ran is one call of `EXECUTE`; the terminal answers once for all blocks of a message, which is the result of
the last of them. A terminal that found no code says so in a message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentcheck.contracts import Loaded
from agentcheck.datasets.chat import content_of
from agentcheck.datasets.fields import BadRecord, join, maybe, need, text_of
from agentcheck.datasets.importing import read_traces
from agentcheck.datasets.recording import Draft, Request, Run

EXECUTE = "execute_code"
TERMINALS = ("Computer_terminal", "ComputerTerminal")
_BLOCK = re.compile(r"```[ \t]*(\w+)?[ \t]*\r?\n(.*?)\r?\n[ \t]*```", re.S)
_FAILED = re.compile(r"exitcode: (?!0\b)|.{0,80}exited with an error", re.S)


def read(path: Path, options: Mapping[str, Any]) -> Loaded:
    """Read Who&When failures; see `agentcheck.datasets.importing.read_traces`."""
    return read_traces(path, options, convert, format="who_and_when")


def convert(record: Mapping[str, Any]) -> Run:
    """One conversation of a team.

    Raises:
        BadRecord: a field is missing or of the wrong kind.
    """
    question = need(record, "question", str)
    history = need(record, "history", list)
    step = _step(need(record, "mistake_step", (str, int)))
    draft = Draft()
    draft.user(question)
    entries = [_entry(history, index) for index in range(len(history))]
    starts = [_take(draft, entries, index) for index in range(len(entries))]
    labels = {
        "question_id": maybe(record, "question_ID", str, ""),
        "level": maybe(record, "level", (str, int), ""),
        "ground_truth": maybe(record, "ground_truth", str, ""),
        "mistake_agent": need(record, "mistake_agent", str),
        "mistake_step": step,
        "mistake_at": starts[step] if 0 <= step < len(starts) else None,
        "mistake_reason": maybe(record, "mistake_reason", str, ""),
        "success": maybe(record, "is_correct", bool, None),
        "pipeline": _pipeline(maybe(record, "_src_path", str, "")),
    }
    return Run(
        id=labels["question_id"] or "question",
        draft=draft,
        asked=count(history),
        labels=labels,
        tags=("failure",) if labels["success"] is False else (),
    )


def _step(value: str | int) -> int:
    if isinstance(value, str) and not value.strip().isdecimal():
        raise BadRecord(f"mistake_step: expected a number, found {value[:40]!r}")
    return int(value)


def _pipeline(source: str) -> str:
    parts = source.split("/")
    return parts[-2] if len(parts) > 1 else ""


def _entry(history: list[Any], index: int) -> tuple[str, str]:
    """``(who, what)``."""
    at = join("history", index)
    entry = need(history, index, dict, "history")
    role = need(entry, "role", str, at)
    return maybe(entry, "name", str, role, at), content_of(entry, at)


def _take(draft: Draft, entries: list[tuple[str, str]], index: int) -> int:
    """Take one entry; gives the index of the step that it begins with."""
    who, text = entries[index]
    start = len(draft.steps)
    if who == "human":
        draft.user(text)
    elif who in TERMINALS:
        _terminal(draft, who, text)
    else:
        followed = index + 1 < len(entries) and entries[index + 1][0] in TERMINALS
        blocks = _BLOCK.findall(text) if followed else []
        requests = [Request(EXECUTE, {"language": language, "code": code}) for language, code in blocks]
        draft.output("", text, requests, agent=who)
    return start


def _terminal(draft: Draft, who: str, text: str) -> None:
    if not draft.waiting:
        draft.message(text, who)
        return
    while draft.waiting > 1:
        draft.result(None)
    draft.result(text, error=text if _FAILED.match(text) else "")


def count(history: list[Any]) -> int:
    """Actions in the raw history: each agent's output, each block that ran, and each message said without one."""
    names = [entry.get("name") or entry["role"] for entry in history]
    found = 0
    ran = 0
    for entry, name, following in zip(history, names, [*names[1:], ""], strict=False):
        if name in TERMINALS:
            found += not ran
            ran = 0
        elif name != "human":
            text = text_of(entry["content"], "")
            ran = len(_BLOCK.findall(text)) if following in TERMINALS else 0
            found += 1 + (ran or bool(text.strip()))
    return found
