"""Trust files: the entries, and each mistake by its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcheck.errors import UserError
from agentcheck.ledger.notes import COSIGNATURE, SigningKey
from agentcheck.ledger.trust import Revoked, Trust, read_trust

LOG = SigningKey("example.org/acme", bytes(32)).public()
WITNESS = SigningKey("w.example.net", bytes(range(32))).public(COSIGNATURE)


def test_entries_comments_and_empty_lines(tmp_path: Path) -> None:
    """Keys of logs and witnesses and revoked keys are read; comments and empty lines are passed over."""
    file = tmp_path / "trust.txt"
    file.write_text(
        f"# keys\n\nlog {LOG}\n  witness {WITNESS}  # ours\n"
        "revoked example.org/acme+11aa22bb 2025-03-01T00:00:00Z the laptop was stolen\n"
        "revoked example.org/acme+11aa22bb 2025-03-01T02:00:00+02:00 twice\n"
    )
    revoked = [Revoked("example.org/acme+11aa22bb", 1740787200, why) for why in ("the laptop was stolen", "twice")]
    assert read_trust(file) == Trust((LOG,), (WITNESS,), tuple(revoked))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"witness {LOG}", "0x04 is needed"),
        (f"log {WITNESS}", "0x01 is needed"),
        ("log", "not an entry"),
        (f"log {LOG} more", "not an entry"),
        (f"lug {LOG}", "not an entry"),
        ("log example.org/acme+11aa22bb+AAAA", "is no verifier key"),
        ("revoked example.org/acme+11aa22bb yesterday stolen", "no time of RFC 3339"),
        ("revoked example.org/acme+11aa22bb 2025-03-01T00:00:00 no zone", "no time of RFC 3339"),
        ("revoked example.org/acme+11aa22bb 2025-03-01T00:00:00Z", "not an entry"),
    ],
)
def test_a_wrong_entry_is_named_by_its_line(line: str, why: str, tmp_path: Path) -> None:
    """An entry that cannot be read is refused with its line."""
    file = tmp_path / "trust.txt"
    file.write_text(f"# one\n{line}\n")
    with pytest.raises(UserError, match=why) as caught:
        read_trust(file)
    assert caught.value.where == f"{file}:2"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, and one that is no text, are told."""
    with pytest.raises(UserError, match="No such file"):
        read_trust(tmp_path / "none")
    file = tmp_path / "trust.txt"
    file.write_bytes(b"\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        read_trust(file)
