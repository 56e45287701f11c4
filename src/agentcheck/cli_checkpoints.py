"""``agentcheck ledger keygen``, ``key``, ``checkpoint``, ``anchors``, ``prove``, ``consistency`` and ``witness ...``.

Each command imports what it needs when it runs, as in `agentcheck.cli`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from agentcheck.publishing import Publishing
    from agentcheck.runs import RunFolder

_REPORTS = click.option("--reports", metavar="DIR", help="Where runs are (default: reports).")


def _folder(name: str, reports: str | None) -> RunFolder:
    from agentcheck.runs import RunFolder
    from agentcheck.settings import read_settings

    return RunFolder.find(Path(reports) if reports else read_settings(Path.cwd()).reports_path, name)


# Keys, checkpoints and proofs


@click.command()
@click.argument("name")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The private key; keep it out of repositories. Default: NAME with _ for each /, as in example.org_acme.key.",
)
def keygen(name: str, out: Path | None) -> None:
    """Make a key to sign checkpoints with; print its line for a trust file, to be appended (>>).

    NAME says whose key it is, like a URL without a scheme: example.org/acme. A file that exists is never overwritten;
    `agentcheck ledger key FILE` prints its line again.
    """
    from agentcheck.ledger.notes import generate, write_key

    key = generate(name)
    file = out or Path(f"{name.replace('/', '_')}.key")
    line = f"log {key.public()}"
    write_key(key, file)
    click.echo(line)
    click.echo(f"The private key is in {file}. Whoever can read it can sign as {name}.", err=True)
    _warn_of_git(file)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True))
def key(file: Path) -> None:
    """Print the line for a trust file of a private key that is there.

    FILE is what `keygen` made, or the folder of a witness.
    """
    from agentcheck.ledger.notes import COSIGNATURE, read_key
    from agentcheck.ledger.witness import key_of

    if file.is_dir():
        click.echo(f"witness {key_of(file).public(COSIGNATURE)}")
    else:
        click.echo(f"log {read_key(str(file.absolute())).public()}")


def _warn_of_git(file: Path) -> None:
    """Say so where Git would take a private key into a repository."""
    import subprocess

    command = ["git", "-C", str(file.absolute().parent), "check-ignore", "--quiet", file.name]
    try:
        asked = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    except OSError:
        return
    if asked.returncode == 1:  # 0: ignored; 128: no work tree
        click.echo(
            f"warning: {file} is in a Git work tree and not ignored: `git add` would take it. "
            "Move it out of the repository.",
            err=True,
        )


@click.command()
@click.argument("run")
@_REPORTS
def checkpoint(run: str, reports: str | None) -> None:
    """Sign the heads of an ended run's streams and publish them to the places of the settings.

    Exit code: 0, or 3 where a place did not take a checkpoint or a stream was changed since an earlier one.
    """
    from agentcheck.errors import AnchorError
    from agentcheck.publishing import sign_heads

    folder = _folder(run, reports)
    heads = sign_heads(folder, _publishing())
    for head in heads:
        click.echo(f"{head.stream}: {head.size} events")
        for address, error in head.published.places:
            click.echo(f"  {address}: {error or 'kept'}")
    if any(head.published.failures for head in heads):
        raise AnchorError("not every place took the checkpoints", advice="mend the place and do it again")


def _publishing() -> Publishing:
    from agentcheck import plugins
    from agentcheck.errors import UserError
    from agentcheck.publishing import KEY_VARIABLE, configured
    from agentcheck.settings import read_settings

    found = configured(settings := read_settings(Path.cwd()), plugins.load, os.environ)
    if found is None and settings.checkpoints.publish:
        raise UserError(f"{KEY_VARIABLE} says that nothing is signed here", advice="set it to a key")
    if found is None:
        raise UserError(
            "the settings name no place for checkpoints",
            where="pyproject.toml",
            advice='[tool.agentcheck.checkpoints] publish = ["file:checkpoints"]',
        )
    return found


@click.command()
@click.argument("run")
@_REPORTS
def anchors(run: str, reports: str | None) -> None:
    """Print the checkpoints of a run that the places of the settings keep; the run itself need not be there."""
    from agentcheck import plugins
    from agentcheck.errors import UserError
    from agentcheck.publishing import kept, places, run_of
    from agentcheck.settings import read_settings

    try:
        run = run_of(_folder(run, reports))
    except UserError:
        if run == "last":
            raise
    seen: set[str] = set()
    for place in places(read_settings(Path.cwd()), plugins.load):
        found = kept([place], run)
        click.echo(
            f"{place.address}: " + ("keeps nothing to read" if place.witness else f"{len(found)} of run {run}"),
            err=True,
        )
        for each in found:
            if each.text not in seen:
                seen.add(each.text)
                click.echo(each.text)


_CHECKPOINTS = click.option(
    "--checkpoint",
    "file",
    metavar="PATH",
    required=True,
    type=click.Path(path_type=Path),
    help="A file of one or more checkpoints, or a folder with such files.",
)


@click.command()
@click.argument("run")
@click.argument("event", metavar="STREAM:SEQ")
@_CHECKPOINTS
@click.option("-o", "--out", metavar="FILE", type=click.Path(path_type=Path), help="The proof (STREAM-SEQ.tlog-proof).")
@_REPORTS
def prove(run: str, event: str, file: Path, out: Path | None, reports: str | None) -> None:
    """Write one event and the proof that a checkpoint covers it (C2SP tlog-proof).

    The event's bytes are written beside the proof, with the ending .json.
    """
    from agentcheck.errors import UserError
    from agentcheck.publishing import prove as make

    stream, _, number = event.rpartition(":")
    if not stream or not (number.isascii() and number.isdigit()) or int(number) < 1:
        raise UserError(f"{event!r} names no event", advice="stream and number, such as main:12")
    made = make(_folder(run, reports), stream, int(number), _checkpoints(file))
    target = out or Path(f"{stream}-{int(number)}.tlog-proof")
    beside = target.with_suffix(".json")
    if beside == target:
        raise UserError(f"{target} is the name of the event's own file", advice="give the proof the ending .tlog-proof")
    _write(target, made.text.encode())
    _write(beside, made.payload)
    click.echo(f"{beside}: event {int(number)} of {stream}\n{target}: in {made.checkpoint.size} events")


@click.command()
@click.argument("run")
@click.argument("stream")
@click.argument("old", type=click.IntRange(0))
@_CHECKPOINTS
@_REPORTS
def consistency(run: str, stream: str, old: int, file: Path, reports: str | None) -> None:
    """Print the proof that a checkpoint begins with the first OLD events, as a witness wants it."""
    from agentcheck.publishing import extend

    click.echo(extend(_folder(run, reports), stream, old, _checkpoints(file)), nl=False)


def _checkpoints(path: Path) -> str:
    """The checkpoints of a file, or of a folder with all that is below it, as `agentcheck verify` takes them."""
    if not path.is_dir():
        return _read(path)
    from agentcheck.errors import LedgerError
    from agentcheck.ledger.notes import checkpoint, split

    found = []
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        for text in split(_read(file)):
            with contextlib.suppress(LedgerError):
                found.append(str(checkpoint(text).note))
    return "".join(found)


def _read(file: Path) -> str:
    from agentcheck.errors import UserError

    try:
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {getattr(error, 'strerror', 'not UTF-8')}", where=str(file)) from None


def _write(file: Path, data: bytes) -> None:
    from agentcheck.errors import UserError

    try:
        file.write_bytes(data)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", where=str(file)) from None


# Witnesses


@click.group()
def witness() -> None:
    """Cosign the checkpoints of others, where they are consistent with all that was seen before."""


_LOGS = click.option("--log", "logs", metavar="VKEY", multiple=True, help="A key whose logs to cosign.")
_KEYS = click.option(
    "--keys",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A trust file: its log keys that are not revoked, as if each were given by --log.",
)
_FOLDER = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@witness.command("init")
@_FOLDER
@click.option("--name", required=True, help="Whose witness it is: witness.example.org.")
def witness_init(folder: Path, name: str) -> None:
    """Make a witness: its key and its memory, in FOLDER. Print its line for a trust file."""
    from agentcheck.ledger.notes import COSIGNATURE, generate
    from agentcheck.ledger.witness import KEY_FILE, make_witness

    key = generate(name)
    line = f"witness {key.public(COSIGNATURE)}"
    make_witness(folder, key)
    click.echo(line)
    _warn_of_git(folder / KEY_FILE)


@witness.command("serve")
@_FOLDER
@_LOGS
@_KEYS
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:8042", show_default=True, help="Port 0: a free one.")
def witness_serve(folder: Path, logs: tuple[str, ...], keys: Path | None, listen: str) -> None:
    """Answer POST .../add-checkpoint (C2SP tlog-witness) until it is told to end.

    A trust file is read once, at the start.
    """
    from agentcheck.errors import UserError
    from agentcheck.serve.witness import WitnessServer

    host, _, port = listen.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()):
        raise UserError(f"{listen!r} is no address to listen on", advice="such as 127.0.0.1:8042")
    found, lock = _witness(folder, logs, keys)

    def handle(body: bytes) -> tuple[int, str, str]:
        answer = found.add_checkpoint(body)
        return answer.status, answer.kind, answer.body

    try:
        server = WitnessServer(host, int(port), handle, log=lambda line: click.echo(line, err=True))

        def stop(signum: int, frame: object) -> None:
            threading.Thread(target=server.shutdown, daemon=True).start()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        click.echo(f"witness {found.key.name} answers at {server.url}")
        with server:
            server.serve_forever(poll_interval=0.1)
    finally:
        lock.release()


@witness.command("cosign")
@_FOLDER
@_LOGS
@_KEYS
@click.argument("note", type=click.Path(path_type=Path))
@click.option("--proof", metavar="FILE", type=click.Path(path_type=Path), help="From `agentcheck ledger consistency`.")
def witness_cosign(folder: Path, logs: tuple[str, ...], keys: Path | None, note: Path, proof: Path | None) -> None:
    """Cosign one checkpoint without a network; print it with the cosignature.

    The folder is used by one process at a time: end `serve` first.
    Where the witness cosigned a smaller size of the log before, it needs the proof from that size on.
    """
    from agentcheck.errors import LedgerError, UserError
    from agentcheck.ledger.notes import split

    texts = split(_read(note))
    if len(texts) != 1:
        raise UserError(f"{len(texts)} notes, and one is cosigned at a time", where=str(note))
    start = _read(proof) if proof else "old 0\n"
    found, lock = _witness(folder, logs, keys)
    try:
        answer = found.add_checkpoint(f"{start}\n{texts[0]}".encode())
    finally:
        lock.release()
    if answer.status == 409:
        known = answer.body.strip()
        raise LedgerError(
            f"the witness cosigned {known} events of this log, and the proof does not begin there",
            where=str(note),
            advice=f"agentcheck ledger consistency RUN STREAM {known} --checkpoint {note} > proof; then --proof proof",
        )
    if answer.status != 200:
        raise LedgerError(f"not cosigned: {answer.body.strip()}", where=str(note))
    click.echo(texts[0] + answer.body, nl=False)


def _witness(folder: Path, logs: tuple[str, ...], file: Path | None) -> tuple[Any, Any]:
    """The witness of a folder, and the lock on it; nobody else may use its memory meanwhile."""
    from agentcheck.errors import LedgerError, StoreError, UserError
    from agentcheck.ledger.notes import ED25519, public_key
    from agentcheck.ledger.trust import read_trust
    from agentcheck.ledger.witness import Witness
    from agentcheck.storage.lock import WriterLock

    try:
        keys = [public_key(text, ED25519) for text in logs]
    except LedgerError as error:
        raise UserError(error.what, where="--log", advice=error.advice) from None
    if file is not None:
        trust = read_trust(file)
        revoked = {each.label for each in trust.revoked}
        keys += [each for each in trust.logs if each.label not in revoked]
    if not keys:
        raise UserError("no key whose logs to cosign", advice="give --log VKEY, or --keys with a trust file")
    found = Witness(folder, keys)
    try:
        return found, WriterLock(folder / "witness")
    except StoreError:
        raise UserError(
            "another process uses this witness", where=str(folder), advice="end it first (`witness serve`)"
        ) from None


#: What `agentcheck.cli_ledger` adds to its group.
COMMANDS = (keygen, key, checkpoint, anchors, prove, consistency, witness)
