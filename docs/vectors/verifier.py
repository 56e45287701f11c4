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
from typing import Any

Key = tuple[str, bytes]  # name and key id
Trust = tuple[dict[Key, bytes], dict[Key, bytes], dict[Key, float]]  # log keys, witness keys, times of revocation
Point = tuple[int, int, int, int]  # extended homogeneous coordinates of edwards25519
Head = tuple[str, int, str, int, str]  # naming stream and seq; stream, size and head that are named

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D, ROOT_OF_MINUS_ONE = -121665 * pow(121666, -1, P) % P, pow(2, (P - 1) // 4, P)
FIELDS = {"body", "salt", "seq", "session", "stream", "time", "type", "v"}
STARTS = ("run.started", "custody.opened")
HEADS = {"run.started": "previous", "custody.opened": "previous", "run.finished": "streams"}


def sha256(*parts: bytes) -> bytes:
    """SHA-256 of the concatenation."""
    return hashlib.sha256(b"".join(parts)).digest()


def unbase64(text: str) -> bytes:
    """Standard base64 with padding; ValueError for anything else."""
    return base64.b64decode(text.encode("ascii"), validate=True)


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


# Notes and trust


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """The first four bytes of the hash of name, type and public key."""
    return sha256(name.encode(), b"\n", bytes([kind]), public)[:4]


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time, or ValueError."""
    match = re.fullmatch(r"([\d-]{10})[Tt]([\d:]{8})(\.\d+)?([Zz]|[+-]\d\d:\d\d)", text, re.ASCII)
    if not match:
        raise ValueError("no RFC 3339 time")
    zone = "+00:00" if match[4] in "Zz" else match[4]
    return datetime.fromisoformat(f"{match[1]}T{match[2]}{zone}").timestamp() + float(match[3] or 0)


def read_trust(text: str) -> Trust:
    """The keys of a trust file, and when which were revoked; ValueError where a line is not understood."""
    logs: dict[Key, bytes] = {}
    witnesses: dict[Key, bytes] = {}
    revoked: dict[Key, float] = {}
    for line in text.split("\n"):
        role, *words = re.sub(r"(^|\s)#.*", "", line).split() or ["#"]
        if role in ("log", "witness") and len(words) == 1:
            name, digits, encoded = words[0].split("+", 2)
            data = unbase64(encoded)
            kind = 1 if role == "log" else 4
            if not name or len(data) != 33 or data[0] != kind or digits.lower() != key_id(name, kind, data[1:]).hex():
                raise ValueError("no verifier key of this role")
            (logs if kind == 1 else witnesses)[name, bytes.fromhex(digits)] = data[1:]
        elif role == "revoked" and len(words) >= 2 and re.fullmatch(r"[^+]+\+[0-9A-Fa-f]{8}", words[0]):
            key = words[0][:-9], bytes.fromhex(words[0][-8:])
            revoked[key] = min(parse_time(words[1]), revoked.get(key, float("inf")))
        elif role != "#":
            raise ValueError("no entry of a trust file")
    return logs, witnesses, revoked


def read_note(note: str) -> tuple[bytes, str, int, bytes, list[tuple[Key, bytes]]]:
    """Text, origin, size, root and signatures of a checkpoint, or ValueError."""
    text, blank, tail = note.rpartition("\n\n")
    lines = text.split("\n")
    parts = [re.fullmatch(r"— ([^\s+]+) (\S+)", line) for line in tail.split("\n")[:-1]]
    if not blank or not tail.endswith("\n") or re.search(r"[\x00-\x09\x0b-\x1f]", note) or not all(parts):
        raise ValueError("no signed note")
    if len(lines) != 3 or not lines[0] or not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1]):
        raise ValueError("no checkpoint")
    root, blobs = unbase64(lines[2]), [(part[1], unbase64(part[2])) for part in parts if part]
    if len(root) != 32 or any(len(blob) < 5 for _, blob in blobs):
        raise ValueError("a root or a signature of a wrong length")
    return (text + "\n").encode(), lines[0], int(lines[1]), root, [((name, b[:4]), b[4:]) for name, b in blobs]


def judge(note: str, trust: Trust, run: str | None) -> dict[str, Any]:
    """What a checkpoint says if it counts (and is one of the run, where that is known), or ValueError."""
    text, origin, size, root, lines = read_note(note)
    logs, witnesses, revoked = trust
    clocks = {(name, key_id(name, 4, public)): public for (name, _), public in logs.items()}
    signers: dict[bytes, Key] = {}
    times: dict[bytes, int] = {}
    seen: dict[bytes, int] = {}
    for key, signature in lines:
        if key in logs:
            if not signed(logs[key], text, signature):
                raise ValueError("a signature of a trusted log key fails")
            if re.fullmatch(r"/[^/]+/.+", origin[len(key[0]) :]) and origin.startswith(key[0]):
                signers[logs[key]] = key
        for keys, stamps in ((clocks, times), (witnesses, seen)):
            if key in keys:
                time = int.from_bytes(signature[:8], "big")
                message = b"cosignature/v1\ntime %d\n" % time + text
                if time >= 2**63 or not signed(keys[key], message, signature[8:]):
                    raise ValueError("a cosignature of a trusted key fails")
                if keys is clocks or key not in revoked:
                    stamps[keys[key]] = min(time, stamps.get(keys[key], time))
    seen = {public: time for public, time in seen.items() if public not in signers}
    early = min(seen.values(), default=float("inf"))
    good = {public: key for public, key in signers.items() if key not in revoked or early < revoked[key]}
    places = [origin[len(name) + 1 :].split("/", 1) for name, _ in good.values()]
    places = [place for place in places if run in (None, place[0])]
    if not places:
        raise ValueError("no trusted key signed this for the run")
    time = min((times[public] for public in good if public in times), default=0)
    return {"stream": places[0][1], "size": size, "root": root, "time": time, "witnesses": len(seen)}


# Events, rows and streams


def read_event(payload: Any) -> dict[str, Any]:
    """The JSON object with a body that the bytes hold, canonical or not; else an empty one."""
    try:
        event = json.loads(payload.decode())
    except (ValueError, AttributeError, RecursionError):
        return {}
    return event if isinstance(event, dict) and isinstance(event.get("body"), dict) else {}


def plain(value: Any) -> bool:
    """Whether a value has only ASCII keys, and integers within the range that is allowed."""
    if isinstance(value, dict):
        return all(key.isascii() and plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(plain(item) for item in value)
    return value is None or isinstance(value, str | bool) or (isinstance(value, int) and abs(value) < 2**53)


def is_event(payload: bytes) -> bool:
    """Whether the bytes are the canonical form of an event."""
    event = read_event(payload)
    try:
        text = json.dumps(event, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        if set(event) not in (FIELDS, FIELDS - {"salt"}) or text.encode() != payload or not plain(event):
            return False
    except (ValueError, RecursionError):
        return False
    words = all(isinstance(event[key], str) for key in ("session", "stream", "type"))
    numbers = all(type(event[key]) is int for key in ("seq", "time", "v"))
    salt = event.get("salt", "0" * 32)
    return words and numbers and isinstance(salt, str) and re.fullmatch("[0-9a-f]{32}", salt) is not None


def in_place(payload: bytes, stream: str, n: int, ended: bool) -> bool:
    """Whether the bytes are an event that may stand at this place of the stream."""
    event = read_event(payload)
    start = STARTS[stream.startswith("custody-")]
    right = event.get("type") == start if n == 1 else event.get("type") not in STARTS
    return is_event(payload) and (event["stream"], event["seq"]) == (stream, n) and right and not ended


def chain_zero(stream: str) -> bytes:
    """The chain value before the first event."""
    return sha256(b"agentcheck/ledger/v1\n", stream.encode("utf-8", "surrogatepass"))


def derive(stream: str, rows: Sequence[Any], events: bool) -> tuple[list[bytes], list[bytes], int | None]:
    """Leaves and chain values (from chain 0 on) of the rows of a stream, and the number of the first bad one."""
    leaves: list[bytes] = []
    chains, ended = [chain_zero(stream)], False
    end = "custody.closed" if stream.startswith("custody-") else "run.finished"
    for n, (seq, payload, chain) in enumerate(rows, 1):
        if type(seq) is not int or seq != n:
            return leaves, chains, seq if type(seq) is int and 0 < seq < n else n
        if not isinstance(payload, bytes) or not payload:
            return leaves, chains, n
        gone = payload[0] == 0
        leaves.append(payload[1:] if gone else sha256(b"\x00", payload))
        chains.append(sha256(b"\x02", chains[-1], leaves[-1]))
        if (gone and (len(payload) != 33 or n == 1)) or not isinstance(chain, bytes) or chain != chains[-1]:
            return leaves, chains, n
        if events and (ended if gone else not in_place(payload, stream, n, ended)):
            return leaves, chains, n
        ended = not gone and read_event(payload).get("type") == end
    return leaves, chains, None


def named_heads(stream: str, n: int, event: dict[str, Any]) -> Iterator[Head]:
    """The heads that an event names; a size of -1 where one cannot be read."""
    named = event.get("body", {}).get(HEADS.get(str(event.get("type")))) or []
    for head in named if isinstance(named, list) else [named]:
        match head:
            case {"stream": str(name), "size": int(size), "head": str(value)} if type(size) is int and size >= 0:
                yield stream, n, name, size, value
            case _:
                yield stream, n, "", -1, ""


def wrong_head(head: Head, chains: dict[str, list[bytes]]) -> tuple[str, int] | None:
    """Where the ledger is not what a head says."""
    stream, n, target, size, value = head
    have = chains.get(target) or [chain_zero(target)]
    if size < 0:
        return stream, n
    if size >= len(have):
        return target, len(have)
    return None if have[size].hex() == value else (target, size)


def coverage(sizes: dict[str, int], heads: Sequence[Head]) -> dict[str, int]:
    """How many events of each stream are covered, where checkpoints hold for so many."""
    covered = dict(sizes)
    for _ in range(len(heads) + 1):
        for stream, n, target, size, _ in heads:
            if n <= covered.get(stream, 0):
                covered[target] = max(size, covered.get(target, 0))
    return covered


def tombstoned(event: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Stream, first and last number of the ranges that a tombstone names."""
    body = event.get("body", {})
    ranges = body.get("ranges") if event.get("type") == "events.withheld" else None
    for pair in ranges if isinstance(ranges, list) else []:
        if isinstance(pair, list) and len(pair) == 2 and all(type(n) is int for n in pair):
            yield str(body.get("stream")), pair[0], pair[1]


def answer(verdict: str, covered: int = 0, time: int = 0, witnesses: int = 0, bad: Any = None) -> dict[str, Any]:
    """The answer, with the keys of `expected`."""
    first = None if bad is None else {"stream": bad[0], "seq": bad[1]}
    return {"verdict": verdict, "covered": covered, "time": time, "witnesses": witnesses, "first_bad": first}


def weigh(points: Sequence[dict[str, Any]], heads: Sequence[Head]) -> dict[str, Any]:
    """The verdict that checkpoints give which all hold."""
    best: dict[str, dict[str, Any]] = {}
    for point in sorted(points, key=lambda point: (point["size"], point["witnesses"])):
        best[point["stream"]] = point
    sizes = {name: point["size"] for name, point in best.items()}
    others = {name: coverage(sizes | {name: 0}, heads)[name] for name in sizes}
    needed = [point for name, point in best.items() if others[name] < point["size"]]
    if not needed:
        return answer("CONSISTENT")
    witnesses = min(point["witnesses"] for point in needed)
    time = min((point["time"] for point in needed if point["time"]), default=0)
    covered = sum(coverage(sizes, heads).values())
    return answer("WITNESSED" if witnesses else "CONSISTENT_WITH_CHECKPOINT", covered, time, witnesses)


def check_notes(notes: Sequence[Any], keys: str, run: str | None, leaves: dict[str, list[bytes]]) -> Any:
    """The checkpoints, each with whether it holds; None in place of one that does not count."""
    points: list[dict[str, Any] | None] = []
    for note in notes:
        try:
            point = judge(note, read_trust(keys), run)
        except (ValueError, TypeError, AttributeError):
            points.append(None)
            continue
        mine, size = leaves.get(point["stream"], []), point["size"]
        points.append(point | {"holds": size <= len(mine) and tree_root(mine[:size]) == point["root"]})
    return points


def check_ledger(rows: Sequence[Any], checkpoints: Sequence[Any], keys: str, events: bool) -> dict[str, Any]:
    """What the rows of a whole run, held against checkpoints, turn out to be."""
    if not all(isinstance(row, list | tuple) and len(row) == 4 and isinstance(row[0], str) for row in rows):
        return answer("INCONSISTENT", bad=("", 0))
    streams: dict[str, list[Any]] = {}
    for row in rows:
        streams.setdefault(row[0], []).append(row[1:])
    leaves, chains, runs = {}, {}, {}
    heads: list[Head] = []
    gone: list[tuple[str, int]] = []
    stones: list[tuple[str, int, int]] = []
    for name in sorted(streams):
        body = read_event(streams[name][0][1]).get("body", {})
        runs[name] = body["run"] if isinstance(body.get("run"), str) else None
    run = runs.get("main") or next(filter(None, runs.values()), None)
    for name in sorted(streams):
        leaves[name], chains[name], bad = derive(name, streams[name], events)
        bad = 1 if runs[name] not in (None, run) else bad
        if bad is not None:
            return answer("INCONSISTENT", bad=(name, bad))
        for n, payload, _ in streams[name]:
            event = read_event(payload)
            heads += named_heads(name, n, event)
            gone += [(name, n)] if payload[0] == 0 else []
            stones += tombstoned(event) if name.startswith("custody-") else []
    wrong = [place for head in heads if (place := wrong_head(head, chains))]
    wrong += [(name, n) for name, n in gone if not any(s == name and a <= n <= b for s, a, b in stones)]
    if wrong:
        return answer("INCONSISTENT", bad=wrong[0])
    points = check_notes(checkpoints, keys, run, leaves)
    held = [point for point in points if point and point["holds"]]
    for point in points:
        if point is None:
            return answer("INCONSISTENT", bad=("", 0))
        name, size = point["stream"], point["size"]
        before = [p["size"] for p in held if p["stream"] == name and p["size"] < size]
        length = len(leaves.get(name, []))
        if not point["holds"]:
            return answer("INCONSISTENT", bad=(name, 1 + (length if size > length else max(before, default=0))))
    return weigh(held, heads)


def check_proof(event: bytes, proof: str, keys: str) -> bool:
    """Whether a tlog-proof shows that the event is in a tree whose checkpoint counts."""
    try:
        head, _, note = proof.partition("\n\n")
        lines = head.split("\n")
        extra = lines.pop(1) if lines[1].startswith("extra ") else "extra "
        if lines[0] != "c2sp.org/tlog-proof@v1" or not re.fullmatch(r"index (0|[1-9][0-9]{0,18})", lines[1]):
            return False
        unbase64(extra[6:])
        path, index = [unbase64(line) for line in lines[2:]], int(lines[1][6:])
        point, said = judge(note, read_trust(keys), None), read_event(event)
    except (ValueError, IndexError, TypeError, AttributeError):
        return False
    place = is_event(event) and (said["stream"], said["seq"] - 1) == (point["stream"], index)
    right = all(len(item) == 32 for item in path)
    return place and right and included(sha256(b"\x00", event), index, point["size"], path, point["root"])


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
    """The rows of all ledgers in a run's folder, in the order of storage, read from a temporary copy."""
    rows: list[Any] = []
    with tempfile.TemporaryDirectory() as copy:
        for file in sorted(Path(folder).glob("*.db")):
            for part in (file, file.with_name(file.name + "-wal")):
                if part.exists():
                    shutil.copyfile(part, Path(copy, part.name))
            db = sqlite3.connect(Path(copy, file.name))
            db.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            try:
                marks = [db.execute(f"PRAGMA {mark}").fetchone()[0] for mark in ("application_id", "user_version")]
                if marks != [0x61636C31, 1] or db.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                    raise ValueError(f"{file.name} is damaged, or no ledger")
                rows += db.execute("SELECT stream, seq, payload, chain FROM events NOT INDEXED ORDER BY rowid")
            finally:
                db.close()
    return rows


def bytes_of(value: Any) -> Any:
    """What a vector's base64 stands for; anything else as it is, which is then of a wrong type."""
    try:
        return unbase64(value)
    except (ValueError, AttributeError):
        return value


def run_vector(vector: dict[str, Any]) -> tuple[Any, Any]:
    """What a vector expects, and what comes out."""
    if "leaves" in vector:
        return True, check_trees(vector)
    if "proof" in vector:
        return vector["expected"], check_proof(unbase64(vector["event"]), vector["proof"], vector["keys"])
    fields = ("stream", "seq", "payload", "chain")
    rows = [[bytes_of(row.get(key)) if key in fields[2:] else row.get(key) for key in fields] for row in vector["rows"]]
    notes = vector["checkpoints"]
    notes = list(notes.values()) if isinstance(notes, dict) else notes
    return vector["expected"], check_ledger(rows, notes, vector["keys"], vector["events"])


def main() -> int:
    """Run vector files, or verify a run's folder."""
    parser = argparse.ArgumentParser(description="A second verifier of agentcheck's ledger.")
    parser.add_argument("paths", nargs="+", type=Path, help="vector files, or the folder of one run")
    parser.add_argument("--checkpoint", nargs="+", action="extend", default=[], type=Path, metavar="FILE")
    parser.add_argument("--keys", type=Path, metavar="FILE")
    parser.add_argument("--events", action="store_true", help="read every event too")
    options = parser.parse_args()
    if options.paths[0].is_dir():
        if not any(options.paths[0].glob("*.db")):
            print("no ledger in this folder", file=sys.stderr)
            return 4
        notes = [path.read_bytes().decode("utf-8", "replace") for path in options.checkpoint]
        keys = options.keys.read_text("utf-8") if options.keys else ""
        try:
            result = check_ledger(read_sqlite(options.paths[0]), notes, keys, options.events)
        except (ValueError, sqlite3.Error):
            result = answer("INCONSISTENT", bad=("", 0))
        print(json.dumps(result))
        return int(result["verdict"] == "INCONSISTENT")
    failed = 0
    for path in options.paths:
        expected, got = run_vector(json.loads(path.read_text("utf-8")))
        failed += expected != got
        print(f"{path.name}: " + ("ok" if expected == got else f"expected {expected}, got {got}"))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
