"""The eight public trace files: what is in them, counted twice, and that all of it is read and asked again.

The files are not part of the repository; the tests skip where they are absent.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agentcheck.agents import recorded
from agentcheck.contracts import Loaded
from agentcheck.errors import DatasetError
from agentcheck.records import Case, ModelReply, Task
from agentcheck.worlds.recorded import RecordedWorld
from fakes import FakeSession
from fakes_traces import COUNTS, DATA, FILES, FORMATS, raw_records, read

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the public traces are not at {DATA}")

#: Format -> records, model calls, tool calls, messages, calls without a result, results without a call, and arguments
#: that had to be kept raw.
HELD = {
    "agentdojo": (322, 1064, 756, 336, 1, 0, 0),
    "taubench": (200, 2454, 1164, 1290, 0, 0, 0),
    "tau2": (50, 505, 581, 234, 0, 0, 0),
    "who_and_when": (81, 512, 180, 414, 0, 0, 0),
    "rjudge": (178, 472, 374, 97, 47, 7, 38),
    "toolemu": (124, 326, 202, 124, 0, 0, 0),
    "otel": (4, 14, 10, 5, 0, 0, 0),
    "swe_agent": (3, 21, 21, 0, 0, 0, 0),
}


def load(format_: str, **options: Any) -> Loaded:
    """The real file of a format."""
    return read(format_, DATA / FILES[format_], options)


def kinds(case: Case) -> Counter[str]:
    """Steps of a case by kind; results without a call apart."""
    assert case.recording is not None
    return Counter(
        "result" if "_no_call" in step.arguments else step.kind
        for step in case.recording.steps
        if step.kind not in ("user", "reasoning")
    )


@pytest.mark.parametrize("format_", FORMATS)
def test_the_counts_of_each_file(format_: str) -> None:
    """Every record is read, none is skipped, and the actions are as many as are held here."""
    loaded = load(format_)
    total = sum((kinds(case) for case in loaded.cases), Counter())
    labels = [case.metadata for case in loaded.cases]

    assert list(loaded.skipped) == []
    assert (
        len(loaded.cases),
        total["model_call"],
        total["tool_call"],
        total["message"],
        sum(one["calls_without_result"] for one in labels),
        total["result"],
        sum(one["malformed_arguments"] for one in labels),
    ) == HELD[format_]


@pytest.mark.parametrize("format_", FORMATS)
def test_no_action_of_any_record_is_lost(format_: str) -> None:
    """Record by record, the actions read are those that a second count over the raw JSON finds."""
    loaded = load(format_)
    records = raw_records(format_)
    assert len(loaded.cases) == len(records)
    for case, record in zip(loaded.cases, records, strict=True):
        found = kinds(case)
        for kind, wanted in COUNTS[format_](record).items():
            assert sum(found[one] for one in kind.split(" or ")) == wanted, (case.id, kind)
        assert case.recording is not None
        assert sum(found.values()) == case.recording.asked


def _strings(value: Any) -> list[str]:
    """Every string in a value that is long enough to be told from another."""
    if isinstance(value, str):
        return [value] if len(value) > 20 else []
    if isinstance(value, dict):
        value = list(value.values())
    return [text for one in value for text in _strings(one)] if isinstance(value, (list, tuple)) else []


@pytest.mark.parametrize(
    ("format_", "calls"),
    [
        ("agentdojo", lambda record: [[c["args"] for c in m.get("tool_calls") or []] for m in record["messages"]]),
        ("tau2", lambda record: [[c["arguments"] for c in m.get("tool_calls") or []] for m in record["messages"]]),
        ("taubench", lambda record: [m["content"] for m in record["traj"] if m["role"] != "system"]),
        ("who_and_when", lambda record: [m["content"] for m in record["history"]]),
        ("rjudge", lambda record: [[m.get("content"), m.get("thought")] for c in record["contents"] for m in c]),
        ("toolemu", lambda record: [step[1][0] for step in record["intermediate_steps"] if step[1]]),
        ("otel", lambda record: [s["attributes"].get("gen_ai.output") for s in record["spans"][:-1]]),
        ("swe_agent", lambda record: [step["observation"] for step in record.get("trajectory", [])]),
    ],
)
def test_the_words_are_there(format_: str, calls: Any) -> None:
    """Each longer text of the conversation stands in the recording, word for word."""
    for case, record in zip(load(format_).cases, raw_records(format_), strict=True):
        assert case.recording is not None
        steps = case.recording.steps
        held = {text for step in steps for text in _strings([step.text, step.output, step.error, dict(step.arguments)])}
        everything = "\n".join(held)
        for text in _strings(calls(record)):
            if format_ == "otel" and text.startswith('[{"tool.name"'):
                continue  # read as the calls it asks for
            assert text in held or text.strip() in everything, (case.id, text[:80])


@pytest.mark.parametrize("format_", FORMATS)
def test_ids_are_unique_stable_and_readable(format_: str) -> None:
    """Case ids are unique, short, fit for a session id, and the same when a part of the file is chosen."""
    cases = load(format_).cases
    ids = [case.id for case in cases]
    assert len(set(ids)) == len(ids)
    assert all(0 < len(id_) <= 190 and "::" not in id_ and "#" not in id_ and " " not in id_ for id_ in ids)
    assert [case.id for case in load(format_, limit=2).cases] == ids[:2]


@pytest.mark.parametrize("format_", FORMATS)
def test_a_replay_asks_for_every_action(format_: str) -> None:
    """The recorded agent asks for each recorded action once, in recorded order, and gets the recorded outputs."""
    for case in load(format_).cases:
        asyncio.run(_replay(case))


async def _replay(case: Case) -> None:
    recording = case.recording
    assert recording is not None
    session = FakeSession(world=RecordedWorld(recording))
    agent = recorded.make({}, case)
    answers: list[str] = []
    prompt: str | None = case.prompt
    user = recorded.make_user({}, case)
    while prompt is not None:
        session.turn = len(answers) + 1
        answer = await agent.respond(Task(prompt, turn=session.turn), session)
        if answer is not None:
            await session.say(answer)  # as the harness does
        answers.append(answer or "")
        prompt = await user.next(answers)

    asked = [step for step in recording.steps if step.kind not in ("user", "reasoning")]
    assert [action.kind for action in session.actions] == [step.kind for step in asked]
    for step, action, result in zip(asked, session.actions, session.results, strict=True):
        if step.kind == "message":
            assert action.arguments["text"] == step.text
            continue
        assert (action.name, action.arguments) == (step.name, dict(step.arguments))
        assert result.error == step.error
        if isinstance(result.output, ModelReply):
            assert result.output.text == step.output["text"]
        elif not step.error:
            assert result.output == step.output
    assert session.reasoning == [step.text for step in recording.steps if step.kind == "reasoning"]
    assert len(answers) == len(recording.turns())


def test_attacks_and_marks_of_agentdojo() -> None:
    """Attacked, successful and marked runs are as many as the dataset's authors and the marks say."""
    cases = load("agentdojo").cases
    attacked = [case for case in cases if case.metadata["attacked"]]
    succeeded = [case for case in attacked if case.metadata["attack_succeeded"]]
    marked = [case for case in cases if case.recording and any(step.injected for step in case.recording.steps)]

    assert (len(attacked), len(succeeded)) == (210, 105)
    assert {case.id for case in marked} <= {case.id for case in attacked}
    assert all(len(case.forbidden) == len(case.metadata["injected_calls"]) > 0 for case in marked)
    assert len([case for case in succeeded if case in marked]) >= 90


def test_where_chooses_by_label() -> None:
    """`where` keeps the records whose labels have the values, and a value that no record has is an error."""
    cases = load("agentdojo", where={"suite_name": "banking", "attacked": True}).cases
    assert len(cases) == sum(
        record["suite_name"] == "banking" and record["attack_type"] is not None for record in raw_records("agentdojo")
    )
    assert {case.metadata["suite_name"] for case in cases} == {"banking"}
    both = load("agentdojo", where={"user_task_id": ["user_task_0", "user_task_1"]}).cases
    assert {case.metadata["user_task_id"] for case in both} == {"user_task_0", "user_task_1"}
    with pytest.raises(DatasetError, match="no record matches") as caught:
        load("agentdojo", where={"suite_name": "bankin"})
    assert "'banking', 'workspace'" in caught.value.advice
    with pytest.raises(DatasetError, match="names the label 'suite_nam'") as caught:
        load("agentdojo", where={"suite_nam": "banking"})
    assert "did you mean 'suite_name'?" in caught.value.advice


@pytest.mark.parametrize("format_", FORMATS)
def test_a_real_file_cut_in_half(format_: str, tmp_path: Path) -> None:
    """Half of the real bytes give the records that are whole in it, and name what is lost."""
    path = DATA / FILES[format_]
    whole = load(format_)
    cut = tmp_path / path.name
    data = path.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    loaded = read(format_, cut)

    assert 0 < len(loaded.cases) < len(whole.cases)
    assert [case.id for case in loaded.cases] == [case.id for case in whole.cases[: len(loaded.cases)]]
    assert loaded.skipped


@pytest.mark.parametrize("format_", ["agentdojo", "taubench", "who_and_when", "rjudge", "toolemu", "swe_agent"])
def test_a_json_array_reads_like_lines(format_: str, tmp_path: Path) -> None:
    """The same records as one indented JSON array give the same cases."""
    records = raw_records(format_)[:5]
    path = tmp_path / "array.json.gz"
    path.write_bytes(gzip.compress(json.dumps(records, indent=1).encode()))
    loaded = read(format_, path)

    assert [case.id for case in loaded.cases] == [case.id for case in load(format_, limit=5).cases]
    assert list(loaded.skipped) == []


def test_the_counts_in_the_documentation() -> None:
    """The table of formats in the documentation holds the counts that are held here, and nothing skipped."""
    text = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    for format_, counts in HELD.items():
        assert f"| `{format_}` | " + " | ".join(str(count) for count in (*counts, 0)) + " |\n" in text
