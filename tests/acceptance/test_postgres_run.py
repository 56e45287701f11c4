"""agentcheck on a private PostgreSQL, as a user runs it: one variable, and everything else as before."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

import cli
from postgres_server import Server


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A copy of the helpdesk project."""
    return cli.desk(tmp_path)


@pytest.fixture
def url(postgres: Server) -> str:
    """An empty database for a test."""
    return postgres.url(postgres.database())


def events(postgres: Server, url: str) -> dict[str, int]:
    """Stream -> number of its events, of all runs."""
    query = "SELECT name, count(*) FROM agentcheck.streams JOIN agentcheck.events ON id = stream_id GROUP BY run, name"
    return dict(postgres.execute(query, database=url.rpartition("/")[2]))


def written(desk: Path) -> bytes:
    """Every byte of the reports."""
    return b"".join(path.read_bytes() for path in (desk / "reports").rglob("*") if path.is_file())


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_run_needs_nothing_but_the_variable(desk: Path, postgres: Server, url: str, workers: tuple[str, ...]) -> None:
    """The run passes as on SQLite, its events are in the database, it is shown again, and the password is nowhere."""
    done = cli.agentcheck(desk, "run", *workers, AGENTCHECK_STORE=url)
    assert done.code == 0, done.text
    run = cli.last_run(desk)
    assert not list(run.glob("*.db"))
    assert (run / "store.url").read_text("utf-8") == url.replace(f":{postgres.password}", "") + "\n"
    assert events(postgres, url).keys() == ({"main", "gw0", "gw1"} if workers else {"main"})
    for variables in ({"AGENTCHECK_STORE": url}, {"PGPASSWORD": postgres.password}):
        shown = cli.agentcheck(desk, "show", "last", **variables)
        assert shown.code == 0, shown.text
        case = cli.agentcheck(desk, "show", "last", "status-2", **variables)
        assert "T-2 is open" in case.out, case.text
    assert postgres.password.encode() not in written(desk) + (done.text + shown.text + case.text).encode()


def test_a_stopped_run_is_finished(desk: Path, postgres: Server, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an interruption --resume runs the rest, in a stream of its own."""
    from test_crash import start, stop_at

    with monkeypatch.context() as patch:
        # Everything that the crash tests start takes its environment from here.
        before = cli.environment
        patch.setattr(cli, "environment", lambda folder: {**before(folder), "AGENTCHECK_STORE": url})
        process = start(desk, "--concurrency", "2")
        stop_at(process, 10, signal.SIGKILL)
        done = cli.agentcheck(desk, "run", "--resume", "last")
        assert done.code == 0, done.text
        assert events(postgres, url).keys() == {"main", "main-r1"}
        assert "30" in cli.agentcheck(desk, "show", "last").out
    report = (cli.last_run(desk) / "report.json").read_text("utf-8")
    assert re.search(r'"pass": ?30', report)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((r"/d\d+$", "/nowhere"), r'there is no such database or login .*"nowhere" does not exist.*\s+-> create it'),
        ((r":\d+/", ":1/"), r"the server does not answer .*\s+-> is it running"),
        ((r":(\w{16})@", ":wrong-secret@"), r"the login was refused .*\s+-> check user and password"),
        ((r":(\w{16})@", "@"), r"a password is missing .*\s+-> put it into AGENTCHECK_STORE, PGPASSWORD"),
        ((r"127\.0\.0\.1", "no-such-host.invalid"), r"the server's name is not known .*\s+-> is the address right"),
        ((r"$", "?sslmode=perhaps"), r"sslmode"),
        ((r"$", "?sslmode=verify-full"), r"the server has no TLS, and sslmode asks for it .*\s+-> an administrator"),
    ],
    ids=["no database", "no server", "wrong password", "no password", "no such host", "wrong option", "no TLS"],
)
def test_a_database_that_cannot_be_had_stops_the_run_first(
    desk: Path, url: str, change: tuple[str, str], says: str
) -> None:
    """Exit code 3, in one message with advice, before a folder is made; the password is not shown."""
    wrong = re.sub(*change, url)
    done = cli.agentcheck(desk, "run", AGENTCHECK_STORE=wrong, HOME=str(desk), PGPASSFILE=str(desk / "none"))
    assert done.code == 3, done.text
    assert re.search(says, done.text), done.text
    assert "wrong-secret" not in done.text
    assert url.split("@")[0].rpartition(":")[2] not in done.text
    assert not (desk / "reports").exists()


def test_an_option_that_does_not_exist_is_the_users_mistake(desk: Path, url: str) -> None:
    """An address that PostgreSQL's own library cannot read has exit code 4, and no secret in its message."""
    done = cli.agentcheck(desk, "run", AGENTCHECK_STORE=f"{url}?no_such_option=1")
    assert done.code == 4, done.text
    assert "no_such_option" in done.text
    assert url.split("@")[0].rpartition(":")[2] not in done.text


def test_an_address_without_a_database_is_refused(desk: Path, url: str) -> None:
    """The library would take a database called like the login; the user is asked for the name instead."""
    done = cli.agentcheck(desk, "run", AGENTCHECK_STORE=url.rpartition("/")[0] + "/")
    assert (done.code, "the address names no database" in done.text) == (4, True), done.text
    assert not (desk / "reports").exists()


def test_a_host_is_named_in_errors(desk: Path) -> None:
    """A login before it does not make it look like an e-mail, which would be redacted."""
    wrong = "postgresql://postgres@host.invalid/db"
    for command in ("run", "doctor"):
        done = cli.agentcheck(desk, command, AGENTCHECK_STORE=wrong)
        assert "postgresql://host.invalid/db" in done.text, done.text
        assert "redacted" not in done.text


def test_the_doctor_looks_at_the_database(desk: Path, postgres: Server, url: str) -> None:
    """It says what answers, what will be migrated, as whom events are appended, and what is missing."""
    fresh = cli.agentcheck(desk, "doctor", AGENTCHECK_STORE=url)
    assert re.search(
        r"^ok +store +postgresql://.* answers: PostgreSQL \d+.*, fsync on, synchronous_commit on$", fresh.out, re.M
    )
    assert re.search(r"^ok +store +migrations that the first run applies: 0001_events$", fresh.out, re.M), fresh.out
    migrated = cli.agentcheck(desk, "ledger", "migrate", AGENTCHECK_STORE=url)
    assert migrated.out.strip().endswith("applied 0001_events"), migrated.text
    again = cli.agentcheck(desk, "ledger", "migrate", AGENTCHECK_STORE=url)
    assert again.out.strip().endswith("nothing to do")
    found = cli.agentcheck(desk, "doctor", AGENTCHECK_STORE=url)
    assert re.search(
        r"^warn +store +appends as agentcheck_writer, which may not update, delete or truncate; .*superuser",
        found.out,
        re.M,
    )
    database = url.rpartition("/")[2]
    postgres.execute("ALTER TABLE agentcheck.events DISABLE TRIGGER events_no_delete", database=database)
    weakened = cli.agentcheck(desk, "doctor", AGENTCHECK_STORE=url)
    assert re.search(r"^warn +store +the trigger events_no_delete of events is switched off", weakened.out, re.M)
    away = cli.agentcheck(desk, "doctor", AGENTCHECK_STORE=re.sub(r":\d+/", ":1/", url))
    assert away.code == 1
    assert re.search(r"^fail +store +.*the server does not answer", away.out, re.M)
    assert postgres.password not in fresh.text + migrated.text + found.text + weakened.text + away.text


def test_only_a_store_with_tables_is_migrated(desk: Path) -> None:
    """Without the variable there is nothing to migrate, and the command says what to set."""
    done = cli.agentcheck(desk, "ledger", "migrate")
    assert done.code == 4
    assert "set AGENTCHECK_STORE" in done.text
