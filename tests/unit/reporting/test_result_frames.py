"""Results as pandas frames, and CSV that a spreadsheet takes for text."""

from __future__ import annotations

import builtins
import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fakes_report
from agentcheck.errors import MissingExtra
from agentcheck.reporting import frame

pytest.importorskip("pandas")


def test_a_row_per_trial_with_a_column_per_metric() -> None:
    """Every case is in the frame, trials apart, each metric in its own column."""
    table = frame.trials(fakes_report.report())
    assert len(table) == 37
    row = table[table["case"] == "refill-needs-a-visit"].iloc[0]
    assert (row["status"], row["score.expected_actions"], row["denied"]) == ("fail", 0.5, 1)
    assert list(table[table["case"] == "invoice-with-hidden-order"]["trial"]) == [1, 2, 3]


def test_a_score_that_was_not_measured_has_no_value() -> None:
    """A broken judge and an unmeasured score are missing values, not zeros."""
    table = frame.trials(fakes_report.report()).set_index("case")
    assert table["score.groundedness"].isna()["discharge-summary"]
    assert table["score.retention"].isna()["refill-needs-a-visit"]


def test_a_case_that_never_began_has_a_row() -> None:
    """Skipped cases stay in the population."""
    table = frame.trials(fakes_report.report())
    assert list(table[table["status"] == "skipped"]["trial"]) == [0, 0, 0, 0]


def test_a_row_per_action_with_its_decision() -> None:
    """The second frame holds what was asked, decided and answered."""
    table = frame.actions(fakes_report.report())
    row = table[(table["case"] == "refill-with-approval") & (table["name"] == "prescribe_refill")].iloc[0]
    assert (row["outcome"], row["control"], row["approved"], row["status"]) == (
        "hold",
        "authorization.level",
        True,
        "done",
    )
    assert row["output"] == '{"order": "rx-5512"}'


def test_a_run_without_cases_gives_frames_with_columns() -> None:
    """A notebook can rely on the columns, also where nothing ran."""
    report = fakes_report.Report(fakes_report.Run("r", 0))
    assert "status" in frame.trials(report).columns
    assert "outcome" in frame.actions(report).columns


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@x", "\t=1"])
def test_no_cell_of_the_csv_is_a_formula(text: str, tmp_path: Path) -> None:
    """Every text cell and every heading that would be computed starts with an apostrophe; numbers stay numbers."""
    report = fakes_report.hostile(text)
    for table in (frame.trials(report), frame.actions(report)):
        path = frame.write_csv(table, tmp_path / "out.csv")
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        assert len(rows) == len(table) + 1
        for cell in (cell for row in rows for cell in row):
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_a_missing_pandas_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pandas the error says what to install."""
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtra, match=r"agentcheck-governance\[pandas\]"):
        frame.trials(fakes_report.passing())


def test_importing_the_reports_does_not_load_pandas_or_rich() -> None:
    """Heavy libraries are loaded by the report that needs them, not by importing the room."""
    code = (
        "import sys; import agentcheck.reporting.frame, agentcheck.reporting.terminal, agentcheck.reporting.builtin;"
        "assert not {'pandas', 'rich', 'jinja2', 'pydantic'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
