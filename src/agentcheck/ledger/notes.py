"""Signed notes: keys, checkpoints, signatures with and without a time (C2SP signed-note, -checkpoint, -cosignature).

A checkpoint says what the root of a stream's tree was at a size::

    example.org/acme/20250101-120000-ab12/main        origin: <key name>/<run id>/<stream>
    20852163                                          size
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=      root

    — example.org/acme Az3grlgtzPICa5OS8npVm...       Ed25519 over these three lines (type 0x01)
    — example.org/acme wZ2XcQAAAABkGFDLEZMHw...       the same key over a time and these three lines (type 0x04)

A witness adds lines of type 0x04 with its own key. Ed25519 comes from the package `cryptography` (the extra
``signing``), which is imported only where something is signed or a signature is looked at.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from agentcheck.errors import LedgerError, MissingExtra, UserError

#: Signature types of C2SP signed-note: Ed25519 over the text; Ed25519 with a time, as witnesses sign.
ED25519, COSIGNATURE = 0x01, 0x04
_PRIVATE = "PRIVATE+KEY+"
_DASH = "\u2014 "
#: Bounds of a note, as Go's package note has them.
_MOST_SIGNATURES = 100
_MOST_BYTES = 1_000_000
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_ROOT = 32


class Signature(NamedTuple):
    """A signature line of a note: who signed by the line's own account, and the bytes that follow the key's id."""

    name: str
    key_id: bytes
    value: bytes

    @property
    def line(self) -> str:
        """The line as it stands in a note, with its newline."""
        return f"{_DASH}{self.name} {_base64(self.key_id + self.value)}\n"


class Note(NamedTuple):
    """A text that ends in a newline, and the signatures under it."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(each.line for each in self.signatures)}"


class Checkpoint(NamedTuple):
    """What the first three lines of a note say: the root of the stream ``origin`` at a size."""

    origin: str
    size: int
    root: bytes
    note: Note


class PublicKey(NamedTuple):
    """Who may sign, and how: the name, the signature type and the 32 bytes of an Ed25519 key."""

    name: str
    type: int
    key: bytes

    @property
    def id(self) -> bytes:
        """Four bytes that tell the keys of a name apart."""
        return sha256(f"{self.name}\n".encode() + bytes([self.type]) + self.key).digest()[:4]

    @property
    def label(self) -> str:
        """``name+id``, by which a key is named in messages and revoked in a trust file."""
        return f"{self.name}+{self.id.hex()}"

    def __str__(self) -> str:
        """The C2SP verifier key (vkey), as it stands in a trust file."""
        return f"{self.label}+{_base64(bytes([self.type]) + self.key)}"

    def time_of(self, note: Note) -> int | None:
        """The first time, in seconds since the Unix epoch, at which this key signed a note; ``None`` if it did not.

        Of a key that signs without a time (type 0x01) the answer is 0.
        """
        mine = (each for each in note.signatures if (each.name, each.key_id) == (self.name, self.id))
        times = (self._time(note.text, each) for each in mine)
        return min((time for time in times if time is not None), default=None)

    def _time(self, text: str, signature: Signature) -> int | None:
        value, signed, time = signature.value, text.encode(), 0
        if self.type == COSIGNATURE:
            time, value = int.from_bytes(value[:8], "big"), value[8:]
            signed = _timed(text, time)
        ed25519 = _ed25519()
        try:
            ed25519.Ed25519PublicKey.from_public_bytes(self.key).verify(value, signed)
        except (ed25519.InvalidSignature, ValueError):
            return None
        return time


class SigningKey(NamedTuple):
    """A private key of Ed25519 and the name it signs by. Its text is that of Go's package note."""

    name: str
    seed: bytes

    def public(self, type: int = ED25519) -> PublicKey:  # noqa: A002
        """The key by which others check one type of its signatures."""
        return PublicKey(self.name, type, self._private().public_key().public_bytes_raw())

    def text(self) -> str:
        """``PRIVATE+KEY+<name>+<id>+<base64>``: whoever reads it can sign in this name."""
        return f"{_PRIVATE}{self.public().label}+{_base64(bytes([ED25519]) + self.seed)}"

    def __repr__(self) -> str:
        return f"SigningKey({self.name!r})"

    def sign(self, text: str) -> Signature:
        """A signature over a note's text (type 0x01)."""
        return Signature(self.name, self.public().id, self._private().sign(text.encode()))

    def cosign(self, text: str, time: int) -> Signature:
        """A signature over a time, in seconds since the Unix epoch, and a note's text (type 0x04)."""
        value = time.to_bytes(8, "big") + self._private().sign(_timed(text, time))
        return Signature(self.name, self.public(COSIGNATURE).id, value)

    def _private(self) -> Any:
        return _ed25519().Ed25519PrivateKey.from_private_bytes(self.seed)


def sign_checkpoint(key: SigningKey, run: str, stream: str, size: int, root: bytes, time: int) -> str:
    """A checkpoint of a stream, signed with both signatures of a log; ``time`` in seconds since the Unix epoch."""
    text = f"{key.name}/{run}/{stream}\n{size}\n{_base64(root)}\n"
    return str(Note(text, (key.sign(text), key.cosign(text, time))))


def generate(name: str) -> SigningKey:
    """A new key.

    Raises:
        UserError: the name is empty, or holds a space, a plus sign, ``#`` or what cannot be printed.
    """
    if not _is_name(name) or "#" in name or not name.isprintable():
        raise UserError(f"{name!r} is no name for a key", advice="like a URL without a scheme: example.org/acme")
    return SigningKey(name, secrets.token_bytes(32))


def write_key(key: SigningKey, file: Path) -> None:
    """Write a private key into a new file that only its owner can read.

    Raises:
        UserError: the file exists, or cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(key.text() + "\n")
    except FileExistsError:
        raise UserError(
            "the file exists; a key is never overwritten",
            where=str(file),
            advice=f"`agentcheck ledger key {file}` prints its line for a trust file; --out FILE makes another key",
        ) from None
    except OSError as error:
        raise UserError(f"the key cannot be written: {error.strerror}", where=str(file)) from error


def read_key(text: str) -> SigningKey:
    """A private key, given as its text or as the path of a file that holds it.

    Raises:
        UserError: there is no such file, or it holds no key. No message shows what was given as text.
    """
    where = ""
    if not text.startswith(_PRIVATE):
        where = text
        try:
            text = Path(text).read_text("utf-8")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "not a text file"
            # What was given may be a damaged key, so it is not repeated.
            raise UserError(
                f"the signing key is neither a private key nor the path of one ({why})", advice=_KEY_ADVICE
            ) from None
    try:
        return _private_key(text.strip())
    except ValueError as error:
        raise UserError(f"not a private key to sign with: {error}", where=where, advice=_KEY_ADVICE) from None


_KEY_ADVICE = "`agentcheck ledger keygen NAME` makes one; give the file's path, or the text that is in it"


def _private_key(text: str) -> SigningKey:
    if not text.startswith(_PRIVATE):
        raise ValueError(f"it does not begin with {_PRIVATE}")
    name, key_id, blob = _parts(text.removeprefix(_PRIVATE))
    if blob[0] != ED25519:
        raise ValueError("it is not of the type Ed25519 (0x01)")
    key = SigningKey(name, blob[1:])
    if key.public().id.hex() != key_id:
        raise ValueError("its id is not that of the key")
    return key


def public_key(text: str, *types: int) -> PublicKey:
    """A C2SP verifier key (vkey): ``name+id+base64(type || key)``.

    Raises:
        LedgerError: it is none, or not of one of these types.
    """
    try:
        name, key_id, blob = _parts(text)
        found = PublicKey(name, blob[0], blob[1:])
        if found.id.hex() != key_id:
            raise ValueError("its id is not that of the key")
    except ValueError as error:
        raise LedgerError(f"{text!r} is no verifier key: {error}", advice="name+id+base64") from None
    if found.type not in types:
        wanted = " or ".join(f"0x{each:02x}" for each in types)
        raise LedgerError(f"the key {found.label} is of the type 0x{found.type:02x}, and {wanted} is needed")
    return found


def _parts(text: str) -> tuple[str, str, bytes]:
    """Name, id and the 33 bytes of a key's text, public or private."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    if not _is_name(name):
        raise ValueError("it has no name")
    if not re.fullmatch("[0-9a-f]{8}", key_id):
        raise ValueError("its id is not eight hexadecimal digits")
    blob = _unbase64(encoded)
    if blob is None or len(blob) != 33:
        raise ValueError("what follows the id is not a type and 32 bytes in base64")
    return name, key_id, blob


def parse(text: str) -> Note:
    """A signed note; the signatures are not checked.

    Raises:
        LedgerError: it is none; the message names the line.
    """
    if len(text) > _MOST_BYTES:
        raise LedgerError(f"the note is longer than {_MOST_BYTES:,} characters")
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        for letter in line:
            if letter < " " or "\ud800" <= letter <= "\udfff":
                raise _wrong(number, f"the character U+{ord(letter):04X} may not stand in a note")
    if lines[-1] != "":
        raise _wrong(len(lines), "the line does not end in a newline")
    empty = [number for number, line in enumerate(lines[:-1]) if line == ""]
    if not empty or empty[-1] == 0:
        raise _wrong(1 if empty else max(1, len(lines) - 1), "no text, blank line and signatures")
    blank = empty[-1]
    signatures = tuple(_signature(line, blank + 2 + offset) for offset, line in enumerate(lines[blank + 1 : -1]))
    if not signatures:
        raise _wrong(blank + 1, "no signature follows the blank line")
    if len(signatures) > _MOST_SIGNATURES:
        raise _wrong(blank + 2 + _MOST_SIGNATURES, f"more than {_MOST_SIGNATURES} signatures")
    return Note("\n".join(lines[:blank]) + "\n", signatures)


def signatures(text: str) -> tuple[Signature, ...]:
    """Signature lines alone, as a witness answers with.

    Raises:
        LedgerError: a line is none; the message names the line.
    """
    if not text.endswith("\n"):
        raise _wrong(text.count("\n") + 1, "the line does not end in a newline")
    return tuple(_signature(line, number) for number, line in enumerate(text[:-1].split("\n"), 1))


def _signature(line: str, number: int) -> Signature:
    dash, name, encoded = line[:2], *_halves(line[2:])
    if dash != _DASH or not _is_name(name):
        raise _wrong(number, "not a signature line: an em dash, a space, the key's name, a space, base64")
    blob = _unbase64(encoded)
    if blob is None or len(blob) < 5:
        raise _wrong(number, "the signature is not an id and a signature in base64")
    return Signature(name, blob[:4], blob[4:])


def _halves(text: str) -> tuple[str, str]:
    name, _, encoded = text.partition(" ")
    return name, encoded


def checkpoint(text: str) -> Checkpoint:
    """A signed note whose text is a checkpoint; the signatures are not checked. Extension lines stay in its text.

    Raises:
        LedgerError: it is none; the message names the line.
    """
    note = parse(text)
    lines = note.text.split("\n")[:-1]
    if "" in lines:
        raise _wrong(lines.index("") + 1, "a checkpoint has no empty line")
    if len(lines) < 3:
        raise _wrong(len(lines) + 1, "a checkpoint has an origin, a size and a root")
    if not _SIZE.fullmatch(lines[1]) or int(lines[1]) >= 1 << 63:
        raise _wrong(2, f"{lines[1][:40]!r} is no size: decimal digits without leading zeros")
    root = _unbase64(lines[2])
    if root is None or len(root) != _ROOT:
        raise _wrong(3, f"the root is not {_ROOT} bytes in base64")
    return Checkpoint(lines[0], int(lines[1]), root, note)


def split(text: str) -> list[str]:
    """The notes of a text that holds several, one after another, with or without blank lines between them.

    Each ends with its last signature line; nothing else of them is checked.
    """
    found: list[str] = []
    lines: list[str] = []
    for line in text.split("\n"):
        if lines and lines[-1].startswith(_DASH) and not line.startswith(_DASH):
            found.append("\n".join(lines) + "\n")
            lines = []
        if line or lines:
            lines.append(line)
    if any(lines):
        found.append("\n".join(lines))
    return found


def _wrong(number: int, what: str) -> LedgerError:
    return LedgerError(what, where=f"line {number}", advice="a note is text, a blank line, and signature lines")


def _is_name(text: str) -> bool:
    """C2SP signed-note: a key's name is not empty and holds no Unicode space and no plus sign."""
    return bool(text) and "+" not in text and not any(map(str.isspace, text))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unbase64(text: str) -> bytes | None:
    """What standard base64 stands for; ``None`` where it is none, or not the one way of writing it."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        return None
    return data if _base64(data) == text else None


def _timed(text: str, time: int) -> bytes:
    """What a signature with a time is made over (C2SP tlog-cosignature)."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _ed25519() -> Any:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise MissingExtra("signing checkpoints", "signing") from None
    return _Ed25519(ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey, InvalidSignature)


class _Ed25519(NamedTuple):
    Ed25519PrivateKey: Any
    Ed25519PublicKey: Any
    InvalidSignature: type[Exception]
