"""A second, minimal verifier of agentcheck's ledger: one file, the standard library only.

It was written from the documentation alone (docs/ledger.md, docs/vectors/README.md, RFC 9162 section 2.1, RFC 8032, and
C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof), without sight of the code that it is held against.

    python verifier.py VECTOR.json ...                                           run test vectors
    python verifier.py RUN_FOLDER [--checkpoint FILE ...] [--keys FILE] [--events]   verify a run's ledger
"""

import argparse
import base64
import hashlib
import json
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

Keys = dict[str, bytes]  # "<name>+<key id>" -> public key
Trust = tuple[Keys, Keys, Keys, dict[str, float]]  # log keys, the same as type 4, witness keys, times of revocation
Note = tuple[bytes, str, int, bytes, list[tuple[str, bytes]]]  # text, origin, size, root; "<name>+<key id>", signature
Head = tuple[str, int, str, int, str]  # naming stream and number; stream, size and chain value that are named
Grave = tuple[str, int, int]  # stream, first and last number that a tombstone names
Point = tuple[int, int, int, int]  # extended homogeneous coordinates of edwards25519

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D, ROOT_OF_MINUS_ONE = -121665 * pow(121666, -1, P) % P, pow(2, (P - 1) // 4, P)
NOTE = r"(([^\x00-\x1f]+)\n(0|[1-9][0-9]*)\n([^\n]+)\n)\n((?:— [^\x00-\x1f\s+]+ [^\s]+\n){1,32})"
FIELDS = {"body": dict, "salt": str, "seq": int, "session": str, "stream": str, "time": int, "type": str, "v": int}


class Bad(Exception):
    """The ledger is inconsistent; with stream and number of the first bad event, or with nothing."""


class Checkpoint(NamedTuple):
    """What a checkpoint says that counts."""

    run: str
    stream: str
    size: int
    root: bytes
    time: int
    witnesses: int


def sha256(*parts: bytes) -> bytes:
    """SHA-256 of the concatenation."""
    return hashlib.sha256(b"".join(parts)).digest()


def unbase64(text: str) -> bytes:
    """Canonical base64; ValueError for anything else."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("base64 that is not canonical")
    return data


# RFC 8032: Ed25519


def add(a: Point, b: Point) -> Point:
    """The sum of two points (RFC 8032, section 5.1.4)."""
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = f - e, h - g, h + g, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(n: int, point: Point) -> Point:
    """The point added n times to itself."""
    result: Point = (0, 1, 1, 0)
    while n:
        result, point, n = (add(result, point) if n & 1 else result), add(point, point), n >> 1
    return result


def decode_point(data: bytes) -> Point:
    """The point that 32 bytes encode (section 5.1.3), or ValueError."""
    y, sign = int.from_bytes(data, "little") & (2**255 - 1), data[31] >> 7
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if y >= P or (x * x - square) % P or (sign and not x):
        raise ValueError("no point of the curve")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = decode_point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the Ed25519 signature is that of the public key over the message (section 5.1.7)."""
    s = int.from_bytes(signature[32:], "little")
    if len(public) != 32 or len(signature) != 64 or s >= L:
        return False
    try:
        key, r = decode_point(public), decode_point(signature[:32])
    except ValueError:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    left, right = multiply(s, BASE), add(r, multiply(k, key))
    return not any((left[i] * right[2] - right[i] * left[2]) % P for i in (0, 1))


# RFC 9162, section 2.1: the tree


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The Merkle tree hash over leaf hashes (section 2.1.1)."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256()
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01", tree_root(leaves[:k]), tree_root(leaves[k:]))


def climb(fn: int, sn: int, start: bytes, path: Sequence[bytes]) -> tuple[bytes, bytes, int]:
    """The loop that inclusion and consistency proofs share: fr, sr and sn of section 2.1.4.2 at its end."""
    fr = sr = start
    for c in path:
        if sn == 0:
            return b"", b"", 1
        if fn & 1 or fn == sn:
            fr, sr = sha256(b"\x01", c, fr), sha256(b"\x01", c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = sha256(b"\x01", sr, c)
        fn, sn = fn >> 1, sn >> 1
    return fr, sr, sn


def included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof leads from the leaf to the root (section 2.1.3.2)."""
    return 0 <= index < size and climb(index, size - 1, leaf, proof)[1:] == (root, 0)


def consistent(first: int, second: int, proof: Sequence[bytes], old: bytes, new: bytes) -> bool:
    """Whether the proof shows that the second tree begins with the first (section 2.1.4.2)."""
    if not 0 < first < second or not proof:
        return 0 < first == second and not proof and old == new
    path = list(proof) if first & (first - 1) else [old, *proof]
    shift = (first & -first).bit_length() - 1  # as long as the lowest bit of first - 1 is set
    return climb(first - 1 >> shift, second - 1 >> shift, path[0], path[1:]) == (old, new, 0)


# Trust and notes


def key_of(name: str, kind: int, public: bytes) -> str:
    """Name and key id: the first four bytes of the hash of name, type and public key."""
    return f"{name}+{sha256(name.encode(), bytes([10, kind]), public)[:4].hex()}"


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time, or ValueError."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", text.upper(), re.ASCII)
    if not match:
        raise ValueError("no RFC 3339 time")
    return datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).timestamp() + float(match[2] or 0)


def read_trust(text: str) -> Trust:
    """The keys of a trust file, and when which were revoked; ValueError where the file is unusable."""
    trust: Trust = {}, {}, {}, {}
    logs, clocks, witnesses, revoked = trust
    for line in text.split("\n"):
        role, *words = line.partition("#")[0].split() or [""]
        if role in ("log", "witness") and len(words) == 1:
            name, digits, encoded = words[0].split("+", 2)
            kind, data = 1 if role == "log" else 4, unbase64(encoded)
            key = key_of(name, kind, data[1:])
            if not name or len(data) != 33 or data[0] != kind or f"{name}+{digits}" != key:
                raise ValueError("no verifier key of this role")
            (logs if role == "log" else witnesses)[key] = data[1:]
            clocks.update({key_of(name, 4, data[1:]): data[1:]} if role == "log" else {})
        elif role == "revoked" and len(words) >= 2:
            revoked[words[0]] = min(parse_time(words[1]), revoked.get(words[0], float("inf")))
        elif role:
            raise ValueError("no entry of a trust file")
    if not logs or not revoked.keys() <= logs.keys() | witnesses.keys():
        raise ValueError("no log key, or a revoked key that no line names")
    return trust


def read_note(note: str) -> Note:
    """The note, or ValueError where it is no checkpoint."""
    match = re.fullmatch(NOTE, note)
    if not match or len(note.encode()) > 65536:
        raise ValueError("no text of a checkpoint, no signature lines, or too many of them")
    root, signatures = unbase64(match[4]), re.findall(r"— (\S+) (\S+)\n", match[5])
    blobs = [(name, unbase64(signature)) for name, signature in signatures]
    if len(root) != 32 or any(len(blob) < 5 for _, blob in blobs):
        raise ValueError("a root or a signature of a wrong length")
    return match[1].encode(), match[2], int(match[3]), root, [(f"{n}+{b[:4].hex()}", b[4:]) for n, b in blobs]


def judge(note: Note, trust: Trust) -> Checkpoint:
    """What a checkpoint says if it counts, or ValueError."""
    text, origin, size, root, lines = note
    logs, clocks, witnesses, revoked = trust
    name, run, stream = origin.rsplit("/", 2)
    signers: dict[bytes, str] = {}  # of type 1, by public key
    times: dict[bytes, int] = {}  # the earliest that each log key states
    seen: dict[bytes, int] = {}  # the earliest that each witness states
    for key, signature in lines:
        public = logs.get(key) or clocks.get(key) or witnesses.get(key)
        if not public:
            continue
        time = 0 if key in logs else int.from_bytes(signature[:8], "big")
        message = text if key in logs else b"cosignature/v1\ntime %d\n" % time + text
        if time >= 2**63 or not signed(public, message, signature if key in logs else signature[8:]):
            raise ValueError("a line of a trusted key fails")
        if key in logs and key.split("+")[0] == name:
            signers[public] = key
        if key in clocks:
            times[public] = min(time, times.get(public, time))
        if key in witnesses and time < revoked.get(key, float("inf")):
            seen[public] = min(time, seen.get(public, time))
    seen = {public: time for public, time in seen.items() if public not in signers}
    first = min(seen.values(), default=float("inf"))
    good = [public for public, key in signers.items() if key not in revoked or first < revoked[key]]
    if not good:
        raise ValueError("no trusted key signed this")
    return Checkpoint(run, stream, size, root, min(times.get(public, 0) for public in good), len(seen))


# Events and streams


def plain(value: Any) -> bool:
    """Whether a value has only ASCII keys, and integers within the range that is allowed."""
    if isinstance(value, dict):
        return all(key.isascii() and plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(plain(item) for item in value)
    return value is None or isinstance(value, str | bool) or (isinstance(value, int) and abs(value) < 2**53)


def read_event(payload: bytes) -> dict[str, Any] | None:
    """The event whose canonical bytes these are; None where there is no such event."""
    try:
        event = json.loads(payload.decode())
        text = json.dumps(event, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        if text.encode() != payload or not plain(event) or not isinstance(event, dict):
            return None
    except (ValueError, RecursionError):
        return None
    if event.keys() | {"salt"} != FIELDS.keys() or any(type(event[key]) is not FIELDS[key] for key in event):
        return None
    salt = event.get("salt", "0" * 32)
    return event if event["v"] >= 1 and re.fullmatch("[0-9A-Fa-f]{32}", salt) else None


def is_withheld(payload: bytes) -> bool:
    """Whether this is what is stored in place of a payload that was taken away."""
    return len(payload) == 33 and payload[0] == 0


def check_chain(stream: str, rows: Sequence[Any]) -> tuple[list[bytes], list[bytes]]:
    """Leaves and chain values (from chain 0 on) of the rows of a stream, in the order of their numbers."""
    leaves: list[bytes] = []
    chains = [sha256(b"agentcheck/ledger/v1\n", stream.encode("utf-8", "surrogatepass"))]
    for n, (seq, payload, chain) in enumerate(rows, 1):
        if type(seq) is not int or seq != n:
            raise Bad(stream, min(seq, n) if type(seq) is int else n)
        if not isinstance(payload, bytes) or not isinstance(chain, bytes):
            raise Bad(stream, n)
        leaves.append(payload[1:] if is_withheld(payload) else sha256(b"\x00", payload))
        chains.append(sha256(b"\x02", chains[-1], leaves[-1]))
        if chain != chains[-1]:
            raise Bad(stream, n)
    return leaves, chains


def check_events(stream: str, rows: Sequence[Any], events: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    """The events of a stream that are read, with their numbers."""
    custody, ended = stream.startswith("custody-"), False
    start, end = ("custody.opened", "custody.closed") if custody else ("run.started", "run.finished")
    for n, payload, _ in rows:
        if ended or "/" in stream or (is_withheld(payload) and n == 1):
            raise Bad(stream, n)
        if is_withheld(payload) or not (events or custody or n in (1, len(rows))):
            continue
        event = read_event(payload)
        if not event or (event["stream"], event["seq"]) != (stream, n):
            raise Bad(stream, n)
        kind, run = event["type"], event["body"].get("run")
        if kind != start if n == 1 else kind in ("run.started", "custody.opened"):
            raise Bad(stream, n)
        if n == 1 and (not isinstance(run, str) or "/" in run):
            raise Bad(stream, n)
        ended = kind == end
        yield n, event


def named_heads(stream: str, n: int, event: dict[str, Any]) -> Iterator[Head]:
    """The heads that an event names."""
    field = {"run.started": "previous", "custody.opened": "previous", "run.finished": "streams"}.get(event["type"])
    named = event["body"].get(field)
    if not isinstance(named, list | None):
        raise Bad(stream, n)
    for head in named or []:
        match head:
            case {"stream": str(target), "size": int(size), "head": str(value)} if type(size) is int and size >= 0:
                yield stream, n, target, size, value
            case _:
                raise Bad(stream, n)


def named_graves(stream: str, n: int, event: dict[str, Any]) -> Iterator[Grave]:
    """The ranges that an event of a stream of custody names if it is a tombstone."""
    if event["type"] != "events.withheld" or not stream.startswith("custody-"):
        return
    name, pairs = event["body"].get("stream"), event["body"].get("ranges")
    if not isinstance(pairs, list | None):
        raise Bad(stream, n)
    for pair in pairs or []:
        if not isinstance(name, str) or not isinstance(pair, list) or [type(end) for end in pair] != [int, int]:
            raise Bad(stream, n)
        yield name, pair[0], pair[1]


# The answer


def answer(verdict: str, covered: int = 0, time: int = 0, witnesses: int = 0, bad: Bad | None = None) -> dict[str, Any]:
    """The answer, with the keys of `expected`."""
    first = dict(zip(("stream", "seq"), bad.args or ("", 0), strict=True)) if bad else None
    return {"verdict": verdict, "covered": covered, "time": time, "witnesses": witnesses, "first_bad": first}


def check_notes(notes: Sequence[str], trust: Trust, run: str, leaves: dict[str, list[bytes]]) -> list[Checkpoint]:
    """The checkpoints, all of which hold."""
    points = []
    try:
        parsed = [read_note(note) for note in notes]
        for note in parsed:
            points.append(point := judge(note, trust))
            if point.run != run:
                raise Bad
            if point.size > (length := len(leaves.get(point.stream, []))):
                raise Bad(point.stream, length + 1)
    except ValueError:
        raise Bad from None
    held = [point for point in points if tree_root(leaves.get(point.stream, [])[: point.size]) == point.root]
    for stream in [point.stream for point in points if point not in held][:1]:
        least = min(point.size for point in points if point not in held and point.stream == stream)
        smaller = [point.size for point in held if point.stream == stream and point.size < least]
        raise Bad(stream, max(smaller, default=0) + 1)
    return points


def coverage(sizes: dict[str, int], heads: Sequence[Head]) -> dict[str, int]:
    """How many events of each stream are covered, where checkpoints hold for so many."""
    covered = dict(sizes)
    for _ in heads:  # as many rounds as heads that may follow from each other
        for stream, n, target, size, _ in heads:
            if n <= covered.get(stream, 0):
                covered[target] = max(size, covered.get(target, 0))
    return covered


def weigh(points: Sequence[Checkpoint], heads: Sequence[Head]) -> dict[str, Any]:
    """The verdict that checkpoints give which all hold."""
    streams = {point.stream: [other for other in points if other.stream == point.stream] for point in points}
    taken = {name: max(some, key=lambda point: (point.size, point.witnesses)) for name, some in streams.items()}
    sizes = {name: point.size for name, point in taken.items()}
    needed = [point for name, point in taken.items() if coverage(sizes | {name: 0}, heads)[name] < point.size]
    if not needed:
        return answer("CONSISTENT")
    witnesses, time = min(point.witnesses for point in needed), min(point.time for point in needed)
    verdict = "WITNESSED" if witnesses else "CONSISTENT_WITH_CHECKPOINT"
    return answer(verdict, sum(coverage(sizes, heads).values()), time, witnesses)


def check_rows(rows: Sequence[Any], events: bool) -> tuple[str, dict[str, list[bytes]], list[Head]]:
    """The run, the leaves of its streams, and the heads that they name."""
    streams: dict[str, list[Any]] = {}
    for stream, *row in rows:
        streams.setdefault(stream, []).append(row)
    leaves, chains, runs = {}, {}, set()
    heads: list[Head] = []
    graves: list[Grave] = []
    for name in sorted(streams):
        streams[name].sort(key=lambda row: (0, row[0]) if isinstance(row[0], int | float) else (1, 0))
        leaves[name], chains[name] = check_chain(name, streams[name])
        for n, event in check_events(name, streams[name], events):
            heads += named_heads(name, n, event)
            graves += named_graves(name, n, event)
            runs |= {event["body"]["run"]} if n == 1 else set()
    for stream, n, target, size, value in heads:
        if size and target not in chains:
            raise Bad(stream, n)
        if size and size >= len(chains[target]):
            raise Bad(target, len(chains[target]))
        if size and chains[target][size].hex() != value:
            raise Bad(target, size)
    if len(runs) != 1:  # none where there are no rows
        raise Bad
    for name in sorted(streams):
        for n, payload, _ in streams[name]:
            if is_withheld(payload) and not any(stream == name and a <= n <= b for stream, a, b in graves):
                raise Bad(name, n)
    return runs.pop(), leaves, heads


def check_ledger(rows: Sequence[Any], checkpoints: Sequence[str], keys: str, events: bool) -> dict[str, Any]:
    """The answer about all rows of a run, held against checkpoints; ValueError where the keys are unusable."""
    trust: Trust = read_trust(keys) if keys or checkpoints else ({}, {}, {}, {})
    try:
        run, leaves, heads = check_rows(rows, events)
        return weigh(check_notes(checkpoints, trust, run, leaves), heads)
    except Bad as bad:
        return answer("INCONSISTENT", bad=bad)


def check_proof(event: bytes, proof: str, keys: str) -> bool:
    """Whether a tlog-proof shows that the event is in a tree whose checkpoint counts."""
    head, _, note = proof.partition("\n\n")
    match = re.fullmatch(r"c2sp\.org/tlog-proof@v1\n(?:extra (.*)\n)?index (0|[1-9][0-9]*)((?:\n.+)*)", head)
    try:
        if not match:
            return False
        unbase64(match[1] or "")
        path, index = [unbase64(line) for line in match[3].split("\n")[1:]], int(match[2])
        point, said = judge(read_note(note), read_trust(keys)), read_event(event)
    except ValueError:
        return False
    if not said or (said["stream"], said["seq"] - 1) != (point.stream, index) or any(len(item) != 32 for item in path):
        return False
    return included(sha256(b"\x00", event), index, point.size, path, point.root)


def check_trees(document: dict[str, Any]) -> bool:
    """Whether roots and proofs of a file of trees are those of its leaves."""
    try:
        leaves = [sha256(b"\x00", bytes.fromhex(leaf)) for leaf in document["leaves"]]
        roots = [tree_root(leaves[:size]) for size in range(len(leaves) + 1)]
        good = all(roots[int(size)].hex() == value for size, value in document["roots"].items())
        for item in document["inclusion"]:
            path, index, size = [bytes.fromhex(p) for p in item["proof"]], item["index"], item["size"]
            good = good and 0 <= index < size and included(leaves[index], index, size, path, roots[size])
        for item in document["consistency"]:
            path, first, second = [bytes.fromhex(p) for p in item["proof"]], item["first"], item["second"]
            good = good and consistent(first, second, path, roots[first], roots[second])
        return good
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return False


# Files


def read_sqlite(folder: str | Path) -> list[Any]:
    """The rows of all ledgers in a run's folder, read from a temporary copy; Bad for a file that is none."""
    rows: list[Any] = []
    with tempfile.TemporaryDirectory() as copy:
        files = sorted([*Path(folder).glob("ledger.db"), *Path(folder).glob("ledger-*.db")])
        if not files:
            raise FileNotFoundError("no ledger in this folder")
        for file in files:
            for part in (file, file.with_name(file.name + "-wal")):
                if part.exists():
                    shutil.copyfile(part, Path(copy, part.name))
            db = sqlite3.connect(Path(copy, file.name))
            db.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            try:
                marks = [db.execute(f"PRAGMA {mark}").fetchone()[0] for mark in ("application_id", "user_version")]
                if marks != [0x61636C31, 1] or db.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                    raise Bad
                rows += db.execute("SELECT stream, seq, payload, chain FROM events NOT INDEXED ORDER BY rowid")
            except sqlite3.Error:
                raise Bad from None
            finally:
                db.close()
    return rows


def run_vector(vector: dict[str, Any]) -> tuple[Any, Any]:
    """What a vector expects, and what comes out."""
    if "leaves" in vector:
        return True, check_trees(vector)
    if "proof" in vector:
        return vector["expected"], check_proof(unbase64(vector["event"]), vector["proof"], vector["keys"])
    rows = [[row["stream"], row["seq"], unbase64(row["payload"]), unbase64(row["chain"])] for row in vector["rows"]]
    return vector["expected"], check_ledger(rows, vector["checkpoints"], vector["keys"], vector["events"])


def run_folder(folder: Path, checkpoints: Sequence[Path], keys: Path | None, events: bool) -> int:
    """Verify a run's folder."""
    try:
        notes = [path.read_bytes().decode("utf-8", "surrogateescape") for path in checkpoints]
        result = check_ledger(read_sqlite(folder), notes, keys.read_text("utf-8") if keys else "", events)
    except Bad as bad:
        result = answer("INCONSISTENT", bad=bad)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 4
    print(json.dumps(result))
    return int(result["verdict"] == "INCONSISTENT")


def main() -> int:
    """Run vector files, or verify a run's folder."""
    parser = argparse.ArgumentParser(description="A second verifier of agentcheck's ledger.")
    parser.add_argument("paths", nargs="+", type=Path, help="vector files, or the folder of one run")
    parser.add_argument("--checkpoint", nargs="+", action="extend", default=[], type=Path, metavar="FILE")
    parser.add_argument("--keys", type=Path, metavar="FILE")
    parser.add_argument("--events", action="store_true", help="read every event too")
    options = parser.parse_args()
    if options.paths[0].is_dir():
        return run_folder(options.paths[0], options.checkpoint, options.keys, options.events)
    failed = 0
    for path in options.paths:
        expected, got = run_vector(json.loads(path.read_text("utf-8")))
        failed += expected != got
        print(f"{path.name}: " + ("ok" if expected == got else f"expected {expected}, got {got}"))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
