"""``[tool.agentcheck]`` of ``pyproject.toml``: where suites are, where runs are written, how long they are kept."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from agentcheck.errors import UserError
from agentcheck.retention import RetentionClass

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class CheckpointSettings:
    """``[tool.agentcheck.checkpoints]``: where signed checkpoints of the ledger go, how often, and whose keys count.

    ``publish`` holds addresses (``file:DIR``, ``git:refs/notes/NAME``, ``https://...``); ``trust`` is the path of a
    trust file, ``""`` for none.
    """

    publish: tuple[str, ...] = ()
    every_events: int = 10_000
    every_seconds: int = 60
    trust: str = ""


@dataclass(frozen=True)
class Settings:
    """What ``[tool.agentcheck]`` says; ``root`` is the folder that its paths are relative to."""

    root: Path
    suites: tuple[str, ...] = ("suites",)
    reports: str = "reports"
    concurrency: int = 32
    retention: Mapping[str, RetentionClass] = field(default_factory=dict)
    checkpoints: CheckpointSettings = CheckpointSettings()

    @property
    def reports_path(self) -> Path:
        """Where runs are written."""
        return self.root / self.reports


def make_importable(root: Path) -> None:
    """Put a project's folder on the Python path, so that its suites can name its own modules."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


_TYPES: dict[str, tuple[type, str]] = {
    "suites": (list, "a list of paths"),
    "reports": (str, "a path"),
    "concurrency": (int, "a number of at least 1"),
    "retention": (dict, "tables: [tool.agentcheck.retention.<class>]"),
    "checkpoints": (dict, "a table: [tool.agentcheck.checkpoints]"),
}
_CHECKPOINTS: dict[str, tuple[type, str]] = {
    "publish": (list, 'a list of addresses, such as "file:checkpoints" or "git:refs/notes/agentcheck"'),
    "every_events": (int, "a number of at least 1"),
    "every_seconds": (int, "a number of at least 1"),
    "trust": (str, "the path of a trust file"),
}
#: A century: a date further off than any rule asks for is a slip of the keyboard.
_MOST_DAYS = 36_525
_CLASS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")


def read_settings(start: Path, default: Path | None = None) -> Settings:
    """Settings from the nearest ``pyproject.toml`` at or above ``start``; where there is none, defaults at ``default``.

    ``default`` is ``start`` where it is not given. pytest's root is no default: without a file that marks it, it is
    whatever folder the working directory and the paths given have in common.

    Raises:
        UserError: not TOML, an unknown key or a wrong type, with the file.
    """
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            return _read(file, folder)
    return Settings(default or start)


def _read(file: Path, folder: Path) -> Settings:
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or nothing that Python can hold
        raise UserError(f"not valid TOML: {error}", where=str(file)) from None
    table: dict[str, Any] = document.get("tool", {}).get("agentcheck", {})
    _check(table, _TYPES, "[tool.agentcheck]", file)
    if "suites" in table:
        table = {**table, "suites": tuple(map(str, table["suites"]))}
    if "retention" in table:
        table = {**table, "retention": {name: _class(name, row, file) for name, row in table["retention"].items()}}
    if "checkpoints" in table:
        table = {**table, "checkpoints": _checkpoints(table["checkpoints"], file)}
    return Settings(folder, **table)


def _check(table: Mapping[str, Any], known: Mapping[str, tuple[type, str]], place: str, file: Path) -> None:
    """Refuse unknown keys and values of another type."""
    for key, value in table.items():
        if key not in known:
            near = get_close_matches(key, known, 1)
            advice = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise UserError(f"unknown key {key!r} in {place}", where=str(file), advice=advice)
        kind, what = known[key]
        if not isinstance(value, kind) or isinstance(value, bool) or (isinstance(value, int) and value < 1):
            raise UserError(f"{place} {key} must be {what}", where=str(file))


def _checkpoints(table: Mapping[str, Any], file: Path) -> CheckpointSettings:
    place = "[tool.agentcheck.checkpoints]"
    _check(table, _CHECKPOINTS, place, file)
    publish = tuple(table.get("publish", ()))
    for address in publish:
        if not isinstance(address, str) or not address.partition(":")[1]:
            what = _CHECKPOINTS["publish"][1]
            raise UserError(f"{place} publish must be {what}, and {address!r} is none", where=str(file))
    twice = [address for number, address in enumerate(publish) if address in publish[:number]]
    if twice:
        raise UserError(f"{place} publish names {twice[0]!r} twice", where=str(file))
    return CheckpointSettings(**{**table, "publish": publish})


def _class(name: str, row: Any, file: Path) -> RetentionClass:
    """A class of retention. What it does not say is kept for ever, so records can never go before content."""
    place, where = f"[tool.agentcheck.retention.{name}]", str(file)
    if not _CLASS.fullmatch(name):
        raise UserError(f"{place}: a class is named with letters, digits and . _ -", where=where)
    if not isinstance(row, dict):
        raise UserError(f"{place} must be a table", where=where, advice="content_days = 180, record_days = 2190")
    known = ("content_days", "record_days")
    for key, days in row.items():
        if key not in known:
            near = get_close_matches(key, known, 1)
            advice = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise UserError(f"unknown key {key!r} in {place}", where=where, advice=advice)
        if type(days) is not int or not 0 <= days <= _MOST_DAYS:
            raise UserError(f"{place} {key} must be a whole number of days from 0 to {_MOST_DAYS}", where=where)
    content, record = row.get("content_days"), row.get("record_days")
    if record is not None and (content is None or record < content):
        found = "no content_days, so content is kept for ever" if content is None else f"content_days = {content}"
        raise UserError(
            f"{place}: record_days = {record} with {found}",
            where=where,
            advice="a record is kept at least as long as the content that it decided on",
        )
    return RetentionClass(name, content, record)
