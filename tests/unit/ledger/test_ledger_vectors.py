"""The published vectors: both verifiers give the answers written there, and agree on a thousand further mutations."""

from __future__ import annotations

import ast
import base64
import json
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from agentcheck.ledger.chain import genesis, leaf, withheld
from agentcheck.ledger.verify.tree import EMPTY, Tree, extends, includes
from vectors import FOLDER, Check, Rows, load, our_proof, ours, rows_of, second

LEDGERS = load("ledgers")
PROOFS = load("proofs")


@pytest.fixture(scope="module", params=["ours", "the second one"])
def check(request: pytest.FixtureRequest) -> Check:
    """Each of the two verifiers."""
    return ours if request.param == "ours" else second().check_ledger


@pytest.fixture(scope="module", params=["ours", "the second one"])
def prove(request: pytest.FixtureRequest) -> Callable[[bytes, str, str], bool]:
    """Each of the two verifiers, for proofs."""
    return our_proof if request.param == "ours" else second().check_proof


@pytest.mark.parametrize("name", LEDGERS)
def test_ledgers_have_the_answer_that_is_published(name: str, check: Check) -> None:
    """Verdict, coverage and first bad event of each vector are those which were written down by hand."""
    vector = LEDGERS[name]
    answer = check(rows_of(vector), vector["checkpoints"], vector["keys"], vector["events"])
    assert answer == vector["expected"], vector["description"]


@pytest.mark.parametrize("name", PROOFS)
def test_proofs_have_the_answer_that_is_published(name: str, prove: Callable[[bytes, str, str], bool]) -> None:
    """An event is shown to be in a checkpoint's tree, or it is not, as written down."""
    vector = PROOFS[name]
    assert prove(base64.b64decode(vector["event"]), vector["proof"], vector["keys"]) is vector["expected"]


def test_trees_have_the_roots_and_proofs_that_are_published() -> None:
    """Roots, inclusion and consistency proofs of small trees hold in both, and no other index or size passes."""
    document = _json(FOLDER / "trees.json")
    assert second().check_trees(document)
    leaves = [sha256(b"\x00" + bytes.fromhex(text)).digest() for text in document["leaves"]]
    roots = {int(size): bytes.fromhex(root) for size, root in document["roots"].items()}
    assert roots[0] == EMPTY
    for size, root in roots.items():
        tree = Tree()
        tree.extend(leaves[:size])
        assert tree.root() == root
    for each in document["inclusion"]:
        proof = [bytes.fromhex(text) for text in each["proof"]]
        for index in range(each["size"]):
            holds = includes(leaves[each["index"]], index, each["size"], proof, roots[each["size"]])
            assert holds == (index == each["index"])
    for each in document["consistency"]:
        proof = [bytes.fromhex(text) for text in each["proof"]]
        first, last = each["first"], each["second"]
        assert extends(first, roots[first], last, roots[last], proof)
        assert not extends(first, roots[first], last, EMPTY, proof)
        if first > 1:
            assert not extends(first - 1, roots[first - 1], last, roots[last], proof)


def test_the_vectors_are_what_the_program_beside_them_makes(tmp_path: Path) -> None:
    """Making the vectors again gives the same files: nothing was touched up afterwards."""
    made = tmp_path / "make.py"
    made.write_text((FOLDER / "make.py").read_text("utf-8"), "utf-8")
    subprocess.run([sys.executable, str(made)], check=True, timeout=60, capture_output=True)
    kept = {path.relative_to(FOLDER): path.read_bytes() for path in FOLDER.rglob("*.json")}
    assert {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.json")} == kept


def test_the_second_verifier_stands_alone() -> None:
    """It imports the standard library only: neither ours nor what ours is made of."""
    names = set()
    for node in ast.walk(ast.parse((FOLDER / "verifier.py").read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    assert names <= sys.stdlib_module_names


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


# Mutations

#: What is mutated: a run with checkpoints, one with workers, one with withheld events.
WHOLE = ("checkpoint-several", "covered-twice", "covered-withheld", "whole", "workers", "rotated", "witnessed-two")


def _flip(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return b"{"
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def _edit(rows: list[Any], chance: random.Random) -> None:
    at = chance.randrange(len(rows))
    stream, seq, payload, chain = rows[at]
    rows[at] = chance.choice(
        [
            (stream, seq, _flip(payload, chance), chain),
            (stream, seq, payload, _flip(chain, chance)),
            (stream, seq, payload[: chance.randrange(len(payload))], chain),
            (stream, seq + chance.choice((-1, 1, 2, 100)), payload, chain),
            (chance.choice(("main", "gw0", "gw1", "gw9", "custody-1")), seq, payload, chain),
            (stream, seq, bytes(len(payload)), chain),
            (stream, seq, payload, chain[:31]),
        ]
    )


def _delete(rows: list[Any], chance: random.Random) -> None:
    first = chance.randrange(len(rows))
    del rows[first : first + chance.randint(1, 4)]


def _insert(rows: list[Any], chance: random.Random) -> None:
    rows.insert(chance.randrange(len(rows) + 1), chance.choice(rows))


def _swap(rows: list[Any], chance: random.Random) -> None:
    one, other = chance.randrange(len(rows)), chance.randrange(len(rows))
    a, b = rows[one], rows[other]
    rows[one], rows[other] = (*a[:2], *b[2:]), (*b[:2], *a[2:])


def _cut(rows: list[Any], chance: random.Random) -> None:
    stream = chance.choice(rows)[0]
    keep = chance.randrange(8)
    rows[:] = [row for row in rows if row[0] != stream or row[1] <= keep]


def _withhold(rows: list[Any], chance: random.Random) -> None:
    at = chance.randrange(len(rows))
    stream, seq, payload, chain = rows[at]
    if payload:
        rows[at] = stream, seq, withheld(payload), chain


def _rebuild(rows: list[Any], chance: random.Random) -> None:
    """Change one event, or none, or cut and continue, and chain the stream anew: a forger's work."""
    stream = chance.choice(rows)[0]
    own = sorted((row for row in rows if row[0] == stream), key=lambda row: int(row[1]))
    at = chance.randrange(len(own))
    change = chance.choice(
        (b"deny", b"allow", b"pay", b"done", b"archivist", b'"seq":5', b',"v":1', b"run.", b'"size":9')
    )
    chain = genesis(stream)
    rows[:] = [row for row in rows if row[0] != stream]
    for number, (_, seq, payload, _) in enumerate(own):
        data = payload.replace(change, change[:-1] + b"x") if number >= at else payload
        chain = sha256(b"\x02" + chain + leaf(data or b"{")).digest()
        rows.append((stream, seq, data, chain))


MUTATIONS = (_edit, _edit, _delete, _insert, _swap, _cut, _withhold, _rebuild, _rebuild)


def _mutate_notes(notes: list[str], chance: random.Random) -> None:
    if not notes:
        return
    at = chance.randrange(len(notes))
    letters = list(notes[at])
    where = chance.randrange(len(letters))
    letters[where] = chance.choice("0123456789abcXYZ+/=\n —.")
    notes[at] = chance.choice(("".join(letters), notes[at][:where], notes[at] + notes[at]))


def _mutated(seed: int) -> tuple[Rows, list[str], str, bool]:
    chance = random.Random(seed)
    vector: Mapping[str, Any] = LEDGERS[WHOLE[seed % len(WHOLE)]]
    rows: list[Any] = rows_of(vector)
    notes = list(vector["checkpoints"])
    for _ in range(chance.randint(1, 2)):
        if notes and chance.random() < 0.25:
            _mutate_notes(notes, chance)
        elif rows:
            chance.choice(MUTATIONS)(rows, chance)
    if chance.random() < 0.3:
        notes = notes[:1]
    return rows, notes, vector["keys"] if notes else "", chance.random() < 0.5


def _disagreements(verifiers: Sequence[Check], seeds: range) -> list[Any]:
    found = []
    for seed in seeds:
        answers = [verifier(*_mutated(seed)) for verifier in verifiers]
        if answers[0] != answers[1]:
            found.append((seed, *answers))
    return found


@pytest.mark.parametrize("part", range(4))
def test_both_verifiers_agree_on_mutations(part: int) -> None:
    """A thousand ledgers and checkpoints, changed at random in one or two places, have the same answer from both."""
    assert _disagreements((ours, second().check_ledger), range(part * 250, part * 250 + 250)) == []


def test_mutations_are_found_or_known_not_to_be() -> None:
    """Most of the thousand are found; the rest change what no checkpoint covers, or nothing that a ledger says."""
    verdicts = [ours(*_mutated(seed))["verdict"] for seed in range(0, 1000, 5)]
    assert verdicts.count("INCONSISTENT") > 120
    assert set(verdicts) >= {"INCONSISTENT", "CONSISTENT", "CONSISTENT_WITH_CHECKPOINT"}
