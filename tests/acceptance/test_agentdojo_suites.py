"""The suites over recorded AgentDojo runs, end to end; skipped where the recordings are absent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli import agentcheck

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "traces" / "agentdojo.jsonl.gz"


@pytest.mark.skipif(not DATA.exists(), reason="../shared/data is absent")
def test_suites_run_end_to_end(tmp_path: Path) -> None:
    """Both gates pass, nothing breaks, and the runs that fail are those that docs/agentdojo.md lists."""
    suites = ["suites/agentdojo-banking.toml", "suites/agentdojo-workspace.toml"]
    done = agentcheck(ROOT, "run", *suites, "--reports", str(tmp_path), "-q", "-p", "no:cacheprovider")
    assert done.code == 0, done.text[-3000:]
    (folder,) = (path.parent for path in tmp_path.glob("*/report.json"))
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    cases = [case for suite in report["suites"] for case in suite["cases"]]
    assert len(cases) == 127 + 182
    assert {case["status"] for case in cases} == {"pass", "fail"}
    document = (ROOT / "docs" / "agentdojo.md").read_text(encoding="utf-8")
    failed = [case["id"] for case in cases if case["status"] == "fail"]
    of_clean_and_won = [name for name in failed if f"`{name}`" in document]
    assert len(of_clean_and_won) == 4 + 6
    assert len(failed) == 15
