"""tau2-bench results: one JSON object with ``info``, ``tasks`` and ``simulations``, of which each is a record.

The user of a simulation may have tools of its own (``requestor: user``). What the user does with them is not the
agent's doing: it is kept in the words of the user, and counted in the label ``user_tool_calls``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentcheck.contracts import Loaded
from agentcheck.datasets.chat import content_of, count, error_of, requests_of
from agentcheck.datasets.fields import BadRecord, join, maybe, need
from agentcheck.datasets.importing import read_traces
from agentcheck.datasets.recording import Draft, Run
from agentcheck.records import Document, ExpectedAction


def read(path: Path, options: Mapping[str, Any]) -> Loaded:
    """Read tau2 results; see `agentcheck.datasets.importing.read_traces`."""
    return read_traces(path, options, convert, format="tau2", records_at="simulations")


def convert(record: Mapping[str, Any]) -> Run:
    """One simulation, with the ``info`` and ``tasks`` of its file.

    Raises:
        BadRecord: a field is missing or of the wrong kind.
    """
    simulation = need(record, "simulations", dict)
    at = "simulations"
    task_id = str(need(simulation, "task_id", (str, int), at))
    trial = maybe(simulation, "trial", int, 0, at)
    messages = need(simulation, "messages", list, at)
    info = maybe(record, "info", dict, {})
    agent = maybe(info, "agent_info", dict, {}, "info")
    environment = maybe(info, "environment_info", dict, {}, "info")
    model = maybe(agent, "llm", str, "", "info.agent_info")
    domain = maybe(environment, "domain_name", str, "", "info.environment_info")
    reward = maybe(maybe(simulation, "reward_info", dict, {}, at), "reward", (int, float), None, f"{at}.reward_info")
    draft = Draft()
    user_calls = sum(_take(draft, messages, index, model) for index in range(len(messages)))
    policy = maybe(environment, "policy", str, "", "info.environment_info")
    task = _task(maybe(record, "tasks", list, []), task_id)
    labels = {
        "model": model,
        "pipeline": maybe(agent, "implementation", str, "", "info.agent_info"),
        "domain": domain,
        "simulation": maybe(simulation, "id", str, "", at),
        "task_id": task_id,
        "trial": trial,
        "reward": reward,
        "success": None if reward is None else reward >= 1,
        "termination_reason": maybe(simulation, "termination_reason", str, "", at),
        "user_tool_calls": user_calls,
    }
    return Run(
        id="/".join(part for part in (domain, model, f"task-{task_id}", f"trial-{trial}") if part),
        draft=draft,
        asked=count(messages),
        labels=labels,
        tags=(domain, "" if reward is None else "success" if reward >= 1 else "failure"),
        documents=(Document("policy", policy, "policy"),) if policy else (),
        expected=_expected(task),
    )


def _take(draft: Draft, messages: list[Any], index: int, model: str) -> int:
    """Take one message; gives the number of calls that the user made in it."""
    at = join("simulations.messages", index)
    message = need(messages, index, dict, "simulations.messages")
    role = need(message, "role", str, at)
    text = content_of(message, at)
    requests = requests_of(message, at) if role in ("user", "assistant") else []
    if role == "user":
        draft.user("\n".join([text, *(f"[calls {one.name} {json.dumps(one.arguments)}]" for one in requests)]).strip())
        return len(requests)
    if role == "assistant":
        draft.output(model, text, requests)
    elif role == "tool" and maybe(message, "requestor", str, "assistant", at) == "user":
        draft.user(f"[a tool of the user answers: {text}]")
    elif role == "tool":
        failed = maybe(message, "error", bool, False, at)
        draft.result(text, error=text or "error" if failed else error_of(text), id=maybe(message, "id", str, None, at))
    elif role != "system":
        raise BadRecord(f"{at}.role: {role!r} is none of system, user, assistant, tool")
    return 0


def _task(tasks: list[Any], task_id: str) -> Mapping[str, Any]:
    return next((task for task in tasks if isinstance(task, dict) and str(task.get("id")) == task_id), {})


def _expected(task: Mapping[str, Any]) -> tuple[ExpectedAction, ...]:
    criteria = maybe(task, "evaluation_criteria", dict, {}, "tasks")
    actions = maybe(criteria, "actions", list, [], "tasks.evaluation_criteria")
    found = []
    for index in range(len(actions)):
        at = join("tasks.evaluation_criteria.actions", index)
        action = need(actions, index, dict, "tasks.evaluation_criteria.actions")
        arguments = maybe(action, "arguments", dict, {}, at)
        compared = maybe(action, "compare_args", list, None, at)
        if compared is not None:
            arguments = {name: value for name, value in arguments.items() if name in compared}
        if maybe(action, "requestor", str, "assistant", at) != "user":
            found.append(ExpectedAction(need(action, "name", str, at), arguments))
    return tuple(found)
