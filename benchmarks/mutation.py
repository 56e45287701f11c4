"""Mutation testing of governance and ledger: which faults, put into the code one at a time, do the tests notice?

    pip install -r benchmarks/requirements-mutation.txt
    python benchmarks/mutation.py --sample 400 --seed 1         a bounded sample, drawn over all files
    python benchmarks/mutation.py --sample 0                    every mutant (hours)
    python benchmarks/mutation.py --files ledger/chain.py       only the mutants of some files

Works in a copy of the repository, so nothing here is changed. A mutant is *caught* when a test fails or its time runs
out, and *survives* when all tests pass or none runs it; the score is caught over all that were tried. Mutants are
made by mutmut; the tests are those of the two rooms.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("governance", "ledger")
#: mutmut's exit codes of a mutant: pytest failed or broke, or its time ran out.
FAILED = (1, 3)
TIMED_OUT = (24, -24, 36, 152, 255)
#: Names of property tests that concern the two rooms.
WORDS = ("governance", "ledger", "polic", "redact", "chain", "decid", "provenance", "flow", "breaker", "envelope")
BATCH = 2000
#: How often tests that fail without a mutant are looked for.
ROUNDS = 6


def copy_repository(folder: Path) -> None:
    """Copy what git knows of (and what is new) and add mutmut's configuration."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    with (folder / "tests" / "conftest.py").open("a", encoding="utf-8") as file:
        # Every call of a mutated function takes three frames; tests of deep values need their depth all the same.
        file.write("\nimport sys\n\nsys.setrecursionlimit(4 * sys.getrecursionlimit())\n")
        # The same examples for every mutant, or a test would fail for its examples and not for the fault.
        file.write("\nfrom hypothesis import settings\n\n")
        file.write("settings.register_profile('mutation', derandomize=True, database=None, deadline=None)\n")
        file.write("settings.load_profile('mutation')\n")


def prepare(folder: Path, workers: int) -> list[str]:
    """Make all mutants, and leave out tests that fail without any: they cannot tell a mutant. Returns those.

    Raises:
        SystemExit: mutmut cannot work here; the end of what it said is shown.
    """
    plain = (folder / "pyproject.toml").read_text(encoding="utf-8")
    left_out: list[str] = []
    for _ in range(ROUNDS):
        (folder / "pyproject.toml").write_text(plain + configuration(folder, left_out), encoding="utf-8")
        made = mutmut(folder, ["no-such-mutant"], workers)
        failing = re.findall(r"^(?:FAILED|ERROR) (tests/\S+)", made.stdout, re.MULTILINE)
        if not failing and results(folder):
            return left_out
        if not failing or failing[0] in left_out:
            raise SystemExit(f"mutmut cannot work here:\n{made.stdout[-3000:]}{made.stderr[-2000:]}")
        left_out += failing
    raise SystemExit(f"too many tests fail without a mutant: {', '.join(left_out)}")


def configuration(folder: Path, left_out: Sequence[str]) -> str:
    """mutmut's table: what is mutated, and which tests are asked."""
    rooms = [path for room in ROOMS for path in sorted((folder / "tests" / "unit" / room).glob("test_*.py"))]
    tests = [str(path.relative_to(folder)) for path in rooms]
    for path in sorted((folder / "tests" / "properties").glob("test_*.py")):
        if any(word in path.name for word in WORDS):
            tests.append(str(path.relative_to(folder)))
    tests += [f"--deselect={name}" if "::" in name else f"--ignore={name}" for name in left_out]
    beside = sorted({path.name for path in folder.iterdir()} - {"src", "tests", "mutants", "pyproject.toml"})
    only = [f"src/agentcheck/{room}/*" for room in ROOMS]
    return f"""
[tool.mutmut]
source_paths = ["src/"]
only_mutate = {json.dumps(only)}
pytest_add_cli_args_test_selection = {json.dumps(tests)}
also_copy = {json.dumps(beside)}
process_isolation = "forkserver"
debug = true
"""


def mutmut(folder: Path, names: Sequence[str], workers: int) -> subprocess.CompletedProcess[str]:
    """One run of mutmut over mutants by name."""
    program = shutil.which("mutmut", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        raise SystemExit("mutmut is not installed: pip install -r benchmarks/requirements-mutation.txt")
    return subprocess.run(
        [program, "run", "--max-children", str(workers), *names],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def results(folder: Path) -> dict[str, dict[str, int | None]]:
    """File (``ledger/chain.py``) -> mutant -> exit code, or ``None`` for one that was not tried."""
    found = {}
    base = folder / "mutants" / "src" / "agentcheck"
    for path in sorted(base.rglob("*.meta")):
        codes = json.loads(path.read_text())["exit_code_by_key"]
        if codes:
            found[str(path.relative_to(base)).removesuffix(".meta")] = codes
    return found


def draw(found: Mapping[str, Mapping[str, object]], files: Sequence[str], sample: int, seed: int) -> list[str]:
    """The mutants to try: all of the chosen files, or a sample drawn evenly over them."""
    names = [name for file, mutants in found.items() if not files or file in files for name in mutants]
    if sample and sample < len(names):
        names = random.Random(seed).sample(sorted(names), sample)
    return sorted(names)


def report(found: Mapping[str, Mapping[str, int | None]], chosen: Sequence[str], total: int, seed: int) -> list[str]:
    """Lines of Markdown: score by file and in all, and the survivors by name."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    wanted = set(chosen)
    for file, mutants in found.items():
        for name, code in mutants.items():
            if name in wanted:
                kind = "caught" if code in FAILED else "timed out" if code in TIMED_OUT else "survived"
                kinds[file]["not tried" if code is None else kind] += 1
    lines = ["| file | tried | caught | timed out | survived | score |", "|---|---:|---:|---:|---:|---:|"]
    everything: Counter[str] = Counter()
    for file, counts in [*kinds.items(), ("**all**", everything)]:
        if counts is not everything:
            everything.update(counts)
        tried = sum(counts.values()) - counts["not tried"]
        caught = counts["caught"] + counts["timed out"]
        share = f"{caught / tried:.1%}" if tried else "-"
        lines.append(
            f"| {file} | {tried} | {counts['caught']} | {counts['timed out']} | {counts['survived']} | {share} |"
        )
    head = f"{len(chosen)} of {total} mutants, seed {seed}"
    if everything["not tried"]:
        head += f"; {everything['not tried']} could not be tried"
    return [head, "", *lines, "", "Survivors:", "", *(f"- `{name}`" for name in survivors(found, chosen))]


def survivors(found: Mapping[str, Mapping[str, int | None]], chosen: Sequence[str]) -> list[str]:
    """Names of the chosen mutants that no test noticed."""
    wanted = set(chosen)
    codes = {name: code for mutants in found.values() for name, code in mutants.items() if name in wanted}
    return [name for name, code in codes.items() if code is not None and code not in FAILED + TIMED_OUT]


def differences(folder: Path, names: Sequence[str]) -> Iterator[str]:
    """What each mutant changes, as mutmut shows it."""
    program = shutil.which("mutmut", path=str(Path(sys.executable).parent)) or "mutmut"
    for name in names:
        shown = subprocess.run([program, "show", name], cwd=folder, capture_output=True, text=True, check=False)
        changed = [line for line in shown.stdout.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        yield "\n".join(["", f"`{name}`", "", "```diff", *changed, "```"])


def main() -> int:
    """Mutate, test, print; 0 when the score reaches ``--at-least``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=300, help="how many mutants to try; 0 = all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", nargs="+", default=[], help="such as ledger/chain.py")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--show", type=int, default=0, metavar="N", help="what the first N survivors change")
    parser.add_argument("--at-least", type=float, default=0.0, help="exit with 1 below this score, such as 0.7")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="agentcheck-mutation-") as name:
        folder = Path(name)
        copy_repository(folder)
        left_out = prepare(folder, arguments.workers)
        found = results(folder)
        chosen = draw(found, arguments.files, arguments.sample, arguments.seed)
        for start in range(0, len(chosen), BATCH):
            print(f"  {start} of {len(chosen)}", file=sys.stderr, flush=True)
            done = mutmut(folder, chosen[start : start + BATCH], arguments.workers)
            found = results(folder)
            if not any(code is not None for codes in found.values() for code in codes.values()):
                raise SystemExit(f"no mutant could be tried:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
        total = sum(map(len, found.values()))
        print("\n".join(report(found, chosen, total, arguments.seed)))
        if arguments.show:
            print("\n".join(differences(folder, survivors(found, chosen)[: arguments.show])))
        if left_out:
            print("\nLeft out, because they fail when nothing is changed but the instruments are in:\n")
            print("\n".join(f"- `{name}`" for name in left_out))
        tried = {key: code for codes in found.values() for key, code in codes.items() if key in set(chosen)}
        caught = sum(code in FAILED + TIMED_OUT for code in tried.values())
        return 0 if caught >= arguments.at_least * len(tried) else 1


if __name__ == "__main__":
    sys.exit(main())
