"""AGENTCHECK_STORE: a run keeps its events where the variable says, and is found again there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import cli

#: A store as a plugin brings it: SQLite files in the folder that the address names.
STORE = """
from pathlib import Path
from urllib.parse import urlsplit
from agentcheck import hookimpl
from agentcheck.errors import StoreError
from agentcheck.storage.sqlite_run import SqliteRun

class Elsewhere(SqliteRun):
    def __init__(self, url, run, folder):
        parts = urlsplit(url)
        if parts.password != "s3cret-pass":
            raise StoreError("the login was refused", where=parts.hostname)
        self.shelf = Path(parts.path)
        super().__init__(url, run, self.shelf / run)

    def streams(self):
        if not self.shelf.is_dir():
            raise StoreError("the shelf does not answer", where=str(self.shelf), advice="put it up")
        return super().streams()

@hookimpl
def agentcheck_stores():
    return {"elsewhere": "shelf:Elsewhere"}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The helpdesk with a plugin that brings a store, and an empty place for it."""
    desk = cli.desk(tmp_path)
    (desk / "shelf.py").write_text(STORE, "utf-8")
    installed = desk / "shelf-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1.0\n", "utf-8")
    (installed / "entry_points.txt").write_text("[agentcheck]\nshelf = shelf\n", "utf-8")
    (desk / "shelf").mkdir()
    (desk / "shelf").rename(desk / "books")
    return desk


def address(project: Path, password: str = ":s3cret-pass") -> str:
    """What a user sets."""
    return f"elsewhere://ann{password}@host{project / 'books'}"


def told(project: Path) -> str:
    """All that a run wrote into its folder and into its store."""
    files = [path for folder in ("reports", "books") for path in (project / folder).rglob("*") if path.is_file()]
    return "".join(path.read_bytes().decode("latin-1") for path in files)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_the_variable_is_all_that_is_set(project: Path, workers: tuple[str, ...]) -> None:
    """The events are in the store and not in the folder; the run is shown, and nothing holds the password."""
    done = cli.agentcheck(project, "run", *workers, AGENTCHECK_STORE=address(project))
    assert done.code == 0, done.text
    run = cli.last_run(project)
    assert not list(run.glob("*.db"))
    assert (run / "store.url").read_text("utf-8") == f"{address(project, '')}\n"
    streams = {path.name for path in (project / "books" / run.name).glob("*.db")}
    assert streams == ({"ledger.db", "ledger-gw0.db", "ledger-gw1.db"} if workers else {"ledger.db"})
    shown = cli.agentcheck(project, "show", "last", AGENTCHECK_STORE=address(project))
    assert shown.code == 0, shown.text
    assert "status-2" in cli.agentcheck(project, "show", "last", "status-2", AGENTCHECK_STORE=address(project)).out
    by_path = cli.agentcheck(project, "show", str(run), AGENTCHECK_STORE=address(project))
    assert by_path.code == 0, by_path.text
    assert "s3cret" not in told(project) + done.text + shown.text


def test_a_run_is_resumed_where_it_is(project: Path) -> None:
    """A resumed run writes another stream into the same store, and knows what the first one holds."""
    cli.edit(project / "suites" / "desk.toml", "desk:agent", "desk:careless_agent")
    assert cli.agentcheck(project, "run", AGENTCHECK_STORE=address(project)).code == 1
    run = cli.last_run(project)
    done = cli.agentcheck(project, "run", "--resume", "last", AGENTCHECK_STORE=address(project))
    assert done.code == 1, done.text
    assert {path.name for path in (project / "books" / run.name).iterdir()} == {"ledger.db", "ledger-main-r1.db"}
    assert cli.last_run(project) == run


def test_the_folder_decides_where_a_stored_run_is_read(project: Path) -> None:
    """Another variable, or none, does not move a run: one in files is still read, one in the store asks its store."""
    assert cli.agentcheck(project, "run").code == 0
    files = cli.last_run(project)
    assert not (files / "store.url").exists()
    shown = cli.agentcheck(project, "show", files.name, AGENTCHECK_STORE=address(project))
    assert shown.code == 0, shown.text
    assert cli.agentcheck(project, "run", AGENTCHECK_STORE=address(project)).code == 0
    for variable in ("", "elsewhere://ann:s3cret-pass@another/place"):
        refused = cli.agentcheck(project, "show", cli.last_run(project).name, AGENTCHECK_STORE=variable)
        assert refused.code == 3, refused.text
        assert "the login was refused" in refused.err


@pytest.mark.parametrize(
    ("variable", "code", "says"),
    [
        ("nowhere://host/x", 4, r"no store is called 'nowhere'\s+-> known: .*sqlite.*elsewhere"),
        ("just-a-word", 4, r"AGENTCHECK_STORE: the address of the store cannot be read\s+-> write it as postgresql://"),
        ("elsewhere://ann:s3cret@pass@host/x", 4, r"an '@' too many"),
        ("elsewhere://ann:s3cret-pass@host/no-such-shelf", 3, r"the shelf does not answer\s+-> put it up"),
        ("elsewhere://ann:s3cret@host/x", 3, r"the login was refused"),
    ],
)
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_store_that_cannot_be_had_stops_the_run_first(
    project: Path, variable: str, code: int, says: str, workers: tuple[str, ...]
) -> None:
    """Before any case runs and any folder is made, with advice, and without the password."""
    done = cli.agentcheck(project, "run", *workers, AGENTCHECK_STORE=variable)
    assert done.code == code, done.text
    assert re.search(says, done.text), done.text
    assert "s3cret" not in done.text
    assert not (project / "reports").exists()


def test_collecting_asks_no_store(project: Path) -> None:
    """To list the cases needs no store that answers."""
    away = "elsewhere://ann:s3cret-pass@host/no-such-shelf"
    assert cli.agentcheck(project, "run", "--collect-only", "-q", AGENTCHECK_STORE=away).code == 0


def test_the_default_may_be_written_out(project: Path) -> None:
    """`sqlite` keeps the events in the run's folder, as no variable does."""
    assert cli.agentcheck(project, "run", AGENTCHECK_STORE="sqlite").code == 0
    assert [path.name for path in cli.last_run(project).glob("*.db")] == ["ledger.db"]
    report = json.loads((cli.last_run(project) / "report.json").read_text("utf-8"))
    assert report["counts"]["pass"] == 30


def test_sqlite_takes_no_address(project: Path) -> None:
    """What follows ``sqlite:`` would be passed over, so it is refused, with what to do instead."""
    for command in ("run", "doctor"):
        done = cli.agentcheck(project, command, AGENTCHECK_STORE="sqlite:events.db")
        assert done.code == (4 if command == "run" else 1), done.text
        assert "SQLite takes no address" in done.text
        assert "leave AGENTCHECK_STORE unset" in done.text
    assert not (project / "reports").exists()


def test_the_last_lines_say_where_events_went(project: Path) -> None:
    """A run says where its ledger is when that is not the run's folder, and without the login."""
    done = cli.agentcheck(project, "run", AGENTCHECK_STORE=address(project))
    assert f"\nledger: {address(project, '').replace('ann@', '')}\n" in done.out, done.text
    assert "\nledger: " not in cli.agentcheck(project, "run").out


def test_stores_are_listed(project: Path) -> None:
    """`agentcheck list` names the stores with where they come from."""
    listed = cli.agentcheck(project, "list", "--kind", "stores")
    assert re.search(r"^  sqlite +agentcheck\.storage\.sqlite_run:SqliteRun", listed.out, re.MULTILINE)
    assert re.search(r"^  elsewhere +shelf:Elsewhere +\(shelf\)$", listed.out, re.MULTILINE)


def test_the_doctor_says_which_store_is_in_force(project: Path) -> None:
    """Which one, and whether it answers; one that does not is a failure with advice."""
    assert re.search(r"^ok +store +SQLite", cli.agentcheck(project, "doctor").out, re.MULTILINE)
    found = cli.agentcheck(project, "doctor", AGENTCHECK_STORE=address(project))
    place = address(project, "").replace("ann@", "")
    assert re.search(rf"^ok +store +{re.escape(place)} answers$", found.out, re.MULTILINE), found.out
    assert re.search(r"^ok +reports +a file was written", found.out, re.MULTILINE), found.out
    assert not re.search(r"^\w+ +ledger ", found.out, re.MULTILINE), found.out
    away = cli.agentcheck(project, "doctor", AGENTCHECK_STORE="elsewhere://ann:s3cret-pass@host/no-such-shelf")
    assert away.code == 1
    assert re.search(r"^fail +store +.*does not answer\n +-> put it up$", away.out, re.MULTILINE), away.out
    assert "s3cret" not in found.text + away.text
