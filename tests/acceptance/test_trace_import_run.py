"""A recorded run from the file to the report, through the real runtime and ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fakes_traces import FORMATS, example, read, write

SUITE = """
[suite]
name = "{format}"

[dataset]
path = "{format}.trace"
format = "{format}"

[agent]
use = "recorded"

[world]
use = "recorded"

[governance]
policy = "UnsafeAllowAll"

[[metrics]]
use = "enforcement"
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of one run over a file of each format, of which all but tau2's hold a broken record."""
    folder = tmp_path_factory.mktemp("recorded")
    for format_ in FORMATS:
        records = [example(format_)] if format_ == "tau2" else [example(format_), {"broken": True}]
        write(folder / f"{format_}.trace", format_, records)
        (folder / f"{format_}.suite.toml").write_text(SUITE.format(format=format_), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "agentcheck", "run", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    found = list(folder.glob("reports/*/report.json"))
    assert len(found) == 1, done.stdout[-2000:] + done.stderr[-2000:]
    loaded: dict[str, Any] = json.loads(found[0].read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("format_", FORMATS)
def test_every_recorded_action_is_decided(format_: str, report: dict[str, Any], tmp_path: Path) -> None:
    """As many actions are decided as the recording holds, and no trial breaks."""
    (suite,) = [one for one in report["suites"] if one["name"] == format_]
    (case,) = read(format_, write(tmp_path / "file", format_, [example(format_)])).cases
    assert case.recording is not None
    decided = {row["label"]: row["value"] for row in suite["enforcement"]}["actions decided"]
    assert decided == case.recording.asked
    assert (suite["total"], suite["counts"]["error"]) == (1, 0)


@pytest.mark.parametrize("format_", [format_ for format_ in FORMATS if format_ != "tau2"])
def test_skipped_records_are_counted_in_the_run(format_: str, report: dict[str, Any]) -> None:
    """The broken record is in the report, with file, record and field."""
    (suite,) = [one for one in report["suites"] if one["name"] == format_]
    (skipped,) = suite["skipped_records"]
    assert skipped.startswith(f"{format_}.trace: record 2: ")
    assert skipped.endswith(": missing") or "missing" in skipped
