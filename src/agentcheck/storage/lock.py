"""The writer's lock: one process may write a ledger file; a killed one leaves no lock behind.

The operating system holds the lock (``flock``, on Windows a locked byte) on a file beside the ledger and drops it
when the process ends, however it ends. It is not taken on the ledger itself: closing a second handle of a database
file would drop the locks by which SQLite keeps its readers and writers apart (POSIX ``fcntl`` locks belong to the
process, not to the handle).
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from agentcheck.errors import StoreError

if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # beyond the text, which others must be able to read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class WriterLock:
    """Held from construction to `release`.

    Raises:
        StoreError: another process (or another store in this one) writes the file.
    """

    def __init__(self, ledger: Path) -> None:
        self._path = ledger.with_name(ledger.name + ".lock")
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
            try:
                _lock(descriptor)
            except OSError as error:
                holder = _holder(descriptor)
                os.close(descriptor)
                raise StoreError(
                    f"{holder} writes this ledger already",
                    where=str(ledger),
                    advice="a ledger has one writer: wait for that run to end, or write into another folder",
                ) from error
            if _same(descriptor, self._path):
                break
            os.close(descriptor)  # its holder removed it between our open and our lock
        self._descriptor = descriptor
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Give the lock back and remove its file. Not for a forked child, which shares the parent's lock."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):  # on Windows an open file cannot be removed; it does no harm
            self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1


def writer_of(ledger: Path) -> str:
    """Who writes a ledger at this moment, as ``"process 4711"``; ``""`` where nobody does.

    Raises:
        StoreError: the lock's file is there and cannot be opened.
    """
    path = ledger.with_name(ledger.name + ".lock")
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StoreError(
            f"whether the ledger has a writer cannot be told: {error.strerror}",
            where=str(path),
            advice="look as the user who made the run; where nobody writes it, remove this file",
        ) from error
    try:
        _lock(descriptor)
    except OSError:
        return _holder(descriptor)
    finally:
        os.close(descriptor)  # with the lock, where it could be taken
    return ""


def _holder(descriptor: int) -> str:
    try:
        pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() if hasattr(os, "pread") else ""
    except OSError:
        pid = ""
    return f"process {pid}" if pid.isdigit() else "another process"


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
