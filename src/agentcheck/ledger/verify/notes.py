"""Checkpoints as a verifier reads them: C2SP signed notes, verifier keys, cosignatures, and the file of trusted keys.

Specifications: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature. A checkpoint of a ledger
has the origin ``<name of the signing key>/<run>/<stream>`` and no extension lines.

A trust file has one entry a line; ``#`` begins a comment::

    log <verifier key>                                   signs checkpoints; a key that was retired stays in the file
    witness <verifier key>                               cosigns them
    revoked <name>+<key id> <RFC 3339 time> <reason>     counts from then on only with an earlier cosignature

A verifier key is ``<name>+<key id>+<base64 of a type byte and the 32 bytes of the Ed25519 key>``; the type is 1 for a
log, 4 for a witness.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from hashlib import sha256

from .ed25519 import holds

PLAIN, TIMESTAMPED = 1, 4
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)")
#: Bytes and signatures of the largest note that is looked at.
_LARGEST, _MOST_SIGNATURES = 64 * 1024, 32


class Unusable(ValueError):
    """A note, a key or a trust file that cannot be used; the message says why."""


@dataclass(frozen=True)
class Key:
    """A public key with its name; ``id`` is 8 hexadecimal digits over name, type and key."""

    name: str
    public: bytes
    type: int

    @property
    def id(self) -> str:
        """The key id (signed-note, "Signatures")."""
        return sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public).digest()[:4].hex()

    def __str__(self) -> str:
        return f"{self.name}+{self.id}"


@dataclass(frozen=True)
class Revoked:
    """From when on a key's signatures count no more (seconds since the Unix epoch), and why."""

    time: int
    reason: str


@dataclass
class Trust:
    """Whose signatures count."""

    logs: dict[str, Key] = field(default_factory=dict)
    witnesses: dict[str, Key] = field(default_factory=dict)
    revoked: dict[str, Revoked] = field(default_factory=dict)


@dataclass(frozen=True)
class Signature:
    """One line of a note: the name and id that it claims, and the bytes after the id."""

    name: str
    id: str
    data: bytes


@dataclass(frozen=True)
class Checkpoint:
    """A parsed checkpoint whose signatures were not looked at yet; ``text`` is what is signed."""

    origin: str
    size: int
    root: bytes
    text: str
    signatures: tuple[Signature, ...]


@dataclass(frozen=True)
class Signed:
    """Who signed a checkpoint, and when by whose clock; times in seconds since the Unix epoch, 0 for no time."""

    log: Key
    time: int
    witnesses: tuple[tuple[str, int], ...]


def parse_key(text: str, types: tuple[int, ...]) -> Key:
    """A verifier key.

    Raises:
        Unusable: it is none, its id is not its own, or it is of another type.
    """
    if "PRIVATE+KEY" in text:
        raise Unusable("this is a private key, which belongs to nobody else; give the verifier key (log NAME+ID+...)")
    name, _, rest = text.partition("+")
    claimed, _, encoded = rest.partition("+")
    data = unbase64(encoded)
    if not name or re.search(r"\s", name) or data is None or not data:
        raise Unusable(f"not a verifier key (name+id+base64): {name:.40}")
    if data[0] not in types:
        wanted = " or ".join(str(kind) for kind in types)
        raise Unusable(f"key {name} is of type {data[0]}; what is wanted here is type {wanted}")
    key = Key(name, data[1:], data[0])
    if len(key.public) != 32 or key.id != claimed:
        raise Unusable(f"key {name}: the id {claimed:.20} is not that of the key; was it copied whole?")
    return key


def parse_trust(text: str) -> Trust:
    """A trust file.

    Raises:
        Unusable: a line that is none of the three, with its number, or no log key at all.
    """
    trust = Trust()
    for number, line in enumerate(text.split("\n"), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            _take(trust, words)
        except Unusable as error:
            raise Unusable(f"line {number}: {error}") from None
    if not trust.logs:
        raise Unusable("no log key: a line 'log <verifier key>' says whose checkpoints count")
    unknown = [name for name in trust.revoked if name not in trust.logs and name not in trust.witnesses]
    if unknown:
        raise Unusable(f"a key is revoked that no line names: {unknown[0]}")
    return trust


def _take(trust: Trust, words: list[str]) -> None:
    if words[0] == "log" and len(words) == 2:
        key = parse_key(words[1], (PLAIN,))
        trust.logs[str(key)] = key
    elif words[0] == "witness" and len(words) == 2:
        key = parse_key(words[1], (TIMESTAMPED,))
        trust.witnesses[str(key)] = key
    elif words[0] == "revoked" and len(words) >= 3:
        time = _time(words[2])
        revoked = Revoked(time, " ".join(words[3:]))
        earlier = trust.revoked.get(words[1], revoked)
        trust.revoked[words[1]] = min(earlier, revoked, key=lambda each: each.time)
    else:
        if "PRIVATE+KEY" in words[0]:
            parse_key(words[0], ())
        raise Unusable(
            f"not 'log KEY', 'witness KEY' or 'revoked NAME+ID TIME REASON': {words[0].partition('+')[0]:.40}"
        )


def _time(text: str) -> int:
    """Seconds since the Unix epoch of an RFC 3339 time; a fraction of a second is cut off."""
    match = _TIME.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        zone = match[3].upper().replace("Z", "+00:00")
        return int(datetime.fromisoformat(f"{match[1]}T{match[2]}{zone}").timestamp())
    except ValueError:
        raise Unusable(f"not a time such as 2026-01-31T12:00:00Z: {text:.40}") from None


def split(text: str) -> Iterator[str]:
    """The notes of a text that holds several, one after the other: each ends with its last signature line."""
    note: list[str] = []
    signed = False
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        is_signature = line.startswith("— ")
        if signed and not is_signature:
            yield "".join(note)
            note, signed = [], False
        if note or line.strip():
            note.append(line)
        signed = is_signature
    if note:
        yield "".join(note)


def parse(note: str) -> Checkpoint:
    """A checkpoint, strictly.

    Raises:
        Unusable: it is none; the message says at which line.
    """
    if len(note.encode()) > _LARGEST:
        raise Unusable(f"larger than any checkpoint ({len(note)} characters)")
    if any(letter < " " and letter != "\n" for letter in note) or not note.endswith("\n"):
        raise Unusable("a control character, or no line feed at the end")
    text, separator, lines = note.rpartition("\n\n")
    if not separator:
        raise Unusable("no empty line between text and signatures")
    text += "\n"
    parts = text.split("\n")[:-1]
    if len(parts) != 3 or not parts[0]:
        raise Unusable(f"{len(parts)} lines of text where a checkpoint of a ledger has 3 (origin, size, root)")
    root = unbase64(parts[2])
    if not _SIZE.fullmatch(parts[1]):
        raise Unusable(f"line 2: no size: {parts[1]:.40}")
    if root is None or len(root) != 32:
        raise Unusable(f"line 3: no root hash: {parts[2]:.60}")
    signatures = tuple(_signature(line, number) for number, line in enumerate(lines.split("\n")[:-1], 5))
    if not 1 <= len(signatures) <= _MOST_SIGNATURES:
        raise Unusable(f"{len(signatures)} signatures")
    return Checkpoint(parts[0], int(parts[1]), root, text, signatures)


def _signature(line: str, number: int) -> Signature:
    match = _SIGNATURE.fullmatch(line)
    data = unbase64(match[2]) if match else None
    if match is None or data is None or len(data) < 5:
        raise Unusable(f"line {number}: no signature: {line:.60}")
    return Signature(match[1], data[:4].hex(), data[4:])


def check(checkpoint: Checkpoint, trust: Trust) -> Signed:
    """Who, of those that are trusted, signed a checkpoint.

    Raises:
        Unusable: nobody did, a signature does not hold, the origin is not the signer's, or the key was revoked and no
            witness saw the checkpoint before.
    """
    own = {str(key): _times(checkpoint, Key(key.name, key.public, TIMESTAMPED)) for key in trust.logs.values()}
    signers = [key for key in trust.logs.values() if _plain(checkpoint, key)]
    if not signers:
        claimed = ", ".join(f"{each.name}+{each.id}" for each in checkpoint.signatures)
        raise Unusable(f"signed by no key that is trusted; it carries signatures of {claimed}")
    named = [key for key in signers if checkpoint.origin.rsplit("/", 2)[0] == key.name]
    if not named:
        raise Unusable(f"key {signers[0]} signs for its own origins, and this one is {checkpoint.origin}")
    witnesses = _witnesses(checkpoint, trust, {key.public for key in signers})
    seen = min((time for _, time in witnesses), default=None)
    counting = [key for key in named if not _is_revoked(trust, key, seen)]
    if not counting:
        revoked = trust.revoked[str(named[0])]
        when = datetime.fromtimestamp(revoked.time, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        raise Unusable(
            f"signed by key {named[0]}, which is revoked from {when} on ({revoked.reason or 'no reason given'}), "
            "and no trusted witness saw it before"
        )
    times = [own[str(key)] for key in counting]
    return Signed(counting[0], min(map(min, times)) if all(times) else 0, tuple(sorted(witnesses)))


def _witnesses(checkpoint: Checkpoint, trust: Trust, signers: set[bytes]) -> list[tuple[str, int]]:
    """Name and earliest time of each witness that counts; none is one of those that signed the checkpoint itself."""
    found = {}
    for key in trust.witnesses.values():
        times = _times(checkpoint, key)
        if times and not _is_revoked(trust, key, min(times)) and key.public not in signers:
            found[key.public] = (key.name, min(times))
    return list(found.values())


def _is_revoked(trust: Trust, key: Key, seen: int | None) -> bool:
    """Whether a key was revoked, and not seen before."""
    revoked = trust.revoked.get(str(key))
    return revoked is not None and (seen is None or seen >= revoked.time)


def _lines(checkpoint: Checkpoint, key: Key) -> Iterator[bytes]:
    return (each.data for each in checkpoint.signatures if (each.name, each.id) == (key.name, key.id))


def _plain(checkpoint: Checkpoint, key: Key) -> bool:
    found = False
    for data in _lines(checkpoint, key):
        if not holds(key.public, checkpoint.text.encode(), data):
            raise Unusable(f"the signature of key {key} does not hold: the text is not what was signed")
        found = True
    return found


def _times(checkpoint: Checkpoint, key: Key) -> list[int]:
    """The times at which a key cosigned (tlog-cosignature, "Ed25519 signed message")."""
    times = []
    for data in _lines(checkpoint, key):
        time = int.from_bytes(data[:8], "big")
        message = f"cosignature/v1\ntime {time}\n{checkpoint.text}".encode()
        if len(data) != 72 or time >= 1 << 63 or not holds(key.public, message, data[8:]):
            raise Unusable(f"the cosignature of key {key} does not hold: the text is not what was signed")
        times.append(time)
    return times


def unbase64(text: str) -> bytes | None:
    """The bytes of canonical base64 (RFC 4648, section 4), ``None`` for anything else."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None
