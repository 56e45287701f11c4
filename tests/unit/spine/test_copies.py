"""A copy of a run for an assessor: the same rows, what was chosen withheld and named, the run itself untouched."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from agentcheck.copies import export
from agentcheck.custody import hold, purge, read_custody, release
from agentcheck.errors import StoreError, UserError
from agentcheck.events import Event, retention
from agentcheck.ledger.chain import withheld
from agentcheck.ledger.reading import decode
from agentcheck.retention import RetentionClass
from agentcheck.runs import RunFolder
from fakes_custody import AGED, CLASSES, CONTENT, OLD, everything, held_by_chain, make_run, rows


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run of two suites that is under a hold, so it has a stream of custody already."""
    made = make_run(tmp_path / "reports")
    hold(made, "case 12-3", "ann")
    return made


def left_out(run: RunFolder, copy: RunFolder) -> list[Event]:
    """The events that the copy does not have; everything else is the same, byte for byte."""
    found = []
    ours, theirs = rows(run), rows(copy)
    (own,) = set(theirs) - set(ours)
    assert own.startswith("custody-copy-2-")
    for stream, before in ours.items():
        assert len(before) == len(theirs[stream])
        for old, new in zip(before, theirs[stream], strict=True):
            if new != old:
                assert new == old._replace(payload=withheld(old.payload))
                found.append(decode(old))
    held_by_chain(copy)
    return found


def test_without_a_choice_the_copy_has_every_row(run: RunFolder, tmp_path: Path) -> None:
    """Rows are the same bytes in the same streams: there is nothing that a stream of custody could say."""
    made = export(run, tmp_path / "out", by="bob")
    copy = RunFolder(tmp_path / "out")
    assert rows(copy) == rows(run)
    assert (made.custody, made.withheld) == ("", {})
    assert f"a copy of the ledger of run {run.id}" in (copy.path / "copy.txt").read_text()


def test_who_made_a_copy_is_in_a_stream_of_the_copy_only(run: RunFolder, tmp_path: Path) -> None:
    """From which heads, by which command; the run itself does not change by a byte."""
    before = everything(run.path)
    made = export(run, tmp_path / "out", ["main:4"], by="bob", command=["agentcheck", "ledger", "export"])
    copy = RunFolder(tmp_path / "out")
    assert len(left_out(run, copy)) == 1
    assert everything(run.path) == before
    opened, _, closed = (event for event in copy.events() if event.stream == made.custody)
    assert (opened.type, opened.body["by"], opened.body["run"]) == ("custody.opened", "bob", run.id)
    assert opened.body["previous"] == run.heads()
    assert closed.body == {"status": "copied"}
    assert made.withheld == {"main": [4]}
    assert [each.id for each in read_custody(copy).in_force] == ["hold-1"]


def test_the_copy_holds_the_ledger_and_nothing_else(run: RunFolder, tmp_path: Path) -> None:
    """No key to try guesses with, no report, no scratch."""
    export(run, tmp_path / "deep" / "out", by="bob")
    assert sorted(everything(tmp_path / "deep")) == [
        "out/copy.txt",
        *(f"out/ledger{name}.db" for name in ("-custody-1", "-gw0", "")),
    ]


@pytest.mark.parametrize("withheld", [(), ("content",)])
def test_what_is_done_to_a_copy_never_has_the_name_of_a_stream_of_the_run(
    run: RunFolder, tmp_path: Path, withheld: tuple[str, ...]
) -> None:
    """Holds and purges of a copy, with or without a stream of its own, keep clear of the run's next stream."""
    export(run, tmp_path / "out", withheld, by="bob")
    copy = RunFolder(tmp_path / "out")
    own = set(copy.streams()) - set(run.streams())
    held = hold(copy, "theirs", "cleo")
    release(copy, held.id, "over", "cleo")
    release(copy, "hold-1", "over", "cleo")
    assert [each.id for each in read_custody(copy).in_force] == []
    done = purge(copy, {**CLASSES, "standard": RetentionClass("standard", 1, 2)}, OLD, by="cleo")
    assert (done.unknown, done.removed) == ([], [])
    new = set(copy.streams()) - set(run.streams()) - own
    assert len(new) == 4
    assert done.custody in new
    assert all(name.startswith("custody-copy-") for name in own | new)
    hold(run, "ours", "ann")
    assert set(run.streams()) & (own | new) == set()
    (copy.path / "copy.txt").unlink()  # the names of its streams still say that it is a copy
    assert hold(copy, "again", "cleo").stream.startswith("custody-copy-")
    held_by_chain(copy)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("content", lambda event: retention(event.type) == "content"),
        ("action.decided", lambda event: event.type == "action.decided"),
        ("clinic::discharge-summary", lambda event: event.session == "clinic::discharge-summary#1"),
        ("clinic::discharge-summary#1", lambda event: event.session == "clinic::discharge-summary#1"),
        ("main:4-9", lambda event: event.stream == "main" and 4 <= event.seq <= 9),
        ("gw0:5", lambda event: event.stream == "gw0" and event.seq == 5),
    ],
)
def test_what_is_chosen_is_withheld_and_named(run: RunFolder, tmp_path: Path, choice: str, expected: object) -> None:
    """Exactly the chosen events are gone, in every byte, and a tombstone of the copy names them."""
    assert callable(expected)
    made = export(run, tmp_path / "out", [choice], by="bob", reason="for the assessor")
    copy = RunFolder(tmp_path / "out")
    gone = left_out(run, copy)
    assert [(event.stream, event.seq) for event in gone] == [
        (event.stream, event.seq) for event in run.events() if expected(event)
    ]
    stones = read_custody(copy).tombstones
    named = {(s.stream, n) for s in stones for first, last in s.ranges for n in range(first, last + 1)}
    assert named == {(event.stream, event.seq) for event in gone}
    assert {(s.purpose, s.by, s.reason) for s in stones} == {
        ("redaction", "bob", f"for the assessor: left out of a copy: {choice}")
    }
    assert sum(map(len, made.withheld.values())) == len(gone) == sum(s.count for s in stones)
    if choice == "content":
        for name, content in everything(copy.path).items():
            assert not [text for text in CONTENT if text.encode() in content], name


def test_a_purged_run_is_copied_as_it_is(run: RunFolder, tmp_path: Path) -> None:
    """What was purged before is withheld by its own tombstone; the copy's names only what it left out itself."""
    made = make_run(tmp_path / "other")
    purge(made, CLASSES, AGED, by="bob")
    export(made, tmp_path / "out", ["content"], by="bob")
    purged, redacted = read_custody(RunFolder(tmp_path / "out")).tombstones
    assert (purged.purpose, purged.stream, redacted.purpose, redacted.stream) == ("purge", "main", "redaction", "gw0")
    held_by_chain(RunFolder(tmp_path / "out"))
    export(made, tmp_path / "part", ["main:2-9"], by="bob")
    (stone,) = read_custody(RunFolder(tmp_path / "part")).tombstones[1:]
    gone = {row.seq for row in rows(made)["main"] if row.payload[:1] == b"\x00"}
    assert {n for first, last in stone.ranges for n in range(first, last + 1)} == set(range(2, 10)) - gone


def test_a_copy_of_a_copy_is_still_of_the_run(run: RunFolder, tmp_path: Path) -> None:
    """Whatever its folder is called, its custody names the run that the events are of."""
    export(run, tmp_path / "out", ["main:4"], by="bob")
    export(RunFolder(tmp_path / "out"), tmp_path / "again", ["main:5"], by="cleo")
    opened = [event.body for event in RunFolder(tmp_path / "again").events() if event.type == "custody.opened"]
    assert [(body["run"], body["by"]) for body in opened] == [(run.id, "ann"), (run.id, "bob"), (run.id, "cleo")]


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("run.started", "events of type run.started are never withheld"),
        ("hold.placed", "events of type hold.placed are never withheld"),
        ("main:1-3", "main:1 is run.started, which is never withheld"),
        ("custody-1:2", "custody-1:2 is hold.placed, which is never withheld"),
        ("main:9-4", "ends before it begins"),
        ("main:900-901", "no event to withhold for main:900-901"),
        ("clinic::nobody", "no event to withhold for clinic::nobody"),
        ("breaker.opened", "no event to withhold for breaker.opened"),
        ("action.requestd", "did you mean 'action.requested'?"),
        ("record", "names nothing that can be withheld"),
        ("main:0-3", "names nothing that can be withheld"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_and_nothing_is_left(
    run: RunFolder, tmp_path: Path, choice: str, told: str
) -> None:
    """A slip must not leave in the copy what was to be left out of it: there is no copy then."""
    with pytest.raises(UserError) as raised:
        export(run, tmp_path / "out", ["content", choice], by="bob")
    assert told in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["reports"]


def test_a_target_that_holds_something_is_refused(run: RunFolder, tmp_path: Path) -> None:
    """An empty folder may be there; a file, or a folder with something in it, stays as it is."""
    (tmp_path / "empty").mkdir()
    export(run, tmp_path / "empty", by="bob")
    before = everything(tmp_path / "empty")
    for target in ("empty", "empty/ledger.db"):
        with pytest.raises(UserError, match="is not empty"):
            export(run, tmp_path / target, by="bob")
    assert everything(tmp_path / "empty") == before


def test_a_run_that_is_written_is_not_copied(run: RunFolder, tmp_path: Path) -> None:
    """Its streams would be of different moments."""
    with closing(run.store.writing("main-r1")), pytest.raises(UserError, match="cannot be copied"):
        export(run, tmp_path / "out", by="bob")
    assert not (tmp_path / "out").exists()


def test_a_copy_that_cannot_be_written_says_where(run: RunFolder, tmp_path: Path) -> None:
    """A file where a folder is needed."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot write the copy") as raised:
        export(run, tmp_path / "file" / "out", by="bob")
    assert raised.value.where == str(tmp_path / "file" / "out")
