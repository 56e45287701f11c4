"""Cases per second and peak memory, beside plain pytest, pydantic-evals and DeepEval, on the same work.

    python benchmarks/run_cases.py                                  agentcheck and plain pytest
    python benchmarks/run_cases.py --with-peers                     the peers too (installs them into build/benchmarks)
    python benchmarks/run_cases.py --cases 1000 10000 --repeat 5    sizes and repeats

The work: an agent that gives its prompt back, one exact-match metric, every case passes. agentcheck also decides
every action under a policy and keeps its full ledger on disk; the peers keep nothing. Each measurement is one process
from start to end. The programs take turns, so a busy machine slows all of them alike: compare the ratios of
one table, never figures of two. agentcheck is measured as it is installed for the interpreter that runs this file;
for the figures in docs/performance.md that is an environment with only its core.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import Measurement, measure

HERE = Path(__file__).parent
VENVS = HERE.parent / "build" / "benchmarks"
PEERS = {"pydantic-evals": "run_pydantic_evals.py", "DeepEval evaluate()": "run_deepeval.py"}
REQUIREMENTS = {"pydantic-evals": "pydantic-evals", "DeepEval evaluate()": "deepeval"}
BASELINE = "plain pytest"

SUITE = """\
[suite]
name = "echo"

[dataset]
path = "cases.jsonl"

[agent]
use = "echo"

[governance.policy.policy]
name = "echo"
version = "1"
default = "allow"

[[governance.policy.rule]]
id = "no-deletes"
effect = "deny"
when = { tool = "delete_*" }

[[metrics]]
use = "exact_match"
threshold = 1.0
"""


@dataclass(frozen=True)
class Program:
    """Something that runs N cases: its name in the table, and how to prepare a folder and start it."""

    name: str
    prepare: Callable[[Path, int], list[str]]


def ours(*options: str, name: str = "agentcheck run") -> Program:
    """``agentcheck run`` on a suite of N echo cases, its ledger and reports in the folder."""

    def prepare(folder: Path, cases: int) -> list[str]:
        (folder / "echo.toml").write_text(SUITE)
        with (folder / "cases.jsonl").open("w") as file:
            for number in range(cases):
                row = {"id": f"case-{number}", "prompt": f"question {number}", "answer": f"question {number}"}
                file.write(json.dumps(row) + "\n")
        return [sys.executable, "-m", "agentcheck", "run", "echo.toml", "-q", *options]

    return Program(name, prepare)


def plain_pytest() -> Program:
    """N parametrized tests, with no plugin but pytest's own."""

    def prepare(folder: Path, cases: int) -> list[str]:
        shutil.copy(HERE / "peers" / "test_plain.py", folder)
        (folder / "pytest.ini").write_text("[pytest]\n")
        return [sys.executable, "-m", "pytest", "-q", "test_plain.py"]

    return Program(BASELINE, prepare)


def peer(name: str) -> Program:
    """A peer in an environment of its own, made on first use."""
    folder = VENVS / REQUIREMENTS[name]
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing {name} into {folder} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        requirements = HERE / "peers" / f"requirements-{REQUIREMENTS[name]}.txt"
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)], check=True)

    def prepare(work: Path, cases: int) -> list[str]:
        return [str(python), str(HERE / "peers" / PEERS[name])]

    return Program(name, prepare)


def once(program: Program, cases: int) -> Measurement:
    """One process of a program in a fresh folder.

    Raises:
        SystemExit: it did not end with code 0; the end of what it printed is shown.
    """
    with tempfile.TemporaryDirectory(prefix="agentcheck-benchmark-") as name:
        folder = Path(name)
        command = program.prepare(folder, cases)
        env = {**os.environ, "BENCHMARK_CASES": str(cases)}
        # As users have it: compiled modules are kept between runs.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        if program.name == BASELINE:
            env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        found = measure(command, cwd=folder, env=env)
    if found.code != 0:
        raise SystemExit(f"{program.name}, {cases} cases: exit code {found.code}\n{found.output[-2000:]}")
    return found


def run(programs: Sequence[Program], sizes: Sequence[int], repeat: int) -> dict[tuple[str, int], list[Measurement]]:
    """All programs in turn, ``repeat`` times over, after one small run of each that is not counted."""
    found: dict[tuple[str, int], list[Measurement]] = {}
    for program in programs:
        once(program, 2)
    for cases in sizes:
        for turn in range(repeat):
            for program in programs:
                print(f"  {cases} cases, turn {turn + 1} of {repeat}: {program.name}", file=sys.stderr, flush=True)
                found.setdefault((program.name, cases), []).append(once(program, cases))
    return found


def table(found: dict[tuple[str, int], list[Measurement]], sizes: Sequence[int]) -> Iterable[str]:
    """Lines of a Markdown table: medians, the ratio to plain pytest, and the slopes between two sizes."""
    yield "| program | cases | wall s | cpu s | cases/s | against plain pytest, by wall | by cpu | peak MiB |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    names = list(dict.fromkeys(name for name, _ in found))
    for cases in sizes:
        floor, floor_cpu = median(found[BASELINE, cases], "wall"), median(found[BASELINE, cases], "cpu")
        for name in names:
            wall, cpu = median(found[name, cases], "wall"), median(found[name, cases], "cpu")
            peak = median(found[name, cases], "peak_kib") / 1024
            yield (
                f"| {name} | {cases} | {wall:.2f} | {cpu:.2f} | {cases / wall:.0f} "
                f"| {floor / wall:.2f} x | {floor_cpu / cpu:.2f} x | {peak:.0f} |"
            )
    if len(sizes) < 2:
        return
    low, high = min(sizes), max(sizes)
    yield ""
    yield f"Between {low} and {high} cases:"
    yield ""
    yield "| program | ms a case | cpu ms a case | KiB a case |"
    yield "|---|---:|---:|---:|"
    for name in names:
        first, last = found[name, low], found[name, high]
        slopes = {
            what: (median(last, what) - median(first, what)) / (high - low) for what in ("wall", "cpu", "peak_kib")
        }
        yield f"| {name} | {1000 * slopes['wall']:.3f} | {1000 * slopes['cpu']:.3f} | {slopes['peak_kib']:.1f} |"


def median(items: Sequence[Measurement], what: str) -> float:
    """The median of one figure over the repeats."""
    return statistics.median(getattr(item, what) for item in items)


def start_time(turns: int = 9) -> str:
    """How long ``agentcheck --help`` takes, best of some turns, and against an interpreter that does nothing."""
    best: dict[str, float] = {}
    programs = {"nothing": ["-c", "pass"], "help": ["-m", "agentcheck", "--help"]}
    for _ in range(turns):
        for name, arguments in programs.items():
            found = measure([sys.executable, *arguments], cwd=HERE, env=os.environ)
            best[name] = min(best.get(name, found.wall), found.wall)
    ratio = best["help"] / best["nothing"]
    return f"agentcheck --help: {best['help']:.3f} s, {ratio:.1f} x an interpreter that does nothing (best of {turns})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--with-peers", action="store_true", help="pydantic-evals and DeepEval too")
    parser.add_argument("--workers", type=int, default=0, help="agentcheck also with this many pytest-xdist workers")
    parser.add_argument("--json", type=Path, help="write the raw measurements to a file")
    arguments = parser.parse_args()
    programs = [plain_pytest(), ours()]
    if arguments.workers:
        programs.append(ours("-n", str(arguments.workers), name=f"agentcheck run -n {arguments.workers}"))
    if arguments.with_peers:
        programs += [peer(name) for name in PEERS]
    found = run(programs, arguments.cases, arguments.repeat)
    print("\n".join(table(found, arguments.cases)))
    print()
    print(start_time())
    if arguments.json:
        rows = [
            {
                "program": name,
                "cases": cases,
                "wall": item.wall,
                "cpu": item.cpu,
                "peak_kib": item.peak_kib,
                "inner": item.inner,
            }
            for (name, cases), items in found.items()
            for item in items
        ]
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
