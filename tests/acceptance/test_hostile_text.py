"""Hostile text from an agent, a tool or a dataset, through every report that agentcheck writes.

One run whose every outside string is the attack; each report kind is read the way its reader would read it. The page
in a browser is tried in `test_html_page.py`.
"""

from __future__ import annotations

import csv
import html as entities
import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fakes_report
from agentcheck import plugins
from agentcheck.reporting import frame, html, json_report, junit, safe_text, sarif, summary, terminal
from agentcheck.reporting.report import Report

ATTACKS = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>\"'>",
    "terminal": "\x1b[2J\x1b]0;owned\x07\x1b]8;;http://x\x07\x9b31m\rdone\x08\x08",
    "formula": '=HYPERLINK("http://x","y")',
    "command": "@SUM(1+1)*cmd|' /C calc'!A0",
    "path": "../../../../etc/passwd\x00.html",
    "markdown": "x](http://x) **b** `c` | @admin #1 <b>\n\n# heading\n| a | b |\n</details>",
    "xml": "]]><x/>\x00\x01\x0b\ufffe\ud800&amp;<!--",
    "bidi": "a\u202eb\u2066c\u200b\u2069",
    "json": '"},"x":{"__proto__":1}\u2028',
    "template": "{{ config }}{% for a in b %}{# c #}",
}
ANY = st.text(st.characters(exclude_categories=()), min_size=1, max_size=40)
#: What must never reach a reader as it is: controls, and characters that hide or reverse others.
ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def check_terminal(report: Report) -> None:
    look = terminal.Look(width=100)
    text = terminal.stored(report, look) + terminal.failure(report, *next(report.shown()), look)
    found = report.transcript(report.suites[0].cases[0].trials[0].session)
    assert found is not None
    assert not ACTIVE.search(text + terminal.timeline(found, look, full=True))


def check_json(report: Report) -> None:
    text = json.dumps(json_report.to_dict(report))
    assert text.isascii()
    assert not ACTIVE.search(text.replace("\x7f", ""))
    assert json.loads(text)["suites"][0]["name"] == report.suites[0].name


def check_junit(report: Report) -> None:
    root = ElementTree.fromstring(junit.render(report))
    assert {element.tag for element in root.iter()} <= {
        "testsuites",
        "testsuite",
        "properties",
        "property",
        "testcase",
        "failure",
        "skipped",
        "system-out",
    }
    assert not ACTIVE.search(ElementTree.tostring(root, encoding="unicode"))


def check_html(report: Report) -> None:
    text = html.render(report)
    assert not ACTIVE.search(text)
    body = text.partition("</style>")[2]
    assert body.count("<script") == 2
    assert not re.search(r"<img|<svg on|<b>\d+</b><x|onerror\s*=\s*[^&]*>[^<]*<img", body)
    assert text.count("<template") == text.count("</template>")


def check_summary(report: Report) -> None:
    text = summary.render(report)
    assert not ACTIVE.search(text)
    # Outside our own elements no text of the run is left that Markdown could read.
    rest = re.sub(r"<code>[^<>`|*_@\[\]]*</code>|<pre>[^<>@]*</pre>", "", text)
    assert set(re.findall(r"</?[a-z]+>", rest)) <= {"<details>", "</details>", "<summary>", "</summary>", "<br>"}
    assert "@" not in rest
    assert "](" not in rest
    assert len(re.findall(r"^#+ ", text, re.M)) == 2


def check_sarif(report: Report) -> None:
    text = json.dumps(sarif.to_dict(report))
    assert text.isascii()
    for result in json.loads(text)["runs"][0]["results"]:
        assert not ACTIVE.search(result["message"]["text"] + result["ruleId"])
        assert not re.search(r"(?<!\\)\[", result["message"]["text"].replace("\\\\", ""))
        for location in result.get("locations", ()):
            uri = location["physicalLocation"]["artifactLocation"]["uri"]
            assert re.fullmatch(r"(?:[A-Za-z0-9._~/-]|%[0-9A-F]{2})+", uri)


CHECKS: dict[str, Callable[[Report], None]] = {
    "terminal": check_terminal,
    "json": check_json,
    "junit": check_junit,
    "html": check_html,
    "summary": check_summary,
    "sarif": check_sarif,
}


@pytest.mark.parametrize("kind", CHECKS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_harmless_in_each_report(attack: str, kind: str) -> None:
    """Each attack, in every string of the run at once, does nothing to the reader of any report."""
    CHECKS[kind](fakes_report.hostile(ATTACKS[attack]))


@pytest.mark.parametrize("kind", CHECKS)
@settings(max_examples=20, deadline=None)
@given(ANY)
def test_any_text_is_harmless_in_each_report(kind: str, text: str) -> None:
    """No text at all, known attack or not, does anything to the reader of any report."""
    CHECKS[kind](fakes_report.hostile(text))


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_harmless_in_a_spreadsheet(attack: str, tmp_path: Path) -> None:
    """No cell or heading of the exported tables is a formula, and none breaks its row."""
    pytest.importorskip("pandas")
    report = fakes_report.hostile(ATTACKS[attack])
    for table in (frame.trials(report), frame.actions(report)):
        path = frame.write_csv(table, tmp_path / "out.csv")
        assert not ACTIVE.search(path.read_text("utf-8"))
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        assert {len(row) for row in rows} == {len(table.columns)}
        assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_report_is_written_outside_its_folder(attack: str, tmp_path: Path) -> None:
    """Names of runs, suites and cases never choose where a file goes."""
    folder = tmp_path / "reports" / "run"
    registry = plugins.load(entry_points=False)
    for name in registry.names("reporters"):
        list(registry.get("reporters", name)(fakes_report.hostile(ATTACKS[attack]), folder))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == [
        "findings.sarif",
        "junit.xml",
        "report.html",
        "report.json",
        "summary.md",
    ]
    assert {path.parent for path in files} == {folder}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY)
def test_a_file_named_after_a_case_stays_in_its_folder(tmp_path: Path, text: str) -> None:
    """A name made from any text is a file directly inside the folder."""
    path = tmp_path / safe_text.file_name(text)
    path.write_text("x")
    assert path.resolve().parent == tmp_path.resolve()
    path.unlink()


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_shown_and_not_dropped(attack: str) -> None:
    """Harmless does not mean gone: a reader sees that it was tried, spelled out."""
    report = fakes_report.hostile(ATTACKS[attack])
    spelled = safe_text.visible(ATTACKS[attack])
    assert entities.escape(spelled, quote=False).replace('"', "&#34;").replace("'", "&#39;") in html.render(report)
    wide = terminal.failure(report, *next(report.shown()), terminal.Look(width=4_000))
    assert safe_text.line(ATTACKS[attack]) in wide
