"""``https://...``: a C2SP tlog-witness, which cosigns a checkpoint that is consistent with all it saw before.

A witness keeps nothing that could be read back: its cosignatures stand in the checkpoints that other places keep.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from agentcheck.anchors.subject import Subject, subject
from agentcheck.errors import AnchorError, UserError

#: Seconds; a witness answers at once or is not there.
_TIMEOUT = 10.0
_MOST_BYTES = 65_536
#: Tries with the size that the witness names, before it is taken for confused.
_ATTEMPTS = 3
_MEANINGS = {
    403: "it knows no key that signed the checkpoint (403)",
    404: "it does not know the log (404)",
    422: "it does not accept the consistency proof (422): it saw other events of this stream",
}


class WitnessAnchor:
    """A `contracts.Anchor` on the submission prefix of a witness.

    Raises:
        UserError: the address is no URL of a server.
    """

    def __init__(self, address: str, root: Path) -> None:
        try:
            parts = urlsplit(address)
            _ = parts.port
        except ValueError as error:
            raise UserError(f"no URL of a witness: {error}", where=address) from None
        if not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
            raise UserError("no URL of a witness", where=address, advice="such as https://witness.example.org/prefix")
        self._local = parts.hostname in ("localhost", "127.0.0.1", "::1")  # no proxy leads there
        self._url = f"{address.rstrip('/')}/add-checkpoint"
        self._sizes: dict[str, int] = {}  # what the witness cosigned last, as far as this process knows

    def publish(self, note: str, proof: Callable[[int], Sequence[bytes]]) -> str:
        """Ask for a cosignature; returns the note with the lines that the witness answered.

        Raises:
            AnchorError: it does not answer, refuses, or answers what is no cosignature.
        """
        about = subject(note)
        old = min(self._sizes.get(about.origin, 0), about.size)
        for _ in range(_ATTEMPTS):
            lines = [f"old {old}", *(base64.b64encode(each).decode() for each in proof(old)), "", note]
            status, kind, answer = self._post("\n".join(lines))
            if status == 200:
                self._sizes[about.origin] = about.size
                return note + _signature_lines(answer)
            if status != 409:
                said = f": {answer.strip()[:200]}" if answer.strip() else ""
                raise AnchorError(_MEANINGS.get(status, f"it answered {status}") + said)
            old = _other_size(old, about, kind, answer)
        raise AnchorError("it names another size each time (409)")

    def notes(self, run: str) -> Sequence[str]:
        """None: a witness keeps the latest checkpoint for itself."""
        return []

    def _post(self, body: str) -> tuple[int, str, str]:
        import httpx

        try:
            with (
                httpx.Client(timeout=_TIMEOUT, follow_redirects=False, trust_env=not self._local) as client,
                client.stream("POST", self._url, content=body.encode()) as response,
            ):
                taken = b""
                for chunk in response.iter_bytes():
                    taken += chunk
                    if len(taken) > _MOST_BYTES:
                        raise AnchorError(f"it answered with more than {_MOST_BYTES:,} bytes")
                return response.status_code, response.headers.get("content-type", ""), taken.decode("utf-8", "replace")
        except httpx.TimeoutException:
            raise AnchorError(f"it did not answer within {_TIMEOUT:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise AnchorError(f"it cannot be reached: {error or type(error).__name__}") from error


def _signature_lines(answer: str) -> str:
    if not answer.endswith("\n") or not all(line.startswith("\u2014 ") for line in answer[:-1].split("\n")):
        raise AnchorError("it answered something that is no cosignature")
    return answer


def _other_size(old: int, about: Subject, kind: str, answer: str) -> int:
    """The size that a witness names with 409, where a proof from it can help."""
    text = answer.removesuffix("\n")
    if kind.partition(";")[0].strip() != "text/x.tlog.size" or not text.isascii() or not text.isdigit():
        raise AnchorError(f"it answered 409 without the size it knows: {answer.strip()[:200]}")
    size = int(text)
    if size > about.size:
        raise AnchorError(f"it has seen {size} events of this stream, more than the {about.size} that are signed (409)")
    if size == old == about.size:
        raise AnchorError(f"it has seen another root over the same {size} events (409)")
    return size
