"""``agentcheck verify``: hands a ledger, from whatever store, to the verifier that shares no code with the writer."""

from __future__ import annotations

import argparse
from pathlib import Path

from agentcheck import plugins
from agentcheck.errors import UserError
from agentcheck.ledger.verify.command import UnusablePath, prove, read_trust, report, sources_of
from agentcheck.ledger.verify.run import Note
from agentcheck.ledger.verify.stream import Source
from agentcheck.publishing import kept, places, run_of
from agentcheck.runs import STORE_FILE, RunFolder
from agentcheck.settings import Settings, read_settings


def verify(given: argparse.Namespace, reports: Path | None) -> int:
    """Verify ``given.path``: a ledger file, a folder of them, or a run by its id; the rest are the verifier's options.

    A run that is found by its id is also held against the checkpoints that are kept at the places of the project's
    settings, and signatures count by the settings' trust file, where the options name no other. What is given by its
    path is verified as it lies there.

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
        if not path.exists() and len(path.parts) > 1:
            raise UserError("no such file or folder", where=given.path, advice="give a path, or the id of a run")
        folder = RunFolder.find(reports or settings.reports_path, given.path)
        notes = _kept(folder, settings)
        keys = given.keys or (settings.checkpoints.trust and str(settings.root / settings.checkpoints.trust))
        trust = read_trust(keys) if keys else None
        sources: list[Source] = []
        if folder.address is None:
            given.path = str(folder.path)
            sources += sources_of(folder.path)
        else:
            given.path = folder.id
            sources.append(folder.store.source())
        return report(given, sources, True, trust, notes)
    except UnusablePath as error:
        raise UserError(str(error)) from error


def _kept(folder: RunFolder, settings: Settings) -> list[Note]:
    if not settings.checkpoints.publish:
        return []
    found = kept(places(settings, plugins.load), run_of(folder))
    return [Note(each.text, each.address, False) for each in found]
