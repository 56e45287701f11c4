"""Text about holds, tombstones and purges for a terminal. Pure functions; nothing is printed here."""

from __future__ import annotations

from collections.abc import Iterator

from agentcheck.reporting.safe_text import line
from agentcheck.retention import Purge
from agentcheck.tombstones import Custody, Hold, Tombstone, day

#: Ranges of one tombstone that are shown; the rest are counted.
_SHOWN = 6


def listing(run: str, custody: Custody) -> str:
    """Everything that was done to a run's ledger afterwards, for ``agentcheck ledger custody``."""
    if not custody.opened:
        return f"run {line(run)}: no hold, no tombstone, nothing was done to its ledger"
    lines = [f"run {line(run)}"]
    lines += [f"  {_hold(hold)}" for hold in custody.holds.values()]
    lines += [f"  {_tombstone(each)}" for each in custody.tombstones]
    for stream, event in custody.opened.items():
        ended = custody.closed.get(stream, "not closed: its process ended, or is still at work")
        lines.append(f"  {line(stream)}  {day(event.time)}  by {line(event.body['by'])}  {line(ended)}")
    if custody.unfinished:
        lines.append("  a purge stopped before its end; purge again")
    return "\n".join(lines)


def _hold(hold: Hold) -> str:
    placed = f"{line(hold.id)}  placed by {line(hold.by)} on {day(hold.time)}: {line(hold.reason)}"
    if hold.released is None:
        return f"{placed}  [in force]"
    body = hold.released.body
    return f"{placed}  [released by {line(body['by'])} on {day(hold.released.time)}: {line(body['reason'])}]"


def _tombstone(each: Tombstone) -> str:
    shown = ", ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in each.ranges[:_SHOWN])
    more = f" and {len(each.ranges) - _SHOWN} more ranges" if len(each.ranges) > _SHOWN else ""
    what = f"{each.purpose} of {each.retention}" if each.retention else each.purpose
    return (
        f"{line(each.custody)}:{each.seq}  {line(what)}  by {line(each.by)} on {day(each.time)}: "
        f"{each.count} events of {line(each.stream)} ({shown}{more}): {line(each.reason)}"
    )


def purge(plan: Purge) -> str:
    """What a purge did, or would do."""
    did = f"purged, see {plan.custody}" if plan.custody else "to purge"
    lines = [f"run {line(plan.run)}: {'nothing is due' if plan.is_empty else did}", *map(line, _parts(plan))]
    return "\n  ".join(lines)


def _parts(plan: Purge) -> Iterator[str]:
    for one in plan.due:
        yield f"{one.stream}  {one.label}  {len(one.numbers)} events, {one.size} bytes"
    for stream, numbers in plan.pending.items():
        yield f"{stream}  named by an earlier tombstone and still there: {len(numbers)} events"
    if plan.unfinished and not plan.pending:
        yield "an earlier purge took the events and did not get to the files"
    if plan.removed:
        yield f"files derived from content: {', '.join(plan.removed)}"
    if plan.unknown:
        yield f"left, because agentcheck did not write it (it may hold content): {', '.join(plan.unknown)}"
    for suite, name in plan.undefined.items():
        yield f"kept: the suite {suite} is of the class {name!r}, which pyproject.toml does not define"
