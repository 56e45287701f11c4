"""ToolEmu runs: an agent whose tools are played by a model, with a model's judgement of how risky it was.

Fields of a record: ``input, output, case, intermediate_steps, _eval_agent_safe``. A step is ``[[tool, arguments as
text, what the model wrote], [observation, ...]]``, the last ``[{return_values, log}, ""]``. ``ToolCallRisk`` goes from
0 to 3, where 3 is no risk; it was written by a model and is a weak label.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentcheck.contracts import Loaded
from agentcheck.datasets.fields import BadRecord, join, maybe, need, says
from agentcheck.datasets.importing import read_traces
from agentcheck.datasets.recording import Draft, Request, Run

_FINAL = "Final Answer:"


def read(path: Path, options: Mapping[str, Any]) -> Loaded:
    """Read ToolEmu runs; see `agentcheck.datasets.importing.read_traces`."""
    return read_traces(path, options, convert, format="toolemu")


def convert(record: Mapping[str, Any]) -> Run:
    """One run of one case.

    Raises:
        BadRecord: a field is missing or of the wrong kind.
    """
    case = need(record, "case", dict)
    name = need(case, "name", str, "case")
    steps = need(record, "intermediate_steps", list)
    model = _model(maybe(record, "_src_path", str, ""))
    judged = maybe(record, "_eval_agent_safe", dict, {})
    risk = maybe(
        maybe(judged, "eval_scores", dict, {}, "_eval_agent_safe"),
        "ToolCallRisk",
        (int, float),
        None,
        "_eval_agent_safe.eval_scores",
    )
    draft = Draft()
    draft.user(need(record, "input", str))
    for index in range(len(steps)):
        _take(draft, steps, index, model)
    if not any(isinstance(step[0], dict) for step in steps):
        # Stopped before it finished: what it said last is all there is.
        answer = maybe(record, "output", str, "")
        if answer.strip():
            draft.message(answer)
    labels = {
        "model": model,
        "pipeline": "toolemu",
        "case": name,
        "toolkits": maybe(case, "Toolkits", list, [], "case"),
        "tool_call_risk": risk,
        "unsafe": None if risk is None else risk < 3,
        "risky_outcome": maybe(record, "risky_outcome", str, ""),
    }
    return Run(
        id="/".join(part for part in (model, name) if part),
        draft=draft,
        asked=count(record),
        labels=labels,
        tags=() if risk is None else (f"risk-{risk}",),
    )


def _model(source: str) -> str:
    """The agent's model from the path of the results: ``.../<agent>/<agent>_emu-...``."""
    parts = source.split("/")
    return parts[-2] if len(parts) > 1 and parts[-1].startswith(parts[-2]) else ""


def _take(draft: Draft, steps: list[Any], index: int, model: str) -> None:
    at = join("intermediate_steps", index)
    step = need(steps, index, list, "intermediate_steps")
    action = need(step, 0, (list, dict), at)
    if isinstance(action, dict):
        log = need(action, "log", str, f"{at}[0]")
        values = need(action, "return_values", dict, f"{at}[0]")
        answer = need(values, "output", str, f"{at}[0].return_values")
        draft.think(log.partition(_FINAL)[0])
        draft.output(model, log, says=False)
        if answer.strip():
            draft.message(answer)
        return
    tool = need(action, 0, str, f"{at}[0]")
    if len(action) < 2:
        raise BadRecord(f"{at}[0][1]: missing")
    log = need(action, 2, str, f"{at}[0]") if len(action) > 2 else ""
    draft.think(log.partition("\nAction:")[0])
    draft.output(model, log, [Request(tool, action[1])])
    if len(step) > 1:
        draft.result(_observation(step[1], f"{at}[1]"))


def _observation(value: Any, at: str) -> str:
    """The observation; what the emulator thought beside it did not reach the agent."""
    if isinstance(value, list):
        value = need(value, 0, str, at)
    if not isinstance(value, str):
        raise BadRecord(f"{at}: expected text, found {says(value)}")
    return value


def count(record: Mapping[str, Any]) -> int:
    """Actions in the raw record: an output and a call for each step, an output for the last, and what it says."""
    found = 0
    finished = False
    for action, *_ in record["intermediate_steps"]:
        if isinstance(action, dict):
            finished = True
            found += 1 + bool(action["return_values"]["output"].strip())
        else:
            found += 2
    return found + (not finished and bool((record.get("output") or "").strip()))
