"""``file:DIR``: the conformance kit, the layout of the folder, and what cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcheck.anchors.folder import FolderAnchor
from agentcheck.errors import AnchorError, UserError
from kits.anchor import RUN, AnchorKit, Reopen, no_proof, signed


class TestFolderAnchor(AnchorKit):
    """The kit on a folder."""

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Reopen:
        """The same folder each time."""
        return lambda: FolderAnchor("file:kept/here", tmp_path)


def test_a_file_for_each_checkpoint(tmp_path: Path) -> None:
    """A relative folder is one of the project; run, stream and size are the path; nothing else is left."""
    anchor = FolderAnchor("file:kept", tmp_path)
    anchor.publish(signed(12), no_proof)
    anchor.publish(signed(12, time=5), no_proof)
    files = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        f"kept/{RUN}/main/12.checkpoint": signed(12),
        f"kept/{RUN}/main/12-2.checkpoint": signed(12, time=5),
    }
    assert FolderAnchor(f"file:{tmp_path / 'kept'}", Path("/nowhere")).notes(RUN) == [signed(12), signed(12, time=5)]


def test_another_root_of_the_same_size_is_refused(tmp_path: Path) -> None:
    """A kept checkpoint is not overwritten, and a second root for its size is told."""
    anchor = FolderAnchor("file:kept", tmp_path)
    anchor.publish(signed(12), no_proof)
    with pytest.raises(AnchorError, match=r"12\.checkpoint holds another checkpoint of 12 events"):
        anchor.publish(signed(12, root=bytes(32)), no_proof)
    assert anchor.notes(RUN) == [signed(12)]


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A file in the way of a folder is told: of the place itself at once, of a run when it is published."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="the folder cannot be made"):
        FolderAnchor("file:file", tmp_path)
    anchor = FolderAnchor("file:kept", tmp_path)
    (tmp_path / "kept" / RUN).write_text("")
    with pytest.raises(AnchorError, match="cannot write"):
        anchor.publish(signed(1), no_proof)


@pytest.mark.parametrize("address", ["file:", "file://server/share"])
def test_an_address_without_a_folder_is_refused(address: str, tmp_path: Path) -> None:
    """An empty path, or one like a URL, is told."""
    with pytest.raises(UserError, match="names no folder"):
        FolderAnchor(address, tmp_path)
