"""The bar of the base branch: a pull request cannot lower its own.

With ``--base REF`` a suite keeps its cases and its agent, and takes governance (policy, levels, limits), metrics,
thresholds and gate from ``REF``, read with git from the object store: nothing is checked out. What the working tree
changes of the bar is listed as a change, and takes effect once it is merged.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from agentcheck.errors import SuiteError, UserError
from agentcheck.suites import UNSAFE, Suite, load_suite


class Base:
    """The files of one git branch or commit.

    Raises:
        UserError: not a git repository, or no such ref in it.
    """

    def __init__(self, ref: str, root: Path) -> None:
        self.ref = ref
        top = _git(root, "rev-parse", "--show-toplevel")
        if top is None:
            raise UserError(f"--base {ref}: {root} is in no git repository")
        self.top = Path(top.decode().strip())
        if ref.startswith("-") or _git(self.top, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}") is None:
            raise UserError(
                f"--base {ref}: no such branch or commit here",
                advice="fetch it first; with actions/checkout set fetch-depth: 0",
            )
        # Policies are read from here when suites are made ready; `close` removes it.
        self._copies = tempfile.TemporaryDirectory(prefix="agentcheck-base-")

    def close(self) -> None:
        """Remove the copies of the base's files."""
        self._copies.cleanup()

    def hold(self, suite: Suite) -> Suite:
        """The suite, held to the bar of the base; a suite that the base does not have keeps its own, and says so."""
        path = self._copy(suite.file)
        if path is None:
            return replace(suite, base=self.ref, changed=(f"new suite: {self.ref} does not have it",))
        try:
            base = load_suite(path)
        except SuiteError as error:
            raise SuiteError(
                f"the suite of the base {self.ref} does not load: {error.what}", where=str(suite.file)
            ) from None
        changed = tuple(self._file_changes(suite, base))
        held = suite.bar_from(base, self.ref)
        return replace(held, changed=(*held.changed, *changed))

    def _file_changes(self, suite: Suite, base: Suite) -> Iterator[str]:
        policy = base.spec.governance.policy
        if isinstance(policy, str) and policy != UNSAFE:
            copy = self._copy(suite.file.parent / policy)
            now = suite.file.parent / policy
            if copy is None:
                raise SuiteError(f"the base {self.ref} lacks its own policy {policy}", where=str(suite.file))
            if not now.is_file() or now.read_bytes() != copy.read_bytes():
                yield f"policy {policy}: differs; that of {self.ref} is in force"
        paths = base.spec.dataset.path
        for path in (paths,) if isinstance(paths, str) else paths:
            yield from self._dataset_changes(suite.file.parent / path, path)

    def _dataset_changes(self, now: Path, name: str) -> Iterator[str]:
        before = self._show(now)
        if before is None:
            return
        after = set(now.read_bytes().splitlines()) if now.is_file() else set()
        rows = [row for row in before.splitlines() if row.strip()]
        gone = sum(row not in after for row in rows)
        if gone:
            yield f"dataset {name}: {gone} of {len(rows)} rows of {self.ref} were changed or removed"

    def removed(self, suites: Iterator[Path]) -> list[str]:
        """Suite files that the base has and the working tree lacks, in the folders of the given suites."""
        folders = {path.resolve().parent for path in suites}
        gone = []
        for folder in sorted(folders):
            listed = _git(self.top, "ls-tree", "--name-only", self.ref, f"{self._relative(folder)}/")
            for name in (listed or b"").decode("utf-8", "replace").splitlines():
                path = self.top / name
                if path.suffix in (".toml", ".yaml", ".yml") and ".policy." not in name and not path.exists():
                    gone.append(name)
        return gone

    def _copy(self, path: Path) -> Path | None:
        """A copy of a file as the base has it, at the same place below a temporary folder."""
        content = self._show(path)
        if content is None:
            return None
        copy = Path(self._copies.name) / self._relative(path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
        return copy

    def _show(self, path: Path) -> bytes | None:
        return _git(self.top, "show", f"{self.ref}:{self._relative(path)}")

    def _relative(self, path: Path) -> PurePosixPath:
        try:
            return PurePosixPath(path.resolve().relative_to(self.top.resolve()).as_posix())
        except ValueError:
            raise UserError(f"{path} lies outside the repository, so --base cannot read it", where=str(path)) from None


def _git(root: Path, *arguments: str) -> bytes | None:
    """Output of git, or ``None`` where it failed."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed command, no shell
            ["git", *arguments],  # noqa: S607 - the user's own git
            cwd=root,
            capture_output=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
