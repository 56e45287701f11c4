"""Our own dataset format: one case a row, in JSON lines or CSV, checked strictly.

A golden dataset is the user's own file, so nothing in it passes by accident: an unknown key, a misspelt condition, a
piece of text that every answer contains, or a broken row stops the run, and every bad row is named. `content_hash`
is the version of a dataset.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from agentcheck.contracts import Loaded
from agentcheck.datasets.files import BOM, FOREIGN_MARKS, GZIP, shown
from agentcheck.datasets.golden_csv import csv_rows
from agentcheck.datasets.golden_row import GoldenRow, case_of, problems_of
from agentcheck.datasets.importing import Selection
from agentcheck.errors import DatasetError
from agentcheck.records import Case

#: Longest line of a JSON lines file. A longer one is a file of another kind, or a document that belongs elsewhere.
MAX_LINE = 16 << 20
#: Bad rows that an error lists; the rest are counted.
LISTED = 20


class Raw(NamedTuple):
    """One row as the file holds it: where it stands, and its keys and values or what is wrong with it."""

    place: str
    line: int
    data: Mapping[str, Any] | None
    problem: str = ""


def read(path: Path, options: Mapping[str, Any]) -> Loaded:
    """Read a golden dataset: ``.csv`` as CSV, anything else as JSON lines.

    ``options``: ``where`` maps a key of ``metadata`` to a value or a list of values, ``limit`` keeps the first so many.

    Raises:
        DatasetError: the file or any row of it is wrong; up to 20 bad rows are listed.
    """
    chosen = Selection(options, str(path))
    text = _text(path)
    rows = map(Raw._make, csv_rows(text, path) if path.suffix.lower() == ".csv" else _json_rows(text))
    cases: list[Case] = []
    problems: list[str] = []
    count = 0
    seen: dict[str, str] = {}
    name = shown(path)
    for row in rows:
        count += 1
        found = _case(row, name, seen)
        if isinstance(found, Case):
            cases.append(found)
        else:
            problems.extend(f"{name}:{row.place}: {problem}" for problem in found)
    if problems:
        raise _bad_rows(problems, path)
    if not count:
        raise DatasetError("the dataset holds no rows", where=str(path), advice="write one case a line")
    return Loaded(chosen.of(cases), ())


def _case(row: Raw, name: str, seen: dict[str, str]) -> Case | list[str]:
    if row.data is None:
        return [row.problem]
    try:
        checked = GoldenRow.model_validate(row.data)
    except ValidationError as error:
        return problems_of(error)
    if checked.id in seen:
        return [f"id: {checked.id!r} is already the id of {name}:{seen[checked.id]}; ids are unique in a dataset"]
    seen[checked.id] = row.place
    return case_of(checked, f"{name}:{row.line}")


def _bad_rows(problems: list[str], path: Path) -> DatasetError:
    more = f"\n  ... and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
    return DatasetError(
        f"{len(problems)} problem{'s' if len(problems) > 1 else ''}:\n"
        + "\n".join(f"  {problem}" for problem in problems[:LISTED])
        + more,
        where=str(path),
        advice="mend the rows; the keys of a row are described in docs/datasets.md",
    )


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read the dataset: {error.strerror or error}", where=str(path)) from error
    if raw[:2] == GZIP:
        raise DatasetError("a golden dataset is plain text, not gzip", where=str(path), advice="unpack it first")
    if raw[:2] in FOREIGN_MARKS:
        raise DatasetError(
            f"the file is {FOREIGN_MARKS[raw[:2]]}, not UTF-8", where=str(path), advice="save it as UTF-8"
        )
    raw = raw.removeprefix(BOM)
    if not raw.strip():
        raise DatasetError("the dataset is empty", where=str(path), advice="write one case a line")
    for mark, problem in ((raw.find(b"\0"), "a NUL character"), (_not_utf8(raw), "a byte that is not UTF-8")):
        if mark >= 0:
            line = raw.count(b"\n", 0, mark) + 1
            column = mark - (raw.rfind(b"\n", 0, mark) + 1) + 1
            raise DatasetError(
                f"{problem} at byte {column} of the line",
                where=f"{path}:{line}",
                advice="save the file as UTF-8 text",
            )
    return raw.decode("utf-8")


def _not_utf8(raw: bytes) -> int:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return -1


def _json_rows(text: str) -> Iterator[tuple[str, int, Mapping[str, Any] | None, str]]:
    if text.lstrip()[:1] == "[":
        line = text[: len(text) - len(text.lstrip())].count("\n") + 1
        yield str(line), line, None, "this is a JSON array; write one object a line, without brackets and commas around"
        return
    for line, row in enumerate(text.split("\n"), start=1):
        if not row.strip():
            continue
        data, problem = _object(row)
        yield str(line), line, data, problem


def _object(row: str) -> tuple[Mapping[str, Any] | None, str]:
    if len(row) > MAX_LINE:
        return None, f"the line is longer than {MAX_LINE >> 20} MiB; put long documents into files of their own"
    try:
        data = _DECODER.decode(row)
        if "\\u" in row:  # the file is UTF-8, so only an escape can leave half of a pair
            json.dumps(data, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        hint = "; is the object on one line?" if row.strip() in ("{", "[") or error.pos >= len(row.strip()) else ""
        return None, f"not JSON at column {error.colno}: {error.msg}{hint}"
    except UnicodeEncodeError:
        return None, "half of a surrogate pair (\\ud800 to \\udfff) is no text"
    except RecursionError:
        return None, "nested too deeply"
    except ValueError as error:
        return None, str(error)
    if not isinstance(data, dict):
        return None, 'expected an object, as in {"id": "...", "prompt": "..."}'
    return data, ""


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {repeated!r} stands twice in one object")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


#: One for all rows: `json.loads` with arguments makes a new one each time.
_DECODER = json.JSONDecoder(object_pairs_hook=_no_repeats, parse_constant=_no_constant)


def content_hash(path: Path) -> str:
    """The version of a dataset: SHA-256 over the bytes of its file, in hex.

    Raises:
        DatasetError: the file cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DatasetError(f"cannot read the dataset: {error.strerror or error}", where=str(path)) from error


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one row, for editors."""
    schema = GoldenRow.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "agentcheck golden dataset row",
        **schema,
    }
