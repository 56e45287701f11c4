"""Make the test vectors beside this file: ``python docs/vectors/make.py``.

What each vector is expected to give is written down here by hand, never asked of a verifier. Everything is fixed
(times, salts, keys), so making them again gives the same files.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from agentcheck.ledger import merkle
from agentcheck.ledger.canonical import encode
from agentcheck.ledger.chain import genesis, leaf, step, withheld
from agentcheck.ledger.notes import COSIGNATURE, ED25519, Note, SigningKey, parse, sign_checkpoint

HERE = Path(__file__).parent
RUN = "20260101-120000-ab12"
TIME = 1_767_268_800  # 2026-01-01T12:00:00Z


def key(name: str, number: int) -> SigningKey:
    """A key that everybody knows."""
    return SigningKey(name, sha256(b"vector key %d" % number).digest())


LOG, NEXT, STRANGER = key("example.com/agents", 1), key("example.com/agents", 2), key("example.com/agents", 3)
OTHER = key("example.com/other", 6)
WITNESSES = (key("witness.example/one", 4), key("witness.example/two", 5))
TRUST = f"""\
# Whose signatures count.
log {LOG.public(ED25519)}
witness {WITNESSES[0].public(COSIGNATURE)}
witness {WITNESSES[1].public(COSIGNATURE)}  # the second one
"""

Rows = list[tuple[str, int, bytes, bytes]]
Event = tuple[str, Mapping[str, Any], str]


class Stream:
    """A stream in the making."""

    def __init__(self, name: str = "main", *, salted: bool = True) -> None:
        self.name, self.salted = name, salted
        self.rows: Rows = []
        self._chain = genesis(name)

    def add(self, type: str, body: Mapping[str, Any], session: str = "") -> Stream:  # noqa: A002
        """Record an event."""
        seq = len(self.rows) + 1
        salt = sha256(f"{self.name}:{seq}".encode()).hexdigest()[:32]
        data = encode(type, body, session, TIME * 1_000_000 + seq, seq, self.name, 1, salt)
        if not self.salted:
            data = data.replace(f'"salt":"{salt}",'.encode(), b"")
        return self.store(data)

    def store(self, data: bytes) -> Stream:
        """Store bytes as the next event, whatever they are."""
        self._chain = step(self._chain, data)
        self.rows.append((self.name, len(self.rows) + 1, data, self._chain))
        return self

    @property
    def head(self) -> dict[str, Any]:
        """The head as other streams name it."""
        return {"stream": self.name, "size": len(self.rows), "head": self.rows[-1][3].hex()}

    def root(self, size: int) -> bytes:
        """The root of the tree over the first events."""
        return merkle.root([leaf(row[2]) for row in self.rows[:size]])

    def checkpoint(
        self,
        size: int = 0,
        *,
        by: SigningKey = LOG,
        run: str = RUN,
        witnesses: Sequence[SigningKey] = (),
        time: int = TIME,
    ) -> str:
        """A signed checkpoint; witnesses sign ten seconds later."""
        size = size or len(self.rows)
        note = parse(sign_checkpoint(by, run, self.name, size, self.root(size), time))
        seen = tuple(each.cosign(note.text, time + 10) for each in witnesses)
        return str(Note(note.text, note.signatures + seen))


def started(name: str = "main", *, salted: bool = True, previous: Sequence[Mapping[str, Any]] = ()) -> Stream:
    """A stream with its first event."""
    return Stream(name, salted=salted).add("run.started", {"run": RUN, "previous": list(previous)})


def worked(stream: Stream, actions: int = 3) -> Stream:
    """Some actions: the second one is denied."""
    for number in range(1, actions + 1):
        action = {"action": f"a{number}"}
        arguments = json.dumps({"amount": 10 * number, "to": "Zoë"}, ensure_ascii=False)
        stream.add("action.requested", {**action, "arguments": arguments, "name": "pay"}, "pay::one#1")
        stream.add("action.decided", {**action, "outcome": "deny" if number == 2 else "allow"}, "pay::one#1")
        if number != 2:
            stream.add("action.finished", {**action, "output": "{}", "status": "done"}, "pay::one#1")
    return stream


def finished(stream: Stream, streams: Sequence[Mapping[str, Any]] = ()) -> Stream:
    """A stream with its last event."""
    return stream.add("run.finished", {"status": "finished", "streams": list(streams)})


def simple(*, salted: bool = True) -> Stream:
    """A whole run of one stream: ten events."""
    return finished(worked(started(salted=salted)))


def family() -> tuple[Stream, Stream, Stream]:
    """A run of two workers: ``main`` names their heads."""
    workers = tuple(finished(worked(started(name), actions)) for name, actions in (("gw0", 2), ("gw1", 4)))
    return (finished(started(), [each.head for each in workers]), *workers)


def custody(number: int, ranges: Sequence[tuple[int, int]], of: Stream, heads: Sequence[Stream]) -> Stream:
    """A stream of custody that holds a tombstone."""
    stream = Stream(f"custody-{number}")
    stream.add("custody.opened", {"by": "archivist", "previous": [each.head for each in heads], "run": RUN})
    stream.add("events.withheld", {"purpose": "purge", "ranges": [list(each) for each in ranges], "stream": of.name})
    return stream.add("custody.closed", {"status": "done"})


def without(stream: Stream, *numbers: int) -> Rows:
    """The rows of a stream, some of them withheld."""
    return [(name, seq, withheld(data) if seq in numbers else data, chain) for name, seq, data, chain in stream.rows]


def rebuilt(stream: Stream, at: int, change: Callable[[bytes], bytes]) -> Stream:
    """The stream with one event changed and everything after it chained anew, as only its writer can, or a forger."""
    made = Stream(stream.name)
    for _, seq, data, _ in stream.rows:
        made.store(change(data) if seq == at else data)
    return made


def replaced(rows: Rows, at: int, **changes: Any) -> Rows:
    """Rows with one of them changed as it is stored."""
    name, seq, payload, chain = rows[at - 1]
    row = {"stream": name, "seq": seq, "payload": payload, "chain": chain, **changes}
    return [*rows[: at - 1], (row["stream"], row["seq"], row["payload"], row["chain"]), *rows[at:]]


LEDGERS: dict[str, dict[str, Any]] = {}
PROOFS: dict[str, dict[str, Any]] = {}


def ledger(
    name: str,
    description: str,
    rows: Rows,
    *,
    bad: tuple[str, int] | None = None,
    notes: Sequence[str] = (),
    keys: str = TRUST,
    covered: int = 0,
    time: int = TIME,
    witnesses: int = 0,
    events: bool = False,
) -> None:
    """A vector. It is inconsistent where ``bad`` says what is; else ``covered`` and ``witnesses`` say how it is."""
    verdict = "WITNESSED" if witnesses else "CONSISTENT_WITH_CHECKPOINT" if covered else "CONSISTENT"
    LEDGERS[name] = {
        "description": description,
        "rows": [
            {
                "stream": stream,
                "seq": seq,
                "payload": base64.b64encode(payload).decode(),
                "chain": base64.b64encode(chain).decode(),
            }
            for stream, seq, payload, chain in rows
        ],
        "checkpoints": list(notes),
        "keys": keys if notes else "",
        "events": events,
        "expected": {
            "verdict": "INCONSISTENT" if bad else verdict,
            "covered": covered,
            "time": time if covered else 0,
            "witnesses": witnesses,
            "first_bad": {"stream": bad[0], "seq": bad[1]} if bad else None,
        },
    }


def make_chains() -> None:
    """Ledgers without checkpoints."""
    whole = simple()
    rows = whole.rows
    ledger("whole", "A run of one stream.", rows)
    ledger("whole-events", "The same, with every event read.", rows, events=True)
    ledger("whole-unsalted", "Events of the first format, without salt.", simple(salted=False).rows, events=True)
    ledger("open", "A stream without an end: its process was killed.", rows[:6], events=True)
    ledger("empty", "No rows at all.", [], bad=("", 0))
    ledger("shuffled", "Rows in another order of storage.", [*rows[5:], *rows[:5]])
    for at in (1, 5, 10):
        payload, chain = rows[at - 1][2:]
        flipped = payload[:20] + bytes([payload[20] ^ 1]) + payload[21:]
        other = chain[:-1] + bytes([chain[-1] ^ 1])
        ledger(
            f"edited-{at}", f"One byte of event {at} differs.", replaced(rows, at, payload=flipped), bad=("main", at)
        )
        ledger(
            f"chain-{at}", f"One bit of chain value {at} differs.", replaced(rows, at, chain=other), bad=("main", at)
        )
    ledger(
        "edited-outcome",
        "A denial became an allowance.",
        replaced(rows, 6, payload=rows[5][2].replace(b'"deny"', b'"allow"')),
        bad=("main", 6),
    )
    ledger("deleted-first", "Event 1 is gone.", rows[1:], bad=("main", 1))
    ledger("deleted", "Event 5 is gone.", rows[:4] + rows[5:], bad=("main", 5))
    ledger("deleted-several", "Events 4 to 7 are gone.", rows[:3] + rows[7:], bad=("main", 4))
    ledger(
        "renumbered",
        "Event 5 is gone and the later ones have its place.",
        rows[:4] + [(name, seq - 1, data, chain) for name, seq, data, chain in rows[5:]],
        bad=("main", 5),
    )
    ledger("repeated", "Event 5 is there twice.", [*rows[:5], rows[4], *rows[5:]], bad=("main", 5))
    ledger("inserted", "A row before the first.", [("main", 0, rows[0][2], rows[0][3]), *rows], bad=("main", 0))
    swapped = [*rows[:4], ("main", 5, *rows[5][2:]), ("main", 6, *rows[4][2:]), *rows[6:]]
    ledger("swapped", "Events 5 and 6 have changed places.", swapped, bad=("main", 5))
    ledger("torn", "Event 5 is cut short.", replaced(rows, 5, payload=rows[4][2][:40]), bad=("main", 5))
    ledger(
        "zeroed",
        "Event 5 is overwritten with zeros.",
        replaced(rows, 5, payload=bytes(len(rows[4][2]))),
        bad=("main", 5),
    )
    ledger("cut", "The tail is cut off: nothing in the ledger shows it.", rows[:7])
    edited = rebuilt(whole, 6, lambda data: data.replace(b'"deny"', b'"allow"'))
    ledger("rebuilt", "An edit and the chain derived anew: nothing in the ledger shows it.", edited.rows, events=True)


def make_contents() -> None:
    """Ledgers whose hashes all fit, and that hold what no ledger holds."""
    whole = simple()
    changes: Mapping[str, tuple[str, Callable[[bytes], bytes]]] = {
        "space": ("White space outside strings.", lambda data: data.replace(b'"seq":5', b'"seq": 5')),
        "order": ("Keys that are not sorted.", lambda data: b'{"v":1,' + data[1:].replace(b',"v":1', b"")),
        "twice": ("A key twice.", lambda data: data.replace(b'{"body"', b'{"body":{},"body"', 1)),
        "escape": ("An escape that is not needed.", lambda data: data.replace(b'"pay::', b'"\\u0070ay::')),
        "fraction": ("A number with a fraction.", lambda data: data.replace(b',"v":1', b',"v":1.0')),
        "missing": ("A field is missing.", lambda data: data.replace(b',"v":1', b"")),
        "unknown": ("A field that no event has.", lambda data: data.replace(b',"v":1', b',"v":1,"w":1')),
        "place": ("The bytes say that they are event 6.", lambda data: data.replace(b'"seq":5', b'"seq":6')),
        "stream": ("The bytes say that they are of gw0.", lambda data: data.replace(b'"main"', b'"gw0"')),
        "text": ("No JSON.", lambda data: b"hello"),
        "array": ("JSON, and no object.", lambda data: b"[]"),
        "begins": ("The stream begins a second time.", lambda data: data.replace(b"action.requested", b"run.started")),
    }
    for name, (description, change) in changes.items():
        rows = rebuilt(whole, 5, change).rows
        ledger(f"content-{name}", description, rows, bad=("main", 5), events=True)
        ledger(f"content-{name}-unread", f"{description} Events are not read.", rows)
    for name, body in {
        "key": {"töten": 1},
        "integer": {"amount": 2**53},
    }.items():
        odd = simple()
        made = Stream("main")
        for _, seq, data, _ in odd.rows:
            text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
            made.store(data if seq != 5 else b'{"body":' + text.encode() + data[data.index(b',"salt"') :])
        ledger(f"content-{name}", "What no event's body holds.", made.rows, bad=("main", 5), events=True)
    short = rebuilt(whole, 5, lambda data: data.replace(b'"salt":"', b'"salt":"g'))
    ledger("content-salt", "A salt of 33 letters.", short.rows, bad=("main", 5), events=True)
    unnamed = rebuilt(whole, 1, lambda data: data.replace(b'"run":"', b'"ran":"'))
    ledger("content-no-run", "The first event names no run.", unnamed.rows, bad=("main", 1))
    early = rebuilt(whole, 5, lambda data: data.replace(b"action.requested", b"run.finished"))
    ledger("content-after", "An event after the end.", early.rows, bad=("main", 6), events=True)
    other = rebuilt(whole, 1, lambda data: data.replace(b"run.started", b"run.suite"))
    ledger("content-first", "The first event is another one, which is always looked at.", other.rows, bad=("main", 1))
    loose = rebuilt(whole, 10, lambda data: data.replace(b'"streams":[]', b'"streams":["gw0"]'))
    ledger("content-heads", "Heads that are not written as heads, in the last event.", loose.rows, bad=("main", 10))


def make_runs() -> None:
    """Runs of several streams, and withheld events."""
    main, gw0, gw1 = family()
    rows = main.rows + gw0.rows + gw1.rows
    ledger("workers", "A run with two workers.", rows, events=True)
    ledger("worker-missing", "The stream of a worker is gone.", main.rows + gw0.rows, bad=("main", 2))
    cut = main.rows + gw0.rows + gw1.rows[:-2]
    ledger("worker-cut", "The stream of a worker lost its tail.", cut, bad=("gw1", len(gw1.rows) - 1))
    forged = rebuilt(gw1, 3, lambda data: data.replace(b'"allow"', b'"deny"'))
    ledger(
        "worker-rebuilt",
        "The stream of a worker was derived anew.",
        main.rows + gw0.rows + forged.rows,
        bad=("gw1", len(gw1.rows)),
    )
    strange = Stream("gw7").add("run.started", {"previous": [], "run": "20260101-120000-cd34"})
    ledger("several-runs", "A stream of another run.", simple().rows + strange.rows, bad=("", 0))
    odd = started("main-r1", previous=[{"head": "ab", "size": "3", "stream": "main"}])
    ledger("heads-odd", "The size of a head is a string.", simple().rows + odd.rows, bad=("main-r1", 1))
    nothing = started("main-r1", previous=[{"head": "ab", "size": 0, "stream": "gone"}])
    ledger("heads-nothing", "A head of size 0 says nothing.", simple().rows + nothing.rows)
    resumed = finished(worked(started("main-r1", previous=[started().head])))
    ledger("resumed", "A resumed run names what was there.", started().rows + resumed.rows, events=True)
    whole = simple()
    buried = custody(1, [(2, 3), (5, 5)], whole, [whole])
    ledger(
        "withheld",
        "Three events are withheld, as a tombstone says.",
        without(whole, 2, 3, 5) + buried.rows,
        events=True,
    )
    ledger(
        "withheld-unburied",
        "A fourth is withheld, and no tombstone names it.",
        without(whole, 2, 3, 5, 8) + buried.rows,
        bad=("main", 8),
    )
    ledger("withheld-alone", "The stream of custody is gone.", without(whole, 2, 3, 5), bad=("main", 2))
    ledger(
        "withheld-first",
        "The first event is withheld.",
        without(whole, 1) + custody(1, [(1, 1)], whole, [whole]).rows,
        bad=("main", 1),
    )
    ledger("withheld-not-yet", "A tombstone names events that still have their payload.", whole.rows + buried.rows)
    wrong = replaced(whole.rows, 5, payload=b"\x00" + sha256(b"another").digest())
    ledger("withheld-wrong", "What stands in place of event 5 is not its leaf.", wrong + buried.rows, bad=("main", 5))


def make_checkpoints() -> None:
    """Ledgers held against signed checkpoints."""
    whole = simple()
    rows, note = whole.rows, whole.checkpoint()
    first, second = WITNESSES
    ledger("checkpoint", "A checkpoint over the whole stream.", rows, notes=[note], covered=10)
    ledger("checkpoint-earlier", "One over the first seven events.", rows, notes=[whole.checkpoint(7)], covered=7)
    ledger(
        "checkpoint-several",
        "Several that agree.",
        rows,
        notes=[whole.checkpoint(3), note, whole.checkpoint(7)],
        covered=10,
    )
    ledger("checkpoint-cut", "The tail was cut off after the checkpoint.", rows[:7], notes=[note], bad=("main", 8))
    edited = rebuilt(whole, 6, lambda data: data.replace(b'"deny"', b'"allow"'))
    ledger(
        "checkpoint-rebuilt",
        "An edit of event 6, and the chain derived anew.",
        edited.rows,
        notes=[note],
        bad=("main", 1),
    )
    ledger(
        "checkpoint-rebuilt-between",
        "The same; a checkpoint over five events still holds.",
        edited.rows,
        notes=[note, whole.checkpoint(5)],
        bad=("main", 6),
    )
    ledger(
        "checkpoint-fork",
        "One key signed both branches.",
        edited.rows,
        notes=[note, edited.checkpoint()],
        bad=("main", 1),
    )
    ledger(
        "checkpoint-other-run",
        "A checkpoint of another run.",
        rows,
        notes=[whole.checkpoint(run="20260101-120000-cd34")],
        bad=("", 0),
    )
    ledger(
        "checkpoint-other-stream",
        "A checkpoint of a stream that is not there.",
        rows,
        notes=[finished(started("gw7")).checkpoint()],
        bad=("gw7", 1),
    )
    ledger(
        "checkpoint-stranger",
        "Signed by a key of that name that is not trusted.",
        rows,
        notes=[whole.checkpoint(by=STRANGER)],
        bad=("", 0),
    )
    foreign = TRUST + f"log {OTHER.public(ED25519)}\n"
    borrowed = parse(note)
    ledger(
        "checkpoint-origin",
        "A trusted key signed a checkpoint of an origin that is not its own.",
        rows,
        notes=[str(Note(borrowed.text, (OTHER.sign(borrowed.text),)))],
        keys=foreign,
        bad=("", 0),
    )
    ledger(
        "checkpoint-text",
        "The text was changed after it was signed.",
        rows,
        notes=[note.replace("\n10\n", "\n9\n")],
        bad=("", 0),
    )
    ledger(
        "checkpoint-untimed",
        "A checkpoint without a stated time.",
        rows,
        notes=[str(Note(borrowed.text, borrowed.signatures[:1]))],
        covered=10,
        time=0,
    )
    ledger(
        "checkpoint-timed-only",
        "Only the timestamped signature: it does not make a checkpoint.",
        rows,
        notes=[str(Note(borrowed.text, borrowed.signatures[1:]))],
        bad=("", 0),
    )
    for name, damaged in {
        "size": note.replace("\n10\n", "\n010\n"),
        "root": note.replace("=\n\n", "\n\n"),
        "lines": note.replace("\n\n", "\nan extension line\n\n"),
        "end": note.rstrip("\n"),
        "unsigned": borrowed.text + "\n",
    }.items():
        ledger(f"checkpoint-no-note-{name}", "Not a note of this format.", rows, notes=[damaged], bad=("", 0))
    ledger("witnessed", "One witness.", rows, notes=[whole.checkpoint(witnesses=[first])], covered=10, witnesses=1)
    ledger(
        "witnessed-two", "Two witnesses.", rows, notes=[whole.checkpoint(witnesses=WITNESSES)], covered=10, witnesses=2
    )
    ledger(
        "witnessed-twice",
        "One witness, twice.",
        rows,
        notes=[whole.checkpoint(witnesses=[first, first])],
        covered=10,
        witnesses=1,
    )
    ledger(
        "witnessed-unknown",
        "A witness that is not trusted.",
        rows,
        notes=[whole.checkpoint(witnesses=[STRANGER])],
        covered=10,
    )
    broken = parse(whole.checkpoint(witnesses=[second]))
    forged = broken.signatures[-1]._replace(value=broken.signatures[-1].value[:-1] + b"\x00")
    ledger(
        "witnessed-forged",
        "The cosignature of a trusted witness does not hold.",
        rows,
        notes=[str(Note(broken.text, (*broken.signatures[:-1], forged)))],
        bad=("", 0),
    )
    himself = TRUST + f"witness {LOG.public(COSIGNATURE)}\n"
    ledger(
        "witnessed-by-itself", "The signing key is listed as a witness.", rows, notes=[note], keys=himself, covered=10
    )
    both = TRUST + f"log {NEXT.public(ED25519)}\n"
    ledger(
        "rotated",
        "An old checkpoint by the old key and a new one by the new key.",
        rows,
        notes=[whole.checkpoint(7), whole.checkpoint(by=NEXT, time=TIME + 60)],
        keys=both,
        covered=10,
        time=TIME + 60,
    )
    gone = both + f"revoked {LOG.public(ED25519).label} 2026-01-01T12:00:20Z the key was found in a build log\n"
    ledger(
        "revoked", "Signed by a key that is revoked, unseen by witnesses.", rows, notes=[note], keys=gone, bad=("", 0)
    )
    ledger(
        "revoked-before",
        "A witness saw it before the key was revoked.",
        rows,
        notes=[whole.checkpoint(witnesses=[first])],
        keys=gone,
        covered=10,
        witnesses=1,
    )
    ledger(
        "revoked-after",
        "A witness saw it after the key was revoked.",
        rows,
        notes=[whole.checkpoint(witnesses=[first], time=TIME + 60)],
        keys=gone,
        bad=("", 0),
    )
    late = TRUST + f"revoked {first.public(COSIGNATURE).label} 2026-01-01T12:00:05Z\n"
    ledger(
        "witness-revoked",
        "The witness was revoked before he saw it.",
        rows,
        notes=[whole.checkpoint(witnesses=[first])],
        keys=late,
        covered=10,
    )
    twice = parse(note)
    ledger(
        "checkpoint-two-times",
        "The signer states two times; the earlier one counts.",
        rows,
        notes=[str(Note(twice.text, (LOG.cosign(twice.text, TIME + 60), *twice.signatures)))],
        covered=10,
    )
    empty = sign_checkpoint(LOG, RUN, "gone", 0, merkle.root([]), TIME)
    ledger("checkpoint-nothing", "A checkpoint of no events, of a stream that is not there.", rows, notes=[empty])
    wrong = sign_checkpoint(LOG, RUN, "main", 0, bytes(32), TIME)
    ledger(
        "checkpoint-nothing-wrong", "No events, and a root that is not theirs.", rows, notes=[wrong], bad=("main", 1)
    )
    text = parse(note).text
    several = (LOG.sign(text), LOG.cosign(text, TIME), NEXT.sign(text), NEXT.cosign(text, TIME - 5))
    ledger(
        "signed-twice",
        "Two trusted keys signed; the earlier time counts.",
        rows,
        notes=[str(Note(text, several))],
        keys=both,
        covered=10,
        time=TIME - 5,
    )
    ledger(
        "signed-twice-untimed",
        "Two trusted keys signed, one without a time.",
        rows,
        notes=[str(Note(text, several[:3]))],
        keys=both,
        covered=10,
        time=0,
    )
    ledger(
        "signed-twice-revoked",
        "Two keys signed, one of which is revoked.",
        rows,
        notes=[str(Note(text, several))],
        keys=gone,
        covered=10,
        time=TIME - 5,
    )
    smuggled = TRUST + f"# a comment\u2028log {OTHER.public(ED25519)}\n# another\x0blog {STRANGER.public(ED25519)}\n"
    ledger(
        "checkpoint-smuggled",
        "A line of the trust file ends with a line feed and nothing else: the keys stand in comments.",
        rows,
        notes=[whole.checkpoint(by=STRANGER)],
        keys=smuggled,
        bad=("", 0),
    )
    foul = several[3]._replace(value=several[3].value[:-1] + b"\x00")
    ledger(
        "signed-twice-foul",
        "The timestamped line of another trusted key does not hold.",
        rows,
        notes=[str(Note(text, (*several[:2], foul)))],
        keys=both,
        bad=("", 0),
    )
    ledger(
        "signed-by-a-witness",
        "A second log key signed that is also listed as a witness.",
        rows,
        notes=[str(Note(text, several))],
        keys=both + f"witness {NEXT.public(COSIGNATURE)}\n",
        covered=10,
        time=TIME - 5,
    )
    main, gw0, gw1 = family()
    run = main.rows + gw0.rows + gw1.rows
    ledger(
        "covered-through-main",
        "The checkpoint of main covers the workers.",
        run,
        notes=[main.checkpoint()],
        covered=len(run),
    )
    ledger("covered-partly", "A checkpoint of one worker only.", run, notes=[gw0.checkpoint()], covered=len(gw0.rows))
    ledger(
        "covered-twice",
        "Workers have checkpoints too; the witnesses of main are what counts.",
        run,
        notes=[gw0.checkpoint(), gw1.checkpoint(4), main.checkpoint(witnesses=[first])],
        covered=len(run),
        witnesses=1,
    )
    buried = custody(1, [(2, 3), (5, 5)], whole, [whole])
    ledger(
        "covered-withheld",
        "A checkpoint from before the purge still holds.",
        without(whole, 2, 3, 5) + buried.rows,
        notes=[note],
        covered=10,
    )
    ledger(
        "covered-custody",
        "The checkpoint of a stream of custody covers what it names.",
        without(whole, 2, 3, 5) + buried.rows,
        notes=[buried.checkpoint()],
        covered=13,
    )


def make_proofs() -> None:
    """One event, by its proof."""
    whole = simple()
    leaves = [leaf(row[2]) for row in whole.rows]

    def proof(
        name: str,
        *,
        index: int = 4,
        size: int = 10,
        event: bytes = b"",
        note: str = "",
        good: bool = True,
        change: Callable[[str], str] = str,
        keys: str = TRUST,
    ) -> None:
        hashes = merkle.inclusion_proof(leaves, index, size)
        lines = ["c2sp.org/tlog-proof@v1", f"index {index}", *(base64.b64encode(each).decode() for each in hashes)]
        PROOFS[name] = {
            "event": base64.b64encode(event or whole.rows[index][2]).decode(),
            "proof": change("\n".join(lines) + "\n\n" + (note or whole.checkpoint(size))),
            "keys": keys,
            "expected": good,
        }

    for index in range(10):
        proof(f"included-{index + 1}", index=index)
    for size in range(1, 10):
        proof(f"included-1-of-{size}", index=0, size=size)
    proof("extra", change=lambda text: text.replace("\nindex", "\nextra aGVsbG8=\nindex"))
    proof("extra-odd", change=lambda text: text.replace("\nindex", "\nextra ???\nindex"), good=False)
    proof("other-event", event=whole.rows[5][2], good=False)
    proof("changed-event", event=whole.rows[4][2].replace(b"pay", b"bay"), good=False)
    proof("other-index", change=lambda text: text.replace("index 4", "index 5"), good=False)
    proof("index-past-the-end", change=lambda text: text.replace("index 4", "index 10"), good=False)
    proof("other-checkpoint", note=whole.checkpoint(9), good=False)
    proof("no-hashes", change=lambda text: "\n".join(text.split("\n")[:2]) + text[text.index("\n\n") :], good=False)
    proof(
        "one-hash-more",
        change=lambda text: text.replace("\n\n", f"\n{base64.b64encode(bytes(32)).decode()}\n\n", 1),
        good=False,
    )
    proof("stranger", note=whole.checkpoint(by=STRANGER), good=False)
    proof("withheld-event", event=withheld(whole.rows[4][2]), good=False)
    proof("no-proof", change=lambda text: text.replace("tlog-proof@v1", "tlog-proof@v9"), good=False)


def trees() -> dict[str, Any]:
    """Roots and proofs of small trees."""
    inputs = [
        bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "60" * 16)
    ]
    leaves = [leaf(b"{" + data) for data in inputs]
    sizes = range(len(leaves) + 1)
    return {
        "leaves": [(b"{" + data).hex() for data in inputs],
        "roots": {str(size): merkle.root(leaves[:size]).hex() for size in sizes},
        "inclusion": [
            {
                "index": index,
                "size": size,
                "proof": [each.hex() for each in merkle.inclusion_proof(leaves, index, size)],
            }
            for size in sizes
            for index in range(size)
        ],
        "consistency": [
            {"first": old, "second": new, "proof": [each.hex() for each in merkle.consistency_proof(leaves, old, new)]}
            for new in sizes
            for old in range(1, new + 1)
        ],
    }


def main() -> None:
    """Write everything anew."""
    for make in (make_chains, make_contents, make_runs, make_checkpoints, make_proofs):
        make()
    for folder, vectors in (("ledgers", LEDGERS), ("proofs", PROOFS)):
        shutil.rmtree(HERE / folder, ignore_errors=True)
        (HERE / folder).mkdir()
        for name, vector in vectors.items():
            (HERE / folder / f"{name}.json").write_text(
                json.dumps(vector, indent=1, ensure_ascii=False) + "\n", "utf-8"
            )
    (HERE / "trees.json").write_text(json.dumps(trees(), indent=1) + "\n", "utf-8")
    print(f"{len(LEDGERS)} ledgers, {len(PROOFS)} proofs")


if __name__ == "__main__":
    main()
