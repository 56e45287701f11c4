"""The published test vectors, and both verifiers as functions of one shape that answer them."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from agentcheck.ledger.verify import INCONSISTENT, Note, Trust, Unusable, parse_trust, verify_sources
from agentcheck.ledger.verify.command import check_proof

FOLDER = Path(__file__).parents[1] / "docs" / "vectors"

Rows = Sequence[tuple[Any, Any, Any, Any]]
Check = Callable[[Rows, Sequence[str], str, bool], Mapping[str, Any]]


class ListSource:
    """A source of rows for the verifier that holds them in memory, in any order."""

    name = "rows"

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def streams(self) -> list[tuple[str, int]]:
        """Names and highest numbers."""
        names = sorted({row[0] for row in self._rows})
        return [(name, max(row[1] for row in self._rows if row[0] == name)) for name in names]

    def rows(self, stream: str, first: int, last: int) -> Iterator[tuple[Any, Any, Any]]:
        """Rows by their numbers, as a database gives them."""
        lowest = first if first > 1 else -(2**63)
        found = [row[1:] for row in self._rows if row[0] == stream and lowest <= row[1] <= last]
        return iter(sorted(found, key=lambda row: int(row[0])))

    def value(self, stream: str, seq: int) -> tuple[Any, Any] | None:
        """One row."""
        return next(((row[2], row[3]) for row in self._rows if row[:2] == (stream, seq)), None)

    def faults(self) -> list[str]:
        """Nothing that hides rows."""
        return []

    def notices(self) -> list[str]:
        """Nothing unusual."""
        return []

    def close(self) -> None:
        """Nothing to let go."""


def ours(rows: Rows, checkpoints: Sequence[str], keys: str, events: bool) -> Mapping[str, Any]:
    """What `agentcheck.ledger.verify` answers."""
    notes = [Note(text, f"note {number}") for number, text in enumerate(checkpoints, 1)]
    trust = parse_trust(keys) if keys else Trust()
    found = verify_sources(
        [ListSource(rows)], "rows", whole_run=True, events=events, notes=notes, trust=trust, processes=1
    )
    good = found.verdict != INCONSISTENT
    first = found.problems[0] if found.problems else None
    return {
        "verdict": found.verdict,
        "covered": found.covered if good else 0,
        "time": found.time if good else 0,
        "witnesses": found.witnesses if good else 0,
        "first_bad": {"stream": first.stream, "seq": first.seq} if first else None,
    }


def our_proof(event: bytes, proof: str, keys: str) -> bool:
    """What `agentcheck.ledger.verify` answers to a proof."""
    try:
        check_proof(event, proof, parse_trust(keys))
    except Unusable:
        return False
    return True


def second() -> ModuleType:
    """The second verifier, which was written from the documentation alone."""
    spec = spec_from_file_location("second_verifier", FOLDER / "verifier.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def load(kind: str) -> dict[str, Mapping[str, Any]]:
    """The vectors of a folder by name."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((FOLDER / kind).glob("*.json"))}


def rows_of(vector: Mapping[str, Any]) -> list[tuple[str, int, bytes, bytes]]:
    """The rows of a vector with their bytes."""
    return [
        (row["stream"], row["seq"], base64.b64decode(row["payload"]), base64.b64decode(row["chain"]))
        for row in vector["rows"]
    ]
