"""The conformance kit of `contracts.RunStore`: every driver passes it with a fixture ``make``.

A driver's test module holds one class::

    class TestMyRun(RunStoreKit):
        @pytest.fixture
        def place(self, tmp_path):
            return "package.module:MyRun", url, run, str(tmp_path)

``place`` is a run that holds nothing yet: its factory as a reference, and what that is called with. The kit makes its
store again for each use (fixture ``make``), also in other processes.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from hashlib import sha256
from pathlib import Path

import pytest

from agentcheck.contracts import RunStore, Store
from agentcheck.errors import StoreError
from agentcheck.ledger.chain import leaf, withheld
from kits import contender
from kits.store import rows

Make = Callable[..., RunStore]
#: Reference of the factory, url, run and folder.
Place = tuple[str, str, str, str]
#: Writers that fight for one stream, and batches of each.
CONTENDERS, BATCHES = 8, 3


def gapless(run: RunStore, stream: str) -> list[str]:
    """The payloads of a stream whose numbers are 1..n."""
    with closing(run.reading(stream)) as store:
        found = list(store.read(stream))
    assert [row.seq for row in found] == list(range(1, len(found) + 1))
    return [row.payload.decode() for row in found]


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
    def place(self) -> Place:
        """The run under test; given by the driver's class."""
        raise NotImplementedError

    @pytest.fixture
    def make(self, place: Place) -> Make:
        """Give the store of the run, or of one with another name."""
        reference, url, run, folder = place

        def make(another: str = "") -> RunStore:
            at = Path(folder, another) if another else Path(folder)
            return contender.run_store(reference, url, f"{run}{another}", str(at))

        return make

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

    def test_the_verifier_reads_the_rows_that_are_stored(self, make: Make) -> None:
        """What a run is verified from holds its streams, rows and single values, in another process too."""
        fill(make(), "main", 300)
        fill(make(), "gw0", 2)
        source = make().source()
        if source is None:
            return  # files of the run's folder, which the verifier reads itself
        source = pickle.loads(pickle.dumps(source))
        assert source.streams() == [("gw0", 2), ("main", 300)]
        stored = [tuple(row[1:]) for row in rows(300)]
        assert list(source.rows("main", 1, 300)) == stored
        assert list(source.rows("main", 290, 295)) == stored[289:295]
        assert source.value("main", 7) == stored[6][1:]
        assert source.value("main", 301) is None
        assert source.faults() == []
        source.close()

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

    def test_writers_of_different_streams_do_not_wait_for_each_other(self, make: Make) -> None:
        """Four threads write a stream each at the same time, and each finds its own rows in its own order."""

        def write(stream: str) -> None:
            with closing(make().writing(stream)) as store:
                for first in range(1, 100, 3):
                    store.append(rows(3, stream=stream, start=first, payload=stream.encode()))

        streams = [f"gw{number}" for number in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, streams))
        for stream in streams:
            assert gapless(make(), stream) == [stream] * 99

    def test_threads_that_fight_for_a_stream_keep_one_order(self, make: Make) -> None:
        """Of eight threads one at a time gets it; every acknowledged batch is there once and whole, without a gap."""
        with ThreadPoolExecutor(CONTENDERS) as pool:
            told = list(pool.map(lambda name: contender.contend(make(), str(name), BATCHES), range(CONTENDERS)))
        found = gapless(make(), "main")
        assert found[::3] == found[1::3] == found[2::3]
        assert Counter(found[::3]) == Counter(payload for each in told for payload in each)

    def test_processes_that_fight_for_a_stream_keep_one_order(self, place: Place, make: Make) -> None:
        """The same with eight processes."""
        program = [sys.executable, contender.__file__, *place]
        started = [
            subprocess.Popen([*program, str(name), str(BATCHES)], stdout=subprocess.PIPE, text=True)
            for name in range(CONTENDERS)
        ]
        told = [process.communicate(timeout=100)[0].split() for process in started]
        found = gapless(make(), "main")
        assert len(found) == 3 * CONTENDERS * BATCHES
        assert found[::3] == found[1::3] == found[2::3]
        assert Counter(found[::3]) == Counter(payload for each in told for payload in each)

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

    def test_asking_for_the_right_to_withhold_changes_nothing(self, make: Make) -> None:
        """Whoever may is not refused, before and after; the rows stay, and so does the right."""
        fill(make(), "main", 3, b"secret")
        make().ready_to_withhold("main")
        assert payloads(make(), "main") == [b"secret"] * 3
        make().withhold("main", {1: withheld(b"secret")})
        make().ready_to_withhold("main")

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
