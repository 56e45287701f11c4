"""Signing while a ledger is written: the schedule, what is signed and recorded, and places that fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import pytest

from agentcheck.contracts import Row
from agentcheck.errors import AnchorError, StoreError
from agentcheck.ledger import checkpoints as checkpoints_module
from agentcheck.ledger.chain import leaf
from agentcheck.ledger.checkpoints import Checkpoints, Place, Published, publish
from agentcheck.ledger.ledger import Ledger, unsafe_keep_all
from agentcheck.ledger.merkle import root, verify_consistency
from agentcheck.ledger.notes import (
    COSIGNATURE,
    Note,
    PublicKey,
    Signature,
    SigningKey,
    checkpoint,
    generate,
    sign_checkpoint,
)
from agentcheck.ledger.reading import decode
from fakes_ledger import MemoryStore, body

KEY = SigningKey("example.org/acme", sha256(b"log").digest())
WITNESS = generate("witness.example.net")
NOW = 1_700_000_000
NOTE = body("run.note")


class Keeper:
    """A place in a list. ``fails`` is raised instead; ``gate`` holds publishing back."""

    def __init__(self, fails: Exception | None = None) -> None:
        self.kept: list[str] = []
        self.fails = fails
        self.arrived = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def publish(self, note: str, proof: Callable[[int], Sequence[bytes]]) -> str:
        """Keep, or fail."""
        self.arrived.release()
        self.gate.wait(30)
        if self.fails is not None:
            raise self.fails
        self.kept.append(note)
        return note

    def notes(self, run: str) -> Sequence[str]:
        """All of them."""
        return self.kept

    @property
    def sizes(self) -> list[int]:
        """Sizes of what is kept."""
        return [checkpoint(each).size for each in self.kept]


class Cosigner(Keeper):
    """A witness that asks for the proof from what it saw last, as far as it remembers, and cosigns."""

    def __init__(self, key: SigningKey = WITNESS) -> None:
        super().__init__()
        self.key = key
        self.known: tuple[int, bytes] | None = None

    def publish(self, note: str, proof: Callable[[int], Sequence[bytes]]) -> str:
        """Check the proof, and cosign."""
        super().publish(note, proof)
        found = checkpoint(note)
        if self.known is not None:
            old, before = self.known
            if not verify_consistency(old, found.size, proof(old), before, found.root):
                raise AnchorError("the proof does not hold")
        self.known = found.size, found.root
        return note + self.key.cosign(found.note.text, NOW).line


class Scene:
    """A ledger on a store in memory, signed while it is written."""

    def __init__(self, *places: Place, **options: Any) -> None:
        self.store = MemoryStore()
        self.read: list[int] = []
        self.signed = threading.Semaphore(0)  # once for each stored record of a checkpoint
        self.checkpoints = Checkpoints(KEY, "r", "main", places, self.payloads, clock=lambda: NOW, **options)

    @contextmanager
    def payloads(self, start: int) -> Iterator[Iterable[bytes]]:
        """What is stored, with a note of where the reading began."""
        self.read.append(start)
        yield [row.payload for row in self.store.rows[start - 1 :]]

    @contextmanager
    def writing(self) -> Iterator[Ledger]:
        """As `RunFolder.writing` does."""
        with (
            self.checkpoints,
            Ledger(self.store, "main", redact=unsafe_keep_all, observe=self.observe) as ledger,
        ):
            self.checkpoints.start(ledger)
            yield ledger

    def observe(self, rows: Sequence[Row]) -> None:
        """Tell the checkpoints, and who waits for a record of one."""
        self.checkpoints.observe(rows)
        for row in rows:
            if b'"type":"checkpoint.signed"' in row.payload:
                self.signed.release()

    def recorded(self, name: str) -> list[Any]:
        """Bodies of the stored events of a type."""
        return [event.body for event in map(decode, self.store.rows) if event.type == name]

    def root(self, size: int) -> bytes:
        """Of what is stored."""
        return root(leaf(row.payload) for row in self.store.rows[:size])


def place(keeper: Keeper) -> Place:
    """A place of ours, witness or not."""
    return Place(f"x:{type(keeper).__name__}", keeper, isinstance(keeper, Cosigner))


def test_the_last_event_is_covered() -> None:
    """When the ledger has closed, the root over all of it is signed by the log's key, and nothing is recorded."""
    keeper = Keeper()
    scene = Scene(place(keeper))
    with scene.writing() as ledger:
        for _ in range(5):
            ledger.record("run.note", NOTE)
    assert keeper.kept == [sign_checkpoint(KEY, "r", "main", 5, scene.root(5), NOW)]
    assert KEY.public().time_of(checkpoint(keeper.kept[0]).note) == 0
    assert KEY.public(COSIGNATURE).time_of(checkpoint(keeper.kept[0]).note) == NOW
    assert len(scene.store.rows) == 5


def test_nothing_recorded_nothing_signed() -> None:
    """A stream without events has no checkpoint."""
    keeper = Keeper()
    with Scene(place(keeper)).writing():
        pass
    assert keeper.kept == []


def test_every_so_many_events() -> None:
    """After each `every_events` durable events one is signed and recorded; the record itself does not count."""
    keeper = Keeper()
    scene = Scene(place(keeper), every_events=10)
    with scene.writing() as ledger:
        for _ in range(3):
            for _ in range(10):
                ledger.record("run.note", NOTE)
            ledger.flush()
            assert scene.signed.acquire(timeout=30)
    assert len(keeper.kept) == 4
    for note in keeper.kept:
        found = checkpoint(note)
        assert found.root == scene.root(found.size)
    assert [each["size"] for each in scene.recorded("checkpoint.signed")] == keeper.sizes[:-1]
    assert keeper.sizes[-1] == len(scene.store.rows) == 33
    first = scene.recorded("checkpoint.signed")[0]
    assert first == {
        "size": keeper.sizes[0],
        "root": scene.root(keeper.sizes[0]).hex(),
        "key": KEY.public().label,
        "published": [{"place": "x:Keeper", "error": ""}],
    }


def test_every_so_many_seconds() -> None:
    """A slow stream is signed by time, and one in which nothing more happens is not signed again."""
    keeper = Keeper()
    scene = Scene(place(keeper), every_seconds=0.02)
    with scene.writing() as ledger:
        for _ in range(3):
            ledger.record("run.note", NOTE)
            ledger.flush()
            assert scene.signed.acquire(timeout=30)
        assert not scene.signed.acquire(timeout=0.3)
    assert len(keeper.kept) == 4


def test_only_what_is_on_disk_is_signed() -> None:
    """While the store holds rows back, nothing of them is signed, however many were recorded."""
    keeper = Keeper()
    scene = Scene(place(keeper), every_events=2, every_seconds=0.01)
    with scene.writing() as ledger:
        scene.store.gate.clear()
        for _ in range(50):
            ledger.record("run.note", NOTE)
        assert scene.store.appending.wait(30)
        assert not keeper.arrived.acquire(timeout=0.2)
        scene.store.gate.set()
        ledger.flush()
        assert keeper.arrived.acquire(timeout=30)
    assert all(checkpoint(each).root == scene.root(checkpoint(each).size) for each in keeper.kept)


def test_no_event_waits_for_a_place() -> None:
    """While a place holds a checkpoint back, events are recorded, stored and acknowledged."""
    keeper = Keeper()
    keeper.gate.clear()
    scene = Scene(place(keeper), every_events=1)
    with scene.writing() as ledger:
        ledger.record("run.note", NOTE)
        ledger.flush()
        assert keeper.arrived.acquire(timeout=30)
        for _ in range(200):
            ledger.record("run.note", NOTE)
            ledger.flush()
        assert ledger.durable == 201
        keeper.gate.set()
    assert keeper.sizes[0] == 1


def test_after_stop_nothing_more_is_recorded() -> None:
    """Stopping waits for the checkpoint that is under way, which is recorded; the last event comes after it."""
    keeper = Keeper()
    keeper.gate.clear()
    scene = Scene(place(keeper), every_events=1, every_seconds=0.01)
    with scene.writing() as ledger:
        ledger.record("run.note", NOTE)
        ledger.flush()
        assert keeper.arrived.acquire(timeout=30)
        for _ in range(5):
            ledger.record("run.note", NOTE)
        ledger.flush()
        stopping = threading.Thread(target=scene.checkpoints.stop)
        stopping.start()
        keeper.gate.set()
        stopping.join()
        ledger.record("run.finished", body("run.finished"))
    assert keeper.sizes == [1, 8]
    assert len(scene.recorded("checkpoint.signed")) == 1
    assert decode(scene.store.rows[-1]).type == "run.finished"


def test_a_schedule_that_was_stopped_does_not_begin() -> None:
    """Where the end is near already, only the last checkpoint is signed."""
    keeper = Keeper()
    scene = Scene(place(keeper), every_events=1)
    scene.checkpoints.stop()
    with scene.writing() as ledger:
        for _ in range(3):
            ledger.record("run.note", NOTE)
            ledger.flush()
    assert keeper.sizes == [3]


def test_witnesses_come_first_and_their_lines_are_kept() -> None:
    """Whatever the order of the addresses, what is kept bears the witness's cosignature."""
    keeper, cosigner = Keeper(), Cosigner()
    scene = Scene(place(keeper), place(cosigner), every_events=10)
    with scene.writing() as ledger:
        for _ in range(25):
            ledger.record("run.note", NOTE)
            ledger.flush()
    assert keeper.kept
    for note in keeper.kept:
        assert len(checkpoint(note).note.signatures) == 3
        assert WITNESS.public(COSIGNATURE).time_of(checkpoint(note).note) == NOW
    assert cosigner.known == (25 + len(scene.recorded("checkpoint.signed")), scene.root(len(scene.store.rows)))


def test_a_proof_reads_what_came_after_the_known_size() -> None:
    """A witness that saw the checkpoint before costs the rows since then; one that saw another one, all of them."""
    cosigner = Cosigner()
    scene = Scene(place(cosigner), place(Keeper()), every_events=10_000)
    with scene.writing() as ledger:
        for _ in range(7):
            ledger.record("run.note", NOTE)
        ledger.flush()
        scene.checkpoints._sign()
        for _ in range(4):
            ledger.record("run.note", NOTE)
        ledger.flush()
        scene.checkpoints._sign()
        assert scene.read == [8]
        cosigner.known = (3, scene.root(3))
        ledger.record("run.note", NOTE)
    assert scene.read == [8, 1]
    assert cosigner.known == (12, scene.root(12))


def test_a_row_that_was_changed_on_disk_is_found_by_the_next_proof() -> None:
    """What is signed is what was recorded: a stored row that is edited meanwhile fails the proof, and is told."""
    cosigner = Cosigner()
    scene = Scene(place(cosigner), place(Keeper()), every_events=10_000)

    def forged() -> None:
        with scene.writing() as ledger:
            for _ in range(2):
                scene.checkpoints._sign()
                for _ in range(5):
                    ledger.record("run.note", NOTE)
                ledger.flush()
            scene.store.rows[7] = scene.store.rows[7]._replace(payload=b'{"forged":1}')

    with pytest.raises(AnchorError, match="a row was changed"):
        forged()


def test_a_place_that_fails_on_schedule_is_a_warning() -> None:
    """The failure is recorded with the checkpoint and told once as a warning; the other places are still used."""
    keeper, broken = Keeper(), Keeper(AnchorError("no space", where="x"))
    scene = Scene(Place("x:broken", broken, False), Place("x:whole", keeper, False), every_events=10)
    with scene.writing() as ledger:
        for _ in range(2):
            for _ in range(10):
                ledger.record("run.note", NOTE)
            ledger.flush()
            assert scene.signed.acquire(timeout=30)
        broken.fails = None
    assert [each["published"][0] for each in scene.recorded("checkpoint.signed")] == [
        {"place": "x:broken", "error": "no space"}
    ] * 2
    (told,) = [each for each in scene.recorded("run.note") if each != NOTE]
    assert told["level"] == "warning"
    assert "was not kept everywhere: x:broken: no space" in told["text"]
    assert len(keeper.kept) == 3
    assert len(broken.kept) == 1


def test_the_last_one_that_fails_is_raised() -> None:
    """Leaving tells which place did not take the last checkpoint and what to do; the ledger is whole."""
    scene = Scene(place(Keeper()), Place("x:broken", Keeper(OSError("cable")), False))
    with pytest.raises(AnchorError) as caught, scene.writing() as ledger:
        ledger.record("run.note", NOTE)
    assert "(1 events) was not kept everywhere: x:broken: OSError: cable" in caught.value.what
    assert "agentcheck ledger checkpoint r" in caught.value.advice
    assert len(scene.store.rows) == 1


def test_an_error_under_way_is_not_hidden() -> None:
    """Where the run ends by an error, the last checkpoint is still published, and its failure hides nothing."""
    keeper = Keeper()
    scene = Scene(place(keeper), Place("x:broken", Keeper(OSError("cable")), False))

    def interrupted() -> None:
        with scene.writing() as ledger:
            ledger.record("run.note", NOTE)
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert keeper.sizes == [1]


def test_a_ledger_that_failed_is_signed_as_far_as_it_is_stored() -> None:
    """Rows that the store refused are in no checkpoint."""
    keeper = Keeper()
    scene = Scene(place(keeper))
    scene.store.fail_at = 4

    def filled() -> None:
        with scene.writing() as ledger:
            for _ in range(3):
                ledger.record("run.note", NOTE)
            ledger.flush()
            ledger.record("run.note", NOTE)

    with pytest.raises(StoreError, match="the disk is full"):
        filled()
    assert keeper.sizes == [3]


def test_signing_that_breaks_does_not_break_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that cannot sign any more is told for each place, at the end."""

    def broken(*arguments: object) -> str:
        raise ValueError("no entropy")

    scene = Scene(place(Keeper()))
    monkeypatch.setattr(checkpoints_module, "sign_checkpoint", broken)
    with pytest.raises(AnchorError, match="x:Keeper: not signed: ValueError: no entropy"), scene.writing() as ledger:
        ledger.record("run.note", NOTE)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda note: note, "it gave no cosignature"),
        (lambda note: note + KEY.sign("x").line, "it gave no cosignature"),
        (lambda note: note.replace("\n7\n", "\n8\n"), "another checkpoint than the one"),
        (lambda note: note + "x", "not end in a newline"),
        (lambda note: note + generate("stranger").cosign(checkpoint(note).note.text, 1).line, "witness in the trust"),
        (lambda note: note + WITNESS.cosign("another text\n", NOW).line, "of a witness in the trust file"),
    ],
)
def test_what_is_no_cosignature_is_not_kept(answer: Callable[[str], str], why: str) -> None:
    """A place that gives no valid cosignature of a trusted witness has failed, and the note stays as it was."""

    class Odd(Keeper):
        def publish(self, note: str, proof: Callable[[int], Sequence[bytes]]) -> str:
            return answer(note)

    keeper, note = Keeper(), sign_checkpoint(KEY, "r", "main", 7, bytes(32), NOW)
    places = [Place("x:odd", Odd(), True), place(keeper)]
    published = publish(note, places, lambda old: [], [WITNESS.public(COSIGNATURE)])
    assert published.note == note == keeper.kept[0]
    assert why in published.failures


def test_only_cosignatures_are_taken_from_a_witness() -> None:
    """Of what a witness adds, the lines of trusted witnesses are kept; lines of the log itself and others are not."""
    text = "example.org/acme/r/main\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    mine = (KEY.sign(text), KEY.cosign(text, NOW))
    wanted, other = WITNESS.cosign(text, NOW), generate("stranger").cosign(text, NOW)

    class Generous(Keeper):
        def publish(self, note: str, proof: Callable[[int], Sequence[bytes]]) -> str:
            return str(Note(text, (other, mine[1], wanted, generate("log").sign(text))))

    def signatures(witnesses: list[PublicKey] | None) -> object:
        found = publish(str(Note(text, mine)), [Place("x:w", Generous(), True)], lambda old: [], witnesses)
        return checkpoint(found.note).note.signatures

    assert signatures([WITNESS.public(COSIGNATURE)]) == (*mine, wanted)
    assert signatures(None) == (*mine, other, wanted)


def test_a_witness_cannot_spoil_the_checkpoint() -> None:
    """Lines in the log's own name, many of one key, and more than a verifier reads: the note stays one that counts."""
    text = "example.org/acme/r/main\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    mine = (KEY.sign(text), KEY.cosign(text, NOW))
    foul = mine[1]._replace(value=bytes(72))
    again = tuple(WITNESS.cosign(text, NOW + more) for more in range(40))
    crowd = tuple(generate(f"w{number}").cosign(text, NOW) for number in range(40))

    def published(added: Sequence[Signature]) -> Published:
        class Greedy(Keeper):
            def publish(self, note: str, proof: Callable[[int], Sequence[bytes]]) -> str:
                return str(Note(text, (*mine, *added)))

        return publish(str(Note(text, mine)), [Place("x:w", Greedy(), True)], lambda old: [], None)

    assert "it gave no cosignature" in published([foul]).failures
    assert len(checkpoint(published(again).note).note.signatures) == 3
    refused = published(crowd)
    assert "more than a checkpoint may carry" in refused.failures
    assert checkpoint(refused.note).note.signatures == mine


def test_observed_rows_need_no_ledger() -> None:
    """The tree grows with what `observe` is told, in batches of any size."""
    keeper = Keeper()
    rows = [Row("main", number, b'{"n":%d}' % number, bytes(32)) for number in range(1, 8)]
    scene = Scene(place(keeper))
    with scene.checkpoints:
        for batch in (rows[:1], rows[1:5], rows[5:]):
            scene.checkpoints.observe(batch)
    assert checkpoint(keeper.kept[0]).root == root(leaf(row.payload) for row in rows)
