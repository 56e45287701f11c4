"""The server of a witness: connections that are kept, requests that are none, and what is not answered."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator

import pytest

from agentcheck.errors import StoreError, UserError
from agentcheck.serve.witness import WitnessServer


class Talk:
    """A server that answers with what it was given, and the lines it logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.server = WitnessServer("127.0.0.1", 0, self.handle, log=self.lines.append)

    def handle(self, body: bytes) -> tuple[int, str, str]:
        """Echo; fail where told to."""
        if body == b"fail":
            raise StoreError("the disk is full")
        return 200, "text/plain", body.decode()

    def connection(self) -> http.client.HTTPConnection:
        """A connection to it."""
        return http.client.HTTPConnection(*self.server.server_address[:2], timeout=20)  # type: ignore[arg-type]


@pytest.fixture
def talk() -> Iterator[Talk]:
    """A server of its own, on a free port."""
    found = Talk()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def test_a_connection_serves_several_requests(talk: Talk) -> None:
    """Requests below any prefix are answered over one connection; other paths are not found."""
    connection = talk.connection()
    sockets = set()
    for path, status in (("/add-checkpoint", 200), ("/a/b/add-checkpoint", 200), ("/x", 404), ("/add-checkpoint", 200)):
        connection.request("POST", path, body=b"hello")
        sockets.add(connection.sock)
        response = connection.getresponse()
        assert (response.status, response.read() == b"hello") == (status, status == 200)
    assert len(sockets) == 1
    connection.request("GET", "/add-checkpoint")
    assert connection.getresponse().status == 404
    connection.close()


@pytest.mark.parametrize(
    ("length", "status"),
    [(None, 411), ("many", 411), ("-1", 411), ("131073", 413), ("9" * 30, 413)],
)
def test_bodies_without_a_bound_are_refused(length: str | None, status: int, talk: Talk) -> None:
    """A request without a length, or one too long, is refused unread, and its connection ends."""
    connection = talk.connection()
    connection.putrequest("POST", "/add-checkpoint")
    if length is not None:
        connection.putheader("Content-Length", length)
    connection.endheaders()
    response = connection.getresponse()
    assert (response.status, response.getheader("Connection")) == (status, "close")
    connection.close()


def test_a_witness_that_cannot_remember_says_so(talk: Talk) -> None:
    """An error of the store is an answer without details; they are in the log."""
    connection = talk.connection()
    connection.request("POST", "/add-checkpoint", body=b"fail")
    response = connection.getresponse()
    assert (response.status, b"disk" in response.read()) == (500, False)
    connection.close()
    assert any("the disk is full" in line for line in talk.lines)


def test_an_address_that_is_taken_is_told(talk: Talk) -> None:
    """A second server on the same port, and a port that is none, are told."""
    port = talk.server.server_address[1]
    for wrong in (port, 99_999):
        with pytest.raises(UserError, match="cannot listen"):
            WitnessServer("127.0.0.1", wrong, talk.handle)
