"""Signing the roots of a stream while it is written, and publishing them outside the ledger.

The writer thread tells `Checkpoints.observe` of the rows that are on disk; nothing else is ever signed. A thread of
its own signs on a schedule, publishes, and records ``checkpoint.signed``; no commit and no acknowledgement waits for
it. The last checkpoint, over the stream's final event, is signed when the ledger has closed, and is recorded nowhere
but in the places it is published to.

A checkpoint goes to the witnesses first, so that what the other places keep bears their cosignatures. A place that
fails keeps no other from being tried.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time as time_module
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from agentcheck.contracts import Anchor, Row
from agentcheck.errors import AgentcheckError, AnchorError, HarnessError, LedgerError
from agentcheck.ledger.chain import leaf
from agentcheck.ledger.merkle import Frontier, consistency_proof, verify_consistency
from agentcheck.ledger.notes import COSIGNATURE, Checkpoint, Note, PublicKey, SigningKey, checkpoint, sign_checkpoint

if TYPE_CHECKING:
    from agentcheck.ledger.ledger import Ledger

#: ``(start) -> payloads``: what is stored of the stream, from a sequence number on, opened for reading.
Payloads = Callable[[int], AbstractContextManager[Iterable[bytes]]]
#: Signature lines of the largest note that every verifier reads.
_MOST_SIGNATURES = 32
#: Trees of earlier checkpoints that are kept, so that a witness's proof reads only what came after the one it knows.
_KEPT = 64


class Place(NamedTuple):
    """Somewhere that checkpoints are published to, by the address that the user wrote."""

    address: str
    anchor: Anchor
    witness: bool


class Published(NamedTuple):
    """Where a checkpoint went: the note with all cosignatures, and per place the error, ``""`` where it is kept."""

    note: str
    places: Sequence[tuple[str, str]]

    @property
    def failures(self) -> str:
        """Each place that failed, and why; ``""`` where none did."""
        return "; ".join(f"{address}: {error}" for address, error in self.places if error)


def publish(
    note: str,
    places: Iterable[Place],
    proof: Callable[[int], Sequence[bytes]],
    witnesses: Sequence[PublicKey] | None = None,
) -> Published:
    """Publish a checkpoint to every place, the witnesses first.

    ``witnesses`` are the keys whose cosignatures are kept; ``None`` keeps every well-formed one, for whoever verifies
    the checkpoint to judge.
    """
    found = []
    for place in sorted(places, key=lambda each: not each.witness):
        error = ""
        try:
            answer = place.anchor.publish(note, proof)
            if place.witness:
                note = _with_cosignatures(note, answer, witnesses)
        except AgentcheckError as failure:
            error = str(failure.what)
        except Exception as failure:  # a place may be a plugin's
            error = f"{type(failure).__name__}: {failure}"
        found.append((place.address, error))
    return Published(note, found)


def _with_cosignatures(note: str, answer: str, witnesses: Sequence[PublicKey] | None) -> str:
    """The note with what a witness added to it, and nothing else of what it answered."""
    before, after = checkpoint(note).note, checkpoint(answer).note
    if after.text != before.text:
        raise AnchorError("it gave back another checkpoint than the one it was given")
    signer = {each.name for each in before.signatures[:2]}  # nobody adds a line in the log's own name
    new = {(each.name, each.key_id): each for each in after.signatures if each not in before.signatures}
    added = [each for each in new.values() if len(each.value) == 72 and each.name not in signer]
    if witnesses is not None:
        added = [
            each
            for each in added
            if any(key.time_of(Note(after.text, (each,))) is not None for key in witnesses if key.type == COSIGNATURE)
        ]
    if not added:
        known = "" if witnesses is None else " of a witness in the trust file"
        raise AnchorError(f"it gave no cosignature{known}")
    if len(before.signatures) + len(added) > _MOST_SIGNATURES:
        raise AnchorError(f"it gave {len(added)} cosignatures, more than a checkpoint may carry")
    return str(Note(before.text, (*before.signatures, *added)))


class Checkpoints:
    """Signs and publishes the checkpoints of one stream. A context that is entered before the ledger opens.

    ``observe`` is told of stored rows by the ledger, `start` begins the schedule, and leaving the context signs the
    last checkpoint: leave it when the ledger has closed. ``payloads`` reads the stored stream for proofs.

    Raises:
        AnchorError: on leaving, where a place did not take the last checkpoint, and no other error is under way.
    """

    def __init__(
        self,
        key: SigningKey,
        run: str,
        stream: str,
        places: Sequence[Place],
        payloads: Payloads,
        *,
        every_events: int = 10_000,
        every_seconds: float = 60.0,
        witnesses: Sequence[PublicKey] | None = None,
        clock: Callable[[], float] = time_module.time,
    ) -> None:
        self._key, self._run, self._stream = key, run, stream
        self._places, self._payloads, self._witnesses = places, payloads, witnesses
        self._every_events, self._every_seconds, self._clock = every_events, every_seconds, clock
        self._tree = Frontier()  # what is on disk
        self._due = threading.Condition()  # guards the tree; never held while something is recorded or published
        self._earlier: dict[int, Frontier] = {}
        self._signed = 0  # size at the latest checkpoint
        self._own = 0  # events that were recorded about it
        self._complaint = ""
        self._kept = 0  # size of the latest checkpoint that every place took
        self._ending = False
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def observe(self, rows: Sequence[Row]) -> None:
        """Take note of rows that are on disk. Called by the ledger's writer thread after each commit."""
        with self._due:
            self._tree.extend(leaf(row.payload) for row in rows)
            if self._fresh >= self._every_events:
                self._due.notify()

    def start(self, ledger: Ledger) -> None:
        """Begin the schedule, unless it was stopped; what it signs is recorded into the ledger."""
        if self._ending:
            return
        self._thread = threading.Thread(
            target=self._keep_schedule, args=(ledger,), name=f"checkpoints {self._stream}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the schedule: nothing more is recorded into the stream, which is about to get its last event.

        Returns when a checkpoint that is under way was published and recorded.
        """
        with self._due:
            self._ending = True
            self._due.notify()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if os.getpid() != self._process:
            return  # a forked child, which does not own the stream
        self.stop()
        if self._tree.size == self._kept:
            return
        published = self._sign()[1]
        if published.failures and kind is None:
            raise AnchorError(
                f"the last checkpoint of stream {self._stream!r} ({self._tree.size} events) was not kept everywhere: "
                f"{published.failures}",
                advice=f"the ledger is complete; publish it again with: agentcheck ledger checkpoint {self._run}",
            )

    # The thread of the schedule

    @property
    def _fresh(self) -> int:
        """Events on disk that no checkpoint covers, besides those that tell of the latest checkpoint."""
        return self._tree.size - self._signed - self._own

    def _keep_schedule(self, ledger: Ledger) -> None:
        until = time_module.monotonic() + self._every_seconds
        while True:
            with self._due:
                while not self._ending and self._fresh < self._every_events:
                    left = until - time_module.monotonic()
                    if left <= 0:
                        break
                    self._due.wait(left)
                if self._ending:
                    return
                worth = self._fresh > 0
            if worth:
                self._record(ledger, *self._sign())
            until = time_module.monotonic() + self._every_seconds

    def _sign(self) -> tuple[Frontier, Published]:
        with self._due:
            tree = self._tree.copy()
            self._signed, self._own = tree.size, 0
        self._earlier[tree.size] = tree
        while len(self._earlier) > _KEPT:
            del self._earlier[next(iter(self._earlier))]
        try:
            note = sign_checkpoint(self._key, self._run, self._stream, tree.size, tree.root(), int(self._clock()))
            published = publish(note, self._places, lambda old: self._proof(old, tree), self._witnesses)
        except Exception as error:  # whatever breaks here must not break the run, and must be told
            why = f"not signed: {type(error).__name__}: {error}"
            published = Published("", [(place.address, why) for place in self._places])
        self._kept = self._kept if published.failures else tree.size
        return tree, published

    def _proof(self, old: int, tree: Frontier) -> Sequence[bytes]:
        """The consistency proof from an earlier size; from the stored rows, and checked against what was recorded."""
        if old in (0, tree.size):
            return []
        before = self._earlier.get(old)
        with self._payloads(old + 1 if before else 1) as payloads:
            proof = consistency_proof(map(leaf, payloads), old, tree.size, since=before)
        if before is not None and not verify_consistency(old, tree.size, proof, before.root(), tree.root()):
            raise LedgerError("what is stored is not what was recorded: a row was changed", where=self._stream)
        return proof

    def _record(self, ledger: Ledger, tree: Frontier, published: Published) -> None:
        body = {
            "size": tree.size,
            "root": tree.root().hex(),
            "key": self._key.public().label,
            "published": [{"place": address, "error": error} for address, error in published.places],
        }
        with contextlib.suppress(HarnessError):  # the ledger failed or closed; who waits is told
            ledger.record("checkpoint.signed", body)
            own = 1
            if published.failures and published.failures != self._complaint:
                text = f"a checkpoint of {tree.size} events was not kept everywhere: {published.failures}"
                ledger.record("run.note", {"level": "warning", "text": text})
                own = 2
            self._complaint = published.failures
            with self._due:
                self._own = own


def refuse_fork(found: Checkpoint, size: int, roots: Mapping[int, bytes]) -> None:
    """Refuse to sign a stream that does not begin with what a kept checkpoint of it says.

    ``roots`` holds the root of the stream at the checkpoint's size, where it is so long.

    Raises:
        LedgerError: it has fewer events, or another root at that size.
    """
    if found.size > size:
        raise LedgerError(
            f"a checkpoint over {found.size} events was signed, and {size} are there",
            where=found.origin,
            advice="events are missing: find the whole ledger before anything more is signed",
        )
    if roots[found.size] != found.root:
        raise LedgerError(
            f"a checkpoint over the first {found.size} events was signed that these events do not have",
            where=found.origin,
            advice="the ledger was changed: `agentcheck verify` says what it can about where",
        )
