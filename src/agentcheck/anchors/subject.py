"""What a checkpoint is about: the run, the stream and the size, from its first two lines."""

from __future__ import annotations

import re
from typing import NamedTuple

from agentcheck.errors import AnchorError

#: Runs and streams become names of folders.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class Subject(NamedTuple):
    """``origin`` is ``<key name>/<run>/<stream>``; ``body`` is what is signed: origin, size and root."""

    origin: str
    run: str
    stream: str
    size: int
    body: str


def subject(note: str) -> Subject:
    """Read the first lines of a checkpoint.

    Raises:
        AnchorError: it is no checkpoint of agentcheck.
    """
    body, blank, _ = note.partition("\n\n")
    origin, _, rest = body.partition("\n")
    size, _, _ = rest.partition("\n")
    _, _, run_and_stream = origin.partition("/")
    run, _, stream = "/".join(run_and_stream.split("/")[-2:]).partition("/")
    if not blank or not _SIZE.fullmatch(size) or not _NAME.fullmatch(run) or not _NAME.fullmatch(stream):
        raise AnchorError(f"not a checkpoint of a run's stream: {origin[:120]!r}")
    return Subject(origin, run, stream, int(size), body)
