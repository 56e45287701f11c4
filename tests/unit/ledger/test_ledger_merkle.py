"""The Merkle tree on the test vectors of Certificate Transparency (RFC 6962), and on sizes that do not fit."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from hashlib import sha256

import pytest

from agentcheck.errors import LedgerError
from agentcheck.ledger.chain import leaf
from agentcheck.ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    root,
    verify_consistency,
    verify_inclusion,
)

#: Leaves, roots and proofs of the reference implementation's own tests (google/certificate-transparency).
INPUTS = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
LEAVES = [sha256(b"\x00" + bytes.fromhex(text)).digest() for text in INPUTS]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
INCLUSION = {
    (0, 1): (),
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
}
CONSISTENCY = {
    (1, 1): (),
    (1, 8): INCLUSION[0, 8],
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}


def hexadecimal(proof: list[bytes]) -> tuple[str, ...]:
    """A proof as the vectors have it."""
    return tuple(each.hex() for each in proof)


def test_the_roots_of_certificate_transparency() -> None:
    """The roots of 0 to 8 published leaves are the published ones."""
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert Frontier().root() == root([]) == EMPTY_ROOT
    assert tuple(root(LEAVES[:size]).hex() for size in range(1, 9)) == ROOTS


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_published_inclusion_proofs(index: int, size: int) -> None:
    """The published inclusion proofs are made and verify."""
    proof = inclusion_proof(LEAVES, index, size)
    assert hexadecimal(proof) == INCLUSION[index, size]
    assert verify_inclusion(LEAVES[index], index, size, proof, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_published_consistency_proofs(old: int, new: int) -> None:
    """The published consistency proofs are made and verify."""
    proof = consistency_proof(LEAVES, old, new)
    assert hexadecimal(proof) == CONSISTENCY[old, new]
    assert verify_consistency(old, new, proof, *(bytes.fromhex(ROOTS[size - 1]) for size in (old, new)))


def test_sizes_that_do_not_fit_are_refused() -> None:
    """A leaf beyond the tree, an earlier tree that is larger, and a stream that ends too early are told."""
    for index in (-1, 3):
        with pytest.raises(LedgerError, match=f"a tree of 3 events has none with the index {index}"):
            inclusion_proof(LEAVES, index, 3)
    with pytest.raises(LedgerError, match="a tree of 2 events does not begin with one of 3"):
        consistency_proof(LEAVES, 3, 2)
    with pytest.raises(LedgerError, match="the stream has 8 events, fewer than 9"):
        inclusion_proof(LEAVES, 1, 9)
    with pytest.raises(LedgerError, match="the stream has 8 events, fewer than 11"):
        consistency_proof(LEAVES, 3, 11)
    with pytest.raises(LedgerError, match="the stream has 8 events, fewer than 9"):
        consistency_proof(LEAVES, 9, 11)
    assert not verify_inclusion(LEAVES[0], 3, 3, [], LEAVES[0])
    assert not verify_consistency(3, 2, [], LEAVES[0], LEAVES[0])


def test_a_withheld_event_keeps_its_leaf() -> None:
    """The tree over a stream whose payloads were taken away is the tree over the events."""
    events = [b'{"a":%d}' % number for number in range(5)]
    assert root(leaf(b"\x00" + leaf(each)) for each in events) == root(map(leaf, events))


def test_proofs_need_no_room_for_the_leaves() -> None:
    """A proof over 100,000 leaves that are made while they are read takes less than 100 kB."""

    def made() -> Iterator[bytes]:
        for number in range(100_000):
            yield sha256(b"%d" % number).digest()

    tracemalloc.start()
    try:
        proof = inclusion_proof(made(), 77_777, 100_000)
        consistency_proof(made(), 12_345, 100_000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(proof) == 17
    assert most < 100_000
