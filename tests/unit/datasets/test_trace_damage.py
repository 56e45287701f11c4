"""What the importers do with records that are damaged in one place, in every place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentcheck.errors import DatasetError
from fakes_traces import COUNTS, EXAMPLES, FORMATS, example, holder, paths, read, write

WRONG: tuple[Any, ...] = (None, 17, "text", True, [], {}, [None], {"a": [1]})

#: Fields without which a run cannot be told; dropping or mistyping one must skip the record and name the field.
REQUIRED = {
    "agentdojo": [
        "suite_name",
        "pipeline_name",
        "user_task_id",
        "injections",
        "messages",
        "messages[2].role",
        "messages[2].content",
        "messages[2].tool_calls[0].function",
    ],
    "taubench": [
        "task_id",
        "trial",
        "reward",
        "traj",
        "traj[2].role",
        "traj[2].content",
        "traj[2].tool_calls[0].function.name",
    ],
    "tau2": [
        "simulations[0].task_id",
        "simulations[0].messages",
        "simulations[0].messages[2].role",
        "simulations[0].messages[2].content",
        "simulations[0].messages[2].tool_calls[0].name",
    ],
    "who_and_when": ["question", "history", "history[0].content", "history[0].role", "mistake_step", "mistake_agent"],
    "rjudge": [
        "profile",
        "contents",
        "label",
        "contents[0][1].role",
        "contents[0][1].action",
        "contents[0][0].content",
    ],
    "toolemu": ["input", "case", "case.name", "intermediate_steps", "intermediate_steps[0][0][0]"],
    "otel": ["spans", "spans[0].name"],
    "swe_agent": ["trajectory[0].action", "history[0].role"],
}


def steps_to(path: str) -> tuple[Any, ...]:
    """``a.b[3].c`` as keys and indices."""
    found: list[Any] = []
    for part in path.replace("[", ".[").split("."):
        found.append(int(part[1:-1]) if part.startswith("[") else part)
    return tuple(found)


def damaged(format_: str, path: tuple[Any, ...], value: Any = ...) -> Any:
    """A copy of the example with one value replaced, or taken out."""
    record = example(format_)
    place = holder(record, path)
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return record


def read_beside_good(format_: str, record: Any, path: Path) -> Any:
    """Read a damaged record between two good ones."""
    if format_ == "tau2":
        # One file has one set of shared keys, so a record is read with its own.
        return read(format_, write(path, format_, [record]))
    return read(format_, write(path, format_, [example(format_), record, example(format_)]))


def check_outcome(format_: str, record: Any, path: Path) -> None:
    """Read, or skipped with a sentence that names file and record; what is read has as many actions as it says."""
    try:
        loaded = read_beside_good(format_, record, path)
    except DatasetError as error:
        if format_ != "tau2" or path.name not in str(error):
            raise
        return
    for sentence in loaded.skipped:
        assert sentence.startswith(f"{path.name}: record ")
        assert "Traceback" not in sentence
    if format_ != "tau2":
        assert len(loaded.cases) + len(loaded.skipped) == 3
    for case in loaded.cases:
        assert case.recording is not None
        kinds = [step.kind for step in case.recording.steps if step.kind not in ("user", "reasoning")]
        assert len(kinds) == case.recording.asked


@pytest.mark.parametrize("format_", FORMATS)
def test_a_good_record_is_read_whole(format_: str, tmp_path: Path) -> None:
    """The undamaged example gives one case, nothing skipped, and the actions that a second count finds."""
    loaded = read(format_, write(tmp_path / "good", format_, [example(format_)]))

    assert loaded.skipped == []
    assert len(loaded.cases) == 1
    recording = loaded.cases[0].recording
    assert recording is not None
    raw = EXAMPLES[format_]["simulations"][0] if format_ == "tau2" else EXAMPLES[format_]
    for kind, wanted in COUNTS[format_](raw).items():
        names = kind.split(" or ")
        assert sum(step.kind in names for step in recording.steps) == wanted, kind


@pytest.mark.parametrize("format_", FORMATS)
def test_every_field_dropped_once(format_: str, tmp_path: Path) -> None:
    """Taking out any one key or item is read or named, and never costs the records beside it."""
    for path in paths(EXAMPLES[format_]):
        check_outcome(format_, damaged(format_, path), tmp_path / "dropped")


@pytest.mark.parametrize("format_", FORMATS)
def test_every_field_mistyped(format_: str, tmp_path: Path) -> None:
    """A value of any other kind in any one place is read or named, and never costs the records beside it."""
    for path in paths(EXAMPLES[format_]):
        for value in WRONG:
            check_outcome(format_, damaged(format_, path, value), tmp_path / "mistyped")


@pytest.mark.parametrize(("format_", "field"), [(format_, one) for format_ in FORMATS for one in REQUIRED[format_]])
def test_a_required_field_is_named(format_: str, field: str, tmp_path: Path) -> None:
    """Without a field that the run cannot be told without, the record is skipped and the field named."""
    name = field.replace("simulations[0]", "simulations")
    mistyped = damaged(format_, steps_to(field), 3.5 if field in ("injections", "case") else {"wrong": 1})
    # An item that is taken out of a list leaves another in its place.
    dropped = [] if field.endswith("]") else [damaged(format_, steps_to(field))]
    for record in (mistyped, *dropped):
        if format_ == "tau2":
            with pytest.raises(DatasetError) as caught:
                read_beside_good(format_, record, tmp_path / "file")
            assert name in str(caught.value) or field == "simulations[0].task_id"
            continue
        loaded = read_beside_good(format_, record, tmp_path / "file")
        assert len(loaded.skipped) == 1
        assert loaded.skipped[0].startswith(f"file: record 2: {name}")


@pytest.mark.parametrize("format_", FORMATS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_several_wounds_at_once(format_: str, data: st.DataObject, tmp_path: Path) -> None:
    """Any few places replaced by any JSON value are read or named."""
    record = example(format_)
    leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
    values = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner)
    )
    for _ in range(data.draw(st.integers(1, 3))):
        places = [path for path in paths(record) if format_ != "tau2" or path[:2] == ("simulations", 0)]
        path = data.draw(st.sampled_from(places))
        holder(record, path)[path[-1]] = data.draw(values)
    check_outcome(format_, record, tmp_path / "wounded")


@pytest.mark.parametrize("format_", [format_ for format_ in FORMATS if format_ != "tau2"])
def test_a_line_of_something_else(format_: str, tmp_path: Path) -> None:
    """Lines that are no JSON object are skipped one by one, with their line, and the records around them are read."""
    good = json.dumps(example(format_))
    path = tmp_path / "mixed"
    path.write_bytes(
        b"\n".join([good.encode(), b"{broken", b"", b"[1, 2]", b'"text"', b"\xff\xfe{", b"\0", good.encode(), b""])
    )
    loaded = read(format_, path)

    assert len(loaded.cases) == 2
    assert [sentence.split(": ")[1] for sentence in loaded.skipped] == [
        "record 2",
        "record 3 (line 4)",
        "record 4 (line 5)",
        "record 5 (line 6)",
        "record 6 (line 7)",
    ]
    assert "not JSON at column 2" in loaded.skipped[0]
    assert "expected an object, found a list" in loaded.skipped[1]
    assert "not UTF-8 at byte 1" in loaded.skipped[3]


@pytest.mark.parametrize("format_", FORMATS)
def test_a_truncated_file_keeps_what_came_before(format_: str, tmp_path: Path) -> None:
    """A file that breaks off inside its last record gives the records before it, and names the break."""
    records = [example(format_) for _ in range(3)]
    text = write(tmp_path / "whole", format_, records).read_text(encoding="utf-8").rstrip()
    path = tmp_path / "cut"
    path.write_text(text[: len(text) - 40], encoding="utf-8")
    loaded = read(format_, path)

    assert len(loaded.cases) == 2
    assert len(loaded.skipped) == 1
    assert "record 3" in loaded.skipped[0]


@pytest.mark.parametrize("format_", FORMATS)
def test_gzip_that_breaks_off(format_: str, tmp_path: Path) -> None:
    """A gzip stream cut in its middle gives what could be unpacked, and one entry that says what is lost."""
    records = [example(format_) for _ in range(400)]
    for number, record in enumerate(records):
        # Content that does not compress away, so that the cut falls between records.
        record["noise"] = f"{hash((number, format_)) & (2**63 - 1):x}" * 4
        if format_ == "tau2":
            record["simulations"][0]["noise"] = record["noise"]
    packed = gzip.compress(write(tmp_path / "whole", format_, records).read_bytes())
    path = tmp_path / "cut.gz"
    path.write_bytes(packed[: len(packed) * 2 // 3])
    loaded = read(format_, path)

    assert 50 < len(loaded.cases) < 400
    assert "the gzip stream breaks off" in loaded.skipped[-1]
    assert "what follows is lost" in loaded.skipped[-1]


def test_gzip_with_a_broken_byte(tmp_path: Path) -> None:
    """A byte damaged in the middle of a gzip stream costs what follows it, not what came before."""
    records = [{**example("rjudge"), "id": number * 7919} for number in range(500)]
    packed = bytearray(gzip.compress(write(tmp_path / "whole", "rjudge", records).read_bytes()))
    middle = len(packed) // 2
    packed[middle : middle + 40] = b"\xff" * 40
    path = tmp_path / "broken.gz"
    path.write_bytes(bytes(packed))
    loaded = read("rjudge", path)

    assert 0 < len(loaded.cases) < 500
    assert any("gzip stream is broken" in sentence for sentence in loaded.skipped)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"  \n ", "the file is empty"),
        (b"hello", "no record could be read"),
        (b"\xff\xfeh\0", "UTF-16"),
        (b"[]", "no record could be read"),
        (b"{}", "no record could be read"),
        (b"null", "no record could be read"),
        (b"\x1f\x8b\x08\x00", "nothing could be unpacked"),
        (b"[" * 100_000, "no record could be read"),
    ],
)
@pytest.mark.parametrize("format_", FORMATS)
def test_a_wholly_unreadable_file(format_: str, content: bytes, said: str, tmp_path: Path) -> None:
    """A file without one readable record is an error that names it and says what to do."""
    path = tmp_path / "file.jsonl"
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        read(format_, path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.advice


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there is an error, not a traceback."""
    with pytest.raises(DatasetError, match="cannot read the file"):
        read("otel", tmp_path / "absent")
