"""A witness: cosigns checkpoints that are consistent with all it saw before (C2SP tlog-witness).

`decide` is the whole protocol, from what the witness remembers and one request to an answer and what it remembers
then; `Witness` keeps that memory in a folder, one file per log, on disk before the answer is given. A witness whose
folder is lost or put back to an older state can be made to cosign two histories, so keep it and never restore it.
"""

from __future__ import annotations

import base64
import os
import threading
import time as time_module
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from agentcheck.errors import LedgerError, StoreError, UserError
from agentcheck.ledger.merkle import EMPTY_ROOT, verify_consistency
from agentcheck.ledger.notes import (
    Checkpoint,
    Note,
    PublicKey,
    SigningKey,
    checkpoint,
    read_key,
    write_key,
)

KEY_FILE = "witness.key"
_STATES = "logs"
#: C2SP tlog-witness: the most lines of a consistency proof.
_MOST_LINES = 63
SIZE_TYPE, TEXT_TYPE = "text/x.tlog.size", "text/plain; charset=utf-8"


class Request(NamedTuple):
    """What ``add-checkpoint`` is asked: the size known to the asker, the proof from it, and the checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    checkpoint: Checkpoint


class Answer(NamedTuple):
    """HTTP status, content type and body; ``state`` is the note to remember before answering, if anything changed."""

    status: int
    kind: str
    body: str
    state: str | None = None


def read_request(body: str) -> Request:
    """The body of an ``add-checkpoint`` request.

    Raises:
        LedgerError: it is none; the message names the line.
    """
    head, blank, note = body.partition("\n\n")
    lines = head.split("\n")
    old = lines[0].removeprefix("old ")
    if not blank or old == lines[0] or not old.isascii() or not old.isdigit() or (old[0] == "0" and old != "0"):
        raise LedgerError("not a request: the word old and a size, proof lines, a blank line, a checkpoint")
    if len(lines) > 1 + _MOST_LINES or len(old) > 19:
        raise LedgerError(f"more than {_MOST_LINES} lines of proof, or a size beyond all bounds")
    proof = []
    for number, line in enumerate(lines[1:], 2):
        try:
            found = base64.b64decode(line.encode("ascii"), validate=True)
        except ValueError:
            found = b""
        if len(found) != 32 or base64.b64encode(found).decode() != line:
            raise LedgerError("not a hash of 32 bytes in base64", where=f"line {number}")
        proof.append(found)
    return Request(int(old), tuple(proof), checkpoint(note))


def accepts(log: PublicKey, origin: str) -> bool:
    """Whether a log key may sign for an origin: its own name, and all origins below it."""
    return origin == log.name or origin.startswith(f"{log.name}/")


def decide(latest: Checkpoint | None, request: Request, logs: Sequence[PublicKey], key: SigningKey, now: int) -> Answer:
    """Answer one request (C2SP tlog-witness, add-checkpoint).

    ``latest`` is what was cosigned last for the origin, ``now`` the time in seconds since the Unix epoch. The checks
    come in the order of the specification; what is refused changes nothing.
    """
    old, proof, asked = request
    mine = [log for log in logs if accepts(log, asked.origin)]
    if not mine:
        return Answer(404, TEXT_TYPE, "no key is known for this origin\n")
    if all(log.time_of(asked.note) is None for log in mine):
        return Answer(403, TEXT_TYPE, "no signature of a known key verifies\n")
    if old > asked.size:
        return Answer(400, TEXT_TYPE, f"the old size {old} is larger than the size {asked.size}\n")
    known, root = (latest.size, latest.root) if latest else (0, EMPTY_ROOT)
    if old != known:
        return Answer(409, SIZE_TYPE, f"{known}\n")
    if asked.size == known and asked.root != root:
        return Answer(409, SIZE_TYPE, f"{known}\n")
    if not verify_consistency(old, asked.size, proof, root, asked.root):
        return Answer(422, TEXT_TYPE, "the consistency proof does not verify\n")
    line = key.cosign(asked.note.text, now)
    kept = str(Note(asked.note.text, (*asked.note.signatures, line)))
    return Answer(200, TEXT_TYPE, line.line, kept)


class Witness:
    """A witness that remembers in a folder. One object at a time may use the folder; hold a lock on it."""

    def __init__(
        self, folder: Path, logs: Sequence[PublicKey], *, clock: Callable[[], float] = time_module.time
    ) -> None:
        self.key = key_of(folder)
        self._folder, self._logs, self._clock = folder / _STATES, logs, clock
        self._lock = threading.Lock()

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer a request and remember what it changes; checked, remembered and answered as one step.

        Raises:
            StoreError: what was remembered cannot be read, or the new state cannot be written; nothing is cosigned.
        """
        try:
            request = read_request(body.decode("utf-8"))
        except UnicodeDecodeError:
            return Answer(400, TEXT_TYPE, "not UTF-8\n")
        except LedgerError as error:
            return Answer(400, TEXT_TYPE, f"{error.where + ': ' if error.where else ''}{error.what}\n")
        with self._lock:
            file = self._folder / f"{sha256(request.checkpoint.origin.encode()).hexdigest()}.checkpoint"
            answer = decide(self._latest(file), request, self._logs, self.key, int(self._clock()))
            if answer.state is not None:
                _remember(file, answer.state)
        return answer

    def latest(self, origin: str) -> Checkpoint | None:
        """What was cosigned last for an origin."""
        return self._latest(self._folder / f"{sha256(origin.encode()).hexdigest()}.checkpoint")

    def _latest(self, file: Path) -> Checkpoint | None:
        try:
            return checkpoint(file.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LedgerError) as error:
            raise StoreError(f"what the witness remembers cannot be read: {error}", where=str(file)) from error


def key_of(folder: Path) -> SigningKey:
    """The key of the witness in a folder.

    Raises:
        UserError: no witness is there, or its key cannot be read.
    """
    if not (folder / KEY_FILE).is_file():
        raise UserError(
            "no witness is in this folder",
            where=str(folder),
            advice="make one with `agentcheck ledger witness init FOLDER --name NAME`, or mend the path",
        )
    return read_key(str((folder / KEY_FILE).absolute()))


def make_witness(folder: Path, key: SigningKey) -> None:
    """Set up a folder for a new witness.

    Raises:
        UserError: it holds a key already, or cannot be written.
    """
    write_key(key, folder / KEY_FILE)
    (folder / _STATES).mkdir(exist_ok=True)


def _remember(file: Path, text: str) -> None:
    draft = file.with_suffix(".draft")
    try:
        with draft.open("w", encoding="utf-8", newline="") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        draft.replace(file)
        if os.name != "nt":
            descriptor = os.open(file.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise StoreError(f"the witness cannot remember: {error.strerror}", where=str(file)) from error
