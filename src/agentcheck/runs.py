"""A run on disk: its folder, its streams, how it is opened, recorded, found again and resumed.

A run lives in ``reports/<run-id>/``. Each process that runs cases writes its own stream (``main``, ``gw0`` ... and
``main-r1`` after a resume). The streams are SQLite files of the folder, or live where ``AGENTCHECK_STORE`` says; the
folder then remembers where, without the password (`STORE_FILE`).
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import secrets
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from agentcheck import __version__, stores
from agentcheck.collection import Plan
from agentcheck.contracts import RunStore, Store
from agentcheck.engine import microseconds
from agentcheck.errors import StoreError, UserError
from agentcheck.events import Event
from agentcheck.ledger.checkpoints import Checkpoints, Payloads
from agentcheck.ledger.ledger import Ledger
from agentcheck.ledger.reading import read_events
from agentcheck.ledger.redaction import Redactor
from agentcheck.storage.address import Address, read_address
from agentcheck.storage.sqlite_run import SqliteRun
from agentcheck.verdicts import format_number

KEY_FILE = "redaction.key"
LOST_FILE = "workers.lost"
#: The address of the run's store, without a password; not there where the streams are files of the folder.
STORE_FILE = "store.url"
#: Says that the folder is a copy that `agentcheck ledger export` made; what it holds is for people to read.
COPY_FILE = "copy.txt"
#: ``(run, stream, payloads) -> Checkpoints``: what signs a stream while it is written.
Sign = Callable[[str, str, Payloads], Checkpoints]
_RUN_ID = re.compile(r"^\d{8}-\d{6}-[0-9a-f]{4}$")


class RunFolder:
    """The folder of one run. Nothing is written before `create`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name

    @classmethod
    def new(cls, reports: Path) -> RunFolder:
        """A new run under ``reports``, named by UTC time and four random digits."""
        stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
        return cls(reports / f"{stamp}-{secrets.token_hex(2)}")

    @classmethod
    def find(cls, reports: Path, name: str) -> RunFolder:
        """The run called ``name``: an id, the beginning of one, ``last``, or a path.

        Raises:
            UserError: no such run, or several.
        """
        direct = Path(name)
        if direct.is_dir() and (any(direct.glob("ledger*.db")) or (direct / STORE_FILE).is_file()):
            return cls(direct)
        known = [folder.id for folder in cls.all(reports)]
        found = known[-1:] if name == "last" else [each for each in known if each.startswith(name)]
        if len(found) == 1:
            return cls(reports / found[0])
        if found:
            raise UserError(f"several runs begin with {name!r}: {', '.join(found[:5])}")
        advice = f"the latest is {known[-1]}" if known else "run `agentcheck run` first"
        raise UserError(f"no run {name!r} in {reports}", advice=advice)

    @classmethod
    def all(cls, reports: Path) -> list[RunFolder]:
        """All runs under ``reports``, oldest first."""
        if not reports.is_dir():
            return []
        return [cls(path) for path in sorted(reports.iterdir()) if _RUN_ID.match(path.name) and path.is_dir()]

    def create(self) -> None:
        """Make the folder, the address of the store and the redaction key that all processes of the run share.

        Raises:
            UserError: ``AGENTCHECK_STORE`` names no store.
            StoreError: the folder cannot be written, or the store does not answer.
        """
        self.reach()
        address = self.address
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # Before the key: a folder with a key and without an address keeps its streams itself.
            if address is not None:
                self._place(STORE_FILE, f"{address.without_password()}\n".encode())
            self._place(KEY_FILE, secrets.token_bytes(32))
        except OSError as error:
            raise StoreError(f"cannot write the run's folder: {error.strerror}", where=str(self.path)) from error

    def _place(self, name: str, content: bytes) -> None:
        """Write a file that appears whole or not at all; the first one wins: workers start at the same time."""
        draft = self.path / f"{name}.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        with contextlib.suppress(FileExistsError):
            os.link(draft, self.path / name)
        draft.unlink()

    @property
    def address(self) -> Address | None:
        """Where the streams live, with the password where one is known; None where they are files of the folder.

        A run that was made keeps to what its folder says. The variable then gives the login, where it names the same
        server and database; otherwise the store finds a password itself, or needs none.

        Raises:
            UserError: the address cannot be read.
        """
        file = self.path / STORE_FILE
        try:
            kept = read_address(file.read_text("utf-8").strip(), where=str(file))
        except (FileNotFoundError, NotADirectoryError):
            made = (self.path / KEY_FILE).exists() or any(self.path.glob("ledger*.db"))
            return None if made else stores.wanted()
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"cannot read where the run is stored: {error}", where=str(file)) from error
        with contextlib.suppress(UserError):  # whatever is wrong with it, it does not name this run's store
            wanted = stores.wanted()
            if wanted is not None and wanted.names_same_place(kept):
                return wanted
        return kept

    @cached_property
    def store(self) -> RunStore:
        """Where the streams of the run live; nothing is opened yet.

        Raises:
            UserError: no store has the scheme of the address, or what it needs is not installed.
        """
        address = self.address
        if address is None:
            return SqliteRun("", self.id, self.path)
        return stores.factory(address)(str(address), self.id, self.path)

    def reach(self) -> None:
        """Make sure that the store answers, before anything runs; the default needs no asking.

        Raises:
            UserError, StoreError: it does not.
        """
        if self.address is not None:
            self.store.streams()

    @property
    def is_copy(self) -> bool:
        """Whether this is a copy made by ``agentcheck ledger export``, and not the run itself."""
        return (self.path / COPY_FILE).is_file()

    @property
    def scratch(self) -> Path:
        """Where worlds keep their own files, one folder a trial."""
        return self.path / "scratch"

    @property
    def key(self) -> bytes:
        """The run's secret, shared by its processes: for placeholders, and for the hashes that votes are bound to.

        Deleting the file unlinks placeholders from values for good.
        """
        try:
            return (self.path / KEY_FILE).read_bytes()
        except FileNotFoundError:
            raise StoreError(
                "the run's redaction key is gone; nothing more can be recorded in it", where=str(self.path / KEY_FILE)
            ) from None

    @property
    def lost_workers(self) -> int:
        """How many processes died while they ran cases of this run."""
        try:
            return (self.path / LOST_FILE).stat().st_size
        except FileNotFoundError:
            return 0

    def lose_worker(self) -> None:
        """Tell all processes of the run that one of them died: a mark more in a file."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / LOST_FILE).open("a") as file:
            file.write("x")

    def redactor(self) -> Redactor:
        """The run's redactor."""
        return Redactor(self.key)

    def refuse_if_written(self) -> None:
        """Refuse a run that another process still writes: two would decide the same cases.

        Raises:
            UserError: a stream has a writer.
        """
        writer = self.store.writer()
        if writer:
            raise UserError(
                f"the run {self.id} is still going on: {writer} writes this ledger already",
                where=str(self.path),
                advice="wait for it to end, or stop it",
            )

    def streams(self) -> list[str]:
        """Streams of the run, those of the main process first."""
        if not self.path.is_dir():
            return []  # nothing was recorded, and no store needs to be asked
        return sorted(self.store.streams(), key=lambda name: (not name.startswith("main"), len(name), name))

    def next_stream(self, worker: str) -> str:
        """The name of the stream this process will write: a resumed run never touches an old one."""
        taken = self.streams()
        if worker not in taken:
            return worker
        number = 1
        while f"{worker}-r{number}" in taken:
            number += 1
        return f"{worker}-r{number}"

    @contextmanager
    def writing(self, stream: str, sign: Sign | None = None) -> Iterator[Ledger]:
        """Open a stream for writing; both ledger and store are closed at the end, whatever happens.

        ``sign`` makes what signs and publishes its checkpoints; the last one is signed when the ledger has closed.

        Raises:
            AnchorError: at the end, where the last checkpoint could not be kept everywhere; the ledger is whole.
        """
        with contextlib.ExitStack() as stack:
            checkpoints = None
            if sign is not None:
                checkpoints = stack.enter_context(sign(self.id, stream, partial(self.payloads, stream)))
            store = self.store.writing(stream)
            stack.callback(store.close)
            observe = checkpoints.observe if checkpoints else None
            ledger = Ledger(store, stream, redact=self.redactor(), clock=microseconds, observe=observe)
            stack.enter_context(ledger)
            if checkpoints:
                checkpoints.start(ledger)
            yield ledger

    @contextmanager
    def payloads(self, stream: str, start: int) -> Iterator[Iterable[bytes]]:
        """What is stored of a stream, from a sequence number on."""
        with self.reading(stream) as store:
            yield (row.payload for row in store.read(stream, start))

    @contextmanager
    def reading(self, stream: str) -> Iterator[Store]:
        """A stream's store, opened for reading only."""
        store = self.store.reading(stream)
        try:
            yield store
        finally:
            store.close()

    def events(self) -> Iterator[Event]:
        """All events of all streams, stream after stream; order across streams exists only where an event says so."""
        for stream in self.streams():
            with self.reading(stream) as store:
                yield from read_events(store, stream)

    def heads(self, *, without: str = "") -> list[dict[str, Any]]:
        """Size and chain value of every stream but one."""
        found = []
        for stream in self.streams():
            if stream != without:
                with self.reading(stream) as store:
                    head = store.head(stream)
                if head:
                    found.append({"stream": stream, "size": head[0], "head": head[1].hex()})
        return found


def start(
    ledger: Ledger,
    folder: RunFolder,
    command: Sequence[str],
    *,
    worker: str,
    root: Path,
    previous: Mapping[str, tuple[int, str]] | None = None,
) -> None:
    """Record ``run.started``: who runs, with what, where from.

    ``previous`` holds size and head of the streams that a resumed run found. A fresh run names none: the files of
    workers that start at the same moment are no predecessors, and may not be readable yet.
    """
    state = repository(root)
    ledger.record(
        "run.started",
        {
            "run": folder.id,
            "agentcheck": __version__,
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
            "command": list(command),
            "worker": worker,
            "commit": state["commit"],
            "dirty": state["dirty"],
            "author": state["author"],
            "configuration": {},
            "previous": [
                {"stream": stream, "size": size, "head": head} for stream, (size, head) in (previous or {}).items()
            ],
            "unsafe": False,
            "redaction": folder.redactor().key_id,
        },
    )


def record_suite(ledger: Ledger, plan: Plan, *, selected: int, deselected: int) -> None:
    """Record ``run.suite``: what takes part, with every configuration hash in force."""
    suite, spec = plan.suite, plan.suite.spec
    direction = plan.direction
    ledger.record(
        "run.suite",
        {
            "suite": suite.name,
            "file": str(suite.file),
            "domain": spec.suite.domain,
            "agent": spec.agent.use,
            "world": spec.world.use,
            "model": spec.agent.model or (spec.model.use if spec.model else ""),
            "user": spec.user.use,
            "suite_hash": suite.hash,
            "dataset_hash": plan.dataset_hash,
            "policy_hash": plan.policy_hash,
            "agent_hash": plan.agent_hash,
            "agent_commit": plan.agent_commit,
            "agent_author": plan.agent_author,
            "trials": spec.suite.trials,
            "cases": selected,
            "deselected": deselected,
            "skipped_records": list(plan.skipped_records),
            "gate": {
                "pass_rate": format_number(spec.gate.pass_rate),
                "max_errors": spec.gate.max_errors,
                "metrics": {
                    name: [format_number(bound), direction.get(name, "higher")]
                    for name, bound in spec.gate.metrics.items()
                },
            },
            "changed": list(suite.changed),
            "base": suite.base,
            "unsafe": suite.unsafe,
            "tags": list(spec.suite.tags),
            "retention": spec.suite.retention,
        },
    )


def repository(root: Path) -> Mapping[str, Any]:
    """Commit, dirty state and last author of the repository at ``root``; empty where it is none."""
    head = _git(root, "log", "-1", "--format=%H%n%an")
    if head is None:
        return {"commit": "", "dirty": None, "author": ""}
    commit, _, author = head.partition("\n")
    status = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if status is None else bool(status), "author": author}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            ["git", *arguments],  # noqa: S607 - the user's own git
            cwd=root,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
