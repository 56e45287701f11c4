"""``http://...``: a real witness behind a real server, restarted, asked by two at once, and servers that are none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from agentcheck.anchors import witness as anchor_module
from agentcheck.anchors.witness import WitnessAnchor
from agentcheck.errors import AnchorError, UserError
from agentcheck.ledger.merkle import consistency_proof, root
from agentcheck.ledger.notes import COSIGNATURE, SigningKey, checkpoint, generate, sign_checkpoint
from agentcheck.ledger.witness import Witness, make_witness
from agentcheck.serve.witness import Handle, WitnessServer

LOG = SigningKey("example.org/acme", sha256(b"log").digest())
LEAVES = [sha256(b"\x00%d" % number).digest() for number in range(60)]
FORK = [*LEAVES[:3], sha256(b"fork").digest(), *LEAVES[4:]]
NOW = 1_700_000_000


@contextmanager
def serving(handle: Handle, log: Callable[[str], None] | None = None) -> Iterator[WitnessServer]:
    """A server of its own, on a free port."""
    with WitnessServer("127.0.0.1", 0, handle, log=log) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def witness(folder: Path) -> Iterator[WitnessServer]:
    """A witness that knows LOG; its memory is in the folder."""
    if not folder.exists():
        make_witness(folder, generate("witness.example.net"))
    found = Witness(folder, [LOG.public()], clock=lambda: NOW)
    with serving(lambda body: found.add_checkpoint(body)[:3]) as server:
        yield server


def note(size: int, leaves: Sequence[bytes] = LEAVES, key: SigningKey = LOG) -> str:
    """A checkpoint over the first leaves."""
    return sign_checkpoint(key, "r", "main", size, root(leaves[:size]), NOW)


def publish(
    server: WitnessServer, size: int, leaves: Sequence[bytes] = LEAVES, anchor: WitnessAnchor | None = None
) -> str:
    """Publish by an anchor that knows nothing of what the witness saw."""
    anchor = anchor or WitnessAnchor(server.url, Path())
    return anchor.publish(note(size, leaves), lambda old: consistency_proof(leaves, old, size))


def test_a_witness_cosigns_and_knows_it_after_a_restart(tmp_path: Path) -> None:
    """The note comes back with the witness's line; a new anchor and a restarted witness go on where it was."""
    with witness(tmp_path / "w") as server:
        anchor = WitnessAnchor(f"{server.url}/", tmp_path)
        answers = [publish(server, size, anchor=anchor) for size in (5, 9)]
        assert anchor.notes("r") == []
        answers.append(publish(server, 20))  # knows no size: the witness names it
    with witness(tmp_path / "w") as server:
        answers.append(publish(server, 33))
        answers.append(publish(server, 33))
    key = Witness(tmp_path / "w", []).key.public(COSIGNATURE)
    for size, answer in zip((5, 9, 20, 33, 33), answers, strict=True):
        assert answer.startswith(note(size))
        assert key.time_of(checkpoint(answer).note) == NOW


def test_what_the_witness_refuses_is_told(tmp_path: Path) -> None:
    """A second history, a rollback, an unknown key and an unknown log are told apart."""
    with witness(tmp_path / "w") as server:
        publish(server, 20)
        with pytest.raises(AnchorError, match="another root over the same 20 events"):
            publish(server, 20, FORK)
        with pytest.raises(AnchorError, match=r"422.*saw other events"):
            publish(server, 30, FORK)
        with pytest.raises(AnchorError, match="it has seen 20 events of this stream, more than the 7"):
            publish(server, 7)
        stranger = SigningKey(LOG.name, sha256(b"another").digest())
        with pytest.raises(AnchorError, match="it knows no key that signed the checkpoint \\(403\\)"):
            WitnessAnchor(server.url, Path()).publish(note(40, key=stranger), lambda old: [])
        other = SigningKey("example.org/other", LOG.seed)
        with pytest.raises(AnchorError, match="it does not know the log \\(404\\)"):
            WitnessAnchor(server.url, Path()).publish(note(40, key=other), lambda old: [])
        assert publish(server, 21).startswith(note(21))


def test_two_at_once_leave_one_history(tmp_path: Path) -> None:
    """Of two histories submitted at the same time over HTTP one is cosigned, and the other refused."""
    with witness(tmp_path / "w") as server:
        begin, results = threading.Barrier(2), []

        def submit(leaves: Sequence[bytes]) -> None:
            begin.wait(30)
            try:
                results.append(publish(server, 20, leaves))
            except AnchorError as error:
                results.append(str(error))

        threads = [threading.Thread(target=submit, args=(leaves,)) for leaves in (LEAVES, FORK)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert sorted("another root" in each for each in results) == [False, True]


def test_a_witness_that_is_not_there_is_told() -> None:
    """A port that nobody listens on is told."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AnchorError, match="it cannot be reached"):
            WitnessAnchor(address, Path()).publish(note(1), lambda old: [])


def test_a_witness_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the connection and says nothing is given up after the time that is set."""
    monkeypatch.setattr(anchor_module, "_TIMEOUT", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(AnchorError, match=r"it did not answer within 0\.2 s"):
            WitnessAnchor(address, Path()).publish(note(1), lambda old: [])


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((200, "text/plain", "hello\n"), "no cosignature"),
        ((200, "text/plain", ""), "no cosignature"),
        ((200, "text/plain", "— a AAAA"), "no cosignature"),
        ((200, "text/plain", "x" * 70_000), "more than 65,536 bytes"),
        ((500, "text/plain", "out of order\n"), "it answered 500: out of order"),
        ((302, "text/plain", ""), "it answered 302"),
        ((409, "text/plain", "3\n"), "409 without the size"),
        ((409, "text/x.tlog.size", "many\n"), "409 without the size"),
        ((409, "text/x.tlog.size", "3\n"), "another size each time"),
    ],
)
def test_a_server_that_is_no_witness_is_told(answer: tuple[int, str, str], why: str) -> None:
    """Whatever else answers is told by what it said, and gives no cosignature."""
    with serving(lambda body: answer) as server, pytest.raises(AnchorError, match=why):
        publish(server, 20)


def test_a_witness_that_names_the_right_size_late_is_asked_again() -> None:
    """Sizes are taken from the witness a few times, for others may publish the same log."""
    answers = iter(
        [(409, "text/x.tlog.size", "3\n"), (409, "text/x.tlog.size; x=y", "5\n"), (200, "", "— w AAAAAAA=\n")]
    )
    asked = []

    def handle(body: bytes) -> tuple[int, str, str]:
        asked.append(body.split(b"\n")[0])
        return next(answers)

    with serving(handle) as server:
        assert publish(server, 20) == f"{note(20)}— w AAAAAAA=\n"
    assert asked == [b"old 0", b"old 3", b"old 5"]


@pytest.mark.parametrize(
    "address", ["https:", "https:///x", "http://[x", "http://h:port/", "https://h/?a=b", "https://me:secret@h/"]
)
def test_an_address_that_is_no_url_is_refused(address: str) -> None:
    """A URL without a server, with a query or with a login is told."""
    with pytest.raises(UserError, match="no URL of a witness"):
        WitnessAnchor(address, Path())
