"""What pytest holds of a failure, a log and a warning, without secrets; what threads write meanwhile."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import cli
from agentcheck.pytest_redaction import Aside, hide, hide_in_logs, hide_in_report, hide_in_warning

PROJECT = """
import pytest

pytestmark = pytest.mark.agentcheck(policy="UnsafeAllowAll", unknown_tools="allow")


def test_governed(governed):
    print(f"password: {'2retnuh'[::-1]}")
    assert governed.tools == 0, f"password: {'2retnuh'[::-1]}"


def test_free():
    assert False, f"password: {'3retnuh'[::-1]}"
"""


def redact(text: str) -> str:
    """A redactor for tests; what it hides may stand in two lines."""
    return text.replace("hun\nter", "[x]").replace("hunter", "[x]")


def test_the_tree_of_a_failure_is_redacted() -> None:
    """Every text of a traceback is looked at, lines together; what is no text stays."""
    try:
        try:
            raise ValueError("hunter")
        except ValueError as error:
            raise RuntimeError("a hunter b") from error
    except RuntimeError as error:
        found = pytest.ExceptionInfo.from_exception(error)
    shown: Any = found.getrepr(style="long", showlocals=True)
    assert "hunter" in str(shown)
    line = shown.reprcrash.lineno
    hidden = hide(shown, redact)
    assert "hunter" not in str(hidden)
    assert "RuntimeError: a [x] b" in str(hidden)
    assert hide(["a hun", "ter b"], redact) == ["a [x] b"]
    assert hidden.reprcrash.lineno == line
    assert hide(("a.py", 3, "Skipped: hunter"), redact) == ("a.py", 3, "Skipped: [x]")
    assert hide(None, redact) is None


def test_the_sections_of_a_report_are_redacted() -> None:
    """What was captured is shown in sections, of cases, of tests and of collectors."""
    report = pytest.CollectReport("a", "failed", "hunter", [], [("Captured stdout", "by hunter")])
    hide_in_report(report, redact)
    assert (report.longrepr, report.sections) == ("[x]", [("Captured stdout", "by [x]")])


def test_a_warning_is_redacted_and_a_clean_one_left_alone() -> None:
    """The text of a warning changes only where something was found."""
    for message in (UserWarning("hunter"), UserWarning("plain")):
        warning = warnings.WarningMessage(message, UserWarning, "a.py", 1)
        hide_in_warning(warning, redact)
        assert (warning.message is message) == (str(message) == "plain")
        assert "hunter" not in str(warning.message)


def test_the_log_is_redacted_once(pytestconfig: pytest.Config) -> None:
    """The handlers of pytest write what the formatter gives, redacted, however often this was asked for."""
    plugin: Any = pytestconfig.pluginmanager.get_plugin("logging-plugin")
    handler = plugin.log_file_handler
    before = handler.formatter, plugin.log_cli_handler.formatter
    try:
        hide_in_logs(pytestconfig, redact)
        wrapped = handler.formatter
        hide_in_logs(pytestconfig, redact)
        assert handler.formatter is wrapped
        record = logging.LogRecord("shop", logging.ERROR, "a.py", 1, "by %s", ("hunter",), None)
        assert "by [x]" in handler.format(record)
    finally:
        handler.setFormatter(before[0])
        plugin.log_cli_handler.setFormatter(before[1])


def test_only_other_threads_are_kept_aside(capsys: pytest.CaptureFixture[str]) -> None:
    """The main thread writes as always; what others write is handed over; at the end the streams are as before."""
    kept: list[tuple[str, str]] = []
    before = sys.stdout, sys.stderr
    aside = Aside(lambda name, text: kept.append((name, text)))
    aside.begin()
    try:
        print("here")
        other = threading.Thread(target=lambda: (print("there"), sys.stderr.write("too")))
        other.start()
        other.join()
        assert sys.stdout.encoding == before[0].encoding
    finally:
        aside.end()
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("here\n", "")
    assert kept == [("stdout", "there"), ("stdout", "\n"), ("stderr", "too")]


def test_what_a_capture_puts_back_keeps_aside_too() -> None:
    """Whenever pytest pauses its capture of either kind, other threads still write into no terminal."""
    kept: list[tuple[str, str]] = []
    before = sys.stdout
    capture = SimpleNamespace(
        out=SimpleNamespace(syscapture=SimpleNamespace(_old=sys.stdout)), err=SimpleNamespace(_old=sys.stderr)
    )
    aside = Aside(lambda name, text: kept.append((name, text)))
    aside.begin(capture)
    try:
        sys.stdout = capture.out.syscapture._old
        other = threading.Thread(target=lambda: sys.stdout.write("there"))
        other.start()
        other.join()
        assert kept == [("stdout", "there")]
        assert capture.err._old is sys.stderr
    finally:
        aside.end()
    assert capture.out.syscapture._old is sys.stdout is before


def test_tests_that_are_governed_are_redacted_and_no_others(tmp_path: Path) -> None:
    """A Python test without our fixture is none of our business; one with it tells no secret, nor does its verdict."""
    (tmp_path / "test_it.py").write_text(PROJECT)
    done = cli.pytest_(tmp_path, "-q", "-rA")
    assert done.code == 1
    assert "hunter2" not in done.text
    assert "password: [redacted:secret:" in done.out
    assert "hunter3" in done.out
