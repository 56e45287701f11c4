"""How a pytest session with suites ends: its gates, the reports, the exit code, and what the terminal says of them."""

from __future__ import annotations

from typing import Any

import pytest
from _pytest.terminal import TerminalReporter

from agentcheck import verdicts
from agentcheck.errors import AgentcheckError, ExitCode, HarnessError, UserError
from agentcheck.pytest_run import SuiteRun, shown
from agentcheck.reporting import terminal
from agentcheck.reporting.safe_text import visible
from agentcheck.run_report import RunFold, gate_event

#: How pytest-xdist marks the report of a test during which a worker died.
_CRASHED = "???"


class Finish:
    """The end of a run: what stopped it, what its gates decided, and what is said of it."""

    def __init__(self, run: SuiteRun) -> None:
        self.run = run
        self.config = run.config
        self.interrupted = False
        self.report: Any = None

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Tell a person's Ctrl-C from pytest's own ways of stopping early (-x with pytest-xdist, --stepwise)."""
        self.interrupted = type(excinfo.value).__name__ != "Interrupted"

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: Any) -> None:
        """pytest-xdist, in the main process: take over what a worker could not say by a test's report."""
        if error:
            self.run.folder.lose_worker()  # before pytest-xdist gives its cases to others, who have to know
        told = getattr(node, "workeroutput", {}).get("agentcheck")
        if told:
            self.run.user_errors += told["user_errors"]
            self.interrupted = self.interrupted or told["interrupted"]
            if told["broken"] and self.run.broken is None:
                what, code = told["broken"]
                self.run.broken = UserError(what) if code == ExitCode.USAGE else HarnessError(what)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Stop what runs, close the streams, decide the gates, write the reports, set the exit code."""
        run = self.run
        interrupted = self.interrupted and exitstatus == ExitCode.INTERRUPTED and not run.user_errors
        code: int
        try:
            why = None
            if interrupted or session.shouldstop or session.shouldfail:
                why = "interrupted" if interrupted else str(session.shouldfail or "stopped")
            run.stop(why)
            code = self._finish(session, ExitCode(exitstatus) if exitstatus in tuple(ExitCode) else None, interrupted)
        except AgentcheckError as error:
            run.broken = run.broken or error
            code = ExitCode.HARNESS
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED  # a second one: no time for the report; the ledger says what was done
        except (Exception, SystemExit) as error:
            run.broken = run.broken or HarnessError(f"the run did not end well: {type(error).__name__}: {error}")
            code = ExitCode.HARNESS
        finally:
            run.end()
        if run.user_errors:
            code = ExitCode.USAGE
        elif run.broken is not None:
            code = run.broken.exit_code
        elif exitstatus not in tuple(ExitCode):
            code = exitstatus  # somebody else's, such as pytest.exit(returncode=...)
        session.exitstatus = code
        if run.worker != "main":
            broken = (run.redact(str(run.broken)), int(run.broken.exit_code)) if run.broken else None
            told = {"user_errors": run.user_errors, "broken": broken, "interrupted": interrupted}
            self.config.workeroutput["agentcheck"] = told  # type: ignore[attr-defined]

    def _finish(self, session: pytest.Session, status: ExitCode | None, interrupted: bool) -> ExitCode:
        if self.run.worker != "main":
            self.run.close(ExitCode.PASSED, interrupted)
            return status or ExitCode.PASSED
        if not self.run.recording and not (self.run.is_controller and self.run.folder.streams()):
            return status if status is not None else ExitCode.PASSED
        ledger = self.run.ledger
        recorded = ledger.head[0]
        ledger.flush()
        fold = RunFold.of(self.run.folder)
        if fold.streams.get(ledger.stream, (0, ""))[0] < recorded:
            raise HarnessError(
                "the run's ledger was removed or replaced while it ran",
                where=str(self.run.folder.path),
                advice="no agent, world or test may clear the folder of reports",
            )
        gates = fold.decide_gates()
        for name, gate in gates.items():
            fold.take(ledger.record("gate.decided", gate_event(name, gate)))
        code = verdicts.exit_code((gate.status for gate in gates.values()), interrupted=interrupted)
        if status == ExitCode.INTERRUPTED and code != ExitCode.GATE_FAILED:
            code = ExitCode.INTERRUPTED
        code = self._with_python_tests(session, code, status)
        self.run.close(code, interrupted, fold)
        self.report = fold.report(code, gates)
        self._write_reports()
        return code

    def _write_reports(self) -> None:
        """Every reporter's files; one that fails is named, the others are still written, and the run is broken."""
        for name in self.run.registry.names("reporters"):
            try:
                list(self.run.registry.get("reporters", name)(self.report, self.run.folder.path))
            except Exception as error:
                what = error.what if isinstance(error, AgentcheckError) else f"{type(error).__name__}: {error}"
                self.run.broken = self.run.broken or HarnessError(f"the report {name!r} could not be written: {what}")

    def _with_python_tests(self, session: pytest.Session, code: ExitCode, status: ExitCode | None) -> ExitCode:
        """Python tests of the same session count too: their failures break, their passes are something that ran."""
        failed = session.testsfailed - self.run.failed_reports
        if self.run.is_controller:
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

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """The table per suite, what the gates required, and where the report is."""
        run = self.run
        if run.broken is not None:
            terminalreporter.section("agentcheck: the run broke", red=True)
            terminalreporter.write_line(visible(run.redact(str(run.broken))))
        if self.report is not None:
            terminalreporter.section("agentcheck")
            parts = (terminal.summary(self.report, run.look), terminal.gates(self.report, run.look, brief=True))
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
            folder = shown(run.folder.path, self.config.invocation_params.dir)
            if (address := run.folder.address) is not None:
                terminalreporter.write_line(f"ledger: {visible(address.shown)}")
            terminalreporter.write_line(f"report: {visible(str(folder / 'report.html'))}")


def _stats(config: pytest.Config) -> dict[str, list[Any]]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return reporter.stats if reporter is not None else {}
