"""What the repository says and how: wording that states facts, no package index, no machine path, tests that speak.

The list of words follows the wording rules for evidence: a tool reports what it observed and in which population;
whether that meets a law is for an assessor to say.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = {".md", ".py", ".toml", ".yml", ".yaml", ".j2", ".txt", ".sh", ".jsonl", ".csv", ".css", ".js", ".html", ""}
FOLDERS = (".ci", ".github", "benchmarks", "docs", "golden_datasets", "src", "suites", "tests")

#: What agentcheck never says of itself or of a run, as (pattern, what to say instead).
NEVER = (
    (r"\bnon-?compliant\b|\bcompliant\b", "name the requirement, the period and the counts"),
    (r"\b(hipaa|sox|faa|nist|soc ?2|iso)[ -](certified|approved|ready)\b", "name the evidence, not a conclusion"),
    (r"\bcertified\b", "nobody certifies a run"),
    (r"\baudit[- ]ready\b", "say what the record holds"),
    (r"\btamper[- ]?proof\b|\bunalterable\b", "say which changes are detected, and from when"),
    (r"\bimmutable\b(?!=1)", "say append-only, or frozen"),  # immutable=1 is SQLite's, for opening a file
    (r"\bguaranteed\b", "say what was tested"),
    (r"\bcompliance score\b", "give counts with their denominators"),
    (r"\bcontrols? (?:is |are |was |were )?(?:passed|met|satisfied)\b", "no exception observed in N of N"),
    (r"\bindependent assessment\b", "produced by the operator with agentcheck"),
    (r"\basl-?\d ready\b", "operator readiness checks"),
    (r"\bthe agent (?:decided|understood|believes?|wants?)\b", "say what the agent asked for or answered"),
)
INDEX_HOST = re.compile(
    r"(?:pypi|pythonhosted|anaconda)\.(?:org|com)|--(?:extra-)?index-url|index-url\s*=", re.IGNORECASE
)
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home|Users)/[\w.]+|[A-Z]:\\Users\\")


def files(*roots: str, suffixes: Sequence[str] = ()) -> Iterator[Path]:
    """Text files under folders of the repository, or its own top level for ``"."``; never caches or this file."""
    for root in roots:
        found = ROOT.glob("*") if root == "." else (ROOT / root).rglob("*")
        for path in sorted(found):
            wanted = suffixes or TEXT
            if path.is_file() and path.suffix in wanted and path != Path(__file__) and "__pycache__" not in path.parts:
                yield path


def findings(pattern: re.Pattern[str], paths: Iterator[Path]) -> list[str]:
    """``file:line: the words found`` for every match in the files; words may stand across a line's end."""
    found = []
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="replace")
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
            found.append(f"{name}:{line}: {match.group()!r}")
    return found


def never(pattern: str) -> re.Pattern[str]:
    """The pattern of a phrase, with any white space where it has a space."""
    return re.compile(pattern.replace(" ", r"\s+").replace(r"\s+?", r"\s*"), re.IGNORECASE)


@pytest.mark.parametrize(("pattern", "instead"), NEVER, ids=[advice for _, advice in NEVER])
def test_words_that_conclude_are_not_used(pattern: str, instead: str) -> None:
    """README, documentation, source, templates, workflows and shipped suites state facts and draw no conclusion."""
    says = findings(never(pattern), files(".", "docs", "src", ".ci", ".github", "benchmarks", "suites"))
    assert not says, f"{instead}: {says}"


@pytest.mark.parametrize(
    "sentence",
    [
        "agentcheck makes you HIPAA compliant",
        "an audit-ready report",
        "a tamper-proof ledger",
        "the rows are\nimmutable",
        "the control was\n  satisfied",
        "SOC 2 certified",
        "guaranteed",
        "one compliance score",
        "Then the agent understood the question",
    ],
)
def test_the_linter_finds_such_words(sentence: str, tmp_path: Path) -> None:
    """A planted sentence that concludes is found, across line ends too."""
    planted = tmp_path / "planted.md"
    planted.write_text(sentence, encoding="utf-8")
    assert any(findings(never(pattern), iter([planted])) for pattern, _ in NEVER)


def test_no_file_names_a_package_index() -> None:
    """Where packages come from is the user's choice: no file names an index or sets one."""
    assert findings(INDEX_HOST, files(".", *FOLDERS)) == []


def test_no_file_names_a_path_of_one_machine() -> None:
    """Nothing in the repository depends on where it lies on somebody's disk."""
    assert findings(MACHINE_PATH, files(".", *FOLDERS)) == []


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [(INDEX_HOST, "pip install --index-url x"), (MACHINE_PATH, "cd /home/ann/agentcheck")],
    ids=["index", "path"],
)
def test_planted_places_are_found(pattern: re.Pattern[str], sentence: str, tmp_path: Path) -> None:
    """The two rules on places can fail."""
    planted = tmp_path / "planted.md"
    planted.write_text(sentence, encoding="utf-8")
    assert findings(pattern, iter([planted]))


def silent_tests(path: Path) -> Iterator[str]:
    """Tests of a file that have no docstring."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            docstring = ast.get_docstring(node)
            if not docstring:
                yield f"{path.name}:{node.lineno}: {node.name}"


def imports_of(path: Path) -> set[str]:
    """Modules a file imports, as written."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def calls_of(path: Path) -> set[str]:
    """What a file calls, as written; programs that a test hands to a child process are text and do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def test_every_test_states_a_behaviour() -> None:
    """Each test has a docstring that says what it holds."""
    silent = [item for path in files("tests", suffixes=[".py"]) for item in silent_tests(path)]
    assert silent == []


def test_no_test_mocks_or_sleeps() -> None:
    """Tests use fakes that implement the contracts and wait for events: no mock library, no fixed sleep."""
    for path in files("tests", suffixes=[".py"]):
        assert not {"mock", "unittest", "unittest.mock"} & imports_of(path), path
        assert "time.sleep" not in calls_of(path), path


def test_a_silent_or_sleeping_test_is_found(tmp_path: Path) -> None:
    """The rules on tests see one without a docstring, a mock and a sleep."""
    planted = tmp_path / "test_planted.py"
    planted.write_text("def test_nothing():\n    from unittest import mock\n    time.sleep(1)\n", encoding="utf-8")
    assert list(silent_tests(planted))
    assert "time.sleep" in calls_of(planted)
    assert "unittest" in {name.partition(".")[0] for name in imports_of(planted)}
