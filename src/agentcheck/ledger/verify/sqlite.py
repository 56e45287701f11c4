"""Where rows are read from: a ledger file of SQLite."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

_APPLICATION_ID = 0x61636C31
#: What a ledger file is made of, as SQLite keeps the statements: more, or another text, can show a reader other rows.
_TABLE = (
    "CREATE TABLE events (stream TEXT NOT NULL, seq INTEGER NOT NULL, payload BLOB NOT NULL, chain BLOB NOT NULL,"
    " PRIMARY KEY (stream, seq))"
)
_PARTS = {
    "events": ("table", _TABLE),
    "sqlite_autoindex_events_1": ("index", ""),
    "events_no_update": (
        "trigger",
        "CREATE TRIGGER events_no_update BEFORE UPDATE ON events"
        " BEGIN SELECT RAISE(ABORT, 'events are not changed'); END",
    ),
    "events_no_delete": (
        "trigger",
        "CREATE TRIGGER events_no_delete BEFORE DELETE ON events"
        " BEGIN SELECT RAISE(ABORT, 'events are not deleted'); END",
    ),
    "events_in_order": (
        "trigger",
        "CREATE TRIGGER events_in_order BEFORE INSERT ON events"
        " WHEN NEW.seq IS NOT 1 + (SELECT coalesce(max(seq), 0) FROM events WHERE stream = NEW.stream)"
        " BEGIN SELECT RAISE(ABORT, 'a gap or a repeated sequence number'); END",
    ),
}


class Damaged(Exception):
    """The storage cannot be read, or holds no table of events."""


class SqliteSource:
    """One ledger file, opened for reading only when it is first asked; may be pickled for another process.

    It also reads what a killed process left beside the file, and where the folder cannot be written.
    """

    def __init__(self, file: Path, uri: str = "") -> None:
        self.name = file.name
        self._file = file
        self._uri = uri
        self._stack = contextlib.ExitStack()
        self._connection: sqlite3.Connection | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._file, self._uri)

    @property
    def is_blank(self) -> bool:
        """Whether the process ended before its first event was stored."""
        if _size(self._file) == 0 and _size(_beside(self._file, "-wal")) == 0:
            return True
        return not self._rows("SELECT count(*) FROM sqlite_master")[0][0]

    def streams(self) -> list[tuple[str, int]]:
        """Names of the streams, and the highest sequence number of each."""
        self._check_layout()
        # One step in the index for each stream; grouping would read all of it.
        names = self._rows(
            "WITH RECURSIVE names(name) AS (SELECT min(stream) FROM events UNION ALL"
            " SELECT (SELECT min(stream) FROM events WHERE stream > name) FROM names WHERE name IS NOT NULL)"
            " SELECT name FROM names WHERE name IS NOT NULL"
        )
        for (name,) in names:
            if not isinstance(name, str):
                raise Damaged(f"the name of a stream is no text: {name!r:.40}")
        return [(name, self._last(name)) for (name,) in names]

    def _last(self, stream: str) -> int:
        last = self._rows("SELECT max(seq) FROM events WHERE stream = ?", stream)[0][0]
        if not isinstance(last, int):
            # Some number is none; what stands at its place is missing.
            query = "SELECT coalesce(max(seq), 0) + 1 FROM events WHERE stream = ? AND typeof(seq) = 'integer'"
            last = self._rows(query, stream)[0][0]
        return int(last)

    def rows(self, stream: str, first: int, last: int) -> Iterator[tuple[Any, Any, Any]]:
        """Sequence number, payload and chain value of the rows in a range, in order."""
        query = "SELECT seq, payload, chain FROM events WHERE stream = ? AND seq BETWEEN ? AND ? ORDER BY seq, rowid"
        lowest = first if first > 1 else -(2**63)  # a row before the first is met too
        try:
            yield from self._open().execute(query, (stream, lowest, last))
        except (sqlite3.Error, OverflowError) as error:
            raise Damaged(str(error)) from None

    def value(self, stream: str, seq: int) -> tuple[Any, Any] | None:
        """Payload and chain value of one row."""
        found = self._rows("SELECT payload, chain FROM events WHERE stream = ? AND seq = ?", stream, seq)
        return found[0] if found else None

    def count(self, found: int, *, every: bool) -> int:
        """All rows of the table, those too that its index does not know; ``found`` are those that it does.

        Rows are only ever added, so their row ids are 1, 2, 3 … and the last one says how many they are at most;
        ``every`` counts them one by one.
        """
        ends = [
            self._rows(f"SELECT rowid FROM events NOT INDEXED ORDER BY rowid {order} LIMIT 1")  # noqa: S608
            for order in ("ASC", "DESC")
        ]
        if not every and ends == [[(1,)], [(found,)]]:
            return found
        return int(self._rows("SELECT count(*) FROM events NOT INDEXED")[0][0])

    def faults(self) -> list[str]:
        """What is made otherwise than a ledger makes it, so that another reader may be shown other rows."""
        found = []
        for kind, name, table, statement in self._schema():
            known = _PARTS.get(name)
            if known and (kind, statement) != known:
                found.append(f"{kind} {name} is not the one that a ledger is made with")
            elif not known and table == "events":
                found.append(f"{kind} {name} on the events is not part of a ledger")
        names = [name for _, name, _, _ in self._schema()]
        return found + [f"{name} is there twice" for name in _PARTS if names.count(name) > 1]

    def notices(self) -> list[str]:
        """What a ledger is made with and is missing here, and what is not part of one."""
        schema = {name: kind for kind, name, _, _ in self._schema()}
        found = [f"{missing} is missing, which every ledger has when it is made" for missing in _PARTS.keys() - schema]
        found += [f"{schema[extra]} {extra} is not part of a ledger" for extra in schema.keys() - _PARTS.keys()]
        if self._rows("PRAGMA application_id")[0][0] != _APPLICATION_ID:
            found.append("the file is not marked as a ledger (application_id)")
        return sorted(found)

    def _schema(self) -> list[tuple[str, str, str, str]]:
        rows = self._rows("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master")
        return [(str(kind), str(name), str(table), " ".join(str(sql).split())) for kind, name, table, sql in rows]

    def close(self) -> None:
        """Let the file go."""
        self._connection = None
        self._stack.close()

    def _check_layout(self) -> None:
        found = [(kind, sql) for kind, name, _, sql in self._schema() if name == "events"]
        if [kind for kind, _ in found] != ["table"]:
            raise Damaged("the file holds no table of events")
        if not re.match(r"CREATE TABLE \S+ ?\(", found[0][1]) or re.search(r"\bAS\b|\bGENERATED\b", found[0][1], re.I):
            raise Damaged("the table of events is no plain table")
        columns = [row[1] for row in self._rows("PRAGMA table_info(events)")]
        if columns[:4] != ["stream", "seq", "payload", "chain"]:
            raise Damaged(f"the table of events has the columns {', '.join(columns)}")

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._open().execute(query, values).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            raise Damaged(str(error)) from None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._uri = self._uri or self._readable()
                opened = sqlite3.connect(self._uri, uri=True, isolation_level=None, cached_statements=16)
                connection = self._stack.enter_context(contextlib.closing(opened))
                connection.execute("PRAGMA trusted_schema = OFF")
                connection.execute("PRAGMA cell_size_check = ON")
                connection.execute("BEGIN")  # one snapshot, also while the run goes on
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except (sqlite3.Error, OSError) as error:
                self._stack.close()
                raise Damaged(str(error)) from None
            self._connection = connection
        return self._connection

    def _readable(self) -> str:
        file = self._file
        log, index, lock = (_beside(file, suffix) for suffix in ("-wal", "-shm", ".lock"))
        if _size(_beside(file, "-journal")) > 0:
            raise Damaged("a journal lies beside the file: whoever opens it will change it (rollback)")
        writable = os.access(file.parent, os.W_OK)
        uri = f"file:{quote(file.absolute().as_posix())}"
        if _size(log) == 0 and not (writable and lock.exists()):
            return f"{uri}?immutable=1"  # it was closed: nobody writes it, and SQLite need not make files beside it
        if writable or index.exists():
            return f"{uri}?mode=ro"
        # SQLite needs an index of the log, and can neither find nor make one here.
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="verify-")))
        shutil.copyfile(file, folder / file.name)
        shutil.copyfile(log, folder / log.name)
        return f"file:{quote((folder / file.name).as_posix())}?mode=ro"


def _beside(file: Path, suffix: str) -> Path:
    return file.with_name(file.name + suffix)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
