"""A copy of a run for an assessor: SQLite files in a new folder, from any store, with chosen events withheld.

Rows are copied byte for byte; a withheld one keeps its leaf hash and chain value, so the copy still verifies. Where
something is withheld, a stream of custody, in the copy only, says who made it and from which heads, and names what is
withheld. A file of the folder says that it is a copy (`runs.COPY_FILE`). The redaction key is not copied, so nobody can
try guessed values against the placeholders.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from agentcheck.contracts import Row, Store
from agentcheck.custody import custody_stream, open_custody, redactor, refuse_busy
from agentcheck.engine import microseconds
from agentcheck.errors import StoreError, UserError
from agentcheck.events import TABLE, Event, retention
from agentcheck.ledger.chain import withheld
from agentcheck.ledger.reading import decode
from agentcheck.publishing import run_of
from agentcheck.retention import KEPT
from agentcheck.runs import COPY_FILE, RunFolder
from agentcheck.storage.sqlite_run import SqliteRun
from agentcheck.tombstones import chunks, next_custody, ranges

_RANGE = re.compile(r"([^:\s]+):([1-9]\d*)(?:-([1-9]\d*))?")
_ABOUT = """This folder is a copy of the ledger of run {run}, made by `agentcheck ledger export`.
As long as this file is here, agentcheck calls streams of custody in it custody-copy-..., so that none is taken for one
of the run itself.
"""
#: Rows in one append to the copy.
_BATCH = 1_000


@dataclass
class Choice:
    """One thing to withhold, as it was written, and how many events it chose so far.

    ``matches`` is asked with the row, and with its event where that is still there.
    """

    text: str
    matches: Callable[[Row, Event | None], bool]
    chosen: int = 0


@dataclass
class Copy:
    """What was copied: events by stream, and of these the numbers withheld for this copy.

    ``custody`` is the stream that says so; empty where nothing is withheld.
    """

    directory: Path
    custody: str
    events: dict[str, int] = field(default_factory=dict)
    withheld: dict[str, list[int]] = field(default_factory=dict)


def choice(text: str) -> Choice:
    """Read what to withhold: ``content``, an event type, ``<suite>::<case>[#<trial>]`` or ``STREAM:FIRST-LAST``.

    Raises:
        UserError: none of these, or a type whose payloads are never withheld.
    """
    if text == "content":
        return Choice(text, lambda row, event: event is not None and retention(event.type) == "content")
    if "::" in text:
        return Choice(
            text, lambda row, event: event is not None and text in (event.session, event.session.rpartition("#")[0])
        )
    if text in KEPT:
        raise UserError(f"events of type {text} are never withheld", advice=_ADVICE)
    if text in TABLE or (text.startswith("x.") and text.count(".") >= 2):
        return Choice(text, lambda row, event: event is not None and event.type == text)
    found = _RANGE.fullmatch(text)
    if not found:
        near = get_close_matches(text, TABLE, 1)
        raise UserError(
            f"{text!r} names nothing that can be withheld",
            advice=f"did you mean {near[0]!r}?"
            if near
            else "content, an event type, SUITE::CASE, SUITE::CASE#TRIAL or STREAM:FIRST-LAST",
        )
    stream, first, last = found[1], int(found[2]), int(found[3] or found[2])
    if last < first:
        raise UserError(f"the range {text!r} ends before it begins")
    return Choice(text, lambda row, event: row.stream == stream and first <= row.seq <= last)


_ADVICE = "they say whose the stream is, that it ended, and what was done to the ledger afterwards"


def export(
    run: RunFolder,
    directory: Path,
    withhold: Sequence[str] = (),
    *,
    by: str,
    reason: str = "",
    command: Sequence[str] = (),
    clock: Callable[[], int] = microseconds,
) -> Copy:
    """Copy a run's ledger into a new folder, with chosen events withheld; the run itself is not touched.

    The folder appears when it is complete. ``by``, ``reason`` and ``command`` are recorded where something is withheld.

    Raises:
        UserError: the target is not empty, a process writes the run, or a choice is wrong or chooses nothing.
        StoreError, LedgerError: the run cannot be read, or the copy cannot be written.
    """
    if not by.strip():
        raise UserError("--by is empty", advice="say who")
    choices = [choice(text) for text in withhold]
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory} is not empty", advice="name a folder that is not there yet")
    refuse_busy(run, "copied")
    draft = directory.absolute().with_name(f".{directory.absolute().name}.{secrets.token_hex(4)}")
    try:
        draft.mkdir(parents=True)
        made = _write(run, draft, choices, by, reason, command, clock)
        idle = [each.text for each in choices if not each.chosen]
        if idle:
            raise UserError(
                f"run {run_of(run)} has no event to withhold for {', '.join(idle)}",
                advice="nothing was copied; look for a slip",
            )
        if directory.exists():
            directory.rmdir()
        draft.rename(directory)
    except OSError as error:
        raise StoreError(f"cannot write the copy: {error.strerror}", where=str(directory)) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    made.directory = directory
    return made


def _write(
    run: RunFolder,
    draft: Path,
    choices: Sequence[Choice],
    by: str,
    reason: str,
    command: Sequence[str],
    clock: Callable[[], int],
) -> Copy:
    target, streams = SqliteRun("", run.id, draft), run.streams()
    made, heads = Copy(draft, ""), []
    for stream in streams:
        with run.reading(stream) as source, closing(target.writing(stream)) as store:
            _copy(source, store, stream, choices, made)
            head = store.head(stream)
        if head:
            heads.append({"stream": stream, "size": head[0], "head": head[1].hex()})
    (draft / COPY_FILE).write_text(_ABOUT.format(run=run_of(run)), "utf-8")
    if not made.withheld:
        return made  # the same bytes: there is nothing to say of them
    made.custody = next_custody(streams, copy=True)
    store = target.writing(made.custody)
    with custody_stream(store, made.custody, redactor(run), clock) as ledger:
        open_custody(ledger, run_of(run), by, command, heads)
        why = f"left out of a copy: {', '.join(each.text for each in choices)}"
        for stream, numbers in made.withheld.items():
            for piece in chunks(ranges(numbers)):
                ledger.record(
                    "events.withheld",
                    {
                        "stream": stream,
                        "ranges": piece,
                        "count": sum(last - first + 1 for first, last in piece),
                        "purpose": "redaction",
                        "retention": "",
                        "reason": f"{f'{reason}: ' if reason else ''}{why}",
                        "by": by,
                    },
                )
        ledger.record("custody.closed", {"status": "copied"})
    return made


def _copy(source: Store, target: Store, stream: str, choices: Sequence[Choice], made: Copy) -> None:
    """Copy one stream."""
    rows: list[Row] = []
    for row in source.read(stream):
        event = decode(row) if row.payload[:1] != b"\x00" else None
        rows.append(_chosen(row, event, choices, made))
        if len(rows) == _BATCH:
            target.append(rows)
            rows = []
    target.append(rows)
    made.events[stream] = (target.head(stream) or (0, b""))[0]


def _chosen(row: Row, event: Event | None, choices: Iterable[Choice], made: Copy) -> Row:
    """The row as the copy has it."""
    hits = [each for each in choices if each.matches(row, event)]
    if not hits:
        return row
    if event is not None and event.type in KEPT:
        raise UserError(f"{row.stream}:{row.seq} is {event.type}, which is never withheld", advice=_ADVICE)
    for each in hits:
        each.chosen += 1
    if event is not None:
        made.withheld.setdefault(row.stream, []).append(row.seq)
    return row._replace(payload=withheld(row.payload))
