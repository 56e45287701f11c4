"""Holds, purges and copies of a run whose streams are in PostgreSQL."""

from __future__ import annotations

import secrets
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from agentcheck.copies import export
from agentcheck.custody import hold, purge, read_custody, release
from agentcheck.errors import StoreError, UserError
from agentcheck.runs import RunFolder
from fakes_custody import AGED, CLASSES, CONTENT, everything, held_by_chain, make_run, rows
from postgres_server import Server


@pytest.fixture
def run(tmp_path: Path, ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run in the database, under a name of its own; only files that are no ledger are in its folder."""
    monkeypatch.setenv("AGENTCHECK_STORE", ledger_url)
    return make_run(tmp_path / "reports", name=f"run-{secrets.token_hex(6)}")


def test_content_is_purged_in_the_database(run: RunFolder, tmp_path: Path) -> None:
    """A hold and a writer stop it; afterwards leaf hashes stand for payloads, and every chain holds."""
    before = rows(run)
    hold(run, "case 12-3", "ann")
    with pytest.raises(UserError, match="hold-1, placed by ann"):
        purge(run, CLASSES, AGED, by="bob")
    release(run, "hold-1", "settled", "ann")
    with closing(run.store.writing("main-r1")), pytest.raises(UserError, match="is being written by"):
        purge(run, CLASSES, AGED, by="bob")
    done = purge(run, CLASSES, AGED, by="bob")
    after = rows(run)
    held_by_chain(run)
    assert [(row.seq, row.chain) for row in after["main"]] == [(row.seq, row.chain) for row in before["main"]]
    assert {row.seq for row in after["main"] if row.payload[:1] == b"\x00"} == set(done.due[0].numbers)
    assert not [text for text in CONTENT for row in after["main"] if text.encode() in row.payload]
    assert purge(run, CLASSES, AGED, by="bob").is_empty
    assert not list(run.path.glob("ledger*"))


def test_a_login_that_may_not_purge_leaves_no_tombstone(
    run: RunFolder, postgres: Server, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told which role it lacks; a later purge by one that may takes only what is due then."""
    run.streams()  # makes the roles
    login = postgres.login(f"app{secrets.token_hex(4)}")
    postgres.execute(f"GRANT agentcheck_writer TO {login}")
    before = rows(run)
    monkeypatch.setenv("AGENTCHECK_STORE", postgres.url(ledger_url.rpartition("/")[2], login))
    with pytest.raises(StoreError, match=r"may not withhold this .*permission denied to set role") as raised:
        purge(RunFolder(run.path), CLASSES, AGED, by="eve")
    assert "GRANT agentcheck_custodian" in raised.value.advice
    assert rows(run) == before
    assert hold(RunFolder(run.path), "still appends", "eve").id == "hold-1"
    monkeypatch.setenv("AGENTCHECK_STORE", ledger_url)
    assert purge(run, {}, AGED, by="bob").is_empty


def test_a_copy_is_files_that_need_no_database(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of the database, byte for byte, but for what was chosen; it is read where there is no server."""
    before = rows(run)
    made = export(run, tmp_path / "out", ["content"], by="bob")
    monkeypatch.delenv("AGENTCHECK_STORE")
    shutil.rmtree(run.path)
    copy = RunFolder(tmp_path / "out")
    held_by_chain(copy)
    after = rows(copy)
    assert set(after) == {"main", "gw0", made.custody}
    for stream, found in before.items():
        kept = [row for row in found if row.seq not in made.withheld[stream]]
        assert [row for row in after[stream] if row.payload[:1] != b"\x00"] == kept
    assert {each.stream for each in read_custody(copy).tombstones} == {"main", "gw0"}
    assert not [text for text in CONTENT if text.encode() in b"".join(everything(copy.path).values())]
