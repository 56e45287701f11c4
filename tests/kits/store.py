"""The conformance kit of `contracts.Store`: every driver passes it with a fixture ``reopen``.

A driver's test module holds one class::

    class TestMyStore(StoreKit):
        @pytest.fixture
        def reopen(self, tmp_path): ...

``reopen()`` opens the same storage for writing each time it is called, empty at first; ``reopen(read_only=True)``
opens it beside a writer. The kit closes what it opens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from agentcheck.contracts import Row, Store
from agentcheck.errors import StoreError

Reopen = Callable[..., Store]


def rows(count: int, *, stream: str = "main", start: int = 1, payload: bytes = b'{"a":1}') -> list[Row]:
    """Consecutive rows; the chain value is a mark, since stores do not check it."""
    return [Row(stream, seq, payload, seq.to_bytes(32, "big")) for seq in range(start, start + count)]


class StoreKit:
    """What holds for every store."""

    @pytest.fixture
    def reopen(self) -> Reopen:
        """Open the storage under test; given by the driver's class."""
        raise NotImplementedError

    @pytest.fixture
    def opened(self) -> Iterator[ExitStack]:
        """Closes stores at the end of a test."""
        with ExitStack() as stack:
            yield stack

    @pytest.fixture
    def store(self, reopen: Reopen, opened: ExitStack) -> Store:
        """An empty store, open for writing."""
        return opened.enter_context(closing(reopen()))

    def test_empty_store_holds_nothing(self, store: Store) -> None:
        """A new store has no streams, no head and no rows."""
        assert list(store.streams()) == []
        assert store.head("main") is None
        assert list(store.read("main")) == []

    def test_rows_come_back_as_they_were_stored(self, store: Store) -> None:
        """Read gives the appended rows in order, byte for byte, with any bytes in them."""
        stored = [
            Row("main", 1, b"", bytes(32)),
            Row("main", 2, bytes(range(256)) * 3, b"\xff" * 32),
            Row("main", 3, '{"text":"\u00e4\U0001f600"}'.encode(), b"'" * 32),
            Row("main", 4, b"x" * 1_000_000, b"\x00\x01" * 16),
        ]
        store.append(stored[:1])
        store.append(stored[1:])
        assert list(store.read("main")) == stored
        assert store.head("main") == (4, b"\x00\x01" * 16)

    def test_reading_starts_where_it_is_asked_to(self, store: Store) -> None:
        """Read from a number gives that row and the later ones; past the head it gives nothing."""
        store.append(rows(5))
        assert [row.seq for row in store.read("main", 4)] == [4, 5]
        assert list(store.read("main", 6)) == []

    def test_an_empty_batch_changes_nothing(self, store: Store) -> None:
        """Appending no rows is allowed and stores nothing."""
        store.append([])
        assert list(store.streams()) == []

    @pytest.mark.parametrize(
        "bad",
        [
            rows(1, start=5),  # a gap
            rows(1, start=3),  # the last number again
            rows(1, start=1),
            rows(1, start=0),
            rows(2, start=4) + rows(1, start=7),  # a gap inside the batch
            rows(2, start=4) + rows(1, start=5),  # a repetition inside it
            rows(1, start=4) + rows(1, stream="other", start=2),  # good for one stream, not for the other
        ],
        ids=["gap", "last again", "first again", "zero", "gap inside", "repeated inside", "other stream"],
    )
    def test_gaps_and_repetitions_are_refused_whole(self, store: Store, bad: list[Row]) -> None:
        """A batch with a gap or a repeated number is refused, stores nothing, and a right one is taken afterwards."""
        store.append(rows(3))
        with pytest.raises(StoreError):
            store.append(bad)
        assert [row.seq for row in store.read("main")] == [1, 2, 3]
        assert list(store.streams()) == ["main"]
        store.append(rows(2, start=4))
        assert store.head("main") == (5, (5).to_bytes(32, "big"))

    def test_a_first_row_has_number_one(self, store: Store) -> None:
        """A stream cannot start at another number than 1."""
        with pytest.raises(StoreError):
            store.append(rows(1, start=2))
        assert store.head("main") is None

    def test_large_batches_are_stored_whole_or_not_at_all(self, store: Store) -> None:
        """A batch of thousands of rows is one step: with a bad last row nothing of it is there."""
        with pytest.raises(StoreError):
            store.append(rows(3000) + rows(1, start=3002))
        assert store.head("main") is None
        store.append(rows(3000))
        assert sum(1 for _ in store.read("main")) == 3000

    def test_streams_are_apart(self, store: Store) -> None:
        """Each stream counts for itself, under any name, and is listed."""
        names = ["main", "gw0", "main-r1", "Ünïcode '\"; DROP TABLE events", "a b"]
        for length, name in enumerate(names, 1):
            store.append(rows(length, stream=name))
        assert sorted(store.streams()) == sorted(names)
        for length, name in enumerate(names, 1):
            assert [row.seq for row in store.read(name)] == list(range(1, length + 1))
            assert {row.stream for row in store.read(name)} == {name}

    def test_rows_are_there_for_others_when_append_returns(self, store: Store, reopen: Reopen) -> None:
        """Another store opened for reading sees the rows of an append that has returned, while the writer is open."""
        store.append(rows(2))
        with closing(reopen(read_only=True)) as other:
            assert [row.seq for row in other.read("main")] == [1, 2]
            store.append(rows(1, start=3))
            assert other.head("main") == (3, (3).to_bytes(32, "big"))

    def test_a_reader_is_not_disturbed_by_appends(self, store: Store) -> None:
        """A read that has begun goes on in order, without gaps, while rows are appended."""
        store.append(rows(500))
        seen = []
        for row in store.read("main"):
            seen.append(row.seq)
            if row.seq in (1, 250):
                head = store.head("main")
                assert head is not None
                store.append(rows(100, start=head[0] + 1))
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) >= 500

    def test_a_stream_goes_on_after_reopening(self, reopen: Reopen) -> None:
        """Rows outlive the store object, and the next number is taken after reopening."""
        with closing(reopen()) as store:
            store.append(rows(3))
        with closing(reopen()) as store:
            assert store.head("main") == (3, (3).to_bytes(32, "big"))
            with pytest.raises(StoreError):
                store.append(rows(1, start=3))
            store.append(rows(1, start=4))
            assert [row.seq for row in store.read("main")] == [1, 2, 3, 4]

    def test_a_second_writer_of_a_stream_is_refused(self, store: Store, reopen: Reopen, opened: ExitStack) -> None:
        """Two writers of one stream cannot interleave: the second is refused, and the first goes on."""
        store.append(rows(2))
        with pytest.raises(StoreError):
            opened.enter_context(closing(reopen())).append(rows(1, start=3))
        store.append(rows(1, start=3))
        assert [row.seq for row in store.read("main")] == [1, 2, 3]

    def test_a_reader_does_not_write(self, store: Store, reopen: Reopen) -> None:
        """A store that was opened for reading refuses to append."""
        store.append(rows(1))
        with closing(reopen(read_only=True)) as other, pytest.raises(StoreError):
            other.append(rows(1, start=2))
        assert store.head("main") == (1, (1).to_bytes(32, "big"))

    def test_appending_from_another_thread(self, store: Store) -> None:
        """The ledger's writer thread appends to a store that another thread opened."""
        thread = threading.Thread(target=store.append, args=(rows(3),))
        thread.start()
        thread.join()
        assert store.head("main") == (3, (3).to_bytes(32, "big"))

    def test_closing_is_final_and_may_be_repeated(self, reopen: Reopen) -> None:
        """After close, which may be called twice, every call is refused with a StoreError."""
        store = reopen()
        store.append(rows(1))
        store.close()
        store.close()
        for call in (
            lambda: store.append(rows(1, start=2)),
            lambda: list(store.read("main")),
            lambda: store.head("main"),
            lambda: store.streams(),
        ):
            with pytest.raises(StoreError):
                call()
