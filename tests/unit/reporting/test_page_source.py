"""The HTML page as text: self-contained, bounded, readable; a browser tries it in `tests/acceptance`."""

from __future__ import annotations

import base64
import hashlib
import html as entities
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fakes_report
from agentcheck.errors import ExitCode
from agentcheck.records import Case, Transcript
from agentcheck.reporting import html
from agentcheck.reporting.report import CaseResult, Report, Run, SuiteResult, TrialResult

CSS = (Path(html.__file__).parent / "templates" / "report.css").read_text("utf-8")


class Page(HTMLParser):
    """The elements and attributes of a page, and the text of its cases."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def ids(self) -> list[str]:
        return [value for _, name, value in self.attributes if name == "id"]


def data(text: str) -> dict[str, list[list[object]]]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found
    values: dict[str, list[list[object]]] = json.loads(found.group(1))
    return values


def test_the_page_names_nothing_outside_itself() -> None:
    """No element has an address but anchors of the page and the empty icon."""
    page = Page(html.render(fakes_report.report()))
    addresses = [v for _, name, v in page.attributes if name in ("href", "src", "action", "srcset", "data", "poster")]
    assert all(value.startswith("#") or value == "data:," for value in addresses)
    assert not {"iframe", "object", "embed", "img", "base"} & set(page.tags)
    assert not re.search(r"@import|url\(", CSS)


def test_the_policy_allows_exactly_our_style_and_script() -> None:
    """The Content-Security-Policy names the hashes of what is in the page, and nothing may be fetched."""
    text = html.render(fakes_report.report())
    policy = entities.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', text).group(1))  # type: ignore[union-attr]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (source,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'" in policy
    page = Page(text)
    assert not [name for _, name, _ in page.attributes if name == "style" or name.startswith("on")]


def test_ids_are_unique_and_links_lead_somewhere() -> None:
    """Each score links to events that are in the page."""
    page = Page(html.render(fakes_report.report()))
    assert len(page.ids()) == len(set(page.ids()))
    links = [value[1:] for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert len(links) > 5
    assert set(links) <= set(page.ids())


def test_a_case_keeps_its_anchor_between_runs() -> None:
    """A link to a case stays good when other cases come and go."""
    first, second = html.render(fakes_report.report()), html.render(fakes_report.report())
    anchor = r'<details class="case s-fail" id="(c-[0-9a-f]{12})" data-status="fail" data-suite="payables"'
    assert re.findall(anchor, first) == re.findall(anchor, second) != []


def test_what_did_not_pass_is_there_without_a_script_and_the_first_is_open() -> None:
    """Failing cases are HTML in order of need; exactly the first stands open; all others are rows of data."""
    text = html.render(fakes_report.report())
    shown = re.findall(r'<details class="case s-(\w+)"[^>]*?( open)?>', text)
    assert shown == [
        ("fail", " open"),
        *(("fail", ""),) * 2,
        *(("error", ""),) * 2,
        ("inconclusive", ""),
        ("aborted", ""),
    ]
    assert len(data(text)["rows"]) == 35 - 7


def test_passing_cases_carry_their_events_where_they_fit() -> None:
    """The timeline of a passing case is in a template, drawn when it is opened."""
    text = html.render(fakes_report.report())
    (template,) = re.findall(r"<template.*?</template>", text, re.S)
    assert "rx-5512" in template


@pytest.mark.parametrize(("cases", "templates"), [(html.MAX_RUN_WITH_PASSING, html.MAX_PASSING), (1_001, 0)])
def test_a_large_run_reads_no_events_of_passing_cases_back(cases: int, templates: int) -> None:
    """Up to a thousand cases passing ones carry events, two hundred at most; beyond, rows are all there is."""
    assert html.render(fakes_report.large(cases, 1)).count("<template") == templates


def test_ten_thousand_cases_make_a_page_of_bounded_size() -> None:
    """Failures beyond the limit are rows with the command that shows them, and are counted; the page stays small."""
    text = html.render(fakes_report.large(10_000, 900))
    assert len(text) < 8_000_000
    assert text.count('<details class="case') == html.MAX_SHOWN
    assert len(data(text)["rows"]) == 10_000 - html.MAX_SHOWN
    assert "The events of 500 more cases that did not pass are not in this page" in text


def test_a_long_trial_and_a_long_text_are_cut_and_counted() -> None:
    """The page says how many events and characters it leaves to the ledger."""
    trial = fakes_report.Trial("s", "c", "x" * (html.MAX_TEXT + 11))
    for _ in range(html.MAX_ENTRIES + 5):
        trial.think("again")
    found = fakes_report.transcript.fold(trial.events)
    row = CaseResult("c", "fail", ("r",), (TrialResult(trial.session, 1, "fail"),))
    report = Report(Run("r", 0), (SuiteResult("s", cases=(row,), collected=1),), transcript=lambda session: found)
    text = html.render(report)
    assert "(11 more characters)" in text
    assert "7 more events are in the ledger." in text


def test_one_endless_case_does_not_fill_the_page() -> None:
    """The text of one case is bounded, whatever its trials hold, and the events without room are counted."""
    trial = fakes_report.Trial("s", "c", "p")
    for _ in range(html.MAX_ENTRIES - 2):
        trial.think("x" * html.MAX_TEXT)
    found = fakes_report.transcript.fold(trial.events)
    rows = tuple(TrialResult(trial.session, number, "fail") for number in range(1, 6))
    report = Report(
        Run("r", 0), (SuiteResult("s", cases=(CaseResult("c", "fail", (), rows),)),), transcript=lambda session: found
    )
    text = html.render(report)
    assert len(text) < html.MAX_CASE_TEXT * 2
    assert "200 more events are in the ledger." in text


def test_of_many_trials_those_that_did_not_pass_come_first() -> None:
    """The limit of trials per case cannot cut off the one that failed."""
    trials = tuple(TrialResult(f"s::c#{n}", n, "fail" if n == 40 else "pass") for n in range(1, 41))
    row = CaseResult("c", "fail", ("r",), trials)
    found = Transcript(Case("c", "p"), "s")
    text = html.render(Report(Run("r", 0), (SuiteResult("s", cases=(row,)),), transcript=lambda session: found))
    assert "Trial 40" in text
    assert "20 more trials are in the ledger." in text


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        (fakes_report.report(), "Blocked: 3 of 37 cases failed."),
        (fakes_report.passing(), "Passed: all 3 cases."),
        (Report(Run("r", 0), exit_code=ExitCode.NOTHING_RAN), "Nothing ran."),
        (
            Report(Run("r", 0), (SuiteResult("s", cases=(CaseResult("c", "error"),)),), ExitCode.HARNESS),
            "Something broke around the agent: 1 of 1 case ended in an error.",
        ),
        (
            Report(
                Run("r", 0), (SuiteResult("s", cases=(CaseResult("c", "pass"),), collected=2),), ExitCode.INTERRUPTED
            ),
            "Interrupted: 1 of 2 cases passed until then.",
        ),
        (
            Report(Run("r", 0), (SuiteResult("s", cases=(CaseResult("c", "pass"),)),), ExitCode.GATE_FAILED),
            "Blocked: a gate failed.",
        ),
    ],
)
def test_the_headline_answers_first(report: Report, sentence: str) -> None:
    """One sentence says whether the merge is blocked and by how much."""
    assert html.headline(report) == sentence
    assert f"<h1>{sentence}</h1>" in html.render(report)


def _palettes() -> list[dict[str, str]]:
    blocks = re.findall(r":root[^{]*\{([^}]*--paper[^}]*)\}", CSS)
    return [dict(re.findall(r"--([a-z]+): (#[0-9a-f]{3,6})", block)) for block in blocks]


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_text_colour_has_contrast_on_every_ground() -> None:
    """Text reaches 4.5:1 (WCAG 2.2, 1.4.3) in light, dark and print, on plain and on marked ground."""
    palettes = _palettes()
    assert len(palettes) == 4
    for palette in palettes:
        grounds = [palette[name] for name in ("paper", "raised", "cite")]
        inks = [
            palette[name]
            for name in ("ink", "soft", "accent", "pass", "fail", "error", "hold", "rest")
            if name in palette
        ]
        for ground, ink in product(grounds, inks):
            light, dark = sorted((_luminance(ground), _luminance(ink)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ground, ink)


def test_both_dark_palettes_are_one() -> None:
    """Choosing dark and having a dark system give the same colours."""
    light, system, chosen, _ = _palettes()
    assert system == chosen != light


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=40))
def test_no_text_adds_an_element_or_an_attribute(text: str) -> None:
    """The structure of the page is the same whatever the texts say."""

    def shape(report: Report) -> tuple[list[str], list[tuple[str, str]]]:
        page = Page(html.render(report))
        return page.tags, [(tag, name) for tag, name, _ in page.attributes]

    assert shape(fakes_report.hostile(text)) == shape(fakes_report.hostile("plain"))


def test_a_damaged_or_old_compiled_template_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a template is checked: a cut, foreign or outdated file never changes or stops a page."""
    templates = tmp_path / "templates"
    shutil.copytree(html._TEMPLATES, templates, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(html, "_TEMPLATES", templates)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)

    def page() -> str:
        html._environment.cache_clear()
        return html.render(fakes_report.report())

    expected = page()
    kept = sorted((templates / "__pycache__").iterdir())
    assert len(kept) == 2
    whole = [path.read_bytes() for path in kept]
    for damaged in (b"", b"no bytecode", whole[0][:20], whole[0][:-40]):
        for path in kept:
            path.write_bytes(damaged)
        assert page() == expected
    assert [path.read_bytes() for path in kept] == whole
    template = templates / "report.html.j2"
    template.write_text(template.read_text("utf-8") + "<!-- newer -->", "utf-8")
    assert page().endswith("<!-- newer -->")
    html._environment.cache_clear()
