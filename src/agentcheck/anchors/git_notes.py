"""``git:refs/notes/NAME``: checkpoints as Git notes of the commit that is checked out where the run is.

A commit's note holds several checkpoints, one after another. Nothing of the user's is touched but that one reference:
not the index, not the working tree, not the configuration. The reference is moved only from the value that was read,
so that processes which write at the same time lose nothing of each other; the one that came too late does it again.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agentcheck.anchors.subject import subject
from agentcheck.errors import AnchorError, UserError

_ATTEMPTS = 50
_TIMEOUT = 60
#: Notes are commits; who made them is said here, because a CI job has no name configured.
_IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "agentcheck"), ("EMAIL", "agentcheck@localhost"))
}
_REF = re.compile(r"refs/notes/[A-Za-z0-9][A-Za-z0-9_./-]*")


class _Late(Exception):
    """The reference is not where it was any more."""


class GitNotesAnchor:
    """A `contracts.Anchor` on the notes of the repository that the project is in. Push the reference to keep it.

    Raises:
        UserError: the address is no reference for notes, there is no repository, or it has no commit.
    """

    def __init__(self, address: str, root: Path) -> None:
        self._ref = address.partition(":")[2]
        self._root = root
        if not _REF.fullmatch(self._ref):
            raise UserError("no reference for notes", where=address, advice="such as git:refs/notes/agentcheck")
        try:
            self._git("check-ref-format", self._ref)
            self._git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        except AnchorError as error:
            raise UserError(
                f"Git cannot keep checkpoints in {root}: {error.what}",
                where=address,
                advice="the project must be a Git repository with a commit",
            ) from None

    def publish(self, note: str, proof: Callable[[int], Sequence[bytes]]) -> str:
        """Append the checkpoint to the note of the commit that is checked out.

        Raises:
            AnchorError: Git fails, or others write without a pause.
        """
        subject(note)
        commit = self._git("rev-parse", "--verify", "HEAD^{commit}").strip()
        error = None
        for attempt in range(_ATTEMPTS):
            try:
                return self._append(commit, note)
            except _Late as late:
                error = late
                time.sleep(secrets.randbelow(10 + 5 * attempt) / 1000)
        raise AnchorError(f"{self._ref} could not be moved in {_ATTEMPTS} attempts: {error}")

    def _append(self, commit: str, note: str) -> str:
        """One attempt: make the new state under a reference of this process, then move the real one from what it was.

        Raises:
            _Late: the reference could not be moved, as a rule because another process moved it meanwhile.
        """
        before = self._value()
        draft = f"refs/notes/agentcheck-draft-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            there = ""
            if before:
                self._git("update-ref", draft, before)
                listed = self._git("notes", f"--ref={draft}", "list").split("\n")
                found = [line.split()[0] for line in listed if line.endswith(f" {commit}")]
                there = self._git("cat-file", "blob", found[0]) if found else ""
            if note in there:
                return note
            text = f"{there.rstrip()}\n\n{note}" if there.strip() else note
            blob = self._git("hash-object", "-w", "--stdin", given=text).strip()
            self._git("notes", f"--ref={draft}", "add", "--force", "-C", blob, commit)
            after = self._git("rev-parse", "--verify", draft).strip()
            try:
                self._git("update-ref", "-m", "agentcheck: a checkpoint", self._ref, after, before)
            except AnchorError as error:
                raise _Late(error.what) from error
        finally:
            self._git("update-ref", "-d", draft)
        return note

    def _value(self) -> str:
        """The commit that the reference names; ``""`` where there is none."""
        return self._git("for-each-ref", "--format=%(objectname)", self._ref).strip()

    def notes(self, run: str) -> Sequence[str]:
        """The checkpoints of a run on all commits, by stream and size.

        Raises:
            AnchorError: Git fails.
        """
        if not self._value():
            return []
        blobs = [line.split()[0] for line in self._git("notes", f"--ref={self._ref}", "list").split("\n") if line]
        found = []
        for blob in blobs:
            for note in _CHECKPOINT.findall(self._git("cat-file", "blob", blob) + "\n"):
                try:
                    about = subject(note)
                except AnchorError:
                    continue  # of another log
                if about.run == run:
                    found.append((about.stream, about.size, note))
        return [note for _, _, note in sorted(found, key=lambda each: each[:2])]

    def _git(self, *arguments: str, given: str = "") -> str:
        try:
            done = subprocess.run(  # noqa: S603 - no shell, and the arguments are ours
                ["git", *arguments],  # noqa: S607 - the user's own git
                cwd=self._root,
                env={**os.environ, **_IDENTITY},
                input=given.encode(),
                capture_output=True,
                timeout=_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise AnchorError(f"git {arguments[0]}: {error}") from error
        if done.returncode != 0:
            why = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
            raise AnchorError(f"git {arguments[0]}: {why}")
        return done.stdout.decode("utf-8", "replace")


#: A checkpoint of agentcheck: origin, size, root, a blank line, signatures. What others wrote around it is passed over.
_CHECKPOINT = re.compile(r"^[^\n]+/[^\n]+\n[0-9]+\n[A-Za-z0-9+/=]+\n\n(?:\u2014 [^\n]*\n)+", re.MULTILINE)
