"""The witness: what is logged, when, and what it refuses."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

from agentcheck.errors import ToolError, WorldError
from agentcheck.records import Effect
from agentcheck.worlds import effects
from agentcheck.worlds.effects import EffectLog, read_effects, redacting


def refuse() -> None:
    """An act that the tool refuses."""
    raise ToolError("no")


def test_no_effect_makes_no_file(tmp_path: Path) -> None:
    """A log without effects leaves no trace on disk."""
    log = EffectLog(tmp_path / "trial")
    assert log.entries() == ()
    assert not (tmp_path / "trial").exists()


def test_arguments_are_redacted_before_they_are_on_disk(tmp_path: Path) -> None:
    """A log that is made under a redactor never writes what was given; the tool acts on it, and a key acts once."""
    with redacting(lambda text: text.replace("hidden", "[redacted:secret:0123456789abcdef]")):
        log = EffectLog(tmp_path / "trial")
    given = {"password": "hidden", "amount": 2.5}
    assert log.once("k", "pay", given, lambda: given["password"]) == "hidden"
    assert log.once("k", "pay", given, lambda: "again") == "hidden"
    assert "hidden" not in log.path.read_text(encoding="utf-8")
    assert log.entries() == (Effect("k", "pay", {"password": "[redacted:secret:0123456789abcdef]", "amount": 2.5}),)
    with pytest.raises(ToolError):
        log.once("k", "pay", {"password": "another", "amount": 2.5}, lambda: "again")


def test_nothing_happens_where_arguments_cannot_be_redacted(tmp_path: Path) -> None:
    """A redactor that breaks stops the effect, not only its line."""
    acted: list[str] = []
    with redacting(lambda text: str(1 // 0)):
        log = EffectLog(tmp_path / "trial")
    with pytest.raises(ZeroDivisionError):
        log.once("k", "pay", {}, lambda: acted.append("paid"))
    assert acted == []


def test_the_line_is_on_disk_before_the_result_is_given(tmp_path: Path) -> None:
    """When `once` returns, another reader of the file sees the effect, in full."""
    log = EffectLog(tmp_path / "trial")
    assert log.once("k", "pay", {"amount": 2.5}, lambda: "paid") == "paid"
    assert json.loads(log.path.read_text(encoding="utf-8")) == {
        "effect": 1,
        "key": "k",
        "tool": "pay",
        "arguments": {"amount": 2.5},
    }
    assert read_effects(log.path) == (Effect("k", "pay", {"amount": 2.5}),)


def test_the_file_is_synchronised_before_the_result_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each effect is flushed to the disk itself, not only to the system's cache."""
    seen: list[str] = []
    log = EffectLog(tmp_path)
    monkeypatch.setattr(effects.os, "fsync", lambda descriptor: seen.append(log.path.read_text(encoding="utf-8")))
    log.once("k1", "pay", {}, lambda: 1)
    log.once("k2", "pay", {}, lambda: 2)
    assert [text.count("\n") for text in seen] == [1, 2]


def test_effects_come_back_in_order(tmp_path: Path) -> None:
    """Entries are in the order in which they happened."""
    log = EffectLog(tmp_path)
    for number in range(5):
        log.once(f"k{number}", "act", {"n": number, "text": "Zürich\n"}, lambda: None)
    assert [entry.arguments["n"] for entry in log.entries()] == [0, 1, 2, 3, 4]


def test_a_repeated_key_acts_once(tmp_path: Path) -> None:
    """The same key gives the first result again, which the caller cannot change for the next one."""
    log = EffectLog(tmp_path)
    done: list[int] = []

    def act() -> dict[str, int]:
        done.append(1)
        return {"number": len(done)}

    first = log.once("k", "act", {}, act)
    first["number"] = 99
    assert log.once("k", "act", {}, act) == {"number": 1}
    assert done == [1]
    assert len(log.entries()) == 1


@pytest.mark.parametrize(("name", "arguments"), [("act", {"a": 2}), ("other", {"a": 1})])
def test_a_key_belongs_to_one_call(name: str, arguments: dict[str, int], tmp_path: Path) -> None:
    """A key that comes back with another name or other arguments is refused."""
    log = EffectLog(tmp_path)
    log.once("k", "act", {"a": 1}, lambda: None)
    with pytest.raises(ToolError, match="belongs to another call"):
        log.once("k", name, arguments, lambda: None)
    assert len(log.entries()) == 1


def test_a_refused_act_is_no_effect(tmp_path: Path) -> None:
    """What the tool refuses is not logged, and its key may be used again."""
    log = EffectLog(tmp_path)
    with pytest.raises(ToolError):
        log.once("k", "act", {}, refuse)
    assert log.entries() == ()
    assert log.once("k", "act", {}, lambda: "done") == "done"


def test_an_effect_needs_a_key(tmp_path: Path) -> None:
    """An effect without an idempotency key does not happen."""
    done: list[int] = []
    with pytest.raises(WorldError, match="without an idempotency key"):
        EffectLog(tmp_path).once("", "act", {}, lambda: done.append(1))
    assert done == []


def test_a_log_that_cannot_be_written_stops_the_world(tmp_path: Path) -> None:
    """After an effect that could not be witnessed nothing more happens."""
    (tmp_path / "trial").write_text("a file where the folder should be", encoding="utf-8")
    log = EffectLog(tmp_path / "trial")
    done: list[int] = []
    with pytest.raises(WorldError, match="could not be written"):
        log.once("k1", "act", {}, lambda: done.append(1))
    with pytest.raises(WorldError, match="could not be written"):
        log.once("k2", "act", {}, lambda: done.append(2))
    assert done == [1]


def test_a_folder_that_is_somebody_elses_is_refused(tmp_path: Path) -> None:
    """A log never goes on in a file that it did not make."""
    first = EffectLog(tmp_path)
    first.once("k", "act", {}, lambda: None)
    with pytest.raises(WorldError, match="could not be written"):
        EffectLog(tmp_path).once("k", "act", {}, lambda: None)
    assert len(read_effects(first.path)) == 1


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    """A line without its end belongs to an effect that never returned."""
    log = EffectLog(tmp_path)
    log.once("k", "act", {}, lambda: None)
    with open(log.path, "a", encoding="utf-8") as file:
        file.write('{"effect": 2, "key": "k2", "too')
    assert [entry.key for entry in read_effects(log.path)] == ["k"]


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ("no json\n", ":1"),
        ('{"effect": 1, "key": "k", "tool": "t"}\n', ":1"),
        ('{"effect": 1, "key": "k", "tool": "t", "arguments": {}}\n[]\n', ":2"),
        ('{"effect": 2, "key": "k", "tool": "t", "arguments": {}}\n', ":1"),
    ],
    ids=["not json", "a key is missing", "no table", "a gap"],
)
def test_a_damaged_log_is_named(lines: str, place: str, tmp_path: Path) -> None:
    """A line that cannot be read, and a gap in the count, are errors with file and line."""
    path = tmp_path / "effects.jsonl"
    path.write_text(lines, encoding="utf-8")
    with pytest.raises(WorldError) as caught:
        read_effects(path)
    assert caught.value.where.endswith(place)


def test_the_witness_shares_no_code_with_the_ledger() -> None:
    """The effect log imports the standard library, the exceptions and the records, and nothing else."""
    tree = ast.parse(Path(effects.__file__).read_text(encoding="utf-8"))
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    ours = {module for module in modules if module.split(".")[0] not in sys.stdlib_module_names}
    assert ours == {"agentcheck.errors", "agentcheck.records"}
