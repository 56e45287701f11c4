"""What docs/ledger.md says is so: its example, its hashes, its statement of limits, its table."""

from __future__ import annotations

import re
from pathlib import Path

from agentcheck.ledger.canonical import encode
from agentcheck.ledger.chain import genesis, leaf, step
from agentcheck.ledger.verify import LIMITS
from agentcheck.storage.sqlite import APPLICATION_ID, SCHEMA, SCHEMA_VERSION

TEXT = (Path(__file__).parents[3] / "docs" / "ledger.md").read_text(encoding="utf-8")


def test_the_example_is_encoded_like_that() -> None:
    """The bytes shown for an event are those that the ledger makes."""
    salt = "5a3c0f9e1b7d4a6288c1d0e9f2b3a495"
    made = encode("run.note", {"level": "info", "text": "hello"}, "", 1700000000000000, 2, "main", 1, salt)
    assert f"```json\n{made.decode()}\n```" in TEXT


def test_the_hashes_are_those_of_the_example() -> None:
    """The test vector of the chain holds."""
    found = re.search(r"with the bytes\n`(.+)`:\n\n```\nchain_0 +(\w+)\nleaf_1 +(\w+)\nchain_1 +(\w+)", TEXT)
    assert found is not None
    data = found[1].encode()
    assert (genesis("main").hex(), leaf(data).hex(), step(genesis("main"), data).hex()) == found.groups()[1:]


def test_the_statement_of_limits_is_the_one_that_is_printed() -> None:
    """The page quotes what `verify` prints, word for word."""
    quoted = TEXT.replace("\n> ", "\n")
    for verdict, limits in LIMITS.items():
        assert f"**`{verdict}`**\n{limits}\n" in quoted


def test_the_table_is_the_one_that_is_made() -> None:
    """The statement that makes the table, and the marks of the file, are those of the driver."""
    shown = re.search(r"```sql\n(.+?)\n```", TEXT, re.DOTALL)
    assert shown is not None
    assert " ".join(shown[1].split()) == SCHEMA[0]
    assert f"{APPLICATION_ID:#x}" in TEXT
    assert f"`PRAGMA user_version` is {SCHEMA_VERSION}" in TEXT
