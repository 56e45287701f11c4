"""`agentcheck doctor`: facts about an installation, with advice, and an exit code that follows from them."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentcheck.cli import KEPT_OUT
from agentcheck.errors import PluginError
from agentcheck.installation import doctor
from agentcheck.installation.doctor import Check, examine, main, text, works


def look(reports: Path, **options: Any) -> dict[str, Check]:
    """All checks by name, on a sound machine unless told otherwise."""
    entries = [("built-in", "agents", f"a{number}") for number in range(7)]
    store = [("ok", "SQLite", "")]
    told = {"ask_store": lambda: store, "ask_checkpoints": lambda: [("ok", "nothing is published", "")]}
    options = {"load_plugins": lambda: entries, **told, "encoding": "utf-8", **options}
    return {check.name: check for check in examine(reports=reports, **options)}


def test_a_sound_installation_has_no_failure(tmp_path: Path) -> None:
    """Here, where the tests run, nothing fails and the core packages are listed with their versions."""
    found = look(tmp_path / "reports")
    assert works(found.values())
    assert f"pytest {metadata.version('pytest')}" in found["packages"].detail
    assert found["plugins"].detail == "7 names registered"


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    """The write probe makes no reports folder and removes its own files."""
    look(tmp_path / "reports")
    assert list(tmp_path.iterdir()) == []


def test_an_old_python_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python below the oldest supported one fails the check, with the version that is needed."""
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (99, 0))
    found = look(tmp_path)
    assert found["python"].status == "fail"
    assert not works(found.values())


def declare(monkeypatch: pytest.MonkeyPatch, requirements: list[str], extras: list[str]) -> None:
    """Let agentcheck's metadata declare these requirements."""
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: requirements)
    monkeypatch.setattr(
        doctor.metadata, "metadata", lambda name: SimpleNamespace(get_all=lambda key: extras), raising=True
    )


def test_a_package_outside_its_range_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed version outside the declared range is named with both, and fails."""
    declare(monkeypatch, ["pytest<1"], [])
    found = look(tmp_path)["packages"]
    assert found.status == "fail"
    assert metadata.version("pytest") in found.detail
    assert "<1" in found.detail


def test_a_missing_package_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of the core that is not installed fails."""
    declare(monkeypatch, ["no-such-package>=1"], [])
    assert look(tmp_path)["packages"].status == "fail"


def test_a_requirement_for_another_python_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is needed on other Python versions only is not missed here."""
    declare(monkeypatch, ["pytest", "no-such-package; python_version < '3'"], [])
    assert look(tmp_path)["packages"].status == "ok"


def test_an_absent_extra_names_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra that is not installed is absent, not a failure, and the command that installs it is given."""
    declare(monkeypatch, ["pytest", "no-such-package; extra == 'gold'", "ruff; extra == 'dev'"], ["gold", "dev"])
    found = look(tmp_path)
    assert found["extra gold"].status == "absent"
    assert found["extra gold"].advice == 'pip install "agentcheck-governance[gold]"'
    assert "extra dev" not in found
    assert works(found.values())


def test_an_extra_in_a_wrong_version_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra whose package is outside its range warns; runs without it work."""
    declare(monkeypatch, ["pytest", "click<1; extra == 'gold'"], ["gold"])
    assert look(tmp_path)["extra gold"].status == "warn"


def test_a_plugin_that_does_not_load_fails_by_name(tmp_path: Path) -> None:
    """The plugin's error is shown with its advice, and the check fails."""

    def broken() -> list[tuple[str, str, str]]:
        raise PluginError("plugin 'gold' does not load", advice="uninstall gold")

    found = look(tmp_path, load_plugins=broken)["plugins"]
    assert (found.status, found.advice) == ("fail", "uninstall gold")
    assert "gold" in found.detail


def test_each_plugin_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a plugin comes from, and what it brings, stand in a line of its own."""
    package = SimpleNamespace(name="desk-checks", version="1.2")
    points = {"agentcheck": [SimpleNamespace(name="desk", value="desk_checks.plugin", dist=package)]}
    monkeypatch.setattr(doctor.metadata, "entry_points", lambda group: points.get(group, []))
    entries = [("built-in", "agents", "echo"), ("desk", "metrics", "owns_up"), ("desk", "agents", "clerk")]
    found = look(tmp_path, load_plugins=lambda: entries)
    assert found["plugins"].detail == "3 names registered"
    assert found["plugin desk"].detail == "desk_checks.plugin of desk-checks 1.2: metric owns_up, agent clerk"


def test_slow_pytest_plugins_are_found_and_kept_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed plugin that slows every session is named; it fails only where our runs would load it."""
    points = [SimpleNamespace(name="deepeval"), SimpleNamespace(name="xdist")]
    monkeypatch.setattr(doctor.metadata, "entry_points", lambda group: points if group == "pytest11" else [])
    found = look(tmp_path)
    assert found["pytest plugin deepeval"].status == "warn"
    assert "pytest plugin xdist" not in found
    assert look(tmp_path, kept_out=())["pytest plugin deepeval"].status == "fail"


def test_our_runs_keep_out_what_the_doctor_knows() -> None:
    """`agentcheck run` switches off every pytest plugin that the doctor calls slow."""
    assert {f"no:{name}" for name in doctor.SLOW_PYTEST_PLUGINS} <= set(KEPT_OUT)


def test_an_old_sqlite_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SQLite that is too old fails, with its version."""
    monkeypatch.setattr(doctor, "OLDEST_SQLITE", (99, 0, 0))
    found = look(tmp_path)["sqlite"]
    assert found.status == "fail"
    assert sqlite3.sqlite_version in found.detail


def test_a_folder_that_takes_no_ledger_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a ledger cannot be written, the folder and the reason are named."""

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryDirectory", refuse)
    found = look(tmp_path)["ledger"]
    assert found.status == "fail"
    assert "Permission denied" in found.detail
    assert str(tmp_path) in found.detail


def test_the_probe_writes_as_a_ledger_does(tmp_path: Path) -> None:
    """The probe leaves a WAL database whose row can be read back."""
    assert doctor._probe(tmp_path / "probe.db", tmp_path).status == "ok"
    connection = sqlite3.connect(tmp_path / "probe.db")
    try:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT value FROM probe").fetchone() == ("written",)
    finally:
        connection.close()


def test_where_events_go_elsewhere_no_ledger_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another store the folder of reports is tried for a file, and nothing is said of a ledger in it."""
    found = look(tmp_path / "reports", events_in_reports=False)
    assert "ledger" not in found
    assert found["reports"].status == "ok"
    assert list(tmp_path.iterdir()) == []

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    found = look(tmp_path, events_in_reports=False)
    assert (found["reports"].status, str(tmp_path) in found["reports"].detail) == ("fail", True)


@pytest.mark.parametrize(("free", "status"), [(10, "fail"), (doctor.GIB // 2, "warn"), (doctor.GIB * 2, "ok")])
def test_little_room_is_seen(free: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a gibibyte warns, under a tenth of one fails."""
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(free, 0, free))
    assert look(tmp_path)["disk"].status == status


def test_a_missing_git_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git runs work; what is lost is said."""
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    found = look(tmp_path)["git"]
    assert found.status == "absent"
    assert "--base" in found.advice


@pytest.mark.parametrize(
    ("encoding", "status"), [("utf-8", "ok"), ("ascii", "warn"), ("cp437", "warn"), ("no", "warn")]
)
def test_a_terminal_that_cannot_show_reports_warns(encoding: str, status: str, tmp_path: Path) -> None:
    """An encoding without the marks of our reports warns and names the variable that helps."""
    assert look(tmp_path, encoding=encoding)["terminal"].status == status


def test_the_command_says_what_failed_and_exits_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text holds status, name, detail and advice of each check; a failure makes the exit code 1."""
    monkeypatch.setattr(doctor, "OLDEST_SQLITE", (99, 0, 0))
    said, code = main(tmp_path)
    assert code == 1
    assert "fail   sqlite" in said
    assert "-> use a newer Python or SQLite" in said
    assert "1 of" in said


def test_text_counts_checks() -> None:
    """Without a failure the last line says so, with the number of checks."""
    assert text([Check("git", "ok", "there")]).endswith("1 checks, none failed")


def test_the_doctor_imports_nothing_heavy() -> None:
    """Looking at packages does not import them."""
    program = (
        "import sys; from agentcheck.installation.doctor import main; main()\n"
        "print(*({'pydantic', 'pandas', 'numpy', 'deepeval', 'phoenix', 'rich', 'jinja2', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""
