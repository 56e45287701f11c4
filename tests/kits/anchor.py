"""The conformance kit of `contracts.Anchor`: every place that keeps checkpoints passes it with a fixture ``reopen``.

A place's test module holds one class::

    class TestMyPlace(AnchorKit):
        @pytest.fixture
        def reopen(self, tmp_path): ...

``reopen()`` gives the same place each time it is called, empty at first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from hashlib import sha256

import pytest

from agentcheck.contracts import Anchor
from agentcheck.errors import AnchorError
from agentcheck.ledger.notes import SigningKey, sign_checkpoint

KEY = SigningKey("example.org/acme", sha256(b"a key for tests").digest())
RUN = "20250101-120000-ab12"
Reopen = Callable[[], Anchor]


def signed(size: int, *, run: str = RUN, stream: str = "main", root: bytes = b"", time: int = 1_700_000_000) -> str:
    """A checkpoint of a stream; its root follows from its size where none is given."""
    return sign_checkpoint(KEY, run, stream, size, root or sha256(b"%d" % size).digest(), time)


def no_proof(old: int) -> Sequence[bytes]:
    """For places that ask for none."""
    raise AssertionError(f"asked for a proof from {old}")


class AnchorKit:
    """What a place that keeps checkpoints owes."""

    def test_what_is_published_is_read_back(self, reopen: Reopen) -> None:
        """Checkpoints come back as they were, of the run that is asked for, each stream's in the order of size."""
        anchor = reopen()
        wanted = [signed(9), signed(10), signed(100), signed(3, stream="gw0")]
        for note in (*wanted, signed(5, run="20250101-120000-cd34")):
            assert anchor.publish(note, no_proof) == note
        found = list(reopen().notes(RUN))
        assert sorted(found) == sorted(wanted)
        assert [each for each in found if "/main\n" in each] == wanted[:3]
        assert reopen().notes("20250101-120000-cd34") == [signed(5, run="20250101-120000-cd34")]

    def test_an_unknown_run_has_none(self, reopen: Reopen) -> None:
        """A run of which nothing was published has no checkpoints."""
        assert list(reopen().notes(RUN)) == []
        reopen().publish(signed(1), no_proof)
        assert list(reopen().notes("20250101-120000-ffff")) == []

    def test_the_same_one_twice_is_kept_once(self, reopen: Reopen) -> None:
        """Publishing the same text again changes nothing; signed again, it is kept beside the first."""
        for _ in range(2):
            reopen().publish(signed(4), no_proof)
        assert list(reopen().notes(RUN)) == [signed(4)]
        reopen().publish(signed(4, time=1_700_000_001), no_proof)
        assert sorted(reopen().notes(RUN)) == sorted([signed(4), signed(4, time=1_700_000_001)])

    @pytest.mark.parametrize(
        "text", ["", "hello\n", "a/r\n1\nx\n\n", "k/../main\n1\nx\n\n", "k/r/a b\n1\nx\n\n", "k/r/main\n01\nx\n\n"]
    )
    def test_what_is_no_checkpoint_is_refused(self, text: str, reopen: Reopen) -> None:
        """A text that names no run, stream and size is not kept, and reaches no other folder."""
        with pytest.raises(AnchorError, match="not a checkpoint"):
            reopen().publish(text, no_proof)

    def test_writers_at_the_same_time_lose_nothing(self, reopen: Reopen) -> None:
        """Workers that publish at the same time, each its own stream, find all of it afterwards."""
        begin, failures = threading.Barrier(4), []

        def work(stream: str) -> None:
            try:
                anchor = reopen()
                begin.wait(30)
                for size in range(1, 4):
                    anchor.publish(signed(size, stream=stream), no_proof)
            except Exception as error:
                failures.append(error)

        workers = [threading.Thread(target=work, args=(f"gw{number}",)) for number in range(4)]
        for each in workers:
            each.start()
        for each in workers:
            each.join()
        assert failures == []
        wanted = [signed(size, stream=f"gw{number}") for number in range(4) for size in range(1, 4)]
        assert sorted(reopen().notes(RUN)) == sorted(wanted)
