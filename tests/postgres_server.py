"""A private PostgreSQL for the tests: a cluster of its own in a temporary folder, really killed and started again.

``initdb`` refuses to run as root, so root starts everything as the user of the packaged server (or as nobody). The
server listens on a free port of 127.0.0.1, where a password is asked for, and on a socket in its folder, where none
is. ``fsync`` is on, as in production. kill -9 shows what the death of a process costs and says nothing about a loss of
power, so the folder is in memory where there is room for it; benchmarks ask for the disk.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

SUPERUSER = "warden"


def binaries() -> Path | None:
    """The folder with ``initdb`` and ``postgres``: the newest packaged version, or what is on the path."""
    packaged = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]), reverse=True
    )
    found = packaged[0] if packaged else shutil.which("initdb")
    folder = Path(found).resolve().parent if found else None
    return folder if folder and (folder / "postgres").exists() else None


def missing(what: str) -> Any:
    """Skip, or fail where the environment says that the services have to be there."""
    if os.environ.get("AGENTCHECK_REQUIRE_SERVICES") == "1":
        pytest.fail(what)
    pytest.skip(what)


@contextlib.contextmanager
def server(*, on_disk: bool = False) -> Iterator[Server]:
    """A running server; stopped and removed at the end, whatever happened."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        missing("psycopg is not installed (the extra postgres)")
    folder = binaries()
    if folder is None:
        missing("no PostgreSQL server is installed here (Debian: apt install postgresql)")
    assert folder is not None
    root = Path(tempfile.mkdtemp(prefix="acpg-", dir=None if on_disk else _memory()))
    made = Server(folder, root)
    try:
        made.initialise()
        made.start()
        yield made
    finally:
        made.kill()
        shutil.rmtree(root, ignore_errors=True)


class Server:
    """One cluster: start, kill -9, start again; databases and logins on demand."""

    def __init__(self, programs: Path, root: Path) -> None:
        self.programs = programs
        self.root = root
        self.data = root / "data"
        self.port = 0
        self.password = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._user = _unprivileged()
        os.chmod(root, 0o755)
        if self._user is not None:
            os.chown(root, self._user.pw_uid, self._user.pw_gid)

    def url(self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None) -> str:
        """An address over TCP, with a password."""
        return f"postgresql://{user}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def initialise(self) -> None:
        """Make the cluster."""
        secret = self.root / "password"
        secret.write_text(self.password)
        os.chmod(secret, 0o644)
        ways = ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}", "--no-instructions"]
        self._run(["initdb", "-D", str(self.data), "-U", SUPERUSER, "-E", "UTF8", "--locale=C", *ways])

    def _run(self, command: Sequence[str]) -> None:
        done = subprocess.run(
            [str(self.programs / command[0]), *command[1:]],
            capture_output=True,
            timeout=60,
            check=False,
            **self.unprivileged(),
        )
        assert done.returncode == 0, done.stderr.decode()

    def unprivileged(self) -> dict[str, Any]:
        """Options of `subprocess.run` by which a program runs as the server does, in its folder."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        options: dict[str, Any] = {"cwd": self.root, "env": kept}
        if self._user is not None:
            options |= {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return options

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers; the port stays the same over restarts."""
        self.port = self.port or free_port()
        settings = ["listen_addresses=127.0.0.1", f"port={self.port}", f"unix_socket_directories={self.root}"]
        settings += ["max_connections=100", "shared_buffers=64MB", "log_min_messages=fatal", *options]
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.programs / "postgres"), "-D", str(self.data)] + [f"--{each}" for each in settings],
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.unprivileged(),
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start:\n{(self.root / 'log').read_text()[-2000:]}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.01)  # it has no other way of telling

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(f"host={self.root} port={self.port} user={SUPERUSER} dbname=postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """kill -9 of the postmaster and of all its processes, as the loss of the machine's power looks to them."""
        process = self._process
        if process is None:
            return
        os.kill(process.pid, signal.SIGSTOP)  # so that it does not see a child die, and start another one
        children = _children(process.pid)
        for pid in (process.pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        self._process = None
        while any(_alive(pid) for pid in children):
            os.sched_yield()

    def execute(self, statement: str, *arguments: Any, database: str = "postgres", user: str = SUPERUSER) -> list[Any]:
        """Run one statement over the socket, and give its rows."""
        import psycopg

        with psycopg.connect(
            f"host={self.root} port={self.port} user={user} dbname={database}", autocommit=True
        ) as connection:
            cursor = connection.execute(statement, arguments or None)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def database(self, owner: str = SUPERUSER) -> str:
        """The name of a new, empty database."""
        self._databases += 1
        name = f"d{self._databases}"
        self.execute(f"CREATE DATABASE {name} OWNER {owner}")
        return name

    def login(self, name: str, options: str = "") -> str:
        """A new login with the server's password, and its name."""
        self.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{self.password}' {options}")
        return name


def _memory() -> str | None:
    """A folder in memory with room for a few clusters."""
    try:
        return "/dev/shm" if shutil.disk_usage("/dev/shm").free > 4 << 30 else None
    except OSError:
        return None


def _unprivileged() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return missing("no user but root to run PostgreSQL as")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _children(pid: int) -> list[int]:
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, check=False)
    return [int(word) for word in done.stdout.split()]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
