"""What `import agentcheck` offers, exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

import agentcheck
import spine
from agentcheck.engine import Job
from agentcheck.errors import UserError


def test_the_public_names_are_these() -> None:
    """A name that is added or dropped is a decision, not an accident; each can be had."""
    assert agentcheck.__all__ == ["__version__", "hookimpl", "load_run"]
    for name in agentcheck.__all__:
        assert getattr(agentcheck, name)
    with pytest.raises(AttributeError, match="load_runs"):
        _ = agentcheck.load_runs


def test_a_stored_run_can_be_loaded_as_a_report_and_as_a_frame(tmp_path: Path) -> None:
    """`load_run` gives what reports are made from; a run that is not there is the user's mistake."""

    async def echo(task: object, session: object) -> str:
        return task.prompt  # type: ignore[attr-defined,no-any-return]

    prepared = spine.plan(tmp_path, echo, spine.cases(2))
    with spine.engine(tmp_path) as (engine, _):
        from agentcheck.runs import record_suite

        record_suite(engine._ledger, prepared, selected=2, deselected=0)
        engine.submit(Job(prepared, case) for case in prepared.cases)
        for case in prepared.cases:
            engine.wait(("s", case.id))
    report = agentcheck.load_run("2026", tmp_path)
    assert report.counts["pass"] == 2
    pytest.importorskip("pandas")
    from agentcheck.reporting import frame

    assert list(frame.trials(report)["score.answered"]) == [1.0, 1.0]
    with pytest.raises(UserError, match="no run 'nothing'"):
        agentcheck.load_run("nothing", tmp_path)
