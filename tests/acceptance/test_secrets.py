"""Secrets never reach what is written: hundreds of them, through every path that exists, and every byte is searched.

`secrets_paths.ROWS` is the table of the paths; a capability that lets text in by a further one adds a row there. Real
`agentcheck` processes run in a project of their own; afterwards every file below it (ledgers, reports, caches, logs,
effect logs, what a killed run left) and all that the processes printed is searched for each secret, in plain and in
the forms that a path gives it. The project's own input files hold secrets and are left out.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import cli
import fakes_traces
import secrets_paths
from agentcheck.reporting import frame, terminal
from agentcheck.run_report import RunFold
from agentcheck.runs import RunFolder
from kits.obedient.server import serving
from secrets_paths import DEALT, ROWS, case_id
from secrets_seeded import KINDS, Seed, seed

TESTS = Path(__file__).parents[1]
ALL = [found for given in DEALT.values() for found in given]

PYTHON_TESTS = """
import logging
import warnings

import pytest

from secrets_paths import DEALT
from secrets_seeded import seed

pytestmark = pytest.mark.agentcheck(
    policy="UnsafeAllowAll", unknown_tools="allow", world="secrets_paths:make_world", levels={"held": 3}
)


def each(path):
    return pytest.mark.parametrize("number", [found.number for found in DEALT[path]])


@each("test-fails")
def test_fails(governed, number):
    governed.say("hello")
    assert governed.tools == [], seed(number).text


@each("test-raises")
def test_raises(governed, number):
    try:
        raise ValueError(seed(number).text)
    except ValueError as error:
        raise RuntimeError("what was below is chained") from error


@each("test-prints")
def test_prints(governed, number):
    print(seed(number).text)
    assert governed.tools == []


@each("test-logs")
def test_logs(governed, number):
    logging.getLogger("shop").error("an error: %s", seed(number).text)
    assert governed.tools == []


@each("test-calls")
def test_calls(governed, number):
    governed.call_tool("effect", text=seed(number).value)
    governed.call_tool("refuse", number=number)


@each("test-skips")
def test_skips(governed, number):
    pytest.skip(seed(number).text)


@each("test-shows-locals")
def test_shows_locals(governed, number):
    kept = seed(number).text
    assert governed.tools == []


@each("test-warns")
def test_warns(governed, number):
    warnings.warn(seed(number).text)
"""
BAD_MODULE = """
from secrets_paths import DEALT

print(DEALT["import-prints"][0].text)
raise RuntimeError(DEALT["import-raises"][0].text)
"""


class Written:
    """What was written somewhere, and the same without white space."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.joined = b"".join(data.split())


@dataclass
class Project:
    """The folder that agentcheck runs in: its inputs, and what was printed there."""

    root: Path
    server: str
    inputs: set[Path] = field(default_factory=set)
    printed: dict[str, bytes] = field(default_factory=dict)

    def write(self, path: str, text: str) -> None:
        """An input file; it may hold secrets."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        self.inputs.add(file)

    def suite(self, path: str, rows: str, **tables: Any) -> None:
        """A suite whose cases all fail, so that each is told in full."""
        table: dict[str, Any] = {
            "suite": {"time_limit": 60},
            "dataset": {"path": rows},
            "agent": {"use": "secrets_paths:make_agent"},
            "world": {"use": "secrets_paths:make_world"},
            "governance": {
                "policy": {"policy": {"name": "p", "default": "allow"}},
                "unknown_tools": "allow",
                "levels": {"held_*": 3},
            },
            "controls": [{"use": "secrets_paths:make_control"}],
            "metrics": [{"use": name} for name in ("exact_match", "structured_match", "contains", "expected_actions")]
            + [{"use": "secrets_paths:make_metric", "threshold": 1.0}],
        }
        self.write(path, json.dumps({**table, **tables}))

    def dataset(self, path: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A golden dataset."""
        self.write(path, "".join(json.dumps(row) + "\n" for row in rows))

    def run(self, name: str, *command: str) -> None:
        """Run a command as a user would, and keep all that it prints."""
        settings = {secrets_paths.variable(found): found.bare for found in DEALT["environment"]}
        keys = {f"SHOP_KEY_{found.number}": found.secret for found in DEALT["endpoint-echoes-key"]}
        path = os.pathsep.join((str(self.root), str(TESTS)))
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.root,
            env={**cli.environment(self.root), **settings, **keys, "PYTHONPATH": path},
            capture_output=True,
            timeout=300,
            check=False,
        )
        self.printed[f"output of {name}"] = done.stdout
        self.printed[f"errors of {name}"] = done.stderr

    def places(self) -> dict[str, Written]:
        """All that was written: name -> bytes. The rows of ledgers also one by one, for a page ends anywhere."""
        found = dict(self.printed)
        for file in sorted(self.root.rglob("*")):
            if file.is_file() and file not in self.inputs:
                found[str(file.relative_to(self.root))] = file.read_bytes()
        for folder in RunFolder.all(self.root / "reports"):
            for stream in folder.streams():
                with folder.reading(stream) as store:
                    found[f"events of {folder.id}/{stream}"] = b"\n".join(row.payload for row in store.read(stream))
        return {name: Written(data) for name, data in found.items()}


def of(suite: str) -> list[tuple[str, Seed]]:
    """Rows of a suite with each of their seeds."""
    return [(name, found) for name, row in ROWS.items() if row.suite == suite for found in DEALT[name]]


def golden(suite: str) -> list[dict[str, Any]]:
    """The dataset of a suite."""
    rows = []
    for name, found in of(suite):
        row: dict[str, Any] = {"id": case_id(name, found), "prompt": "begin"}
        given = ROWS[name].case
        rows.append({**row, **(given(found) if given else {})})
    return rows


def write_suites(project: Project) -> None:
    """The suites and datasets of the runs that get through."""
    for suite in ("main", "scripted", "model", "endpoint", "process", "http", "killed", "aside"):
        project.dataset(f"data/{suite}.jsonl", golden(suite))
    author, model, commit = DEALT["suite-names-its-agent"]
    named = {"author": author.text, "model": model.text, "commit": commit.text}
    votes = [
        {"tool": f"held_{found.number}", "voter": "boss", "vote": "approve", "reason": found.text}
        for found in DEALT["votes"]
    ]
    governance = {
        "policy": {"policy": {"name": "p", "default": "allow"}},
        "unknown_tools": "allow",
        "levels": {"held_*": 3},
        "votes": votes,
    }
    project.suite(
        "suites/main.yaml",
        "../data/main.jsonl",
        agent={"use": "secrets_paths:make_agent", **named},
        user={"use": "secrets_paths:make_user"},
        governance=governance,
    )
    replies = [{"match": rf"number {found.number}\.", "text": found.text} for found in DEALT["reply"]]
    scripted = {"use": "scripted", "rules": replies, "default": "nothing"}
    project.suite("suites/scripted.yaml", "../data/scripted.jsonl", model=scripted)
    project.suite("suites/model.yaml", "../data/model.jsonl", model={"use": "secrets_paths:make_model"})
    endpoint = {"use": "openai", "model": "m", "base_url": f"{project.server}/v1", "key_env": "", "retries": 0}
    project.suite("suites/endpoint.yaml", "../data/endpoint.jsonl", model=endpoint)
    for name, found in of("keyed"):
        project.dataset(f"data/keyed{found.number}.jsonl", [{"id": case_id(name, found), "prompt": "begin"}])
        keyed = {**endpoint, "key_env": f"SHOP_KEY_{found.number}"}
        project.suite(f"suites/keyed{found.number}.yaml", f"../data/keyed{found.number}.jsonl", model=keyed)
    command = ["{python}", "-c", "import secrets_paths; secrets_paths.process()"]
    project.suite("suites/process.yaml", "../data/process.jsonl", agent={"use": "process", "command": command})
    http = {"use": "http", "url": f"{project.server}/agent"}
    project.suite("suites/http.yaml", "../data/http.jsonl", agent=http)
    project.suite("suites/aside.yaml", "../data/aside.jsonl", agent={"use": "secrets_paths:talk"})
    project.suite("killed/killed.yaml", "../data/killed.jsonl")


def write_traces(project: Project) -> None:
    """A suite for each trace format."""
    for format_ in fakes_traces.FORMATS:
        path = project.root / f"data/{format_}.trace"
        project.inputs.add(fakes_traces.write(path, format_, [secrets_paths.example(format_)]))
        project.suite(
            f"suites/{format_}.yaml",
            "",
            dataset={"path": f"../data/{format_}.trace", "format": format_},
            agent={"use": "recorded"},
            world={"use": "recorded"},
            metrics=[{"use": "secrets_paths:make_metric", "threshold": 1.0}],
        )


def write_bad(project: Project) -> None:
    """Inputs that stop a run before its first case."""
    (bad,), (wrong,), (warned,) = DEALT["bad-dataset"], DEALT["bad-suite"], DEALT["collection-warns"]
    project.write("data/bad.jsonl", json.dumps({"id": "a", "prompt": ["x"], "answer": 1, "tags": wrong.number}) + "\n")
    project.dataset("data/bad.jsonl", [{"id": "a", "prompt": "x", bad.text: 1}])
    project.dataset("data/good.jsonl", [{"id": "a", "prompt": "x"}])
    project.suite("bad/dataset.yaml", "../data/bad.jsonl")
    project.suite("bad/suite.yaml", "../data/good.jsonl", world={"use": wrong.text})
    project.suite("bad/module.yaml", "../data/good.jsonl", agent={"use": "bad_module:make"})
    project.suite("bad/warns.yaml", "../data/good.jsonl", agent={"use": "warning_module:make"})
    project.write("bad_module.py", BAD_MODULE)
    project.write(
        "warning_module.py",
        "import warnings\nfrom secrets_seeded import seed\n"
        f"warnings.warn(seed({warned.number}).text)\nfrom secrets_paths import make_agent as make\n",
    )


def run_all(project: Project) -> None:
    """Everything that writes or prints."""
    words = [word for found in DEALT["command-line"] for word in ("-p", f"no:{found.text}")]
    everything = ("agentcheck", "run", "suites", "test_python.py", *words, "-l", "-rA", "-v")
    logged = (
        "--junitxml=out/pytest.xml",
        "--log-file=out/shop.log",
        "--log-file-level=DEBUG",
        "-o",
        "junit_logging=all",
    )
    project.run("the run", *everything, *logged)
    project.run("show", "agentcheck", "show", "last")
    case = case_id("answer", DEALT["answer"][0])
    project.run("show of a case", "agentcheck", "show", "last", f"main::{case}", "--full")
    project.run("list", "agentcheck", "list", "suites")
    project.run("verify", "agentcheck", "verify")
    folder = RunFolder.all(project.root / "reports")[-1]
    report = RunFold.of(folder).report()
    for table in (frame.trials(report), frame.actions(report)):
        frame.write_csv(table, project.root / "out" / f"frame{len(table.columns)}.csv")
    trials = [trial.session for suite in report.suites for case in suite.cases for trial in case.trials]
    found = [transcript for transcript in map(report.transcript, trials) if transcript is not None]
    shown = "\n".join(terminal.timeline(transcript, terminal.Look(width=120), full=True) for transcript in found)
    project.printed["every case shown"] = shown.encode()
    project.run("the run on two workers", *everything, "-n", "2")
    live = ("-o", "log_cli=true", "--log-cli-level=DEBUG", "-k", "log or loses or warns")
    project.run("the run with a live log", "agentcheck", "run", "suites/main.yaml", *live)
    project.run("the run that is killed", "agentcheck", "run", "killed")
    project.run("the run of what is wrong", "agentcheck", "run", "bad", "-rA")
    project.run("the unknown case", "agentcheck", "run", "suites", "--case", DEALT["unknown-case"][0].text)
    project.run("show of no case", "agentcheck", "show", "last", DEALT["shows-no-case"][0].text)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Written]:
    """All that was written by the runs of the project."""
    root = tmp_path_factory.mktemp("secrets")
    with serving(secrets_paths.answer) as server:
        project = Project(root, server)
        project.write("pyproject.toml", "")
        project.write("test_python.py", PYTHON_TESTS)
        project.write("plug-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: plug\nVersion: 1\n")
        project.write("plug-1.dist-info/entry_points.txt", "[agentcheck]\nplug = secrets_paths\n")
        write_suites(project)
        write_traces(project)
        write_bad(project)
        run_all(project)
    return project.places()


def leaks(found: Seed, places: Mapping[str, Written]) -> list[str]:
    """Where a secret stands, and in which form; also where a terminal broke it over two lines."""
    wrapped = re.sub(rb"\s", b"", found.secret.encode())
    told = []
    for place, written in places.items():
        told += [f"{place}: {form}" for form in found.stands_in(written.data)]
        if len(wrapped) > 11 and not wrapped.isdigit() and wrapped in written.joined:
            told.append(f"{place}: over two lines")
    return told


def test_there_are_enough_secrets() -> None:
    """At least 200 different secrets of every kind are sent, each along one path only."""
    assert len(ALL) == len({found.secret for found in ALL}) == len({found.marker for found in ALL}) >= 200
    assert {found.kind for found in ALL} == set(KINDS)
    assert all(DEALT[name] for name in ROWS)


@pytest.mark.parametrize("path", ROWS)
def test_no_secret_is_written(path: str, places: dict[str, Written]) -> None:
    """No byte that was written holds a secret that went along this path, in whatever form."""
    found = {f"{each.kind} {each.marker}": leaks(each, places) for each in DEALT[path]}
    assert not any(found.values()), json.dumps({name: told for name, told in found.items() if told}, indent=1)


@pytest.mark.parametrize("path", ROWS)
def test_the_path_was_taken(path: str, places: dict[str, Written]) -> None:
    """The word beside each secret was written, and a placeholder stands near it: nothing passes by accident."""
    row = ROWS[path]
    for found in DEALT[path]:
        mark = found.marker.encode()
        around = [
            each.data[max(0, at.start() - 200) : at.end() + 300]
            for each in places.values()
            for at in re.finditer(mark, each.data)
        ]
        assert around, f"{found.kind} {found.marker} was never seen"
        there = re.compile(row.after.encode() + mark)
        seen = [name for name, each in places.items() if row.where in name and there.search(each.data)]
        assert seen, f"{found.kind} {found.marker} stands in no {row.where!r}"
        assert row.silent or any(b"[redacted:" in text for text in around), f"{found.kind} {found.marker}"


#: What is searched, as a part of its name -> a word that must stand there.
KINDS_OF_PLACES = (
    "ledger.db",
    "ledger-gw0.db",
    "ledger.db-wal",
    "events of",
    "report.json",
    "report.html",
    "junit.xml",
    "findings.sarif",
    "summary.md",
    "effects.jsonl",
    "out/pytest.xml",
    "out/shop.log",
    "out/frame",
    "output of the run",
    "output of the run on two workers",
    "output of show",
    "output of show of a case",
    "output of the run of what is wrong",
    "output of the run with a live log",
    "every case shown",
)


@pytest.mark.parametrize("kind", KINDS_OF_PLACES)
def test_every_kind_of_place_was_searched(kind: str, places: dict[str, Written]) -> None:
    """Each kind of file and of output is there and tells of seeds, so that searching it means something."""
    markers = [found.marker.encode() for found in ALL]
    assert any(marker in each.data for name, each in places.items() if kind in name for marker in markers)


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_a_leak_would_be_found(number: int) -> None:
    """Each kind of secret is found in each form, and in lines that a terminal broke."""
    found = seed(number)
    text = found.secret
    for form in (text, json.dumps(text), json.dumps(json.dumps(text)), repr(text), text.encode().hex()):
        assert leaks(found, {"x": Written(f"a {form} b".encode())}), form
    assert not leaks(found, {"x": Written(seed(number + len(KINDS)).text.encode())})
