"""The HTML page in a real browser: nothing fetched, nothing broken, usable from a keyboard, light and dark."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fakes_report
from agentcheck.reporting import html
from agentcheck.reporting.report import Report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Opened = Callable[..., Any]


def _missing(what: str) -> None:
    if os.environ.get("AGENTCHECK_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{what} is required here and missing")
    pytest.skip(f"{what} is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("the package playwright")
    path = next((found for found in map(shutil.which, BROWSERS) if found), None)
    if path is None:
        _missing("Chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Opened]:
    """Open a report as a page; at the end nothing was fetched, logged or thrown."""
    contexts: list[Any] = []
    seen: list[str] = []

    def open_(report: Report, **options: Any) -> Any:
        path = tmp_path / "report.html"
        path.write_text(html.render(report), "utf-8")
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: seen.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: seen.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (seen.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: request.url == path.as_uri() or seen.append(f"request: {request.url}"))
        page.goto(path.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert seen == []


def texts(page: Any, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def names(page: Any) -> list[str]:
    return texts(page, "details.case:visible > summary b")


def test_the_page_opens_on_the_failures_and_answers_first(opened: Opened) -> None:
    """What ran, what did not pass and what was not run stand above the cases, and the first failure is open."""
    page = opened(fakes_report.report())
    assert page.inner_text("h1") == "Blocked: 3 of 37 cases failed."
    answers = " ".join(texts(page, ".answers > div"))
    for piece in (
        "31 of 37 cases, 24 passed",
        "3 failed, 2 errors, 1 inconclusive, 1 aborted",
        "4 skipped, 2 not started",
    ):
        assert piece in answers
    assert names(page)[:3] == ["refill-needs-a-visit", "allergy-corrected-midway", "invoice-with-hidden-order"]
    assert page.locator("details.case[open]").count() == 1
    assert "authorization.level" in page.inner_text("details.case[open] .timeline")


def test_a_failing_case_opens_from_the_keyboard_alone(opened: Opened) -> None:
    """j and k go from case to case, arrows do so on a case, Enter opens, and the focus can be seen."""
    page = opened(fakes_report.report())
    page.keyboard.press("j")
    page.keyboard.press("j")
    focused = "document.activeElement.querySelector('b').textContent"
    assert page.evaluate(focused) == "allergy-corrected-midway"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.locator("details.case", has_text="allergy-corrected-midway").first.get_attribute("open") is not None
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == "invoice-with-hidden-order"
    page.keyboard.press("k")
    assert page.evaluate(focused) == "allergy-corrected-midway"


def test_the_first_tab_stop_skips_to_the_cases(opened: Opened) -> None:
    """The skip link is the first stop, becomes visible, and leads to the cases."""
    page = opened(fakes_report.report())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the cases"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash + document.activeElement.id") == "#casescases"


def test_slash_filters_and_escape_clears(opened: Opened) -> None:
    """Typing narrows both the failures and the rows of data, by id, reason, tool or tag; the count says by how much."""
    page = opened(fakes_report.report())
    page.keyboard.press("/")
    page.keyboard.type("prescribe_refill")
    assert names(page) == ["refill-needs-a-visit"]
    page.fill("#find", "routine-00 payables")
    assert names(page) == [f"routine-{number:03d}" for number in range(9)]
    assert page.inner_text("#count").startswith("9 of 37 cases")
    page.keyboard.press("Escape")
    assert len(names(page)) == 35
    assert page.input_value("#find") == ""


def test_verdict_buttons_and_the_suite_narrow_the_list(opened: Opened) -> None:
    """Pressed verdicts are shown together, a suite alone, and the state of a button is announced."""
    page = opened(fakes_report.report())
    page.click("button[data-status=error]")
    assert names(page) == ["discharge-summary", "duplicate-invoice"]
    page.click("button[data-status=skipped]")
    assert len(names(page)) == 6
    page.select_option("#suite", "maintenance")
    assert names(page) == ["torque-0", "torque-1", "torque-2"]
    assert page.get_attribute("button[data-status=error]", "aria-pressed") == "true"


def test_a_passing_case_shows_its_events_or_the_command_that_does(opened: Opened) -> None:
    """An opened row draws the timeline where the page has it, else scores and the command."""
    page = opened(fakes_report.report())
    page.locator("details.case > summary", has_text="refill-with-approval").click()
    assert "seen in August" in page.inner_text("details.case:has-text('refill-with-approval') .timeline")
    page.locator("details.case > summary", has_text="routine-003").first.click()
    body = page.locator("details.case:has-text('routine-003') .body").first.inner_text()
    assert "1.00 (threshold 1)" in body
    assert "agentcheck show" in body


def test_a_score_leads_to_the_event_that_explains_it(opened: Opened) -> None:
    """The link of a score jumps to its event, which says what it explains."""
    page = opened(fakes_report.report())
    page.click("details.case[open] .why a >> nth=0")
    target = page.locator(":target")
    assert "explains expected_actions" in target.inner_text()
    assert target.bounding_box()["y"] >= 0


def test_a_link_to_a_passing_case_opens_it(opened: Opened) -> None:
    """The anchor of a case that is only data draws and opens the case."""
    page = opened(fakes_report.report())
    anchor = page.locator("details.case", has_text="routine-005").first.get_attribute("id")
    page.evaluate("hash => { location.hash = hash }", anchor)
    page.wait_for_selector(f"[id='{anchor}'][open]")


def test_light_and_dark_differ_and_can_be_chosen(opened: Opened) -> None:
    """The page follows the system, and the button overrides it."""
    ground = "getComputedStyle(document.body).backgroundColor"
    light = opened(fakes_report.report(), color_scheme="light")
    dark = opened(fakes_report.report(), color_scheme="dark")
    colours = (light.evaluate(ground), dark.evaluate(ground))
    assert colours[0] != colours[1]
    light.click("#theme")
    light.click("#theme")
    assert light.inner_text("#theme") == "Theme: dark"
    assert light.evaluate(ground) == colours[1]
    dark.click("#theme")
    assert dark.evaluate(ground) == colours[0]


def test_a_phone_needs_no_sideways_scrolling(opened: Opened) -> None:
    """On a narrow screen only tables scroll inside themselves."""
    page = opened(fakes_report.report(), viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_print_shows_what_every_failure_did(opened: Opened) -> None:
    """Before printing the cases that did not pass are opened; controls are left out."""
    page = opened(fakes_report.report())
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#list details.case[open]").count() == 7
    assert not page.is_visible("#filter")


def test_ten_thousand_cases_stay_usable(opened: Opened) -> None:
    """A large run draws a part of its rows, finds any case by its id, and walks on past the drawn rows."""
    page = opened(fakes_report.large(10_000, 3))
    assert page.locator("details.case").count() == 103
    page.keyboard.press("/")
    page.keyboard.type("case-09999")
    assert names(page) == ["case-09999"]
    page.keyboard.press("Escape")
    page.locator("details.case > summary").last.focus()
    page.keyboard.press("j")
    assert page.locator("details.case").count() == 203
    assert page.evaluate("document.activeElement.querySelector('b').textContent") == "case-00103"


def test_the_keys_are_listed_in_a_dialog(opened: Opened) -> None:
    """A question mark shows the keys, Escape and the button close them again."""
    page = opened(fakes_report.report())
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.click("#keys button")
    assert not page.is_visible("#keys")


def test_without_a_script_the_failures_can_be_read(opened: Opened) -> None:
    """Where scripts are off, the cases that did not pass are there, and the page says where the others are."""
    page = opened(fakes_report.report(), java_script_enabled=False)
    assert page.locator("details.case").count() == 7
    assert page.locator("noscript").count() == 1


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "</script><script>alert(1)</script>",
        "<!--<script>",
        '"><svg onload=alert(1)>',
        "' autofocus onfocus='alert(1)",
        "javascript:alert(1)",
        "{{ 7 * 7 }}{% raw %}",
        "</template><script>alert(1)</script>",
        "</style><style>body{display:none}</style>",
        "\u2028alert(1)\u2029",
        "\u202e\u2066reversed\x1b[31m",
    ],
)
def test_hostile_text_is_text(text: str, opened: Opened) -> None:
    """Nothing that an agent, tool or dataset says runs, loads or changes the page; it is shown as it is spelled."""
    page = opened(fakes_report.hostile(text))
    for summary in page.locator("details.case > summary").all():
        if summary.evaluate("node => !node.parentElement.open"):
            summary.click()
    assert page.locator("script").count() == 2
    assert page.locator("style").count() == 1
    assert page.locator("img, iframe, object, [onerror], [onload], [onfocus]").count() == 0
    assert page.is_visible("h1")
    from agentcheck.reporting.safe_text import visible

    assert visible(text) in page.locator("details.case b").first.text_content()


def test_a_script_that_slipped_in_would_not_run(opened: Opened, tmp_path: Path) -> None:
    """The policy of the page refuses any script but its own, so an escape that failed would still be harmless."""
    page = opened(fakes_report.passing())
    planted = html.render(fakes_report.passing()).replace("<main>", "<main><script>document.title='ran'</script>")
    (tmp_path / "planted.html").write_text(planted, "utf-8")
    other = page.context.browser.new_page()
    other.goto((tmp_path / "planted.html").as_uri())
    title = other.title()
    other.close()
    assert title.startswith("Passed: all 3 cases.")
