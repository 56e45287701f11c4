"""The README: its output is what is printed, its links lead somewhere, its suite loads."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import cli
from agentcheck.suites import load_suite

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_main_command_prints_what_the_readme_shows(tmp_path: Path) -> None:
    """In a copy of what git holds, `agentcheck run` passes and prints the shown lines, but for times and run ids."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if name.startswith(("suites/", "golden_datasets/")) or name == "pyproject.toml":
            copy = tmp_path / "clone" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((ROOT / name).read_bytes())
    done = cli.call(tmp_path / "clone", "-m", "agentcheck", "run")
    assert done.code == 0, done.text
    (shown,) = (block for block in blocks("") if "passed" in block and "agentcheck" in block)
    printed = {re.sub(r"\s+", " ", line).strip(" =") for line in done.out.splitlines()}
    for line in shown.splitlines():
        words = re.sub(r"\s+", " ", line).strip(" =")
        if words in ("", "...") or words.startswith(("report:", "(56%)", "clinic: actions", "─")) or " in " in words:
            continue
        assert words in printed, f"the README shows {words!r}"
    assert "131 passed, 2 skipped" in done.out


def test_links_lead_somewhere() -> None:
    """Every relative link and picture of the README exists."""
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_shown_suite_loads(tmp_path: Path) -> None:
    """The suite in the README is one that agentcheck takes."""
    (text,) = blocks("toml")
    path = tmp_path / "shown.toml"
    path.write_text(text, "utf-8")
    assert load_suite(path).spec.gate.pass_rate == 0.95
