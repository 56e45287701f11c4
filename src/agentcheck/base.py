"""The bar of the base branch: a pull request cannot lower its own.

With ``--base REF`` a suite keeps its cases and its agent, and takes governance (policy, levels, limits), metrics,
thresholds and gate from ``REF``, read with git from the object store: nothing is checked out. What the working tree
changes of the bar is listed as a change, and takes effect once it is merged.

A suite is known by its file, and where that is new by its name: one that was moved keeps its bar. A suite that the base
has and that is neither here nor known by its name fails the run (`missing`): leaving it out is the lowest bar of all.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from agentcheck.errors import AgentcheckError, SuiteError, UserError
from agentcheck.settings import Settings, read_settings
from agentcheck.suites import SUFFIXES, UNSAFE, Suite, load_suite

#: Ids that a change of a dataset names; the rest are counted.
NAMED = 5


@dataclass(frozen=True)
class Missing:
    """A suite of the base that takes no part: its name, its file as the base has it, and what the base says of it."""

    name: str
    file: str
    suite: Suite | None

    def reason(self, ref: str) -> str:
        """What a reader of the run is told."""
        return (
            f"the base {ref} has the suite {self.name!r} ({self.file}), which is not here; a suite is removed, "
            "or given a new file and a new name at once, on the base branch; to run only some suites, name their files"
        )

    def events(self, ref: str) -> Iterator[tuple[str, dict[str, Any], str]]:
        """What the ledger holds of it: a suite that takes part with one case, itself, which fails."""
        spec = self.suite.spec if self.suite else None
        yield (
            "run.suite",
            {
                "suite": self.name,
                "file": self.file,
                "domain": spec.suite.domain if spec else "general",
                "agent": spec.agent.use if spec else "",
                "world": spec.world.use if spec else "",
                "model": "",
                "user": spec.user.use if spec else "",
                "suite_hash": self.suite.hash if self.suite else "",
                "dataset_hash": "",
                "policy_hash": "",
                "agent_hash": "",
                "agent_commit": "",
                "agent_author": "",
                "trials": 1,
                "cases": 1,
                "deselected": 0,
                "skipped_records": [],
                "gate": {"pass_rate": "1", "max_errors": 0, "metrics": {}},
                "changed": ["the suite was removed"],
                "base": ref,
                "unsafe": False,
                "tags": [],
                "retention": spec.suite.retention if spec else "standard",
            },
            "",
        )
        yield (
            "verdict.reached",
            {
                "suite": self.name,
                "case": "*",
                "trial": 1,
                "status": "fail",
                "reasons": [self.reason(ref)],
                "duration": 0,
            },
            f"{self.name}::*#1",
        )


class Base:
    """The files of one git branch or commit.

    ``folders`` are those of which every TOML and YAML file is a suite, besides folders called ``suites``.

    Raises:
        UserError: not a git repository, or no such ref in it.
    """

    def __init__(self, ref: str, root: Path, folders: Iterable[Path] = ()) -> None:
        self.ref = ref
        self._root = root
        self._folders = [folder.resolve() for folder in folders]
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
        before = suite.file
        path = self._copy(before)
        told: list[str] = []
        if path is None:
            gone = (self._suite(name) for name in self._files if self._is_gone(name))
            moved = next((each for each in gone if each.name == suite.name), None)
            if moved is None:
                return replace(suite, base=self.ref, changed=(f"new suite: {self.ref} does not have it",))
            before = self.top / moved.file
            told.append(f"the file of the suite: {moved.file} -> {self._relative(suite.file)}")
            path = self._copy(before)
        assert path is not None
        try:
            base = load_suite(path)
        except SuiteError as error:
            raise SuiteError(
                f"the suite of the base {self.ref} does not load: {error.what}", where=str(suite.file)
            ) from None
        told += self._file_changes(suite, base, before.parent)
        held = suite.bar_from(base, self.ref)
        return replace(held, changed=(*held.changed, *told))

    def _file_changes(self, suite: Suite, base: Suite, folder: Path) -> Iterator[str]:
        """What differs of policy and datasets; ``folder`` is where the base has the suite."""
        policy = base.spec.governance.policy
        if isinstance(policy, str) and policy != UNSAFE:
            copy = self._copy(folder / policy)
            now = suite.file.parent / policy
            if copy is None:
                raise SuiteError(f"the base {self.ref} lacks its own policy {policy}", where=str(suite.file))
            # Another policy is told as that; of the same one the text counts.
            if suite.spec.governance.policy == policy and (not now.is_file() or now.read_bytes() != copy.read_bytes()):
                yield f"policy {policy}: differs; that of {self.ref} is in force"
        after = [row for path in _paths(suite) for row in _rows(_read(suite.path(path)))]
        for path in _paths(base):
            yield from self._dataset_changes(path, _rows(self._show(folder / path)), after)

    def _dataset_changes(self, name: str, before: list[bytes], after: list[bytes]) -> Iterator[str]:
        """The cases of one dataset of the base that no dataset of the suite has as they were."""
        same = set(after)
        gone = [_id(row) for row in before if row not in same]
        if not gone:
            return
        known = {_id(row) for row in after}
        removed = [id_ for id_ in gone if id_ and id_ not in known]
        changed = [id_ for id_ in gone if id_ and id_ in known]
        rows = sum(not id_ for id_ in gone)
        for what, ids in (("removed", removed), ("changed", changed)):
            if ids:
                more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
                named = f"{', '.join(ids[:NAMED])}{more}"
                yield f"dataset {name}: {len(ids)} of {len(before)} cases of {self.ref} were {what}: {named}"
        if rows:
            yield f"dataset {name}: {rows} of {len(before)} rows of {self.ref} were changed or removed"

    def missing(self, paths: Iterable[Path], suites: Mapping[str, Path]) -> list[Missing]:
        """The suites that the base has below the folders that are run, and that the run does not have.

        Args:
            paths: what is run. A file stands for itself only. Where the folders of the project's settings are among
                them, those of the base's settings count too: a change cannot lose a suite by naming other folders.
            suites: name -> file of the suites that were collected.
        """
        folders = {path.resolve() for path in paths if path.is_dir()}
        settings, before = read_settings(self._root), self._settings()
        if all((settings.root / each).resolve() in folders for each in settings.suites):
            folders |= {(settings.root / each).resolve() for each in before.suites}
        files = {file.resolve() for file in suites.values()}
        strict = {*self._folders, *((settings.root / each).resolve() for each in (*settings.suites, *before.suites))}
        gone = (
            self._suite(name)
            for name in self._files
            if (path := (self.top / name).resolve()) not in files
            and not folders.isdisjoint(path.parents)
            # Of a whole project not every folder is collected: there a file that is still in place is not missed.
            and (self._is_gone(name) or not strict.isdisjoint(path.parents))
        )
        return [each for each in gone if each.name not in suites]

    def _settings(self) -> Settings:
        """``[tool.agentcheck]`` of the base."""
        now = read_settings(self._root)
        copy = self._copy(now.root / "pyproject.toml")
        if copy is None:
            return Settings(now.root)
        try:
            return read_settings(copy.parent)
        except UserError:
            return now  # of a base that cannot be read nothing else would be either

    @cached_property
    def _files(self) -> list[str]:
        """The file of every suite of the base, found as collection finds them: by folder and name."""
        listed = _git(self.top, "ls-tree", "-r", "-z", "--full-tree", "--name-only", self.ref) or b""
        strict = {*self._folders, *((self._root / each).resolve() for each in self._settings().suites)}
        found = []
        for name in listed.decode("utf-8", "surrogateescape").split("\0"):
            path = self.top / name
            if path.suffix not in SUFFIXES or ".policy." in path.name or path.name == "pyproject.toml":
                continue
            if path.parent.name != "suites" and not path.stem.endswith(".suite") and strict.isdisjoint(path.parents):
                continue
            found.append(name)
        return found

    def _suite(self, name: str) -> Missing:
        copy = self._copy(self.top / name)
        try:
            suite = load_suite(copy) if copy else None
        except AgentcheckError:
            suite = None
        return Missing(suite.name if suite else name, name, suite)

    def _is_gone(self, name: str) -> bool:
        return not (self.top / name).is_file()

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


def _paths(suite: Suite) -> tuple[str, ...]:
    paths = suite.spec.dataset.path
    return (paths,) if isinstance(paths, str) else paths


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _rows(content: bytes | None) -> list[bytes]:
    """Lines that hold something; none of a file that is not there."""
    if content is not None and content.startswith(b"\x1f\x8b"):
        with suppress(OSError, EOFError, zlib.error):
            content = gzip.decompress(content)
    return [row for row in (content or b"").splitlines() if row.strip()]


def _id(row: bytes) -> str:
    """The id of a row of JSON lines; empty for any other."""
    try:
        found = json.loads(row)
    except (ValueError, RecursionError):
        return ""
    return str(found["id"]) if isinstance(found, dict) and "id" in found else ""


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
