"""`--base`: the bar of a pull request is that of the branch it goes to."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from agentcheck.base import Base
from agentcheck.errors import UserError
from agentcheck.suites import Suite, load_suite

SUITE = """\
[dataset]
path = "../data.jsonl"
[agent]
use = "echo"
[governance]
policy = "policies/p.policy.toml"
[[metrics]]
use = "exact_match"
threshold = 0.9
[gate]
pass_rate = 0.95
"""


def git(root: Path, *arguments: str) -> None:
    """Run git with an identity of the test's own."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one suite on the branch `base`, and a working tree on `work`."""
    (tmp_path / "suites" / "policies").mkdir(parents=True)
    (tmp_path / "suites" / "shop.toml").write_text(SUITE)
    (tmp_path / "suites" / "other.toml").write_text(SUITE)
    (tmp_path / "suites" / "policies" / "p.policy.toml").write_text('[policy]\nname = "p"\ndefault = "deny"\n')
    (tmp_path / "data.jsonl").write_text('{"id": "a"}\n{"id": "b"}\n')
    git(tmp_path, "init", "-q", "-b", "base")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    git(tmp_path, "checkout", "-qb", "work")
    return tmp_path


def hold(root: Path, text: str = SUITE) -> Suite:
    """The suite of the working tree with this text, held to the base."""
    path = root / "suites" / "shop.toml"
    path.write_text(text)
    with closing(Base("base", root)) as base:
        held = base.hold(load_suite(path))
        assert isinstance(held.policy, Path)
        assert 'default = "deny"' in held.policy.read_text()
    return held


def test_an_unchanged_suite_has_no_changes(repository: Path) -> None:
    """Nothing is reported where nothing differs."""
    assert hold(repository).changed == ()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("pass_rate = 0.95", "pass_rate = 0.1", "gate.pass_rate: 0.95 -> 0.1"),
        ("threshold = 0.9", "threshold = 0.2", "metrics.exact_match.threshold: 0.9 -> 0.2"),
        ('[[metrics]]\nuse = "exact_match"\nthreshold = 0.9\n', "", "metrics.exact_match"),
        ("policies/p.policy.toml", "UnsafeAllowAll", "governance.policy: policies/p.policy.toml -> UnsafeAllowAll"),
    ],
)
def test_a_lowered_bar_is_told_and_does_not_count(repository: Path, old: str, new: str, told: str) -> None:
    """Gate, thresholds, metrics and policy stay those of the base; the change is listed."""
    assert old in SUITE
    held = hold(repository, SUITE.replace(old, new))
    assert any(change.startswith(told) for change in held.changed), held.changed
    assert held.spec.gate.pass_rate == 0.95
    assert [metric.threshold for metric in held.spec.metrics] == [0.9]
    assert not held.unsafe


@pytest.mark.parametrize(
    ("base", "head", "held"), [("trials = 3", "trials = 1", (3, 30)), ("time_limit = 5", "time_limit = 60", (1, 5))]
)
def test_trials_and_time_are_part_of_the_bar(repository: Path, base: str, head: str, held: tuple[int, float]) -> None:
    """Fewer trials or more time are told and do not count."""
    text = f"[suite]\n{base}\n{SUITE}"
    (repository / "suites" / "shop.toml").write_text(text)
    git(repository, "commit", "-qam", "two")
    git(repository, "branch", "-qf", "base")
    found = hold(repository, text.replace(base, head))
    assert (found.spec.suite.trials, found.spec.suite.time_limit) == held
    assert any(change.startswith(f"suite.{base.partition(' ')[0]}: ") for change in found.changed)


def test_another_dataset_or_world_is_told(repository: Path) -> None:
    """Cases and world are the working tree's; that they are others is listed."""
    (repository / "easy.jsonl").write_text('{"id": "a"}\n')
    assert "../data.jsonl" in SUITE
    held = hold(repository, SUITE.replace("../data.jsonl", "../easy.jsonl") + '[world]\nuse = "easy:world"\n')
    assert "dataset.path: ../data.jsonl -> ../easy.jsonl" in held.changed
    assert "world.use: none -> easy:world" in held.changed


def test_a_changed_policy_file_is_told_and_the_base_version_is_in_force(repository: Path) -> None:
    """A policy that the pull request loosens takes effect only after the merge."""
    (repository / "suites" / "policies" / "p.policy.toml").write_text('[policy]\nname = "p"\ndefault = "allow"\n')
    assert any("policies/p.policy.toml: differs" in change for change in hold(repository).changed)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ('{"id": "a"}\n', "1 of 2 cases of base were removed: b"),
        ('{"id": "a"}\n{"id": "b", "prompt": "easier"}\n', "1 of 2 cases of base were changed: b"),
        ("", "2 of 2 cases of base were removed: a, b"),
        ('{"id": "b"}\n\n{"id": "c"}\n{"id": "a"}', ""),
    ],
    ids=["removed", "changed", "emptied", "more, in another order"],
)
def test_cases_that_are_not_as_they_were_are_told(repository: Path, rows: str, told: str) -> None:
    """A case of the base that the dataset lacks, or has otherwise, is named; new ones and the order are free."""
    (repository / "data.jsonl").write_text(rows)
    assert hold(repository).changed == ((f"dataset ../data.jsonl: {told}",) if told else ())


def test_cases_of_another_dataset_are_compared_too(repository: Path) -> None:
    """A suite that reads a new, shorter file has lost the cases that only the old one holds."""
    (repository / "easy.jsonl").write_text('{"id": "a"}\n')
    changed = hold(repository, SUITE.replace("../data.jsonl", "../easy.jsonl")).changed
    assert "dataset ../data.jsonl: 1 of 2 cases of base were removed: b" in changed


def test_rows_without_an_id_are_counted(repository: Path) -> None:
    """What is no JSON lines has no ids to name."""
    (repository / "data.csv").write_text("id,prompt\na,x\nb,y\n")
    text = SUITE.replace("data.jsonl", "data.csv")
    (repository / "suites" / "shop.toml").write_text(text)
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "two")
    git(repository, "branch", "-qf", "base")
    (repository / "data.csv").write_text("id,prompt\na,x\n")
    assert hold(repository, text).changed == ("dataset ../data.csv: 1 of 3 rows of base were changed or removed",)


def missing(root: Path, *paths: str, **suites: str) -> list[str]:
    """The suites of the base that a run of these paths, which has these suites, does not have."""
    with closing(Base("base", root)) as base:
        found = base.missing([root / path for path in paths], {name: root / file for name, file in suites.items()})
        return [each.file for each in found]


BOTH = {"shop": "suites/shop.toml", "other": "suites/other.toml"}


def test_a_suite_that_takes_no_part_is_missing(repository: Path) -> None:
    """Below a folder that is run every suite of the base has to be there, by file or by name."""
    assert missing(repository, "suites", **BOTH) == []
    assert missing(repository, "suites", shop="suites/shop.toml") == ["suites/other.toml"]
    assert missing(repository, "suites/shop.toml", shop="suites/shop.toml") == []
    assert missing(repository, "suites", shop="suites/shop.toml", renamed="suites/other.toml") == []
    assert missing(repository, "suites", shop="suites/shop.toml", other="suites/moved.toml") == []


def test_a_whole_project_misses_only_what_is_gone(repository: Path) -> None:
    """Where a project is run, files that pytest does not collect are not missed while they are there."""
    nested = repository / "tests" / "suites" / "example.toml"
    nested.parent.mkdir(parents=True)
    nested.write_text(SUITE)
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "two")
    git(repository, "branch", "-qf", "base")
    assert missing(repository, ".", **BOTH) == []
    nested.unlink()
    assert missing(repository, ".", **BOTH) == ["tests/suites/example.toml"]
    assert missing(repository, "suites", **BOTH) == []


def test_other_folders_in_the_settings_lose_no_suite(repository: Path) -> None:
    """A change of [tool.agentcheck] suites does not take the base's folders out of the default run."""
    (repository / "pyproject.toml").write_text('[tool.agentcheck]\nsuites = ["checks"]\n')
    (repository / "checks").mkdir()
    (repository / "checks" / "shop.toml").write_text(SUITE)
    assert missing(repository, "checks", shop="checks/shop.toml") == ["suites/other.toml"]


def test_a_moved_suite_keeps_its_bar(repository: Path) -> None:
    """A new file with the name of a suite whose file is gone is held to that one, policy and dataset included."""
    moved = repository / "suites" / "retail" / "store.toml"
    moved.parent.mkdir()
    text = SUITE.replace("../data", "../../data").replace("policies/", "../policies/").replace("0.95", "0.1")
    moved.write_text(f'[suite]\nname = "shop"\n{text}')
    (repository / "data.jsonl").write_text('{"id": "a"}\n')
    (repository / "suites" / "shop.toml").unlink()
    with closing(Base("base", repository)) as base:
        held = base.hold(load_suite(moved))
        assert isinstance(held.policy, Path)
        assert 'default = "deny"' in held.policy.read_text()
    assert held.spec.gate.pass_rate == 0.95
    assert "the file of the suite: suites/shop.toml -> suites/retail/store.toml" in held.changed
    assert "gate.pass_rate: 0.95 -> 0.1" in held.changed
    assert "dataset ../data.jsonl: 1 of 2 cases of base were removed: b" in held.changed


def test_a_namesake_in_another_folder_is_a_suite_of_its_own(repository: Path) -> None:
    """While the base's suite is still in its place, another file of that name is not held to it."""
    namesake = repository / "more" / "suites" / "shop.toml"
    namesake.parent.mkdir(parents=True)
    namesake.write_text(SUITE)
    with closing(Base("base", repository)) as base:
        assert base.hold(load_suite(namesake)).changed == ("new suite: base does not have it",)


def test_a_new_suite_keeps_its_own_bar_and_says_so(repository: Path) -> None:
    """There is nothing to hold a new suite to."""
    path = repository / "suites" / "new.toml"
    path.write_text(SUITE)
    with closing(Base("base", repository)) as base:
        assert base.hold(load_suite(path)).changed == ("new suite: base does not have it",)


def test_a_ref_that_is_not_there_is_refused_with_advice(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A branch that was not fetched, an option in disguise and a folder without git are the user's mistakes."""
    with pytest.raises(UserError, match="fetch-depth: 0"):
        Base("nowhere", repository)
    with pytest.raises(UserError, match="no such branch"):
        Base("--output=x", repository)
    with pytest.raises(UserError, match="no git repository"):
        Base("base", tmp_path_factory.mktemp("plain"))
