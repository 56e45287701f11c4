"""What is done to the ledger of a run afterwards: legal holds, and the purge of what its retention class lets go.

Each act writes a stream of its own, ``custody-<n>`` (in a copy it has another name, see `tombstones`):
``custody.opened`` names the heads of all other streams, then comes the act, then ``custody.closed``. Acts on one run
exclude each other by a lock in its folder.

A purge, in this order:

1. Find what is due, and what an earlier purge named in a tombstone and did not get to. Nothing: leave all as it is.
2. Refuse while a process writes the run, or while a hold is in force.
3. Make sure that the store lets this login take payloads away, so that no tombstone names what nobody could carry out.
4. Record the tombstones (``events.withheld``), and wait until they are on disk.
5. Look for holds again, then let the store take the payloads away; leaf hashes and chain values stay.
6. Remove what was derived from the content: reports, scratch, and the redaction key where no content is left.

A crash leaves tombstones without their deletion, never the other way round; the next purge begins where it stopped.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from agentcheck import __version__
from agentcheck.contracts import Row
from agentcheck.engine import microseconds
from agentcheck.errors import AgentcheckError, StoreError, UserError
from agentcheck.events import Event, retention
from agentcheck.ledger.chain import withheld
from agentcheck.ledger.ledger import Ledger, Redact
from agentcheck.ledger.reading import decode, read_events
from agentcheck.ledger.redaction import Redactor
from agentcheck.publishing import run_of
from agentcheck.reporting import files
from agentcheck.retention import KEPT, Due, Purge, RetentionClass, Schedule
from agentcheck.runs import COPY_FILE, KEY_FILE, RunFolder
from agentcheck.storage.lock import WriterLock
from agentcheck.tombstones import (
    PURGED,
    Account,
    Custody,
    Hold,
    chunks,
    custody_number,
    day,
    holds_number,
    is_custody,
    is_of_copy,
    next_custody,
)

Clock = Callable[[], int]
#: Files of a run's folder that hold no content of a case, and stay.
_STAYS = ("ledger*.db*", "*.lock", KEY_FILE, "store.url", "workers.lost", COPY_FILE)


def read_custody(run: RunFolder) -> Custody:
    """The fold of the run's streams of custody.

    Raises:
        StoreError, LedgerError: a stream cannot be read.
    """
    custody = Custody()
    for stream in sorted(filter(is_custody, run.streams()), key=custody_number):
        with run.reading(stream) as store:
            for event in read_events(store, stream):
                custody.take(event)
    return custody


def read_account(run: RunFolder) -> Account:
    """Custody, held against the rows of the streams that tombstones name: what of them was carried out.

    Raises:
        StoreError, LedgerError: a stream cannot be read.
    """
    account = Account()
    account.custody = read_custody(run)
    for stream in {each.stream for each in account.custody.tombstones} & set(run.streams()):
        with run.reading(stream) as store:
            for _ in account.readable(stream, store.read(stream)):
                pass
    return account


# Holds


def hold(run: RunFolder, reason: str, by: str, *, command: Sequence[str] = (), clock: Clock = microseconds) -> Hold:
    """Place a legal hold: nothing of the run is purged until it is released. The run may still be going on.

    Raises:
        UserError: the reason or the name is empty.
        StoreError: it could not be recorded; nothing is held.
    """
    _refuse_empty(reason=reason, by=by)
    with _alone(run), _opened(run, by, command, clock) as ledger:
        body = {"hold": f"hold-{custody_number(ledger.stream)}", "reason": reason, "by": by}
        ledger.record("hold.placed", body)
        ledger.record("custody.closed", {"status": "held"})
    return read_custody(run).holds[str(body["hold"])]


def release(
    run: RunFolder, name: str, reason: str, by: str, *, command: Sequence[str] = (), clock: Clock = microseconds
) -> Hold:
    """Release a hold by its id.

    Raises:
        UserError: no such hold is in force.
        StoreError: it could not be recorded; the hold stays.
    """
    _refuse_empty(reason=reason, by=by)
    with _alone(run):
        custody = read_custody(run)
        known = [each.id for each in custody.in_force]
        if name not in known:
            what = "was released already" if name in custody.holds else "is not known"
            advice = f"in force: {', '.join(known)}" if known else "no hold is in force"
            raise UserError(f"the hold {name!r} of run {run_of(run)} {what}", advice=advice)
        with _opened(run, by, command, clock) as ledger:
            ledger.record("hold.released", {"hold": name, "reason": reason, "by": by})
            ledger.record("custody.closed", {"status": "released"})
    return read_custody(run).holds[name]


# Purge


def plan_purge(run: RunFolder, classes: Mapping[str, RetentionClass], now: int) -> Purge:
    """What is due at ``now`` (microseconds since the Unix epoch), and what an earlier purge left.

    Raises:
        StoreError, LedgerError: a stream cannot be read.
    """
    custody, schedule = read_custody(run), Schedule(classes)
    streams = [stream for stream in run.streams() if not is_custody(stream)]
    for stream in streams:
        with run.reading(stream) as store:
            for event in read_events(store, stream):
                schedule.take(event)
    plan = Purge(run_of(run), [], {}, schedule.undefined, schedule.ended, False, custody.unfinished)
    found: dict[tuple[str, str], Due] = {}
    for stream in streams:
        named = custody.covered(stream, "purge")
        with run.reading(stream) as store:
            for row in store.read(stream):
                if withheld(row.payload) == row.payload:
                    continue
                event = decode(row)
                label, time = schedule.when(event)
                if holds_number(named, row.seq) and event.type not in KEPT:
                    plan.pending.setdefault(stream, []).append(row.seq)
                elif time is not None and time <= now:
                    _add(found, row, label)
                else:
                    _stays(plan, event, label, time)
    plan.due = list(found.values())
    for stone in custody.tombstones:
        left = sum(holds_number(stone.ranges, seq) for seq in plan.pending.get(stone.stream, ()))
        if stone.purpose == "purge" and left:
            plan.earlier.append((stone, left))
    if not plan.is_empty:
        plan.removed, plan.unknown = _derived(run.path, with_key=not plan.content_left)
    return plan


def _stays(plan: Purge, event: Event, label: str, time: int | None) -> None:
    """Note what is not due: whether it is content, and when it will be."""
    plan.content_left = plan.content_left or retention(event.type) == "content"
    if time is not None:
        plan.upcoming = min(plan.upcoming or (time, label), (time, label))
    elif label:
        plan.kept.add(label)


def _add(found: dict[tuple[str, str], Due], row: Row, label: str) -> None:
    one = found.setdefault((row.stream, label), Due(row.stream, label))
    one.numbers.append(row.seq)
    one.size += len(row.payload) - len(withheld(row.payload))


def purge(
    run: RunFolder,
    classes: Mapping[str, RetentionClass],
    now: int,
    *,
    by: str,
    reason: str = "",
    dry_run: bool = False,
    command: Sequence[str] = (),
    clock: Clock = microseconds,
) -> Purge:
    """Take away what is due at ``now``; see the module for the order. ``dry_run`` only tells.

    ``clock`` stamps the events of custody; ``now`` alone decides what is due.

    Raises:
        UserError: a process writes the run, or a hold is in force.
        StoreError, LedgerError: the run cannot be read, or the store refuses. Where this login may not take payloads
            away, nothing was recorded; from any other point the next purge goes on.
    """
    _refuse_empty(by=by)
    plan = plan_purge(run, classes, now)
    if plan.is_empty:
        return plan
    _refuse_busy(run)
    _refuse_held(run)
    if dry_run:
        return plan
    with _alone(run):
        _refuse_busy(run)
        _refuse_held(run)
        plan = plan_purge(run, classes, now)  # another purge may have come first
        for stream in _wanted(plan):
            run.store.ready_to_withhold(stream)
        with _opened(run, by, command, clock) as ledger:
            plan.custody = ledger.stream
            for body in _tombstones(plan, classes, now, reason, by):
                ledger.record("events.withheld", body)
            ledger.flush()
            _refuse_held(run)  # one that was placed from another machine meanwhile
            _take_away(run, plan)
            for name in plan.removed:
                _remove(run.path / name)
            ledger.record("custody.closed", {"status": PURGED})
    return plan


def _tombstones(
    plan: Purge, classes: Mapping[str, RetentionClass], now: int, reason: str, by: str
) -> Iterator[dict[str, Any]]:
    for one in plan.due:
        name, _, kind = one.label.partition("/")
        rule = f"{kind}_days = {classes[name].days(kind)} of {name}, from {day(plan.ended)}, as of {day(now)}"
        key = "; the run's redaction key is deleted" if KEY_FILE in plan.removed else ""
        for piece in chunks(one.ranges):
            yield {
                "stream": one.stream,
                "ranges": piece,
                "count": sum(last - first + 1 for first, last in piece),
                "purpose": "purge",
                "retention": one.label,
                "reason": f"{f'{reason}: ' if reason else ''}{rule}{key}",
                "by": by,
            }


def _wanted(plan: Purge) -> dict[str, set[int]]:
    """The numbers whose payloads a purge takes away, by stream."""
    wanted: dict[str, set[int]] = {stream: set(numbers) for stream, numbers in plan.pending.items()}
    for one in plan.due:
        wanted.setdefault(one.stream, set()).update(one.numbers)
    return wanted


def _take_away(run: RunFolder, plan: Purge) -> None:
    """Let the store put leaf hashes in the place of payloads, stream by stream."""
    for stream, numbers in _wanted(plan).items():
        with run.reading(stream) as store:
            payloads = {row.seq: withheld(row.payload) for row in store.read(stream) if row.seq in numbers}
        run.store.withhold(stream, payloads)


def _derived(folder: Path, *, with_key: bool) -> tuple[list[str], list[str]]:
    """Names of what was derived from content, and of what agentcheck does not know, in a run's folder."""
    derived = (*files.NAMES, *(f".{name}.*" for name in files.NAMES), "scratch", "*.draft")
    removed, unknown = [], []
    for path in sorted(folder.iterdir()):
        if any(fnmatch(path.name, pattern) for pattern in derived) or (with_key and path.name == KEY_FILE):
            removed.append(path.name)
        elif not any(fnmatch(path.name, pattern) for pattern in _STAYS):
            unknown.append(path.name)
    return removed, unknown


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot remove what was derived from purged content: {error.strerror}",
            where=str(path),
            advice="make it removable and purge again; the ledger's own payloads are gone already",
        ) from error


# What all acts share


@contextmanager
def _alone(run: RunFolder) -> Iterator[None]:
    """Keep other acts of custody on this run out, of this machine; the stream's name keeps out those of another."""
    try:
        lock = WriterLock(run.path / "custody")
    except StoreError as error:
        raise StoreError(
            f"run {run_of(run)}: {error.what.partition(' writes')[0]} is at work on its custody",
            where=str(run.path),
            advice="wait for it to end, then look with `agentcheck ledger custody`",
        ) from error
    except OSError as error:
        raise StoreError(f"cannot write the run's folder: {error.strerror}", where=str(run.path)) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _opened(run: RunFolder, by: str, command: Sequence[str], clock: Clock) -> Iterator[Ledger]:
    """The run's next stream of custody, opened; the act closes it, an act that fails is closed as ``failed``."""
    streams = run.streams()
    stream = next_custody(streams, copy=run.is_copy or any(map(is_of_copy, streams)))
    with custody_stream(run.store.writing(stream), stream, redactor(run), clock) as ledger:
        open_custody(ledger, run_of(run), by, command, run.heads(without=stream))
        yield ledger


@contextmanager
def custody_stream(store: Any, stream: str, redact: Redact, clock: Clock) -> Iterator[Ledger]:
    """A ledger on a stream of custody; ``store`` is closed at the end, and a failure is recorded where it can be."""
    try:
        with Ledger(store, stream, redact=redact, clock=clock) as ledger:
            try:
                yield ledger
                ledger.flush()
            except BaseException:
                with contextlib.suppress(AgentcheckError):
                    ledger.record("custody.closed", {"status": "failed"})
                raise
    finally:
        store.close()


def open_custody(
    ledger: Ledger, run_id: str, by: str, command: Sequence[str], heads: Sequence[Mapping[str, Any]]
) -> None:
    """Record ``custody.opened`` and wait until it is on disk: from then on the stream's name is taken."""
    body = {
        "run": run_id,
        "agentcheck": __version__,
        "command": list(command),
        "by": by,
        "previous": [dict(head) for head in heads],
    }
    ledger.record("custody.opened", body)
    ledger.flush()


def redactor(run: RunFolder) -> Redactor:
    """The run's redactor; with a random key nobody keeps where the run's key was deleted."""
    try:
        return run.redactor()
    except StoreError:
        return Redactor(secrets.token_bytes(32))


def refuse_busy(run: RunFolder, act: str) -> None:
    """Refuse an act while a process writes the run.

    Raises:
        UserError: one does.
    """
    writer = run.store.writer()
    if writer:
        raise UserError(
            f"run {run_of(run)} is being written by {writer}, so it cannot be {act}",
            advice="wait for it to end, or stop it",
        )


def _refuse_busy(run: RunFolder) -> None:
    refuse_busy(run, "purged")


def _refuse_held(run: RunFolder) -> None:
    held = read_custody(run).in_force
    if held:
        told = "; ".join(f"{each.id}, placed by {each.by} on {day(each.time)}: {each.reason}" for each in held)
        run_id = run_of(run)
        name = run.id if run.id == run_id else run.path  # what the command finds it by
        raise UserError(
            f"run {run_id} is under a legal hold, so nothing of it is purged: {told}",
            advice=f"agentcheck ledger release {name} {held[0].id} --reason ...",
        )


def _refuse_empty(**texts: str) -> None:
    for name, text in texts.items():
        if not text.strip():
            raise UserError(f"--{name} is empty", advice="say why" if name == "reason" else "say who")
