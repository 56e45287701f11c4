"""Regular expressions in policies: only those whose worst case is bounded.

Python's engine backtracks. A pattern's worst case is estimated as ``length ** degree * 2 ** bits``: each unbounded
repeat, and a search that is not anchored at its start, adds one to the degree; alternatives and bounded repeats add
bits for the ways they can be taken. A repeat inside a variable repeat can take exponentially many ways and is
refused, as are back references. From the estimate follows the longest text that a pattern is tried on; a pattern
that is good for less than `SHORTEST` characters is refused. Longer texts cannot be decided, which never allows.
"""

from __future__ import annotations

import math
import re
import sys
import warnings
from typing import Any

if sys.version_info >= (3, 11):
    from re import _constants as _ops  # type: ignore[attr-defined]  # the only parser of the dialect we run
    from re import _parser  # type: ignore[attr-defined]
else:  # pragma: no cover
    import sre_constants as _ops
    import sre_parse as _parser

#: Steps of the worst case that one decision may take (about a second), as a power of two.
BUDGET = 27
LONGEST = 1_000_000
SHORTEST = 256

_REPEATS = tuple(
    getattr(_ops, name) for name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") if hasattr(_ops, name)
)
_LOOKS = (_ops.ASSERT, _ops.ASSERT_NOT)
_STARTS = (_ops.AT_BEGINNING, _ops.AT_BEGINNING_STRING)
#: A repeat that may be taken more often than this counts as unbounded.
_UNBOUNDED = 256


class Unsafe(ValueError):
    """A pattern that could take unbounded time; the message says why."""


class SafePattern:
    """A compiled pattern and the longest text it is tried on. `search` gives ``None`` for a longer one."""

    def __init__(self, text: str, *, ignore_case: bool = False) -> None:
        """Compile.

        Raises:
            Unsafe: its worst case is not bounded well enough.
            re.error: it is no regular expression.
        """
        flags = re.IGNORECASE if ignore_case else 0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                self._pattern = re.compile(text, flags)
                parsed = _parser.parse(text, flags)
            except (FutureWarning, DeprecationWarning) as warning:
                raise Unsafe(str(warning)) from None
        degree, bits = _cost(parsed, inside=False)
        anchored = bool(len(parsed)) and parsed[0][0] is _ops.AT and parsed[0][1] in _STARTS
        degree += not (anchored and not self._pattern.flags & re.MULTILINE)
        room = BUDGET - bits
        longest = LONGEST if not degree else min(LONGEST, 2 ** (room / degree))
        if room < 0 or longest < SHORTEST:
            raise Unsafe("it could take too long; anchor it with ^, or use fewer repeats and alternatives")
        self.text = text
        self.longest = int(longest)

    def search(self, text: str) -> bool | None:
        """True when the pattern is found anywhere in the text; ``None`` when the text is too long to be tried."""
        if len(text) > self.longest:
            return None
        return self._pattern.search(text) is not None


def _cost(parsed: Any, *, inside: bool) -> tuple[int, float]:
    """Degree and bits of a parsed sequence; ``inside`` a variable repeat nothing may vary."""
    degree, bits = 0, 0.0
    for op, value in parsed:
        more, ways = _cost_of(op, value, inside)
        degree += more
        bits += ways
    return degree, bits


def _cost_of(op: Any, value: Any, inside: bool) -> tuple[int, float]:
    if op in _REPEATS:
        lowest, highest, body = value
        varies = lowest != highest
        if varies and inside:
            raise Unsafe("a repeat inside a repeat can take exponential time")
        degree, bits = _cost(body, inside=inside or (varies and int(highest) > 1))
        if varies and int(highest) > _UNBOUNDED:
            return degree + 1, bits
        # A fixed number of rounds multiplies what each of them may do.
        rounds = int(highest) if not varies else 1
        return degree * rounds, bits * rounds + (math.log2(int(highest) - int(lowest) + 1) if varies else 0.0)
    if op is _ops.BRANCH:
        if inside:
            raise Unsafe("alternatives inside a repeat can take exponential time")
        costs = [_cost(branch, inside=inside) for branch in value[1]]
        return max(degree for degree, _ in costs), max(bits for _, bits in costs) + math.log2(len(costs))
    if op is _ops.SUBPATTERN:
        return _cost(value[-1], inside=inside)
    if op in _LOOKS:
        return _cost(value[1], inside=inside)
    if op in (_ops.GROUPREF, _ops.GROUPREF_EXISTS):
        raise Unsafe("back references can take exponential time")
    if op is getattr(_ops, "ATOMIC_GROUP", None):
        return _cost(value, inside=inside)
    return 0, 0.0
