"""The store of a run in SQLite files: the kit, and what its withholding leaves behind, whenever it is killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from agentcheck.errors import StoreError
from agentcheck.ledger.chain import withheld
from agentcheck.storage.sqlite import SCHEMA
from agentcheck.storage.sqlite_run import SqliteRun
from kits.run_store import Place, RunStoreKit, fill, payloads
from kits.store import rows


class TestSqliteRunConforms(RunStoreKit):
    """The kit on a folder."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        """A folder for the run."""
        return "agentcheck.storage.sqlite_run:SqliteRun", "", "run", str(tmp_path / "run")


SECRET = b'{"password":"hunter2-hunter2"}'


def left(folder: Path) -> bytes:
    """Every byte of a folder."""
    return b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.mark.parametrize("killed", [False, True], ids=["closed", "killed"])
def test_nothing_of_a_withheld_payload_stays_in_the_folder(tmp_path: Path, killed: bool) -> None:
    """Neither a free page nor SQLite's log nor a second file holds what was withheld, also after a killed writer."""
    run = SqliteRun("", "run", tmp_path)
    if killed:
        code = textwrap.dedent(
            f"""
            import os, signal
            from pathlib import Path
            from agentcheck.contracts import Row
            from agentcheck.storage.sqlite_run import SqliteRun
            store = SqliteRun("", "run", Path({str(tmp_path)!r})).writing("main")
            store.append([Row("main", seq, {SECRET!r}, bytes(32)) for seq in range(1, 100)])
            os.kill(os.getpid(), signal.SIGKILL)
            """
        )
        subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    else:
        fill(run, "main", 99, SECRET)
    assert SECRET in left(tmp_path)
    run.withhold("main", {seq: withheld(SECRET) for seq in range(1, 100)})
    assert b"hunter2" not in left(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.db"]
    assert payloads(run, "main") == [withheld(SECRET)] * 99


def test_the_new_file_is_a_ledger_like_the_old_one(tmp_path: Path) -> None:
    """It has the same tables and triggers, the same mark of its layout, and the permissions of the old one."""
    run = SqliteRun("", "run", tmp_path)
    fill(run, "main", 3, SECRET)
    run.file("main").chmod(0o640)
    run.withhold("main", {1: withheld(SECRET)})
    with closing(sqlite3.connect(run.file("main"))) as connection:
        assert tuple(sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql > ''")) == SCHEMA
        assert connection.execute("PRAGMA application_id").fetchone() == (0x61636C31,)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert run.file("main").stat().st_mode & 0o777 == 0o640


def test_rows_of_other_streams_in_the_file_stay(tmp_path: Path) -> None:
    """A file that holds a second stream keeps it as it is."""
    run = SqliteRun("", "run", tmp_path)
    with closing(run.writing("main")) as store:
        store.append(rows(2, payload=SECRET))
        store.append(rows(2, stream="other", payload=SECRET))
    run.withhold("main", {1: withheld(SECRET)})
    with closing(run.reading("main")) as store:
        assert list(store.read("other")) == rows(2, stream="other", payload=SECRET)


def test_a_reader_is_waited_for_and_then_named(tmp_path: Path) -> None:
    """While a reader holds the log nothing is replaced, and the error says what to close; afterwards it works."""
    run = SqliteRun("", "run", tmp_path)
    writer = run.writing("main")
    writer.append(rows(2, payload=SECRET))
    with closing(run.reading("main")) as reader:
        writer.close()
        assert reader.head("main") is not None
        with pytest.raises(StoreError, match="holds a lock on the ledger") as caught:
            run.withhold("main", {1: withheld(SECRET)}, busy_timeout=0.01)
        assert "close what has it open" in caught.value.advice
        assert [row.payload for row in reader.read("main")] == [SECRET] * 2
    run.withhold("main", {1: withheld(SECRET)})
    assert payloads(run, "main") == [withheld(SECRET), SECRET]


KILLED = """
import os, signal, sys
from pathlib import Path
from agentcheck.ledger.chain import withheld
from agentcheck.storage.sqlite_run import SqliteRun

run = SqliteRun("", "run", Path(sys.argv[1]))
fatal, seen = int(sys.argv[2]), 0

def watch(event, arguments):
    global seen
    if event.split(".")[0] in ("open", "os", "sqlite3", "fcntl", "shutil"):
        seen += 1
        if seen == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

given = {seq: withheld(b"secret") for seq in range(1, 300, 2)}
sys.addaudithook(watch)
run.withhold("main", given)
print("done")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is POSIX's")
def test_a_kill_at_any_step_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    """Killed before each of its file operations in turn, the stream reads as before or as afterwards, and can go on."""
    before = [b"secret"] * 300
    after = [withheld(b"secret"), b"secret"] * 150
    seen, step, ended = set(), 0, False
    while not ended:
        step += 1
        folder = tmp_path / str(step)
        run = SqliteRun("", "run", folder)
        fill(run, "main", 300, b"secret")
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(folder), str(step)], capture_output=True, timeout=60, check=False
        )
        ended = done.stdout == b"done\n"
        assert ended or done.returncode == -signal.SIGKILL, done.stderr
        found = payloads(run, "main")
        assert found in (before, after)
        seen.add(found == after)
        assert run.writer() == ""
        run.withhold("main", {seq: withheld(b"secret") for seq in range(1, 300, 2)})
        assert payloads(run, "main") == after
        assert [path.name for path in folder.iterdir()] == ["ledger.db"]
    assert seen == {True, False}
    assert step > 5


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Where the draft cannot be made the old file stays, and the error names it."""
    run = SqliteRun("", "run", tmp_path)
    fill(run, "main", 1, SECRET)
    (tmp_path / "ledger.db.draft").mkdir()
    with pytest.raises(StoreError) as caught:
        run.withhold("main", {1: withheld(SECRET)})
    assert caught.value.where == str(run.file("main"))
    assert payloads(run, "main") == [SECRET]


@pytest.mark.parametrize("name", [".", "ledger.db"])
def test_what_may_not_be_written_is_told_beforehand(tmp_path: Path, name: str) -> None:
    """The file and its folder both have to be writable; nothing is changed by asking."""
    run = SqliteRun("", "run", tmp_path)
    fill(run, "main", 1, SECRET)
    path, mode = tmp_path / name, (tmp_path / name).stat().st_mode
    path.chmod(0o500)
    try:
        if os.access(path, os.W_OK):
            pytest.skip("this user may write whatever its mode says")
        with pytest.raises(StoreError, match="cannot be written"):
            run.ready_to_withhold("main")
    finally:
        path.chmod(mode)
    assert payloads(run, "main") == [SECRET]


def test_a_lock_that_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    """Where it cannot be told whether somebody writes, the answer is an error and not nobody."""
    run = SqliteRun("", "run", tmp_path)
    fill(run, "main", 1)
    (tmp_path / "ledger.db.lock").mkdir()
    with pytest.raises(StoreError, match="cannot be told"):
        run.writer()


def test_the_writing_process_is_named(tmp_path: Path) -> None:
    """The writer of a stream is told by the number of its process."""
    run = SqliteRun("", "run", tmp_path)
    with closing(run.writing("gw0")):
        assert run.writer() == f"process {os.getpid()}"
