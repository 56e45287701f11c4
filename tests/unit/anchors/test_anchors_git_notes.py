"""``git:refs/notes/NAME`` on real repositories: the conformance kit, and what is left untouched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agentcheck.anchors.git_notes import GitNotesAnchor
from agentcheck.errors import AnchorError, UserError
from kits.anchor import RUN, AnchorKit, Reopen, no_proof, signed

ADDRESS = "git:refs/notes/agentcheck"


def git(folder: Path, *arguments: str) -> str:
    """Run Git as a user with a name."""
    command = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a commit, in which nobody has set a name."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "README").write_text("x")
    git(folder, "add", "README")
    git(folder, "commit", "-q", "-m", "first")
    return folder


class TestGitNotesAnchor(AnchorKit):
    """The kit on a repository."""

    @pytest.fixture
    def reopen(self, repository: Path) -> Reopen:
        """The same repository each time."""
        return lambda: GitNotesAnchor(ADDRESS, repository)


def test_the_notes_are_those_of_the_commit(repository: Path) -> None:
    """Git shows the checkpoints, one after another, as notes of the commit that was checked out."""
    anchor = GitNotesAnchor(ADDRESS, repository)
    anchor.publish(signed(1), no_proof)
    anchor.publish(signed(2), no_proof)
    assert git(repository, "notes", "--ref=agentcheck", "show", "HEAD") == f"{signed(1)}\n{signed(2)}"
    (repository / "README").write_text("y")
    git(repository, "commit", "-q", "-a", "-m", "second")
    anchor.publish(signed(3), no_proof)
    assert git(repository, "notes", "--ref=agentcheck", "show", "HEAD") == signed(3)
    assert anchor.notes(RUN) == [signed(1), signed(2), signed(3)]


def test_nothing_else_is_touched(repository: Path) -> None:
    """Configuration, index, working tree and all other references stay, and no draft is left."""
    (repository / "README").write_text("changed")
    (repository / "staged").write_text("s")
    git(repository, "add", "staged")

    def state() -> tuple[str, bytes, str, list[str]]:
        refs = git(repository, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return (
            (repository / ".git" / "config").read_text(),
            (repository / ".git" / "index").read_bytes(),
            git(repository, "status", "--porcelain"),
            [each for each in refs if not each.startswith("refs/notes/agentcheck ")],
        )

    before = state()
    GitNotesAnchor(ADDRESS, repository).publish(signed(1), no_proof)
    assert state() == before


def test_notes_of_others_stay(repository: Path) -> None:
    """A note that somebody wrote on the same reference is kept, and does not hide the checkpoints."""
    git(repository, "notes", "--ref=agentcheck", "add", "-m", "Reviewed.\n\nLooks good.", "HEAD")
    anchor = GitNotesAnchor(ADDRESS, repository)
    anchor.publish(signed(1), no_proof)
    shown = git(repository, "notes", "--ref=agentcheck", "show", "HEAD")
    assert shown == f"Reviewed.\n\nLooks good.\n\n{signed(1)}"
    assert anchor.notes(RUN) == [signed(1)]


def test_a_folder_below_the_repository_will_do(repository: Path) -> None:
    """The project may be a folder of the repository."""
    (repository / "sub").mkdir()
    GitNotesAnchor(ADDRESS, repository / "sub").publish(signed(1), no_proof)
    assert GitNotesAnchor(ADDRESS, repository).notes(RUN) == [signed(1)]


def test_a_reference_that_cannot_be_moved_is_told(repository: Path) -> None:
    """Where the reference stays locked, the attempts end and Git's own words are told."""
    lock = repository / ".git" / "refs" / "notes" / "agentcheck.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text("")
    git(repository, "config", "core.filesRefLockTimeout", "0")
    with pytest.raises(AnchorError, match=r"could not be moved in 50 attempts: git update-ref: .*agentcheck\.lock"):
        GitNotesAnchor(ADDRESS, repository).publish(signed(1), no_proof)
    assert "draft" not in git(repository, "for-each-ref")


@pytest.mark.parametrize("address", ["git:", "git:refs/heads/main", "git:refs/notes/", "git:refs/notes/a..b"])
def test_an_address_that_is_no_reference_for_notes_is_refused(address: str, repository: Path) -> None:
    """Only references below refs/notes are written."""
    with pytest.raises(UserError):
        GitNotesAnchor(address, repository)


def test_a_folder_without_a_commit_is_refused(tmp_path: Path) -> None:
    """No repository, and one without a commit, are told before anything runs."""
    for prepare in (lambda: None, lambda: git(tmp_path, "init", "-q")):
        prepare()
        with pytest.raises(UserError, match="Git cannot keep checkpoints"):
            GitNotesAnchor(ADDRESS, tmp_path)
