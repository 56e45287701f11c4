"""docs/storage.md: its commands do what the page says, in its order, on servers of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import cli
from postgres_server import SUPERUSER, Server, free_port, server

TEXT = (Path(__file__).parents[2] / "docs" / "storage.md").read_text("utf-8")
BLOCKS = re.findall(r"```(sh|sql)\n(.*?)```", TEXT, re.DOTALL)
#: Programs that refuse to run as root.
SERVERS = ("initdb", "pg_ctl")


class Page:
    """Runs blocks of the page: servers as the user that tests run servers as, the rest in a project."""

    def __init__(self, project: Path, old: Server, new: Server) -> None:
        self.project = project
        self.old = old
        self.new = new
        self.trial = free_port()
        self.exported: dict[str, str] = {}
        self.path = os.pathsep.join([str(Path(sys.executable).parent), str(old.programs), os.environ["PATH"]])

    def placed(self, text: str) -> str:
        """A block with the addresses of the servers that run here."""
        text = text.replace("db.example:5432", f"127.0.0.1:{self.old.port}")
        text = text.replace("new.example:5432", f"127.0.0.1:{self.new.port}")
        return text.replace("5433", str(self.trial)).replace("-k /tmp", f"-k {self.old.root}")

    def sql(self, block: str, where: Server) -> None:
        """Run statements as an administrator."""
        for statement in block.split(";\n"):
            if statement.strip():
                where.execute(statement)

    def sh(self, block: str) -> str:
        """Run lines of a shell, each of which must succeed; what they print."""
        printed = ""
        for line in self.placed(block).splitlines():
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").partition("=")
                self.exported[name] = value
                continue
            options = (
                self.old.unprivileged()
                if line.startswith(SERVERS)
                else {"cwd": self.project, "env": self.environment()}
            )
            options["env"] = {**options["env"], "PATH": self.path}
            done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=100, check=False, **options)
            assert done.returncode == 0, f"{line}\n{done.stdout.decode()}{done.stderr.decode()}"
            printed += done.stdout.decode()
        return printed

    def environment(self) -> dict[str, str]:
        """Of a shell in the project, with what was exported so far."""
        return {**cli.environment(self.project), **self.exported}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """The helpdesk project and two servers, of which nobody made roles."""
    with ExitStack() as running:
        old, new = running.enter_context(server()), running.enter_context(server())
        yield Page(cli.desk(tmp_path), old, new)


def test_the_page_is_true(page: Page) -> None:
    """Trial, three logins, password from the environment, dump, restore and the look at what came back."""
    kinds = [kind for kind, _ in BLOCKS]
    assert kinds == ["sh"] * 3 + ["sql", "sh", "sql", "sh", "sh", "sh", "sql", "sh", "sh", "sh"]
    start, trial, stop, owner, migrate, logins, as_ci, shown, dump, again, restore, look, vacuum = (
        text for _, text in BLOCKS
    )
    page.sh(start)
    try:
        assert "answers: PostgreSQL" in page.sh(trial)
    finally:
        page.sh(stop)
    page.sql(owner, page.old)
    assert "applied 0001_events" in page.sh(migrate)
    page.sql(logins, page.old)
    printed = page.sh(as_ci)
    assert "appends as agentcheck_writer, which may not update, delete or truncate; ci may not withhold" in printed
    assert "warn   store" not in printed
    assert "status-2" in page.sh(shown) or cli.last_run(page.project).name in page.sh(shown)
    page.sh(vacuum)
    page.sh(dump)
    page.sql(again, page.new)
    page.sh(restore)
    kept = cli.last_run(page.project) / "store.url"
    kept.write_text(kept.read_text().replace(f":{page.old.port}/", f":{page.new.port}/"))
    page.old.kill()
    printed = page.sh(look)
    assert "appends as ledger_owner itself, which may not update, delete or truncate" in printed
    assert "ledger_owner owns the tables, so it can grant itself that" in printed
    assert "CONSISTENT" in printed
    assert printed.count("warn   store") == 1
    count = "SELECT count(*) FROM agentcheck.events"
    assert page.new.execute(count, database="ledger")[0][0] > 100


def test_every_role_is_on_the_page() -> None:
    """The table names the three roles of the migrations."""
    assert set(re.findall(r"^\| `(agentcheck_\w+)` \|", TEXT, re.MULTILINE)) == {
        "agentcheck_writer",
        "agentcheck_reader",
        "agentcheck_custodian",
    }
    assert SUPERUSER not in TEXT
