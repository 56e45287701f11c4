"""Text about holds, tombstones and purges for a terminal. Pure functions; nothing is printed here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agentcheck.reporting.safe_text import line
from agentcheck.retention import Purge
from agentcheck.tombstones import Account, Hold, Tombstone, day

#: Ranges of one tombstone that are shown; the rest are counted.
_SHOWN = 6


def listing(run: str, account: Account) -> str:
    """Everything that was done to a run's ledger afterwards, for ``agentcheck ledger custody``."""
    custody = account.custody
    if not custody.opened:
        return f"run {line(run)}: no hold, no tombstone, nothing was done to its ledger"
    lines = [f"run {line(run)}"]
    lines += [f"  {_hold(hold)}" for hold in custody.holds.values()]
    lines += [f"  {_tombstone(each)}{_left(account.still_there(each), each)}" for each in custody.tombstones]
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


def _left(still: int, each: Tombstone) -> str:
    return f"  [not carried out: {still} of {each.count} events are still there]" if still else ""


def _tombstone(each: Tombstone) -> str:
    shown = ", ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in each.ranges[:_SHOWN])
    more = f" and {len(each.ranges) - _SHOWN} more ranges" if len(each.ranges) > _SHOWN else ""
    return (
        f"{line(each.custody)}:{each.seq}  {_what(each)}  by {line(each.by)} on {day(each.time)}: "
        f"{each.count} events of {line(each.stream)} ({shown}{more}): {line(each.reason)}"
    )


def _what(each: Tombstone) -> str:
    return line(f"{each.purpose} of {each.retention}" if each.retention else each.purpose)


def purge(plan: Purge) -> str:
    """What a purge would do."""
    lines = [f"run {line(plan.run)}: {'nothing is due' if plan.is_empty else 'to purge'}", *map(line, _parts(plan))]
    return "\n  ".join(lines)


def purged(plan: Purge) -> str:
    """That a purge was done, and for whom else."""
    acts = {f"{each.custody} by {each.by} on {day(each.time)}": 0 for each in plan.unfinished}
    finished = f"; it finished the purge that was begun in {', '.join(acts)}" if acts else ""
    return line(f"run {plan.run}: purged; {plan.custody} says what{finished}")


def idle(plans: Sequence[Purge]) -> str:
    """That nothing is due of several runs, and what will be next."""
    found = min(((*each.upcoming, each.run) for each in plans if each.upcoming), default=None)
    after = f"; next: {found[1]} of run {found[2]} on {day(found[0])}" if found else ""
    return line(f"{len(plans)} runs: nothing is due{after}")


def _parts(plan: Purge) -> Iterator[str]:
    for one in plan.due:
        yield f"{one.stream}  {one.label}  {len(one.numbers)} events, {one.size} bytes"
    for stone, left in plan.earlier:
        whose = f"{_what(stone)} by {stone.by} on {day(stone.time)}: {stone.reason}"
        yield (
            f"{stone.stream}  {left} events that are named in {stone.custody} and still there; they go whether or not "
            f"they are due now, to finish the {whose}"
        )
    if plan.unfinished and not plan.pending:
        whose = ", ".join({f"{each.custody} by {each.by} on {day(each.time)}": 0 for each in plan.unfinished})
        yield f"the purge in {whose} took the events and did not get to the files"
    if plan.is_empty:
        yield from _later(plan)
    if plan.removed:
        yield f"files derived from content: {', '.join(plan.removed)}"
    if plan.unknown:
        yield f"left, because agentcheck did not write it (it may hold content): {', '.join(plan.unknown)}"
    for suite, name in plan.undefined.items():
        yield f"kept: the suite {suite} is of the class {name!r}, which pyproject.toml does not define"


def _later(plan: Purge) -> Iterator[str]:
    """What is to come, where nothing is due."""
    if not plan.ended:
        yield "it holds no events: the run ended before its first one, or they were removed"
    if plan.upcoming:
        yield f"next: {plan.upcoming[1]} on {day(plan.upcoming[0])}"
    if plan.kept:
        yield f"kept for ever: {', '.join(sorted(plan.kept))}"
