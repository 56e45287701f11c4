"""An obedient agent behind HTTP, on the standard library's server: it keeps nothing between requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Method, path, headers and JSON body in; status, headers and body out.
Answer = Callable[[str, dict[str, str], Any], tuple[int, dict[str, str], bytes]]


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """A server on a free port of this machine; its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            status, headers, body = answer(self.path, {k.lower(): v for k, v in self.headers.items()}, json.loads(raw))
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: Any) -> None:
            """A client that went away is part of the tests."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def said(value: Any) -> tuple[int, dict[str, str], bytes]:
    """A JSON response."""
    return 200, {"content-type": "application/json"}, json.dumps(value).encode()


def obedient(path: str, headers: dict[str, str], task: Any) -> tuple[int, dict[str, str], bytes]:
    """Ask for the steps one after the other; the results so far say how far it is."""
    wanted = json.loads(task["prompt"])
    asked = task["state"] or 0
    steps = [step for step in wanted["steps"] if step["type"] != "seen"]
    if asked < len(steps):
        return said({"actions": [steps[asked]], "state": asked + 1})
    if "answer" in wanted:
        return said({"answer": wanted["answer"]})
    results = iter(task["results"])
    came = []
    for step in wanted["steps"]:
        if step["type"] == "seen":
            seen = {key: task[key] for key in ("turn", "messages", "case", "metadata")}
            seen["documents"] = [f"{each['id']}: {each['text']}" for each in task["documents"]]
            seen["tools"] = [tool["name"] for tool in task["tools"]]
            came.append(["done", seen, ""])
        elif step["type"] != "reasoning":
            result = next(results)
            came.append([result["status"], result["output"], result["error"]])
    return said({"answer": json.dumps(came)})
