"""``agentcheck verify``: hands a ledger, from whatever store, to the verifier that shares no code with the writer."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from agentcheck import plugins
from agentcheck.contracts import RunStore
from agentcheck.errors import UserError
from agentcheck.ledger.verify.command import UnusablePath, prove, read_trust, report, sources_of
from agentcheck.ledger.verify.run import Note
from agentcheck.ledger.verify.stream import Row, Source
from agentcheck.publishing import kept, places, run_of
from agentcheck.runs import STORE_FILE, RunFolder
from agentcheck.settings import Settings, read_settings


def verify(given: argparse.Namespace, reports: Path | None) -> int:
    """Verify ``given.path``: a ledger file, a folder of them, or a run by its id; the rest are the verifier's options.

    A run that is found by its id is also held against the checkpoints that are kept at the places of the project's
    settings, and signatures count by the settings' trust file, where the options name no others.

    Returns the exit status: 0 what was asked for holds, 1 it does not.

    Raises:
        UserError: no such run, or a file that is named cannot be used.
        StoreError: the store of the run cannot be reached.
        AnchorError: a place where checkpoints are kept cannot be read.
    """
    settings = read_settings(Path.cwd())
    path = Path(given.path)
    try:
        if given.event or given.proof:
            return prove(given, read_trust(given.keys) if given.keys else None)
        if path.is_file() or (path.is_dir() and not (path / STORE_FILE).is_file()):
            trust = read_trust(given.keys) if given.keys else None
            return report(given, sources_of(path), path.is_dir(), trust)
        folder = RunFolder.find(reports or settings.reports_path, given.path)
        notes = [] if given.checkpoint else _kept(folder, settings)
        keys = given.keys or (settings.checkpoints.trust and str(settings.root / settings.checkpoints.trust))
        trust = read_trust(keys) if keys else None
        sources: list[Source] = []
        if folder.address is None:
            given.path = str(folder.path)
            sources += sources_of(folder.path)
        else:
            given.path, given.processes = folder.id, 1
            sources.append(StoreSource(folder.store, folder.id))
        return report(given, sources, True, trust, notes)
    except UnusablePath as error:
        raise UserError(str(error)) from error


def _kept(folder: RunFolder, settings: Settings) -> list[Note]:
    if not settings.checkpoints.publish:
        return []
    found = kept(places(settings, plugins.load), run_of(folder))
    return [
        Note(each.text, f"{each.address}, {each.checkpoint.origin} {each.checkpoint.size}", False) for each in found
    ]


class StoreSource:
    """The streams of a run as the verifier reads them, from any store: what a driver without a faster way gets."""

    def __init__(self, store: RunStore, name: str) -> None:
        self.name = name
        self._store = store

    def streams(self) -> list[tuple[str, int]]:
        """Names of the streams, and the last sequence number of each."""
        found = []
        for name in sorted(self._store.streams()):
            store = self._store.reading(name)
            head = store.head(name)
            store.close()
            if head is not None:
                found.append((name, head[0]))
        return found

    def rows(self, stream: str, first: int, last: int) -> Iterator[Row]:
        """Sequence number, payload and chain value of the rows of a range, in order."""
        store = self._store.reading(stream)
        try:
            for row in takewhile(lambda row: row.seq <= last, store.read(stream, first)):
                yield row[1:]
        finally:
            store.close()

    def value(self, stream: str, seq: int) -> tuple[bytes, bytes] | None:
        """Payload and chain value of one row."""
        found = next(self.rows(stream, seq, seq), None)
        return found[1:] if found else None

    def notices(self) -> list[str]:
        """A store tells nothing unusual of itself."""
        return []

    def close(self) -> None:
        """Each reading is closed when it ends."""
