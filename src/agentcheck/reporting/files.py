"""Write a report file whole or not at all, so that a reader never meets half a report."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from agentcheck.errors import HarnessError

#: Every file that our own reporters write into a run's folder; what was purged from the ledger may stand in each.
NAMES = ("report.html", "report.json", "junit.xml", "findings.sarif", "summary.md")


def write(path: Path, content: str | bytes | Iterable[str]) -> Path:
    """Write beside the target and rename over it; makes the folder where it is missing.

    An iterable is written piece by piece, so that a large report never stands in memory as a whole.

    Raises:
        HarnessError: the folder cannot be made or written; an older report at ``path`` is then untouched.
    """
    if isinstance(content, bytes):
        pieces: Iterable[bytes] = (content,)
    else:
        pieces = (piece.encode("utf-8") for piece in ((content,) if isinstance(content, str) else content))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(pieces)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise HarnessError(
            f"cannot write the report: {error.strerror}", where=str(path), advice="is there room, and may you write?"
        ) from error
    return path
