"""The tables of the PostgreSQL store: numbered migrations, and what is found where they should be.

A migration is a file of plain SQL in ``migrations/``, applied once, in the order of the names, each in a transaction
under one advisory lock; ``agentcheck.migrations`` holds name and SHA-256 of each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from agentcheck.errors import StoreError
from agentcheck.storage.postgres_server import CUSTODIAN, READER, WRITER, Server, driver

if TYPE_CHECKING:
    from agentcheck.storage.postgres_server import Connection

FOLDER = Path(__file__).with_name("migrations")
#: The advisory lock of migrations ("acl1" twice); those of streams are 64 bits of a hash.
LOCK = 0x61636C3161636C31
_ROOM = """
CREATE SCHEMA IF NOT EXISTS agentcheck;
CREATE TABLE IF NOT EXISTS agentcheck.migrations (
    name text PRIMARY KEY, sha256 text NOT NULL, applied timestamptz NOT NULL DEFAULT pg_catalog.now())
"""


def known(folder: Path = FOLDER) -> dict[str, str]:
    """Name -> text of every migration, in order."""
    return {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.sql"))}


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def applied(connection: Connection) -> dict[str, str]:
    """Name -> hash of the migrations that the database has had; none where there are no tables."""
    query = b"SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = 'agentcheck' AND tablename = 'migrations'"
    found = connection.execute(query).fetchone()
    if not found or not found[0]:
        return {}
    return dict(connection.execute(b"SELECT name, sha256 FROM agentcheck.migrations ORDER BY name").fetchall())


def pending(connection: Connection, where: str, folder: Path = FOLDER) -> list[str]:
    """Migrations that the database lacks.

    Raises:
        StoreError: it has one that we do not know, or another text of one.
    """
    done, ours = applied(connection), known(folder)
    foreign = [name for name in done if name not in ours]
    if foreign:
        raise StoreError(
            f"the tables were made by a newer agentcheck ({', '.join(foreign)})",
            where=where,
            advice="upgrade agentcheck",
        )
    changed = [name for name, digest in done.items() if digest != _hash(ours[name])]
    if changed:
        raise StoreError(
            f"the tables were made by another text of {', '.join(changed)}",
            where=where,
            advice="use the agentcheck that made them, or a new database",
        )
    return [name for name in ours if name not in done]


def migrate(server: Server, folder: Path = FOLDER) -> list[str]:
    """Bring the tables up to date and return the names of the migrations that this call applied.

    Raises:
        StoreError: the server does not answer, the login may not make tables, or a newer agentcheck made them.
    """
    psycopg = driver()
    connection = server.connect()
    try:
        if not pending(connection, server.shown, folder):
            return []
        with connection.transaction():
            connection.execute(b"SELECT pg_catalog.pg_advisory_xact_lock(%s)", (LOCK,))
            wanted = pending(connection, server.shown, folder)  # another process may have been faster
            if not applied(connection):
                connection.execute(_ROOM.encode())
            for name in wanted:
                text = known(folder)[name]
                connection.execute(text.encode())
                connection.execute(
                    b"INSERT INTO agentcheck.migrations (name, sha256) VALUES (%s, %s)", (name, _hash(text))
                )
        return wanted
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreError(
            f"the login may not make or read the tables of the ledger ({str(error).splitlines()[0]})",
            where=server.shown,
            advice="their owner runs `agentcheck ledger migrate`, then: GRANT agentcheck_writer TO this login",
        ) from error
    except psycopg.Error as error:
        raise server.refused(error) from error
    finally:
        connection.close()


# What is found there

#: Trigger -> function that it calls.
_TRIGGERS = {
    ("events", "events_no_update"): "check_withholding",
    ("events", "events_no_delete"): "refuse",
    ("events", "events_no_truncate"): "refuse",
    ("streams", "streams_no_update"): "refuse",
    ("streams", "streams_no_delete"): "refuse",
    ("streams", "streams_no_truncate"): "refuse",
}


def notices(connection: Connection) -> list[str]:
    """What weakens the tables or the server, one sentence each; none where all is as the migrations made it."""
    return [
        *_trigger_notices(connection),
        *_rule_notices(connection),
        *_right_notices(connection),
        *_server(connection),
    ]


def _trigger_notices(connection: Connection) -> list[str]:
    query = (
        b"SELECT c.relname, t.tgname, n.nspname || '.' || p.proname, t.tgenabled::text, p.prosrc"
        b" FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid"
        b" JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid"
        b" JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
        b" WHERE s.nspname = 'agentcheck' AND c.relname IN ('events', 'streams') AND NOT t.tgisinternal ORDER BY 1, 2"
    )
    found = {(table, name): rest for table, name, *rest in connection.execute(query)}
    said = [f"the trigger {name} of {table} is missing" for table, name in _TRIGGERS if (table, name) not in found]
    bodies = _bodies()
    for (table, name), (function, enabled, body) in found.items():
        expected = _TRIGGERS.get((table, name))
        if expected is None:
            said.append(f"{table} has a trigger that is not agentcheck's: {name}")
        elif function != f"agentcheck.{expected}" or body.strip() != bodies[expected]:
            said.append(f"the trigger {name} of {table} does something else than agentcheck's")
        elif enabled != "A":
            said.append(f"the trigger {name} of {table} is switched off, or can be by a session")
    return said


@lru_cache(maxsize=1)
def _bodies() -> dict[str, str]:
    """Function -> its body, in the latest migration that makes it."""
    pattern = re.compile(r"FUNCTION agentcheck\.(\w+)\(\).*?AS \$function\$(.*?)\$function\$", re.DOTALL)
    return {name: body.strip() for text in known().values() for name, body in pattern.findall(text)}


def _rule_notices(connection: Connection) -> list[str]:
    query = (
        b"SELECT tablename, rulename FROM pg_catalog.pg_rules"
        b" WHERE schemaname = 'agentcheck' AND tablename IN ('events', 'streams') ORDER BY 1, 2"
    )
    said = [f"{table} has a rule that is not agentcheck's: {name}" for table, name in connection.execute(query)]
    security = (
        b"SELECT relname FROM pg_catalog.pg_class WHERE relnamespace = 'agentcheck'::regnamespace AND relrowsecurity"
    )
    said += [f"row security may hide rows of {name}" for (name,) in connection.execute(security)]
    return said


def _right_notices(connection: Connection) -> list[str]:
    """Logins and roles that may do more than append, besides superusers, who may do everything."""
    query = (
        b"SELECT r.rolname, c.relname FROM pg_catalog.pg_roles r, pg_catalog.pg_class c"
        b" WHERE c.relnamespace = 'agentcheck'::regnamespace AND c.relname IN ('events', 'streams') AND NOT r.rolsuper"
        b" AND r.rolname !~ '^pg_' AND pg_catalog.has_table_privilege(r.oid, c.oid, 'UPDATE, DELETE, TRUNCATE')"
        b" ORDER BY 1, 2"
    )
    return [f"{role} may change or delete rows of {table}" for role, table in connection.execute(query)]


def _server(connection: Connection) -> list[str]:
    query = (
        b"SELECT name, setting FROM pg_catalog.pg_settings WHERE name IN ('fsync', 'full_page_writes') ORDER BY name"
    )
    found: dict[str, str] = dict(connection.execute(query).fetchall())
    said = []
    if found.get("fsync") == "off":
        said.append("the server runs with fsync off: a loss of power can lose and damage acknowledged events")
    if found.get("full_page_writes") == "off":
        said.append("the server runs with full_page_writes off: a loss of power can damage pages")
    return said


def condition(server: Server) -> Sequence[tuple[str, str, str]]:
    """What ``agentcheck doctor`` says, as (``ok``, ``warn`` or ``fail``, what, advice); nothing is changed."""
    psycopg = driver()
    connection = server.connect()
    try:
        version, fsync, commit = connection.execute(
            b"SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit')"
        ).fetchone() or ("", "", "")
        answers = f"{server.shown} answers: PostgreSQL {version}, fsync {fsync}, synchronous_commit {commit}"
        said = [("ok", answers + ("" if commit == "on" else " (set to on where events are appended)"), "")]
        lacking = pending(connection, server.shown)
        if lacking:
            said.append(("ok", f"migrations that the first run applies: {', '.join(lacking)}", ""))
            return said
        said.append(_rights(connection))
        said += [("warn", notice, "see docs/storage.md") for notice in notices(connection)]
        return said
    except psycopg.Error as error:
        raise server.refused(error) from error
    finally:
        connection.close()


def _rights(connection: Connection) -> tuple[str, str, str]:
    """As whom events are appended, and whether that role may do more."""
    row = connection.execute(
        b"SELECT session_user::text, rolsuper, "
        + b", ".join(
            b"coalesce(pg_catalog.pg_has_role(session_user, pg_catalog.to_regrole('%b'), 'MEMBER'), false)"
            % role.encode()
            for role in (WRITER, READER, CUSTODIAN)
        )
        + b", pg_catalog.has_table_privilege(session_user, 'agentcheck.events', 'INSERT')"
        b", (SELECT pg_catalog.pg_has_role(session_user, relowner, 'MEMBER') FROM pg_catalog.pg_class"
        b" WHERE oid = 'agentcheck.events'::regclass)"
        b" FROM pg_catalog.pg_roles WHERE rolname = session_user"
    ).fetchone()
    assert row is not None
    login, superuser, writer, _, custodian, insert, owner = row
    if not (writer or insert):
        return (
            "warn",
            f"{login} may read (show, verify) and not append",
            f"right for a login that only reads; runs need one with {WRITER}",
        )
    acting = WRITER if writer else f"{login} itself"
    may = f"appends as {acting}, which may not update, delete or truncate"
    if owner and not superuser:
        return (
            "warn",
            f"{may}; {login} owns the tables, so it can grant itself that and switch the triggers off",
            f"run with a login of its own that has {WRITER} and owns nothing",
        )
    if superuser:
        return "warn", f"{may}; {login} is a superuser, who may do everything", "give agentcheck a login of its own"
    return "ok", f"{may}; {login} may {'' if custodian else 'not '}withhold payloads", ""
