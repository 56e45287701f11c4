"""The exception tree: by whose fault it is, each with advice and an exit code.

::

    AgentcheckError                   base: what is wrong, where, what to do
    ├── UserError              (4)    the user's files or arguments are wrong
    │   ├── SuiteError                a suite file
    │   ├── DatasetError              a dataset, a recording or a trace file
    │   ├── PolicyError               a policy file or an inline policy
    │   ├── PluginError               a plugin that fails to load or breaks its contract
    │   │   └── CannotImport          a module that does not import
    │   └── MissingExtra              an optional dependency is not installed
    ├── HarnessError           (3)    something in the harness or around it broke
    │   ├── StoreError                the store did not take or give events
    │   ├── LedgerError               an event that may not be written, or a ledger that does not verify
    │   ├── AnchorError               a checkpoint could not be kept outside the ledger, or read there
    │   ├── JudgeError                a metric or judge could not give a score
    │   ├── AgentError                the agent raised, or broke its protocol
    │   │   └── AgentTransportError   the wire to the agent broke (process died, HTTP failed)
    │   └── WorldError                the world broke (not: a tool answered with an error)
    └── Refusal                       what an agent may catch and correct itself by
        ├── ActionDenied              a control denied the action
        ├── ActionHeld                the action was held and not approved
        └── ToolError                 the tool ran and answered with an error
"""

from __future__ import annotations

import os
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentcheck.records import Decision

#: What pip calls agentcheck; the plain name is the distribution of another project.
DISTRIBUTION = "agentcheck-governance"


class ExitCode(IntEnum):
    """Exit codes of every command; 0 to 5 are pytest's own, kept."""

    PASSED = 0
    GATE_FAILED = 1
    INTERRUPTED = 2
    HARNESS = 3
    USAGE = 4
    NOTHING_RAN = 5


class AgentcheckError(Exception):
    """Base of all errors: ``what`` is wrong, ``where`` (``file:line``) and the ``advice`` to mend it."""

    exit_code: ExitCode = ExitCode.HARNESS

    def __init__(self, what: str, *, where: str = "", advice: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.advice = advice

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  -> {self.advice}" if self.advice else text


class UserError(AgentcheckError):
    """The user's files or arguments are wrong."""

    exit_code = ExitCode.USAGE


class SuiteError(UserError):
    """A suite file is wrong; ``key`` is the key of the table that is at fault, where whoever raises knows no line."""

    def __init__(self, what: str, *, where: str = "", advice: str = "", key: str = "") -> None:
        super().__init__(what, where=where, advice=advice)
        self.key = key


class DatasetError(UserError):
    """A dataset, recording or trace file is wrong."""


class PolicyError(UserError):
    """A policy is wrong, or empty."""


class PluginError(UserError):
    """A plugin fails to load or breaks its contract; the message names it."""


class CannotImport(PluginError):
    """A module of the user's does not import; code that is wrong is told by its own line."""

    def __init__(self, module: str, error: BaseException, *, where: str = "", by: str = "") -> None:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        place = _place(error)
        if isinstance(error, SyntaxError):
            line = f": {error.text.strip()}" if error.text else ""
            what, advice = f"{error.msg}{line}", "mend the line"
        else:
            what = f"{type(error).__name__}: {error}"
            advice = "the module raises when it is imported; mend it there"
        if missing and (missing == module or module.startswith(f"{missing}.")):
            place = ""
            advice = "is it on the Python path (the folder that agentcheck is started in is), and is it installed?"
        elif missing:
            advice = f"is {missing.partition('.')[0]!r}, which it imports, installed?"
        at = f"{place}: " if place else ""
        super().__init__(f"cannot import {module!r}{by}: {at}{what}", where=where, advice=advice)


def _place(error: BaseException) -> str:
    """``file:line`` of the code that cannot be read, or that raised while a module was imported."""
    if isinstance(error, SyntaxError):
        return f"{_relative(error.filename)}:{error.lineno}" if error.filename else ""
    found = ""
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        # Our own frame is the first, and those of the import system have no file.
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] not in ("agentcheck", "importlib"):
            found = f"{_relative(name)}:{trace.tb_lineno}" if not name.startswith("<") else found
        trace = trace.tb_next
    return found


def _relative(name: str) -> str:
    try:
        path = os.path.relpath(name)
    except ValueError:  # another drive
        return name
    return name if path.startswith("..") else path


class MissingExtra(UserError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs an optional dependency that is not installed",
            advice=f'install it with: pip install "{DISTRIBUTION}[{extra}]"',
        )
        self.extra = extra


class HarnessError(AgentcheckError):
    """Something in the harness, or around it, broke; never a statement about the agent's behaviour."""


class StoreError(HarnessError):
    """The store did not take or give events."""


class LedgerError(HarnessError):
    """An event that may not be written, or a ledger that does not verify."""


class AnchorError(HarnessError):
    """A checkpoint could not be kept outside the ledger, or read there."""


class JudgeError(HarnessError):
    """A metric or judge could not give a score."""


class AgentError(HarnessError):
    """The agent raised, or broke its protocol."""


class AgentTransportError(AgentError):
    """The wire to the agent broke."""


class WorldError(HarnessError):
    """The world broke; a tool that answers with an error is `ToolError`."""


class Refusal(AgentcheckError):
    """What an agent may catch and correct itself by; never reveals the pattern that matched."""


class ActionDenied(Refusal):
    """A control denied the action; ``decision`` says which and why."""

    def __init__(self, what: str, decision: Decision) -> None:
        super().__init__(what)
        self.decision = decision


class ActionHeld(ActionDenied):
    """The action needed approval and did not get it."""


class ToolError(Refusal):
    """The tool ran and answered with an error."""
