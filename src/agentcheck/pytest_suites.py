"""Suite files in pytest: collector, item, and the loop over the items. Imported when the first suite file is met.

The engine runs the whole selection with bounded concurrency; an item is a name that waits for its result and skips
pytest's fixture machinery. The run behind them is `agentcheck.pytest_run`, its end `agentcheck.pytest_finish`.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Generator, Iterable, Iterator
from difflib import get_close_matches
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import pluggy
import pytest
from _pytest.outcomes import Exit
from _pytest.terminal import TerminalReporter

from agentcheck.collection import Plan
from agentcheck.engine import CaseResult, Job
from agentcheck.errors import AgentcheckError, HarnessError, UserError
from agentcheck.ledger.redaction import for_no_run
from agentcheck.pytest_finish import Finish
from agentcheck.pytest_redaction import hide_in_report, tell_lost
from agentcheck.pytest_run import SuiteRun
from agentcheck.records import Case
from agentcheck.reporting import terminal
from agentcheck.reporting.safe_text import visible
from agentcheck.run_report import view

_NAME = "agentcheck-suites"
_MARKS = pytest.StashKey[dict[str, pytest.Mark]]()
#: Verdict -> pytest's outcome and phase. A failed "setup" is what pytest calls an error, everywhere.
_OUTCOMES = {
    "pass": ("passed", "call"),
    "fail": ("failed", "call"),
    "inconclusive": ("failed", "call"),
    "error": ("failed", "setup"),
    "aborted": ("skipped", "call"),
    "skipped": ("skipped", "setup"),
}


def of(config: pytest.Config) -> SuiteRun:
    """The run of this pytest session; made, and registered as a plugin, at the first call."""
    found = config.pluginmanager.get_plugin(_NAME)
    if found is None:
        with _ending(config):
            found = SuiteRun(config)
        config.pluginmanager.register(found, _NAME)
        config.pluginmanager.register(CaseLoop(found), f"{_NAME}-loop")
        config.pluginmanager.register(Finish(found), f"{_NAME}-finish")
    return found


def reach_store(config: pytest.Config) -> None:
    """End the session before anything is collected where the store of the run does not answer."""
    if not config.option.collectonly and not hasattr(config, "workerinput"):
        with _ending(config):
            of(config).folder.reach()


class _Ended(Exit):
    """Ends a session before it begins; pytest prints it as the name of its class, a colon and the message."""


_Ended.__name__, _Ended.__module__ = "agentcheck", "builtins"


@contextlib.contextmanager
def _ending(config: pytest.Config) -> Iterator[None]:
    """What stops a run before it begins ends the session with its own exit code, and without a traceback.

    Under ``agentcheck run`` it is told as every command tells its errors.
    """
    try:
        yield
    except UserError as error:
        text = visible(for_no_run().text(str(error)))
        if not config.getoption("--agentcheck-command"):
            raise pytest.UsageError(text) from None
        print(f"agentcheck: {text}", file=sys.stderr)
        raise pytest.UsageError from None  # pytest prints what it is given, which is nothing
    except AgentcheckError as error:
        raise _Ended(visible(for_no_run().text(str(error))), int(error.exit_code)) from None


class SuiteCollector(pytest.File):
    """A suite file; its cases are its items."""

    def collect(self) -> Iterator[pytest.Item]:
        """Load the suite and its dataset; a user's mistake is a collection error with its place."""
        run = of(self.config)
        plan = run.prepare(self.path)
        marks = [_mark(self.config, tag) for tag in (*plan.suite.spec.suite.tags, plan.suite.spec.suite.domain)]
        self.own_markers.extend(marks)
        self.keywords.update({mark.name: mark for mark in marks})
        reason = plan.suite.skip_reason
        if reason:
            yield CaseItem.from_parent(self, name="*", plan=plan, case=Case(id="*", prompt="", skip=reason))
        for case in plan.cases:
            yield CaseItem.from_parent(self, name=_node_name(case.id), plan=plan, case=case)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """A user's mistake needs no traceback of ours."""
        if isinstance(excinfo.value, AgentcheckError):
            return visible(str(excinfo.value))
        return super().repr_failure(excinfo)


def _mark(config: pytest.Config, tag: str) -> pytest.Mark:
    """A tag as a mark, for ``-m``; what an expression of marks cannot hold becomes an underscore."""
    marks: dict[str, pytest.Mark] = config.stash.setdefault(_MARKS, {})
    found = marks.get(tag)
    if found is None:
        name = re.sub(r"\W", "_", tag)
        config.addinivalue_line("markers", f"{name}: a tag of a suite")
        found = marks[tag] = getattr(pytest.mark, name).mark
    return found


def _node_name(case: str) -> str:
    """A case id as part of a node id: on one line, and without pytest's separator."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in case).replace("::", ":")


class CaseItem(pytest.Item):
    """One case; its result comes from the engine."""

    def __init__(self, *, plan: Plan, case: Case, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.case = case
        if case.tags:
            marks = [_mark(self.config, tag) for tag in case.tags]
            self.own_markers.extend(marks)
            self.keywords.update({mark.name: mark for mark in marks})

    @property
    def job(self) -> Job:
        """The case as the engine takes it."""
        return Job(self.plan, self.case, of(self.config).attempt(self.plan.suite.name, self.case.id))

    def runtest(self) -> None:
        """For plugins that run items by themselves; pytest's own loop goes through `CaseLoop`."""
        result = of(self.config).result(self.plan, self.case)
        if result.status not in ("pass", "skipped"):
            pytest.fail("\n".join(result.reasons), pytrace=False)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the case stands."""
        return self.path, None, self.name


class CaseLoop:
    """What pytest asks while suites are collected and their cases run; neighbouring cases run as one block."""

    def __init__(self, run: SuiteRun) -> None:
        self.run = run
        self.config = run.config
        self._block: list[CaseItem] = []  # to be run with its first item
        self._submitted: set[int] = set()
        self._announced = True  # the start and the end of each case, to plugins
        self._reported_path: Path | None = None
        self._hooks: dict[Path, pluggy.HookRelay] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Redact what is wrong with a suite, and what its modules printed when they were imported."""
        report = yield
        if isinstance(collector, SuiteCollector):
            hide_in_report(report, self.run.redact)
        return report

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave only the one case that was asked for; its id may be anything, so it is no expression and no node id."""
        wanted = config.getoption("--agentcheck-case")
        if wanted is None:
            return
        known = [item.case.id for item in items if isinstance(item, CaseItem)]
        if wanted not in known and self.run.worker == "main" and not self.run.user_errors:
            near = get_close_matches(wanted, known, 1)
            advice = f"did you mean {near[0]!r}?" if near else "`agentcheck list` shows all cases"
            error = UserError(f"no case is called {wanted!r}", advice=advice)
            raise pytest.UsageError(visible(self.run.redact(str(error))))
        kept = [item for item in items if isinstance(item, CaseItem) and item.case.id == wanted]
        left_out = [item for item in items if not (isinstance(item, CaseItem) and item.case.id == wanted)]
        items[:] = kept
        if left_out:
            config.hook.pytest_deselected(items=left_out)

    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Record the suites, unless only collecting; then run all items, neighbouring cases as one block.

        Returns None, so that another loop runs, where pytest-xdist hands out the items or a plugin wants each of them.
        """
        option = session.config.option
        stops = session.testsfailed and not option.continue_on_collection_errors
        if option.collectonly or stops or self.run.is_controller:
            return None
        try:
            self.run.begin(_selected(session.items))
        except AgentcheckError as error:
            self.run.broken = error
            raise session.Interrupted(self.run.redact(f"agentcheck: {error.what}")) from None
        hook = session.config.hook
        if self.run.worker != "main" or not (
            _is_pytests(hook.pytest_runtestloop) and _is_pytests(hook.pytest_runtest_protocol)
        ):
            return None
        self._announced = not self._is_quiet(hook)
        items, position = session.items, 0
        while position < len(items):
            # What pytest does around an item (warnings, assertions) costs more than reporting a case.
            self._block = _block(items, position)
            first, position = items[position], position + max(1, len(self._block))
            hook.pytest_runtest_protocol(item=first, nextitem=items[position] if position < len(items) else None)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
        return True

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """One report per case, from the engine's result."""
        if not isinstance(item, CaseItem):
            return None
        session = item.session
        for each in self._block or [item]:
            self._run(each, nextitem)
            if session.shouldfail or session.shouldstop:
                break
        tell_lost(self.config)
        return True

    def _run(self, item: CaseItem, nextitem: pytest.Item | None) -> None:
        hook = self._hooks.get(item.path)
        if hook is None:  # pytest looks for the conftest files of a path each time it is asked
            hook = self._hooks[item.path] = item.ihook
        location = (str(item.plan.suite.file), None, item.name)
        if self._announced or item.path != self._reported_path:
            self._reported_path = item.path
            hook.pytest_runtest_logstart(nodeid=item.nodeid, location=location)
        try:
            self._ahead(item, nextitem)
            result = self.run.result(item.plan, item.case)
        except HarnessError as error:
            self.run.broken = error
            item.session.shouldstop = self.run.redact(f"agentcheck: {error.what}")
            result = CaseResult("error", (), 0.0)
            report = _report(item, location, result, visible(self.run.redact(str(error))))
        else:
            report = _report(item, location, result, self._explain(item, result))
        if report.outcome == "failed":
            self.run.failed_reports += 1
            report.sections += self.run.printed.take()
        hook.pytest_runtest_logreport(report=report)
        if self._announced:
            hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=location)

    def _is_quiet(self, hook: pluggy.HookRelay) -> bool:
        """Whether nobody does anything at the start and the end of a case but name a new file."""
        return (
            self.config.get_verbosity() <= 0
            and not self.config.getini("log_cli")
            and not hasattr(TerminalReporter, "pytest_runtest_logfinish")  # writes the progress in older pytests
            and _is_pytests(hook.pytest_runtest_logstart)
            and _is_pytests(hook.pytest_runtest_logfinish)
        )

    def _ahead(self, item: CaseItem, nextitem: pytest.Item | None) -> None:
        """Give the engine what comes next: all cases up to the next Python test, or what xdist says comes next."""
        if id(item) in self._submitted:
            return
        if self.run.worker != "main":
            block = [item, nextitem] if isinstance(nextitem, CaseItem) else [item]
        else:
            items = item.session.items
            block = self._block or _block(items, items.index(item))
        self._submitted.update(map(id, block))
        self.run.engine.submit(each.job for each in block if not self.run.known(each.plan, each.case))

    def _explain(self, item: CaseItem, result: CaseResult) -> str:
        if result.status == "pass":
            return ""
        if result.status in ("skipped", "aborted"):
            return self.run.redact(item.case.skip or "; ".join(result.reasons))
        text = terminal.failure(*view(item.plan, item.case, result, self.run.folder), self.run.look)
        return text.partition("\n")[2]  # pytest writes the heading


def _report(item: CaseItem, location: Any, result: CaseResult, text: str) -> pytest.TestReport:
    outcome, when = _OUTCOMES[result.status]
    longrepr: Any = text or None
    if outcome == "skipped":
        longrepr = (str(item.plan.suite.file), 0, f"{result.status}: {text}")
    report = pytest.TestReport(
        item.nodeid,
        location,
        {item.name: 1},
        outcome,  # type: ignore[arg-type]
        longrepr,
        when,  # type: ignore[arg-type]
        duration=result.duration,
    )
    report.agentcheck = True  # type: ignore[attr-defined]
    return report


def _selected(items: Iterable[pytest.Item]) -> dict[str, int]:
    """How many cases of each suite are left to run."""
    selected: dict[str, int] = {}
    for item in items:
        if isinstance(item, CaseItem):
            name = item.plan.suite.name
            selected[name] = selected.get(name, 0) + 1
    return selected


def _block(items: list[pytest.Item], first: int) -> list[CaseItem]:
    """The cases from this item to the next Python test; none where it is one itself."""
    return list(takewhile(lambda item: isinstance(item, CaseItem), islice(items, first, None)))  # type: ignore[arg-type]


def _is_pytests(hook: pluggy.HookCaller) -> bool:
    """Whether only pytest and agentcheck themselves take part in a hook."""
    plugins_ = (implementation.plugin for implementation in hook.get_hookimpls())
    names = (getattr(plugin, "__name__", "") or type(plugin).__module__ for plugin in plugins_)
    return all(name.startswith(("_pytest.", "agentcheck.")) for name in names)
