"""Suite files in pytest: collector, item, and the run behind them. Imported when the first suite file is met.

The engine runs the whole selection with bounded concurrency; an item is a name that waits for its result and skips
pytest's fixture machinery. Under pytest-xdist each worker writes its own stream and the main process closes the run.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import shutil
import sys
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import pluggy
import pytest
from _pytest.terminal import TerminalReporter

from agentcheck import plugins, verdicts
from agentcheck.base import Base
from agentcheck.collection import Plan, prepare
from agentcheck.engine import CaseResult, Engine, Job
from agentcheck.errors import AgentcheckError, AnchorError, ExitCode, HarnessError, UserError
from agentcheck.ledger.ledger import Ledger
from agentcheck.ledger.redaction import for_no_run
from agentcheck.publishing import KEY_VARIABLE, UNSIGNED, Publishing, configured
from agentcheck.pytest_redaction import Aside, hide_in_logs, hide_in_report, hide_in_warning, tell_lost
from agentcheck.records import Case
from agentcheck.reporting import terminal
from agentcheck.reporting.safe_text import visible
from agentcheck.run_report import RunFold, gate_event, view
from agentcheck.runs import RunFolder, record_suite, start
from agentcheck.settings import Settings, make_importable, read_settings
from agentcheck.suites import load_suite

_NAME = "agentcheck-suites"
#: How often garbage is collected while cases run: allocations, young collections, and older ones in between.
GARBAGE = (50_000, 20, 50)
#: Characters of what agents print that are kept for the next case that fails.
PRINTED = 20_000
#: How pytest-xdist marks the report of a test during which a worker died.
_CRASHED = "???"
#: Words of a command line that choose among the cases.
_SELECTING = ("-k", "-m", "--deselect", "--lf", "--last-failed", "--sw", "--stepwise", "--case", "--agentcheck-case")
_REPORT = pytest.StashKey[pytest.TestReport]()
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
        with _ending():
            found = SuiteRun(config)
        config.pluginmanager.register(found, _NAME)
    return found


def reach_store(config: pytest.Config) -> None:
    """End the session before anything is collected where the store of the run does not answer."""
    if not config.option.collectonly and not hasattr(config, "workerinput"):
        with _ending():
            of(config).folder.reach()


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """What stops a run before it begins ends the session with its own exit code, and without a traceback."""
    try:
        yield
    except UserError as error:
        raise pytest.UsageError(visible(for_no_run().text(str(error)))) from None
    except AgentcheckError as error:
        pytest.exit(visible(for_no_run().text(f"agentcheck: {error}")), returncode=int(error.exit_code))


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
        """For plugins that run items by themselves; pytest's own loop goes through `SuiteRun`."""
        result = of(self.config).result(self)
        if result.status not in ("pass", "skipped"):
            pytest.fail("\n".join(result.reasons), pytrace=False)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the case stands."""
        return self.path, None, self.name


class SuiteRun:
    """The run of one pytest session: plans, engine, ledger, report and exit code."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.settings: Settings = read_settings(config.rootpath, config.invocation_params.dir)
        self.worker: str = getattr(config, "workerinput", {}).get("workerid", "main")
        self._refuse_empty_options()
        self.folder = self._folder()
        self.plans: dict[str, Plan] = {}
        self.resumed: RunFold | None = None
        self.user_errors = 0
        self.interrupted = False
        self.broken: AgentcheckError | None = None
        self.failed_reports = 0
        self.report: Any = None
        # Until the run has a key of its own, by one that is thrown away.
        self._redactor = for_no_run()
        hide_in_logs(config, self.redact)
        self._aside = Aside(self._keep_printed)
        config.add_cleanup(self._aside.end)
        ref = config.getoption("--agentcheck-base")
        folders = [Path(folder) for folder in config.getoption("--agentcheck-suites")]
        self._base: Base | None = Base(ref, config.rootpath, folders) if ref else None
        self._engine: Engine | None = None
        self._ledger: Ledger | None = None
        self._open = contextlib.ExitStack()
        self._attempts: dict[tuple[str, str], int] = {}
        self._block: list[CaseItem] = []  # to be run with its first item
        self._submitted: set[int] = set()
        self._announced = True  # the start and the end of each case, to plugins
        self._reported_path: Path | None = None
        self._hooks: dict[Path, pluggy.HookRelay] = {}
        self._printed = {"stdout": "", "stderr": ""}
        self._finished: dict[tuple[str, str], CaseResult] = {}
        self._known_lost = 0
        # What cases leave is freed by reference counts: no need to look for cycles every 700 allocations.
        self._garbage = gc.get_threshold()
        gc.set_threshold(*GARBAGE)
        if config.getoption("--agentcheck-resume"):
            self._resume()
        self._publishing = self._signing()

    def _signing(self) -> Publishing | None:
        """What signs the ledger and publishes its checkpoints; asked before anything runs.

        The key leaves the environment of the process that runs cases, so that no agent's process is given it. The
        main process of pytest-xdist runs none, and its workers need it.
        """
        if self.config.option.collectonly:
            return None
        found = configured(self.settings, lambda: self.registry, os.environ)
        if found is not None and self.config.getoption("dist", "no") == "no":
            self._open.callback(os.environ.__setitem__, KEY_VARIABLE, os.environ.pop(KEY_VARIABLE))
        return found

    @cached_property
    def registry(self) -> plugins.Registry:
        """All names; loaded when the first suite asks for one."""
        make_importable(self.settings.root)
        return plugins.load()

    def _refuse_empty_options(self) -> None:
        """An empty variable of a CI script must not read as 'no base' or 'no run'."""
        for name, what in (("base", "a branch or commit"), ("resume", "a run"), ("reports", "a folder")):
            if self.config.getoption(f"--agentcheck-{name}") == "":
                raise UserError(f"--{name} is empty", advice=f"name {what}, or leave the option out")

    def _folder(self) -> RunFolder:
        given = getattr(self.config, "workerinput", {}).get("agentcheck_run")
        if given:
            return RunFolder(Path(given))
        reports = self.reports
        name = self.config.getoption("--agentcheck-resume")
        return RunFolder.find(reports, name) if name else RunFolder.new(reports)

    @property
    def reports(self) -> Path:
        """Where runs are written."""
        option = self.config.getoption("--agentcheck-reports")
        path = Path(option) if option else self.settings.reports_path
        return _shown(path, self.config.invocation_params.dir)

    def _resume(self) -> None:
        if self.worker == "main":
            self.folder.refuse_if_written()
        self.resumed = RunFold.of(self.folder)
        withheld = self.resumed.account.total
        if withheld:
            raise UserError(
                f"{withheld} events of the run {self.folder.id} are withheld, so it cannot be resumed: what its cases "
                "were given, and which of them were decided, is not left to tell",
                where=str(self.folder.path),
                advice="start a new run; `agentcheck ledger custody` says who withheld them",
            )
        self._attempts = self.resumed.attempts()
        finished = self.resumed.finished_cases()
        for key, trials in self.resumed.decided_cases().items():
            if key in finished:
                found = tuple(trial.verdict() for trial in trials.values())
                self._finished[key] = CaseResult(verdicts.case_status(each.status for each in found), found, 0.0)

    def attempt(self, suite: str, case: str) -> int:
        """Which attempt at a case this is."""
        if self.worker != "main":
            lost = self.folder.lost_workers
            if lost != self._known_lost:
                # What a dead one had begun is begun again: another attempt, not more of the same one.
                self._known_lost = lost
                self._attempts = RunFold.of(self.folder).attempts()
        return self._attempts.get((suite, case), 0) + 1

    # What pytest shows

    def redact(self, text: str) -> str:
        """A text without secrets; once the run has begun, with the placeholders of its ledger."""
        return self._redactor.text(text)

    def pytest_sessionstart(self) -> None:
        """Redact the log; where the run was asked for early, pytest's own plugin had not begun by then."""
        hide_in_logs(self.config, self.redact)

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """Redact what code under test warned of, before pytest keeps it for its summary."""
        hide_in_warning(warning_message, self.redact)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Redact what is wrong with a suite, and what its modules printed when they were imported."""
        report = yield
        if isinstance(collector, SuiteCollector):
            hide_in_report(report, self.redact)
        return report

    # Collection

    def prepare(self, path: Path) -> Plan:
        """Load one suite and make it ready; with a base, hold it to the bar of the base."""
        try:
            suite = load_suite(_shown(path, self.config.invocation_params.dir))
            if self._base is not None:
                suite = self._base.hold(suite)
            taken = self.plans.get(suite.name)
            if taken is not None and taken.suite.file != suite.file:
                raise UserError(
                    f"two suites are called {suite.name!r}: {taken.suite.file} and {suite.file}",
                    advice="give one of them another suite.name",
                )
            plan = prepare(suite, self.registry, retention=self.settings.retention)
            self._refuse_changed(plan)
        except UserError:
            self.user_errors += 1
            raise
        except AgentcheckError as error:
            self.broken = self.broken or error
            raise
        self.plans[suite.name] = plan
        return plan

    def _refuse_changed(self, plan: Plan) -> None:
        """A resumed run is about one state of things: no verdict of one suite beside those of another."""
        before = self.resumed.suites.get(plan.suite.name) if self.resumed else None
        if before is None:
            return
        now = {
            "suite": plan.suite.hash,
            "dataset": plan.dataset_hash,
            "policy": plan.policy_hash,
            "agent": plan.agent_hash,
            "base": plan.suite.base,
        }
        changed = [what for what, value in now.items() if value != (before.get(f"{what}_hash", before.get(what)) or "")]
        if changed:
            raise UserError(
                f"{' and '.join(changed)} changed since the run {self.folder.id} began",
                where=str(plan.suite.file),
                advice="start a new run, or put back what the run began with",
            )

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave only the one case that was asked for; its id may be anything, so it is no expression and no node id."""
        wanted = config.getoption("--agentcheck-case")
        if wanted is None:
            return
        known = [item.case.id for item in items if isinstance(item, CaseItem)]
        if wanted not in known and self.worker == "main" and not self.user_errors:
            near = get_close_matches(wanted, known, 1)
            advice = f"did you mean {near[0]!r}?" if near else "`agentcheck list` shows all cases"
            error = UserError(f"no case is called {wanted!r}", advice=advice)
            raise pytest.UsageError(visible(self.redact(str(error))))
        kept = [item for item in items if isinstance(item, CaseItem) and item.case.id == wanted]
        left_out = [item for item in items if not (isinstance(item, CaseItem) and item.case.id == wanted)]
        items[:] = kept
        if left_out:
            config.hook.pytest_deselected(items=left_out)

    # Running

    @property
    def ledger(self) -> Ledger:
        """This process's stream; opened, with ``run.started``, when something first has to be recorded."""
        if self._ledger is None:
            self.folder.create()
            self._redactor = self.folder.redactor()
            stream = self.folder.next_stream(self.worker)
            ledger = self._open.enter_context(self.folder.writing(stream, self._publishing))
            command = self.config.getoption("--agentcheck-command") or ["pytest", *self.config.invocation_params.args]
            start(
                ledger,
                self.folder,
                [str(part) for part in command],
                worker=self.worker,
                root=self.config.rootpath,
                previous=self.resumed.streams if self.resumed is not None else None,
            )
            if self._publishing is None and os.environ.get(KEY_VARIABLE) and self.worker == "main":
                why = "[tool.agentcheck.checkpoints] has no publish"
                if self.settings.checkpoints.publish:
                    why = f"its value is {UNSIGNED!r}"
                text = f"{KEY_VARIABLE} is set and nothing was signed: {why}"
                ledger.record("run.note", {"level": "warning", "text": text})
            self._ledger = ledger
        return self._ledger

    @property
    def engine(self) -> Engine:
        """The engine of this process."""
        if self._engine is None:
            self._engine = Engine(
                self.ledger,
                self.folder.scratch,
                concurrency=self.config.getoption("--agentcheck-concurrency") or self.settings.concurrency,
                max_failures=self.config.getvalue("maxfail") or 0,
                vote_key=self.folder.key,
                redact=self.redact,
            )
        return self._engine

    def begin(self, items: Iterable[pytest.Item]) -> None:
        """Record the suites that take part, with how many of their cases were selected."""
        # Thousands of items live as long as the session: no need to look at them at every garbage collection.
        gc.unfreeze()  # what an earlier session of this process left
        gc.freeze()
        selected: dict[str, int] = {}
        for item in items:
            if isinstance(item, CaseItem):
                name = item.plan.suite.name
                selected[name] = selected.get(name, 0) + 1
        self._refuse_left_out(selected)
        for name, number in selected.items():
            plan, before = self.plans[name], self.resumed.suites.get(name) if self.resumed else None
            then = number if before is None else before["cases"]
            if then != number:
                raise UserError(
                    f"the run {self.folder.id} selected {then} cases of {name}, and {number} are selected now",
                    advice="resume with the paths and the selection that the run began with",
                )
            # Whatever left them out (-k, --lf, a node id, a plugin): they stay in the population.
            record_suite(self.ledger, plan, selected=number, deselected=max(0, len(plan.cases) - number))
        if self._base is not None and selected and self.worker in ("main", "gw0"):
            paths = [self.config.invocation_params.dir / arg.partition("::")[0] for arg in self.config.args]
            for gone in self._base.missing(paths, {name: plan.suite.file for name, plan in self.plans.items()}):
                for event in gone.events(self._base.ref):
                    self.ledger.record(*event)

    def _refuse_left_out(self, selected: Mapping[str, int]) -> None:
        """With a base, only the command line leaves cases out, and no configuration or conftest of the change."""
        words = self.config.getoption("--agentcheck-command") or self.config.invocation_params.args
        if self._base is None or any("::" in word or str(word).startswith(_SELECTING) for word in words):
            return
        for name, plan in self.plans.items():  # also one of which nothing is left
            left_out = len(plan.cases) - selected.get(name, 0)
            if left_out > 0:
                raise UserError(
                    f"{left_out} of {len(plan.cases)} cases of {name} are left out by something other than "
                    "the command line",
                    where=str(plan.suite.file),
                    advice="with --base no conftest.py and no plugin chooses cases; select on the command line",
                )

    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Record the suites, unless only collecting; then run all items, neighbouring cases as one block.

        Returns None, so that another loop runs, where pytest-xdist hands out the items or a plugin wants each of them.
        """
        option = session.config.option
        stops = session.testsfailed and not option.continue_on_collection_errors
        if option.collectonly or stops or _is_controller(session.config):
            return None
        try:
            self.begin(session.items)
        except AgentcheckError as error:
            self.broken = error
            raise session.Interrupted(self.redact(f"agentcheck: {error.what}")) from None
        hook = session.config.hook
        if self.worker != "main" or not (
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
            result = self.result(item)
        except HarnessError as error:
            self.broken = error
            item.session.shouldstop = self.redact(f"agentcheck: {error.what}")
            result = CaseResult("error", (), 0.0)
            report = _report(item, location, result, visible(self.redact(str(error))))
        else:
            report = _report(item, location, result, self._explain(item, result))
        if report.outcome == "failed":
            self.failed_reports += 1
            report.sections += self._take_printed()
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
        if self.worker != "main":
            block = [item, nextitem] if isinstance(nextitem, CaseItem) else [item]
        else:
            items = item.session.items
            block = self._block or _block(items, items.index(item))
        self._submitted.update(map(id, block))
        self.engine.submit(each.job for each in block if not self._known(each))

    @contextlib.contextmanager
    def _captured(self) -> Iterator[None]:
        """Keep what agents and worlds print out of the progress line, as pytest does it for tests."""
        manager = self.config.pluginmanager.get_plugin("capturemanager")
        if manager is None or not manager.is_globally_capturing():
            yield
            return
        self._aside.begin(getattr(manager, "_global_capturing", None))
        manager.resume_global_capture()
        try:
            yield
        finally:
            manager.suspend_global_capture()
            for kind, text in zip(("stdout", "stderr"), manager.read_global_capture(), strict=True):
                if text:
                    self._keep_printed(kind, text)

    def _keep_printed(self, kind: str, text: str) -> None:
        # Twice of what is told: what the cut leaves of a secret is no longer known as one.
        self._printed[kind] = (self._printed[kind] + text)[-2 * PRINTED :]

    def _take_printed(self) -> list[tuple[str, str]]:
        """What was printed since a case last failed; cases run side by side, so it may be of any of them."""
        found = [
            (f"Captured {kind} of this case and others", visible(self.redact(text)[-PRINTED:]))
            for kind, text in self._printed.items()
            if text
        ]
        self._printed = dict.fromkeys(self._printed, "")
        return found

    def _known(self, item: CaseItem) -> CaseResult | None:
        """The result of a case that needs no run: skipped, or decided before a resume."""
        suite, case = item.plan.suite.name, item.case.id
        if item.case.skip:
            return CaseResult("skipped", (), 0.0)
        return self._finished.get((suite, case))

    def result(self, item: CaseItem) -> CaseResult:
        """The result of a case, waiting for it where it still runs."""
        known = self._known(item)
        if known is None:
            key = item.plan.suite.name, item.case.id
            if self.engine.decided(key):
                return self.engine.wait(key)
            with self._captured():
                return self.engine.wait(key)
        if known.status == "skipped":
            self.ledger.record(
                "case.skipped", {"suite": item.plan.suite.name, "case": item.case.id, "reason": item.case.skip}
            )
        return known

    def _explain(self, item: CaseItem, result: CaseResult) -> str:
        if result.status == "pass":
            return ""
        if result.status in ("skipped", "aborted"):
            return self.redact(item.case.skip or "; ".join(result.reasons))
        text = terminal.failure(*view(item.plan, item.case, result, self.folder), self.look)
        return text.partition("\n")[2]  # pytest writes the heading

    @property
    def look(self) -> terminal.Look:
        """How pytest's terminal looks."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        color = bool(reporter and reporter.hasmarkup)
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        return terminal.Look(min(shutil.get_terminal_size((100, 24)).columns, 140), color, encoding)

    # Python tests

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Remember how a Python test went, for the verdict of its governed session; what it tells is redacted."""
        report = yield
        if "governed" in getattr(item, "fixturenames", ()):
            hide_in_report(report, self.redact)
        if report.when == "call":
            item.stash[_REPORT] = report
        return report

    def outcome(self, item: pytest.Item) -> tuple[str, list[str]]:
        """The verdict of a Python test that used ``governed``."""
        report = item.stash.get(_REPORT, None)
        if report is None:
            return "error", ["the test did not get as far as being called"]
        if report.passed:
            return "pass", []
        if report.skipped:
            return "skipped", [str(report.longrepr)]
        crash = getattr(report.longrepr, "reprcrash", None)
        return "fail", [crash.message if crash else str(report.longrepr)]

    # The end

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Tell a person's Ctrl-C from pytest's own ways of stopping early (-x with pytest-xdist, --stepwise)."""
        self.interrupted = type(excinfo.value).__name__ != "Interrupted"

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: Any) -> None:
        """pytest-xdist, in the main process: take over what a worker could not say by a test's report."""
        if error:
            self.folder.lose_worker()  # before pytest-xdist gives its cases to others, who have to know
        told = getattr(node, "workeroutput", {}).get("agentcheck")
        if told:
            self.user_errors += told["user_errors"]
            self.interrupted = self.interrupted or told["interrupted"]
            if told["broken"] and self.broken is None:
                what, code = told["broken"]
                self.broken = UserError(what) if code == ExitCode.USAGE else HarnessError(what)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Stop what runs, close the streams, decide the gates, write the reports, set the exit code."""
        interrupted = self.interrupted and exitstatus == ExitCode.INTERRUPTED and not self.user_errors
        code: int
        try:
            if self._engine is not None:
                with self._captured():
                    if interrupted or session.shouldstop or session.shouldfail:
                        self._engine.abort("interrupted" if interrupted else str(session.shouldfail or "stopped"))
                    self._engine.close()
                tell_lost(self.config)
            if self._publishing is not None:
                self._publishing.stop()  # what follows is read back and decided on, and then the last event comes
            code = self._finish(session, ExitCode(exitstatus) if exitstatus in tuple(ExitCode) else None, interrupted)
        except AgentcheckError as error:
            self.broken = self.broken or error
            code = ExitCode.HARNESS
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED  # a second one: no time for the report; the ledger says what was done
        except (Exception, SystemExit) as error:
            self.broken = self.broken or HarnessError(f"the run did not end well: {type(error).__name__}: {error}")
            code = ExitCode.HARNESS
        finally:
            self._shut()
            if self._base is not None:
                self._base.close()
            gc.set_threshold(*self._garbage)
            gc.freeze()  # pytest collects several times when it ends
        if self.user_errors:
            code = ExitCode.USAGE
        elif self.broken is not None:
            code = self.broken.exit_code
        elif exitstatus not in tuple(ExitCode):
            code = exitstatus  # somebody else's, such as pytest.exit(returncode=...)
        session.exitstatus = code
        if self.worker != "main":
            broken = (self.redact(str(self.broken)), int(self.broken.exit_code)) if self.broken else None
            told = {"user_errors": self.user_errors, "broken": broken, "interrupted": interrupted}
            self.config.workeroutput["agentcheck"] = told  # type: ignore[attr-defined]

    def _finish(self, session: pytest.Session, status: ExitCode | None, interrupted: bool) -> ExitCode:
        if self.worker != "main":
            self._close(ExitCode.PASSED, interrupted)
            return status or ExitCode.PASSED
        if self._ledger is None and not (_is_controller(session.config) and self.folder.streams()):
            return status if status is not None else ExitCode.PASSED
        ledger = self.ledger
        recorded = ledger.head[0]
        ledger.flush()
        run = RunFold.of(self.folder)
        if run.streams.get(ledger.stream, (0, ""))[0] < recorded:
            raise HarnessError(
                "the run's ledger was removed or replaced while it ran",
                where=str(self.folder.path),
                advice="no agent, world or test may clear the folder of reports",
            )
        gates = run.decide_gates()
        for name, gate in gates.items():
            run.take(ledger.record("gate.decided", gate_event(name, gate)))
        code = verdicts.exit_code((gate.status for gate in gates.values()), interrupted=interrupted)
        if status == ExitCode.INTERRUPTED and code != ExitCode.GATE_FAILED:
            code = ExitCode.INTERRUPTED
        code = self._with_python_tests(session, code, status)
        self._close(code, interrupted, run)
        self.report = run.report(code, gates)
        self._write_reports()
        return code

    def _write_reports(self) -> None:
        """Every reporter's files; one that fails is named, the others are still written, and the run is broken."""
        for name in self.registry.names("reporters"):
            try:
                list(self.registry.get("reporters", name)(self.report, self.folder.path))
            except Exception as error:
                what = error.what if isinstance(error, AgentcheckError) else f"{type(error).__name__}: {error}"
                self.broken = self.broken or HarnessError(f"the report {name!r} could not be written: {what}")

    def _with_python_tests(self, session: pytest.Session, code: ExitCode, status: ExitCode | None) -> ExitCode:
        """Python tests of the same session count too: their failures break, their passes are something that ran."""
        failed = session.testsfailed - self.failed_reports
        if _is_controller(session.config):
            others = [
                report
                for key in ("failed", "error")
                for report in _stats(session.config).get(key, ())
                if not getattr(report, "agentcheck", False)
            ]
            crashed = [report for report in others if getattr(report, "when", "") == _CRASHED]
            failed = len(others) - len(crashed)
            if crashed and code in (ExitCode.PASSED, ExitCode.NOTHING_RAN):
                code = ExitCode.HARNESS
        if status in (ExitCode.HARNESS, ExitCode.USAGE):
            return status
        if failed > 0 and code in (ExitCode.PASSED, ExitCode.NOTHING_RAN, ExitCode.HARNESS):
            return ExitCode.GATE_FAILED
        if code == ExitCode.NOTHING_RAN and any(
            not getattr(report, "agentcheck", False) for report in _stats(session.config).get("passed", ())
        ):
            return ExitCode.PASSED
        return code

    def _close(self, code: ExitCode, interrupted: bool, run: RunFold | None = None) -> None:
        """End this process's stream; ``run`` is told of it."""
        if self._ledger is None:
            return
        ledger, self._ledger = self._ledger, None
        for plan in self.plans.values():
            for note in plan.notes:
                event = ledger.record("run.note", {"level": "warning", "text": f"{plan.suite.name}: {note}"})
                if run is not None:
                    run.take(event)
        body: dict[str, Any] = {
            "status": "interrupted" if interrupted else "finished",
            "exit_code": int(code),
            "counts": {},
            "streams": self.folder.heads(without=ledger.stream) if self.worker == "main" else [],
            "partial": interrupted,
        }
        event = ledger.record("run.finished", body)
        if run is not None:
            run.take(event)
            size, chain = ledger.head
            run.streams[ledger.stream] = (size, chain.hex())
        self._shut()

    def _shut(self) -> None:
        """Close this process's stream. A last checkpoint that is not kept breaks the run, whose ledger is whole."""
        try:
            self._open.close()
        except AnchorError as error:
            self.broken = self.broken or error

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """The table per suite, what the gates required, and where the report is."""
        if self.broken is not None:
            terminalreporter.section("agentcheck: the run broke", red=True)
            terminalreporter.write_line(visible(self.redact(str(self.broken))))
        if self.report is not None:
            terminalreporter.section("agentcheck")
            parts = (terminal.summary(self.report, self.look), terminal.gates(self.report, self.look, brief=True))
            terminalreporter.write_line("\n".join(part for part in parts if part))
            told = sum(
                getattr(each, "agentcheck", False) for found in terminalreporter.stats.values() for each in found
            )
            more = self.report.total - self.report.counts["not_started"] - told
            if self.report.run.partial and more > 0:
                # Cases run side by side, so pytest stops before it was told of all that had begun.
                terminalreporter.write_line(
                    f"pytest tells of {told} of these cases below; {more} more had begun when it stopped"
                )
            shown = _shown(self.folder.path, self.config.invocation_params.dir)
            terminalreporter.write_line(f"report: {visible(str(shown / 'report.html'))}")


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


def _block(items: list[pytest.Item], first: int) -> list[CaseItem]:
    """The cases from this item to the next Python test; none where it is one itself."""
    return list(takewhile(lambda item: isinstance(item, CaseItem), islice(items, first, None)))  # type: ignore[arg-type]


def _is_pytests(hook: pluggy.HookCaller) -> bool:
    """Whether only pytest and agentcheck themselves take part in a hook."""
    plugins_ = (implementation.plugin for implementation in hook.get_hookimpls())
    names = (getattr(plugin, "__name__", "") or type(plugin).__module__ for plugin in plugins_)
    return all(name.startswith(("_pytest.", "agentcheck.")) for name in names)


def _is_controller(config: pytest.Config) -> bool:
    """True in the main process of pytest-xdist, which collects and runs nothing itself."""
    return config.pluginmanager.hasplugin("dsession")


def _stats(config: pytest.Config) -> dict[str, list[Any]]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return reporter.stats if reporter is not None else {}


def _shown(path: Path, directory: Path) -> Path:
    """A path as the user would write it: relative where it lies below the working directory."""
    try:
        return path.relative_to(directory)
    except ValueError:
        return path
