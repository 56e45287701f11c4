"""``[tool.agentcheck]``: found from below, and strict."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcheck.errors import UserError
from agentcheck.retention import RetentionClass
from agentcheck.settings import CheckpointSettings, read_settings


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


def test_retention_classes_are_read_and_what_they_leave_out_is_kept(tmp_path: Path) -> None:
    """Each table is a class; a number that is missing means for ever, and nothing is a day."""
    settings = read_settings(
        write(
            tmp_path,
            "[tool.agentcheck.retention.patient]\ncontent_days = 180\nrecord_days = 2190\n"
            "[tool.agentcheck.retention.standard]\ncontent_days = 0\n",
        )
    )
    assert settings.retention == {
        "patient": RetentionClass("patient", 180, 2190),
        "standard": RetentionClass("standard", 0, None),
    }
    assert read_settings(write(tmp_path, "")).retention == {}


def test_where_checkpoints_go_is_read(tmp_path: Path) -> None:
    """The table is read whole; without it nothing is published."""
    text = (
        '[tool.agentcheck.checkpoints]\npublish = ["file:kept", "git:refs/notes/agentcheck"]\n'
        'every_events = 5\nevery_seconds = 6\ntrust = "keys.txt"\n'
    )
    found = read_settings(write(tmp_path, text)).checkpoints
    assert found == CheckpointSettings(("file:kept", "git:refs/notes/agentcheck"), 5, 6, "keys.txt")
    assert read_settings(write(tmp_path, "")).checkpoints == CheckpointSettings((), 10_000, 60, "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[tool.agentcheck]\nsuite = []\n", "unknown key 'suite'"),
        ("[tool.agentcheck]\nconcurrency = 0\n", "concurrency must be a number of at least 1"),
        ("[tool.agentcheck]\nconcurrency = true\n", "concurrency must be"),
        ("[tool.agentcheck]\nsuites = 'x'\n", "suites must be a list of paths"),
        ("[tool.agentcheck]\nretention = 3\n", "retention must be tables"),
        ("[tool.agentcheck]\ncheckpoints = 3\n", "checkpoints must be a table"),
        ("[tool.agentcheck.checkpoints]\npublisch = []\n", "unknown key 'publisch' in .tool.agentcheck.checkpoints"),
        ("[tool.agentcheck.checkpoints]\npublish = 'file:x'\n", "publish must be a list of addresses"),
        ("[tool.agentcheck.checkpoints]\npublish = ['x']\n", "publish must be a list of addresses"),
        ("[tool.agentcheck.checkpoints]\npublish = [3]\n", "publish must be a list of addresses"),
        ("[tool.agentcheck.checkpoints]\npublish = ['file:x', 'file:x']\n", "names 'file:x' twice"),
        ("[tool.agentcheck.checkpoints]\nevery_events = 0\n", "every_events must be a number of at least 1"),
        ("[tool.agentcheck.checkpoints]\nevery_seconds = 1.5\n", "every_seconds must be a number of at least 1"),
        ("[tool.agentcheck.checkpoints]\ntrust = 1\n", "trust must be the path of a trust file"),
        ("[tool.agentcheck.retention]\npatient = 3\n", r"retention.patient\] must be a table"),
        ("[tool.agentcheck.retention.'a b']\n", "a class is named with letters"),
        ("[tool.agentcheck.retention.p]\ncontent_day = 3\n", "unknown key 'content_day'"),
        ("[tool.agentcheck.retention.p]\ncontent_days = '3'\n", "content_days must be a whole number of days"),
        ("[tool.agentcheck.retention.p]\ncontent_days = true\n", "content_days must be a whole number"),
        ("[tool.agentcheck.retention.p]\ncontent_days = 1.5\n", "content_days must be a whole number"),
        ("[tool.agentcheck.retention.p]\ncontent_days = -1\n", "content_days must be a whole number"),
        ("[tool.agentcheck.retention.p]\ncontent_days = 36526\n", "content_days must be a whole number"),
        ("[tool.agentcheck.retention.p]\ncontent_days = 3\nrecord_days = 2\n", "record_days = 2 with content_days = 3"),
        ("[tool.agentcheck.retention.p]\nrecord_days = 2\n", "content is kept for ever"),
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
