"""What the database itself refuses, whoever asks; its migrations; and what is told of it when it is weakened."""

from __future__ import annotations

import pickle
import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest

from agentcheck.errors import StoreError
from agentcheck.ledger.chain import withheld
from agentcheck.storage.postgres_run import PostgresRun, runs
from agentcheck.storage.postgres_server import Server as Database
from agentcheck.storage.postgres_source import PostgresSource
from agentcheck.storage.postgres_tables import FOLDER, LOCK, condition, migrate, notices
from kits.run_store import fill, payloads
from postgres_server import SUPERUSER, Server, server

APPEND = "INSERT INTO agentcheck.events (stream_id, seq, payload, chain) VALUES "
CHAIN = "decode(repeat('00', 32), 'hex')"
SECRET = b'{"password":"hunter2"}'
LEAF = withheld(SECRET).hex()


def filled(postgres: Server) -> str:
    """A new database with three events in one stream."""
    found = postgres.url(postgres.database())
    fill(PostgresRun(found, "run", Path()), "main", 3, SECRET)
    return found


@pytest.fixture
def url(postgres: Server) -> str:
    """A database of its own, for a test that changes its tables."""
    return filled(postgres)


@pytest.fixture
def stored(ledger_url: str) -> PostgresRun:
    """Three events of a run of their own, in the shared database."""
    run = PostgresRun(ledger_url, f"run-{secrets.token_hex(6)}", Path())
    fill(run, "main", 3, SECRET)
    return run


@pytest.fixture(scope="session")
def app(postgres: Server) -> str:
    """A login that may only append."""
    migrate(Database(postgres.url(postgres.database())))  # makes the roles
    login = postgres.login("app")
    postgres.execute("GRANT agentcheck_writer TO app")
    return login


def name_of(url: str) -> str:
    """The database of an address."""
    return url.rpartition("/")[2]


def attempt(postgres: Server, url: str, statements: str, user: str = SUPERUSER) -> None:
    """Run statements of a client of its own."""
    postgres.execute(statements, database=name_of(url), user=user)


REFUSED = [
    ("UPDATE agentcheck.events SET seq = 9 WHERE seq = 3", "events are not changed"),
    ("UPDATE agentcheck.events SET payload = '{}' WHERE seq = 3", "events are not changed"),
    ("UPDATE agentcheck.events SET chain = decode(repeat('11', 32), 'hex')", "events are not changed"),
    (f"UPDATE agentcheck.events SET payload = '\\x{LEAF}'", "events are not changed"),
    ("DELETE FROM agentcheck.events WHERE seq = 3", "events are not deleted"),
    ("DELETE FROM agentcheck.events WHERE false", "events are not deleted"),
    ("TRUNCATE agentcheck.events", "events are not truncated"),
    ("UPDATE agentcheck.streams SET name = 'other'", "streams are not changed"),
    ("DELETE FROM agentcheck.streams", "streams are not deleted"),
    ("TRUNCATE agentcheck.streams CASCADE", "streams are not truncated"),
    (f"{APPEND} (1, 3, '', {CHAIN})", "duplicate key"),
    (f"{APPEND} (1, 4, '', {CHAIN}), (1, 4, '', {CHAIN})", "duplicate key"),
    (f"{APPEND} (1, 0, '', {CHAIN})", "check constraint"),
    (f"{APPEND} (1, 4, '', '\\x00')", "check constraint"),
    (f"{APPEND} (1, 3, '', {CHAIN}) ON CONFLICT (stream_id, seq) DO UPDATE SET payload = ''", "not changed|denied"),
]


@pytest.fixture(scope="module")
def guarded(postgres: Server) -> str:
    """A database that stays as it is, since everything is refused."""
    return filled(postgres)


@pytest.fixture(scope="module")
def unguarded(postgres: Server) -> str:
    """The same without triggers."""
    found = filled(postgres)
    for table in ("events", "streams"):
        attempt(postgres, found, f"ALTER TABLE agentcheck.{table} DISABLE TRIGGER USER")
    return found


@pytest.mark.parametrize("replica", ["", "SET session_replication_role = replica; "], ids=["superuser", "as a replica"])
@pytest.mark.parametrize(("statement", "says"), REFUSED)
def test_a_superuser_is_refused_by_triggers(
    postgres: Server, guarded: str, replica: str, statement: str, says: str
) -> None:
    """Changes, deletions and repetitions are refused to whoever may do everything, also as a replica would."""
    with pytest.raises(psycopg.Error, match=says):
        attempt(postgres, guarded, replica + statement)
    assert payloads(PostgresRun(guarded, "run", Path()), "main") == [SECRET] * 3


@pytest.mark.parametrize(("statement", "says"), REFUSED)
def test_a_login_that_appends_may_do_nothing_else(
    postgres: Server, guarded: str, unguarded: str, app: str, statement: str, says: str
) -> None:
    """The role of the writer lacks the rights even where the triggers are gone; the key refuses what is there."""
    appends = statement.startswith(APPEND) and "DO UPDATE" not in statement
    with pytest.raises(psycopg.Error, match=says if appends else "permission denied"):
        attempt(postgres, guarded if appends else unguarded, statement, user=app)
    assert payloads(PostgresRun(unguarded, "run", Path()), "main") == [SECRET] * 3


def test_the_next_row_is_taken(postgres: Server, stored: PostgresRun, app: str) -> None:
    """A client of another make that goes on in order is not refused."""
    stream = number_of(postgres, stored)
    attempt(postgres, stored.url, f"{APPEND} ({stream}, 4, 'x', {CHAIN}), ({stream}, 5, 'y', {CHAIN})", user=app)
    assert payloads(stored, "main")[3:] == [b"x", b"y"]


def number_of(postgres: Server, run: PostgresRun) -> int:
    """The number of a run's stream."""
    query = "SELECT id FROM agentcheck.streams WHERE run = %s"
    return int(postgres.execute(query, run.run, database=name_of(run.url))[0][0])


# Withholding


@pytest.mark.parametrize("role", ["", "agentcheck_writer", "agentcheck_reader"])
def test_only_the_custodian_withholds(postgres: Server, stored: PostgresRun, role: str) -> None:
    """The right leaf is refused to everybody else, to a superuser too."""
    change = f"UPDATE agentcheck.events SET payload = '\\x{LEAF}'"
    change += f" WHERE stream_id = {number_of(postgres, stored)} AND seq = 2"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        attempt(postgres, stored.url, f"SET ROLE {role}; {change}" if role else change)
    attempt(postgres, stored.url, f"SET ROLE agentcheck_custodian; {change}")
    assert payloads(stored, "main") == [SECRET, withheld(SECRET), SECRET]


@pytest.mark.parametrize(
    "change",
    [
        "payload = ''",
        "payload = '\\x00'",
        f"payload = '\\x00{'00' * 32}'",
        f"payload = '\\x{LEAF[2:]}'",
        f"payload = '\\x{LEAF}', seq = 4",
        f"payload = '\\x{LEAF}', chain = decode(repeat('11', 32), 'hex')",
        "payload = payload",
    ],
)
def test_the_custodian_puts_nothing_else_in_the_place_of_a_payload(postgres: Server, guarded: str, change: str) -> None:
    """The database works out the leaf itself; any other payload, number or chain value is refused."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        attempt(
            postgres, guarded, f"SET ROLE agentcheck_custodian; UPDATE agentcheck.events SET {change} WHERE seq = 3"
        )
    assert payloads(PostgresRun(guarded, "run", Path()), "main") == [SECRET] * 3


def test_what_is_withheld_is_not_withheld_again(postgres: Server, stored: PostgresRun) -> None:
    """The leaf that stands in a payload's place is not itself taken for an event."""
    stored.withhold("main", {1: withheld(SECRET)})
    again = sha256(b"\x00" + withheld(SECRET)).hexdigest()
    change = f"UPDATE agentcheck.events SET payload = '\\x00{again}' WHERE stream_id = {number_of(postgres, stored)}"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        attempt(postgres, stored.url, f"SET ROLE agentcheck_custodian; {change} AND seq = 1")


def test_a_login_that_appends_does_not_withhold(postgres: Server, stored: PostgresRun, app: str) -> None:
    """It is told which role it lacks."""
    own = PostgresRun(postgres.url(name_of(stored.url), app), stored.run, Path())
    with pytest.raises(StoreError, match="may not withhold") as caught:
        own.withhold("main", {1: withheld(SECRET)})
    assert "GRANT agentcheck_custodian" in caught.value.advice
    with pytest.raises(StoreError, match="may not withhold") as asked:
        own.ready_to_withhold("main")
    assert asked.value.advice == caught.value.advice
    assert payloads(own, "main") == [SECRET] * 3


def test_a_vacuumed_table_holds_nothing_of_what_was_withheld(postgres: Server, ledger_url: str) -> None:
    """After VACUUM FULL no file of the table holds the payload (the server's log may, docs/storage.md)."""
    mark = b"hunter2-" + b"Zq" * 20
    url = ledger_url
    run = PostgresRun(url, f"run-{secrets.token_hex(6)}", Path())
    fill(run, "main", 50, mark)

    def files() -> bytes:
        attempt(postgres, url, "CHECKPOINT")
        (oid,) = postgres.execute(
            "SELECT oid FROM pg_database WHERE datname = current_database()", database=name_of(url)
        )[0]
        return b"".join(path.read_bytes() for path in (postgres.data / "base" / str(oid)).iterdir())

    assert mark in files()
    run.withhold("main", {seq: withheld(mark) for seq in range(1, 51)})
    attempt(postgres, url, "VACUUM FULL agentcheck.events")
    assert mark not in files()


# Logins


def test_a_login_that_appends_needs_no_more(postgres: Server, ledger_url: str, app: str) -> None:
    """It writes a run into tables that their owner made, reads it, and is told as whom it appends."""
    own = postgres.url(name_of(ledger_url), app)
    fill(PostgresRun(own, "by app", Path()), "main", 3)
    assert len(payloads(PostgresRun(own, "by app", Path()), "main")) == 3
    rows = condition(Database(own))
    assert rows[1] == (
        "ok",
        "appends as agentcheck_writer, which may not update, delete or truncate; app may not withhold payloads",
        "",
    )
    assert len(rows) == 2


def test_a_login_without_rights_is_told_what_it_needs(postgres: Server, ledger_url: str) -> None:
    """Neither making the tables nor reading them is tried by guess."""
    stranger = postgres.url(name_of(ledger_url), postgres.login("stranger"))
    with pytest.raises(StoreError, match="may not make or read the tables") as caught:
        PostgresRun(stranger, "run", Path()).streams()
    assert "agentcheck ledger migrate" in caught.value.advice
    fresh = postgres.url(postgres.database(), "stranger")
    with pytest.raises(StoreError, match="permission denied"):
        PostgresRun(fresh, "run", Path()).writing("main")


def test_a_login_that_reads_does_not_append(postgres: Server, ledger_url: str) -> None:
    """A member of agentcheck_reader reads and is refused where it would write."""
    fill(PostgresRun(ledger_url, "read", Path()), "main", 3, SECRET)
    reader = postgres.url(name_of(ledger_url), postgres.login("auditor"))
    postgres.execute("GRANT agentcheck_reader TO auditor")
    run = PostgresRun(reader, "read", Path())
    assert payloads(run, "main") == [SECRET] * 3
    with pytest.raises(StoreError, match="may not do this"):
        run.writing("gw0")
    status, what, advice = condition(Database(reader))[1]
    assert (status, what) == ("warn", "auditor may read (show, verify) and not append")
    assert "GRANT" not in advice  # which would undo what the login is for
    assert "agentcheck_writer" in advice


def test_reading_connections_cannot_write(ledger_url: str) -> None:
    """What the pool hands out refuses every change, before any right is asked for."""
    with Database(ledger_url).reading() as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("INSERT INTO agentcheck.streams (run, name) VALUES ('x', 'y')")


@pytest.fixture(scope="module")
def bare() -> Iterator[Server]:
    """A server of which nobody made roles, with a login that may not make them."""
    with server() as running:
        running.login("plain")
        yield running


def test_where_roles_cannot_be_made_the_owner_loses_the_rights(bare: Server) -> None:
    """The owner of the tables itself may not change rows; withholding works, and gives no right away."""
    url = bare.url(bare.database("plain"), "plain")
    run = PostgresRun(url, "run", Path())
    fill(run, "main", 3, SECRET)
    leaf = f"UPDATE agentcheck.events SET payload = '\\x{LEAF}' WHERE seq = 1"
    for statement in (leaf, "DELETE FROM agentcheck.events", "TRUNCATE agentcheck.events"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
            attempt(bare, url, statement, user="plain")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="events are not changed"):
        attempt(bare, url, leaf)
    run.withhold("main", {2: withheld(SECRET)})
    assert payloads(run, "main") == [SECRET, withheld(SECRET), SECRET]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
        attempt(bare, url, leaf, user="plain")
    rows = condition(Database(url))
    assert rows[1][1].startswith("appends as plain itself, which may not update, delete or truncate")
    assert "plain owns the tables, so it can grant itself that" in rows[1][1]
    assert rows[1][0] == "warn"
    assert len(rows) == 2


# Migrations


def test_migrations_are_applied_once(postgres: Server) -> None:
    """The first call makes the tables, the second finds them."""
    database = Database(postgres.url(postgres.database()))
    assert migrate(database) == ["0001_events"]
    assert migrate(database) == []


def test_processes_that_migrate_at_once_do_it_once(postgres: Server) -> None:
    """Of six that find an empty database one makes the tables, and none fails."""
    url = postgres.url(postgres.database())
    code = (
        "import sys, psycopg_pool; from agentcheck.storage.postgres_server import Server;"
        "from agentcheck.storage.postgres_tables import migrate; print('ready', flush=True);"
        "input(); print(*migrate(Server(sys.argv[1])))"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [subprocess.Popen([sys.executable, "-c", code, url], text=True, **pipes) for _ in range(6)]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60) for process in started]
    assert sorted(out.strip() for out, _ in answers) == ["", "", "", "", "", "0001_events"], answers


def test_a_migration_waits_for_another_one(postgres: Server) -> None:
    """While one holds the lock, in whatever mode, a second one has made nothing; afterwards it goes on."""
    url = postgres.url(postgres.database())
    with closing(Database(url).connect()) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT pg_advisory_lock_shared(%s)", (LOCK,))
        second = pool.submit(migrate, Database(url))
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while other.execute(waiting).fetchone() == (0,):
            assert not second.done()
        assert other.execute("SELECT to_regnamespace('agentcheck')").fetchone() == (None,)
        other.execute("SELECT pg_advisory_unlock_shared(%s)", (LOCK,))
        assert second.result(60) == ["0001_events"]


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The migrations of a later agentcheck."""
    (tmp_path / "0001_events.sql").write_bytes((FOLDER / "0001_events.sql").read_bytes())
    (tmp_path / "0002_notes.sql").write_text("ALTER TABLE agentcheck.streams ADD COLUMN note text;")
    return tmp_path


def test_older_tables_are_brought_up_to_date_with_what_they_hold(url: str, later: Path) -> None:
    """A later migration is applied to tables with events, which stay."""
    assert migrate(Database(url), later) == ["0002_notes"]
    assert migrate(Database(url), later) == []
    source = PostgresSource(url, "run")
    assert [payload for _, payload, _ in source.rows("main", 1, 9)] == [SECRET] * 3


def test_newer_tables_are_refused(url: str, later: Path) -> None:
    """An older agentcheck neither reads nor writes what a newer one made, and says so."""
    migrate(Database(url), later)
    with pytest.raises(StoreError, match=r"newer agentcheck \(0002_notes\)") as caught:
        migrate(Database(url))
    assert caught.value.advice == "upgrade agentcheck"
    assert [status for status, _, _ in condition_or_fail(url)] == ["fail"]


def condition_or_fail(url: str) -> list[tuple[str, str, str]]:
    """What the doctor would say."""
    try:
        return list(condition(Database(url)))
    except StoreError as error:
        return [("fail", error.what, error.advice)]


def test_another_text_of_a_migration_is_refused(url: str, later: Path) -> None:
    """Tables that were made by an edited file are not taken for ours."""
    with (later / "0001_events.sql").open("a") as file:
        file.write("-- edited\n")
    with pytest.raises(StoreError, match="another text of 0001_events"):
        migrate(Database(url), later)


def test_a_migration_that_fails_leaves_nothing(url: str, later: Path) -> None:
    """It is one transaction: what came before the failure in it is taken back, and it can be tried again."""
    (later / "0002_notes.sql").write_text(
        "ALTER TABLE agentcheck.streams ADD COLUMN note text; SELECT no_such_thing();"
    )
    with pytest.raises(StoreError, match="no_such_thing"):
        migrate(Database(url), later)
    (later / "0002_notes.sql").write_text("ALTER TABLE agentcheck.streams ADD COLUMN note text;")
    assert migrate(Database(url), later) == ["0002_notes"]


# What is told of weakened tables, and what verify reads


@pytest.mark.parametrize(
    ("change", "notice"),
    [
        ("DROP TRIGGER events_no_delete ON agentcheck.events", "the trigger events_no_delete of events is missing"),
        (
            "ALTER TABLE agentcheck.events DISABLE TRIGGER events_no_update",
            "events_no_update of events is switched off",
        ),
        (
            "ALTER TABLE agentcheck.streams ENABLE TRIGGER streams_no_delete",
            "streams_no_delete of streams is switched off",
        ),
        (
            "CREATE TRIGGER mine BEFORE INSERT ON agentcheck.events FOR EACH ROW EXECUTE FUNCTION agentcheck.refuse()",
            "events has a trigger that is not agentcheck's: mine",
        ),
        (
            "CREATE OR REPLACE FUNCTION agentcheck.check_withholding() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN RETURN NEW; END'",
            "the trigger events_no_update of events does something else",
        ),
        ("CREATE RULE quiet AS ON DELETE TO agentcheck.events DO INSTEAD NOTHING", "events has a rule"),
        ("ALTER TABLE agentcheck.events ENABLE ROW LEVEL SECURITY", "row security may hide rows of events"),
        (
            "GRANT DELETE ON agentcheck.events TO agentcheck_reader",
            "agentcheck_reader may change or delete rows of events",
        ),
        ("GRANT UPDATE ON agentcheck.streams TO PUBLIC", "may change or delete rows of streams"),
    ],
)
def test_weakened_tables_are_noticed(guarded: str, change: str, notice: str) -> None:
    """Each change of triggers, functions, rules or rights is told; tables as they were made give no notice."""
    with closing(Database(guarded).connect()) as connection, connection.transaction(force_rollback=True):
        assert notices(connection) == []
        connection.execute(change.encode())
        said = notices(connection)
        assert [each for each in said if notice in each], said


def test_weakened_tables_are_told_by_the_doctor(postgres: Server, url: str) -> None:
    """What is noticed is a warning of the doctor's, and what verify is told."""
    attempt(postgres, url, "ALTER TABLE agentcheck.events DISABLE TRIGGER events_no_update")
    said = [what for status, what, _ in condition(Database(url)) if status == "warn"]
    assert said[1:] == PostgresSource(url, "run").notices() != []


def test_a_server_without_fsync_is_noticed(bare: Server) -> None:
    """Whoever verifies hears that the server does not wait for its disk."""
    url = bare.url(bare.database("plain"), "plain")
    migrate(Database(url))
    bare.kill()
    bare.start("fsync=off", "full_page_writes=off")
    try:
        said = PostgresSource(url, "run").notices()
    finally:
        bare.kill()
        bare.start()
    assert [notice.split(":")[0] for notice in said] == [
        "the server runs with fsync off",
        "the server runs with full_page_writes off",
    ]


def test_the_source_gives_streams_and_rows_as_they_are_stored(url: str) -> None:
    """Names with their last numbers, ranges in order, single rows, and nothing for what is not there."""
    run = PostgresRun(url, "run", Path())
    fill(run, "gw0", 300)
    fill(PostgresRun(url, "another", Path()), "main", 2)
    source = PostgresSource(url, "run")
    assert source.streams() == [("gw0", 300), ("main", 3)]
    assert [seq for seq, _, _ in source.rows("gw0", 100, 200)] == list(range(100, 201))
    assert [seq for seq, _, _ in source.rows("gw0", 299, 10**12)] == [299, 300]
    assert list(source.rows("main", 1, 1)) == [(1, SECRET, (1).to_bytes(32, "big"))]
    assert source.value("main", 2) == (SECRET, (2).to_bytes(32, "big"))
    assert source.value("main", 4) is None
    assert source.value("none", 1) is None
    assert runs(url) == ["another", "run"]
    source.close()


def test_the_source_goes_to_another_process(url: str, postgres: Server) -> None:
    """It is sent without a connection and makes its own there; what it shows of itself holds no password."""
    source = PostgresSource(url, "run")
    assert source.streams() == [("main", 3)]
    assert postgres.password not in f"{source.name} {source!r}"
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).streams())"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(source), capture_output=True, timeout=60)
    assert done.stdout.decode().strip() == "[('main', 3)]", done.stderr


def test_a_run_that_is_not_there_is_empty(url: str) -> None:
    """No streams, no rows, no error."""
    with closing(PostgresRun(url, "no such run", Path()).reading("main")) as store:
        assert list(store.streams()) == []
        assert list(store.read("main")) == []
        assert store.head("main") is None
