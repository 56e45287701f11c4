"""Print constraints.txt: what ``pip install ".[test,dev]"`` gives on each of the interpreters named.

    python .ci/pin.py python3.10 python3.11 python3.12 python3.13 > constraints.txt

Each interpreter gets a throw-away environment; a package whose version differs between them is written once per
version, with a marker on the Python version. Only names and versions are written, never hashes or places.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEADER = """\
# Versions that the tests run with; made by .ci/pin.py from `pip install ".[test,dev]"` on each Python version.
# Use: pip install -e ".[test]" -c constraints.txt
"""


def installed(interpreter: str) -> tuple[str, dict[str, str]]:
    """The minor version of an interpreter, and name -> version of what the extras bring on it."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([interpreter, "-m", "venv", folder], check=True)
        python = str(Path(folder) / "bin" / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", f"{ROOT}[test,dev]"], check=True, stdout=sys.stderr)
        frozen = subprocess.run(
            [*pip, "freeze", "--exclude", "agentcheck-governance"], check=True, capture_output=True, text=True
        )
        version = subprocess.run(
            [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            check=True,
            capture_output=True,
            text=True,
        )
    pairs = (line.split("==", 1) for line in frozen.stdout.split() if "==" in line)
    return version.stdout.strip(), dict(pairs)


def merged(by_python: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Constraint lines; versions that are the same on every Python carry no marker."""
    names = sorted({name for found in by_python.values() for name in found}, key=str.lower)
    lines = []
    for name in names:
        pythons: dict[str, list[str]] = defaultdict(list)
        for python, found in by_python.items():
            if name in found:
                pythons[found[name]].append(python)
        if len(pythons) == 1:
            lines.append(f"{name}=={next(iter(pythons))}")
            continue
        for version, which in pythons.items():
            lines.append(f"{name}=={version} ; {marker(which, list(by_python))}")
    return lines


def marker(which: Sequence[str], every: Sequence[str]) -> str:
    """A marker that holds on ``which`` of the versions ``every``, both in ascending order and without a gap."""
    first, last = every.index(which[0]), every.index(which[-1])
    if list(which) != list(every[first : last + 1]):
        return " or ".join(f"python_version == '{python}'" for python in which)
    if first == 0:
        return f"python_version < '{every[last + 1]}'"
    if last == len(every) - 1:
        return f"python_version >= '{which[0]}'"
    return f"python_version >= '{which[0]}' and python_version < '{every[last + 1]}'"


def main(interpreters: Sequence[str]) -> None:
    """Install on each interpreter and print the merged constraints."""
    if not interpreters:
        raise SystemExit(__doc__)
    found = dict(installed(interpreter) for interpreter in interpreters)
    ordered = dict(sorted(found.items(), key=lambda item: tuple(map(int, item[0].split(".")))))
    print(HEADER + "\n".join(merged(ordered)))


if __name__ == "__main__":
    main(sys.argv[1:])
