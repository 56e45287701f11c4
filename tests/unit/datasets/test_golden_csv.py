"""Golden datasets in CSV, as spreadsheets write them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from agentcheck.datasets import golden
from agentcheck.errors import DatasetError
from agentcheck.records import Case, ExpectedAction


def read(tmp_path: Path, text: str) -> list[Case]:
    """The cases of a CSV text."""
    path = tmp_path / "cases.csv"
    path.write_bytes(text.encode())
    return list(golden.read(path, {}).cases)


def test_columns_of_every_kind(tmp_path: Path) -> None:
    """Text, lists between bars, JSON cells and single keys become the fields that JSON lines would give."""
    text = (
        "id,prompt,answer,contains,tags,expected,principal.role,metadata.owner,skip\r\n"
        'a,"Pay, please",3 days,3 days | paid,"[""x"", ""y|z""]","[{""name"": ""pay""}]",clerk,me,\r\n'
        'b,"two\r\nlines","{""days"": 3}",,,,,,later\r\n'
    )
    first, second = read(tmp_path, text)
    assert first == Case(
        id="a",
        prompt="Pay, please",
        answer="3 days",
        contains=("3 days", "paid"),
        tags=("x", "y|z"),
        expected=(ExpectedAction("pay"),),
        principal={"role": "clerk"},
        metadata={"owner": "me"},
        source="cases.csv:2",
    )
    assert (second.prompt, second.answer, second.skip) == ("two\r\nlines", {"days": 3}, "later")
    assert second.source == "cases.csv:3"


def test_an_answer_stays_text(tmp_path: Path) -> None:
    """An answer that looks like a number, or nearly like JSON, is text."""
    cases = read(tmp_path, "id,prompt,answer\na,x,42\nb,x,{not json\nc,x,true\n")
    assert [case.answer for case in cases] == ["42", "{not json", "true"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,promt\na,x\n", "row 1: unknown column 'promt'"),
        ("id;prompt\na;x\n", "not separated by commas"),
        ("id,prompt,id\na,x,b\n", "two columns are called 'id'"),
        ("id,prompt,tags.x\na,x,y\n", "unknown column 'tags.x'"),
        ("id,prompt,state,state.x\na,x,{},y\n", "column 'state.x' beside column 'state'"),
        ("id,prompt\na,x,y\n", "cases.csv:2: row 2: 3 cells under 2 columns"),
        ("id,prompt\na\n", "cases.csv:2: row 2: 1 cells under 2 columns"),
        ('id,prompt\na,x\n\nb,"y\n', "cases.csv:4: row 3: not CSV"),
        ('id,prompt\na,"x" y\nb,z\n', "not CSV"),
        ("id,prompt,expected\na,x,[{\n", "column 'expected': not JSON at character 3"),
        ("id,prompt,contains\na,x,y|\n", "cases.csv:2: row 2: contains[1]: must not be empty"),
        ("id,prompt\na,\n", "cases.csv:2: row 2: prompt: missing"),
        ("id,prompt\na,x\na,y\n", "cases.csv:3: row 3: id: 'a' is already the id of cases.csv:2: row 2"),
        ("id,prompt\n", "holds no rows"),
        ("id,prompt\na,\0\n", "a NUL character"),
    ],
)
def test_a_wrong_cell_is_named(text: str, said: str, tmp_path: Path) -> None:
    """A wrong header, row or cell stops the dataset, with line, row and column."""
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)


def test_a_long_cell(tmp_path: Path) -> None:
    """A cell longer than the standard library's limit is read, and that limit is as before afterwards."""
    default = 128 * 1024
    csv.field_size_limit(default)
    (case,) = read(tmp_path, "id,prompt\na," + "x" * 200_000 + "\n")
    assert len(case.prompt) == 200_000
    assert csv.field_size_limit() == default
