"""The ledger as a writer: acknowledgement, group commit, failure, closing, waiting in several loops and threads."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentcheck.errors import LedgerError, StoreError
from agentcheck.ledger import ledger as ledger_module
from agentcheck.ledger.canonical import encode
from agentcheck.ledger.chain import genesis, step
from agentcheck.ledger.ledger import Ledger, unsafe_keep_all
from agentcheck.ledger.reading import read_events
from agentcheck.ledger.verify import verify
from agentcheck.storage.sqlite import SqliteStore
from fakes_ledger import MemoryStore, body, every_type, write

NOTE = {"level": "info", "text": "x"}


def opened(store: MemoryStore, stream: str = "main", **options: Any) -> Ledger:
    """A ledger that redacts nothing."""
    return Ledger(store, stream, redact=unsafe_keep_all, **options)


def test_record_numbers_chains_and_does_not_wait() -> None:
    """Record returns the event with its number and time while the store still holds everything back."""
    store = MemoryStore()
    store.gate.clear()
    ledger = opened(store, clock=lambda: 42)
    first, second = ledger.record("run.note", NOTE), ledger.record("run.note", {**NOTE, "text": "y"}, "s")
    assert (first.seq, first.time, first.stream, first.session) == (1, 42, "main", "")
    assert (second.seq, second.session, second.body["text"]) == (2, "s", "y")
    assert ledger.durable == 0
    head = ledger.head
    store.gate.set()
    ledger.close()
    payloads = [row.payload for row in store.rows]
    salts = [json.loads(payload)["salt"] for payload in payloads]
    assert all(re.fullmatch("[0-9a-f]{32}", salt) for salt in salts)
    assert salts[0] != salts[1]
    assert payloads == [
        encode("run.note", event.body, event.session, 42, event.seq, "main", 1, salt)
        for event, salt in zip((first, second), salts, strict=True)
    ]
    chain = step(step(genesis("main"), payloads[0]), payloads[1])
    assert head == (2, chain) == (2, store.rows[-1].chain)


def test_an_empty_ledger_has_the_genesis_head() -> None:
    """Before the first event the head is number 0 and the genesis value; closing it stores nothing."""
    store = MemoryStore()
    ledger = opened(store)
    assert ledger.head == (0, genesis("main"))
    asyncio.run(ledger.settle())
    ledger.flush()
    ledger.close()
    assert (store.rows, store.closed) == ([], 1)


def test_settle_returns_only_when_it_is_stored() -> None:
    """Settle waits for the store, and what was recorded before it is durable when it returns."""

    async def scenario() -> None:
        store = MemoryStore()
        store.gate.clear()
        with opened(store) as ledger:
            for _ in range(5):
                ledger.record("run.note", NOTE)
            waiting = asyncio.create_task(ledger.settle())
            await asyncio.to_thread(store.appending.wait, 10)
            assert not waiting.done()
            store.gate.set()
            await waiting
            assert len(store.rows) == ledger.durable == 5
            event = await ledger.append("run.note", NOTE, "s")
            assert store.rows[-1].seq == event.seq == 6

    asyncio.run(scenario())


def test_settle_waits_for_what_is_being_stored_already() -> None:
    """Events that the writer took before anybody waited are waited for, and the waiter is woken."""

    async def scenario() -> None:
        store = MemoryStore()
        store.gate.clear()
        with opened(store) as ledger:
            ledger.record("run.note", NOTE)
            await asyncio.to_thread(store.appending.wait, 10)
            waiting = asyncio.create_task(ledger.settle())
            await asyncio.sleep(0)
            assert not waiting.done()
            store.gate.set()
            await asyncio.wait_for(waiting, 30)
            assert ledger.durable == 1

    asyncio.run(scenario())


def test_many_sessions_share_one_commit() -> None:
    """What is recorded while a commit runs goes into the next one together."""

    async def scenario() -> None:
        store = MemoryStore()
        store.gate.clear()
        with opened(store) as ledger:
            first = asyncio.create_task(ledger.append("run.note", NOTE))
            await asyncio.to_thread(store.appending.wait, 10)
            others = [asyncio.create_task(ledger.append("run.note", NOTE)) for _ in range(32)]
            await asyncio.sleep(0)
            store.gate.set()
            await asyncio.gather(first, *others)
            assert store.batches == [1, 32]

    asyncio.run(scenario())


def test_buffered_events_reach_the_store_by_themselves() -> None:
    """An event that nobody waits for is stored soon, without settle, flush or close."""
    store = MemoryStore()
    with opened(store) as ledger:
        ledger.record("run.note", NOTE)
        assert store.appending.wait(10)


def test_waiters_in_several_loops_and_threads() -> None:
    """Each of several event loops, and threads without one, are woken when their events are stored."""
    store = MemoryStore()
    with opened(store) as ledger:

        def in_a_loop() -> None:
            async def scenario() -> None:
                for _ in range(50):
                    event = await ledger.append("run.note", NOTE)
                    assert ledger.durable >= event.seq

            asyncio.run(scenario())

        def in_a_thread() -> None:
            for _ in range(50):
                event = ledger.record("run.note", NOTE)
                ledger.flush()
                assert ledger.durable >= event.seq

        threads = [threading.Thread(target=target) for target in (in_a_loop, in_a_thread) * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(store.rows) == 300
    chain = genesis("main")
    for number, row in enumerate(store.rows, 1):
        chain = step(chain, row.payload)
        assert (row.seq, row.chain) == (number, chain)


def test_a_cancelled_waiter_does_not_disturb_the_others() -> None:
    """A session that is cancelled while it waits neither breaks the writer nor keeps others waiting."""

    async def scenario() -> None:
        store = MemoryStore()
        store.gate.clear()
        with opened(store) as ledger:
            waiting = [asyncio.create_task(ledger.append("run.note", NOTE)) for _ in range(3)]
            await asyncio.to_thread(store.appending.wait, 10)
            waiting[1].cancel()
            store.gate.set()
            done = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(item).__name__ for item in done] == ["Event", "CancelledError", "Event"]

    asyncio.run(scenario())


def test_a_loop_that_is_gone_does_not_stop_the_writer() -> None:
    """A loop that was closed while the store worked has no waiters; later events are stored all the same."""
    store = MemoryStore()
    store.gate.clear()
    with opened(store) as ledger:
        loop = asyncio.new_event_loop()
        ledger.record("run.note", NOTE)
        waiting = loop.create_task(ledger.settle())
        loop.run_until_complete(asyncio.sleep(0))
        assert store.appending.wait(10)
        waiting.cancel()
        loop.run_until_complete(asyncio.wait([waiting]))
        loop.close()
        store.gate.set()
        ledger.record("run.note", NOTE)
        ledger.flush()
        assert len(store.rows) == 2


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("run.nothing", {}),
        ("run.note", {"level": "info"}),
        ("run.note", {"level": "info", "text": 1}),
        ("run.note", {"level": "info", "text": "x", "more": "y"}),
        ("x.plugin", {}),
        ("x.plugin.event", {"value": 1.5}),
        ("x.plugin.event", {"value": 2**53}),
        ("x.plugin.event", {"schlüssel": 1}),
    ],
)
def test_a_refused_event_leaves_no_gap(name: str, event: dict[str, Any]) -> None:
    """An event that the table does not allow is refused and takes no number."""
    store = MemoryStore()
    with opened(store) as ledger:
        ledger.record("run.note", NOTE)
        with pytest.raises(LedgerError):
            ledger.record(name, event)
        assert ledger.record("run.note", NOTE).seq == 2


def test_lone_surrogates_do_not_stop_a_ledger() -> None:
    """A text that cannot be encoded is repaired, and the event that record returns is the one that is stored."""
    store = MemoryStore()
    with opened(store) as ledger:
        event = ledger.record("run.note", {"level": "info", "text": "a\ud800b"}, "s\udfff")
    assert event.body["text"] == "a\ufffdb"
    assert list(read_events(store, "main")) == [event]


def test_redaction_comes_first() -> None:
    """What the redactor gives is checked, encoded and returned; what it was given is stored nowhere."""
    store = MemoryStore()
    seen: list[str] = []

    def redact(name: str, event: Any) -> Any:
        seen.append(name)
        return {**event, "text": "[hidden]"}

    with Ledger(store, "main", redact=redact) as ledger:
        assert ledger.record("run.note", {"level": "info", "text": "secret"}).body["text"] == "[hidden]"
    assert seen == ["run.note"]
    assert b"secret" not in store.rows[0].payload


def test_what_the_redactor_gives_is_checked() -> None:
    """A redactor that makes a body the table does not allow cannot bring it into the ledger."""
    store = MemoryStore()
    with Ledger(store, "main", redact=lambda name, event: {"level": 1}) as ledger, pytest.raises(LedgerError):
        ledger.record("run.note", NOTE)
    assert store.rows == []


@pytest.mark.parametrize("error", [None, RuntimeError("a bug in the store")], ids=["StoreError", "other"])
def test_a_failed_store_fails_the_ledger_for_good(error: Exception | None) -> None:
    """After a failure nothing is acknowledged: waiters and all later calls get a StoreError; a prefix is stored."""

    async def scenario() -> None:
        store = MemoryStore(fail_at=4, error=error)
        ledger = opened(store)
        for _ in range(3):
            await ledger.append("run.note", NOTE)
        waiting = [asyncio.create_task(ledger.append("run.note", NOTE)) for _ in range(4)]
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(item, StoreError) for item in found)
        assert len({id(item) for item in found}) == 4  # each raised with a traceback of its own
        store.fail_at = 0  # the disk has room again: too late, events are lost between
        with pytest.raises(StoreError):
            ledger.record("run.note", NOTE)
        with pytest.raises(StoreError):
            await ledger.settle()
        assert ledger.durable == 3
        ledger.close()
        ledger.close()
        assert [row.seq for row in store.rows] == [1, 2, 3]
        assert store.closed == 1

    asyncio.run(scenario())


def test_the_failure_says_what_the_store_said() -> None:
    """The error keeps what is wrong, where, the advice, and the cause of an unexpected one."""
    store = MemoryStore(fail_at=1)
    ledger = opened(store)
    ledger.record("run.note", NOTE)
    with pytest.raises(StoreError) as caught:
        ledger.flush()
    assert (caught.value.what, caught.value.where, caught.value.advice) == (
        "the disk is full",
        "memory",
        "free some space",
    )
    ledger.close()


def test_close_tells_of_lost_events_when_nobody_knew() -> None:
    """Buffered events that did not reach the disk are not lost in silence: close raises, once."""
    store = MemoryStore(fail_at=1)
    ledger = opened(store)
    ledger.record("run.note", NOTE)
    with pytest.raises(StoreError, match="the disk is full"):
        ledger.close()
    ledger.close()
    with pytest.raises(StoreError):
        ledger.record("run.note", NOTE)
    assert store.closed == 1


def test_nothing_is_recorded_after_closing() -> None:
    """A closed ledger refuses events and says so; it stored all of them before."""
    store = MemoryStore()
    ledger = opened(store)
    for _ in range(100):
        ledger.record("run.note", NOTE)
    ledger.close()
    assert len(store.rows) == 100
    with pytest.raises(LedgerError, match="closed"):
        ledger.record("run.note", NOTE)


def test_closing_while_others_wait_acknowledges_them() -> None:
    """Sessions that wait while another thread closes the ledger are answered, not left hanging."""

    async def scenario() -> None:
        store = MemoryStore()
        store.gate.clear()
        ledger = opened(store)
        waiting = [asyncio.create_task(ledger.append("run.note", NOTE)) for _ in range(3)]
        await asyncio.to_thread(store.appending.wait, 10)
        late = asyncio.create_task(ledger.append("run.note", NOTE))
        await asyncio.sleep(0)
        closing_it = asyncio.create_task(asyncio.to_thread(ledger.close))
        store.gate.set()
        await asyncio.wait_for(asyncio.gather(*waiting, late, closing_it), 30)
        assert len(store.rows) == 4

    asyncio.run(scenario())


def test_an_existing_stream_is_refused() -> None:
    """A ledger never goes on in a stream that is there already; a resumed run writes another one."""
    store = MemoryStore()
    with opened(store) as ledger:
        ledger.record("run.note", NOTE)
    with pytest.raises(LedgerError, match="exists already"):
        opened(store)
    opened(store, "main-r1").close()


def test_a_slow_store_holds_the_recording_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue is bounded: recording waits for the store instead of filling the memory, and then goes on."""
    monkeypatch.setattr(ledger_module, "_MOST_ROWS", 10)
    monkeypatch.setattr(ledger_module, "_WAKE_ROWS", 5)
    store = MemoryStore()
    store.gate.clear()
    with opened(store) as ledger:
        recorded = threading.Semaphore(0)

        def produce() -> None:
            for _ in range(100):
                ledger.record("run.note", NOTE)
                recorded.release()

        thread = threading.Thread(target=produce)
        thread.start()
        assert store.appending.wait(10)
        while recorded.acquire(timeout=0.2):
            pass
        assert ledger.head[0] <= 20  # a batch in the store's hands, and the queue
        store.gate.set()
        thread.join(30)
        ledger.flush()
    assert len(store.rows) == 100


def test_a_store_that_keeps_up_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is on what is queued, not on all that was ever recorded."""
    monkeypatch.setattr(ledger_module, "_MOST_BYTES", 1000)
    with opened(MemoryStore(), stall_timeout=0.5) as ledger:
        for _ in range(200):
            ledger.record("run.note", NOTE)
            ledger.flush()
        assert ledger.durable == 200


def test_a_store_that_hangs_fails_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full queue that does not drain in time is a failure like any other: fail closed, with the reason."""
    monkeypatch.setattr(ledger_module, "_MOST_BYTES", 1000)
    store = MemoryStore()
    store.gate.clear()
    ledger = opened(store, stall_timeout=0.01)

    def fill() -> None:
        for _ in range(1000):
            ledger.record("run.note", NOTE)

    with pytest.raises(StoreError, match="took nothing"):
        fill()
    with pytest.raises(StoreError):
        asyncio.run(ledger.settle())
    store.fail_at = 1
    store.gate.set()
    ledger.close()
    assert ledger.durable == 0
    with pytest.raises(StoreError, match="took nothing"):  # the first failure is the one to look at
        ledger.record("run.note", NOTE)


def test_events_reach_the_disk_when_the_process_just_ends(tmp_path: Path) -> None:
    """A process that ends without closing its ledger stores what it recorded."""
    code = textwrap.dedent(
        f"""
        from agentcheck.ledger.ledger import Ledger, unsafe_keep_all
        from agentcheck.storage.sqlite import SqliteStore
        ledger = Ledger(SqliteStore({str(tmp_path / "ledger.db")!r}), "main", redact=unsafe_keep_all)
        for _ in range(10):
            ledger.record("run.note", {NOTE!r})
        """
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with closing(SqliteStore(tmp_path / "ledger.db", read_only=True)) as store:
        assert sum(1 for _ in store.read("main")) == 10


def test_a_forked_child_cannot_record(tmp_path: Path) -> None:
    """A forked child has no writer thread and no right to the stream: it is told so, and the parent goes on."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork here")
    with Ledger(SqliteStore(tmp_path / "ledger.db"), "main", redact=unsafe_keep_all) as ledger:
        ledger.record("run.started", body("run.started", previous=[]))
        ledger.flush()
        read, write_end = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover
            answer = "recorded"
            try:
                ledger.record("run.note", NOTE)
            except StoreError as error:
                answer = error.what
            finally:
                ledger.close()
                os.write(write_end, answer.encode())
                os._exit(0)
        os.waitpid(child, 0)
        assert "belongs to the process that opened it" in os.read(read, 200).decode()
        os.close(read)
        os.close(write_end)
        ledger.record("run.note", NOTE)
    assert verify(tmp_path).events == 2


def test_every_type_is_stored_and_read_back(tmp_path: Path) -> None:
    """Each event type of the table survives the way to the disk and back, field by field."""
    write(tmp_path / "ledger.db")
    with closing(SqliteStore(tmp_path / "ledger.db", read_only=True)) as store:
        events = list(read_events(store, "main"))
    assert [(event.type, dict(event.body)) for event in events] == list(every_type())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


def _broken(make: Callable[[bytes], bytes]) -> MemoryStore:
    store = MemoryStore()
    with opened(store) as ledger:
        for _ in range(3):
            ledger.record("run.note", NOTE)
    store.rows[1] = store.rows[1]._replace(payload=make(store.rows[1].payload))
    return store


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda data: data[:-5], "holds no event"),
        (lambda data: b"\xff", "holds no event"),
        (lambda data: b"[]", "holds no event"),
        (lambda data: data.replace(b'"session":""', b'"session":null'), "session is no str"),
        (lambda data: data.replace(b'"v":1', b'"w":1'), "holds no event"),
        (lambda data: data.replace(b'"seq":2', b'"seq":9'), "holds the event main:9"),
        (lambda data: data.replace(b'"stream":"main"', b'"stream":"gw0"'), "holds the event gw0:2"),
        (lambda data: data.replace(b'"v":1', b'"v":7'), "version 7 is not known"),
        (lambda data: data.replace(b'"v":1', b'"v":0'), "version 0 cannot be read"),
        (lambda data: data.replace(b"run.note", b"run.later"), "run.later in version 1 is not known"),
    ],
)
def test_reading_names_the_row_it_cannot_decode(make: Callable[[bytes], bytes], message: str) -> None:
    """A row that is no event, or newer than we know, is an error with stream and number; those before it are given."""
    store = _broken(make)
    events = read_events(store, "main")
    assert next(events).seq == 1
    with pytest.raises(LedgerError, match=message) as caught:
        next(events)
    assert caught.value.where == "main:2"
    assert next(read_events(store, "main", 3)).seq == 3
