"""Trust files: whose checkpoints count, whose cosignatures count, and which keys count no more.

One entry a line, ``#`` begins a comment::

    log example.org/acme+5f1b0a33+AZ8...
    witness witness.example.net+0c9d4a11+BKq...
    revoked example.org/acme+11aa22bb 2025-03-01T00:00:00Z the laptop was stolen
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from agentcheck.errors import LedgerError, UserError
from agentcheck.ledger.notes import COSIGNATURE, ED25519, PublicKey, public_key

_ADVICE = "log <key>, witness <key>, or revoked <name>+<id> <time> <reason>"


class Revoked(NamedTuple):
    """A key by its ``name+id``, the time (seconds since the Unix epoch) from which it counts no more, and why."""

    label: str
    time: int
    reason: str


class Trust(NamedTuple):
    """What a trust file says."""

    logs: tuple[PublicKey, ...]
    witnesses: tuple[PublicKey, ...]
    revoked: tuple[Revoked, ...]


def read_trust(file: Path) -> Trust:
    """Read a trust file.

    Raises:
        UserError: it cannot be read, or an entry is wrong; ``where`` is ``file:line``.
    """
    try:
        text = file.read_text("utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        raise UserError(f"the trust file cannot be read: {why}", where=str(file)) from None
    logs, witnesses, revoked = [], [], []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            if words[0] == "log" and len(words) == 2:
                logs.append(public_key(words[1], ED25519))
            elif words[0] == "witness" and len(words) == 2:
                witnesses.append(public_key(words[1], COSIGNATURE))
            elif words[0] == "revoked" and len(words) >= 4:
                revoked.append(Revoked(words[1], _time(words[2]), " ".join(words[3:])))
            else:
                raise LedgerError(f"not an entry of a trust file: {line.strip()[:80]!r}", advice=_ADVICE)
        except LedgerError as error:
            raise UserError(error.what, where=f"{file}:{number}", advice=error.advice) from None
    return Trust(tuple(logs), tuple(witnesses), tuple(revoked))


def _time(text: str) -> int:
    """Seconds since the Unix epoch of an RFC 3339 time."""
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 does not read the Z
        if found.tzinfo is None or "T" not in text:
            raise ValueError
        return int(found.timestamp())
    except (ValueError, OverflowError):
        raise LedgerError(f"{text!r} is no time of RFC 3339", advice="such as 2025-03-01T00:00:00Z") from None
