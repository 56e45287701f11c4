"""The Merkle tree against the recursive definitions of RFC 9162, for every small size and for drawn larger ones."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st

from agentcheck.ledger.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    root,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [sha256(b"\x00" + str(number).encode()).digest() for number in range(1000)]
SMALL = 71


def largest_power(size: int) -> int:
    """The k of RFC 9162, section 2.1.1."""
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def mth(leaves: list[bytes]) -> bytes:
    """MTH of section 2.1.1, over leaf hashes."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"").digest()
    k = largest_power(len(leaves))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = largest_power(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF of section 2.1.4.1."""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = largest_power(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def test_roots_of_every_small_tree() -> None:
    """The root after each leaf, taken in pieces of any length, is the one of the recursive definition."""
    tree = Frontier()
    for size in range(SMALL + 1):
        assert tree.size == size
        assert tree.root() == root(LEAVES[:size]) == mth(LEAVES[:size])
        tree.extend(LEAVES[size : size + 1])


def test_inclusion_proofs_of_every_small_tree() -> None:
    """Every leaf of every small tree has the RFC's proof, which verifies for it and for no other place or root."""
    for size in range(1, SMALL):
        top = mth(LEAVES[:size])
        for index in range(size):
            proof = inclusion_proof(iter(LEAVES), index, size)
            assert proof == path(index, LEAVES[:size])
            assert verify_inclusion(LEAVES[index], index, size, proof, top)
            assert not verify_inclusion(LEAVES[index], (index + 1) % size, size, proof, top) or size == 1
            assert not verify_inclusion(LEAVES[index + 1], index, size, proof, top)
            assert not verify_inclusion(LEAVES[index], index, size, [*proof, top], top)
            assert not verify_inclusion(LEAVES[index], index, size, proof, LEAVES[-1])
            if proof:
                assert not verify_inclusion(LEAVES[index], index, size, proof[:-1], top)


def test_consistency_proofs_of_every_small_tree() -> None:
    """Every pair of small sizes has the RFC's proof, from the leaves alone and from a kept tree; forgeries fail."""
    roots = [mth(LEAVES[:size]) for size in range(SMALL)]
    frontier = Frontier()
    for old in range(SMALL):
        for new in range(old, SMALL):
            proof = consistency_proof(iter(LEAVES), old, new)
            assert proof == (subproof(old, LEAVES[:new], True) if old else [])
            assert proof == consistency_proof(iter(LEAVES[old:]), old, new, since=frontier)
            assert verify_consistency(old, new, proof, roots[old], roots[new])
            assert not verify_consistency(old, new, proof, roots[old], LEAVES[-1]) or old == 0
            assert not verify_consistency(old, new, proof, LEAVES[-1], roots[new])
            assert not verify_consistency(old, new, [*proof, LEAVES[0]], roots[old], roots[new])
            if proof:
                assert not verify_consistency(old, new, proof[1:], roots[old], roots[new])
                assert not verify_consistency(old, new, [LEAVES[-1], *proof[1:]], roots[old], roots[new])
        frontier.extend(LEAVES[old : old + 1])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_proofs_of_larger_trees(data: st.DataObject) -> None:
    """Proofs of drawn sizes up to a thousand are the RFC's and verify; one changed bit of a proof does not."""
    new = data.draw(st.integers(2, len(LEAVES)))
    old = data.draw(st.integers(1, new - 1))
    index = data.draw(st.integers(0, new - 1))
    inclusion = inclusion_proof(iter(LEAVES), index, new)
    consistency = consistency_proof(iter(LEAVES), old, new)
    before, after = mth(LEAVES[:old]), mth(LEAVES[:new])
    assert inclusion == path(index, LEAVES[:new])
    assert consistency == subproof(old, LEAVES[:new], True)
    assert verify_inclusion(LEAVES[index], index, new, inclusion, after)
    assert verify_consistency(old, new, consistency, before, after)
    place, bit = data.draw(st.integers(0, len(consistency) - 1)), data.draw(st.integers(0, 255))
    wrong = bytearray(consistency[place])
    wrong[bit // 8] ^= 1 << bit % 8
    consistency[place] = bytes(wrong)
    assert not verify_consistency(old, new, consistency, before, after)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 90), max_size=12))
def test_a_frontier_grows_in_batches(batches: list[int]) -> None:
    """However leaves are handed over, size, root and complete subtrees are those of all of them; a copy stays."""
    tree, taken = Frontier(), 0
    for batch in batches:
        twin, before = tree.copy(), tree.root()
        tree.extend(LEAVES[taken : taken + batch])
        taken = min(taken + batch, len(LEAVES))
        assert twin.root() == before
    assert (tree.size, tree.root()) == (taken, mth(LEAVES[:taken]))
    assert {span: mth(LEAVES[slice(*span)]) for span in tree.subtrees()} == tree.subtrees()
    assert len(tree.subtrees()) == bin(taken).count("1")
