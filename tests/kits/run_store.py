"""The conformance kit of `contracts.RunStore`: every driver passes it with a fixture ``make``.

A driver's test module holds one class::

    class TestMyRun(RunStoreKit):
        @pytest.fixture
        def make(self, tmp_path): ...

``make()`` gives the store of the same run each time it is called, empty at first; ``make("another")`` that of a run
of another name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from hashlib import sha256

import pytest

from agentcheck.contracts import RunStore, Store
from agentcheck.errors import StoreError
from agentcheck.ledger.chain import leaf, withheld
from kits.store import rows

Make = Callable[..., RunStore]


def fill(run: RunStore, stream: str, count: int, payload: bytes = b'{"a":1}') -> None:
    """Append rows to a stream and close it."""
    with closing(run.writing(stream)) as store:
        store.append(rows(count, stream=stream, payload=payload))


def payloads(run: RunStore, stream: str) -> list[bytes]:
    """What a stream holds."""
    with closing(run.reading(stream)) as store:
        return [row.payload for row in store.read(stream)]


class RunStoreKit:
    """What holds for the store of every run."""

    @pytest.fixture
    def make(self) -> Make:
        """Give the store of a run; by the driver's class."""
        raise NotImplementedError

    @pytest.fixture
    def run(self, make: Make) -> RunStore:
        """The store of a run without streams."""
        return make()

    @pytest.fixture
    def opened(self) -> Iterator[ExitStack]:
        """Closes stores at the end of a test."""
        with ExitStack() as stack:
            yield stack

    def open(self, opened: ExitStack, run: RunStore, stream: str) -> Store:
        """A stream's store for writing, with one row; closed at the end of the test."""
        store = opened.enter_context(closing(run.writing(stream)))
        store.append(rows(1, stream=stream))
        return store

    def test_a_new_run_has_no_streams_and_no_writer(self, run: RunStore) -> None:
        """Nothing is there before something is written."""
        assert list(run.streams()) == []
        assert run.writer() == ""

    def test_streams_are_listed_and_read_again(self, make: Make) -> None:
        """Streams that one store object wrote are there for another one of the same run."""
        names = ["main", "gw0", "gw1", "main-r1", "custody-1"]
        for count, name in enumerate(names, 1):
            fill(make(), name, count)
        assert sorted(make().streams()) == sorted(names)
        for count, name in enumerate(names, 1):
            with closing(make().reading(name)) as store:
                assert list(store.read(name)) == rows(count, stream=name)

    def test_a_stream_is_read_beside_its_writer(self, run: RunStore, make: Make, opened: ExitStack) -> None:
        """What a writer has appended is read while it goes on."""
        writer = self.open(opened, run, "main")
        with closing(make().reading("main")) as reader:
            assert [row.seq for row in reader.read("main")] == [1]
            writer.append(rows(2, start=2))
            assert [row.seq for row in reader.read("main")] == [1, 2, 3]

    def test_streams_have_writers_of_their_own(self, run: RunStore, make: Make, opened: ExitStack) -> None:
        """Several streams of a run are written at the same time."""
        first, second = self.open(opened, run, "gw0"), self.open(opened, make(), "gw1")
        for seq in range(2, 6):
            first.append(rows(1, stream="gw0", start=seq))
            second.append(rows(1, stream="gw1", start=seq))
        assert len(payloads(run, "gw0")) == len(payloads(run, "gw1")) == 5

    def test_a_stream_has_one_writer(self, run: RunStore, make: Make, opened: ExitStack) -> None:
        """A second writer is refused while there is one, and taken afterwards."""
        first = self.open(opened, run, "main")
        with pytest.raises(StoreError, match="writes"):
            opened.enter_context(closing(make().writing("main"))).append(rows(1, start=2))
        first.close()
        opened.close()
        with closing(make().writing("main")) as store:
            store.append(rows(1, start=2))
        assert len(payloads(run, "main")) == 2

    def test_runs_are_apart(self, make: Make) -> None:
        """Streams of the same name in two runs know nothing of each other, and each may be written."""
        fill(make(), "main", 2, b"one")
        fill(make("another"), "main", 3, b"two")
        assert payloads(make(), "main") == [b"one"] * 2
        assert payloads(make("another"), "main") == [b"two"] * 3
        assert list(make().streams()) == ["main"]

    def test_the_writer_is_named(self, run: RunStore, make: Make, opened: ExitStack) -> None:
        """Whoever writes a stream is told, for as long as it does."""
        store = self.open(opened, run, "gw0")
        assert make().writer()
        store.close()
        assert make().writer() == ""

    # Withholding

    def test_a_withheld_payload_gives_way_to_its_leaf(self, make: Make) -> None:
        """The payload is gone, the leaf stands in its place; numbers, chain values and other rows stay."""
        fill(make(), "main", 5, b"secret")
        fill(make(), "gw0", 2, b"secret")
        make().withhold("main", {2: withheld(b"secret"), 5: withheld(b"secret")})
        with closing(make().reading("main")) as store:
            found = list(store.read("main"))
        for row, before in zip(found, rows(5, payload=b"secret"), strict=True):
            gone = row.seq in (2, 5)
            assert row == before._replace(payload=withheld(b"secret")) if gone else row == before
        assert payloads(make(), "gw0") == [b"secret"] * 2

    def test_withholding_again_changes_nothing(self, make: Make) -> None:
        """What is withheld already may be asked for again, as after a crash between two streams."""
        fill(make(), "main", 3, b"secret")
        make().withhold("main", {1: withheld(b"secret")})
        make().withhold("main", {1: withheld(b"secret"), 2: withheld(b"secret")})
        assert payloads(make(), "main") == [withheld(b"secret")] * 2 + [b"secret"]

    def test_withholding_nothing_changes_nothing(self, make: Make) -> None:
        """No numbers, no change."""
        fill(make(), "main", 1)
        make().withhold("main", {})
        assert payloads(make(), "main") == [b'{"a":1}']

    @pytest.mark.parametrize(
        "given",
        [
            {1: withheld(b"secret"), 4: withheld(b"secret")},
            {1: withheld(b"secret"), 0: withheld(b"secret")},
            {1: withheld(b"secret"), 2: withheld(b"another")},
            {1: withheld(b"secret"), 2: b"rewritten"},
            {1: withheld(b"secret"), 2: b""},
            {1: withheld(b"secret"), 2: leaf(b"secret")},
        ],
        ids=["past the end", "zero", "another leaf", "another payload", "nothing", "without the mark"],
    )
    def test_only_leaves_of_stored_events_and_all_or_none(self, make: Make, given: dict[int, bytes]) -> None:
        """A number that is not there, or anything but the leaf of what is stored, refuses the whole request."""
        fill(make(), "main", 3, b"secret")
        with pytest.raises(StoreError):
            make().withhold("main", given)
        assert payloads(make(), "main") == [b"secret"] * 3

    def test_a_withheld_payload_does_not_come_back(self, make: Make) -> None:
        """What was withheld cannot be put back, nor withheld a second time as if the mark were the event."""
        fill(make(), "main", 1, b"secret")
        gone = withheld(b"secret")
        make().withhold("main", {1: gone})
        for given in (b"secret", b"\x00" + sha256(b"\x00" + gone).digest()):
            with pytest.raises(StoreError):
                make().withhold("main", {1: given})
        assert payloads(make(), "main") == [gone]

    def test_nothing_is_withheld_from_a_stream_that_is_written(self, run: RunStore, make: Make) -> None:
        """While a stream has a writer the request is refused, and the writer goes on."""
        with closing(run.writing("main")) as store:
            store.append(rows(2, payload=b"secret"))
            with pytest.raises(StoreError, match="writes"):
                make().withhold("main", {1: withheld(b"secret")})
            store.append(rows(1, start=3, payload=b"secret"))
        assert payloads(make(), "main") == [b"secret"] * 3

    def test_a_stream_that_is_not_there_is_told(self, run: RunStore) -> None:
        """Nothing can be withheld from a stream that does not exist."""
        with pytest.raises(StoreError):
            run.withhold("main", {1: withheld(b"secret")})
        assert list(run.streams()) == []

    def test_a_stream_goes_on_after_withholding(self, make: Make) -> None:
        """The next writer appends after the last number, in order only."""
        fill(make(), "main", 3, b"secret")
        make().withhold("main", {3: withheld(b"secret")})
        with closing(make().writing("main")) as store:
            with pytest.raises(StoreError):
                store.append(rows(1, start=3))
            store.append(rows(1, start=4))
            assert store.head("main") == (4, (4).to_bytes(32, "big"))
