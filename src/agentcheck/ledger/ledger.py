"""The writer of one stream: sequence, canonical bytes, chain, and group commit in a thread of its own.

What happens to an event, in order:

1. `Ledger.record` redacts its body, checks it against the table, gives it the next sequence number and the chain
   value, and queues its row. It does no I/O and does not wait.
2. The writer thread takes everything that is queued and stores it by one `contracts.Store.append`: one commit for
   all sessions that wait (group commit).
3. `Ledger.settle` returns once everything recorded before it is on disk: the event is *acknowledged*. Events that
   nobody waits for go with the next commit, at the latest after `LINGER` seconds, and at `Ledger.close`.

A store that fails makes the ledger failed, for good: whoever waits, and every later `record` and `settle`, gets a
`StoreError`. What is on disk then is a gapless prefix of what was recorded, and nothing beyond it was acknowledged.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import queue
import threading
import time as time_module
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any

from agentcheck.contracts import Row, Store
from agentcheck.errors import LedgerError, StoreError
from agentcheck.events import TABLE, Event, check
from agentcheck.ledger.canonical import encode, repair
from agentcheck.ledger.chain import genesis, step

#: ``(type, body) -> body``: takes secrets and personal data out of an event's body before it is encoded.
Redact = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]

#: Seconds after which an event that nobody waits for is stored.
LINGER = 0.05
#: Queued rows or bytes at which the writer is woken at once; and at which `record` waits for the store.
_WAKE_ROWS = 512
_MOST_ROWS = 50_000
_MOST_BYTES = 64 << 20
#: Bytes of randomness that are drawn at once; an event takes 16.
_SALTS = 16 * 1024


_VERSIONS = {name: row.version for name, row in TABLE.items()}
#: What `Row` and `Event` do, without a call of Python for each event.
_row: Callable[[tuple[str, int, bytes, bytes]], Row] = partial(tuple.__new__, Row)
_event: Callable[[tuple[str, Mapping[str, Any], str, int, int, str]], Event] = partial(tuple.__new__, Event)


def unsafe_keep_all(type: str, body: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: A002
    """A redactor that redacts nothing. For tests: secrets and personal data reach the disk."""
    return body


def _now() -> int:
    return time_module.time_ns() // 1000


class Ledger:
    """Records events into one new stream of a store, which belongs to the ledger and is closed with it.

    ``redact`` is a `agentcheck.ledger.redaction.Redactor`; ``clock`` gives microseconds since the Unix epoch.
    ``record`` may be called from any thread, ``settle`` from any event loop. ``stall_timeout`` is how long
    ``record`` waits, in seconds, when the queue is full because the store is slower than the recording. ``observe``
    is told by the writer thread of rows that are on disk, after whoever waits for them; it may not raise.

    Raises:
        LedgerError: the stream exists already; a resumed run writes a stream of its own.
        StoreError: the store cannot be read.
    """

    def __init__(
        self,
        store: Store,
        stream: str,
        *,
        redact: Redact,
        clock: Callable[[], int] = _now,
        stall_timeout: float = 60.0,
        observe: Callable[[Sequence[Row]], None] | None = None,
    ) -> None:
        if store.head(stream) is not None:
            raise LedgerError(f"stream {stream!r} exists already", advice="record into a stream of another name")
        self.stream = stream
        self._store = store
        self._redact = redact
        self._clock = clock
        self._stall_timeout = stall_timeout
        self._observe = observe
        self._lock = threading.Lock()
        self._stored = threading.Condition(self._lock)  # after each commit, and on failure
        self._seq = 0
        self._salts, self._salted = "", 0
        self._chain = genesis(stream)
        self._rows: list[Row] = []
        self._bytes = 0
        self._durable = 0
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._blocked = 0  # threads in flush or held back in record
        self._woken = False
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._error: StoreError | LedgerError | None = None
        self._told = False
        self._closing = False
        self._thread: threading.Thread | None = None
        _OPEN.add(self)
        atexit.register(self._at_exit)

    @property
    def head(self) -> tuple[int, bytes]:
        """Sequence number and chain value of the last recorded event; ``(0, genesis)`` before the first."""
        with self._lock:
            return self._seq, self._chain

    @property
    def durable(self) -> int:
        """Sequence number of the last event that is known to be on disk."""
        return self._durable

    def record(self, type: str, body: Mapping[str, Any], session: str = "") -> Event:  # noqa: A002
        """Redact, check, number, encode, chain and queue one event, without waiting for the disk.

        Returns the event as it is stored. The body belongs to the ledger from now on: do not change it.

        Raises:
            LedgerError: the table does not allow the event; nothing was recorded.
            StoreError: the store failed, now or earlier.
        """
        if self._error is not None:
            raise self._failure()
        body = self._redact(type, body)
        check(type, body)
        version = _VERSIONS.get(type, 1)
        time = self._clock()
        with self._lock:
            if self._closing:
                raise LedgerError(f"stream {self.stream!r} is closed", advice="record before close()")
            seq = self._seq + 1
            at = self._salted
            if at == len(self._salts):
                self._salts, at = os.urandom(_SALTS).hex(), 0
            self._salted = at + 32
            salt = self._salts[at : at + 32]
            try:
                payload = encode(type, body, session, time, seq, self.stream, version, salt)
            except TypeError:
                body, session = repair(body), repair(session)
                payload = encode(type, body, session, time, seq, self.stream, version, salt)
            self._chain = chain = step(self._chain, payload)
            self._seq = seq
            rows = self._rows
            rows.append(_row((self.stream, seq, payload, chain)))
            self._bytes = queued = self._bytes + len(payload)
            if self._thread is None:
                self._start()
            if len(rows) >= _WAKE_ROWS or queued >= _MOST_BYTES:
                self._nudge()
                if len(rows) >= _MOST_ROWS or queued >= _MOST_BYTES:
                    self._hold_back()
        return _event((type, body, session, time, seq, self.stream))

    async def settle(self) -> None:
        """Return once everything recorded so far, from any thread, is on disk.

        Raises:
            StoreError: it is not, and will not be.
        """
        with self._lock:
            if self._error is not None:
                raise self._failure()
            if self._durable >= self._seq:
                return
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            self._waiters.append((loop, future))
            self._nudge()
        await future

    async def append(self, type: str, body: Mapping[str, Any], session: str = "") -> Event:  # noqa: A002
        """`record`, then `settle`: returns once the event is on disk."""
        event = self.record(type, body, session)
        await self.settle()
        return event

    def flush(self) -> None:
        """`settle` for code that has no event loop: blocks until everything recorded so far is on disk."""
        with self._lock:
            target = self._seq
            self._blocked += 1
            try:
                while self._error is None and self._durable < target:
                    self._nudge()
                    self._stored.wait()
            finally:
                self._blocked -= 1
            if self._error is not None and self._durable < target:
                raise self._failure()

    def close(self) -> None:
        """Store what is queued, end the writer and close the store; later calls do nothing.

        Raises:
            StoreError: events were recorded that did not reach the disk, and nobody was told so far.
        """
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._wake.put(None)
        atexit.unregister(self._at_exit)
        _OPEN.discard(self)
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            failed, told = self._error, self._told
            self._error = failed or LedgerError(f"stream {self.stream!r} is closed", advice="record before close()")
            late, self._waiters = self._waiters, []
        _resolve(late, failed)  # they asked while the writer ended; it stored everything that was recorded
        self._store.close()
        if failed is not None and not told:
            raise self._failure()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # The writer thread

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._write, name=f"ledger {self.stream}", daemon=True)
        self._thread.start()

    def _nudge(self) -> None:
        if not self._woken:
            self._woken = True
            self._wake.put(None)

    def _hold_back(self) -> None:
        """Wait, with the lock given up meanwhile, until the writer has caught up (bounded memory)."""
        deadline = time_module.monotonic() + self._stall_timeout
        self._blocked += 1
        try:
            while self._error is None and (len(self._rows) >= _MOST_ROWS or self._bytes >= _MOST_BYTES):
                self._nudge()
                if not self._stored.wait(max(0.0, deadline - time_module.monotonic())):
                    self._fail(StoreError(f"the store took nothing for {self._stall_timeout:g} s", where=self.stream))
        finally:
            self._blocked -= 1
        if self._error is not None:
            raise self._failure()

    def _write(self) -> None:
        while True:
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=LINGER)
            with self._lock:
                self._woken = False
                rows, self._rows, self._bytes = self._rows, [], 0
                waiters, self._waiters = self._waiters, []
                closing = self._closing
            if rows:
                try:
                    self._store.append(rows)
                except Exception as error:
                    with self._lock:
                        self._waiters += waiters
                        self._fail(_as_store_error(error))
                    return
            with self._lock:
                if self._error is not None:  # the recording side gave up on us
                    self._waiters += waiters
                    self._fail(self._error)
                    return
                if rows:
                    self._durable = rows[-1].seq
                if self._blocked:
                    self._stored.notify_all()
            if waiters:
                _resolve(waiters, None)
            if rows and self._observe is not None:
                self._observe(rows)
            if closing:
                return

    def _fail(self, error: StoreError | LedgerError) -> None:
        self._error = self._error or error
        self._rows, self._bytes = [], 0
        waiters, self._waiters = self._waiters, []
        self._told = self._told or bool(waiters) or bool(self._blocked)
        self._stored.notify_all()
        _resolve(waiters, self._error)

    def _failure(self) -> StoreError | LedgerError:
        self._told = True
        assert self._error is not None
        return _fresh(self._error)

    def _at_exit(self) -> None:
        with contextlib.suppress(StoreError):
            self.close()

    def _abandon(self) -> None:
        """In a forked child: the writer thread, and the right to this stream, stayed with the parent."""
        self._lock = threading.Lock()
        self._stored = threading.Condition(self._lock)
        self._rows, self._waiters, self._thread, self._closing = [], [], None, True
        self._error = StoreError(
            f"stream {self.stream!r} belongs to the process that opened it",
            advice="open a ledger with a stream of its own in a forked process",
        )


def _resolve(
    waiters: Iterable[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]], error: StoreError | LedgerError | None
) -> None:
    """Wake the waiters of each event loop by one call into it."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for loop, future in waiters:
        by_loop.setdefault(loop, []).append(future)
    for loop, futures in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed; nobody waits there any more
            loop.call_soon_threadsafe(_finish, futures, error)


def _finish(futures: Iterable[asyncio.Future[None]], error: StoreError | LedgerError | None) -> None:
    for future in futures:
        if future.done():  # cancelled meanwhile
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(_fresh(error))


def _fresh(error: StoreError | LedgerError) -> StoreError | LedgerError:
    """A copy, so that each raise has a traceback of its own."""
    copy = type(error)(error.what, where=error.where, advice=error.advice)
    copy.__cause__ = error.__cause__
    return copy


def _as_store_error(error: Exception) -> StoreError:
    if isinstance(error, StoreError):
        return error
    wrapped = StoreError(f"the store broke: {type(error).__name__}: {error}", advice="see the cause; report the store")
    wrapped.__cause__ = error
    return wrapped


_OPEN: weakref.WeakSet[Ledger] = weakref.WeakSet()


def _after_fork() -> None:
    for ledger in list(_OPEN):
        ledger._abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
