"""docs/metrics.md: its example is run, its tables and figures are those of the code."""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from agentcheck.metrics.audit import audit_completeness
from agentcheck.metrics.builtin import METRICS
from agentcheck.metrics.function import factory
from agentcheck.metrics.groundedness import GroundednessOptions
from agentcheck.metrics.matching import is_condition
from agentcheck.plugins import resolve
from agentcheck.records import Case, Document, Turn
from fakes_transcript import score, step, transcript
from kits.metric import check

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXT = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def rows(section: str, header: str) -> list[list[str]]:
    """The cells of the table of a section that begins with a header row."""
    text = TEXT.split(f"\n## {section}\n")[1].split("\n## ")[0].split(header)[1]
    found = []
    for line in text.splitlines()[2:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_every_metric_is_in_the_table_with_its_direction() -> None:
    """The table names exactly the registered metrics, and on which side each is good."""
    said = {name.strip("`"): good for name, good, _ in rows("What there is", "| name | good |")}
    directions = {name: resolve(target)({}).direction for name, target in METRICS.items()}
    assert said == {name: {"higher": "high", "lower": "low"}[side] for name, side in directions.items()}


def test_the_suite_of_the_page_is_read() -> None:
    """The metrics of the example take their options, and are renamed where they say so."""
    (block,) = blocks("toml")
    made = []
    for table in tomllib.loads(block)["metrics"]:
        options = {key: value for key, value in table.items() if key not in ("use", "threshold")}
        made.append(resolve(METRICS[table["use"]])(options).name)
    assert made == ["expected_actions", "groundedness", "tool_calls"]


def test_every_condition_of_the_page_is_one() -> None:
    """The conditions are written as the code reads them."""
    cells = [cell for cell, _ in rows("Actions", "| condition | holds for |")]
    written = [each.replace("[...]", "[]").replace(": n}", ": 1}") for cell in cells for each in cell.split(", ")]
    conditions = [json.loads(each.strip("`")) for each in written]
    assert len(conditions) == 8
    assert all(is_condition(each) for each in conditions)


def test_the_turn_of_the_page_is_scored() -> None:
    """Each of its expectations is read by a metric."""
    (block,) = blocks("json")
    turn = json.loads(block)
    trial = transcript(Case("c", "p", turns=(Turn(turn["text"], turn["expect"]),)), answers=["", "Ann Lee, 12 mg"])
    assert [score(name, trial).value for name in ("contains", "retention", "correction")] == [1.0, 1.0, 1.0]


def test_the_options_of_groundedness_are_in_the_table() -> None:
    """The table is complete, and the default it names is the default."""
    assert {name.strip("`") for name, _ in rows("Groundedness", "| option | |")} == set(
        GroundednessOptions.model_fields
    ) - {"name"}
    assert f"`support`, {GroundednessOptions().support}" in TEXT


def test_the_findings_of_the_witness_are_in_the_table() -> None:
    """The table names the details that the code gives."""
    detail = audit_completeness(transcript(steps=[step("pay")], effects=())).detail
    named = {name.strip("`") for name, _ in rows("The witness", "| | |")}
    assert named == set(detail) - {"matched", "tally"}


def test_the_metric_of_the_page_works() -> None:
    """The example keeps the contract."""
    plain, block = blocks("python")
    names: dict[str, Any] = {}
    exec(plain, names)
    polite = factory(names["politeness"])
    assert polite is not None
    assert check(polite({}), transcript(answers=["Thank you."])).value == 1.0
    assert check(polite({"words": ["bye"]}), transcript(answers=["Thank you."])).value == 0.0
    exec(block, names)
    metric = names["make"]({})
    assert check(metric, transcript(answers=["Thank you."])).value == 1.0
    assert check(metric, transcript(answers=["Bye."])).value == 0.0
    assert check(metric, transcript()).status == "not_measured"


@pytest.mark.parametrize("row", rows("Groundedness", "| data |"), ids=lambda row: row[0].split()[0])
def test_the_figures_of_the_page_agree_with_each_other(row: list[str]) -> None:
    """The accuracy follows from the counts, and the counts from what was measured."""
    data, kept, found, accuracy = row
    (a, b), (c, d) = (tuple(map(int, cell.split(" of "))) for cell in (kept, found))
    assert f"{(a / b + c / d) / 2:.2f}" == accuracy
    assert f"{b + d} measured" in data


SHARED = Path(__file__).parents[4] / "shared" / "data" / "faithfulness"


def labelled(name: str) -> list[tuple[str, str, bool]]:
    """Context, answer and label of each answer of a public data set."""
    begin = name == "BEGIN"
    with gzip.open(
        SHARED / ("begin_dev.jsonl.gz" if begin else "halueval_qa.jsonl.gz"), "rt", encoding="utf-8"
    ) as file:
        read = [json.loads(line) for line in file]
    if begin:
        kept = [row for row in read if row["begin_label"] != "Generic"]
        return [(row["knowledge"], row["response"], row["begin_label"] == "Fully attributable") for row in kept]
    return [
        (row["knowledge"], row[f"{kind}_answer"], kind == "right") for row in read for kind in ("right", "hallucinated")
    ]


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data/faithfulness, which is absent")
@pytest.mark.parametrize("name", ["BEGIN", "HaluEval"])
def test_the_figures_of_the_page_are_what_comes_out(name: str) -> None:
    """Scored again on the same data, the baseline tells as much as the page says of it."""
    right, total = {True: 0, False: 0}, {True: 0, False: 0}
    for context, answer, label in labelled(name):
        case = Case("c", "p", documents=(Document("d", context),))
        value = score("groundedness", transcript(case, answers=[answer])).value
        if value is not None:
            total[label] += 1
            right[label] += (value == 1.0) is label
    (row,) = [row for row in rows("Groundedness", "| data |") if row[0].startswith(name)]
    assert row[1:3] == [f"{right[label]} of {total[label]}" for label in (True, False)]
