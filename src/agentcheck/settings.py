"""``[tool.agentcheck]`` of ``pyproject.toml``: where suites are, where runs are written, how many cases run at once."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from agentcheck.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Settings:
    """What ``[tool.agentcheck]`` says; ``root`` is the folder that its paths are relative to."""

    root: Path
    suites: tuple[str, ...] = ("suites",)
    reports: str = "reports"
    concurrency: int = 32

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
}


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
    for key, value in table.items():
        if key not in _TYPES:
            near = get_close_matches(key, _TYPES, 1)
            advice = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_TYPES)}"
            raise UserError(f"unknown key {key!r} in [tool.agentcheck]", where=str(file), advice=advice)
        kind, what = _TYPES[key]
        if not isinstance(value, kind) or isinstance(value, bool) or (isinstance(value, int) and value < 1):
            raise UserError(f"[tool.agentcheck] {key} must be {what}", where=str(file))
    if "suites" in table:
        table = {**table, "suites": tuple(map(str, table["suites"]))}
    return Settings(folder, **table)
