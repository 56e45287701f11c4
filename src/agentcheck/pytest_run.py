"""The run behind one pytest session: its folder, plans, engine, ledger and signing, from start to end.

Nothing here knows of items: what collects and runs them (`agentcheck.pytest_suites`) and what ends the session
(`agentcheck.pytest_finish`) stand on it. Under pytest-xdist each worker writes its own stream and the main process
closes the run.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import sys
import warnings
from collections.abc import Generator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from agentcheck import plugins, verdicts
from agentcheck.base import Base
from agentcheck.collection import Plan, prepare
from agentcheck.engine import CaseResult, Engine
from agentcheck.errors import AgentcheckError, AnchorError, ExitCode, UserError
from agentcheck.ledger.ledger import Ledger
from agentcheck.ledger.redaction import for_no_run
from agentcheck.publishing import KEY_VARIABLE, UNSIGNED, Publishing, configured
from agentcheck.pytest_redaction import Printed, hide_in_logs, hide_in_report, hide_in_warning, tell_lost
from agentcheck.records import Case
from agentcheck.reporting import terminal
from agentcheck.run_report import RunFold
from agentcheck.runs import RunFolder, record_suite, start
from agentcheck.settings import Settings, make_importable, read_settings
from agentcheck.suites import load_suite

#: How often garbage is collected while cases run: allocations, young collections, and older ones in between.
GARBAGE = (50_000, 20, 50)
#: Words of a command line that choose among the cases.
_SELECTING = ("-k", "-m", "--deselect", "--lf", "--last-failed", "--sw", "--stepwise", "--case", "--agentcheck-case")
_REPORT = pytest.StashKey[pytest.TestReport]()


class SuiteRun:
    """The run of one pytest session: plans, engine and ledger; `begin`, then `stop`, `close` and `end`."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.settings: Settings = read_settings(config.rootpath, config.invocation_params.dir)
        self.worker: str = getattr(config, "workerinput", {}).get("workerid", "main")
        self._refuse_empty_options()
        self.folder = self._folder()
        self.plans: dict[str, Plan] = {}
        self.resumed: RunFold | None = None
        self.user_errors = 0
        self.broken: AgentcheckError | None = None
        self.failed_reports = 0
        # Until the run has a key of its own, by one that is thrown away.
        self._redactor = for_no_run()
        hide_in_logs(config, self.redact)
        self.printed = Printed(config, self.redact)
        ref = config.getoption("--agentcheck-base")
        folders = [Path(folder) for folder in config.getoption("--agentcheck-suites")]
        self._base: Base | None = Base(ref, config.rootpath, folders) if ref else None
        self._engine: Engine | None = None
        self._ledger: Ledger | None = None
        self._open = contextlib.ExitStack()
        self._attempts: dict[tuple[str, str], int] = {}
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
        return shown(path, self.config.invocation_params.dir)

    @property
    def is_controller(self) -> bool:
        """True in the main process of pytest-xdist, which collects and runs nothing itself."""
        return self.config.pluginmanager.hasplugin("dsession")

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

    # Collection

    def prepare(self, path: Path) -> Plan:
        """Load one suite and make it ready; with a base, hold it to the bar of the base."""
        try:
            suite = load_suite(shown(path, self.config.invocation_params.dir))
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

    def begin(self, selected: Mapping[str, int]) -> None:
        """Record the suites that take part, with how many of their cases were selected."""
        # Thousands of items live as long as the session: no need to look at them at every garbage collection.
        gc.unfreeze()  # what an earlier session of this process left
        gc.freeze()
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

    def known(self, plan: Plan, case: Case) -> CaseResult | None:
        """The result of a case that needs no run: skipped, or decided before a resume."""
        if case.skip:
            return CaseResult("skipped", (), 0.0)
        return self._finished.get((plan.suite.name, case.id))

    def result(self, plan: Plan, case: Case) -> CaseResult:
        """The result of a case, waiting for it where it still runs."""
        known = self.known(plan, case)
        if known is None:
            key = plan.suite.name, case.id
            if self.engine.decided(key):
                return self.engine.wait(key)
            with self.printed.captured():
                return self.engine.wait(key)
        if known.status == "skipped":
            self.ledger.record("case.skipped", {"suite": plan.suite.name, "case": case.id, "reason": case.skip})
        return known

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

    @property
    def recording(self) -> bool:
        """Whether this process has a stream, not closed yet."""
        return self._ledger is not None

    def stop(self, why: str | None) -> None:
        """Stop the engine, where ``why`` is given without what it has not finished, and then the publishing."""
        if self._engine is not None:
            with self.printed.captured():
                if why is not None:
                    self._engine.abort(why)
                self._engine.close()
            tell_lost(self.config)
        if self._publishing is not None:
            self._publishing.stop()  # what follows is read back and decided on, and then the last event comes

    def close(self, code: ExitCode, interrupted: bool, fold: RunFold | None = None) -> None:
        """End this process's stream; ``fold`` is told of it."""
        if self._ledger is None:
            return
        ledger, self._ledger = self._ledger, None
        for plan in self.plans.values():
            for note in plan.notes:
                event = ledger.record("run.note", {"level": "warning", "text": f"{plan.suite.name}: {note}"})
                if fold is not None:
                    fold.take(event)
        body: dict[str, Any] = {
            "status": "interrupted" if interrupted else "finished",
            "exit_code": int(code),
            "counts": {},
            "streams": self.folder.heads(without=ledger.stream) if self.worker == "main" else [],
            "partial": interrupted,
        }
        event = ledger.record("run.finished", body)
        if fold is not None:
            fold.take(event)
            size, chain = ledger.head
            fold.streams[ledger.stream] = (size, chain.hex())
        self._shut()

    def _shut(self) -> None:
        """Close this process's stream. A last checkpoint that is not kept breaks the run, whose ledger is whole."""
        try:
            self._open.close()
        except AnchorError as error:
            self.broken = self.broken or error

    def end(self) -> None:
        """Let go of all that the run held, however it went."""
        self._shut()
        if self._base is not None:
            self._base.close()
        gc.set_threshold(*self._garbage)
        gc.freeze()  # pytest collects several times when it ends


def shown(path: Path, directory: Path) -> Path:
    """A path as the user would write it: relative where it lies below the working directory."""
    try:
        return path.relative_to(directory)
    except ValueError:
        return path
