"""The address of a store: read as libpq reads it, compared by what it names, and never shown with its password."""

from __future__ import annotations

import pytest

from agentcheck.errors import UserError
from agentcheck.ledger.redaction import for_no_run
from agentcheck.storage.address import read_address


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:s3cret@db.example:5433/ledger", "postgresql://ann@db.example:5433/ledger"),
        ("postgresql://ann:@db/ledger", "postgresql://ann@db/ledger"),
        ("postgresql://:s3cret@db/ledger", "postgresql://db/ledger"),
        ("postgresql://ann:s3?c#ret@db/ledger", "postgresql://ann@db/ledger"),
        ("postgresql://ann:s3:cret@db/ledger", "postgresql://ann@db/ledger"),
        ("postgresql://ann@db/ledger?password=s3cret&sslmode=require", "postgresql://ann@db/ledger?sslmode=require"),
        ("postgresql://db/ledger?sslp%61ssword=s3cret", "postgresql://db/ledger"),
        ("postgresql://ann:s3cret@a:1,b:2/ledger", "postgresql://ann@a:1,b:2/ledger"),
        ("postgres://ann:s3cret@[::1]:5432/ledger", "postgres://ann@[::1]:5432/ledger"),
        ("postgresql:///ledger?host=%2Frun%2Fpg", "postgresql:///ledger?host=%2Frun%2Fpg"),
        ("POSTGRESQL://db", "postgresql://db"),
        ("mine:somewhere", "mine://somewhere"),
    ],
)
def test_an_address_is_shown_without_its_secrets(text: str, shown: str) -> None:
    """Whatever holds a secret is left out, and the rest stays as it was written; with it, it can be used again."""
    address = read_address(text, where="x")
    assert str(address.without_password()) == shown
    assert address.without_password().secrets == ()
    assert read_address(str(address), where="x") == address


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:s3cret@db.example:5433/ledger", "postgresql://db.example:5433/ledger"),
        (
            "postgresql://ann@db.example/ledger?password=x&sslmode=require",
            "postgresql://db.example/ledger?sslmode=require",
        ),
        ("postgresql:///ledger", "postgresql:///ledger"),
    ],
)
def test_a_message_names_the_place_without_the_login(text: str, shown: str) -> None:
    """``user@host`` looks like an e-mail, which the redactor of messages would hide with the host."""
    assert read_address(text, where="x").shown == shown
    assert for_no_run().text(f"at {shown}") == f"at {shown}"


@pytest.mark.parametrize(
    ("text", "database"),
    [("postgresql://db/l", "l"), ("postgresql://db/", ""), ("postgresql://db", ""), ("postgresql://db?dbname=m", "m")],
)
def test_the_database_is_known(text: str, database: str) -> None:
    """From the path or the parameter; empty where neither names one."""
    assert read_address(text, where="x").database == database


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ledger",
        "//db/ledger",
        "postgresql://ann:s3@cret@db/ledger",
        "postgresql://ann:s3/cret@db/ledger",
        "a b://c",
    ],
)
def test_an_address_that_cannot_be_read_is_not_repeated(text: str) -> None:
    """Where nobody can tell which part is the password, none of it is in the error."""
    with pytest.raises(UserError) as caught:
        read_address(text, where="AGENTCHECK_STORE")
    assert caught.value.where == "AGENTCHECK_STORE"
    assert caught.value.advice
    assert "cret" not in str(caught.value)


def test_secrets_are_known_as_written_and_decoded() -> None:
    """Both forms are there to be looked for in what others say."""
    address = read_address("postgresql://ann:p%40ss@db/x?sslpassword=two", where="x")
    assert set(address.secrets) == {"p%40ss", "p@ss", "two"}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("postgresql://a:x@db/l", "postgres://b@DB:5432/l?sslmode=require", True),
        ("postgresql://db/l", "postgresql:///l?host=db", True),
        ("postgresql://db/l", "postgresql://db/?dbname=l", True),
        ("postgresql://db/l", "postgresql://db/l?port=5432", True),
        ("postgresql://db/l", "postgresql://db:5433/l", False),
        ("postgresql://db/l", "postgresql://db/l?port=5433", False),
        ("postgresql://db/l", "postgresql://db/m", False),
        ("postgresql://db/l", "postgresql://db2/l", False),
        ("postgresql://[::1]/l", "postgresql://[::1]:5432/l", True),
        ("postgresql://db/l", "mine://db/l", False),
    ],
)
def test_addresses_are_compared_by_server_and_database(one: str, other: str, same: bool) -> None:
    """Login and options say nothing about the place; host, port and database do."""
    assert read_address(one, where="x").names_same_place(read_address(other, where="x")) is same
