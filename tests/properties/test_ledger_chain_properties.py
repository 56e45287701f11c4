"""Any events make a ledger that verifies; any changed byte is found; a killed writer loses nothing acknowledged."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentcheck.errors import LedgerError
from agentcheck.events import TABLE, Event, check
from agentcheck.ledger.canonical import dump_json, encode, load_json
from agentcheck.ledger.ledger import Ledger, unsafe_keep_all
from agentcheck.ledger.reading import read_events
from agentcheck.ledger.verify import verify
from agentcheck.storage.sqlite import SqliteStore
from fakes_ledger import MemoryStore, body, every_type, finished, started, write

INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
ANY_TEXT = st.text(max_size=20)
KEYS = st.text(st.characters(codec="ascii"), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
OUTSIDE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=10)
    | st.binary(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(), max_size=5) | st.integers() | st.floats() | st.none(), inner, max_size=3
        )
    ),
    max_leaves=8,
)
KINDS = {
    "text": ANY_TEXT,
    "int": INTEGERS,
    "bool": st.booleans(),
    "decimal": st.decimals(allow_nan=False, allow_infinity=False).map(str),
    "json": VALUES.map(dump_json),
    "list": st.lists(VALUES, max_size=3),
    "map": st.dictionaries(KEYS, VALUES, max_size=3),
}


@st.composite
def events(draw: st.DrawFn) -> tuple[str, dict[str, Any], str]:
    """An event of the middle of a stream, of any type, with any values; sometimes one of a plugin."""
    name = draw(st.sampled_from([*TABLE, "x.plugin.event"]))
    if name in ("x.plugin.event", "run.started", "run.finished"):
        return "x.plugin.event", draw(st.dictionaries(KEYS, VALUES, max_size=3)), draw(ANY_TEXT)
    row = TABLE[name]
    fields = {
        field: draw(KINDS[kind]) for field, kind in row.kinds.items() if field in row.required or draw(st.booleans())
    }
    return name, fields, draw(ANY_TEXT)


@given(st.lists(events(), max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_events_make_a_ledger_that_verifies(batch: list[tuple[str, dict[str, Any], str]]) -> None:
    """Whatever is recorded is read back the same, and a verifier without our code agrees with every byte."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        recorded: list[Event] = []
        with Ledger(SqliteStore(path), "main", redact=unsafe_keep_all) as ledger:
            recorded.append(ledger.record(*started()))
            for name, fields, session in batch:
                recorded.append(ledger.record(name, fields, session))
            recorded.append(ledger.record(*finished()))
            size, chain = ledger.head
        result = verify(path)
        assert result.problems == []
        assert (result.streams[0].events, result.streams[0].head) == (size, chain.hex())
        with closing(SqliteStore(path, read_only=True)) as store:
            assert list(read_events(store, "main")) == recorded


@pytest.fixture(scope="module")
def loose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with an event of every type, without the triggers that refuse changes."""
    path = tmp_path_factory.mktemp("loose") / "ledger.db"
    write(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER events_no_update")
        connection.commit()
    return path


@given(data=st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_byte_is_found(loose: Path, data: st.DataObject) -> None:
    """Any other value of any single byte of any stored event or chain value is found, at its number."""
    with closing(sqlite3.connect(loose, isolation_level=None)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM events").fetchone()
        seq = data.draw(st.integers(1, count))
        column = data.draw(st.sampled_from(["payload", "chain"]))
        (whole,) = connection.execute(f"SELECT {column} FROM events WHERE seq = ?", (seq,)).fetchone()
        place = data.draw(st.integers(0, len(whole) - 1))
        flipped = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
        connection.execute(f"UPDATE events SET {column} = ? WHERE seq = ?", (flipped, seq))
        try:
            problem = verify(loose).problems[0]
        finally:
            connection.execute(f"UPDATE events SET {column} = ? WHERE seq = ?", (whole, seq))
        assert problem.seq == seq


@given(st.dictionaries(KEYS, VALUES, max_size=5), INTEGERS, ANY_TEXT)
@settings(max_examples=200, deadline=None)
def test_canonical_bytes_are_those_of_rfc_8785(value: dict[str, Any], time: int, session: str) -> None:
    """orjson, json and an implementation of RFC 8785 give the same bytes for everything that an event may hold."""
    check("x.plugin.event", value)
    ours = encode("x.plugin.event", value, session, time, 1, "main", 1, "0f" * 16)
    record = json.loads(ours)
    assert ours == json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert ours == rfc8785.dumps(record)


@given(st.dictionaries(KEYS, VALUES, max_size=3), KEYS, st.floats(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_number_with_a_fraction_is_refused_by_name(
    value: dict[str, Any], key: str, number: float, deep: bool
) -> None:
    """A float of any value, NaN and the infinities too, is refused wherever it stands, and the message names it."""
    name = "at " + key if deep else key
    with pytest.raises(LedgerError, match=re.escape(f"x.plugin.event.{name}")):
        check("x.plugin.event", {**value, name: [{"deeper": number}] if deep else number})


@given(OUTSIDE)
@settings(max_examples=200, deadline=None)
def test_outside_values_are_written_or_refused(value: Any) -> None:
    """Any value from outside becomes JSON text that every reader takes, the same each time, or is refused by name."""
    try:
        text = dump_json(value)
    except LedgerError:
        return
    assert dump_json(value) == text
    assert dump_json(load_json(text)) == text
    text.encode()
    check("fact.observed", {"source": "x", "value": text})
    json.loads(text, parse_constant=pytest.fail)


@given(st.lists(st.integers(1, 20), max_size=10), st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_a_store_that_fails_keeps_a_gapless_prefix(batches: list[int], fail_at: int) -> None:
    """Whenever the store starts to fail, it holds the first events without a gap, and none beyond was acknowledged."""
    store = MemoryStore(fail_at=fail_at)
    ledger = Ledger(store, "main", redact=unsafe_keep_all)
    acknowledged = 0
    try:
        for batch in batches:
            for _ in range(batch):
                ledger.record("run.note", {"level": "info", "text": "x"})
            ledger.flush()
            acknowledged = ledger.head[0]
        ledger.close()
    except Exception as error:
        assert type(error).__name__ == "StoreError"  # noqa: PT017  (it may come from any of the calls)
        ledger.close()
    assert [row.seq for row in store.rows] == list(range(1, len(store.rows) + 1))
    assert acknowledged <= len(store.rows) < fail_at or acknowledged == len(store.rows) == sum(batches)


WRITER = """
import asyncio, os, sys
from agentcheck.ledger.ledger import Ledger, unsafe_keep_all
from agentcheck.storage.sqlite import SqliteStore
from fakes_ledger import every_type

EVENTS = list(every_type())[1:-1]

async def session(ledger, number):
    position = number
    while True:
        position += 1
        for _ in range(position % 4):
            ledger.record(*EVENTS[position % len(EVENTS)], f"s::c#{number}")  # buffered
        event = await ledger.append(*EVENTS[(position * 7) % len(EVENTS)], f"s::c#{number}")
        os.write(1, b"%d\\n" % event.seq)

async def main():
    ledger = Ledger(SqliteStore(sys.argv[1]), "main", redact=unsafe_keep_all)
    await ledger.append(*next(every_type()))
    await asyncio.gather(*(session(ledger, number) for number in range(8)))

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is POSIX's")
@pytest.mark.parametrize("seed", range(10))
def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    """A writer killed at a random moment leaves every acknowledged event, no gap, and a ledger that verifies."""
    path = tmp_path / "ledger.db"
    paths = [str(Path(__file__).parents[1]), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path)], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    with process:
        acknowledged = [process.stdout.readline() for _ in range(random.Random(seed).randint(1, 1500))]
        process.kill()
        acknowledged += process.stdout.readlines()
    told = [int(line) for line in acknowledged if line.endswith(b"\n")]
    result = verify(path)
    assert result.problems == []
    assert result.events >= max(told)
    assert result.streams[0].status == "open"
    with closing(SqliteStore(path, read_only=True)) as store:
        found = list(read_events(store, "main"))
    assert [event.seq for event in found] == list(range(1, len(found) + 1))
    known = [body(name) for name, _ in every_type()]
    assert all(event.body in known for event in found)
    with closing(SqliteStore(path)) as store:  # the lock went with the process, and the stream is not continued
        with pytest.raises(LedgerError, match="exists already"):
            Ledger(store, "main", redact=unsafe_keep_all)
        ledger = Ledger(store, "main-r1", redact=unsafe_keep_all)
        ledger.record(*started())
        ledger.close()
    assert verify(path).consistent
