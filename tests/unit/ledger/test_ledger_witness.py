"""The witness: each answer of C2SP tlog-witness, and a memory that survives, never forks and never goes back."""

from __future__ import annotations

import base64
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from agentcheck.errors import LedgerError, StoreError, UserError
from agentcheck.ledger.merkle import EMPTY_ROOT, consistency_proof, root
from agentcheck.ledger.notes import COSIGNATURE, Note, SigningKey, checkpoint, generate, sign_checkpoint
from agentcheck.ledger.witness import Answer, Witness, accepts, decide, make_witness, read_request

LOG = SigningKey("example.org/acme", sha256(b"log").digest())
OTHER = SigningKey("example.org/other", sha256(b"other").digest())
KEY = generate("witness.example.net")
LEAVES = [sha256(b"\x00%d" % number).digest() for number in range(40)]
FORK = [*LEAVES[:3], sha256(b"fork").digest(), *LEAVES[4:]]
NOW = 1_700_000_000


def request(
    size: int,
    old: int,
    *,
    leaves: list[bytes] = LEAVES,
    key: SigningKey = LOG,
    run: str = "r",
    proof: int | None = None,
) -> str:
    """The body of a request; ``proof`` is the size that the proof begins at, where it is another than ``old``."""
    start = old if proof is None else proof
    hashes = consistency_proof(leaves, start, size) if start <= size else []
    lines = [f"old {old}", *(base64.b64encode(each).decode() for each in hashes), ""]
    return "\n".join(lines) + "\n" + sign_checkpoint(key, run, "main", size, root(leaves[:size]), NOW)


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    """A new witness that knows LOG."""
    make_witness(tmp_path / "w", KEY)
    return Witness(tmp_path / "w", [LOG.public()], clock=lambda: NOW)


def ask(witness: Witness, body: str) -> Answer:
    """One request."""
    return witness.add_checkpoint(body.encode())


def test_a_growing_log_is_cosigned(witness: Witness) -> None:
    """Each consistent checkpoint gets one line, a timed signature of the witness that verifies over it."""
    for old, size in ((0, 3), (3, 4), (4, 4), (4, 20), (20, 40)):
        body = request(size, old)
        answer = ask(witness, body)
        assert (answer.status, answer.body.count("\n")) == (200, 1)
        note = checkpoint(body.partition("\n\n")[2] + answer.body).note
        assert KEY.public(COSIGNATURE).time_of(note) == NOW
        latest = witness.latest("example.org/acme/r/main")
        assert latest is not None
        assert (latest.size, latest.root) == (size, root(LEAVES[:size]))
        assert latest.note == note


def test_each_origin_has_a_memory_of_its_own(witness: Witness) -> None:
    """Runs and streams below the key's name are logs of their own."""
    assert [ask(witness, request(5, 0, run=run)).status for run in ("r", "q")] == [200, 200]
    assert ask(witness, request(9, 5, run="q")).status == 200
    assert ask(witness, request(9, 0, run="r")).status == 409


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("", 400, "not a request"),
        ("old 0\n", 400, "not a request"),
        ("OLD 0\n\nx", 400, "not a request"),
        ("old 00\n\nx", 400, "not a request"),
        ("old -1\n\nx", 400, "not a request"),
        ("old ٣\n\nx", 400, "not a request"),
        ("old 0\nxyz\n\nx", 400, "line 2: not a hash"),
        ("old 0\n" + f"{base64.b64encode(bytes(32)).decode()}\n" * 64 + "\nx", 400, "more than 63"),
        ("old 99999999999999999999\n\nx", 400, "beyond all bounds"),
        ("old 0\n\nexample.org/acme/r/main\n5\n", 400, "line"),
        (request(5, 0, key=OTHER), 404, "no key is known"),
        (request(5, 0).replace("acme/r/", "acme/q/"), 403, "no signature"),
        (request(5, 6), 400, "larger than the size 5"),
        (request(5, 2), 409, "0\n"),
        (request(5, 0, proof=2), 422, "does not verify"),
    ],
)
def test_what_is_refused(body: str, status: int, said: str, witness: Witness) -> None:
    """Each refusal of the specification, in its order; nothing is remembered."""
    answer = ask(witness, body)
    assert (answer.status, said in answer.body) == (status, True), answer
    assert witness.latest("example.org/acme/r/main") is None


def test_bytes_that_are_no_text_are_refused(witness: Witness) -> None:
    """A body that is not UTF-8 is a bad request."""
    assert witness.add_checkpoint(b"old 0\n\n\xff").status == 400


def test_a_second_history_is_refused(witness: Witness) -> None:
    """Another root of the same size, and a later tree that does not begin with the cosigned one, are refused."""
    assert ask(witness, request(8, 0)).status == 200
    same = ask(witness, request(8, 8, leaves=FORK))
    assert (same.status, same.body, same.kind) == (409, "8\n", "text/x.tlog.size")
    assert ask(witness, request(20, 8, leaves=FORK)).status == 422
    assert ask(witness, request(20, 0, leaves=FORK)).status == 409
    assert ask(witness, request(20, 8, proof=7)).status == 422
    latest = witness.latest("example.org/acme/r/main")
    assert latest is not None
    assert latest.root == root(LEAVES[:8])


def test_a_rollback_is_refused(witness: Witness) -> None:
    """A smaller size than the cosigned one is refused, whatever old size it claims."""
    assert ask(witness, request(8, 0)).status == 200
    assert [ask(witness, request(5, old)).status for old in (0, 3, 5)] == [409, 409, 409]
    assert ask(witness, request(5, 8)).status == 400


def test_an_empty_log(witness: Witness) -> None:
    """The empty tree is cosigned with its root only."""
    assert ask(witness, request(0, 0)).status == 200
    wrong = f"old 0\n\n{sign_checkpoint(LOG, 'q', 'main', 0, bytes(32), NOW)}"
    assert ask(witness, wrong).status == 409
    assert root([]) == EMPTY_ROOT


def test_a_proof_where_none_may_be(witness: Witness) -> None:
    """From size 0, and from a size to itself, the proof is empty."""
    line = base64.b64encode(LEAVES[0]).decode()
    assert ask(witness, request(5, 0).replace("old 0\n", f"old 0\n{line}\n")).status == 422
    assert ask(witness, request(5, 0)).status == 200
    assert ask(witness, request(5, 5).replace("old 5\n", f"old 5\n{line}\n")).status == 422


def test_a_key_may_sign_for_its_own_name_and_below() -> None:
    """The origin is the key's name or below it; a name that only begins alike is another."""
    key = LOG.public()
    assert [accepts(key, origin) for origin in ("example.org/acme", "example.org/acme/r/main")] == [True, True]
    assert not any(accepts(key, origin) for origin in ("example.org/acmes/r", "example.org", "x/example.org/acme"))


def test_deciding_changes_nothing_itself() -> None:
    """The same question has the same answer; what to remember is part of it."""
    asked = read_request(request(5, 0))
    first, again = (decide(None, asked, [LOG.public()], KEY, NOW) for _ in range(2))
    assert first == again
    assert first.state is not None
    assert checkpoint(first.state).size == 5


def test_an_extension_line_is_cosigned_with_the_rest() -> None:
    """Extension lines of another log are part of what is cosigned."""
    text = f"example.org/acme\n0\n{base64.b64encode(EMPTY_ROOT).decode()}\nan extension\n"
    asked = read_request(f"old 0\n\n{Note(text, (LOG.sign(text),))}")
    answer = decide(None, asked, [LOG.public()], KEY, NOW)
    assert answer.state is not None
    assert KEY.public(COSIGNATURE).time_of(checkpoint(answer.state).note) == NOW
    assert checkpoint(answer.state).note.text == text


def test_the_memory_is_on_disk_before_the_answer(witness: Witness, tmp_path: Path) -> None:
    """A witness that is started again knows what it cosigned, and one that cannot remember does not cosign."""
    assert ask(witness, request(8, 0)).status == 200
    again = Witness(tmp_path / "w", [LOG.public()], clock=lambda: NOW)
    assert ask(again, request(8, 8, leaves=FORK)).status == 409
    assert ask(again, request(9, 8)).status == 200
    (state,) = (tmp_path / "w" / "logs").iterdir()
    state.write_text("damaged")
    with pytest.raises(StoreError, match="what the witness remembers cannot be read"):
        ask(again, request(10, 0))
    state.unlink()
    state.mkdir()
    with pytest.raises(StoreError):
        ask(again, request(10, 0))


def test_a_witness_is_not_made_twice(tmp_path: Path) -> None:
    """The key of a witness is never replaced; a folder without one is told."""
    make_witness(tmp_path / "w", KEY)
    with pytest.raises(UserError, match="the file exists"):
        make_witness(tmp_path / "w", KEY)
    with pytest.raises(UserError, match="no witness is in this folder"):
        Witness(tmp_path / "none", [])


def test_requests_at_the_same_time_leave_one_history(witness: Witness) -> None:
    """Of many that claim the same old size, with different roots and sizes, exactly one is cosigned."""
    bodies = [request(size, 0, leaves=leaves) for size in range(4, 12) for leaves in (LEAVES, FORK)]
    begin, statuses = threading.Barrier(len(bodies)), []

    def submit(body: str) -> None:
        begin.wait(30)
        statuses.append(ask(witness, body).status)

    threads = [threading.Thread(target=submit, args=(body,)) for body in bodies]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(statuses) == [200] + [409] * (len(bodies) - 1)


def test_lines_of_a_request_are_named() -> None:
    """A line of proof that is no hash is named by its number."""
    with pytest.raises(LedgerError) as caught:
        read_request("old 3\n" + f"{base64.b64encode(bytes(32)).decode()}\n" + "AAAA\n\nx")
    assert caught.value.where == "line 3"
