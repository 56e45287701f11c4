"""Report files are whole or absent, and each reporter is registered under its name."""

from __future__ import annotations

from pathlib import Path

import pytest

import fakes_report
from agentcheck import plugins
from agentcheck.errors import HarnessError
from agentcheck.reporting import files


def test_a_failed_write_leaves_the_older_report(tmp_path: Path) -> None:
    """Where the new file cannot be put in place, the old one is untouched and no half file is left."""
    target = tmp_path / "report.json"
    target.mkdir()
    (target / "kept").write_text("old")
    with pytest.raises(HarnessError, match=r"report\.json"):
        files.write(target, "new")
    assert (target / "kept").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    """A report can be written into a folder that does not exist yet."""
    assert files.write(tmp_path / "a" / "b" / "x.txt", "é").read_text("utf-8") == "é"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The error says which report could not be written."""
    (tmp_path / "a").write_text("a file, not a folder")
    with pytest.raises(HarnessError, match=r"cannot write the report"):
        files.write(tmp_path / "a" / "x.txt", "text")


def test_every_reporter_writes_its_file(tmp_path: Path) -> None:
    """The five registered reporters are found by name, and each writes what it says it wrote."""
    registry = plugins.load(entry_points=False)
    written = [
        path
        for name in registry.names("reporters")
        for path in registry.get("reporters", name)(fakes_report.report(), tmp_path)
    ]
    assert sorted(path.name for path in written) == [
        "findings.sarif",
        "junit.xml",
        "report.html",
        "report.json",
        "summary.md",
    ]
    assert sorted(written) == sorted(tmp_path.iterdir())
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in written)
