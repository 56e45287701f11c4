"""Signed checkpoints through the commands: a run that publishes them, places that fail, proofs, witnesses, keys."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import checkpointed
import cli
from agentcheck.ledger.chain import leaf
from agentcheck.ledger.merkle import root, verify_inclusion
from agentcheck.ledger.notes import checkpoint, split
from checkpointed import Project, witness


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A helpdesk project with a key, a witness and a trust file."""
    return checkpointed.project(tmp_path)


def payloads(run: Path, stream: str = "main") -> list[bytes]:
    """What is stored of a stream."""
    name = "ledger.db" if stream == "main" else f"ledger-{stream}.db"
    with closing(sqlite3.connect(run / name)) as opened:
        return [row[0] for row in opened.execute("SELECT payload FROM events ORDER BY seq")]


def events(run: Path, stream: str = "main") -> list[Any]:
    """The events of a stream."""
    return [json.loads(each) for each in payloads(run, stream)]


def test_a_run_is_signed_and_published(project: Project) -> None:
    """Folder, Git notes and a witness get the checkpoints on schedule and at the end; all signatures verify."""
    with witness(project) as url:
        project.publish(url, "file:kept", "git:refs/notes/agentcheck", more='every_events = 100\ntrust = "trust.txt"\n')
        done = project.run("run")
        assert done.code == 0, done.text
    run = cli.last_run(project.desk)
    kept, stored = project.kept(), payloads(run)
    assert len(kept) > 1
    assert kept == sorted(project.noted(), key=lambda each: each.size)
    for each in kept:
        assert each.origin == f"example.org/acme/{run.name}/main"
        assert each.root == root(map(leaf, stored[: each.size]))
        assert project.log.time_of(each.note) == 0
        assert project.witness.time_of(each.note)
        assert len(each.note.signatures) == 3
    assert kept[-1].size == len(stored)
    found = events(run)
    assert found[-1]["type"] == "run.finished"
    recorded = [each["body"] for each in found if each["type"] == "checkpoint.signed"]
    assert [each["size"] for each in recorded] == [each.size for each in kept[: len(recorded)]]
    assert recorded[0]["published"] == [
        {"place": address, "error": ""} for address in (url, "file:kept", "git:refs/notes/agentcheck")
    ]
    printed = cli.agentcheck(project.desk, "ledger", "anchors", "last")
    assert printed.code == 0, printed.text
    assert [checkpoint(each) for each in split(printed.out)] == kept
    verified = cli.agentcheck(project.desk, "verify", "--checkpoint", "kept", "--keys", "trust.txt", "--witnesses", "1")
    assert (verified.code, f"WITNESSED(1), size {len(stored)}" in verified.out) == (0, True), verified.text


def test_workers_sign_their_own_streams(project: Project) -> None:
    """With pytest-xdist each process publishes the checkpoints of its stream; none is lost."""
    with witness(project) as url:
        project.publish("file:kept", "git:refs/notes/agentcheck", url, more='every_events = 50\ntrust = "trust.txt"\n')
        done = project.run("run", "-n", "2")
        assert done.code == 0, done.text
    run = cli.last_run(project.desk)
    kept = project.kept()
    assert sorted(map(str, (each.note for each in kept))) == sorted(str(each.note) for each in project.noted())
    for stream in ("main", "gw0", "gw1"):
        mine = [each for each in kept if each.origin.endswith(f"/{stream}")]
        stored = payloads(run, stream)
        assert (mine[-1].size, mine[-1].root) == (len(stored), root(map(leaf, stored)))
        assert events(run, stream)[-1]["type"] == "run.finished"
        assert all(project.witness.time_of(each.note) for each in mine)


def test_a_witness_that_is_away_is_told_and_made_good(project: Project) -> None:
    """The run ends with 3 and says which place failed; ledger, report and the other place are whole; later it works."""
    with witness(project) as url:
        pass
    project.publish(url, "file:kept", more='trust = "trust.txt"\n')
    done = project.run("run")
    assert done.code == 3, done.text
    assert f"was not kept everywhere: {url}: it cannot be reached" in done.out
    assert "30 passed" in done.out
    run = cli.last_run(project.desk)
    assert (run / "report.json").exists()
    assert cli.agentcheck(project.desk, "verify").code == 0
    (before,) = project.kept()
    assert (before.size, len(before.note.signatures)) == (len(payloads(run)), 2)
    again = project.run("ledger", "checkpoint", "last")
    assert (again.code, "it cannot be reached" in again.out) == (3, True)
    with witness(project, url.removeprefix("http://")):
        for _ in range(2):
            made = project.run("ledger", "checkpoint", "last")
            assert made.code == 0, made.text
            assert made.out == f"main: {before.size} events\n  {url}: kept\n  file:kept: kept\n" or _ == 1
    assert [len(each.note.signatures) for each in project.kept()] == [2, 3]
    assert project.witness.time_of(project.kept()[1].note)


def test_a_worker_that_cannot_publish_breaks_the_run(project: Project) -> None:
    """With pytest-xdist too, a last checkpoint that is not kept ends the run with 3, and the place is named."""
    project.publish("http://127.0.0.1:9", "file:kept")
    done = project.run("run", "-n", "2")
    assert done.code == 3, done.text
    assert "was not kept everywhere: http://127.0.0.1:9: it cannot be reached" in done.out
    assert len(project.kept()) == 3


@pytest.mark.parametrize(
    ("publish", "key", "why"),
    [
        (["file:kept"], "", "AGENTCHECK_SIGNING_KEY is not set"),
        (["file:kept"], "nowhere.key", "the signing key is neither"),
        (["file:kept"], "PRIVATE+KEY+x", "not a private key to sign with"),
        (["https://witness.example.org"], None, "names witnesses only"),
        (["ftp:somewhere"], None, "no place for checkpoints has the scheme 'ftp'"),
        (["file:kept", "git:refs/heads/main"], None, "no reference for notes"),
    ],
)
def test_what_cannot_work_is_told_before_any_case(
    publish: list[str], key: str | None, why: str, project: Project
) -> None:
    """A missing or wrong key and an address that cannot be used end the run at once with 4; nothing is recorded."""
    project.publish(*publish)
    done = project.run("run", **({} if key is None else {"AGENTCHECK_SIGNING_KEY": key}))
    assert (done.code, why in done.err) == (4, True), done.text
    assert not (project.desk / "reports").exists()
    # The doctor says the same, before a run is tried.
    doctor = project.run("doctor", **({} if key is None else {"AGENTCHECK_SIGNING_KEY": key}))
    assert doctor.code == 1, doctor.text
    assert re.search(rf"^fail +checkpoints +.*{re.escape(why)}", doctor.out, re.MULTILINE), doctor.text


def test_plain_pytest_is_told_too(project: Project) -> None:
    """pytest without the command ends with a usage error, and only listing the cases needs no key."""
    project.publish("file:kept")
    for workers in ((), ("-n", "2")):
        done = cli.pytest_(project.desk, "suites/desk.toml", *workers)
        assert (done.code, "AGENTCHECK_SIGNING_KEY is not set" in done.text) == (4, True), done.text
        assert not (project.desk / "reports").exists()
    assert cli.pytest_(project.desk, "suites/desk.toml", "--collect-only", "-q").code == 0


def test_a_trust_file_that_is_wrong_is_told(project: Project) -> None:
    """A mistake in the trust file is named by its line."""
    project.publish("file:kept", more='trust = "trust.txt"\n')
    (project.desk / "trust.txt").write_text("lag x\n")
    done = project.run("run")
    assert (done.code, "trust.txt:1" in done.err) == (4, True), done.text


def test_a_key_without_a_place_is_a_warning(project: Project) -> None:
    """A key that nothing uses is told in the report, and the run is as it would be."""
    done = project.run("run")
    assert done.code == 0, done.text
    notes = [each["body"]["text"] for each in events(cli.last_run(project.desk)) if each["type"] == "run.note"]
    assert ["AGENTCHECK_SIGNING_KEY is set and nothing was signed" in each for each in notes] == [True]


def test_a_machine_can_be_told_not_to_sign(project: Project) -> None:
    """Where the variable says that runs are not signed, they are not, and the report says so; nothing else changes."""
    project.publish("file:kept")
    done = project.run("run", AGENTCHECK_SIGNING_KEY="unsigned")
    assert done.code == 0, done.text
    assert not list((project.desk / "kept").rglob("*.checkpoint"))
    notes = [each["body"]["text"] for each in events(cli.last_run(project.desk)) if each["type"] == "run.note"]
    assert ["nothing was signed: its value is 'unsigned'" in each for each in notes] == [True]
    refused = project.run("ledger", "checkpoint", "last", AGENTCHECK_SIGNING_KEY="unsigned")
    assert (refused.code, "nothing is signed here" in refused.err) == (4, True)


def test_code_under_test_is_not_given_the_key(project: Project) -> None:
    """Neither alone nor in workers does the environment of the code under test hold the private key."""
    text = (project.desk / "desk.py").read_text()
    saw = "import os, pathlib\nwith open('seen', 'a') as file:\n    file.write(str(os.environ.get('{}')) + ';')\n"
    (project.desk / "desk.py").write_text(text + "\n" + saw.format("AGENTCHECK_SIGNING_KEY"))
    project.publish("file:kept")
    for workers in ((), ("-n", "2")):
        (project.desk / "seen").write_text("")
        assert project.run("run", "-k", "too-much-1", *workers).code in (0, 1)
        assert set((project.desk / "seen").read_text().strip(";").split(";")) == {"None"}


def test_the_key_may_be_given_as_text(project: Project) -> None:
    """A CI secret holds the key's text; it is in nothing that the run writes."""
    project.publish("file:kept")
    text = project.key.read_text().strip()
    done = project.run("run", "-k", "too-much-1", AGENTCHECK_SIGNING_KEY=text)
    assert done.code == 0, done.text
    assert project.log.time_of(project.kept()[-1].note) == 0
    secret = text.rpartition("+")[2]
    files = [each for each in (project.desk / "reports").rglob("*") if each.is_file()]
    assert files
    assert not [each for each in files if secret.encode() in each.read_bytes()]
    assert secret not in done.text


def test_a_resumed_run_is_signed_like_any_other(project: Project) -> None:
    """A stream that a resumed run writes has its own checkpoints, under the same run."""
    project.publish("file:kept")
    assert project.run("run").code == 0
    done = project.run("run", "--resume", "last")
    assert done.code == 0, done.text
    run = cli.last_run(project.desk)
    assert {each.origin for each in project.kept()} == {f"example.org/acme/{run.name}/{s}" for s in ("main", "main-r1")}


def test_an_event_is_proved(project: Project) -> None:
    """The proof names the index and the siblings, ends in the checkpoint, and leads from the event to its root."""
    project.publish("file:kept", more="every_events = 100\n")
    assert project.run("run").code == 0
    (project.desk / "all").write_text(cli.agentcheck(project.desk, "ledger", "anchors", "last").out)
    done = cli.agentcheck(project.desk, "ledger", "prove", "last", "main:7", "--checkpoint", "all")
    assert done.code == 0, done.text
    text = (project.desk / "main-7.tlog-proof").read_text()
    event = (project.desk / "main-7.json").read_bytes()
    assert event == payloads(cli.last_run(project.desk))[6]
    head, _, note = text.partition("\n\n")
    lines = head.split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 6"]
    point = checkpoint(note)
    assert point == project.kept()[0]  # the smallest one that covers it
    hashes = [base64.b64decode(line) for line in lines[2:]]
    assert verify_inclusion(sha256(b"\x00" + event).digest(), 6, point.size, hashes, point.root)
    named = cli.agentcheck(
        project.desk, "ledger", "prove", "last", "main:8", "--checkpoint", "all", "-o", str(project.folder / "p.proof")
    )
    assert named.code == 0, named.text
    assert json.loads((project.folder / "p.json").read_bytes())["seq"] == 8
    check = ("verify", "--event", "main-7.json", "--proof", "main-7.tlog-proof", "--keys", "trust.txt")
    verified = cli.agentcheck(project.desk, *check)
    assert (verified.code, "INCLUDED" in verified.out) == (0, True), verified.text
    (project.desk / "main-7.json").write_bytes(event.replace(b'"seq":7', b'"seq":9'))
    assert cli.agentcheck(project.desk, *check).code == 1


def test_a_withheld_event_is_not_proved_and_hides_no_other(project: Project) -> None:
    """Of an event whose payload is gone nothing is proved; the proof of its neighbour is the one from before."""
    project.publish("file:kept")
    assert project.run("run").code == 0
    run = cli.last_run(project.desk)
    (project.desk / "all").write_text(cli.agentcheck(project.desk, "ledger", "anchors", "last").out)
    prove = ("ledger", "prove", "last", "--checkpoint", "all")
    assert cli.agentcheck(project.desk, *prove, "main:6", "-o", "before.proof").code == 0
    change(run, f"UPDATE events SET payload = x'00{leaf(payloads(run)[4]).hex()}' WHERE seq = 5")
    refused = cli.agentcheck(project.desk, *prove, "main:5")
    assert (refused.code, "was withheld" in refused.err) == (3, True), refused.text
    assert cli.agentcheck(project.desk, *prove, "main:6", "-o", "after.proof").code == 0
    assert (project.desk / "after.proof").read_text() == (project.desk / "before.proof").read_text()
    assert project.run("ledger", "checkpoint", "last").code == 0
    assert len(project.kept()) == 1  # the head was signed before, and is the same


@pytest.mark.parametrize(
    ("event", "file", "why"),
    [
        ("main", "all", "names no event"),
        ("main:0", "all", "names no event"),
        ("main:100000", "all", "no checkpoint covers event 100000"),
        ("gw0:1", "all", "the run has no stream 'gw0'"),
        ("main:1", "none", "cannot be read"),
        ("main:1", "desk.py", "this is no checkpoint"),
        ("main:1", "other", "no checkpoint of"),
    ],
)
def test_what_cannot_be_proved_is_told(event: str, file: str, why: str, project: Project) -> None:
    """An event that is not there, and a checkpoint that is none or of another run, are told; nothing is written."""
    project.publish("file:kept")
    assert project.run("run", "-k", "too-much-1").code == 0
    printed = cli.agentcheck(project.desk, "ledger", "anchors", "last").out
    (project.desk / "all").write_text(printed)
    (project.desk / "other").write_text(printed.replace(cli.last_run(project.desk).name, "20200101-000000-0000"))
    done = cli.agentcheck(project.desk, "ledger", "prove", "last", event, "--checkpoint", file)
    assert (done.code, why in done.err) == (4, True), done.text
    assert not list(project.desk.glob("*.tlog-proof"))


def change(run: Path, statement: str) -> None:
    """Change a ledger file as somebody who may write it can."""
    with closing(sqlite3.connect(run / "ledger.db")) as opened:
        for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            opened.execute(f"DROP TRIGGER {name}")
        opened.execute(statement)
        opened.commit()


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DELETE FROM events WHERE seq > 100", "events was signed, and 100 are there"),
        ("UPDATE events SET payload = replace(payload, '30', '31') WHERE seq = 3", "the chain does not hold"),
        ("UPDATE events SET payload = CAST(payload || ' ' AS BLOB) WHERE seq = 3", "the chain does not hold"),
        ("UPDATE events SET payload = x'' WHERE seq = 3", "the chain does not hold"),
        ("DELETE FROM events WHERE seq = 50", "the chain does not hold"),
    ],
)
def test_a_changed_ledger_is_not_signed_again(statement: str, why: str, project: Project) -> None:
    """A cut or edited stream is refused, and no checkpoint of it is published."""
    project.publish("file:kept")
    assert project.run("run").code == 0
    before = project.kept()
    change(cli.last_run(project.desk), statement)
    done = project.run("ledger", "checkpoint", "last")
    assert (done.code, why in done.err) == (3, True), done.text
    assert project.kept() == before


def test_a_new_key_goes_on_where_the_old_one_was(project: Project) -> None:
    """After a change of keys a head can be signed again, and nothing that the old key's checkpoints contradict."""
    project.publish("file:kept", more='trust = "trust.txt"\n')
    assert project.run("run").code == 0
    made = cli.agentcheck(project.folder, "ledger", "keygen", checkpointed.NAME, "--out", "new.key")
    with (project.desk / "trust.txt").open("a") as file:
        file.write(made.out)
    new = str(project.folder / "new.key")
    done = project.run("ledger", "checkpoint", "last", AGENTCHECK_SIGNING_KEY=new)
    assert done.code == 0, done.text
    first, second = project.kept()
    assert (first[:3], first.note != second.note) == (second[:3], True)
    assert sorted(project.log.time_of(each.note) is None for each in (first, second)) == [False, True]
    change(cli.last_run(project.desk), "DELETE FROM events WHERE seq > 100")
    for file in (project.desk / "kept").rglob("*-2.checkpoint"):
        file.unlink()  # what is left was signed by the old key
    refused = project.run("ledger", "checkpoint", "last", AGENTCHECK_SIGNING_KEY=new)
    assert (refused.code, "events was signed, and 100 are there" in refused.err) == (3, True), refused.text


def test_checkpoints_outlive_the_run(project: Project) -> None:
    """What the places keep is printed for a run whose folder is gone."""
    project.publish("file:kept", "git:refs/notes/agentcheck")
    assert project.run("run", "-k", "too-much-1").code == 0
    run = cli.last_run(project.desk)
    run.rename(project.folder / "elsewhere")
    printed = cli.agentcheck(project.desk, "ledger", "anchors", run.name)
    assert printed.code == 0, printed.text
    assert [checkpoint(each) for each in split(printed.out)] == project.kept()
    assert "file:kept: 1 of run" in printed.err
    assert "git:refs/notes/agentcheck: 1 of run" in printed.err
    moved = project.run("ledger", "checkpoint", str(project.folder / "elsewhere"))
    assert moved.code == 0, moved.text
    assert {each.origin for each in project.kept()} == {f"example.org/acme/{run.name}/main"}


def test_the_doctor_says_what_is_signed(project: Project) -> None:
    """It names key and places, says where runs are unsigned, and fails where Git's notes have no repository."""

    def told(**variables: str) -> str:
        done = project.run("doctor", **variables)
        return next(line for line in done.out.splitlines() if re.match(r"\w+ +checkpoints ", line))

    assert re.match("ok .* nothing is published", told())
    project.publish("file:kept", "git:refs/notes/agentcheck")
    assert re.match(rf"ok .* signed by {re.escape(project.log.label)}, published to file:kept, git:refs/", told())
    assert re.match("warn .* unsigned", told(AGENTCHECK_SIGNING_KEY="unsigned"))
    shutil.rmtree(project.desk / ".git")
    assert re.match("fail .*", told())
    assert project.run("run").code == 4


def test_a_witness_is_said_to_keep_nothing(project: Project) -> None:
    """The list of what places keep says of a witness that nothing can be read there."""
    project.publish("file:kept", "http://127.0.0.1:9")
    printed = cli.agentcheck(project.desk, "ledger", "anchors", "20250101-120000-ab12")
    assert printed.code == 0, printed.text
    assert "http://127.0.0.1:9: keeps nothing to read\n" in printed.err


def test_a_key_is_made_once(tmp_path: Path) -> None:
    """The line for a trust file is printed, the private key is its owner's, and no key is overwritten."""
    made = cli.agentcheck(tmp_path, "ledger", "keygen", "example.org/acme")
    assert made.code == 0, made.text
    assert made.out.startswith("log example.org/acme+")
    file = tmp_path / "example.org_acme.key"
    before = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert before.strip() not in made.text
    again = cli.agentcheck(tmp_path, "ledger", "keygen", "example.org/acme")
    assert (again.code, again.out, file.read_text()) == (4, "", before)
    assert cli.agentcheck(tmp_path, "ledger", "keygen", "two words").code == 4


def test_the_line_of_a_key_is_printed_again(project: Project) -> None:
    """The public line of a private key, and of a witness's folder, is what was printed when it was made."""
    folder = project.folder
    assert cli.agentcheck(folder, "ledger", "key", "log.key").out == f"log {project.log}\n"
    assert cli.agentcheck(folder, "ledger", "key", "w").out == f"witness {project.witness}\n"
    refused = cli.agentcheck(folder, "ledger", "keygen", checkpointed.NAME, "--out", "log.key")
    assert (refused.code, "agentcheck ledger key log.key" in refused.err) == (4, True), refused.text
    nothing = cli.agentcheck(folder, "ledger", "key", "desk")
    assert (nothing.code, "no witness" in nothing.err) == (4, True), nothing.text


def test_a_key_that_git_would_take_is_told(project: Project) -> None:
    """A private key in a work tree that is not ignored is warned of; one that is ignored, or outside, is not."""
    (project.desk / ".gitignore").write_text("*.secret\n")

    def made(*arguments: str) -> cli.Done:
        done = cli.agentcheck(project.desk, "ledger", *arguments)
        assert done.code == 0, done.text
        return done

    taken = made("keygen", "example.org/acme")
    assert "warning: example.org_acme.key is in a Git work tree and not ignored" in taken.err
    assert "warning" not in taken.out
    assert "witness.key is in a Git work tree" in made("witness", "init", "w2", "--name", "w.example.net").err
    assert "warning" not in made("keygen", "example.org/acme", "--out", "x.secret").err
    assert "warning" not in made("keygen", "example.org/acme", "--out", "../x.key").err


def test_a_folder_that_is_no_witness_is_told_how_to_make_one(project: Project) -> None:
    """`serve` and `cosign` name the command that makes a witness, and not the one that makes a log's key."""
    for command in (("serve", "nowhere"), ("cosign", "nowhere", "note")):
        (project.folder / "note").write_text("a\n1\nb\n\n— x y\n")
        done = cli.agentcheck(project.folder, "ledger", "witness", *command, "--log", str(project.log))
        assert done.code == 4, done.text
        assert "witness init" in done.err
        assert "keygen" not in done.err


def test_a_witness_takes_the_keys_of_a_trust_file(project: Project) -> None:
    """Log keys of the file count as --log does, revoked ones do not, and without a key nothing is cosigned."""
    project.publish("file:kept")
    assert project.run("run", "-k", "too-much-1").code == 0
    (project.folder / "head").write_text(str(project.kept()[-1].note))
    cosign = ("ledger", "witness", "cosign", "w", "head")
    done = cli.agentcheck(project.folder, *cosign, "--keys", "desk/trust.txt")
    assert done.code == 0, done.text
    assert project.witness.time_of(checkpoint(done.out).note)
    assert cli.agentcheck(project.folder, *cosign).code == 4
    with (project.desk / "trust.txt").open("a") as file:
        file.write(f"revoked {project.log.label} 2025-03-01T00:00:00Z stolen\n")
    refused = cli.agentcheck(project.folder, *cosign, "--keys", "desk/trust.txt")
    assert (refused.code, "no key" in refused.err) == (4, True), refused.text


def test_a_folder_of_checkpoints_is_taken_for_a_proof(project: Project) -> None:
    """`prove` and `consistency` take the folder that `verify` takes, whatever else lies in it."""
    project.publish("file:kept")
    assert project.run("run", "-k", "too-much-1").code == 0
    (project.desk / "kept" / "README").write_text("no checkpoint")
    proved = project.run("ledger", "prove", "last", "main:1", "--checkpoint", "kept", "-o", "one.tlog-proof")
    assert proved.code == 0, proved.text
    checked = project.run("verify", "--event", "one.json", "--proof", "one.tlog-proof", "--keys", "trust.txt")
    assert checked.code == 0, checked.text
    extended = project.run("ledger", "consistency", "last", "main", "1", "--checkpoint", "kept")
    assert extended.out.startswith("old 1\n"), extended.text


def test_a_witness_without_a_network(project: Project) -> None:
    """A checkpoint is cosigned from a file; a later one needs the proof from what was cosigned, and gets it."""
    project.publish("file:kept", more="every_events = 100\n")
    assert project.run("run").code == 0
    first, *_, last = project.kept()
    (project.folder / "first").write_text(str(first.note))
    (project.folder / "last").write_text(str(last.note))
    cosign = ("ledger", "witness", "cosign", "w", "--log", str(project.log))
    for note in (first, first):
        proof: tuple[str, ...] = ()
        if (project.folder / "w" / "logs").exists() and list((project.folder / "w" / "logs").iterdir()):
            (project.folder / "same").write_text(f"old {first.size}\n")
            proof = ("--proof", "same")
        done = cli.agentcheck(project.folder, *cosign, "first", *proof)
        assert done.code == 0, done.text
        assert project.witness.time_of(checkpoint(done.out).note)
        assert checkpoint(done.out).note.text == note.note.text
    refused = cli.agentcheck(project.folder, *cosign, "last")
    assert (refused.code, f"cosigned {first.size} events" in refused.err) == (3, True), refused.text
    made = cli.agentcheck(
        project.desk, "ledger", "consistency", "last", "main", str(first.size), "--checkpoint", "../last"
    )
    assert made.code == 0, made.text
    (project.folder / "proof").write_text(made.out)
    done = cli.agentcheck(project.folder, *cosign, "last", "--proof", "proof")
    assert done.code == 0, done.text
    assert project.witness.time_of(checkpoint(done.out).note)
    both = project.folder / "both"
    both.write_text(str(first.note) + str(last.note))
    assert cli.agentcheck(project.folder, *cosign, "both").code == 4


def test_a_witness_is_used_by_one_process(project: Project) -> None:
    """While it is served, nobody else uses the memory of a witness; what it cannot be served on is told."""
    serve = ("ledger", "witness", "serve", "w", "--log", str(project.log), "--listen")
    with witness(project):
        done = cli.agentcheck(project.folder, *serve, "127.0.0.1:0")
        assert (done.code, "another process uses this witness" in done.err) == (4, True), done.text
    for listen in ("8042", "127.0.0.1:x"):
        assert cli.agentcheck(project.folder, *serve, listen).code == 4
    wrong = cli.agentcheck(project.folder, "ledger", "witness", "serve", "w", "--log", str(project.witness))
    assert (wrong.code, "0x01 is needed" in wrong.err) == (4, True), wrong.text


def test_without_cryptography_the_extra_is_named(project: Project) -> None:
    """A project that publishes says what to install where `cryptography` is missing."""
    project.publish("file:kept")
    (project.desk / "cryptography.py").write_text("raise ImportError\n")
    done = project.run("run")
    assert (done.code, "agentcheck-governance[signing]" in done.err) == (4, True), done.text


def test_the_repository_is_left_as_it_was(project: Project) -> None:
    """A run that publishes to Git notes changes neither index nor configuration nor any other reference."""
    project.publish("git:refs/notes/agentcheck")
    before = subprocess.run(
        ["git", "for-each-ref"], cwd=project.desk, capture_output=True, text=True, check=True
    ).stdout
    config = (project.desk / ".git" / "config").read_text()
    assert project.run("run", "-k", "too-much-1").code == 0
    after = checkpointed.git(project.desk, "for-each-ref").splitlines()
    assert [each for each in after if not each.endswith("refs/notes/agentcheck")] == before.splitlines()
    assert (project.desk / ".git" / "config").read_text() == config
    assert len(project.noted()) == 1
