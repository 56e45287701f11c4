"""Suite files: strict, with the place of every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentcheck import plugins
from agentcheck.collection import prepare
from agentcheck.errors import PluginError, PolicyError, SuiteError
from agentcheck.suites import json_schema, load_suite

ROOT = Path(__file__).parents[3]
GOOD = """\
[suite]
name = "shop"

[dataset]
path = "shop.jsonl"

[agent]
use = "echo"
temperature = 0

[governance]
policy = "UnsafeAllowAll"

[[metrics]]
use = "exact_match"
threshold = 1.0

[[metrics]]
use = "groundedness"
"""


def write(folder: Path, text: str, name: str = "shop.toml") -> Path:
    """A suite file with this text."""
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def message(path: Path) -> str:
    """The message with which a suite is refused."""
    with pytest.raises(SuiteError) as caught:
        load_suite(path)
    return str(caught.value)


def test_a_good_suite_keeps_what_it_says_and_further_keys_as_options(tmp_path: Path) -> None:
    """A valid file becomes a suite; keys beyond `use` are options of what it names."""
    suite = load_suite(write(tmp_path, GOOD))
    assert suite.name == "shop"
    assert suite.spec.agent.options() == {"temperature": 0}
    assert [metric.threshold for metric in suite.spec.metrics] == [1.0, None]
    assert suite.unsafe


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        ('name = "shop"', 'nmae = "shop"', 2, "unknown key 'suite.nmae'; did you mean 'name'?"),
        ('path = "shop.jsonl"', "", 4, "'dataset.path' is missing"),
        ('policy = "UnsafeAllowAll"', 'polic = "x"', 12, "did you mean 'policy'?"),
        ("threshold = 1.0", 'threshold = "high"', 16, "'metrics.0.threshold'"),
        ('[[metrics]]\nuse = "groundedness"', "[[metrics]]\nthreshold = 1", 18, "'metrics.1.use' is missing"),
        ("[governance]", "[governance.levels]\npay = 9\n[governance]", 12, "'governance.levels.pay'"),
        ("[agent]", "[agnet]", 7, "unknown key 'agnet'; did you mean 'agent'?"),
    ],
)
def test_each_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, line: int, expected: str) -> None:
    """An unknown key, a missing key and a wrong value each give file:line and the nearest known key."""
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    told = message(path)
    assert expected in told
    assert f"{path}:{line}: " in told


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    """Two mistakes give two lines, so that a file is mended in one go."""
    text = GOOD.replace('name = "shop"', "trails = 3").replace("threshold = 1.0", 'threshold = "x"')
    assert len(message(write(tmp_path, text)).splitlines()) == 2


def test_yaml_says_the_same_and_names_lines_too(tmp_path: Path) -> None:
    """YAML is accepted, and its mistakes have lines as well."""
    text = "dataset: {path: a.jsonl}\nagent: {use: echo}\ngovernance:\n  policy: UnsafeAllowAll\n"
    assert load_suite(write(tmp_path, text, "a.yaml")).name == "a"
    path = write(tmp_path, text + "gate:\n  pass_rat: 1\n", "b.yaml")
    assert f"{path}:6: unknown key 'gate.pass_rat'; did you mean 'pass_rate'?" in message(path)


@pytest.mark.parametrize("text", ["", "[suite\nname = 1", "a = 1\na = 2", "[agent]\nuse = 'x' 'y'"])
def test_a_file_that_is_no_toml_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    """Empty and unparsable files are errors that name the file."""
    assert str(tmp_path / "shop.toml") in message(write(tmp_path, text))


YAML = "dataset: {path: a.jsonl}\nagent: {use: echo}\ngovernance:\n  policy: UnsafeAllowAll\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ": the file is empty"),
        ("- a\n- b\n", ":1: expected tables such as 'suite:' at the top"),
        ("a: [1\n", ":2: not valid YAML: "),
        ("a: \x00", ": not valid YAML: "),
        (YAML + "suite: {time_limit: 2020-13-45}\n", ": not valid YAML: month must be"),
        (YAML + "suite: {tags: " + "[" * 5000 + "]" * 5000 + "}\n", ": not usable YAML: it is nested too deeply"),
        (YAML + "gate:\n  max_errors: 1\nagent: {use: other}\n", ":7: 'agent' is given twice, first in line 2"),
        (YAML + "metrics:\n- use: contains\n  use: echo\n", ":7: 'metrics.0.use' is given twice, first in line 6"),
        (YAML + "metrics:\n- use: contains\n- threshold: 1\n", ":7: 'metrics.1.use' is missing"),
        (YAML + "x: &x [*x]\n", ":5: unknown key 'x'; known: suite, "),
    ],
    ids=[
        "empty",
        "a list",
        "unfinished",
        "no text",
        "no date",
        "nesting",
        "twice",
        "twice in a list",
        "line of an item",
        "within itself",
    ],
)
def test_a_mistake_of_a_yaml_file_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    """What YAML's reader raises, drops or cannot hold is a mistake of the file, at its line where there is one."""
    path = write(tmp_path, text, "a.yaml")
    assert message(path).startswith(f"{path}{told}")


def test_what_yaml_repeats_by_an_alias_is_no_key_given_twice(tmp_path: Path) -> None:
    """Anchors and merged tables say what they mean; a key beside a merged one takes its place."""
    metrics = "metrics: [&m {use: contains, threshold: 1.0}, {<<: *m, use: exact_match}, *m]\n"
    suite = load_suite(write(tmp_path, YAML + metrics, "a.yaml"))
    assert [(each.use, each.threshold) for each in suite.spec.metrics] == [
        ("contains", 1.0),
        ("exact_match", 1.0),
        ("contains", 1.0),
    ]


@pytest.mark.parametrize(
    ("value", "told"),
    [("[" * 5000 + "]" * 5000, "nested too deeply|not valid TOML"), ("9" * 5000, "not valid TOML")],
    ids=["nesting", "a number of 5000 digits"],
)
def test_toml_that_python_cannot_hold_is_refused(tmp_path: Path, value: str, told: str) -> None:
    """Nesting and numbers beyond the interpreter's bounds are the file's mistake, not a crash."""
    path = write(tmp_path, f"x = {value}\n")
    with pytest.raises(SuiteError, match=told) as caught:
        load_suite(path)
    assert str(path) in str(caught.value)


def test_a_suite_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """A missing file, and a folder in its place, name the path and the reason."""
    assert message(tmp_path / "no.toml") == f"{tmp_path / 'no.toml'}: cannot read the suite: No such file or directory"
    (tmp_path / "folder.toml").mkdir()
    assert "cannot read the suite: Is a directory" in message(tmp_path / "folder.toml")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("[governance.limits.reserve]\nspent = '1'", "did you mean 'spend'?"),
        ("[[governance.votes]]\nvote = 'deny'\nvotr = 'ann'", "did you mean 'voter'?"),
        ("[governance.breaker]\nzzz = 1", "known: failures, cooldown, session_failures"),
    ],
)
def test_keys_of_tables_within_tables_are_known_too(tmp_path: Path, table: str, told: str) -> None:
    """Optional tables and lists of tables give the nearest key, or all of them, as the top does."""
    assert told in message(write(tmp_path, f"{GOOD}{table}\n"))


def test_a_suite_is_skipped_only_while_what_it_needs_is_absent(tmp_path: Path) -> None:
    """The path is relative to the suite."""
    suite = load_suite(write(tmp_path, GOOD.replace('name = "shop"', 'name = "shop"\nskip_unless = "data/x"')))
    assert suite.skip_reason == "needs data/x, which is absent"
    (tmp_path / "data" / "x").mkdir(parents=True)
    assert suite.skip_reason == ""
    assert load_suite(write(tmp_path, GOOD, "b.toml")).skip_reason == ""


def test_a_gate_on_a_metric_that_is_not_measured_is_refused(tmp_path: Path) -> None:
    """A bound that could never be decided is a mistake of the file, not something to pass over."""
    told = message(write(tmp_path, GOOD + "[gate.metrics]\nexactmatch = 0.9\n"))
    assert "'exactmatch'" in told
    assert ":21: " in told


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path: Path) -> None:
    """A file in another encoding names the line of the first bad byte."""
    path = tmp_path / "x.toml"
    path.write_bytes(b"[suite]\nname = '\xff'\n")
    assert f"{path}:2: not UTF-8" in message(path)


def test_the_base_decides_the_bar_and_additions_still_count(tmp_path: Path) -> None:
    """Held to a base, gate, thresholds and policy are the base's; a metric that is new is added; changes are listed."""
    base = load_suite(write(tmp_path, GOOD))
    head = load_suite(
        write(
            tmp_path,
            GOOD.replace("threshold = 1.0", "threshold = 0.1")
            + '[[metrics]]\nuse = "contains"\n[gate]\npass_rate = 0.2\n',
            "head.toml",
        )
    )
    held = head.bar_from(base, "main")
    assert held.spec.gate.pass_rate == 1.0
    assert [(metric.use, metric.threshold) for metric in held.spec.metrics] == [
        ("exact_match", 1.0),
        ("groundedness", None),
        ("contains", None),
    ]
    assert "metrics.exact_match.threshold: 1.0 -> 0.1" in held.changed
    assert "gate.pass_rate: 1.0 -> 0.2" in held.changed


def test_changes_of_a_list_name_the_items(tmp_path: Path) -> None:
    """A vote that was added to a long list is told by itself, not as two lists that begin alike."""
    vote = '[[governance.votes]]\ntool = "a"\nvoter = "ann"\nvote = "deny"\n'
    base = load_suite(write(tmp_path, GOOD + vote))
    head = load_suite(write(tmp_path, GOOD + vote + vote.replace("deny", "approve"), "head.toml"))
    (change,) = head.bar_from(base, "main").changed
    assert change.startswith("governance.votes: {")
    assert change.endswith("was added")
    assert "approve" in change


def test_an_order_that_changed_and_metrics_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Votes are asked in order, so that is part of the bar; two metrics of one name are compared one by one."""
    votes = [f'[[governance.votes]]\ntool = "a"\nvoter = "ann"\nvote = "{vote}"\n' for vote in ("deny", "approve")]
    twice = '[[metrics]]\nuse = "exact_match"\nthreshold = 0.5\n'
    base = load_suite(write(tmp_path, GOOD + twice + "".join(votes)))
    head = load_suite(write(tmp_path, GOOD + twice.replace("0.5", "0.1") + "".join(reversed(votes)), "head.toml"))
    assert head.bar_from(base, "main").changed == (
        "governance.votes: the order changed",
        "metrics.exact_match'.threshold: 0.5 -> 0.1",
    )


def test_the_shipped_schema_is_the_one_the_code_makes() -> None:
    """Editors get the schema that the code enforces."""
    shipped = ROOT / "docs" / "schema" / "suite.schema.json"
    assert json.loads(shipped.read_text("utf-8")) == json_schema()


def test_a_policy_in_place_reads_like_a_policy_file(tmp_path: Path) -> None:
    """`[governance.policy]` is the head of the policy, its rules follow as `[[governance.policy.rule]]`."""
    text = GOOD.replace(
        '[governance]\npolicy = "UnsafeAllowAll"',
        '[governance.policy]\nname = "p"\ndefault = "deny"\n[[governance.policy.rule]]\nid = "a"\neffect = "allow"',
    )
    assert load_suite(write(tmp_path, text)).policy == {
        "policy": {"name": "p", "default": "deny"},
        "rule": [{"id": "a", "effect": "allow"}],
    }


def test_a_policys_mistake_names_the_policys_own_line(tmp_path: Path) -> None:
    """The place is in the policy file, not in the suite that names it; a missing policy names the suite."""
    (tmp_path / "shop.jsonl").write_text('{"id": "a", "prompt": "x", "answer": "x"}\n')
    suite = load_suite(write(tmp_path, GOOD.replace("UnsafeAllowAll", "p.policy.toml")))
    with pytest.raises(PolicyError, match=r"shop\.toml:12: no such policy: p\.policy\.toml"):
        prepare(suite, plugins.load(entry_points=False))
    (tmp_path / "p.policy.toml").write_text('[policy]\nname = "p"\ndefault = "allow"\nverison = "1"\n')
    with pytest.raises(PolicyError, match=r"p\.policy\.toml:4: "):
        prepare(suite, plugins.load(entry_points=False))


@pytest.mark.parametrize("use", ["json:dumps", "builtins:dict", "builtins:int"])
def test_a_metric_that_is_none_is_refused_with_the_place(tmp_path: Path, use: str) -> None:
    """Code of the user's that is no factory of a metric is named, whatever it does when it is called."""
    (tmp_path / "shop.jsonl").write_text('{"id": "a", "prompt": "x", "answer": "x"}\n')
    suite = load_suite(write(tmp_path, GOOD.replace('use = "exact_match"', f'use = "{use}"')))
    with pytest.raises((PluginError, SuiteError), match=r"shop\.toml:1\d: metric"):
        prepare(suite, plugins.load(entry_points=False))
