"""The HTTP side of a witness: ``POST <prefix>/add-checkpoint``, a thread for each connection."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agentcheck.errors import AgentcheckError, UserError

#: ``(body) -> (status, content type, body)``
Handle = Callable[[bytes], tuple[int, str, str]]

#: A request is 63 lines of proof and a note of some signatures.
_MOST_BYTES = 131_072
#: Seconds that a connection may be silent.
_TIMEOUT = 30
_TEXT = "text/plain; charset=utf-8"


class WitnessServer(ThreadingHTTPServer):
    """Listens from its construction on; `serve_forever` answers, ``shutdown`` ends that.

    Raises:
        UserError: the address cannot be listened on.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int, handle: Handle, *, log: Callable[[str], None] | None = None) -> None:
        self.handle = handle
        self.log = log
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise UserError(f"cannot listen: {error}", where=f"{host}:{port}") from None

    @property
    def url(self) -> str:
        """The submission prefix."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive
    server_version, sys_version = "agentcheck-witness", ""
    timeout = _TIMEOUT
    server: WitnessServer

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            return self._answer(411, _TEXT, "a length is needed\n")
        if len(length) > 9 or int(length) > _MOST_BYTES:
            return self._answer(413, _TEXT, f"more than {_MOST_BYTES} bytes\n")
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            return self._answer(400, _TEXT, "the body is shorter than its length\n")
        if not self.path.endswith("/add-checkpoint"):
            return self._answer(404, _TEXT, "POST .../add-checkpoint is all there is\n", keep=True)
        try:
            return self._answer(*self.server.handle(body), keep=True)
        except AgentcheckError as error:
            self.log_message("%s", error)
            return self._answer(500, _TEXT, "the witness cannot remember, so it does not cosign\n")

    def do_GET(self) -> None:
        self._answer(404, _TEXT, "POST .../add-checkpoint is all there is\n")

    def _answer(self, status: int, kind: str, text: str, *, keep: bool = False) -> None:
        """Answer; where the request was not read to its end, the connection ends too."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if not keep:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        if self.server.log is not None:
            self.server.log(f"{self.address_string()} {format % args}")
