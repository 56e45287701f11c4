"""Leaf and chain values: how each stored event commits to all events before it.

``leaf = SHA256(0x00 || payload)`` is the leaf hash of RFC 9162, section 2.1.1, so a Merkle tree can later stand on
the same leaves. ``chain_n = SHA256(0x02 || chain_{n-1} || leaf_n)``; the prefix 0x02 keeps chain values apart from
leaves (0x00) and from the inner nodes of a tree (0x01). The stream's name is in the first value, so the rows of one
stream cannot be passed off as those of another.

A *withheld* event is one whose payload was taken away (purged, or left out of a copy): ``0x00 || leaf`` is stored in
its place, so chain and tree still hold. An event's bytes begin with ``{``, so the two cannot be mistaken. Each event
holds 128 random bits (its ``salt``), so what is withheld cannot be guessed from its leaf.
"""

from __future__ import annotations

from hashlib import sha256

GENESIS_PREFIX = b"agentcheck/ledger/v1\n"
#: Bytes in every hash here.
SIZE = 32


def genesis(stream: str) -> bytes:
    """The chain value before the first event of a stream."""
    return sha256(GENESIS_PREFIX + stream.encode()).digest()


WITHHELD = 0


def leaf(payload: bytes) -> bytes:
    """The leaf hash of a stored payload: of an event's canonical bytes, or the one that a withheld event left."""
    return payload[1:] if payload[0] == WITHHELD else sha256(b"\x00" + payload).digest()


def withheld(payload: bytes) -> bytes:
    """What is stored in place of a payload that is taken away; the same for one that is withheld already."""
    return payload if payload[0] == WITHHELD else b"\x00" + leaf(payload)


def step(previous: bytes, payload: bytes) -> bytes:
    """The chain value after an event, from the value before it and the event's canonical bytes."""
    return sha256(b"\x02" + previous + sha256(b"\x00" + payload).digest()).digest()
