"""The Merkle tree over the events of one stream, and its proofs (RFC 9162, section 2.1).

The leaf of event ``seq`` is `chain.leaf` of its payload, at index ``seq - 1``; an inner node is
``SHA256(0x01 || left || right)``, and the root of no leaves is ``SHA256("")``. Nothing here holds the leaves: a
`Frontier` keeps one hash for each bit of its size, and a proof is made by passing over the leaves once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import islice

from agentcheck.errors import LedgerError

#: The root of a tree without leaves.
EMPTY_ROOT = sha256(b"").digest()

#: The leaves from the first number up to the second, without it.
_Range = tuple[int, int]


def node(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node from those of its two children."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree that leaves are appended to: O(log n) memory, and less than two hashes a leaf on average."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []  # roots of complete subtrees, the largest and leftmost first

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Append leaf hashes, in order."""
        size, peaks, hashed = self.size, self._peaks, sha256
        for leaf in leaves:
            merged = size
            while merged & 1:  # a complete subtree of the same height stands to the left
                leaf = hashed(b"\x01" + peaks.pop() + leaf).digest()
                merged >>= 1
            peaks.append(leaf)
            size += 1
        self.size = size

    def root(self) -> bytes:
        """The Merkle tree hash of everything appended so far."""
        if not self._peaks:
            return EMPTY_ROOT
        found = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            found = node(peak, found)
        return found

    def copy(self) -> Frontier:
        """The same tree, which then grows by itself."""
        twin = Frontier()
        twin.size, twin._peaks = self.size, list(self._peaks)
        return twin

    def subtrees(self) -> Mapping[_Range, bytes]:
        """The complete subtrees that it is made of, by the leaves they hold."""
        found, start = {}, 0
        for peak in self._peaks:
            width = 1 << ((self.size - start).bit_length() - 1)
            found[start, start + width] = peak
            start += width
        return found


def root(leaves: Iterable[bytes]) -> bytes:
    """The Merkle tree hash of leaf hashes (RFC 9162, section 2.1.1)."""
    tree = Frontier()
    tree.extend(leaves)
    return tree.root()


def roots(leaves: Iterable[bytes], sizes: Iterable[int]) -> dict[int, bytes]:
    """The roots of a tree at several sizes, by one pass; sizes beyond the last leaf are left out."""
    found, tree, rest = {}, Frontier(), iter(leaves)
    for size in sorted(set(sizes)):
        tree.extend(islice(rest, size - tree.size))
        if tree.size == size:
            found[size] = tree.root()
    return found


def inclusion_proof(leaves: Iterable[bytes], index: int, size: int) -> list[bytes]:
    """That a leaf is in a tree: the siblings on the way from it to the root (RFC 9162, section 2.1.3.1).

    Args:
        leaves: the leaf hashes from the first one; passed over once, and read no further than ``size``.
        index: of the leaf, from 0.
        size: how many of the leaves the tree holds.

    Raises:
        LedgerError: there is no such leaf, or there are fewer leaves than ``size``.
    """
    if not 0 <= index < size:
        raise LedgerError(f"a tree of {size} events has none with the index {index}")
    path: list[_Range] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    found = _roots(iter(leaves), 0, path)
    return [found[each] for each in reversed(path)]


def consistency_proof(leaves: Iterable[bytes], old: int, new: int, *, since: Frontier | None = None) -> list[bytes]:
    """That a tree begins with an earlier one (RFC 9162, section 2.1.4.1); empty for ``old`` 0 and ``old == new``.

    Args:
        leaves: the leaf hashes from the first one, or from number ``old`` on where ``since`` is given; passed over
            once, and read no further than ``new``.
        old: the size of the earlier tree.
        new: the size of the later one.
        since: the earlier tree, where it was kept.

    Raises:
        LedgerError: ``old`` is larger than ``new``, or there are fewer leaves than ``new``.
    """
    if not 0 <= old <= new:
        raise LedgerError(f"a tree of {new} events does not begin with one of {old}")
    if old in (0, new):
        return []
    rest = iter(leaves)
    if since is None:
        since = Frontier()
        since.extend(islice(rest, old))
    if since.size != old:
        raise _too_few(since.size, old)
    path: list[_Range] = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start, whole = middle, False
    if not whole:
        path.append((start, end))
    # What lies before ``old`` is a complete subtree of the earlier tree in every case, so no leaf of it is needed.
    found = {**since.subtrees(), **_roots(rest, old, [each for each in path if each[0] >= old])}
    return [found[each] for each in reversed(path)]


def _split(size: int) -> int:
    """The largest power of two smaller than ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def _roots(leaves: Iterator[bytes], position: int, wanted: Iterable[_Range]) -> dict[_Range, bytes]:
    """The roots over ranges of leaves that do not overlap; ``position`` is the number of the first leaf."""
    found = {}
    for start, end in sorted(wanted):
        skipped = sum(1 for _ in islice(leaves, start - position))
        tree = Frontier()
        tree.extend(islice(leaves, end - start))
        if position + skipped + tree.size < end:
            raise _too_few(position + skipped + tree.size, end)
        found[start, end] = tree.root()
        position = end
    return found


def _too_few(found: int, wanted: int) -> LedgerError:
    return LedgerError(f"the stream has {found} events, fewer than {wanted}", advice="is this the whole ledger?")


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> bool:
    """Whether a proof shows that ``leaf`` is at ``index`` of the tree with this root (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:  # step 1
        return False
    fn, sn, found = index, size - 1, leaf  # steps 2 and 3
    for sibling in proof:  # step 4
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            found = node(sibling, found)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = node(found, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and found == expected  # step 5


def verify_consistency(old: int, new: int, proof: Sequence[bytes], before: bytes, after: bytes) -> bool:
    """Whether the tree ``after`` of ``new`` leaves begins with ``before`` of ``old`` (RFC 9162, section 2.1.4.2).

    The RFC asks this for ``0 < old < new``; a tree begins with the empty one and with itself, by an empty proof.
    """
    if not 0 <= old <= new:
        return False
    if old == new:
        return not proof and before == after
    if old == 0:
        return not proof and before == EMPTY_ROOT
    if not proof:  # step 1
        return False
    path = list(proof) if old & (old - 1) else [before, *proof]  # step 2: the first tree is complete
    fn, sn = old - 1, new - 1  # step 3
    while fn & 1:  # step 4
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]  # step 5
    for sibling in path[1:]:  # step 6
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(sibling, fr), node(sibling, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == before and sr == after  # step 7
