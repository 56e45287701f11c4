"""Golden datasets in CSV, as spreadsheets write them: the first row names the keys, a cell holds one value.

===============================================================  ==============================================
column                                                           cell
===============================================================  ==============================================
``id``, ``prompt``, ``skip``                                     text
``answer``                                                       text; a JSON object or list where it writes one
``contains``, ``excludes``, ``tags``                             pieces between ``|``, or a JSON list
``documents``, ``turns``, ``expected``, ``forbidden``,           JSON
``state``, ``principal``, ``metadata``
``state.x``, ``principal.x``, ``metadata.x``                     text of one key
===============================================================  ==============================================

An empty cell is a key that is not there.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from agentcheck.datasets.golden_row import GoldenRow
from agentcheck.errors import DatasetError

TEXTS = ("id", "prompt", "skip")
LISTS = ("contains", "excludes", "tags")
OBJECTS = ("state", "principal", "metadata")
#: Longest cell; the default of `csv` (128 KiB) is less than a document.
MAX_CELL = 16 << 20
_JSON_STARTS = ("{", "[")

Raw = tuple[str, int, dict[str, Any] | None, str]


def csv_rows(text: str, path: Path) -> Iterator[Raw]:
    """Rows of a CSV text as ``(place, line, data, problem)``; the header row is row 1.

    Raises:
        DatasetError: the header is wrong.
    """
    before = csv.field_size_limit(MAX_CELL)
    try:
        yield from _rows(text, path)
    finally:
        csv.field_size_limit(before)


def _rows(text: str, path: Path) -> Iterator[Raw]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    row = 0
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            # Where a quote is wrong, nothing tells where the next row starts.
            yield f"{line}: row {row + 1}", line, None, f"not CSV: {error}; the rest of the file was not read"
            return
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        row += 1
        if header is None:
            header = _header(cells, path, line)
            continue
        place = f"{line}: row {row}"
        if len(cells) != len(header):
            yield place, line, None, f"{len(cells)} cells under {len(header)} columns (is a comma outside quotes?)"
            continue
        data, problem = _row(header, cells)
        yield place, line, data, problem


def _header(cells: list[str], path: Path, line: int) -> list[str]:
    names = [cell.strip() for cell in cells]
    where = f"{path}:{line}"
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise DatasetError("the columns are not separated by commas", where=where, advice="save it with commas")
    known = list(GoldenRow.model_fields)
    for name in names:
        base, dot, key = name.partition(".")
        if base not in known or (dot and (base not in OBJECTS or not key)):
            near = get_close_matches(name, known, 1)
            raise DatasetError(
                f"row 1: unknown column {name!r}",
                where=where,
                advice=(f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(known)}",
            )
        if names.count(name) > 1:
            raise DatasetError(f"row 1: two columns are called {name!r}", where=where, advice="rename one")
        if dot and base in names:
            raise DatasetError(f"row 1: column {name!r} beside column {base!r}", where=where, advice="keep one of them")
    return names


def _row(header: list[str], cells: list[str]) -> tuple[dict[str, Any] | None, str]:
    data: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=True):
        if not cell.strip():
            continue
        base, dot, key = name.partition(".")
        try:
            if dot:
                data.setdefault(base, {})[key] = cell
            else:
                data[base] = _value(base, cell)
        except (ValueError, RecursionError) as error:
            return None, f"column {name!r}: {error}"
    return data, ""


def _value(name: str, cell: str) -> Any:
    if name in TEXTS:
        return cell
    if name in LISTS and not cell.lstrip().startswith("["):
        return [piece.strip() for piece in cell.split("|")]
    if name == "answer" and not cell.lstrip().startswith(_JSON_STARTS):
        return cell
    try:
        return json.loads(cell)
    except json.JSONDecodeError as error:
        if name == "answer":
            return cell
        raise ValueError(f"not JSON at character {error.pos + 1} of the cell: {error.msg}") from None
