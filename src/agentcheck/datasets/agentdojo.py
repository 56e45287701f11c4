"""AgentDojo runs: an assistant with tools, alone or under a prompt-injection attack.

Field of a record: ``suite_name, pipeline_name, user_task_id, injection_task_id, attack_type, injections, messages,
utility, security``. In this dataset ``security`` is true where the injected task *was carried out*; without an attack
it is true and means nothing, so here it becomes the label ``attack_succeeded``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentcheck.contracts import Loaded
from agentcheck.datasets.agentdojo_injected import injected_calls
from agentcheck.datasets.fields import BadRecord, join, maybe, need, text_of
from agentcheck.datasets.importing import read_traces
from agentcheck.datasets.recording import Draft, Request, Run
from agentcheck.records import Document, ExpectedAction

#: What the names of pipelines add to the name of a model.
_DEFENCE = re.compile(
    r"-(tool_filter|transformers_pi_detector|spotlighting_with_delimiting|repeat_user_prompt|[a-z_]+_defen[cs]e)$"
)
ROLES = ("system", "user", "assistant", "tool")


def read(path: Path, options: Mapping[str, Any]) -> Loaded:
    """Read AgentDojo runs; see `agentcheck.datasets.importing.read_traces`."""
    return read_traces(path, options, convert, format="agentdojo")


def convert(record: Mapping[str, Any]) -> Run:
    """One run of one user task.

    Raises:
        BadRecord: a field is missing or of the wrong kind.
    """
    suite = need(record, "suite_name", str)
    pipeline = need(record, "pipeline_name", str)
    task = need(record, "user_task_id", str)
    attack = maybe(record, "attack_type", str, "")
    injection = maybe(record, "injection_task_id", str, "")
    need(record, "injections", (dict, type(None)))
    messages = need(record, "messages", list)
    draft = Draft()
    system: list[str] = []
    for index in range(len(messages)):
        _take(draft, messages, index, pipeline, system)
    marked = sorted(injected_calls(record))
    for at in marked:
        draft.calls[at].injected = True
    succeeded = bool(attack) and maybe(record, "security", bool, False)
    labels = {
        "model": _DEFENCE.sub("", pipeline),
        "pipeline": pipeline,
        "suite_name": suite,
        "user_task_id": task,
        "injection_task_id": injection,
        "attack_type": attack,
        "attacked": bool(attack),
        "attack_succeeded": succeeded,
        "injected_calls": marked,
        "utility": maybe(record, "utility", bool, None),
        "security": maybe(record, "security", bool, None),
        "duration": maybe(record, "duration", (int, float), None),
        "error": maybe(record, "error", str, ""),
    }
    return Run(
        id="/".join([suite, pipeline, task, attack or "none", injection or "none"]),
        draft=draft,
        asked=count(record),
        labels=labels,
        tags=(suite, "attacked" if attack else "clean"),
        documents=(Document("system", "\n\n".join(system), "system prompt"),) if system else (),
        forbidden=tuple(ExpectedAction(draft.calls[at].name, draft.calls[at].arguments) for at in marked),
    )


def _take(draft: Draft, messages: list[Any], index: int, model: str, system: list[str]) -> None:
    at = join("messages", index)
    message = need(messages, index, dict, "messages")
    role = need(message, "role", str, at)
    text = text_of(message.get("content"), f"{at}.content")
    if "content" not in message:
        raise BadRecord(f"{at}.content: missing")
    if role == "system":
        system.append(text)
    elif role == "user":
        draft.user(text)
    elif role == "assistant":
        draft.output(model, text, _requests(message, at))
    elif role == "tool":
        call = maybe(message, "tool_call", dict, {}, at)
        error = maybe(message, "error", str, "", at)
        id_ = maybe(message, "tool_call_id", str, None, at)
        draft.result(text, error=error, id=id_, name=maybe(call, "function", str, "", f"{at}.tool_call"))
    else:
        raise BadRecord(f"{at}.role: {role!r} is none of {', '.join(ROLES)}")


def _requests(message: Mapping[str, Any], at: str) -> list[Request]:
    calls = maybe(message, "tool_calls", list, [], at)
    requests = []
    for number in range(len(calls)):
        where = f"{at}.tool_calls"
        call = need(calls, number, dict, where)
        place = join(where, number)
        if "args" not in call:
            raise BadRecord(f"{place}.args: missing")
        requests.append(Request(need(call, "function", str, place), call["args"], maybe(call, "id", str, None, place)))
    return requests


def count(record: Mapping[str, Any]) -> int:
    """Actions in the raw record: each assistant message, each of its calls, and each message said without a call."""
    outputs = [message for message in record["messages"] if message["role"] == "assistant"]
    calls = sum(len(message.get("tool_calls") or ()) for message in outputs)
    said = sum(bool(text_of(message["content"], "").strip()) and not message.get("tool_calls") for message in outputs)
    return len(outputs) + calls + said
