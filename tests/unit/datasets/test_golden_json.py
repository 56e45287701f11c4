"""Golden datasets in JSON lines: what is read, and how each mistake is named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcheck.datasets import golden
from agentcheck.datasets.golden_row import CONDITIONS, GoldenRow
from agentcheck.errors import DatasetError, ExitCode
from agentcheck.records import Case, Document, ExpectedAction, Turn

FULL: dict[str, Any] = {
    "id": "refund-1",
    "prompt": "Refund order 7.",
    "documents": [{"id": "d1", "title": "Policy", "text": "Refunds take 3 days.", "trusted": False}],
    "turns": [{"text": "And order 8?", "expect": {"contains": ["8"], "retains": ["3 days"], "corrects": {"7": "8"}}}],
    "answer": {"days": 3},
    "contains": ["3 days"],
    "excludes": ["4 days"],
    "expected": [{"name": "refund", "arguments": {"order": 7, "amount": {"gte": 1, "lt": 9}}, "outcome": "hold"}],
    "forbidden": [{"name": "delete_*", "arguments": {"note": {"matches": "^x"}}}],
    "state": {"orders": [{"id": 7}]},
    "principal": {"role": "clerk"},
    "tags": ["smoke"],
    "metadata": {"author": "me", "level": 2},
    "skip": "",
}


def write(path: Path, *rows: Any, text: str | None = None, data: bytes | None = None) -> Path:
    """A dataset of rows, of text, or of bytes."""
    if data is None:
        data = (text if text is not None else "".join(json.dumps(row) + "\n" for row in rows)).encode()
    path.write_bytes(data)
    return path


def read(tmp_path: Path, *rows: Any, **kind: Any) -> list[Case]:
    """The cases of a dataset written on the spot."""
    return list(golden.read(write(tmp_path / "cases.jsonl", *rows, **kind), {}).cases)


def refusal(tmp_path: Path, *rows: Any, **kind: Any) -> str:
    """What the refusal of a dataset says."""
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, *rows, **kind)
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.advice
    return str(caught.value)


def test_every_key_reaches_the_case(tmp_path: Path) -> None:
    """A row with every key becomes a case with every field, and its source names file and line."""
    (case,) = read(tmp_path, FULL)
    assert case == Case(
        id="refund-1",
        prompt="Refund order 7.",
        documents=(Document("d1", "Refunds take 3 days.", "Policy", False),),
        turns=(Turn("And order 8?", {"contains": ["8"], "retains": ["3 days"], "corrects": {"7": "8"}}),),
        answer={"days": 3},
        contains=("3 days",),
        excludes=("4 days",),
        expected=(ExpectedAction("refund", {"order": 7, "amount": {"gte": 1, "lt": 9}}, outcome="hold"),),
        forbidden=(ExpectedAction("delete_*", {"note": {"matches": "^x"}}),),
        state={"orders": [{"id": 7}]},
        principal={"role": "clerk"},
        tags=("smoke",),
        metadata={"author": "me", "level": 2},
        source="cases.jsonl:1",
    )


def test_line_ends_blank_lines_and_a_mark_at_the_start(tmp_path: Path) -> None:
    """A UTF-8 mark, Windows line ends, blank lines and a missing last line end change nothing but the line numbers."""
    text = '\ufeff{"id": "a", "prompt": "x"}\r\n\r\n  \n{"id": "b", "prompt": "é\u2028"}'
    cases = read(tmp_path, text=text)
    assert [(case.id, case.source) for case in cases] == [("a", "cases.jsonl:1"), ("b", "cases.jsonl:4")]
    assert cases[1].prompt == "é\u2028"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**FULL, "promt": "x"}, "promt: unknown key 'promt'; did you mean 'prompt'?"),
        ({"id": "a"}, "prompt: missing"),
        ({"prompt": "a"}, "id: missing"),
        ({**FULL, "id": ""}, "id: an id is one line"),
        ({**FULL, "id": "a#b"}, "id: an id is one line"),
        ({**FULL, "id": "a::b"}, "id: an id is one line"),
        ({**FULL, "id": "a\nb"}, "id: an id is one line"),
        ({**FULL, "id": "a" * 201}, "id: an id has at most 200"),
        ({**FULL, "id": 7}, "id: expected text, found 7"),
        ({**FULL, "prompt": " "}, "prompt: must not be empty"),
        ({**FULL, "contains": [""]}, "contains[0]: must not be empty"),
        ({**FULL, "contains": "x"}, 'contains: expected a list, found "x"'),
        ({**FULL, "excludes": [" "]}, "excludes[0]: must not be empty"),
        ({**FULL, "documents": [{"id": "d"}]}, "documents[0].text: missing"),
        ({**FULL, "documents": [{"id": "d", "text": "", "titel": ""}]}, "documents[0].titel: unknown key 'titel'"),
        ({**FULL, "documents": [{"id": "d", "text": "", "trusted": 1}]}, "documents[0].trusted: expected true or"),
        ({**FULL, "documents": [{"id": "d", "text": ""}] * 2}, "documents: two are called 'd'"),
        ({**FULL, "turns": [{"text": "x", "expect": {"contain": []}}]}, "turns[0].expect.contain: unknown key"),
        ({**FULL, "turns": ["x"]}, "turns[0]: expected an object"),
        ({**FULL, "expected": [{"name": "x", "count": -1}]}, "expected[0].count: "),
        ({**FULL, "expected": [{"name": "x", "outcome": "alow"}]}, "expected[0].outcome: "),
        ({**FULL, "forbidden": [{"name": "x", "outcome": "deny"}]}, "forbidden[0].outcome: unknown key"),
        ({**FULL, "principal": {"role": 1}}, "principal.role: expected text, found 1"),
        ({**FULL, "skip": True}, "skip: expected text, found true"),
        ({**FULL, "state": []}, "state: expected an object, found []"),
    ],
)
def test_a_wrong_row_is_named(row: Any, said: str, tmp_path: Path) -> None:
    """A wrong key or value stops the dataset, with the line, the path of the field and what to write."""
    message = refusal(tmp_path, {"id": "good", "prompt": "x"}, row)
    assert f"cases.jsonl:2: {said}" in message


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ({"onee_of": [1]}, "unknown condition 'onee_of'; did you mean 'one_of'?"),
        ({"gte": 1, "lessthan": 3, "lte_": 2}, "unknown condition 'lte_'; did you mean 'lte'?"),
        ({"one_of": []}, "'one_of' takes a list, found []"),
        ({"one_of": "x"}, "'one_of' takes a list"),
        ({"matches": "("}, "'matches' takes a regular expression"),
        ({"matches": 3}, "'matches' takes a regular expression"),
        ({"gt": "many"}, "'gt' takes a number"),
        ({"gt": True}, "'gt' takes a number"),
        ({"any": False}, "'any' takes true"),
        ({"contains": ""}, "'contains' takes a value"),
        ({"inner": {"lte": []}}, "x.inner: 'lte' takes a number"),
        ([{"lte": []}], "x[0]: 'lte' takes a number"),
        ({"one_of": [{"gt": None}]}, "x.one_of[0]: 'gt' takes a number"),
    ],
)
def test_a_condition_that_can_never_hold(condition: Any, said: str, tmp_path: Path) -> None:
    """A misspelt or impossible condition is refused: under `forbidden` it would let everything pass."""
    message = refusal(tmp_path, {**FULL, "forbidden": [{"name": "x", "arguments": {"x": condition}}]})
    assert "forbidden[0].arguments: argument x" in message
    assert said in message


@pytest.mark.parametrize(
    "arguments",
    [{"x": {"to": "a"}}, {"x": {"gte": 1, "lt": "2.50"}}, {"x": {"one_of": [{"a": 1}, 2]}}, {"x": {"any": True}}, {}],
)
def test_objects_and_conditions_that_are_meant(arguments: Any, tmp_path: Path) -> None:
    """Plain objects and well-formed conditions are kept as they are written."""
    (case,) = read(tmp_path, {**FULL, "expected": [{"name": "x", "arguments": arguments}]})
    assert case.expected[0].arguments == arguments


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "b", "prompt": "x"', "not JSON at column 26"),
        ("{", "is the object on one line?"),
        ("{'id': 'b'}", "not JSON at column 2"),
        ('"text"', "expected an object"),
        ('{"id": "b", "id": "c", "prompt": "x"}', "the key 'id' stands twice"),
        ('{"id": "b", "prompt": "x", "metadata": {"n": NaN}}', "NaN is no JSON number"),
        ('{"id": "b", "prompt": "x", "metadata": {"n": 1e999}}', "metadata"),
        ('{"id": "b", "prompt": "\\ud800"}', "surrogate"),
        ("[" * 100_000, "nested too deeply"),
        ('{"id": "b", "prompt": "' + "x" * golden.MAX_LINE + '"}', "longer than 16 MiB"),
    ],
)
def test_a_line_that_is_no_row(line: str, said: str, tmp_path: Path) -> None:
    """A line that is no JSON object, or not one that means one thing, is named with its line and column."""
    message = refusal(tmp_path, text='{"id": "a", "prompt": "x"}\n' + line + "\n")
    assert "cases.jsonl:2: " in message
    assert said in message


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the dataset is empty"),
        (b"\n \r\n", "the dataset is empty"),
        (b"\xef\xbb\xbf", "the dataset is empty"),
        (b'[\n{"id": "a", "prompt": "x"}\n]', "this is a JSON array; write one object a line"),
        ('{"id": "a"}'.encode("utf-16"), "UTF-16, not UTF-8"),
        (b'{"id": "a"}\n{"id": "\xff"}', "cases.jsonl:2: a byte that is not UTF-8 at byte 9"),
        (b'{"id": "a"}\n\n{"id": "\0"}', "cases.jsonl:3: a NUL character at byte 9"),
        (b"\x1f\x8b\x08", "plain text, not gzip"),
    ],
)
def test_a_file_that_is_no_dataset(data: bytes, said: str, tmp_path: Path) -> None:
    """An empty file, another encoding, a NUL or a bad byte is said plainly, with the line where there is one."""
    assert said in refusal(tmp_path, data=data)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing dataset is an error that names it, for reading and for hashing."""
    for attempt in (lambda path: golden.read(path, {}), golden.content_hash):
        with pytest.raises(DatasetError, match="cannot read the dataset"):
            attempt(tmp_path / "absent.jsonl")


def test_ids_are_unique(tmp_path: Path) -> None:
    """The second row with an id is refused, and told where the first stands."""
    message = refusal(tmp_path, {"id": "a", "prompt": "x"}, {"id": "b", "prompt": "x"}, {"id": "a", "prompt": "y"})
    assert "cases.jsonl:3: id: 'a' is already the id of cases.jsonl:1" in message


def test_all_bad_rows_are_listed(tmp_path: Path) -> None:
    """Up to twenty problems are listed and the rest counted; nothing is read beside them."""
    rows = [{"id": str(number)} for number in range(25)]
    message = refusal(tmp_path, {"id": "good", "prompt": "x"}, *rows)
    assert message.count("prompt: missing") == 20
    assert "25 problems" in message
    assert "and 5 more" in message


def test_where_and_limit(tmp_path: Path) -> None:
    """`where` chooses by metadata and `limit` by number; other options are refused."""
    rows = [{"id": str(number), "prompt": "x", "metadata": {"even": number % 2 == 0}} for number in range(6)]
    path = write(tmp_path / "cases.jsonl", *rows)
    found = golden.read(path, {"where": {"even": True}, "limit": 2}).cases
    assert [case.id for case in found] == ["0", "2"]
    for options, said in (
        ({"wher": {}}, "unknown option 'wher'"),
        ({"limit": 0}, "1 or more"),
        ({"limit": True}, "whole number"),
        ({"where": []}, "a table"),
        ({"where": {"evn": True}}, "which no record has"),
        ({"where": {"even": 1}}, "no record matches"),
    ):
        with pytest.raises(DatasetError, match=said):
            golden.read(path, options)


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    """Equal bytes have one hash whatever the file is called, and one changed byte has another."""
    one = write(tmp_path / "a.jsonl", FULL)
    other = write(tmp_path / "b.jsonl", FULL)
    assert golden.content_hash(one) == golden.content_hash(other) == hashlib.sha256(one.read_bytes()).hexdigest()
    write(other, {**FULL, "prompt": "Refund order 8."})
    assert golden.content_hash(one) != golden.content_hash(other)


def test_the_schema_agrees_with_the_reader(tmp_path: Path) -> None:
    """The JSON Schema takes what the reader takes and refuses unknown keys, wrong kinds and missing ones."""
    schema = golden.json_schema()
    check = jsonschema.Draft202012Validator(schema)
    check.check_schema(schema)
    assert check.is_valid(FULL)
    assert set(schema["properties"]) == set(GoldenRow.model_fields)
    for row in ({**FULL, "promt": ""}, {"id": "a"}, {**FULL, "contains": "x"}, {**FULL, "prompt": ""}):
        assert not check.is_valid(row)
        assert refusal(tmp_path, row)


@given(st.text())
def test_any_prompt_survives(prompt: str) -> None:
    """Any text that is not blank comes back as it was written, whatever characters it holds."""
    row = json.dumps({"id": "a", "prompt": prompt})
    data, problem = golden._object(row)
    if problem:
        assert any(0xD800 <= ord(one) <= 0xDFFF for one in prompt)
    else:
        assert data is not None
        assert data["prompt"] == prompt


def test_every_condition_is_tried_above() -> None:
    """The conditions are those that `records.ExpectedAction` names."""
    assert set(CONDITIONS) == {"one_of", "contains", "matches", "gt", "gte", "lt", "lte", "any"}


def test_the_shipped_schema_is_the_current_one() -> None:
    """The JSON Schema in the documentation is the one that the code makes."""
    shipped = Path(__file__).parents[3] / "docs" / "schema" / "dataset.schema.json"
    assert json.loads(shipped.read_text(encoding="utf-8")) == golden.json_schema()


def test_the_documented_row_and_keys(tmp_path: Path) -> None:
    """The row shown in the documentation is read as it stands, and its table names every key."""
    text = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text(encoding="utf-8")
    row = text.partition("```json\n")[2].partition("```")[0]
    (case,) = read(tmp_path, text=row)
    assert case.expected == (ExpectedAction("refund", {"order": 7}),)
    table = text.partition("| key | what it is |")[2].partition("`arguments` name a subset")[0]
    assert all(f"`{key}`" in table for key in GoldenRow.model_fields)
    assert all(f"`{condition}" in text for condition in CONDITIONS)
