"""A suite made ready: every mistake in one go, each with its line; and cases that prove nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agentcheck import plugins
from agentcheck.collection import Plan, prepare
from agentcheck.errors import JudgeError, UserError
from agentcheck.metrics.expectations import READS
from agentcheck.records import Case, Recording, Score, Transcript
from agentcheck.suites import load_suite
from fakes_transcript import transcript

SUITE = """\
[dataset]
path = "rows.jsonl"
[agent]
use = "echo"
[governance]
policy = "UnsafeAllowAll"
[[metrics]]
use = "contains"
threshold = 1.0
"""
ROW = {"id": "a", "prompt": "x", "contains": ["x"]}


def plan(folder: Path, text: str = SUITE, *rows: dict[str, Any]) -> Plan:
    """The plan of a suite over these rows."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows or (ROW,)))
    (folder / "s.toml").write_text(text)
    return prepare(load_suite(folder / "s.toml"), plugins.load(entry_points=False))


def told(folder: Path, text: str = SUITE, *rows: dict[str, Any]) -> str:
    """What is told of a suite that is wrong."""
    with pytest.raises(UserError) as raised:
        plan(folder, text, *rows)
    return str(raised.value).replace(f"{folder}/", "")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Names, options, files and bounds of every table: one message, a line each, with what to do."""
    text = (
        SUITE.replace("rows.jsonl", "row.jsonl")
        .replace('"echo"', '"ehco"')
        .replace("UnsafeAllowAll", "p.policy.toml")
        .replace("threshold", "treshold")
    )
    text += '[[metrics]]\nuse = "contians"\n[world]\nuse = "clinik"\n[[controls]]\nuse = "no"\n'
    found = told(tmp_path, text)
    for line in (
        "s.toml:2: no such dataset: row.jsonl",
        "s.toml:4: no agent is called 'ehco'",
        "s.toml:6: no such policy: p.policy.toml",
        "s.toml:9: the metric 'contains' has no option 'treshold'",
        "s.toml:11: no metric is called 'contians'",
        "s.toml:13: no world is called 'clinik'",
        "s.toml:15: no control is called 'no'",
    ):
        assert line in found, found
    assert "did you mean 'threshold'?" in found


def test_all_bounds_on_metrics_that_are_not_measured_are_told(tmp_path: Path) -> None:
    """Of built-in metrics when the file is read, of code of the user's own once it says what it is called."""
    found = told(tmp_path, SUITE + "[gate.metrics]\ncontians = 1\nother = 1\n")
    assert "s.toml:11: the gate bounds the metric 'contians'" in found
    assert "did you mean 'contains'?" in found
    assert "s.toml:12: the gate bounds the metric 'other'" in found
    renamed = SUITE.replace('use = "contains"', 'use = "contains"\nname = "says"')
    assert plan(tmp_path, renamed + "[gate.metrics]\nsays = 1\n").measures[0].name == "says"
    assert "'contains'" in told(tmp_path, renamed + "[gate.metrics]\ncontains = 1\n")


def test_a_dotted_name_without_a_colon_is_understood(tmp_path: Path) -> None:
    """The way to write code of the user's own is shown with their own name."""
    assert "did you mean 'shop.bot:agent'?" in told(tmp_path, SUITE.replace('"echo"', '"shop.bot.agent"'))
    assert "package.module:attribute" in told(tmp_path, SUITE.replace('"echo"', '"agent"'))


def test_options_of_other_tables_have_their_line(tmp_path: Path) -> None:
    """An adapter's unknown option is named at its key."""
    found = told(tmp_path, SUITE.replace('use = "echo"', 'use = "http"\nurl = "http://127.0.0.1:1/"\ntimout = 3'))
    assert "s.toml:6: " in found
    assert "'timout'" in found


def test_an_option_that_a_domain_does_not_take_is_told_before_the_run(tmp_path: Path) -> None:
    """A shipped world has no options, and says so at the key."""
    found = told(tmp_path, SUITE + '[world]\nuse = "clinic"\nsede = 3\n')
    assert "s.toml:12: the world takes no option 'sede'" in found


def test_paths_are_shown_as_a_reader_writes_them(tmp_path: Path) -> None:
    """No ``..`` where it can be left out; where a link makes a difference the path stays as it is."""
    (tmp_path / "real" / "suites").mkdir(parents=True)
    (tmp_path / "suites").symlink_to(tmp_path / "real" / "suites")
    (tmp_path / "real" / "rows.jsonl").write_text("broken\n")
    for folder in (tmp_path / "real" / "suites", tmp_path / "suites"):
        (folder / "s.toml").write_text(SUITE.replace("rows.jsonl", "../rows.jsonl"))
        with pytest.raises(UserError) as raised:
            prepare(load_suite(folder / "s.toml"), plugins.load(entry_points=False))
        assert ("suites/../rows" in str(raised.value)) is folder.parent.samefile(tmp_path)


# Plain functions


@pytest.fixture
def mine() -> Iterator[ModuleType]:
    """A module of the user's own, importable as ``mine``."""
    module = sys.modules["mine"] = ModuleType("mine")
    yield module
    del sys.modules["mine"]


def own(**more: Any) -> str:
    """The suite with the user's own function as a metric."""
    table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in more.items())
    return SUITE.replace('use = "contains"\n', f'use = "mine:polite"\n{table}')


def scored(made: Plan) -> Score:
    """The score of the suite's one metric on a trial."""
    (measure,) = made.measures
    return asyncio.run(measure.metric.score(transcript(Case("c", "p"), answers=["thank you"])))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (True, (1.0, "ok")),
        (False, (0.0, "ok")),
        (0.25, (0.25, "ok")),
        (3, (3.0, "ok")),
        (None, (None, "not_measured")),
        (Score("x", 0.5, "half"), (0.5, "ok")),
    ],
)
def test_a_plain_function_is_a_metric(
    tmp_path: Path, mine: ModuleType, value: Any, wanted: tuple[float | None, str]
) -> None:
    """A function of a transcript needs no factory: numbers, truth values, scores, and None for nothing to measure."""

    def polite(transcript: Transcript) -> Any:
        return value

    mine.polite = polite  # type: ignore[attr-defined]
    made = plan(tmp_path, own())
    assert (made.measures[0].name, made.measures[0].direction) == ("polite", "higher")
    score = scored(made)
    assert (score.value, score.status) == wanted


@pytest.mark.parametrize("value", ["yes", float("nan"), [1]])
def test_a_value_that_is_none_breaks_the_judge(tmp_path: Path, mine: ModuleType, value: Any) -> None:
    """What is no number is an error of the metric, never a low value."""
    mine.polite = lambda transcript: value  # type: ignore[attr-defined]
    made = plan(tmp_path, own(name="polite"))
    with pytest.raises(JudgeError, match=r"expected a number|finite"):
        scored(made)


def test_further_keys_are_its_keywords(tmp_path: Path, mine: ModuleType) -> None:
    """Options reach the function, coroutines too; name and direction are the metric's; unknown ones have their line."""

    async def polite(trial: Transcript, *, words: list[str], least: int = 1) -> float:
        return float(sum(word in trial.answer for word in words) >= least)

    mine.polite = polite  # type: ignore[attr-defined]
    made = plan(tmp_path, own(words=["thank"], name="manners", direction="lower"))
    assert (made.measures[0].name, made.measures[0].direction) == ("manners", "lower")
    assert scored(made).value == 1.0
    assert "did you mean 'least'?" in told(tmp_path, own(words=[], leats=1))
    assert "s.toml:10: " in told(tmp_path, own(words=[], leats=1))
    assert "needs the option 'words'" in told(tmp_path, own())
    assert "one of: higher, lower" in told(tmp_path, own(words=[], direction="up"))


def test_a_gate_may_bound_what_a_function_is_called(tmp_path: Path, mine: ModuleType) -> None:
    """The name of the metric counts, not the dotted name that found it."""
    mine.polite = lambda transcript: 1  # type: ignore[attr-defined]
    mine.polite.__name__ = "polite"  # type: ignore[attr-defined]
    assert plan(tmp_path, own() + "[gate.metrics]\npolite = 1\n")
    assert "s.toml:11: the gate bounds" in told(tmp_path, own() + '[gate.metrics]\n"mine:polite" = 1\n')


# Cases that prove nothing


@pytest.mark.parametrize(
    ("metrics", "row", "idle"),
    [
        (["contains"], {}, True),
        (["contains"], {"skip": "later"}, False),
        (["contains"], {"excludes": ["y"]}, False),
        (["contains"], {"answer": "y"}, True),
        (["contains", "exact_match"], {"answer": "y"}, False),
        (["contains", "audit_completeness"], {"forbidden": [{"name": "x"}]}, True),
        (["audit_completeness"], {}, False),
        (["contains", "groundedness"], {}, False),
        (["retention"], {"turns": [{"text": "y", "expect": {"retains": ["z"]}}]}, False),
        (["correction"], {"turns": [{"text": "y", "expect": {"retains": ["z"]}}]}, True),
        (["enforcement"], {"expected": [{"name": "x"}]}, False),
    ],
)
def test_a_case_that_no_metric_is_about_is_refused(
    tmp_path: Path, metrics: list[str], row: dict[str, Any], idle: bool
) -> None:
    """What every judged metric passes over would pass by what holds of any case; the row is named."""
    tables = "".join(f'[[metrics]]\nuse = "{name}"\nthreshold = 1.0\n' for name in metrics)
    text = SUITE.partition("[[metrics]]")[0] + tables
    if idle:
        found = told(tmp_path, text, {"id": "a", "prompt": "x", **row})
        assert "s.toml:2: " in found
        assert "rows.jsonl:1 (a)" in found
    else:
        assert plan(tmp_path, text, {"id": "a", "prompt": "x", **row})


def test_a_metric_that_is_only_recorded_holds_nobody(tmp_path: Path) -> None:
    """Without a threshold nothing is judged, and no case is called idle for it."""
    assert plan(tmp_path, SUITE.replace("threshold = 1.0\n", ""), {"id": "a", "prompt": "x"})


def test_idle_recordings_are_counted(tmp_path: Path) -> None:
    """Recorded runs were not written for the suite: what nothing speaks of is told in the run and breaks nothing."""
    plan(tmp_path)
    recorded = Case("r", "p", recording=Recording((), "x:1"))
    made = prepare(load_suite(tmp_path / "s.toml"), plugins.load(entry_points=False), [recorded])
    assert made.notes == ("recorded cases that no metric with a threshold is about: 1",)


def test_every_metric_that_reads_expectations_exists() -> None:
    """The table of what is read names registered metrics only."""
    assert set(READS) <= set(plugins.load(entry_points=False).names("metrics"))


def test_a_retention_class_that_nobody_defines_is_told_with_its_line(tmp_path: Path) -> None:
    """A misspelt class is a mistake of the suite; `standard` and what the settings define are not."""
    text = f'[suite]\nretention = "patiemt"\n{SUITE}'
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    (tmp_path / "s.toml").write_text(text)
    suite, registry = load_suite(tmp_path / "s.toml"), plugins.load(entry_points=False)
    with pytest.raises(UserError) as raised:
        prepare(suite, registry, retention=["patient", "trade"])
    assert f"{tmp_path / 's.toml'}:2: no retention class is called 'patiemt'" in str(raised.value)
    assert "did you mean 'patient'? known: patient, standard, trade" in str(raised.value)
    assert prepare(suite, registry, retention=["patiemt"]).suite.spec.suite.retention == "patiemt"
    assert plan(tmp_path).suite.spec.suite.retention == "standard"
