"""Files into JSON records, whatever is wrong with them: what can be read is read, the rest is named.

A trace file is JSON lines (one record a line), a JSON array of records, or one JSON object; plain or gzip, told by its
first bytes and not by its name. Reading never stops at a bad record: each `Entry` holds either the record or what is
wrong with it. A file that breaks off (a truncated download, a broken gzip stream) gives all records before the break
and one entry for the rest.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from agentcheck.errors import DatasetError

#: Uncompressed size above which a file is refused: a small gzip file may unpack to anything.
MAX_BYTES = 2 << 30
GZIP = b"\x1f\x8b"
#: Files that open with one of these are text in another encoding than UTF-8.
FOREIGN_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
BOM = b"\xef\xbb\xbf"


class Entry(NamedTuple):
    """One record of a file. ``number`` and ``line`` count from 1; ``problem`` is set where there is no record."""

    number: int
    line: int
    data: Any = None
    problem: str = ""

    @property
    def place(self) -> str:
        """``record 7 (line 9)``; the line only where it says more than the number."""
        return f"record {self.number}" + (f" (line {self.line})" if self.line != self.number else "")


class Content(NamedTuple):
    """The bytes of a file, uncompressed; ``problem`` says why there are not more of them."""

    data: bytes
    problem: str = ""


def shown(path: Path) -> str:
    """A path as messages and sources show it: below the working directory relative to it, else the name alone."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):
        return path.name


def read_content(path: Path) -> Content:
    """Read a file, unpacking gzip as far as it goes.

    Raises:
        DatasetError: it cannot be opened, is empty, is not UTF-8 by its first bytes, or unpacks to too much.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read the file: {error.strerror or error}", where=str(path)) from error
    content = _unpack(raw, path) if raw[:2] == GZIP else Content(raw)
    if not content.data.strip():
        if content.problem:
            raise DatasetError(
                f"nothing could be unpacked: {content.problem}", where=str(path), advice="fetch the file again"
            )
        raise DatasetError("the file is empty", where=str(path), advice="is this the right file?")
    foreign = FOREIGN_MARKS.get(content.data[:2])
    if foreign:
        raise DatasetError(f"the file is {foreign}, not UTF-8", where=str(path), advice="save it as UTF-8")
    return content._replace(data=content.data.removeprefix(BOM))


def _unpack(raw: bytes, path: Path) -> Content:
    parts: list[bytes] = []
    size = 0
    rest = raw
    while rest[:2] == GZIP:  # A gzip file may hold several members, one after the other.
        stream = zlib.decompressobj(wbits=31)
        # Small slices, so that as much as possible is out before a broken byte is met.
        for start in range(0, len(rest), 1024):
            try:
                piece = stream.decompress(rest[start : start + 1024])
            except zlib.error as error:
                return Content(b"".join(parts), f"the gzip stream is broken after {size} bytes of content ({error})")
            parts.append(piece)
            size += len(piece)
            if size > MAX_BYTES:
                raise DatasetError(f"unpacks to more than {MAX_BYTES >> 20} MiB", where=str(path), advice="split it")
            if stream.eof:
                rest = stream.unused_data + rest[start + 1024 :]
                break
        else:
            return Content(b"".join(parts), f"the gzip stream breaks off after {size} bytes of content")
    return Content(b"".join(parts))


def read_entries(path: Path, *, records_at: str = "") -> Iterator[Entry]:
    """The records of a file. ``records_at`` names the list that holds them where the file is one JSON object.

    Each record of such a list is given as ``{records_at: record, ...the other keys}``, read as far as the file goes.

    Raises:
        DatasetError: nothing of the file can be read.
    """
    content = read_content(path)
    lines = content.data.split(b"\n")
    entries = _from_lines(lines) if _is_lines(lines, records_at) else _from_document(content.data, records_at)
    number = 0
    for entry in entries:
        number = entry.number
        yield entry
    if content.problem:
        yield Entry(number + 1, content.data.count(b"\n") + 1, problem=f"{content.problem}; what follows is lost")


def _is_lines(lines: list[bytes], records_at: str) -> bool:
    """True for JSON lines, also when the first of them is broken: an object starts and ends on one line."""
    filled = [line for line in lines[:200] if line.strip()]
    if filled[0].lstrip()[:1] == b"[" or (records_at and len(filled) == 1):
        return False
    return any(line[:1] == b"{" and _is_json(line) for line in filled)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _from_lines(lines: list[bytes]) -> Iterator[Entry]:
    number = 0
    for line, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        number += 1
        try:
            yield Entry(number, line, parse(raw.decode("utf-8")))
        except UnicodeDecodeError as error:
            yield Entry(number, line, problem=f"not UTF-8 at byte {error.start + 1} of the line")
        except ValueError as error:
            yield Entry(number, line, problem=_says(error))


def _says(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON at column {error.colno}: {error.msg}"
    return f"not JSON: {error}"


def _from_document(data: bytes, records_at: str) -> Iterator[Entry]:
    """Records of one JSON document, read element by element so that a break costs only what follows it."""
    walker = _Walker(data)
    if walker.peek() == "[":
        for number, (line, item, problem) in enumerate(walker.items(), start=1):
            yield Entry(number, line, item, problem)
        return
    shared: dict[str, Any] = {}
    found: list[tuple[int, Any, str]] = []
    whole = ""
    for key, problem in walker.members():
        if problem:
            whole = problem
        elif key == records_at and walker.peek() == "[":
            found.extend(walker.items())
            if walker.broken:
                break
        else:
            line, value, problem = walker.value()
            if problem:
                whole = f"{key}: {problem}"
            else:
                shared[key] = value
        if whole:
            break
    number = 0
    if records_at and not found and not whole:
        whole = f"{records_at}: missing, or an empty list"
    elif not records_at and not whole:
        yield Entry(1, 1, shared)
    for number, (line, item, problem) in enumerate(found, start=1):
        yield Entry(number, line, None if problem else {**shared, records_at: item}, problem)
    if whole:
        yield Entry(number + 1, walker.line, problem=f"{whole}; what follows is lost")


class _Walker:
    """Steps through a JSON document without needing all of it to be well formed."""

    def __init__(self, data: bytes) -> None:
        # Bytes that are no UTF-8 survive as lone surrogates, so that only the value that holds them is refused.
        self.text = data.decode("utf-8", "surrogateescape")
        self.foreign = not self.text.isascii() and not _is_unicode(self.text)
        self.at = 0
        self.broken = False
        self.line = 1
        self._counted = 0

    def peek(self) -> str:
        while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
            self.at += 1
        return self.text[self.at : self.at + 1]

    def place(self) -> int:
        self.line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self.line

    def value(self) -> tuple[int, Any, str]:
        """``(line, value, problem)`` of the value that starts here."""
        self.peek()
        line, start = self.place(), self.at
        try:
            value, self.at = _DECODER.raw_decode(self.text, start)
        except json.JSONDecodeError as error:
            where = f"line {error.lineno} column {error.colno}"
            return line, None, f"the JSON breaks at {where}: {error.msg}"
        except (ValueError, RecursionError) as error:
            return line, None, f"the JSON cannot be read: {error}"
        if self.foreign and not _is_unicode(self.text[start : self.at]):
            return line, None, "not UTF-8"
        return line, mended(value) if "\\u" in self.text else value, ""

    def items(self) -> Iterator[tuple[int, Any, str]]:
        self.at += 1  # the opening bracket
        if self.peek() == "]":
            self.at += 1
            return
        while True:
            line, value, problem = self.value()
            broken = bool(problem) and problem != "not UTF-8"
            yield line, value, f"{problem}; what follows is lost" if broken else problem
            if broken:
                self.broken = True
                return
            mark = self.peek()
            self.at += 1
            if mark == "]":
                return
            if mark != ",":
                self.broken = True
                yield self.place(), None, "the JSON breaks off inside the list; what follows is lost"
                return

    def members(self) -> Iterator[tuple[str, str]]:
        if self.peek() != "{":
            yield "", "not JSON: expected an object or a list of records"
            return
        self.at += 1
        if self.peek() == "}":
            return
        while True:
            _, key, problem = self.value()
            if problem or not isinstance(key, str) or self.peek() != ":":
                yield "", problem or "the JSON breaks off inside the object"
                return
            self.at += 1
            yield key, ""
            mark = self.peek()
            self.at += 1
            if mark == "}":
                return
            if mark != ",":
                yield "", "the JSON breaks off inside the object"
                return


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _number(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


#: Numbers that JSON does not know (NaN, Infinity, 1e999) are kept as text: nothing is lost, nothing is invented.
_DECODER = json.JSONDecoder(parse_constant=str, parse_float=_number)


def parse(text: str) -> Any:
    """One JSON value.

    Half a surrogate pair, which no ledger can hold, becomes U+FFFD.

    Raises:
        ValueError: it is no JSON, is nested too deeply, or holds a number of too many digits.
    """
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return mended(value) if "\\u" in text else value


def mended(value: Any) -> Any:
    """The value with each half of a surrogate pair replaced by U+FFFD."""
    if isinstance(value, str):
        if _is_unicode(value):
            return value
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {mended(key): mended(item) for key, item in value.items()}
    if isinstance(value, list):
        return [mended(item) for item in value]
    return value
