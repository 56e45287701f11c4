"""The places for checkpoints that agentcheck brings, by the scheme of their address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentcheck.hookspecs import hookimpl


@hookimpl
def agentcheck_anchors() -> Mapping[str, Any]:
    """Scheme -> where the factory is."""
    return {
        "file": "agentcheck.anchors.folder:FolderAnchor",
        "git": "agentcheck.anchors.git_notes:GitNotesAnchor",
        "https": "agentcheck.anchors.witness:WitnessAnchor",
        "http": "agentcheck.anchors.witness:WitnessAnchor",
    }
