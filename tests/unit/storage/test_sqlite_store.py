"""The SQLite driver: the kit, and what is its own: faults of disk and file, locks, reading what was left behind."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from agentcheck.contracts import Row, Store
from agentcheck.errors import StoreError
from agentcheck.storage.sqlite import SqliteStore
from kits.store import StoreKit, rows


class TestSqliteConforms(StoreKit):
    """The kit on SQLite."""

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Callable[..., Store]:
        """One file for the whole test."""
        return lambda read_only=False: SqliteStore(tmp_path / "ledger.db", read_only=read_only)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test's ledger goes."""
    return tmp_path / "run" / "ledger.db"


@pytest.mark.parametrize(("seq", "what"), [(5, "leaves a gap before"), (3, "repeats"), (1, "repeats")])
def test_a_refused_batch_is_told_with_its_numbers(file: Path, seq: int, what: str) -> None:
    """The refusal of a gap or a repetition names the stream, the number and the last one."""
    with closing(SqliteStore(file)) as store:
        store.append(rows(3))
        message = rf"stream 'main': the batch {what} sequence number {seq} \(the last one is 3\)"
        with pytest.raises(StoreError, match=message):
            store.append(rows(1, start=seq))


@pytest.mark.parametrize("count", [10, 1000], ids=["one statement", "one transaction"])
def test_a_row_that_cannot_be_stored_takes_its_batch_back(file: Path, count: int) -> None:
    """After a row that the table refuses nothing of its batch is there, and the next batch is taken."""
    with closing(SqliteStore(file)) as store:
        bad = [*rows(count), Row("main", count + 1, b"x", cast("bytes", None))]
        with pytest.raises(StoreError):
            store.append(bad)
        assert store.head("main") is None
        store.append(rows(2))
        with closing(SqliteStore(file, read_only=True)) as other:
            assert [row.seq for row in other.read("main")] == [1, 2]


def test_commits_are_durable(file: Path) -> None:
    """The writing connection syncs its log at each commit: WAL with synchronous=FULL, no checkpoint on a commit."""
    with closing(SqliteStore(file)) as store:
        pragma = {
            name: store._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "wal_autocheckpoint", "fullfsync")
        }
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0, "fullfsync": 1}


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE events SET payload = x'00' WHERE seq = 2", "events are not changed"),
        ("UPDATE events SET seq = 9 WHERE seq = 3", "events are not changed"),
        ("DELETE FROM events WHERE seq = 3", "events are not deleted"),
        ("INSERT INTO events VALUES ('main', 5, x'00', x'00')", "a gap or a repeated sequence number"),
        ("INSERT INTO events VALUES ('main', 3, x'00', x'00')", "a gap or a repeated sequence number"),
        ("INSERT OR REPLACE INTO events VALUES ('main', 3, x'00', x'00')", "a gap or a repeated sequence number"),
        ("INSERT OR IGNORE INTO events VALUES ('main', 7, x'00', x'00')", "a gap or a repeated sequence number"),
    ],
)
def test_the_database_refuses_changes_whoever_makes_them(file: Path, statement: str, reason: str) -> None:
    """Triggers refuse an update, a deletion, a gap and a replacement made by another program."""
    with closing(SqliteStore(file)) as store:
        store.append(rows(3))
    with closing(sqlite3.connect(file)) as connection, pytest.raises(sqlite3.IntegrityError, match=reason):
        connection.execute(statement)
    with closing(SqliteStore(file, read_only=True)) as store:
        assert list(store.read("main")) == rows(3)


def test_one_file_is_left_after_closing(file: Path) -> None:
    """Closing copies the log into the database and removes the lock, so one file can be moved and read alone."""
    with closing(SqliteStore(file)) as store:
        store.append(rows(3))
        assert file.with_name("ledger.db-wal").exists()
    assert [path.name for path in file.parent.iterdir()] == ["ledger.db"]


def test_a_locked_database_is_told(file: Path) -> None:
    """A writer that finds the database locked by another program stores nothing and says so, with the path."""
    with closing(SqliteStore(file, busy_timeout=0.01)) as store, closing(sqlite3.connect(file)) as other:
        store.append(rows(1))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="holds a lock") as caught:
            store.append(rows(1, start=2))
        assert caught.value.where == str(file)
        assert caught.value.advice
        other.rollback()
        store.append(rows(1, start=2))
        assert [row.seq for row in store.read("main")] == [1, 2]


@pytest.mark.parametrize("count", [200, 1000], ids=["one statement", "one transaction"])
def test_a_full_disk_is_told(file: Path, count: int) -> None:
    """Where no page can be added nothing of the batch is stored, and the error says that the disk is full."""
    with closing(SqliteStore(file)) as store:
        store.append(rows(1))
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="disk is full") as caught:
            store.append(rows(count, start=2, payload=b"x" * 2000))
        assert "free some space" in caught.value.advice
        assert store.head("main") == (1, (1).to_bytes(32, "big"))
        store._connection.execute("PRAGMA max_page_count = 1000000")
        store.append(rows(1, start=2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of a process are POSIX's")
def test_a_file_that_may_not_grow_is_told(file: Path) -> None:
    """A real refusal of the operating system (a limit on the size of files) is a StoreError; earlier rows stay."""
    code = textwrap.dedent(
        f"""
        import resource, signal, sys
        from pathlib import Path
        from agentcheck.contracts import Row
        from agentcheck.errors import StoreError
        from agentcheck.storage.sqlite import SqliteStore
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = SqliteStore(Path({str(file)!r}))
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        stored = 0
        try:
            for seq in range(1, 1000):
                store.append([Row("main", seq, b"x" * 5000, bytes(32))])
                stored = seq
        except StoreError as error:
            print(stored, str(error).splitlines()[0])
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    stored, _, text = done.stdout.partition(" ")
    assert "disk" in text
    with closing(SqliteStore(file, read_only=True)) as store:
        assert [row.seq for row in store.read("main")] == list(range(1, int(stored) + 1))
    assert int(stored) > 5


def test_the_second_writer_hears_who_writes(file: Path) -> None:
    """The refusal of a second writer names the process and the file."""
    with closing(SqliteStore(file)), pytest.raises(StoreError, match=f"process {os.getpid()} writes") as caught:
        SqliteStore(file)
    assert caught.value.where == str(file)
    SqliteStore(file).close()


def test_a_killed_writer_leaves_no_lock(file: Path) -> None:
    """After kill -9 the next process may write, goes on after the acknowledged rows, and reads them from the log."""
    code = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from agentcheck.contracts import Row
        from agentcheck.storage.sqlite import SqliteStore
        store = SqliteStore(Path({str(file)!r}))
        store.append([Row("main", seq, b"x", bytes(32)) for seq in range(1, 6)])
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert file.with_name("ledger.db-wal").stat().st_size > 0
    with closing(SqliteStore(file, read_only=True)) as store:
        assert [row.seq for row in store.read("main")] == [1, 2, 3, 4, 5]
    with closing(SqliteStore(file)) as store:
        store.append(rows(1, start=6))
        assert store.head("main") == (6, (6).to_bytes(32, "big"))


def test_a_forked_child_cannot_use_the_store(file: Path) -> None:
    """A forked child is refused, and its exit neither closes the parent's database nor gives back its lock."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork here")
    with closing(SqliteStore(file)) as store:
        store.append(rows(1))
        read, write = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover
            try:
                store.append(rows(1, start=2))
                os.write(write, b"appended")
            except StoreError:
                os.write(write, b"refused")
            finally:
                store.close()
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(read, 100) == b"refused"
        os.close(read)
        os.close(write)
        with pytest.raises(StoreError, match="writes this ledger already"):
            SqliteStore(file)
        store.append(rows(1, start=2))


def test_a_reader_of_a_closed_ledger_leaves_nothing_beside_it(file: Path) -> None:
    """Reading a ledger that was closed makes no file, so a folder of evidence stays as it is."""
    with closing(SqliteStore(file)) as store:
        store.append(rows(3))
    with closing(SqliteStore(file, read_only=True)) as store:
        assert len(list(store.read("main"))) == 3
        assert [path.name for path in file.parent.iterdir()] == ["ledger.db"]


def test_reading_a_missing_file_is_told(tmp_path: Path) -> None:
    """A file that is not there is not made by a reader."""
    with pytest.raises(StoreError, match="no such ledger"):
        SqliteStore(tmp_path / "ledger.db", read_only=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read_only", [True, False])
def test_files_that_are_no_ledger_are_refused(tmp_path: Path, read_only: bool) -> None:
    """Neither a text file nor another program's database is taken for a ledger, and neither is changed."""
    text, other = tmp_path / "notes.db", tmp_path / "other.db"
    text.write_text("not a database, but long enough to be read as the header of one " * 20)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE accounts (name)")
    before = (text.read_bytes(), other.read_bytes())
    with pytest.raises(StoreError, match="no SQLite database"):
        SqliteStore(text, read_only=read_only)
    with pytest.raises(StoreError, match="holds no ledger"):
        SqliteStore(other, read_only=read_only)
    assert (text.read_bytes(), other.read_bytes()) == before
    assert not list(tmp_path.glob("*.lock"))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are listed on Linux only")
@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("content", ["text", "another program's"])
def test_a_file_that_is_refused_is_let_go(tmp_path: Path, content: str, read_only: bool) -> None:
    """Nothing of a refused file stays open, also while the error is being looked at."""
    path = tmp_path / "x.db"
    if content == "text":
        path.write_text("not a database, but long enough to be read as the header of one " * 20)
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE accounts (name)")
    with pytest.raises(StoreError) as refused:
        SqliteStore(path, read_only=read_only)
    opened = [os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()]
    assert not [name for name in opened if name.startswith(str(tmp_path))]
    assert str(path) in str(refused.value)


def test_a_newer_layout_is_refused(file: Path) -> None:
    """A file that a newer agentcheck laid out is not read by guess."""
    SqliteStore(file).close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(StoreError, match="newer agentcheck"):
        SqliteStore(file, read_only=True)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A path through a file is refused with the path in the message."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        SqliteStore(tmp_path / "file" / "ledger.db")
    assert caught.value.where.endswith("ledger.db")


def _as_nobody(work: Callable[[], str]) -> str:
    """What ``work`` gives in a forked child that may not write the test's folders; root would write everywhere."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            os.write(write, work().encode())
        except BaseException as error:
            os.write(write, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read, encoding="utf-8") as answer:
        return answer.read()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="permissions of folders are POSIX's")
@pytest.mark.parametrize("killed", ["", "*-shm", "*.none"], ids=["closed", "killed", "killed, with an index"])
def test_reading_where_nothing_can_be_written(killed: str) -> None:
    """A ledger is read from a folder that cannot be written, with and without a log left by a killed process."""
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        source, folder = Path(root) / "source", Path(root) / "folder"
        with closing(SqliteStore(source / "ledger.db")) as store:
            store.append(rows(4))
            if killed:
                shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.lock", killed))
        if not killed:
            shutil.copytree(source, folder)
        left = {path.name for path in folder.iterdir()}
        assert left >= {"ledger.db", *(["ledger.db-wal"] if killed else [])}

        def work() -> str:
            with closing(SqliteStore(folder / "ledger.db", read_only=True)) as store:
                return str([row.seq for row in store.read("main")] + [store.streams(), store.head("main")[0]])

        folder.chmod(0o555)
        try:
            assert _as_nobody(work) == "[1, 2, 3, 4, ['main'], 4]"
        finally:
            folder.chmod(0o755)
        assert {path.name for path in folder.iterdir()} == left


def test_the_log_is_copied_back_while_writing(file: Path) -> None:
    """Under steady appends the log stays bounded: it is copied into the database and started anew."""
    with closing(SqliteStore(file)) as store:
        assert store._checkpoints is not None
        store._checkpoints.bytes = 100_000
        log = file.with_name("ledger.db-wal")
        largest = 0
        for batch in range(400):
            store.append(rows(20, start=1 + 20 * batch, payload=b"x" * 2000))
            largest = max(largest, log.stat().st_size)
    assert file.stat().st_size > 15_000_000
    assert largest < 6_000_000  # without checkpoints 40 MB; sixteen times 100 kB, and the commits between two looks


def test_a_file_that_its_writer_was_killed_while_making_is_a_ledger_without_events(tmp_path: Path) -> None:
    """An empty file, and one with nothing but SQLite's header, read as no streams, no head and no rows."""
    empty, header = tmp_path / "empty.db", tmp_path / "header.db"
    empty.write_bytes(b"")
    with closing(sqlite3.connect(header)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    for path in (empty, header):
        with closing(SqliteStore(path, read_only=True)) as store:
            assert list(store.streams()) == []
            assert store.head("main") is None
            assert list(store.read("main")) == []
