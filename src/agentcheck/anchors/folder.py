"""``file:DIR``: a file for each checkpoint, ``DIR/<run>/<stream>/<size>.checkpoint``. None is ever overwritten."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from agentcheck.anchors.subject import subject
from agentcheck.errors import AnchorError, UserError

_SUFFIX = ".checkpoint"
_ADVICE = "write it as file:FOLDER, relative to the project's folder or absolute"


class FolderAnchor:
    """A `contracts.Anchor` on a folder, which should be where the writer of the ledger cannot remove it.

    A checkpoint of a size that is there already, signed again, is kept beside it as ``<size>-2.checkpoint``.

    Raises:
        UserError: the address names no folder, or one that cannot be made.
    """

    def __init__(self, address: str, root: Path) -> None:
        name = address.partition(":")[2]
        if not name or name.startswith("//"):
            raise UserError("the address names no folder", where=address, advice=_ADVICE)
        self._folder = root / name
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the folder cannot be made: {error.strerror}", where=address, advice=_ADVICE) from None

    def publish(self, note: str, proof: Callable[[int], Sequence[bytes]]) -> str:
        """Write the checkpoint into a new file; returns once it is on disk.

        Raises:
            AnchorError: it cannot be written, or a checkpoint of this size with another root is there.
        """
        about = subject(note)
        folder = self._folder / about.run / about.stream
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(1, 10_000):
                name = f"{about.size}{_SUFFIX}" if number == 1 else f"{about.size}-{number}{_SUFFIX}"
                if _write_new(folder / name, note):
                    break
                there = (folder / name).read_text("utf-8")
                if there == note:
                    break
                if not there.startswith(f"{about.body}\n\n"):
                    raise AnchorError(f"{folder / name} holds another checkpoint of {about.size} events")
            for each in (folder, folder.parent, self._folder):
                _sync(each)
        except (OSError, UnicodeDecodeError) as error:
            raise AnchorError(f"cannot write {folder}: {getattr(error, 'strerror', error)}") from error
        return note

    def notes(self, run: str) -> Sequence[str]:
        """The checkpoints of a run, by stream and size.

        Raises:
            AnchorError: a file cannot be read.
        """
        try:
            files = sorted((self._folder / run).glob(f"*/*{_SUFFIX}"), key=_order)
            return [file.read_text("utf-8") for file in files]
        except (OSError, UnicodeDecodeError) as error:
            raise AnchorError(f"cannot read {self._folder / run}: {error}") from error


def _order(file: Path) -> tuple[str, int, int]:
    size, _, number = file.stem.partition("-")
    return file.parent.name, int(size) if size.isdigit() else 0, int(number) if number.isdigit() else 1


def _write_new(file: Path, text: str) -> bool:
    """Write a file that appears whole or not at all; False where it exists."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8", newline="") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        os.link(draft, file)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _sync(folder: Path) -> None:
    if os.name == "nt":  # pragma: no cover - folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
