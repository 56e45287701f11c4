"""Merkle trees of RFC 9162, section 2.1, as a verifier needs them: roots from leaves, and two kinds of proof."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

#: The root of a tree without leaves (section 2.1.1).
EMPTY = sha256(b"").digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (section 2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """A growing tree that keeps no more than one hash for each bit of its size: its peaks, from the left."""

    def __init__(self, peaks: Iterable[tuple[int, bytes]] = ()) -> None:
        self.peaks = list(peaks)  # (level, hash): a whole subtree over 2**level leaves

    @property
    def size(self) -> int:
        """Leaves so far."""
        return sum(1 << level for level, _ in self.peaks)

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Take further leaves (their hashes), in the largest whole subtrees that their place allows."""
        size, start = self.size, 0
        while start < len(leaves):
            block = 1 << ((len(leaves) - start).bit_length() - 1)
            if size:
                block = min(block, size & -size)
            level, row = 0, leaves[start : start + block]
            while len(row) > 1:
                pairs = iter(row)
                row = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
                level += 1
            self.push(level, row[0])
            size, start = size + block, start + block

    def push(self, level: int, peak: bytes) -> None:
        """Take a whole subtree over ``2**level`` leaves, which the size so far must be a multiple of."""
        peaks = self.peaks
        while peaks and peaks[-1][0] == level:
            peak, level = node(peaks.pop()[1], peak), level + 1
        peaks.append((level, peak))

    def root(self) -> bytes:
        """The root hash."""
        if not self.peaks:
            return EMPTY
        found = self.peaks[-1][1]
        for _, peak in reversed(self.peaks[:-1]):
            found = node(peak, found)
        return found


def includes(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether an inclusion proof holds (section 2.1.3.2). ``index`` counts from 0."""
    if not 0 <= index < size:
        return False
    fn, sn, found = index, size - 1, leaf
    for value in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            found = node(value, found)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = node(found, value)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and found == root


def extends(first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a consistency proof holds: the tree of ``second`` leaves begins with that of ``first`` (2.1.4.2)."""
    if not 0 <= first <= second:
        return False
    if first in (0, second):
        return not proof and (first_root == second_root if first == second else first_root == EMPTY)
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        return False
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old = new = path[0]
    for value in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            old, new = node(value, old), node(value, new)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = node(new, value)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and old == first_root and new == second_root
