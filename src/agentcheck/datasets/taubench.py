"""tau-bench runs: a customer-service agent with a policy, a user played by a model, and a database.

Fields of a record: ``task_id, trial, reward, info{task{user_id, instruction, actions}}, traj``. ``reward`` 1.0 means
that the database ended in the right state and the outputs were given.
"""

from __future__ import annotations

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
    """Read tau-bench runs; see `agentcheck.datasets.importing.read_traces`."""
    return read_traces(path, options, convert, format="taubench")


def convert(record: Mapping[str, Any]) -> Run:
    """One trial of one task.

    Raises:
        BadRecord: a field is missing or of the wrong kind.
    """
    task = need(record, "task_id", (int, str))
    trial = need(record, "trial", int)
    reward = need(record, "reward", (int, float))
    info = maybe(record, "info", dict, {})
    goal = maybe(info, "task", dict, {}, "info")
    messages = need(record, "traj", list)
    draft = Draft()
    policy: list[str] = []
    for index in range(len(messages)):
        _take(draft, messages, index, policy)
    labels = {
        "task_id": str(task),
        "trial": trial,
        "reward": reward,
        "success": reward >= 1,
        "user_id": maybe(goal, "user_id", str, "", "info.task"),
        "user_cost": maybe(info, "user_cost", (int, float), None, "info"),
    }
    return Run(
        id=f"task-{task}/trial-{trial}",
        draft=draft,
        asked=count(messages),
        labels=labels,
        tags=("success" if reward >= 1 else "failure",),
        documents=(Document("policy", "\n\n".join(policy), "policy"),) if policy else (),
        expected=_expected(maybe(goal, "actions", list, [], "info.task")),
        prompt=maybe(goal, "instruction", str, "", "info.task"),
    )


def _take(draft: Draft, messages: list[Any], index: int, policy: list[str]) -> None:
    at = join("traj", index)
    message = need(messages, index, dict, "traj")
    role = need(message, "role", str, at)
    text = content_of(message, at)
    if role == "system":
        policy.append(text)
    elif role == "user":
        draft.user(text)
    elif role == "assistant":
        draft.output("", text, requests_of(message, at))
    elif role in ("tool", "function"):
        id_ = maybe(message, "tool_call_id", str, None, at)
        draft.result(text, error=error_of(text), id=id_, name=maybe(message, "name", str, "", at))
    else:
        raise BadRecord(f"{at}.role: {role!r} is none of system, user, assistant, tool")


def _expected(actions: list[Any]) -> tuple[ExpectedAction, ...]:
    found = []
    for index in range(len(actions)):
        at = join("info.task.actions", index)
        action = need(actions, index, dict, "info.task.actions")
        found.append(ExpectedAction(need(action, "name", str, at), maybe(action, "kwargs", dict, {}, at)))
    return tuple(found)
