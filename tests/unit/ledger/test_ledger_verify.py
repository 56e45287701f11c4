"""The verifier: every change of a stored row is found at its number, and the file stands on its own."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentcheck.contracts import Row
from agentcheck.errors import StoreError
from agentcheck.ledger import verify as verify_module
from agentcheck.ledger.chain import genesis, step, withheld
from agentcheck.ledger.verify import CONSISTENT, INCONSISTENT, UnusablePath, describe, main, verify
from agentcheck.storage.sqlite import SCHEMA, SqliteStore
from fakes_ledger import body, every_type, finished, started, write

Change = Callable[[sqlite3.Connection], object]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with an event of every type."""
    path = tmp_path_factory.mktemp("original") / "ledger.db"
    write(path)
    return path


def rows_of(path: Path) -> list[Row]:
    """All rows of stream main."""
    with closing(SqliteStore(path, read_only=True)) as store:
        return list(store.read("main"))


def tampered(original: Path, folder: Path, change: Change, *, loose: bool = False) -> Path:
    """A copy of a ledger, changed by somebody who may write the file: no trigger, and (loose) no key is in the way."""
    path = folder / "ledger.db"
    shutil.copyfile(original, path)
    with closing(sqlite3.connect(path)) as connection:
        kept = connection.execute("SELECT * FROM events").fetchall()
        connection.execute("DROP TABLE events")
        connection.execute("CREATE TABLE events (stream, seq, payload, chain)" if loose else SCHEMA[0])
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", kept)
        try:
            change(connection)
        except sqlite3.IntegrityError:
            if loose:
                raise
        else:
            connection.commit()
            return path
    return tampered(original, folder, change, loose=True)


def first_bad(path: Path, stream: str = "main") -> int:
    """The first bad number of a stream."""
    result = verify(path)
    assert result.verdict == INCONSISTENT
    return min(problem.seq for problem in result.problems if problem.stream == stream)


def test_a_whole_ledger_is_consistent(original: Path) -> None:
    """An untouched ledger verifies, with size, head, end and the statement of what this cannot show."""
    stored = rows_of(original)
    result = verify(original)
    assert (result.verdict, result.problems, result.notices) == (CONSISTENT, [], [])
    (stream,) = result.streams
    assert (stream.name, stream.events, stream.head, stream.status) == (
        "main",
        len(stored),
        stored[-1].chain.hex(),
        "finished",
    )
    text = describe(result)
    assert stream.head in text
    assert "cannot detect a cut tail or a complete rewrite" in text
    assert "not proof of external effect" in text


def test_a_chain_made_by_hand_is_accepted(tmp_path: Path) -> None:
    """A ledger built from the documentation alone, without our writer, verifies: the format is what docs say."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        for statement in SCHEMA:
            connection.execute(statement)
        chain = hashlib.sha256(b"agentcheck/ledger/v1\nmain").digest()
        for seq, kind in enumerate(("run.started", "run.note", "run.finished"), 1):
            body = {"run": "r"} if seq == 1 else {}
            event = {"body": body, "seq": seq, "session": "", "stream": "main", "time": 0, "type": kind, "v": 1}
            data = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
            chain = hashlib.sha256(b"\x02" + chain + hashlib.sha256(b"\x00" + data).digest()).digest()
            connection.execute("INSERT INTO events VALUES ('main', ?, ?, ?)", (seq, data, chain))
        connection.commit()
    result = verify(path)
    assert (result.verdict, result.events, result.streams[0].head) == (CONSISTENT, 3, chain.hex())


# Every field of every row


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _paths(item, (*path, index))


def _other(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, dict):
        return {**value, "added": 1}
    return [*value, "added"]


def _with_other(record: Any, path: tuple[Any, ...]) -> Any:
    copy = json.loads(json.dumps(record))
    if not path:
        return _other(copy)
    holder = copy
    for step_ in path[:-1]:
        holder = holder[step_]
    holder[path[-1]] = _other(holder[path[-1]])
    return copy


def _canonical(record: Any) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_every_field_of_every_event_type_is_covered(original: Path, tmp_path: Path) -> None:
    """Changing any single field of any stored event, in canonical form, is found at that event's number."""
    stored = rows_of(original)
    path = tampered(original, tmp_path, lambda connection: None)
    tried = 0
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for row in stored:
            record = json.loads(row.payload)
            for place in _paths(record):
                connection.execute(
                    "UPDATE events SET payload = ? WHERE seq = ?", (_canonical(_with_other(record, place)), row.seq)
                )
                problem = verify(path).problems[0]
                assert (problem.seq, problem.stream) == (row.seq, "main"), (place, problem)
                tried += 1
            connection.execute("UPDATE events SET payload = ? WHERE seq = ?", (row.payload, row.seq))
    assert not verify(path).problems
    assert {json.loads(row.payload)["type"] for row in stored} == {name for name, _ in every_type()}
    assert tried > 300


def test_every_column_of_every_row_is_covered(original: Path, tmp_path: Path) -> None:
    """Changing sequence number, stream or chain value of any row is found, and the first bad number is named."""
    stored = rows_of(original)
    path = tampered(original, tmp_path, lambda connection: None, loose=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for row in stored:
            for column, value, bad in (
                ("chain", bytes(32), row.seq),
                ("chain", row.chain[:-1] + bytes([row.chain[-1] ^ 1]), row.seq),
                ("chain", row.chain.hex(), row.seq),
                ("chain", None, row.seq),
                ("payload", row.payload.decode(), row.seq),
                ("payload", None, row.seq),
                ("payload", b"", row.seq),
                ("seq", row.seq + 1000, row.seq),
                ("seq", row.seq + 1, row.seq),
                ("seq", -row.seq, -row.seq),
                ("seq", "one", 1),
                ("seq", None, 1),
            ):
                connection.execute(f"UPDATE events SET {column} = ? WHERE rowid = ?", (value, row.seq))
                if value in ("one", None) and column == "seq":
                    assert not verify(path).consistent  # a row without a number has no place to be named
                else:
                    assert first_bad(path) == bad, (row.seq, column, value)
                connection.execute(f"UPDATE events SET {column} = ? WHERE rowid = ?", (getattr(row, column), row.seq))
            for name in ("maim", "", b"main", None):
                connection.execute("UPDATE events SET stream = ? WHERE rowid = ?", (name, row.seq))
                result = verify(path)
                assert not result.consistent
                if row.seq < len(stored) and isinstance(name, str):
                    assert min(p.seq for p in result.problems if p.stream == "main") == row.seq
                connection.execute("UPDATE events SET stream = 'main' WHERE rowid = ?", (row.seq,))
    assert [problem for problem in verify(path).problems if problem.stream] == []


@pytest.mark.parametrize(
    ("statements", "bad", "reason"),
    [
        (["DELETE FROM events WHERE seq = 5"], 5, "missing row: event 5 is not there"),
        (["DELETE FROM events WHERE seq BETWEEN 5 AND 9"], 5, "missing row: events 5 to 9 are not there"),
        (["DELETE FROM events WHERE seq = 1"], 1, "missing row: event 1"),
        (["INSERT INTO events SELECT * FROM events WHERE seq = 5"], 5, "repeated row"),
        (["INSERT INTO events SELECT stream, 6, payload, chain FROM events WHERE seq = 5"], 6, "repeated row"),
        (
            [
                "UPDATE events SET seq = 100 WHERE seq = 5",
                "UPDATE events SET seq = 5 WHERE seq = 6",
                "UPDATE events SET seq = 6 WHERE seq = 100",
            ],
            5,
            "out of order: the bytes are event 6",
        ),
        (["UPDATE events SET payload = substr(payload, 1, 40) WHERE seq = 5"], 5, "truncated or torn"),
        (["UPDATE events SET payload = zeroblob(length(payload)) WHERE seq = 5"], 5, "truncated or torn"),
        (["UPDATE events SET chain = zeroblob(32) WHERE seq = 5"], 5, "altered chain value"),
        (
            ["UPDATE events SET payload = CAST(replace(payload, 'ACME', 'EVIL') AS BLOB) WHERE seq = 11"],
            11,
            "altered",
        ),
        (["UPDATE events SET chain = substr(chain, 1, 31) WHERE seq = 5"], 5, "torn row"),
        (["UPDATE events SET seq = seq + 1"], 1, "missing row"),
        (["UPDATE events SET seq = seq - 1"], 0, "no such number"),
    ],
)
def test_changes_are_named_with_their_first_number(
    original: Path, tmp_path: Path, statements: list[str], bad: int, reason: str
) -> None:
    """Deleted, inserted, swapped, repeated, torn and altered rows: the first bad number and a plain reason."""

    def change(connection: sqlite3.Connection) -> None:
        for statement in statements:
            connection.execute(statement)

    problem = verify(tampered(original, tmp_path, change)).problems[0]
    assert problem.seq == bad
    assert reason in problem.reason


def test_altered_bytes_are_told_from_an_altered_chain_value(original: Path, tmp_path: Path) -> None:
    """The next row was chained to what was there, so it tells which of the two was changed."""

    def change(connection: sqlite3.Connection) -> None:
        (payload,) = connection.execute("SELECT payload FROM events WHERE seq = 4").fetchone()
        record = json.loads(payload)
        record["time"] += 1
        connection.execute("UPDATE events SET payload = ? WHERE seq = 4", (_canonical(record),))

    problem = verify(tampered(original, tmp_path, change)).problems[0]
    assert (problem.seq, problem.reason[:13]) == (4, "altered bytes")


def _rechained(original: Path, folder: Path, edit: Callable[[list[bytes]], None]) -> Path:
    """A copy whose bytes were edited and whose chain was derived anew: what the chain alone does not show."""
    payloads = [row.payload for row in rows_of(original)]
    edit(payloads)
    path = folder / "ledger.db"
    with closing(SqliteStore(path)) as store:
        chain = genesis("main")
        for seq, payload in enumerate(payloads, 1):
            chain = step(chain, payload)
            store.append([Row("main", seq, payload, chain)])
    return path


def _set(index: int, change: Callable[[bytes], bytes]) -> Callable[[list[bytes]], None]:
    def edit(payloads: list[bytes]) -> None:
        payloads[index] = change(payloads[index])

    return edit


@pytest.mark.parametrize(
    ("edit", "bad", "reason"),
    [
        (_set(4, lambda data: data.replace(b',"v":1', b', "v":1')), 5, "not in canonical form"),
        (_set(4, lambda data: data + b"\n"), 5, "not in canonical form"),
        (_set(4, lambda data: data.replace(b'{"body"', b'{"type":"x","body"', 1)), 5, "not in canonical form"),
        (_set(4, lambda data: data.replace("Ü".encode(), b"\\u00dc")), 5, "not in canonical form"),
        (_set(4, lambda data: b"\xef\xbb\xbf" + data), 5, "are no event"),
        (_set(4, lambda data: data.replace(b',"v":1', b',"v":1.0')), 5, "number with a fraction"),
        (_set(4, lambda data: data.replace(b',"v":1', b',"v":NaN')), 5, "number with a fraction"),
        (_set(4, lambda data: data.replace(b',"v":1', b',"v":true')), 5, "wrong kind"),
        (_set(4, lambda data: data.replace(b',"v":1', b"")), 5, "missing, unknown"),
        (_set(4, lambda data: data.replace(b',"v":1', b',"v":1,"w":1')), 5, "missing, unknown"),
        (_set(4, lambda data: b"[" * 100_000), 5, "no event"),
        (_set(4, lambda data: b'"\xff"'), 5, "no event"),
        (_set(4, lambda data: b"[]"), 5, "no event"),
        (_set(4, lambda data: data.replace(b'"seq":5', b'"seq":6')), 5, "out of order: the bytes are event 6"),
        (_set(4, lambda data: data.replace(b'"stream":"main"', b'"stream":"gw0"')), 5, "of stream gw0"),
        (lambda payloads: payloads.reverse(), 1, "out of order"),
        (_set(0, lambda data: data.replace(b"run.started", b"run.suite")), 1, "starts with run.started"),
        (_set(4, lambda data: data.replace(b'"type":"case.turn"', b'"type":"run.started"')), 5, "starts with"),
        (_set(4, lambda data: data.replace(b'"type":"case.turn"', b'"type":"run.finished"')), 6, "after the end"),
        (_set(-1, lambda data: data.replace(b'"streams":[]', b'"streams":["gw0"]')), 23, "stream, size and head"),
    ],
)
def test_a_derived_anew_chain_still_has_to_hold_events(
    original: Path, tmp_path: Path, edit: Callable[[list[bytes]], None], bad: int, reason: str
) -> None:
    """Even where every hash fits, bytes that are not canonical, no event, misplaced or out of turn are found."""
    path = _rechained(original, tmp_path, edit)
    if bad == 23:
        bad = len(rows_of(original))
    problem = verify(path, events=True).problems[0]
    assert reason in problem.reason, problem
    assert problem.seq == bad


def test_a_complete_rewrite_is_not_found_and_that_is_said(original: Path, tmp_path: Path) -> None:
    """What the statement of limits says is so: a rewritten chain and a cut tail are consistent in themselves."""
    rewritten = tmp_path / "rewritten"
    rewritten.mkdir()
    result = verify(_rechained(original, rewritten, _set(4, lambda data: data.replace(b"ACME", b"EVIL"))))
    assert result.consistent
    cut = verify(
        tampered(original, tmp_path, lambda connection: connection.execute("DELETE FROM events WHERE seq > 5"))
    )
    assert cut.consistent
    assert (cut.streams[0].status, cut.events) == ("open", 5)
    assert any("has no end" in text for text in cut.exceptions)
    assert cut.streams[0].head != verify(original).streams[0].head  # a checkpoint held elsewhere would show it


# Files


def _add_index(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE INDEX other ON events (stream, seq, payload, chain)")


def _fold_case(connection: sqlite3.Connection) -> None:
    kept = connection.execute("SELECT * FROM events").fetchall()
    connection.execute("DROP TABLE events")
    connection.execute(SCHEMA[0].replace("stream TEXT NOT NULL", "stream TEXT NOT NULL COLLATE NOCASE"))
    connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", kept)


def _hide(connection: sqlite3.Connection) -> None:
    connection.execute("DROP TRIGGER events_no_update")
    connection.execute("CREATE TRIGGER events_no_update AFTER INSERT ON events BEGIN SELECT 1; END")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_add_index, "index other on the events is not part of a ledger"),
        (_fold_case, "table events is not the one that a ledger is made with"),
        (_hide, "trigger events_no_update is not the one"),
    ],
)
def test_what_may_show_another_reader_other_rows_is_a_problem(
    original: Path, tmp_path: Path, change: Change, what: str
) -> None:
    """An index, a collation or a trigger that no ledger has is told, and our own readers refuse the file."""
    path = tmp_path / "ledger.db"
    shutil.copyfile(original, path)
    with closing(sqlite3.connect(path)) as connection:
        change(connection)
        connection.commit()
    assert what in verify(path).problems[0].reason
    with pytest.raises(StoreError, match="is not what a ledger is made with"):
        SqliteStore(path, read_only=True)


def test_a_journal_beside_the_file_is_a_problem(original: Path, tmp_path: Path) -> None:
    """A rollback journal, which a ledger never has, would change the file for whoever opens it next."""
    path = tmp_path / "ledger.db"
    shutil.copyfile(original, path)
    path.with_name("ledger.db-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(504))
    assert "a journal lies beside the file" in verify(path).problems[0].reason
    with pytest.raises(StoreError, match="a journal lies beside the ledger"):
        SqliteStore(path, read_only=True)


def test_a_table_that_is_no_plain_table_is_not_queried(tmp_path: Path) -> None:
    """A virtual table or computed columns could do anything when they are read."""
    for name, statement in (
        ("virtual", "CREATE VIRTUAL TABLE events USING fts5(stream, seq, payload, chain)"),
        ("computed", "CREATE TABLE events (stream, seq, payload, chain AS (payload))"),
    ):
        path = tmp_path / f"{name}.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(statement)
        assert "no plain table" in verify(path).problems[0].reason


def test_a_run_without_its_main_stream_is_an_exception(run: Path) -> None:
    """A worker's stream alone is consistent; that the main one is not there is said."""
    (run / "ledger.db").unlink()
    result = verify(run)
    assert result.consistent
    assert any("there is no stream main" in text for text in result.exceptions)


def test_files_that_are_no_ledger(tmp_path: Path) -> None:
    """Text, another program's database, a view in the place of the table and other columns are inconsistent."""
    text = tmp_path / "text.db"
    text.write_text("no database at all, only some text that is long enough" * 50)
    assert "not a database" in verify(text).problems[0].reason
    for name, statement, reason in (
        ("other", "CREATE TABLE accounts (name)", "no table of events"),
        ("view", "CREATE VIEW events AS SELECT 1", "no table of events"),
        ("columns", "CREATE TABLE events (seq, payload, chain)", "has the columns"),
    ):
        path = tmp_path / f"{name}.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(statement)
        assert reason in verify(path).problems[0].reason
    empty = tmp_path / "empty.db"
    empty.touch()
    assert verify(empty).problems[0].reason == "there are no events"


def test_damaged_pages_are_found(original: Path, tmp_path: Path) -> None:
    """A page of zeros in the middle of the file, and a file that was cut, are inconsistent and do not crash."""
    path = tmp_path / "ledger.db"
    write(path, [started(), *((("run.note"), {"level": "info", "text": "x" * 2000}) for _ in range(200))])
    whole = path.read_bytes()
    assert verify(path).consistent
    for page in range(2, len(whole) // 4096 - 1, 7):
        path.write_bytes(whole[: page * 4096] + bytes(4096) + whole[(page + 1) * 4096 :])
        assert not verify(path).consistent
    path.write_bytes(whole[: len(whole) // 2])
    assert not verify(path).consistent


def test_dropped_triggers_and_extra_tables_are_noticed(original: Path, tmp_path: Path) -> None:
    """Metadata that no ledger of ours has is noticed, though the events hold."""
    path = tmp_path / "ledger.db"
    shutil.copyfile(original, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER events_no_delete")
        connection.execute("CREATE TABLE extra (x)")
        connection.execute("PRAGMA application_id = 0")
    result = verify(path)
    assert result.consistent
    assert [text.partition(": ")[2] for text in result.notices] == [
        "events_no_delete is missing, which every ledger has when it is made",
        "table extra is not part of a ledger",
        "the file is not marked as a ledger (application_id)",
    ]


def test_rows_hidden_from_the_index_are_found(original: Path, tmp_path: Path) -> None:
    """A row that stands in the table and not in its index is met by nobody who reads a stream, but counted."""
    path = tmp_path / "ledger.db"
    shutil.copyfile(original, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        index = connection.execute("SELECT sql, rootpage FROM sqlite_master WHERE name LIKE 'sqlite_auto%'").fetchone()
        assert index[0] is None
        connection.execute("UPDATE sqlite_master SET rootpage = 0 WHERE name = 'none'")
        connection.execute("DROP TRIGGER events_in_order")
        connection.commit()
    # Without its key the table takes a row twice; the index, put back, still knows one.
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        sql = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'events'").fetchone()[0]
        plain = sql.replace(", PRIMARY KEY (stream, seq)", "")
        assert plain != sql
        name = "sqlite_autoindex_events_1"
        connection.execute("DELETE FROM sqlite_master WHERE name = ?", (name,))
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'events'", (plain,))
        connection.commit()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO events SELECT stream, 100, payload, chain FROM events WHERE seq = 5")
        connection.commit()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'events'", (sql,))
        connection.execute("INSERT INTO sqlite_master VALUES ('index', ?, 'events', ?, NULL)", (name, index[1]))
        connection.commit()
    assert any("rows without a place" in problem.reason for problem in verify(path).problems)


def test_paths_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A path that is not there, and a folder without a ledger, are the caller's mistake: exit status 4."""
    with pytest.raises(UnusablePath):
        verify(tmp_path / "none.db")
    assert main([str(tmp_path)]) == 4
    assert "no ledger" in capsys.readouterr().err


# Runs of several streams


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two workers, whose heads the main stream names."""
    folder = tmp_path / "run"
    notes = [("run.note", {"level": "info", "text": str(number)}) for number in range(5)]
    heads = []
    for worker in ("gw0", "gw1"):
        size, chain = write(folder / f"ledger-{worker}.db", [started(), *notes, finished()], worker)
        heads.append({"stream": worker, "size": size, "head": chain.hex()})
    write(folder / "ledger.db", [started(), finished(streams=heads)])
    return folder


def test_a_run_of_several_streams(run: Path) -> None:
    """All ledgers of a run's folder are checked together, and nothing is left to remark."""
    result = verify(run)
    assert (result.verdict, result.exceptions, result.notices) == (CONSISTENT, [], [])
    assert [(stream.name, stream.events) for stream in result.streams] == [("gw0", 7), ("gw1", 7), ("main", 2)]
    assert result.events == 16


def test_a_missing_stream_is_found(run: Path) -> None:
    """A worker's ledger that the main stream names and that is gone is named."""
    (run / "ledger-gw1.db").unlink()
    (problem,) = verify(run).problems
    assert (problem.stream, problem.seq) == ("main", 2)
    assert "missing stream: gw1 (7 events)" in problem.reason


def test_a_cut_tail_is_found_where_another_stream_names_the_head(run: Path) -> None:
    """What one file alone cannot show, the main stream shows: rows cut from a worker's end."""
    path = run / "ledger-gw0.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER events_no_delete")
        connection.execute("DELETE FROM events WHERE seq > 4")
        connection.commit()
    (problem,) = verify(run).problems
    assert (problem.stream, problem.seq) == ("gw0", 5)
    assert "missing rows: main:2 names 7 events, 4 are there" in problem.reason


def test_a_rewritten_worker_is_found(run: Path) -> None:
    """A worker's stream that was written anew does not have the head that the main stream names."""
    path = run / "ledger-gw0.db"
    path.unlink()
    write(path, [started(), *[("run.note", {"level": "info", "text": "nothing"})] * 5, finished()], "gw0")
    (problem,) = verify(run).problems
    assert (problem.stream, problem.seq) == ("gw0", 7)
    assert "not the chain value that main:2 names" in problem.reason


def test_streams_that_nobody_names_and_those_that_grew(run: Path) -> None:
    """A stream that the end of the run does not name, and events after a named head, are exceptions."""
    write(run / "ledger-gw2.db", [started(), finished()], "gw2")
    write(
        run / "ledger-main-r1.db", [started(), finished(streams=[head_of(run / "ledger-gw0.db", "gw0", 3)])], "main-r1"
    )
    result = verify(run)
    assert result.consistent
    assert result.exceptions == [
        "stream gw0 has 4 events after the 3 that main-r1:2 names",
        "stream gw2 is not named where the run ends",
    ]


def head_of(path: Path, stream: str, size: int) -> dict[str, Any]:
    """How other streams name a head."""
    with closing(SqliteStore(path, read_only=True)) as store:
        row = next(store.read(stream, size))
    return {"stream": stream, "size": size, "head": row.chain.hex()}


def test_two_files_with_one_stream_and_streams_of_two_runs(run: Path) -> None:
    """A stream that is there twice, and a stream of another run, are inconsistent."""
    shutil.copyfile(run / "ledger-gw0.db", run / "ledger-copy.db")
    assert any("holds a stream of this name too" in problem.reason for problem in verify(run).problems)
    (run / "ledger-copy.db").unlink()
    write(run / "ledger-gw5.db", [started(run="another"), finished()], "gw5")
    assert any("streams of several runs" in problem.reason for problem in verify(run).problems)


def test_one_file_of_a_run_says_what_was_not_looked_at(run: Path) -> None:
    """Given one file only, the streams it names elsewhere are listed as not looked at."""
    result = verify(run / "ledger.db")
    assert result.consistent
    assert result.notices == ["not looked at: gw0, gw1; give the whole run to check them too"]


def test_a_resumed_run_names_what_was_there_before(tmp_path: Path) -> None:
    """The stream of a resumed run holds the head of the killed one; the killed one is open, and not cut."""
    notes = [("run.note", {"level": "info", "text": "x"})] * 3
    write(tmp_path / "ledger.db", [started(), *notes])
    before = head_of(tmp_path / "ledger.db", "main", 4)
    write(tmp_path / "ledger-main-r1.db", [started(previous=[before]), finished(streams=[before])], "main-r1")
    result = verify(tmp_path)
    assert result.consistent
    assert result.exceptions == ["stream main has no end: its process was killed, or still runs"]
    (tmp_path / "ledger-main-r1.db").unlink()
    write(tmp_path / "ledger-main-r1.db", [started(previous=[{**before, "head": "00"}]), finished()], "main-r1")
    assert verify(tmp_path).problems[0].seq == 4


def test_orphan_intents_are_counted(tmp_path: Path) -> None:
    """An allowed or started action without a result is an exception and not corruption; a denied one is neither."""
    sessions = ("s#1", "s#2")
    events = [started()]
    for action, outcome, begun, done in (
        ("a1", "allow", False, True),
        ("a2", "allow", False, False),
        ("a3", "deny", False, False),
        ("a4", "hold", True, False),
        ("a5", "hold", True, True),
    ):
        events.append(("action.requested", body("action.requested", action=action)))
        events.append(("action.decided", body("action.decided", action=action, outcome=outcome)))
        if begun:
            events.append(("action.started", body("action.started", action=action)))
        if done:
            events.append(("action.finished", body("action.finished", action=action)))
    write(tmp_path / "ledger.db", [*events, finished()])
    result = verify(tmp_path, events=True)
    assert result.consistent
    assert result.streams[0].orphans == 2
    assert result.exceptions == [
        "stream main: 2 action(s) allowed and without a result: suite::case#1 a2, suite::case#1 a4"
    ]
    assert sessions


def test_results_that_are_withheld_make_no_orphans(tmp_path: Path) -> None:
    """Where events are withheld, a missing result may be one of them, and nothing is said about it."""
    events = [
        started(),
        ("action.decided", body("action.decided", action="a1", outcome="allow")),
        ("action.finished", body("action.finished", action="a1")),
        finished(),
    ]
    write(tmp_path / "ledger.db", events)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute("DROP TRIGGER events_no_update")
        (payload,) = connection.execute("SELECT payload FROM events WHERE seq = 3").fetchone()
        connection.execute("UPDATE events SET payload = ? WHERE seq = 3", (withheld(payload),))
        connection.commit()
    result = verify(tmp_path / "ledger.db", events=True)
    assert result.streams[0].orphans == 0
    assert any(
        "1 of 4 events are withheld, so actions without a result are not told" in each for each in result.exceptions
    )


# The file alone


FOLDER = Path(verify_module.__file__).parent


def test_it_imports_the_standard_library_only() -> None:
    """The verifier imports modules of the standard library and its own, wherever imports stand in its files."""
    names = set()
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1
            elif isinstance(node, ast.ImportFrom):
                names.add((node.module or "").partition(".")[0])
    assert names <= sys.stdlib_module_names
    assert "agentcheck" not in names


def _alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", str(FOLDER), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tempfile.gettempdir(),
    )


def test_it_runs_alone(original: Path, run: Path, tmp_path: Path) -> None:
    """An isolated interpreter without site-packages runs the file: 0, 1 with the first bad number, 4."""
    good = _alone(str(run))
    assert good.returncode == 0, good.stderr
    assert "\nCONSISTENT, " in good.stdout
    folder = tmp_path / "bad"
    folder.mkdir()
    bad = _alone(str(tampered(original, folder, lambda db: db.execute("DELETE FROM events WHERE seq = 7"))))
    assert bad.returncode == 1
    assert "INCONSISTENT: ledger.db, stream main, event 7: missing row" in bad.stdout
    assert _alone(str(tmp_path / "none")).returncode == 4


def test_names_cannot_steer_a_terminal(tmp_path: Path) -> None:
    """A stream named with control characters is printed without them."""
    write(tmp_path / "ledger.db", [started(), finished()], "x\x1b[31m\n")
    text = describe(verify(tmp_path))
    assert "\x1b" not in text
    assert "x\\x1b[31m\\x0a" in text  # nor begin a line of their own


def test_reading_changes_nothing(run: Path) -> None:
    """Verifying leaves every file of a run as it was."""
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    verify(run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="permissions of folders are POSIX's")
@pytest.mark.parametrize("killed", ["", "*-shm", "*.none"], ids=["closed", "killed", "killed, with an index"])
def test_verifying_where_nothing_can_be_written(killed: str) -> None:
    """A ledger in a folder that cannot be written verifies, with and without a log left by a killed process."""
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        source, folder = Path(root) / "source", Path(root) / "folder"
        source.mkdir()
        write(source / "ledger.db")
        if killed:  # a log with committed rows, not copied back
            with closing(sqlite3.connect(source / "ledger.db")) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA user_version = 1")
                connection.commit()
                shutil.copytree(source, folder, ignore=shutil.ignore_patterns(killed))
            assert (folder / "ledger.db-wal").stat().st_size > 0
        else:
            shutil.copytree(source, folder)
        folder.chmod(0o555)
        read, write_end = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                os.write(write_end, describe(verify(folder)).encode())
            except BaseException as error:
                os.write(write_end, repr(error).encode())
            finally:
                os._exit(0)
        os.close(write_end)
        os.waitpid(child, 0)
        folder.chmod(0o755)
        with os.fdopen(read, encoding="utf-8") as answer:
            assert "\nCONSISTENT, " in answer.read()
