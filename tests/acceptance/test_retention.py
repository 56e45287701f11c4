"""Retention, holds, purges and copies through the command, as docs/retention.md tells them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

import checkpointed
import cli
from agentcheck.events import TABLE, retention
from agentcheck.reporting import files, html, json_report
from agentcheck.run_report import RunFold, load_run
from agentcheck.runs import RunFolder
from fakes_custody import everything, held_by_chain, rows

DOCUMENT = Path(__file__).parents[2] / "docs" / "retention.md"
#: In the prompt of one case, so in its request, its answer and the effect's arguments; nowhere else.
MARK = "quillwort-9931"
LATER = ("--now", "2099-01-01")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The helpdesk of the class `patient`, run once: two cases pass, one fails."""
    desk = cli.desk(tmp_path_factory.mktemp("retention"))
    (desk / "pyproject.toml").write_text("".join(blocks("toml")[:1]), "utf-8")
    cli.edit(desk / "suites" / "desk.toml", 'tags = ["smoke"]', 'tags = ["smoke"]\nretention = "patient"')
    data = desk / "golden_datasets" / "desk.jsonl"
    cli.edit(data, "Please refund 3 for T-3", f"Please refund 3 for T-3 {MARK}")
    cli.edit(data, '"T-2 is open"', '"T-2 is closed"')
    done = cli.agentcheck(desk, "run", "-k", "refund-3 or too-much-1 or status-2")
    assert done.code == 1, done.text
    return desk


@pytest.fixture
def desk(ran: Path, tmp_path: Path) -> Path:
    """A copy of it to work on."""
    return Path(shutil.copytree(ran, tmp_path / "desk", ignore=shutil.ignore_patterns("__pycache__")))


def blocks(language: str) -> list[str]:
    """The fenced parts of the document."""
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)


def commands() -> Iterator[list[str]]:
    """Every command of the document, in order."""
    for block in blocks("console"):
        for text in block.splitlines():
            yield shlex.split(text.removeprefix("$ agentcheck "))


def run_of(desk: Path) -> RunFolder:
    """The run."""
    return RunFolder(cli.last_run(desk))


def aged(run: RunFolder) -> tuple[str, str]:
    """The options that ask what is due 181 days after the run: content, and no record."""
    seconds = max(event.time for event in run.events()) // 1_000_000 + 181 * 86_400
    return "--now", datetime.fromtimestamp(seconds, timezone.utc).isoformat()


def test_every_command_of_the_document_works_as_it_says(desk: Path) -> None:
    """In its order: nothing is due today, years later it is, a hold is placed and released, a copy verifies."""
    for arguments in commands():
        done = cli.agentcheck(desk, *arguments)
        assert done.code == 0, (arguments, done.text)
        if arguments[:2] == ["ledger", "purge"]:
            assert ("content  " in done.out) is ("--now" in arguments), done.out
    assert (desk / "out" / "for-the-assessor" / "ledger.db").is_file()
    assert "redaction by Ann Lee" in cli.agentcheck(desk, "show", "out/for-the-assessor").out


def test_the_document_has_the_classes_of_the_table() -> None:
    """The types it lists as content are those of the table; the files that it lists are those of the reporters."""
    text = DOCUMENT.read_text("utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| content |"))
    assert set(re.findall(r"`([a-z.]+)`", row)) == {name for name in TABLE if retention(name) == "content"}
    assert all(f"`{name}`" in text for name in files.NAMES)


def test_no_page_says_that_a_plain_vacuum_removes_anything() -> None:
    """PostgreSQL rewrites a table, so that old rows are gone from its files, only on VACUUM FULL."""
    for page in DOCUMENT.parent.glob("*.md"):
        assert "VACUUM agentcheck" not in page.read_text("utf-8"), page.name
    assert "VACUUM FULL agentcheck.events" in DOCUMENT.read_text("utf-8")


def test_a_folder_of_another_name_is_still_the_run(desk: Path) -> None:
    """Hold, custody, purge and release name the run as its events do, and not the folder that they are in."""
    run = run_of(desk)
    run.path.rename(desk / "moved")
    for arguments in (
        ("hold", "moved", "--reason", "why"),
        ("custody", "moved"),
        ("release", "moved", "hold-1", "--reason", "over"),
        ("purge", "moved", "--dry-run"),
        ("purge", "moved", *LATER, "--yes"),
    ):
        done = cli.agentcheck(desk, "ledger", *arguments)
        assert done.code == 0, done.text
        assert f"run {run.id}" in done.out.splitlines()[-1 if arguments[0] == "purge" and "--yes" in arguments else 0]
        assert "run moved" not in done.text


def test_what_is_due_next_is_told(desk: Path) -> None:
    """Of one run with its class and day, of all runs the first of them."""
    one = cli.agentcheck(desk, "ledger", "purge", "last", "--dry-run").out
    found = re.search(r"nothing is due\n  next: patient/content on (\d{4}-\d\d-\d\d)", one)
    assert found is not None, one
    every = cli.agentcheck(desk, "ledger", "purge", "--all", "--dry-run").out
    assert every == f"1 runs: nothing is due; next: patient/content of run {run_of(desk).id} on {found[1]}\n"


def test_a_run_whose_store_is_away_is_named(desk: Path) -> None:
    """Once, with the reason; the other runs are looked at all the same."""
    away = run_of(desk).path.with_name("20260101-000000-00cc")
    away.mkdir()
    (away / "store.url").write_text("postgresql://nobody@127.0.0.1:1/none\n")
    for arguments in (("--all", "--dry-run"), (away.name, "--dry-run"), ("--all", *LATER, "--yes")):
        done = cli.agentcheck(desk, "ledger", "purge", *arguments)
        assert done.code == 3, done.text
        assert done.err.count(f"run {away.name}: ") == 1, done.err
        assert done.err.count("the server does not answer") == 1, done.err
        if "--yes" in arguments:
            assert f"run {run_of(desk).id}: purged; custody-1 says what" in done.out


def test_reporters_write_no_file_that_a_purge_does_not_know(desk: Path) -> None:
    """Everything in a run's folder is kept knowingly or removed: a new file of ours would be named as foreign."""
    told = cli.agentcheck(desk, "ledger", "purge", "last", *LATER, "--dry-run").out
    assert "agentcheck did not write it" not in told
    assert all(name in told for name in (*files.NAMES, "scratch", "redaction.key"))


def test_what_is_purged_is_in_no_byte_of_the_folder(desk: Path) -> None:
    """The mark of a prompt was in the ledger, the reports and the world's log; afterwards no file holds it."""
    run = run_of(desk)
    before, chains = everything(run.path), {(r.stream, r.seq): r.chain for found in rows(run).values() for r in found}
    assert MARK.encode() in before["ledger.db"]
    assert len([name for name, content in before.items() if MARK.encode() in content]) > 1
    done = cli.agentcheck(desk, "ledger", "purge", "last", *aged(run), "--yes", "--by", "bob", "--reason", "yearly")
    assert done.code == 0, done.text
    after = everything(run.path)
    assert not [name for name, content in after.items() if MARK.encode() in content]
    assert sorted(after) == ["ledger-custody-1.db", "ledger.db"]
    assert {key: chain for key, chain in chains.items() if key[0] == "main"} == {
        (row.stream, row.seq): row.chain for row in rows(run)["main"]
    }
    held_by_chain(run)
    listed = cli.agentcheck(desk, "ledger", "custody", "last").out
    assert re.search(r"custody-1:2  purge of patient/content  by bob on .* events of main \(.*\): yearly: ", listed)
    assert cli.agentcheck(desk, "verify", "last").code == 0
    again = cli.agentcheck(desk, "ledger", "purge", "last", *LATER, "--yes")
    assert (again.code, "patient/record" in again.out) == (0, True)
    assert [event.type for event in run.events() if event.stream == "main"] == ["run.started", "run.finished"]
    assert cli.agentcheck(desk, "verify", "last").code == 0
    assert "no case is left to tell of" in cli.agentcheck(desk, "show", "last").out


def test_a_purged_run_is_shown_with_what_is_left_and_what_is_not(desk: Path) -> None:
    """Verdicts, decisions and gates as before; how many events are withheld, by which tombstone; resume is refused."""
    run = run_of(desk)
    before = RunFold.of(run).report()
    assert cli.agentcheck(desk, "ledger", "purge", "last", *aged(run), "--yes", "--by", "bob").code == 0
    after = load_run(str(run.path))
    for old, new in zip(before.suites, after.suites, strict=True):
        assert (old.counts, old.gate, old.metrics) == (new.counts, new.gate, new.metrics)
        assert [case.reasons for case in old.cases] == [case.reasons for case in new.cases]
        for name in ("actions", "allowed", "denied", "held"):
            assert [getattr(c.trials[0], name) for c in old.cases] == [getattr(c.trials[0], name) for c in new.cases]
    told = re.compile(r"(\d+) of \d+ events are withheld")
    noted = re.compile(r"custody-1: (\d+) events withheld, purge of patient/content by bob")
    page, values = html.render(after), json.dumps(json_report.to_dict(after))
    shown = " ".join(cli.agentcheck(desk, "show", "last").out.split())
    for text in (page, values, shown):
        found, by = told.search(text), noted.search(text)
        assert found is not None
        assert by is not None
        assert found[1] == by[1]
    case = cli.agentcheck(desk, "show", "last", "too-much-1").out
    assert "its request is withheld" in case
    assert "refund.limit" in case
    assert "custody-1" in case
    assert "1000" not in case
    assert "custody-1" in page[page.index("status-2") :]  # the failing case says so beside its timeline
    done = cli.agentcheck(desk, "run", "--resume", "last", "-k", "refund-3 or too-much-1 or status-2")
    assert (done.code, "are withheld, so it cannot be resumed" in done.text) == (4, True)


def test_one_run_that_is_held_does_not_stop_the_others(desk: Path) -> None:
    """The held run is told and stays; the other one is purged; the exit code says that something was refused."""
    held = run_of(desk)
    other = Path(shutil.copytree(held.path, held.path.with_name("20260101-000000-00aa")))
    broken = Path(shutil.copytree(held.path, held.path.with_name("20260101-000000-00bb")))
    (broken / "ledger.db").write_bytes(b"no database at all" * 100)
    assert cli.agentcheck(desk, "ledger", "hold", held.id, "--reason", "case 12-3", "--by", "ann").code == 0
    before = everything(held.path)
    done = cli.agentcheck(desk, "ledger", "purge", "--all", *LATER, "--yes", "--by", "bob")
    assert done.code == 3, done.text
    assert f"run {held.id} is under a legal hold" in done.err
    assert "hold-1, placed by ann" in done.err
    assert "case 12-3" in done.err
    assert "00bb" in done.err
    assert everything(held.path) == before
    assert MARK.encode() not in b"".join(everything(other).values())
    shutil.rmtree(broken)
    assert cli.agentcheck(desk, "ledger", "purge", "--all", *LATER, "--yes").code == 4
    assert cli.agentcheck(desk, "ledger", "release", held.id, "hold-1", "--reason", "settled").code == 0
    assert cli.agentcheck(desk, "ledger", "purge", "--all", *LATER, "--yes").code == 0
    assert MARK.encode() not in b"".join(everything(held.path).values())


def test_a_hold_is_placed_and_released_by_name(desk: Path) -> None:
    """Without --by it is the login; an unknown hold is told with those in force; the list says who did what."""
    placed = cli.agentcheck(desk, "ledger", "hold", "last", "--reason", "inquiry")
    assert re.match(r"hold-1 placed on run \S+ by \S+: inquiry", placed.out), placed.text
    wrong = cli.agentcheck(desk, "ledger", "release", "last", "hold-3", "--reason", "x")
    assert (wrong.code, "in force: hold-1" in wrong.err) == (4, True)
    assert "in force" in cli.agentcheck(desk, "ledger", "custody", "last").out
    assert "legal hold hold-1 in force" in cli.agentcheck(desk, "show", "last").out
    done = cli.agentcheck(desk, "ledger", "release", "last", "hold-1", "--reason", "over", "--by", "ann")
    assert "holds still in force: 0" in done.out
    assert "released by ann" in cli.agentcheck(desk, "ledger", "custody", "last").out
    assert cli.agentcheck(desk, "ledger", "hold", "last", "--reason", " ").code == 4


def test_a_run_that_was_held_can_still_be_resumed(desk: Path) -> None:
    """Streams of custody are none of the run's: a resumed run names the heads of the others only."""
    assert cli.agentcheck(desk, "ledger", "hold", "last", "--reason", "inquiry").code == 0
    done = cli.agentcheck(desk, "run", "--resume", "last", "-k", "refund-3 or too-much-1 or status-2")
    assert done.code == 1, done.text
    started = [event.body for event in run_of(desk).events() if event.type == "run.started"]
    assert [[each["stream"] for each in body["previous"]] for body in started] == [[], ["main"]]
    assert cli.agentcheck(desk, "verify", "last").code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "name a run, or say --all"),
        (("last", "--all"), "name a run, or say --all"),
        (("last", "--now", "tomorrow"), "--now is no time"),
        (("last", *LATER), "nobody can be asked here; say --yes"),
        (("last", *LATER, "--yes", "--by", ""), "--by is empty"),
    ],
)
def test_a_purge_that_is_not_clear_purges_nothing(desk: Path, arguments: tuple[str, ...], told: str) -> None:
    """Exit code 4, and not a byte changes."""
    before = everything(run_of(desk).path)
    done = cli.agentcheck(desk, "ledger", "purge", *arguments)
    assert (done.code, told in done.err) == (4, True), done.text
    assert everything(run_of(desk).path) == before


def test_a_suite_of_an_unknown_class_does_not_run(desk: Path) -> None:
    """It is told at collection with the line and the classes that are known; the exit code is that of usage."""
    cli.edit(desk / "suites" / "desk.toml", '"patient"', '"patients"')
    done = cli.agentcheck(desk, "run")
    assert done.code == 4
    assert re.search(r"desk\.toml:5: no retention class is called 'patients'", done.text), done.text
    assert "did you mean 'patient'? known: patient, standard" in done.text
    assert "no retention class is called 'patients'" in cli.agentcheck(desk, "list", "--kind", "suites").text


def test_a_copy_leaves_out_what_was_chosen(desk: Path) -> None:
    """No byte of the copy holds it, the rest is there, verify holds, and the run is as it was."""
    before = everything(run_of(desk).path)
    done = cli.agentcheck(desk, "ledger", "export", "last", "out", "--withhold", "desk::refund-3", "--by", "ann")
    assert (done.code, "withheld for this copy" in done.out) == (0, True), done.text
    assert MARK.encode() not in b"".join(everything(desk / "out").values())
    assert b"refund 1000 for T-1" in (desk / "out" / "ledger.db").read_bytes()
    assert cli.agentcheck(desk, "verify", "out").code == 0
    assert "left out of a copy" in " ".join(cli.agentcheck(desk, "show", "out").out.split())
    assert everything(run_of(desk).path) == before
    again = cli.agentcheck(desk, "ledger", "export", "last", "out")
    assert (again.code, "is not empty" in again.err) == (4, True)


def test_a_copy_is_signed_beside_its_run(tmp_path: Path) -> None:
    """It holds wholly under the checkpoints of the run; the signed custody of a copy is not that of the run."""
    project = checkpointed.project(tmp_path)
    project.publish("file:checkpoints", more='trust = "trust.txt"\n')
    assert project.run("run").code == 0
    (script,) = blocks("sh")
    made = subprocess.run(
        ["bash", "-ec", f'agentcheck() {{ "{sys.executable}" -m agentcheck "$@"; }}\n{script}'],
        cwd=project.desk,
        env=cli.environment(project.desk),
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    check = (
        "verify",
        "assessed/run",
        "--checkpoint",
        "assessed/checkpoints",
        "--keys",
        "trust.txt",
        "--whole",
        "--events",
    )
    done = project.run(*check)
    assert (done.code, "CONSISTENT_WITH_CHECKPOINT" in done.out) == (0, True), done.text
    assert project.run("ledger", "export", "last", "part", "--withhold", "content").code == 0
    assert project.run("ledger", "hold", "part", "--reason", "theirs").code == 0
    signed = project.run("ledger", "checkpoint", "part")
    assert (signed.code, signed.text.count("custody-copy-")) == (0, 2), signed.text
    for _ in range(2):
        done = project.run("verify", "last", "--whole")
        assert (done.code, "CONSISTENT_WITH_CHECKPOINT" in done.out) == (0, True), done.text
        assert project.run("ledger", "hold", "last", "--reason", "ours").code == 0
        done = project.run("ledger", "checkpoint", "last")
        assert done.code == 0, done.text
    given = [str(path) for path in (project.desk / "checkpoints").rglob("custody-copy-*/*.checkpoint")]
    assert len(given) == 2
    assert project.run("verify", "last", "--checkpoint", "checkpoints", "--keys", "trust.txt").code == 0
    named = project.run("verify", "last", "--checkpoint", given[0], "--keys", "trust.txt")
    assert (named.code, "there is no such stream" in named.text) == (1, True), named.text
    hidden = RunFolder(cli.last_run(project.desk)).path / "ledger-custody-1.db"
    hidden.rename(project.desk / "hidden")
    assert project.run("verify", "last").code == 1  # only streams of copies may be missing
