"""From a trace file to cases: what all importers share around the conversion of one record.

A record that cannot be read is named in ``Loaded.skipped`` and the rest are still read. Every record's actions are
counted twice, in the raw record and in what was built from it; a record where the counts differ is skipped and named,
so no action is lost in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from agentcheck.contracts import Loaded
from agentcheck.datasets.fields import BadRecord, says
from agentcheck.datasets.files import Entry, read_entries, shown
from agentcheck.datasets.recording import Run
from agentcheck.errors import DatasetError
from agentcheck.records import Case, Turn

Convert = Callable[[Mapping[str, Any]], Run]
OPTIONS = ("where", "limit")
#: Characters that a case id keeps; ``::`` and ``#`` have a meaning in session ids.
_UNFIT = re.compile(r"[^A-Za-z0-9._/+@=,-]+")


def read_traces(
    path: Path,
    options: Mapping[str, Any],
    convert: Convert,
    *,
    format: str,  # noqa: A002 - the word of the suite file
    records_at: str = "",
    expand: Callable[[Iterable[Entry]], Iterable[Entry]] | None = None,
) -> Loaded:
    """Read a trace file with one importer.

    ``options``: ``where`` maps a label to a value or a list of values, ``limit`` keeps the first so many cases.
    ``expand`` turns entries into entries before they are converted.

    Raises:
        DatasetError: no record can be read, an option is wrong, or no record matches ``where``.
    """
    chosen = Selection(options, str(path))
    name = shown(path)
    entries: Iterable[Entry] = read_entries(path, records_at=records_at)
    cases: list[Case] = []
    skipped: list[str] = []
    taken: dict[str, int] = {}
    for entry in expand(entries) if expand else entries:
        try:
            cases.append(_case(entry, convert, name, format, taken))
        except BadRecord as problem:
            skipped.append(f"{name}: {entry.place}: {problem}")
    if not cases:
        raise DatasetError(
            "no record could be read:\n" + "\n".join(f"  {line}" for line in skipped[:5]),
            where=str(path),
            advice=f"is this a file of the format {format!r}?",
        )
    return Loaded(chosen.of(cases), skipped)


def _case(entry: Entry, convert: Convert, name: str, format: str, taken: dict[str, int]) -> Case:  # noqa: A002
    if entry.problem:
        raise BadRecord(entry.problem)
    if not isinstance(entry.data, dict):
        raise BadRecord(f"expected an object, found {says(entry.data)}")
    try:
        run = convert(entry.data)
    except RecursionError:
        raise BadRecord("nested too deeply") from None
    understood = run.draft.actions - run.draft.without_call
    if understood != run.asked:
        raise BadRecord(f"holds {run.asked} actions, and {understood} were understood")
    labels = {"format": format, "record": entry.number, **run.labels, **run.draft.counts()}
    recording = run.draft.freeze(f"{name}: {entry.place}", labels, run.draft.actions)
    turns = recording.turns()
    return Case(
        id=_unique(run.id, taken),
        prompt=(turns[0][0] if turns else "") or run.prompt,
        turns=tuple(Turn(prompt) for prompt, _ in turns[1:]),
        documents=run.documents,
        expected=run.expected,
        forbidden=run.forbidden,
        tags=(format, *(tag for tag in run.tags if tag)),
        metadata=labels,
        recording=recording,
        source=f"{name}:{entry.line}",
    )


def _unique(wanted: str, taken: dict[str, int]) -> str:
    """The id in characters that fit everywhere; the second of the same name ends in ``+2``."""
    plain = _UNFIT.sub("-", wanted).strip("-")[:180] or "record"
    taken[plain] = count = taken.get(plain, 0) + 1
    return plain if count == 1 else f"{plain}+{count}"


class Selection:
    """The options ``where`` and ``limit``, checked before anything is read."""

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        self.place = where
        for key in options:
            if key not in OPTIONS:
                raise self._wrong(f"unknown option {key!r}", key, OPTIONS)
        conditions = options.get("where", {})
        if not isinstance(conditions, Mapping):
            raise self._wrong("`where` must be a table of label = value", "where", ())
        self.conditions: Mapping[str, Any] = conditions
        self.limit = options.get("limit")
        if self.limit is not None and (isinstance(self.limit, bool) or not isinstance(self.limit, int)):
            raise self._wrong("`limit` must be a whole number", "limit", ())
        if self.limit is not None and self.limit < 1:
            raise self._wrong("`limit` must be 1 or more", "limit", ())

    def _wrong(self, what: str, key: str, known: Iterable[str]) -> DatasetError:
        known = sorted(known)
        near = get_close_matches(key, known, 1)
        advice = f"did you mean {near[0]!r}? " if near else ""
        return DatasetError(what, where=self.place, advice=advice + (f"known: {', '.join(known)}" if known else ""))

    def of(self, cases: list[Case]) -> tuple[Case, ...]:
        """The cases that match, in their order.

        Raises:
            DatasetError: a label that no case has, or nothing matches; the message lists what there is.
        """
        known = {label for case in cases for label in case.metadata}
        for label in self.conditions:
            if label not in known:
                raise self._wrong(f"`where` names the label {label!r}, which no record has", label, known)
        found = [case for case in cases if all(_meets(case, *pair) for pair in self.conditions.items())]
        if not found:
            values = {
                label: sorted({repr(case.metadata.get(label)) for case in cases})[:12] for label in self.conditions
            }
            there = "; ".join(f"{label}: {', '.join(some)}" for label, some in values.items())
            raise DatasetError("no record matches `where`", where=self.place, advice=f"the file holds {there}")
        return tuple(found[: self.limit])


def _meets(case: Case, label: str, wanted: Any) -> bool:
    value = case.metadata.get(label)
    return any(type(value) is type(one) and value == one for one in (wanted if isinstance(wanted, list) else [wanted]))
