"""A run that is killed or interrupted: nothing acknowledged is lost, and it can be finished."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import cli
from agentcheck.events import Event
from agentcheck.ledger import verify
from agentcheck.runs import RunFolder

#: Rounds of the soak; the ordinary suite tries a few of them.
ROUNDS = 50


def start(desk: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a verbose run in a process group of its own, which hears Ctrl-C."""
    # Tests that were started in the background of a shell ignore Ctrl-C, and would hand that on.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-u", "-m", "agentcheck", "run", "-v", *arguments],
            cwd=desk,
            env=without_coverage(cli.environment(desk)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def without_coverage(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that is interrupted: coverage's own lock may be held then, and never given back."""
    return {name: value for name, value in environment.items() if not name.startswith("COVERAGE_")}


def stop_at(process: subprocess.Popen[bytes], line: int, with_: signal.Signals) -> list[str]:
    """Read what a run prints, send a signal after so many lines that name a case, and give all lines."""
    assert process.stdout is not None
    seen: list[str] = []
    named = 0
    sent = False
    for raw in process.stdout:
        seen.append(raw.decode("utf-8", "replace"))
        named += "::" in seen[-1]
        if not sent and (named > line or (line == 0 and "collected" in seen[-1])):
            os.killpg(process.pid, with_)
            sent = True
    process.stdout.close()
    process.wait()
    return seen


def events(desk: Path) -> list[Event]:
    """All events of the last run."""
    return list(RunFolder(cli.last_run(desk)).events())


def verdicts(found: list[Event]) -> dict[str, str]:
    """Case -> status, from the ledger."""
    return {event.body["case"]: event.body["status"] for event in found if event.type == "verdict.reached"}


def lost(desk: Path, printed: list[str], found: list[Event]) -> list[str]:
    """What was acknowledged and is not in the ledger: verdicts that were printed, effects that happened."""
    decided = verdicts(found)
    missing = [case for case in re.findall(r"::(\S+) PASSED", "".join(printed)) if decided.get(case) != "pass"]
    requested = {
        event.body["key"]: (event.session, event.body["action"]) for event in found if event.type == "action.requested"
    }
    allowed = {
        (event.session, event.body["action"])
        for event in found
        if event.type == "action.decided" and event.body["outcome"] == "allow"
    }
    for log in cli.last_run(desk).glob("scratch/*/effects.jsonl"):
        for line in log.read_text("utf-8").splitlines():
            effect: Any = json.loads(line)
            if requested.get(effect["key"]) not in allowed:
                missing.append(effect["key"])
    return missing


def kill_and_resume(tmp_path: Path, seed: int) -> None:
    """One round: kill at a random moment, look, finish, look again."""
    desk = cli.desk(tmp_path)
    printed = stop_at(start(desk, "--concurrency", "4"), random.Random(seed).randrange(0, 28), signal.SIGKILL)
    run = desk / "reports"
    before: list[Event] = []
    if run.exists() and any(run.glob("*/ledger.db")):
        result = verify.verify(cli.last_run(desk))
        assert result.verdict == "CONSISTENT", result
        before = events(desk)
        assert lost(desk, printed, before) == []
        finished = cli.agentcheck(desk, "run", "--resume", "last")
    else:
        finished = cli.agentcheck(desk, "run")
    assert finished.code == 0, finished.text
    after = events(desk)
    assert verify.verify(cli.last_run(desk)).verdict == "CONSISTENT"
    assert len(verdicts(after)) == 30
    assert set(verdicts(after).values()) == {"pass"}
    repeated = [event.body["case"] for event in after if event.type == "case.started" and event.stream != "main"]
    assert not set(repeated) & set(verdicts(before)), "a finished case was run again"


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_run_loses_nothing_and_can_be_finished(tmp_path: Path, seed: int) -> None:
    """kill -9 at a random moment: every acknowledged event is there, the ledger verifies, --resume finishes alike."""
    kill_and_resume(tmp_path, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3, ROUNDS))
def test_killed_again_and_again(tmp_path: Path, seed: int) -> None:
    """The same at many more moments."""
    kill_and_resume(tmp_path, seed)


@pytest.mark.parametrize("with_", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_and_keeps_its_ledger(tmp_path: Path, with_: signal.Signals) -> None:
    """Ctrl-C, and a CI job that is told to end: exit code 2, a valid ledger, a report that is marked partial."""
    desk = cli.desk(tmp_path)
    cli.edit(desk / "golden_datasets" / "desk.jsonl", "What about T-29?", "forever")
    cli.edit(desk / "suites" / "desk.toml", "actions = 20", "actions = 1000000")
    cli.edit(desk / "suites" / "desk.toml", "time_limit = 20", "time_limit = 300")
    process = start(desk)
    stop_at(process, 27, with_)
    assert process.returncode == 2
    result = verify.verify(cli.last_run(desk))
    assert result.verdict == "CONSISTENT"
    report = json.loads((cli.last_run(desk) / "report.json").read_text("utf-8"))
    assert report["run"]["status"] == "interrupted"
    assert report["run"]["partial"] is True
    assert report["counts"]["aborted"] == 1
    assert report["suites"][0]["gate"]["passed"] is not True
    shown = cli.agentcheck(desk, "show", "last")
    assert "interrupted" in shown.out


def test_a_resumed_run_keeps_earlier_failures(tmp_path: Path) -> None:
    """What failed before the interruption still fails the gate after the resume."""
    desk = cli.desk(tmp_path)
    cli.edit(desk / "suites" / "desk.toml", "desk:agent", "desk:careless_agent")
    cli.edit(desk / "golden_datasets" / "desk.jsonl", "What about T-29?", "What about T-29? forever")
    cli.edit(desk / "suites" / "desk.toml", "actions = 20", "actions = 1000000")
    cli.edit(desk / "suites" / "desk.toml", "time_limit = 20", "time_limit = 300")
    process = start(desk)
    stop_at(process, 27, signal.SIGINT)
    assert process.returncode == 2
    (desk / "released").touch()
    done = cli.agentcheck(desk, "run", "--resume", "last")
    assert done.code == 1, done.text
    found = verdicts(events(desk))
    assert sorted(found.values()).count("fail") == 10
    assert len(found) == 30
