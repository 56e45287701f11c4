"""agentcheck: pytest for the governance of AI agents. The public names; nothing heavy is imported here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from agentcheck.hookspecs import hookimpl

__version__ = "0.1.0"
__all__ = ["__version__", "hookimpl", "load_run"]

#: Names that need more than the standard library are imported when somebody asks for them.
_LATER = {"load_run": "agentcheck.run_report"}


def __getattr__(name: str) -> Any:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module 'agentcheck' has no attribute {name!r}")
    return getattr(import_module(module), name)
