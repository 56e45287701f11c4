"""Which places the checkpoints of a project go to, and by which key: settings and environment to `Checkpoints`.

Also what is done with the checkpoints of a run that has ended: sign and publish its heads, list what is kept of it,
and make the proof of an event.
"""

from __future__ import annotations

import base64
import time as time_module
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from typing import NamedTuple

from agentcheck.contracts import AnchorFactory, Store
from agentcheck.errors import AgentcheckError, LedgerError, UserError
from agentcheck.ledger import merkle, notes
from agentcheck.ledger.chain import genesis, leaf
from agentcheck.ledger.checkpoints import Checkpoints, Payloads, Place, Published, publish, refuse_fork
from agentcheck.ledger.reading import read_events
from agentcheck.ledger.trust import read_trust
from agentcheck.plugins import Registry
from agentcheck.runs import RunFolder
from agentcheck.settings import Settings

#: The private key: the path of its file, or its text.
KEY_VARIABLE = "AGENTCHECK_SIGNING_KEY"
#: Its value on a machine that is not to sign what the project signs elsewhere.
UNSIGNED = "unsigned"
_TABLE = "[tool.agentcheck.checkpoints]"
_WITNESSES = ("https", "http")


class Publishing:
    """Signs the streams of a run (`runs.Sign`) by one key and publishes to the places of the settings."""

    def __init__(
        self,
        key: notes.SigningKey,
        places: Sequence[Place],
        settings: Settings,
        *,
        clock: Callable[[], float] = time_module.time,
    ) -> None:
        self.key, self.places, self.clock = key, places, clock
        self._settings = settings.checkpoints
        trust = read_trust(settings.root / settings.checkpoints.trust) if settings.checkpoints.trust else None
        #: Whose cosignatures are kept; ``None`` for all.
        self.witnesses = trust.witnesses if trust else None
        #: Whose checkpoints nothing may be signed against: this key's, and those of the keys before it.
        self.logs = (key.public(), *(trust.logs if trust else ()))
        self._open: list[Checkpoints] = []
        self._stopped = False

    def __call__(self, run: str, stream: str, payloads: Payloads) -> Checkpoints:
        """What signs one stream."""
        made = Checkpoints(
            self.key,
            run,
            stream,
            self.places,
            payloads,
            every_events=self._settings.every_events,
            every_seconds=self._settings.every_seconds,
            witnesses=self.witnesses,
            clock=self.clock,
        )
        self._open.append(made)
        if self._stopped:
            made.stop()
        return made

    def stop(self) -> None:
        """End all schedules: the streams of this process are about to get their last events."""
        self._stopped = True
        for each in self._open:
            each.stop()


def configured(settings: Settings, registry: Callable[[], Registry], environ: Mapping[str, str]) -> Publishing | None:
    """What the project's settings and the environment ask for; ``None`` where nothing is published, or signed here.

    Raises:
        UserError: addresses without a key, an address that cannot be used, a key or trust file that is none, or only
            witnesses, which keep no checkpoint to read.
        MissingExtra: `cryptography` is not installed.
    """
    found = places(settings, registry)
    if not found:
        return None
    text = environ.get(KEY_VARIABLE, "").strip()
    if not text:
        raise UserError(
            f"{_TABLE} publish needs a key to sign with, and {KEY_VARIABLE} is not set",
            advice=f"`agentcheck ledger keygen NAME` makes a key; set {KEY_VARIABLE} to its path or its text, "
            f"or to {UNSIGNED!r} where runs are not to be signed",
        )
    if text == UNSIGNED:
        return None
    return Publishing(notes.read_key(text), found, settings)


def examine(
    settings: Settings, registry: Callable[[], Registry], environ: Mapping[str, str]
) -> Sequence[tuple[str, str, str]]:
    """What ``agentcheck doctor`` says where places are named: ``ok``, ``warn`` or ``fail``, what, and advice.

    It fails where a run would end before its first case. Whether a witness answers is not asked.
    """
    wanted = ", ".join(settings.checkpoints.publish)
    try:
        found = configured(settings, registry, environ)
    except AgentcheckError as error:
        return [("fail", f"{error.where}: {error.what}" if error.where else error.what, error.advice)]
    if found is None:
        return [
            ("warn", f"runs here are unsigned: {KEY_VARIABLE}={UNSIGNED}", f"set it to a key to publish to {wanted}")
        ]
    return [("ok", f"signed by {found.key.public().label}, published to {wanted}", "")]


def places(settings: Settings, registry: Callable[[], Registry]) -> Sequence[Place]:
    """The places that the settings name.

    Raises:
        UserError: an address cannot be used, or all are witnesses.
    """
    found = []
    for address in settings.checkpoints.publish:
        scheme = address.partition(":")[0]
        known = registry().names("anchors")
        if scheme not in known:
            raise UserError(
                f"{_TABLE} publish: no place for checkpoints has the scheme {scheme!r}",
                where=address,
                advice=f"known: {', '.join(known)}",
            )
        factory: AnchorFactory = registry().get("anchors", scheme)
        found.append(Place(address, factory(address, settings.root), scheme in _WITNESSES))
    if found and all(place.witness for place in found):
        raise UserError(
            f"{_TABLE} publish names witnesses only, and a witness keeps no checkpoint to read",
            where=found[0].address,
            advice="add file:FOLDER or git:refs/notes/agentcheck, which keep what the witness cosigned",
        )
    return found


def run_of(folder: RunFolder) -> str:
    """The id under which the run was recorded and signed, wherever its folder was copied to."""
    for stream in folder.streams():
        with folder.reading(stream) as store:
            for event in islice(read_events(store, stream), 1):
                if event.type == "run.started":
                    return str(event.body["run"])
    return folder.path.resolve().name


class Kept(NamedTuple):
    """A checkpoint that a place keeps: where, its text, and what it says."""

    address: str
    text: str
    checkpoint: notes.Checkpoint


def kept(places: Sequence[Place], run: str) -> list[Kept]:
    """The checkpoints of a run in all places; a text that is no checkpoint is passed over.

    Raises:
        AnchorError: a place cannot be read.
    """
    found = []
    for place in places:
        for text in place.anchor.notes(run):
            try:
                found.append(Kept(place.address, text, notes.checkpoint(text)))
            except LedgerError:
                continue
    return found


class Head(NamedTuple):
    """A stream whose head was signed now, and where the checkpoint went."""

    stream: str
    size: int
    published: Published


def sign_heads(folder: RunFolder, publishing: Publishing) -> list[Head]:
    """Sign and publish the heads of all streams of a run that has ended.

    A stream is signed only if its chain holds and it begins with what every kept checkpoint of this key, and of keys
    of the same name in the trust file, says. Where this key signed the head already, that checkpoint is published to
    the places which lack it.

    Raises:
        UserError: the run is still written.
        LedgerError: a stream was changed, cut or replaced since a kept checkpoint; nothing of it was signed.
        AnchorError: a place cannot be read.
    """
    folder.refuse_if_written()
    run = run_of(folder)
    earlier = [each for each in kept(publishing.places, run) if any(_signed(each, log) for log in publishing.logs)]
    found = []
    for stream in folder.streams():
        with folder.reading(stream) as store:
            head = store.head(stream)
            if head is None:
                continue
            origin, size = f"{publishing.key.name}/{run}/{stream}", head[0]
            mine = [each for each in earlier if each.checkpoint.origin == origin]
            roots = merkle.roots(_leaves(store, stream), [size, *(each.checkpoint.size for each in mine)])
            for each in mine:
                refuse_fork(each.checkpoint, size, roots)
            found.append(Head(stream, size, _publish_head(publishing, run, store, stream, size, roots[size], mine)))
    return found


def _publish_head(
    publishing: Publishing, run: str, store: Store, stream: str, size: int, root: bytes, mine: Sequence[Kept]
) -> Published:
    there = max(
        (each for each in mine if each.checkpoint.size == size and _signed(each, publishing.key.public())),
        key=lambda each: len(each.checkpoint.note.signatures),
        default=None,
    )
    if there is None:
        text = notes.sign_checkpoint(publishing.key, run, stream, size, root, int(publishing.clock()))
    else:
        text = there.text
    cosigned = len(notes.parse(text).signatures) - 2  # besides the two of the log
    wanted = sum(place.witness for place in publishing.places)
    asked = [place for place in publishing.places if not place.witness or cosigned < wanted]

    def proof(old: int) -> Sequence[bytes]:
        return merkle.consistency_proof((leaf(row.payload) for row in store.read(stream)), old, size)

    return publish(text, asked, proof, publishing.witnesses)


def _signed(each: Kept, log: notes.PublicKey) -> bool:
    return log.time_of(each.checkpoint.note) is not None


def _leaves(store: Store, stream: str) -> Iterator[bytes]:
    """The leaves of a stored stream, while its numbers and its chain hold.

    Raises:
        LedgerError: they do not; the place is named.
    """
    chain = genesis(stream)
    for number, row in enumerate(store.read(stream), 1):
        found = leaf(row.payload) if isinstance(row.payload, bytes) and row.payload else b""
        chain = sha256(b"\x02" + chain + found).digest()
        if not found or row.seq != number or row.chain != chain:
            raise LedgerError(
                "the chain does not hold, so nothing of this stream is signed",
                where=f"{stream}:{number}",
                advice="`agentcheck verify` says what was changed",
            )
        yield found


class Proof(NamedTuple):
    """An event's canonical bytes, and the tlog-proof that they are in the tree of a checkpoint."""

    payload: bytes
    text: str
    checkpoint: notes.Checkpoint


def prove(folder: RunFolder, stream: str, seq: int, text: str) -> Proof:
    """The proof of one event under a checkpoint (C2SP tlog-proof).

    ``text`` holds one or more checkpoints; the smallest one of the stream that covers the event is taken. Whether its
    signatures hold is for whoever verifies the proof.

    Raises:
        UserError: there is no such event, or no checkpoint of the stream that covers it.
        LedgerError: the event was withheld, or the stream is not what the checkpoint says.
    """
    if stream not in folder.streams():
        raise UserError(f"the run has no stream {stream!r}", advice=f"it has: {', '.join(folder.streams())}")
    point = _covering(text, f"/{run_of(folder)}/{stream}", seq)
    with folder.reading(stream) as store:
        row = next(iter(store.read(stream, seq)), None)
        if row is None or row.seq != seq:
            raise UserError(f"stream {stream!r} has no event {seq}")
        if row.payload[:1] == b"\x00":
            raise LedgerError(
                "the event was withheld; what is left of it proves nothing about what it said", where=f"{stream}:{seq}"
            )
        hashes = merkle.inclusion_proof((leaf(each.payload) for each in store.read(stream)), seq - 1, point.size)
    if not merkle.verify_inclusion(leaf(row.payload), seq - 1, point.size, hashes, point.root):
        raise _another(point.size, stream)
    lines = ["c2sp.org/tlog-proof@v1", f"index {seq - 1}", *(base64.b64encode(each).decode() for each in hashes)]
    return Proof(row.payload, "\n".join([*lines, "", str(point.note)]), point)


def extend(folder: RunFolder, stream: str, old: int, text: str) -> str:
    """The proof that the latest checkpoint of a stream in ``text`` begins with its first ``old`` events.

    The first line says ``old <size>``, each further one is a hash in base64 (C2SP tlog-witness).

    Raises:
        UserError: no checkpoint of the stream that covers them.
        LedgerError: the stream is not what the checkpoint says.
    """
    point = _covering(text, f"/{run_of(folder)}/{stream}", old, latest=True)
    with folder.reading(stream) as store:
        leaves = [store.read(stream), store.read(stream)]
        proof = merkle.consistency_proof((leaf(row.payload) for row in leaves[0]), old, point.size)
        roots = merkle.roots((leaf(row.payload) for row in leaves[1]), [old, point.size])
    if roots.get(point.size) != point.root:
        raise _another(point.size, stream)
    return "".join(f"{line}\n" for line in [f"old {old}", *(base64.b64encode(each).decode() for each in proof)])


def _another(size: int, stream: str) -> LedgerError:
    return LedgerError(
        f"the first {size} events are not those of the checkpoint",
        where=stream,
        advice="the ledger was changed, or it is another one: see `agentcheck verify`",
    )


def _covering(text: str, ending: str, seq: int, *, latest: bool = False) -> notes.Checkpoint:
    found = []
    for each in notes.split(text):
        try:
            found.append(notes.checkpoint(each))
        except AgentcheckError:
            continue
    if not found:
        raise UserError("this is no checkpoint", advice="`agentcheck ledger anchors RUN` prints those that are kept")
    of_stream = [each for each in found if f"/{each.origin}".endswith(ending)]
    if not of_stream:
        origins = ", ".join(sorted({each.origin for each in found}))
        raise UserError(f"no checkpoint of {ending[1:]}", advice=f"these are of {origins}")
    covering = [each for each in of_stream if each.size >= seq]
    if not covering:
        most = max(each.size for each in of_stream)
        raise UserError(f"no checkpoint covers event {seq}; the latest covers the first {most}")
    return (max if latest else min)(covering, key=lambda each: each.size)
