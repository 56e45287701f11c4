"""Hold coverage to its floors: branches of the rooms that decide and record, and of everything else.

    python .ci/coverage_floor.py coverage.json

Reads the report of ``coverage json``. A room's share is counted over its files together: branches and statements
taken, over all there are, as coverage itself counts with ``branch = true``.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

#: Of each branch-measured unit; what decides and what records is held higher.
STRICT = 0.90
FLOOR = 0.80
STRICT_UNITS = ("governance", "ledger", "session.py")


def unit(path: str) -> str:
    """The room, or the top-level module, that a file belongs to."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    inside = parts[len(parts) - parts[::-1].index("agentcheck") :]
    return inside[0]


def shares(report: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Unit -> (taken, all), counting branches only where there are any, statements where a unit has no branch."""
    branches: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    statements: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for path, found in report["files"].items():
        summary = found["summary"]
        name = unit(path)
        branches[name][0] += summary["covered_branches"]
        branches[name][1] += summary["num_branches"]
        statements[name][0] += summary["covered_lines"]
        statements[name][1] += summary["num_statements"]
    chosen = {name: branches[name] if branches[name][1] else statements[name] for name in branches}
    return {name: (taken, total) for name, (taken, total) in chosen.items() if total}


def below(found: Mapping[str, tuple[int, int]]) -> list[str]:
    """A sentence for every unit that misses its floor, and for a strict unit that was not measured at all."""
    missing = [f"{name}: not measured" for name in STRICT_UNITS if name not in found]
    low = [
        f"{name}: {taken} of {total} = {taken / total:.1%}, floor {floor(name):.0%}"
        for name, (taken, total) in found.items()
        if taken / total < floor(name)
    ]
    return missing + low


def floor(name: str) -> float:
    """The floor of a unit."""
    return STRICT if name in STRICT_UNITS else FLOOR


def main(path: str) -> int:
    """Print all shares and what misses its floor; 0 or 1."""
    with open(path, encoding="utf-8") as file:
        found = shares(json.load(file))
    for name, (taken, total) in sorted(found.items()):
        print(f"{name:<20} {taken:>5} of {total:>5} {taken / total:>7.1%}  floor {floor(name):.0%}")
    problems = below(found)
    print("\n".join(problems) or "no unit is below its floor")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
