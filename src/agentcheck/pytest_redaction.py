"""What pytest itself prints and writes beside our reports, with secrets taken out: reports, logs and warnings.

pytest shows what code under test printed, logged, warned of and raised, on the terminal, in ``--junitxml`` and in
``--log-file``. Each function changes what pytest holds before anybody is shown it. With ``-s`` code under test writes
to the terminal by itself, past all of this.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import pytest
from _pytest._code.code import TerminalRepr

from agentcheck.reporting.safe_text import visible

Redact = Callable[[str], str]
#: Characters of what agents print that are kept for the next case that fails.
PRINTED = 20_000
#: Plugins of pytest, since 8.4, that keep what threads and finalizers raised, and their function that tells it.
_KEEPERS = {"threadexception": "collect_thread_exception", "unraisableexception": "collect_unraisable"}


def hide_in_report(report: pytest.TestReport | pytest.CollectReport, redact: Redact) -> None:
    """Redact a report in place: why it failed or was skipped, and the sections with what was captured."""
    report.longrepr = hide(report.longrepr, redact)
    report.sections = [(name, redact(text)) for name, text in report.sections]


def hide(value: Any, redact: Redact) -> Any:
    """Texts of a failure as pytest holds it (text, lines, tuples, a tree of representations), redacted.

    Lines are redacted together, because a private key stands in several of them.
    """
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, (list, tuple)):
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return redact("\n".join(value)).split("\n")
        return type(value)(hide(item, redact) for item in value)
    if isinstance(value, TerminalRepr) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        for name, held in vars(value).items():
            if name != "style":
                setattr(value, name, hide(held, redact))
    return value


def hide_in_warning(warning: warnings.WarningMessage, redact: Redact) -> None:
    """Redact the text of a warning in place."""
    text = str(warning.message)
    if redact(text) != text:
        warning.message = redact(text)


def tell_lost(config: pytest.Config) -> None:
    """Warn now of what threads and finalizers of code under test raised.

    pytest does so around Python tests, and else when the process ends, where it goes to standard error as it is.
    """
    for plugin, name in _KEEPERS.items():
        collect = getattr(sys.modules.get(f"_pytest.{plugin}"), name, None)
        if collect is not None and config.pluginmanager.hasplugin(plugin):
            with warnings.catch_warnings():
                warnings.simplefilter("always")  # never an error of ours
                collect(config)


class Aside:
    """``sys.stdout`` and ``sys.stderr`` while pytest writes to the terminal: what other threads write is kept.

    Synchronous agents run in threads, which go on meanwhile. What they write past Python (a child process, a
    descriptor) in these moments is not seen, nor what they write while pytest writes a line of a live log.
    """

    def __init__(self, keep: Callable[[str, str], None]) -> None:
        self._keep = keep
        self._ends: list[Callable[[], None]] = []

    def begin(self, capture: Any = None) -> None:
        """Stand in front of both streams, for all threads but this one; more than once is no more than once.

        ``capture`` is pytest's capture of streams, or of descriptors and streams. It puts back what it found whenever
        it pauses: from now on that is what stands in front, so no moment is left in which nothing does.
        """
        if self._ends:
            return
        for name, kind in (("stdout", "out"), ("stderr", "err")):
            before = getattr(sys, name)
            guard = _Guard(before, name, self._keep)
            found = getattr(capture, kind, None)
            self._replace(getattr(found, "syscapture", found), "_old", before, guard)
            self._replace(sys, name, before, guard)

    def _replace(self, holder: Any, name: str, before: Any, guard: Any) -> None:
        if getattr(holder, name, None) is not before:
            return
        setattr(holder, name, guard)

        def put_back() -> None:
            if getattr(holder, name, None) is guard:  # and nobody else has done so, or ended it
                setattr(holder, name, before)

        self._ends.append(put_back)

    def end(self) -> None:
        """Put the streams back."""
        while self._ends:
            self._ends.pop()()


class Printed:
    """What agents and worlds print while cases run: kept out of pytest's own lines, for the next case that fails."""

    def __init__(self, config: pytest.Config, redact: Redact) -> None:
        self._config = config
        self._redact = redact
        self._texts = {"stdout": "", "stderr": ""}
        self._aside = Aside(self._keep)
        config.add_cleanup(self._aside.end)

    @contextlib.contextmanager
    def captured(self) -> Iterator[None]:
        """Keep what agents and worlds print out of the progress line, as pytest does it for tests."""
        manager = self._config.pluginmanager.get_plugin("capturemanager")
        capture = getattr(manager, "_global_capturing", None)  # None too where an interrupt has ended it
        if manager is None or capture is None or not manager.is_globally_capturing():
            yield
            return
        self._aside.begin(capture)
        # An interrupt ends pytest's capture at any moment, also in the middle of these calls, which then assert.
        over = contextlib.suppress(AssertionError, AttributeError, ValueError)
        with over:
            manager.resume_global_capture()
        try:
            yield
        finally:
            with over:
                manager.suspend_global_capture()
                for kind, text in zip(("stdout", "stderr"), manager.read_global_capture(), strict=True):
                    if text:
                        self._keep(kind, text)

    def _keep(self, kind: str, text: str) -> None:
        # Twice of what is told: what the cut leaves of a secret is no longer known as one.
        self._texts[kind] = (self._texts[kind] + text)[-2 * PRINTED :]

    def take(self) -> list[tuple[str, str]]:
        """What was printed since a case last failed; cases run side by side, so it may be of any of them."""
        found = [
            (f"Captured {kind} of this case and others", visible(self._redact(text)[-PRINTED:]))
            for kind, text in self._texts.items()
            if text
        ]
        self._texts = dict.fromkeys(self._texts, "")
        return found


class _Guard:
    def __init__(self, stream: TextIO, name: str, keep: Callable[[str, str], None]) -> None:
        self._stream = stream
        self._name = name
        self._keep = keep
        self._thread = threading.get_ident()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if threading.get_ident() == self._thread:
            return self._stream.write(text)
        self._keep(self._name, text)
        return len(text)


class _Formatter(logging.Formatter):
    def __init__(self, inner: logging.Formatter, redact: Redact) -> None:
        super().__init__()
        self._inner = inner
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The line, redacted."""
        return self._redact(self._inner.format(record))


def hide_in_logs(config: pytest.Config, redact: Redact) -> None:
    """Redact what pytest writes of the log, live and into ``--log-file``; once is enough."""
    plugin = config.pluginmanager.get_plugin("logging-plugin")
    for name in ("log_file_handler", "log_cli_handler"):
        handler = getattr(plugin, name, None)
        if isinstance(handler, logging.Handler) and not isinstance(handler.formatter, _Formatter):
            handler.setFormatter(_Formatter(handler.formatter or logging.Formatter(), redact))
