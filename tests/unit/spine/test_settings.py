"""``[tool.agentcheck]``: found from below, and strict."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcheck.errors import UserError
from agentcheck.settings import read_settings


def write(folder: Path, text: str) -> Path:
    """A pyproject.toml with this text; gives its folder."""
    (folder / "pyproject.toml").write_text(text)
    return folder


def test_settings_are_found_from_a_folder_below(tmp_path: Path) -> None:
    """The nearest pyproject.toml above counts, and paths are relative to it."""
    write(tmp_path, '[tool.agentcheck]\nsuites = ["checks"]\nreports = "out"\nconcurrency = 4\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    settings = read_settings(below)
    assert (settings.root, settings.suites, settings.concurrency) == (tmp_path, ("checks",), 4)
    assert settings.reports_path == tmp_path / "out"


def test_without_a_table_the_defaults_hold(tmp_path: Path) -> None:
    """A project that says nothing has suites in `suites` and reports in `reports`."""
    assert read_settings(write(tmp_path, "[project]\nname = 'x'\n")).suites == ("suites",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[tool.agentcheck]\nsuite = []\n", "unknown key 'suite'"),
        ("[tool.agentcheck]\nconcurrency = 0\n", "concurrency must be a number of at least 1"),
        ("[tool.agentcheck]\nconcurrency = true\n", "concurrency must be"),
        ("[tool.agentcheck]\nsuites = 'x'\n", "suites must be a list of paths"),
        ("[tool", "not valid TOML"),
        ("x = " + "[" * 5000 + "]" * 5000, "not valid TOML"),
        ("x = " + "9" * 5000, "not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_the_file(tmp_path: Path, text: str, told: str) -> None:
    """Unknown keys and wrong types are errors, not defaults."""
    with pytest.raises(UserError, match=told) as caught:
        read_settings(write(tmp_path, text))
    assert caught.value.where == str(tmp_path / "pyproject.toml")
