"""What every driver asks of a batch before it stores it: each stream goes on where it ended, without a gap."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agentcheck.contracts import Row
from agentcheck.errors import StoreError


def continued(rows: Sequence[Row], last: Callable[[str], int], where: str) -> dict[str, int]:
    """The last number of each stream after a batch; ``last(stream)`` gives the one before it, 0 where it has no rows.

    Raises:
        StoreError: a number is repeated or leaves a gap.
    """
    stream, first = rows[0].stream, last(rows[0].stream) + 1
    if {row[0] for row in rows} == {stream} and [row[1] for row in rows] == [*range(first, first + len(rows))]:
        return {stream: rows[-1].seq}  # as it should be, and nearly always is; the rest finds what is wrong
    heads: dict[str, int] = {}
    for row in rows:
        before = heads.get(row.stream)
        if before is None:
            before = last(row.stream)
        if row.seq != before + 1:
            what = "repeats" if row.seq <= before else "leaves a gap before"
            raise StoreError(
                f"stream {row.stream!r}: the batch {what} sequence number {row.seq} (the last one is {before})",
                where=where,
                advice="a stream is appended to by one ledger; a resumed run writes a stream of its own",
            )
        heads[row.stream] = row.seq
    return heads
