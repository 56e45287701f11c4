"""Run one command and measure it: wall time and the peak memory of its whole process tree.

Memory is the proportional set size (PSS) where the kernel tells it, so pages shared between workers count once;
elsewhere it is the largest resident set of one process, and the table says so.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.05
PROC = Path("/proc")


@dataclass(frozen=True)
class Measurement:
    """One run of a command. ``cpu`` is processor seconds of it and its children (less touched by a busy machine than
    ``wall``); ``inner`` is what the program itself printed as ``inner <seconds>``, if it did."""

    wall: float
    cpu: float
    peak_kib: int
    code: int
    output: str
    inner: float | None = None


def measure(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float = 1800) -> Measurement:
    """Run a command to its end and measure it; its output is kept, not shown."""
    before = _cpu()
    started = time.perf_counter()
    with subprocess.Popen(
        command, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        watch = _Watch(process.pid)
        watch.start()
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
        wall = time.perf_counter() - started
        peak = watch.stop()
    if not peak:
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    text = output.decode("utf-8", "replace")
    inner = re.search(r"^inner ([0-9.]+)$", text, re.MULTILINE)
    return Measurement(wall, _cpu() - before, peak, process.returncode, text, float(inner.group(1)) if inner else None)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Watch(threading.Thread):
    """Samples the memory of a process and its descendants; the peak is what it saw."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._peak = 0
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(INTERVAL):
            self._peak = max(self._peak, sum(_pss(pid) for pid in _tree(self._pid)))

    def stop(self) -> int:
        self._end.set()
        self.join()
        return self._peak


def _tree(pid: int) -> list[int]:
    found, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        found.append(current)
        try:
            for task in os.listdir(PROC / str(current) / "task"):
                children = (PROC / str(current) / "task" / task / "children").read_text()
                waiting.extend(int(child) for child in children.split())
        except OSError:
            continue
    return found


def _pss(pid: int) -> int:
    try:
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
