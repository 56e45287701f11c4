"""One of several writers that fight for a stream: opens it, appends where it ended, closes it, again and again.

Run as a program by the kit of `contracts.RunStore`: ``contender.py REFERENCE URL RUN FOLDER NAME BATCHES``. It prints
the payload of each batch that was acknowledged.
"""

from __future__ import annotations

import importlib
import sys
import time
from contextlib import closing
from pathlib import Path

from agentcheck.contracts import Row, RunStore
from agentcheck.errors import StoreError


def run_store(reference: str, url: str, run: str, folder: str) -> RunStore:
    """The store of a run, by the reference of its factory."""
    module, _, name = reference.partition(":")
    made: RunStore = getattr(importlib.import_module(module), name)(url, run, Path(folder))
    return made


def contend(run: RunStore, name: str, batches: int, size: int = 3) -> list[str]:
    """Append batches of one's own payload until so many are acknowledged; a refusal is tried again."""
    acknowledged: list[str] = []
    deadline = time.monotonic() + 60
    while len(acknowledged) < batches:
        assert time.monotonic() < deadline, f"{name} got no turn"
        payload = f"{name}.{len(acknowledged)}"
        try:
            with closing(run.writing("main")) as store:
                head = store.head("main")
                first = head[0] + 1 if head else 1
                store.append([Row("main", first + at, payload.encode(), bytes(32)) for at in range(size)])
        except StoreError:
            continue
        acknowledged.append(payload)
    return acknowledged


if __name__ == "__main__":
    print(*contend(run_store(*sys.argv[1:5]), sys.argv[5], int(sys.argv[6])), sep="\n")
