"""SWE-agent trajectories: a coding agent with a shell, as ``trajectory`` (steps), as ``history`` (messages), or both.

A step is ``{action, observation, response, thought}``, where the action is a command line. Where the history holds the
same actions as function calls, their names and arguments are taken. A command line becomes a call of the SWE-agent
command that it starts with, else of ``bash``, with ``{"command": line}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentcheck.contracts import Loaded
from agentcheck.datasets.chat import content_of, requests_of
from agentcheck.datasets.fields import BadRecord, join, maybe, need, text_of
from agentcheck.datasets.importing import read_traces
from agentcheck.datasets.recording import Draft, Request, Run
from agentcheck.records import Document

SHELL = "bash"
#: Commands of SWE-agent's own interface; any other command line is the shell's.
COMMANDS = frozenset(
    {
        *("open", "goto", "scroll_down", "scroll_up", "create", "edit", "insert", "undo_edit", "str_replace_editor"),
        *("search_dir", "search_file", "find_file", "filemap", "view_image", "submit", "exit_forfeit"),
    }
)


def read(path: Path, options: Mapping[str, Any]) -> Loaded:
    """Read SWE-agent trajectories; see `agentcheck.datasets.importing.read_traces`."""
    return read_traces(path, options, convert, format="swe_agent")


def convert(record: Mapping[str, Any]) -> Run:
    """One trajectory.

    Raises:
        BadRecord: it holds neither steps nor messages, or a field of one is missing or of the wrong kind.
    """
    steps = maybe(record, "trajectory", list, [])
    history = maybe(record, "history", list, [])
    if not steps and not history:
        raise BadRecord("history: missing, and so is trajectory")
    messages = [need(history, index, dict, "history") for index in range(len(history))]
    for index, message in enumerate(messages):
        need(message, "role", str, join("history", index))
    config = maybe(maybe(record, "replay_config", dict, {}), "agent", dict, {}, "replay_config")
    model = maybe(maybe(config, "model", dict, {}, "replay_config.agent"), "name", str, "", "replay_config.agent.model")
    draft = Draft()
    system = [text_of(one.get("content"), "history.content") for one in messages if one["role"] == "system"]
    if steps:
        _from_steps(draft, steps, messages, model, _problem(record, messages))
    else:
        _from_messages(draft, messages, model)
    info = maybe(record, "info", dict, {})
    source = maybe(record, "_src_path", str, "")
    labels = {
        "model": model,
        "pipeline": "swe-agent",
        "environment": maybe(record, "environment", str, ""),
        "exit_status": maybe(info, "exit_status", str, "", "info"),
        "submitted": bool(maybe(info, "submission", str, "", "info")),
        "shape": "trajectory" if steps else "history",
    }
    return Run(
        id=_id(record, source),
        draft=draft,
        asked=count(record),
        labels=labels,
        tags=(labels["exit_status"],),
        documents=(Document("system", "\n\n".join(system), "system prompt"),) if system else (),
    )


def _id(record: Mapping[str, Any], source: str) -> str:
    problem = record.get("problem_statement")
    named = problem.get("id") if isinstance(problem, Mapping) else None
    return str(named or source.rpartition("/")[2].removesuffix(".traj") or record.get("environment") or "trajectory")


def _problem(record: Mapping[str, Any], messages: list[Mapping[str, Any]]) -> str:
    """What the agent was asked: the first message to it that is no demonstration, else the problem statement."""
    for message in messages:
        if message["role"] == "user" and not message.get("is_demo"):
            return text_of(message.get("content"), "history.content")
    stated: str = maybe(maybe(record, "problem_statement", dict, {}), "text", str, "", "problem_statement")
    return stated


def _from_steps(draft: Draft, steps: list[Any], messages: list[Any], model: str, problem: str) -> None:
    draft.user(problem)
    calls = _calls_of(messages, steps)
    for index in range(len(steps)):
        at = join("trajectory", index)
        step = need(steps, index, dict, "trajectory")
        action = need(step, "action", str, at)
        observation = maybe(step, "observation", str, None, at)
        thought = maybe(step, "thought", str, "", at)
        requests = calls[index] or _command(action)
        draft.think(thought)
        draft.output(model, maybe(step, "response", str, thought, at), requests)
        if observation is not None:
            _answer(draft, requests, observation)


def _answer(draft: Draft, requests: list[Request], text: str) -> None:
    """One observation answers all calls of a step; it is the result of the last."""
    for _ in requests[1:]:
        draft.result(None)
    if requests or text.strip():
        draft.result(text, name="" if requests else "environment")


def _command(line: str) -> list[Request]:
    words = line.split(maxsplit=1)
    if not words:
        return []
    return [Request(words[0] if words[0] in COMMANDS else SHELL, {"command": line})]


def _calls_of(messages: list[Mapping[str, Any]], steps: list[Any]) -> list[list[Request]]:
    """The function calls of each step, where the history holds the same actions one by one; else none."""
    actions = [
        (index, message)
        for index, message in enumerate(messages)
        if message["role"] == "assistant" and not message.get("is_demo")
    ]
    wanted = [step.get("action") if isinstance(step, Mapping) else None for step in steps]
    if [message.get("action") for _, message in actions] != wanted:
        return [[] for _ in steps]
    return [requests_of(message, join("history", index)) for index, message in actions]


def _from_messages(draft: Draft, messages: list[Mapping[str, Any]], model: str) -> None:
    requests: list[Request] = []
    for index, message in enumerate(messages):
        at = join("history", index)
        role = message["role"]
        text = content_of(message, at)
        if role == "system":
            continue
        if message.get("is_demo"):
            draft.user(text)
        elif role == "assistant":
            draft.think(maybe(message, "thought", str, "", at))
            requests = requests_of(message, at) or _command(maybe(message, "action", str, "", at))
            draft.output(model, text, requests)
        elif role == "tool" or (role == "user" and draft.waiting):
            ids = maybe(message, "tool_call_ids", list, [], at)
            if role == "tool" and ids and isinstance(ids[0], str):
                draft.result(text, id=ids[0])
            else:
                _answer(draft, requests, text)
        elif role == "user":
            draft.user(text)
        else:
            raise BadRecord(f"{at}.role: {role!r} is none of system, user, assistant, tool")


def count(record: Mapping[str, Any]) -> int:
    """Actions in the raw record: each output, and each of its calls or commands, or the message that it is."""
    history = [message for message in record.get("history") or () if not message.get("is_demo")]
    outputs = [message for message in history if message["role"] == "assistant"]
    steps = record.get("trajectory") or outputs
    same = [one.get("action") for one in steps] == [one.get("action") for one in outputs]
    found = 0
    for number, step in enumerate(steps):
        calls = len(outputs[number].get("tool_calls") or ()) + bool(outputs[number].get("function_call")) if same else 0
        said = step.get("response") or step.get("thought") or text_of(step.get("content"), "")
        found += 1 + (calls or bool((step.get("action") or "").strip()) or bool(said.strip()))
    return found
