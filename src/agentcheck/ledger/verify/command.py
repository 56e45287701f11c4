"""The command line, and the words in which it answers."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path

from .notes import Trust, Unusable, check, parse, parse_trust, split, unbase64
from .run import CONSISTENT, INCONSISTENT, WITH_CHECKPOINT, WITNESSED, Note, Result, verify_sources
from .sqlite import SqliteSource
from .stream import Bad, Source, Stream, decode
from .tree import includes

LIMITS = {
    CONSISTENT: """\
Without an outside checkpoint this shows internal consistency only: it cannot detect a cut tail or a complete rewrite.
Keep the sizes and heads above, or signed checkpoints, where whoever may write the ledger cannot write.
Events are attempts and observed results, not proof of external effect.""",
    WITH_CHECKPOINT: """\
Modification, insertion, reordering and deletion of any event that the checkpoint covers are detected, a cut tail and a
rewrite too. Not detected: what is missing or changed after it, and a rewrite by somebody who has the signing key and
can replace every checkpoint you hold; the time is that of the signer's clock.
Events are attempts and observed results, not proof of external effect.""",
    WITNESSED: """\
As with a checkpoint; and each witness states that, by its clock, it had seen this tree and none that contradicts it.
Not detected: what is missing or changed after the checkpoint, and a rewrite together with the signing key and all these
witnesses. Events are attempts and observed results, not proof of external effect.""",
    INCONSISTENT: """\
Where an event is named, what is derived before it holds, and of what follows nothing can be said; where a checkpoint or
a file is named, it is that which does not hold. This does not tell who changed it, or why.""",
}
_NOT_READ = "Bytes, chain and tree were derived; what the events say was not read (--events does, more slowly)."


class UnusablePath(Exception):
    """The path is no ledger and no run folder, or cannot be read."""


def verify(
    path: str | os.PathLike[str],
    *,
    events: bool = False,
    notes: Sequence[Note] = (),
    trust: Trust | None = None,
    processes: int = 0,
) -> Result:
    """Check a ledger file, or all ledger files of a run's folder; see `run.verify_sources`.

    Raises:
        UnusablePath: there is nothing to check at ``path``.
    """
    root = Path(path)
    return verify_sources(
        sources_of(root),
        str(root),
        whole_run=root.is_dir(),
        events=events,
        notes=notes,
        trust=trust,
        processes=processes,
    )


def sources_of(root: Path) -> list[SqliteSource]:
    """The ledger file at a path, or all of a folder.

    Raises:
        UnusablePath: there is none.
    """
    try:
        if root.is_dir():
            files = sorted(each for each in root.iterdir() if each.suffix == ".db" and each.is_file())
            if not files:
                elsewhere = "; its events are in a database: `agentcheck ledger export` makes files of them"
                is_elsewhere = (root / "store.url").exists()
                raise UnusablePath(f"{root}: no ledger (*.db) in this folder{elsewhere if is_elsewhere else ''}")
        else:
            files = [root]
        for file in files:
            with file.open("rb"):
                pass
    except OSError as error:
        raise UnusablePath(f"{root}: {error.strerror or error}") from error
    return [SqliteSource(file) for file in files]


def read_notes(places: Sequence[str]) -> list[Note]:
    """Checkpoints from files, each of which may hold several, and from folders with all that is below them.

    Raises:
        UnusablePath: a place cannot be read, or a file holds nothing.
    """
    found = []
    for place in places:
        path = Path(place)
        try:
            files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
            for file in files:
                texts = list(split(file.read_bytes().decode("utf-8")))
                if not texts and not path.is_dir():
                    raise UnusablePath(f"{file}: no checkpoint in this file")
                found += [Note(text, str(file), not path.is_dir()) for text in texts]
        except (OSError, ValueError) as error:
            raise UnusablePath(f"{place}: {getattr(error, 'strerror', None) or error}") from error
    return found


def read_trust(place: str) -> Trust:
    """A trust file.

    Raises:
        UnusablePath: it cannot be read or used.
    """
    try:
        return parse_trust(Path(place).read_text("utf-8"))
    except Unusable as error:
        raise UnusablePath(f"{place}: {error}") from error
    except (OSError, ValueError) as error:
        raise UnusablePath(f"{place}: {getattr(error, 'strerror', None) or error}") from error


# Answers


def describe(result: Result) -> str:
    """The result as text for a terminal."""
    lines = []
    for stream in result.streams:
        lines.append(f"{stream.name:<12} {stream.events:>9} events  {stream.status:<8} head {stream.head}")
    for name, each in sorted(result.checkpoints.items()):
        seen = "".join(f", witness {witness} {_when(time)}" for witness, time in each.signed.witnesses)
        size, by = each.checkpoint.size, each.signed
        lines.append(f"checkpoint over {name}:1-{size}, key {by.log}, {_when(by.time)}{seen}  ({each.where})")
    lines += [f"INCONSISTENT: {problem}" for problem in result.problems]
    lines += [f"exception: {text}" for text in result.exceptions]
    lines += [f"notice: {text}" for text in result.notices]
    lines += [f"asked for, and not there: {text}" for text in result.unmet]
    lines += ["", answer(result), *LIMITS[result.verdict].split("\n")]
    if not result.events_read:
        lines.append(_NOT_READ)
    return "\n".join(map(_plain, lines))


def answer(result: Result) -> str:
    """The verdict in one line."""
    if result.verdict == WITH_CHECKPOINT:
        return f"{result.verdict}(size {result.covered} of {result.events}, time {_when(result.time)})"
    if result.verdict == WITNESSED:
        seen = f"size {result.covered} of {result.events}, time {_when(result.time)}"
        return f"{result.verdict}({result.witnesses}), {seen}"
    return f"{result.verdict}, {result.events} events in {len(result.streams)} stream(s)"


def as_json(result: Result) -> str:
    """The result for a program."""
    document = {
        "verdict": result.verdict,
        "events": result.events,
        "covered": result.covered,
        "time": result.time,
        "witnesses": result.witnesses,
        "events_read": result.events_read,
        "streams": [
            {
                "name": each.name,
                "file": each.file,
                "events": each.events,
                "head": each.head,
                "status": each.status,
                "covered": each.covered,
                "withheld": each.withheld,
                "orphans": each.orphans if result.events_read else None,
            }
            for each in result.streams
        ],
        "problems": [vars(problem) for problem in result.problems],
        "exceptions": result.exceptions,
        "notices": result.notices,
        "unmet": result.unmet,
        "limits": LIMITS[result.verdict],
    }
    return json.dumps(document, indent=2)


def _when(time: int) -> str:
    if not time:
        return "no time stated"
    try:
        return datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{time} s after 1970"


def _plain(text: str) -> str:
    """Without characters that steer a terminal or end a line; names in a ledger may come from anybody."""
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)


# One event, by its proof


def check_proof(event: bytes, proof: str, trust: Trust) -> str:
    """Whether an event is in the tree of a signed checkpoint, by a proof file (C2SP tlog-proof).

    Returns what is shown. Raises `Unusable` where it is not.
    """
    head, _, note = proof.partition("\n\n")
    lines = head.split("\n")
    if lines[0] != "c2sp.org/tlog-proof@v1":
        raise Unusable("no proof: the first line is not c2sp.org/tlog-proof@v1")
    extra = lines[1:2] and lines[1].startswith("extra ")
    if extra and unbase64(lines[1][6:]) is None:
        raise Unusable("no proof: the extra data is no base64")
    lines = lines[2:] if extra else lines[1:]
    index = lines[0].removeprefix("index ") if lines else ""
    if not re.fullmatch("0|[1-9][0-9]{0,18}", index) or lines[0] != f"index {index}":
        raise Unusable("no proof: the line 'index N' is missing")
    hashes = [unbase64(line) or b"" for line in lines[1:]]
    point = parse(note)
    signed = check(point, trust)
    leaf = sha256(b"\x00" + event).digest()
    if any(len(each) != 32 for each in hashes) or not includes(leaf, int(index), point.size, hashes, point.root):
        raise Unusable(f"these bytes are not event {int(index) + 1} of {point.origin}")
    try:
        record = decode(Stream("", point.origin.rpartition("/")[2]), int(index) + 1, event)
    except Bad as bad:
        raise Unusable(f"event {bad.seq}: {bad.reason}") from None
    seen = "".join(f", witness {name} {_when(time)}" for name, time in signed.witnesses)
    return (
        f"{record['type']}, event {int(index) + 1} of the {point.size} of {point.origin}; "
        f"signed by key {signed.log}, {_when(signed.time)}{seen}"
    )


# The command


def parser(prog: str = "verify") -> argparse.ArgumentParser:
    """The options, for ``agentcheck verify`` too."""
    made = argparse.ArgumentParser(prog=prog, description="Check an agentcheck ledger by re-deriving it.")
    made.add_argument("path", nargs="?", help="a run's folder, or one .db file")
    made.add_argument("--checkpoint", action="append", default=[], metavar="PATH", help="a checkpoint, or a folder")
    made.add_argument("--keys", metavar="FILE", help="whose signatures count (a trust file)")
    made.add_argument("--events", action="store_true", help="read every event too: form, order, results of actions")
    made.add_argument("--whole", action="store_true", help="read every event, and exit 1 unless nothing is open")
    made.add_argument("--witnesses", type=int, default=0, metavar="N", help="exit 1 unless N witnesses saw it")
    made.add_argument("--processes", type=int, default=0, metavar="N", help="for long streams; default: processors")
    made.add_argument("--json", action="store_true", help="answer as JSON")
    made.add_argument("--event", metavar="FILE", help="the bytes of one event, to check with --proof")
    made.add_argument("--proof", metavar="FILE", help="a proof that the event is in a checkpoint's tree")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; exit status 0, 1 or 4."""
    made = parser()
    given = made.parse_args(arguments)
    try:
        trust = read_trust(given.keys) if given.keys else None
        if given.proof or given.event:
            return prove(given, trust)
        if not given.path:
            made.print_usage(sys.stderr)
            return 4
        path = Path(given.path)
        return report(given, sources_of(path), path.is_dir(), trust)
    except UnusablePath as error:
        print(_plain(str(error)), file=sys.stderr)
        return 4


def report(
    given: argparse.Namespace,
    sources: Sequence[Source],
    whole_run: bool,
    trust: Trust | None,
    kept: Sequence[Note] = (),
) -> int:
    """Check sources as the options say, print the answer, and give the exit status.

    ``kept`` are further checkpoints, which count only where a key is trusted.

    Raises:
        UnusablePath: a checkpoint cannot be read, or none is trusted because no key is.
    """
    notes = read_notes(given.checkpoint)
    if given.checkpoint and trust is None:
        raise UnusablePath("a checkpoint shows nothing without a key that is trusted: give --keys FILE")
    result = verify_sources(
        sources,
        given.path,
        whole_run=whole_run,
        events=given.events or given.whole,
        notes=[*notes, *(kept if trust else ())],
        trust=trust,
        processes=given.processes,
    )
    if kept and trust is None:
        result.notices.append(f"{len(kept)} checkpoint(s) are kept of this run, and no keys are trusted (--keys FILE)")
    if given.keys and not (given.checkpoint or kept):
        result.notices.append("keys are given (--keys) and no checkpoint: nothing was held against a signature")
    _ask(result, given)
    print(as_json(result) if given.json else describe(result))
    return 0 if result.consistent and not result.unmet else 1


def _ask(result: Result, given: argparse.Namespace) -> None:
    """Hold the result against what was asked for."""
    if given.checkpoint and not result.met:
        result.unmet.append("a checkpoint of this run among those that were given")
    if given.whole and result.exceptions:
        result.unmet.append(f"a whole run (--whole): {result.exceptions[0]}")
    if given.witnesses > result.witnesses:
        result.unmet.append(f"{given.witnesses} witnesses (--witnesses); {result.witnesses} saw it")


def prove(given: argparse.Namespace, trust: Trust | None) -> int:
    """Check one event by its proof, print the answer, and give the exit status.

    Raises:
        UnusablePath: a file is not named, or cannot be read.
    """
    if not (given.proof and given.event and trust):
        raise UnusablePath("to check one event, give --event FILE, --proof FILE and --keys FILE")
    try:
        shown = check_proof(Path(given.event).read_bytes(), Path(given.proof).read_bytes().decode("utf-8"), trust)
    except Unusable as error:
        print(_plain(f"NOT PROVEN: {error}"))
        return 1
    except (OSError, ValueError) as error:
        raise UnusablePath(f"{given.proof}: {getattr(error, 'strerror', None) or error}") from error
    print(_plain(f"INCLUDED: {shown}"))
    return 0
