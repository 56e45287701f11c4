"""Holds and purges: what goes, what stays, what is said of it, and what a crash leaves."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import count as counting
from pathlib import Path

import pytest

from agentcheck.custody import hold, plan_purge, purge, read_account, read_custody, release
from agentcheck.errors import StoreError, UserError
from agentcheck.events import retention
from agentcheck.ledger.canonical import load_json
from agentcheck.ledger.ledger import Ledger
from agentcheck.reporting.custody_text import idle, listing, purged
from agentcheck.reporting.custody_text import purge as told
from agentcheck.retention import KEPT, RetentionClass
from agentcheck.run_report import RunFold
from agentcheck.runs import RunFolder
from agentcheck.storage.sqlite_run import SqliteRun
from fakes_custody import (
    AGED,
    CLASSES,
    CONTENT,
    OLD,
    RECORD,
    everything,
    held_by_chain,
    make_run,
    rows,
    stored,
    types,
)
from fakes_report import STARTED


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run of two suites."""
    return make_run(tmp_path)


def notes(run: RunFolder) -> str:
    """What a reader of the run is told."""
    return "\n".join(f"{note.level}: {note.text}" for note in RunFold.of(run).report().run.notes)


# Holds


def test_a_hold_is_in_force_until_it_is_released_by_its_id(run: RunFolder) -> None:
    """Two holds are two holds: each has an id, a reason and a name, and ends by its own release."""
    first = hold(run, "case 12-3", "ann")
    second = hold(run, "inquiry", "bob")
    assert [each.id for each in read_custody(run).in_force] == [first.id, second.id] == ["hold-1", "hold-2"]
    assert release(run, "hold-1", "settled", "cleo").released is not None
    (left,) = read_custody(run).in_force
    assert (left.id, left.reason, left.by) == ("hold-2", "inquiry", "bob")
    for name, why in (("hold-1", "was released already"), ("hold-9", "is not known")):
        with pytest.raises(UserError, match=why) as raised:
            release(run, name, "again", "cleo")
        assert raised.value.advice == "in force: hold-2"
    assert "legal hold hold-2 in force, placed by bob" in notes(run)
    assert "hold-1" not in notes(run)


@pytest.mark.parametrize(("reason", "by", "why"), [(" ", "ann", "--reason is empty"), ("x", "", "--by is empty")])
def test_a_hold_says_why_and_who(run: RunFolder, reason: str, by: str, why: str) -> None:
    """Without either nothing is recorded."""
    with pytest.raises(UserError, match=why):
        hold(run, reason, by)
    assert run.streams() == ["main", "gw0"]


def test_each_act_is_a_stream_of_its_own_that_names_all_heads(run: RunFolder) -> None:
    """Opened with the heads found, the act, closed; a second act names the head of the first one too."""
    hold(run, "why", "ann", command=["agentcheck", "ledger", "hold"])
    before = {head["stream"]: head for head in run.heads()}
    release(run, "hold-1", "over", "ann")
    assert types(run, "custody-1") == ["custody.opened", "hold.placed", "custody.closed"]
    assert types(run, "custody-2") == ["custody.opened", "hold.released", "custody.closed"]
    opened, again = stored(run, "custody-1")[0].body, stored(run, "custody-2")[0].body
    assert opened["command"] == ["agentcheck", "ledger", "hold"]
    assert {each["stream"] for each in opened["previous"]} == {"main", "gw0"}
    assert {each["stream"]: each for each in again["previous"]} == before
    held_by_chain(run)


def test_a_run_whose_folder_was_renamed_is_still_the_run(run: RunFolder) -> None:
    """Custody names the run as its own events do, so that `verify` finds one run and not two."""
    moved = RunFolder(run.path.rename(run.path.with_name("elsewhere")))
    hold(moved, "why", "ann")
    assert stored(moved, "custody-1")[0].body["run"] == run.id
    with pytest.raises(UserError, match=f"run {run.id} is under a legal hold") as raised:
        purge(moved, CLASSES, AGED, by="bob")
    assert raised.value.advice == f"agentcheck ledger release {moved.path} hold-1 --reason ..."
    release(moved, "hold-1", "over", "ann")
    with pytest.raises(UserError, match=f"of run {run.id} was released"):
        release(moved, "hold-1", "over", "ann")
    with closing(moved.store.writing("main-r1")), pytest.raises(UserError, match=f"run {run.id} is being written"):
        purge(moved, CLASSES, AGED, by="bob")
    assert plan_purge(moved, CLASSES, AGED).run == run.id


def test_a_run_that_is_going_on_can_be_held(run: RunFolder) -> None:
    """A hold does not wait for the end of the run, and does not disturb its writer."""
    store = run.store.writing("main-r1")
    with Ledger(store, "main-r1", redact=run.redactor()) as ledger:
        ledger.record("run.note", {"level": "info", "text": "before"})
        assert hold(run, "now", "ann").id == "hold-1"
        ledger.record("run.note", {"level": "info", "text": "after"})
    assert types(run, "main-r1") == ["run.note", "run.note"]


def test_what_is_said_is_redacted_also_after_the_key_is_gone(run: RunFolder) -> None:
    """A secret in a reason becomes the run's placeholder; without the run's key one that nobody can try."""
    secret = "sk-ant-api03-" + "a1B2" * 20
    theirs = str(run.redactor().value(secret))
    hold(run, f"see {secret}", "ann")
    assert stored(run, "custody-1")[1].body["reason"] == f"see {theirs}"
    (run.path / "redaction.key").unlink()
    hold(run, f"see {secret}", "ann")
    reason = stored(run, "custody-2")[1].body["reason"]
    assert reason.startswith("see [redacted:")
    assert theirs not in reason


def test_acts_on_one_run_exclude_each_other(run: RunFolder) -> None:
    """While one is at work another is refused and leaves no trace; afterwards it may."""

    def clock() -> int:
        with pytest.raises(StoreError, match="is at work on its custody"):
            hold(run, "at the same time", "bob")
        return STARTED

    hold(run, "first", "ann", clock=clock)
    assert [each.by for each in read_custody(run).holds.values()] == ["ann"]
    hold(run, "second", "bob")
    assert not list(run.path.glob("*.lock"))


# What a purge takes


def test_content_goes_and_records_stay(run: RunFolder) -> None:
    """Of the class that is due every content payload goes, in all files; records, other classes and hashes stay."""
    before = rows(run)
    done = purge(run, CLASSES, AGED, by="bob")
    after = rows(run)
    held_by_chain(run)
    for stream in ("main", "gw0"):
        assert [(row.seq, row.chain) for row in after[stream]] == [(row.seq, row.chain) for row in before[stream]]
    for old, new in zip(before["main"], after["main"], strict=True):
        kind = retention(load_json(old.payload.decode())["type"])
        assert (new.payload[:1] == b"\x00") is (kind == "content"), old.seq
        assert new.payload == old.payload or len(new.payload) == 33
    assert after["gw0"] == before["gw0"]
    assert done.custody == "custody-1"
    assert "redaction.key" not in done.removed  # the content of the other suite is still there
    for name, content in everything(run.path).items():
        assert not [text for text in CONTENT if text.encode() in content], name
    kept = (run.path / "ledger.db").read_bytes()
    assert all(text.encode() in kept for text in RECORD)
    assert not run.scratch.exists()


def test_the_tombstone_names_exactly_what_is_gone(run: RunFolder) -> None:
    """Stream, ranges, count, class, rule, reason and who; nothing withheld is without it."""
    purge(run, CLASSES, AGED, by="bob", reason="monthly")
    (stone,) = read_custody(run).tombstones
    gone = [row.seq for row in rows(run)["main"] if row.payload[:1] == b"\x00"]
    assert [n for first, last in stone.ranges for n in range(first, last + 1)] == gone
    assert (stone.stream, stone.count, stone.purpose, stone.retention) == (
        "main",
        len(gone),
        "purge",
        "patient/content",
    )
    assert stone.reason == "monthly: content_days = 180 of patient, from 2025-10-09, as of 2026-04-08"
    assert (stone.by, read_custody(run).closed) == ("bob", {"custody-1": "purged"})
    assert f"{len(gone)} of " in notes(run)
    assert "no tombstone" not in notes(run)


def test_what_is_not_due_is_left_alone(run: RunFolder) -> None:
    """A day early, without classes, or a second time: no stream is written and no byte changes."""
    before = everything(run.path)
    early = STARTED + 179 * 86_400_000_000
    assert purge(run, CLASSES, early, by="bob").is_empty
    assert purge(run, {}, OLD, by="bob").is_empty
    assert everything(run.path) == before
    purge(run, CLASSES, AGED, by="bob")
    before = everything(run.path)
    assert purge(run, CLASSES, AGED, by="bob").is_empty
    assert everything(run.path) == before


def test_what_is_not_due_yet_is_told_with_its_day(run: RunFolder, tmp_path: Path) -> None:
    """The next class and its day, and what no number covers; of a run without events, that it has none."""
    plan = plan_purge(run, CLASSES, STARTED)
    assert told(plan).splitlines() == [
        f"run {run.id}: nothing is due",
        "  next: patient/content on 2026-04-07",
        "  kept for ever: standard/content, standard/record",
    ]
    assert plan_purge(run, CLASSES, plan_purge(run, CLASSES, STARTED).upcoming[0]).due  # type: ignore[index]
    assert plan_purge(run, CLASSES, plan_purge(run, CLASSES, STARTED).upcoming[0] - 1).is_empty  # type: ignore[index]
    purge(run, CLASSES, AGED, by="bob")
    assert "next: patient/record on 2031-10-08" in told(plan_purge(run, CLASSES, AGED))
    empty = RunFolder(tmp_path / "20260101-000000-0002")
    empty.create()
    nothing = plan_purge(empty, CLASSES, AGED)
    assert told(nothing).splitlines() == [
        f"run {empty.id}: nothing is due",
        "  it holds no events: the run ended before its first one, or they were removed",
    ]
    assert idle([nothing, plan]) == f"2 runs: nothing is due; next: patient/content of run {run.id} on 2026-04-07"


def test_records_go_later_and_what_says_whose_run_it_was_stays(run: RunFolder) -> None:
    """With the record days over, all but the first and last event of a stream and custody is gone; so is the key."""
    classes = {**CLASSES, "standard": RetentionClass("standard", 1, 2)}
    first = purge(run, classes, AGED, by="bob")
    assert {(each.stream, each.label) for each in first.due} == {
        *(("main", "patient/content"), ("gw0", "standard/content"), ("gw0", "standard/record"))
    }
    assert not (run.path / "redaction.key").exists()
    assert "redaction key is deleted" in read_custody(run).tombstones[0].reason
    second = purge(run, classes, OLD, by="bob")
    assert {each.label for each in second.due} == {"patient/record"}
    assert types(run, "main") == types(run, "gw0") == ["run.started", "run.finished"]
    held_by_chain(run)
    assert {event.type for event in run.events()} <= KEPT


def test_a_class_that_nobody_defines_any_more_is_kept_and_told(run: RunFolder) -> None:
    """A table that was removed or renamed is no order to purge."""
    plan = plan_purge(run, {"patients": CLASSES["patient"]}, OLD)
    assert (plan.due, plan.undefined) == ([], {"clinic": "patient"})


def test_a_dry_run_tells_and_changes_nothing(run: RunFolder) -> None:
    """The plan is the one that a purge carries out; no byte of the folder changes."""
    before = everything(run.path)
    sizes = {row.seq: len(row.payload) for row in rows(run)["main"]}
    plan = purge(run, CLASSES, AGED, by="bob", dry_run=True)
    assert everything(run.path) == before
    done = purge(run, CLASSES, AGED, by="bob")
    assert [(each.stream, each.label, each.numbers) for each in plan.due] == [
        (each.stream, each.label, each.numbers) for each in done.due
    ]
    assert plan.due[0].size == sum(sizes[seq] - 33 for seq in plan.due[0].numbers)
    assert plan.custody == ""


def test_a_file_that_is_not_ours_is_left_and_named(run: RunFolder) -> None:
    """It may hold content, so it is told; the files that agentcheck keeps there are no cause for it."""
    (run.path / "notes.txt").write_text("I am out", "utf-8")
    (run.path / "workers.lost").write_text("x", "utf-8")
    done = purge(run, CLASSES, AGED, by="bob")
    assert done.unknown == ["notes.txt"]
    assert (run.path / "notes.txt").exists()
    assert (run.path / "workers.lost").exists()


def test_a_ledger_of_an_earlier_version_is_purged_like_any_other(tmp_path: Path) -> None:
    """Its suites named no class, so they are `standard`; chain values are as they were."""
    kept = Path(__file__).parents[2] / "data" / "ledgers" / "without-salt"
    old = RunFolder(Path(shutil.copytree(kept, tmp_path / "old")))
    before = rows(old)
    done = purge(old, {"standard": RetentionClass("standard", 0, 0)}, OLD * 2, by="bob")
    assert {each.label for each in done.due} == {"standard/content", "standard/record"}
    held_by_chain(old)
    for stream, found in before.items():
        assert [row.chain for row in rows(old)[stream]] == [row.chain for row in found]
        assert types(old, stream) == ["run.started", "run.finished"]


# When it is refused


def test_a_hold_stops_a_purge_and_its_release_lets_it_go_on(run: RunFolder) -> None:
    """The error names the hold, its reason and who placed it; not a byte changes while it is in force."""
    hold(run, "case 12-3", "ann")
    hold(run, "inquiry", "bob")
    release(run, "hold-1", "settled", "ann")
    before = everything(run.path)
    for dry in (True, False):
        with pytest.raises(UserError, match=r"legal hold.*hold-2, placed by bob on \d{4}-\d\d-\d\d: inquiry"):
            purge(run, CLASSES, AGED, by="cleo", dry_run=dry)
    assert everything(run.path) == before
    release(run, "hold-2", "over", "bob")
    assert purge(run, CLASSES, AGED, by="cleo").custody == "custody-5"


def test_a_run_that_is_being_written_is_not_purged(run: RunFolder) -> None:
    """Whoever writes a stream has it to the end."""
    with closing(run.store.writing("main-r1")), pytest.raises(UserError, match="is being written by process"):
        purge(run, CLASSES, AGED, by="bob")
    assert read_custody(run).tombstones == []


def test_a_hold_from_another_machine_between_tombstone_and_deletion_stops_it(run: RunFolder) -> None:
    """Where no lock is shared, holds are looked at once more before payloads go."""
    ticks = counting()

    def clock() -> int:
        if next(ticks) == 1:  # the tombstone is being recorded
            store = run.store.writing("custody-7")
            with Ledger(store, "custody-7", redact=run.redactor()) as ledger:
                ledger.record("hold.placed", {"hold": "hold-7", "reason": "late", "by": "ann"})
        return STARTED

    with pytest.raises(UserError, match="hold-7, placed by ann"):
        purge(run, CLASSES, AGED, by="bob", clock=clock)
    assert not [row for row in rows(run)["main"] if row.payload[:1] == b"\x00"]
    assert read_custody(run).closed["custody-1"] == "failed"


def test_who_may_not_take_payloads_away_records_nothing(run: RunFolder) -> None:
    """Otherwise a tombstone would say withheld of what is there, and the next purge would take it, due or not."""

    class Refusing(SqliteRun):
        def ready_to_withhold(self, stream: str) -> None:
            raise StoreError(f"no role for {stream}")

    before = everything(run.path)
    run.__dict__["store"] = Refusing("", run.id, run.path)
    with pytest.raises(StoreError, match="no role for main"):
        purge(run, CLASSES, AGED, by="bob")
    after = everything(run.path)
    after.pop("custody.lock", None)
    assert after == before
    assert not purge(run, CLASSES, AGED, by="bob", dry_run=True).is_empty  # which asks for no right


# A crash

DYING = """
import os, signal, sys
from pathlib import Path
from agentcheck.custody import purge
from agentcheck.runs import RunFolder
from agentcheck.storage.sqlite_run import SqliteRun
import agentcheck.custody
from fakes_custody import AGED, CLASSES

class Dying(SqliteRun):
    def withhold(self, *arguments, **options):
        if {late}:
            super().withhold(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

run = RunFolder(Path(sys.argv[1]))
run.store = Dying("", run.id, run.path)
purge(run, CLASSES, AGED, by="bob")
"""


def killed(run: RunFolder, *, late: bool) -> None:
    """A purge that is killed where payloads are to be taken away, or (``late``) right after it."""
    code = textwrap.dedent(DYING).format(late=late)
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.path)], cwd=Path(__file__).parents[2], timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_purge_killed_before_the_deletion_is_finished_by_the_next(run: RunFolder) -> None:
    """The tombstone is on disk and every payload still there, which is told; the next purge takes just these."""
    killed(run, late=False)
    (stone,) = read_custody(run).tombstones
    assert not [row for row in rows(run)["main"] if row.payload[:1] == b"\x00"]
    assert read_custody(run).unfinished
    undone = f"not carried out: {stone.count} of {stone.count} events are still there"
    assert undone in listing(run.id, read_account(run))
    assert f"not carried out ({stone.count} of {stone.count} events are still there): purge of patient/con" in notes(
        run
    )
    assert "events withheld" not in notes(run)
    plan = purge(run, {}, AGED, by="cleo", dry_run=True)
    assert re.search(
        rf"main  {stone.count} events that are named in custody-1 and still there; they go whether or not they are due "
        r"now, to finish the purge of patient/content by bob on 20..-..-..: content_days = 180",
        told(plan),
    )
    assert f"a purge stopped before its end ({stone.count} events that it names are still there)" in notes(run)
    done = purge(run, {}, AGED, by="cleo")  # even if no class is defined any more: it was decided
    assert (done.due, len(done.pending["main"])) == ([], stone.count)
    assert re.search(r"it finished the purge that was begun in custody-1 by bob on 20..-..-..$", purged(done))
    assert undone not in listing(run.id, read_account(run))
    assert f"{stone.count} events withheld, purge of patient/content by bob" in notes(run)
    assert len(read_custody(run).tombstones) == 1
    assert [row.seq for row in rows(run)["main"] if row.payload[:1] == b"\x00"] == done.pending["main"]
    assert "stopped before its end" not in notes(run)
    assert not run.scratch.exists()
    held_by_chain(run)
    assert purge(run, CLASSES, AGED, by="cleo").is_empty


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_purge_killed_before_the_files_went_is_finished_by_the_next(run: RunFolder) -> None:
    """The payloads are gone and the reports are not: the next purge removes them, and is the last that has to."""
    killed(run, late=True)
    assert run.scratch.exists()
    assert (run.path / "report.html").exists()
    done = purge(run, CLASSES, AGED, by="cleo")
    assert (done.due, done.pending, [each.by for each in done.unfinished]) == ([], {}, ["bob"])
    assert "the purge in custody-1 by bob on 20" in told(done)
    assert not run.scratch.exists()
    assert not (run.path / "report.html").exists()
    assert purge(run, CLASSES, AGED, by="cleo").is_empty


def test_a_hold_placed_after_a_crash_stops_the_finishing_too(run: RunFolder) -> None:
    """What is named and still there is protected like everything else."""
    refuse(run, lambda: None)
    with pytest.raises(StoreError, match="the role is missing"):
        purge(run, CLASSES, AGED, by="bob")
    del run.__dict__["store"]
    hold(run, "late", "ann")
    with pytest.raises(UserError, match="hold-2"):
        purge(run, CLASSES, AGED, by="bob")
    assert not [row for row in rows(run)["main"] if row.payload[:1] == b"\x00"]


def test_no_payload_goes_before_its_tombstone_is_on_disk(run: RunFolder) -> None:
    """When the store is asked to withhold, a reader of the files finds the tombstone."""
    seen: list[int] = []

    def look() -> None:
        seen.append(sum(each.count for each in read_custody(RunFolder(run.path)).tombstones))

    refuse(run, look)
    with pytest.raises(StoreError):
        purge(run, CLASSES, AGED, by="bob")
    assert seen == [len(plan_purge(run, CLASSES, AGED).pending["main"])]
    assert read_custody(run).closed == {"custody-1": "failed"}


def refuse(run: RunFolder, look: Callable[[], None]) -> None:
    """Give the run a store that withholds nothing."""

    class Refusing(SqliteRun):
        def withhold(self, stream: str, payloads: Mapping[int, bytes], *, busy_timeout: float = 10.0) -> None:
            look()
            raise StoreError("the role is missing")

    run.__dict__["store"] = Refusing("", run.id, run.path)


def test_what_cannot_be_removed_is_told_and_tried_again(run: RunFolder) -> None:
    """A derived file that stays makes the purge fail; the next one, which can remove it, finishes."""
    target = run.scratch / "effects.jsonl"
    run.scratch.chmod(0o500)
    try:
        blocked = not _removable(target)
        if not blocked:
            pytest.skip("this user may remove files of a folder that is not writable")
        with pytest.raises(StoreError, match="cannot remove what was derived"):
            purge(run, CLASSES, AGED, by="bob")
    finally:
        run.scratch.chmod(0o700)
    assert purge(run, CLASSES, AGED, by="bob").unfinished
    assert not run.scratch.exists()


def _removable(path: Path) -> bool:
    try:
        path.rename(path.with_name("moved"))
    except OSError:
        return False
    path.with_name("moved").rename(path)
    return True
