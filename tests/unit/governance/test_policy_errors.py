"""A policy that is not understood is refused, with file, line and the nearest known name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from agentcheck.errors import PolicyError
from agentcheck.governance.policy import load_policy, load_policy_text
from agentcheck.governance.regex import SafePattern, Unsafe

HEAD = '[policy]\nname = "p"\n\n'


def _error(text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        load_policy_text(text, "p.toml")
    return str(caught.value)


def _rule_error(when: str, effect: str = '"deny"') -> str:
    return _error(f'{HEAD}[[rule]]\nid = "r"\neffect = {effect}\nwhen = {when}\n')


def test_an_error_names_file_line_rule_and_nearest_name() -> None:
    """The message leads to the place and to what was probably meant."""
    error = _error(
        HEAD + '[[rule]]\nid = "first"\neffect = "deny"\nwhen = { tool = "x" }\n\n'
        '[[rule]]\nid = "second"\neffect = "deny"\n[rule.when]\ntool = "x"\nargs.amount = { gtt = 5 }\n'
    )
    assert error.startswith("p.toml:14: rule second: when.args.amount.gtt: unknown operator 'gtt'")
    assert "did you mean 'gt'?" in error


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[policy", 1, "no TOML"),
        ("", 0, "the policy is empty"),
        ('[policy]\nname = "x"\n', 0, "the policy is empty"),
        ("[polcy]\n", 1, "did you mean 'policy'"),
        ('policy = "x"\n', 1, "expected a table"),
        ('rule = "x"\n', 1, "expected a list of rules"),
        ('[policy]\ndefualt = "deny"\n', 2, "did you mean 'default'"),
        ('[policy]\ndefault = "dny"\n', 2, "did you mean 'deny'"),
        ("[policy]\nname = 3\n", 2, "expected text"),
        ('[policy]\ndefault = "allow"\nlevel = 3\n', 3, "level from 0 to 1"),
        ('[trust]\ntrsted = ["x"]\n[policy]\ndefault = "deny"\n', 2, "did you mean 'trusted'"),
        ('[policy]\ndefault = "deny"\n[trust]\ntrusted = "x"\n', 4, "list of texts"),
        ('[policy]\ndefault = "deny"\n[trust]\nfields = ["x"]\n', 4, "expected a table"),
        ('[policy]\ndefault = "deny"\n[trust]\nfields = { a = "x" }\n', 4, "list of texts"),
        (HEAD + "[[rule]]\neffect = 'deny'\n", 4, "lacks an id"),
        (HEAD + '[[rule]]\nid = "default"\neffect = "deny"\nwhen = { tool = "x" }\n', 5, "is taken"),
        (HEAD + '[[rule]]\nid = "r"\nwhen = { tool = "x" }\n', 4, "lacks an effect"),
        (HEAD + '[[rule]]\nid = "r"\neffect = "denny"\n', 6, "did you mean 'deny'"),
        (HEAD + '[[rule]]\nid = "r"\neffect = "deny"\n', 4, "lacks a condition"),
        (HEAD + '[[rule]]\nid = "r"\neffect = "deny"\nwhen = {}\n', 7, "there is no condition"),
        (HEAD + '[[rule]]\nid = "r"\neffect = "deny"\nwhen = 3\n', 7, "expected a table"),
        (HEAD + '[[rule]]\nid = "r"\neffect = "deny"\nlevel = 3\nwhen = { tool = "x" }\n', 7, "a denial has no level"),
        (HEAD + '[[rule]]\nid = "r"\neffect = "hold"\nlevel = 1\nwhen = { tool = "x" }\n', 7, "from 2 to 4"),
        (HEAD + '[[rule]]\nid = "r"\neffect = "deny"\nreasn = "x"\nwhen = { tool = "x" }\n', 7, "'reason'"),
        (HEAD + '[[rule]]\nid = "r"\neffect = "deny"\nmessage = 1\nwhen = { tool = "x" }\n', 7, "expected text"),
        (
            HEAD + '[[rule]]\nid = "r"\neffect = "deny"\nwhen = { tool = "x" }\n[[rule]]\nid = "r"\n'
            'effect = "deny"\nwhen = { tool = "y" }\n',
            9,
            "another rule has this id",
        ),
        ('[policy]\ndefault = "deny"\nname = "x"\nversion = 2024-01-01\n', 4, "no text"),
    ],
)
def test_a_policy_that_is_not_understood_is_refused(text: str, line: int, message: str) -> None:
    """Unknown keys, wrong types, duplicate ids and empty policies name their line (0: not looked at)."""
    error = _error(text)
    assert message in error
    if line:
        assert error.startswith(f"p.toml:{line}:")


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ('{ tol = "x" }', "did you mean 'tool'"),
        ("{ tool = [] }", "can never match"),
        ("{ tool = 3 }", "expected text"),
        ('{ tool = "" }', "expected text"),
        ('{ kind = "tool_cal" }', "did you mean 'tool_call'"),
        ('{ kind = "message", tool = "x" }', "can never match"),
        ('{ kind = "tool_call", tool = "message:x" }', "can never match"),
        ("{ args = 3 }", "expected a table of fields"),
        ("{ args = {} }", "expected a table of fields"),
        ("{ args.x = {} }", "expected a table of fields"),
        ("{ args.x = [1] }", "a list is no condition"),
        ("{ args.x = { gt = 1, lt = 1 } }", "can never match"),
        ("{ args.x = { gt = 5, lte = 5 } }", "can never match"),
        ("{ args.x = { gte = 5, gt = 1, lt = 4 } }", "can never match"),
        ("{ args.x = { lte = 1, lt = 5, gt = 3 } }", "can never match"),
        ("{ args.x = { gte = 5, gt = 5, lte = 5 } }", "can never match"),
        ("{ args.x = { equals = 5, gt = 5 } }", "can never match"),
        ('{ args.x = { equals = "a", in = ["b"] } }', "can never match"),
        ('{ args.x = { in = ["a"], not_in = ["a"] } }', "can never match"),
        ('{ args.x = { in = ["a", "b"], starts_with = "c" } }', "can never match"),
        ("{ args.x = { in = [] } }", "can never match"),
        ("{ args.x = { exists = false, gt = 1 } }", "can never match"),
        ('{ args.x = { in = "a" } }', "expected a list"),
        ('{ args.x = { gt = "1" } }', "expected a number"),
        ("{ args.x = { gt = true } }", "expected a number"),
        ("{ args.x = { exists = 1 } }", "true or false"),
        ("{ args.x = { ignore_case = true } }", "the condition is empty"),
        ("{ args.x = { starts_with = 1 } }", "expected text"),
        ('{ args.x = { contains = "" } }', "expected text"),
        ("{ args.x = { matches = 1 } }", "expected a regular expression"),
        ('{ args.x = { matches = "(" } }', "cannot be used"),
        ('{ args.x = { matches = "(a+)+$" } }', "a repeat inside a repeat"),
        ("{ args.x = { length = -1 } }", "whole number"),
        ("{ args.x = { length = { gtt = 1 } } }", "unknown operator"),
        ("{ args.x = { length = {} } }", "expected a number"),
        ("{ args.x = { length = { lt = 0 } } }", "can never match"),
        ("{ args.x = { gt = 1, y = 2 } }", "unknown operator 'y'"),
        ("{ args.x = { lenght = { gt = 3 } } }", "did you mean 'length'"),
        ("{ args.x.y = 3 }", "unknown operator 'y'"),
        ('{ args."a b[" = 1 }', "is no path"),
        ('{ args."*" = 1 }', "is no path"),
        ('{ args.x = { equals_field = "princpal.x" } }', "did you mean 'principal'"),
        ('{ args.x = { equals_field = "args" } }', "unknown field"),
        ('{ args.x = { equals_field = "output.x" } }', "no output yet"),
        ("{ args.x = { equals_field = 1 } }", "name of a field"),
        ('{ args.x = { equals_field = "args.a[*]" } }', "all elements"),
        ("{ principal.x = { y = 1 } }", "have no fields"),
        ("{ output.x = 1 }", "unknown key 'output'"),
        ("{ turn = { lt = 1, gt = 1 } }", "can never match"),
        ("{ all = [] }", "expected a list of conditions"),
        ("{ any = 3 }", "expected a list of conditions"),
        ("{ any = [{}] }", "expected a table of conditions"),
        ("{ not = [] }", "expected a table of conditions"),
        ("{ not = {} }", "expected a table of conditions"),
        ("{ after = {} }", "there is no condition on the step"),
        ('{ after = "x" }', "expected a table"),
        ('{ after = { tol = "x" } }', "did you mean 'tool'"),
        ('{ after = { tool = "x", status = "dne" } }', "did you mean 'done'"),
        ('{ after = { tool = "x", same = [] } }', "can never match"),
        ('{ after = { tool = "x", same = ["a[*]"] } }', "all elements"),
        ('{ after = { tool = "x", gt = 1 } }', "unknown key 'gt'"),
        ('{ count = { tool = "x" } }', "there is no bound"),
        ('{ count = { tool = "x", gt = -1 } }', "whole number"),
        ('{ count = { tool = "x", lt = 0 } }', "can never match"),
        ('{ count = { tool = "x", equals = 2, gt = 2 } }', "can never match"),
        ('{ flow = "x" }', "expected a table"),
        ('{ flow = { argument = "to" } }', "lacks 'from'"),
        ('{ flow = { from = "untrusted_only" } }', "lacks 'argument'"),
        ('{ flow = { argument = "to", from = "untrusted_onyl" } }', "did you mean 'untrusted_only'"),
        ('{ flow = { argument = "to", from = "after_untrusted" } }', "takes no argument"),
        ('{ flow = { argument = [], from = "untrusted_only" } }', "name of an argument"),
        ('{ flow = { argument = "to", from = "untrusted_only", trsted = [] } }', "did you mean 'trusted'"),
        ('{ flow = { argument = "to", from = "untrusted_only", trusted = "x" } }', "list of texts"),
        ('{ flow = { argument = "to", from = "untrusted_only", exists = 1 } }', "true or false"),
        ('{ flow = { argument = "to", from = "copied", share = 2 } }', "a share from 0 to 1"),
    ],
)
def test_a_condition_that_is_not_understood_or_never_met_is_refused(when: str, message: str) -> None:
    """Every mistake in a condition stops the load and names the rule's place."""
    error = _rule_error(when)
    assert message in error
    assert error.startswith("p.toml:7: rule r: when")


def test_errors_of_inline_policies_name_the_suite() -> None:
    """A mapping has no lines; the place given is named."""
    with pytest.raises(PolicyError, match=r"^suite\.toml: rule 1: expected a table"):
        load_policy({"rule": [3]}, "suite.toml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing or unreadable file is the user's error, not a crash."""
    with pytest.raises(PolicyError, match="cannot be read"):
        load_policy(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match="cannot be read"):
        load_policy(tmp_path / "bytes.toml")
    good = tmp_path / "good.toml"
    good.write_text('[policy]\nname = "n"\nversion = "2"\ndefault = "deny"\n')
    policy = load_policy(good)
    assert (policy.name, policy.version, policy.rules) == ("n", "2", ())


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+", "(a*)*b", "(a|b|ab)*c", "(a{1,3}){1,30}", "(?:a?){30}a{30}", "(a|aa)+$", r"(\d+)\1", "a.*b.*c.*d",
        "(.*)*", "(x+x+)+y", "((a|b)?c)*", "a?" * 40, "(a+|b)?" * 3, "[[a]", "(?P<a>x)(?(a)y|z)",
    ],
)  # fmt: skip
def test_patterns_with_an_unbounded_worst_case_are_refused(pattern: str) -> None:
    """Nested repeats, alternatives in repeats, back references and too many repeats are not accepted."""
    with pytest.raises(Unsafe):
        SafePattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"^[A-Z]{2}\d{2}[A-Z0-9]{11,30}$", "DE89370400440532013000", True),
        (r"https?://[^/]*evil", "see http://www.evil.com", True),
        (r"\b\d{3}-\d{2}-\d{4}\b", "ssn 123-45-6789", True),
        (r"@(?!bank\.com$)", "a@bank.com", False),
        (r"^(?:GET|POST) /", "GET /x", True),
        (r"(?i)drop table", "DROP TABLE x", True),
        (r"(?:ab){3}", "ababab", True),
        (r"(?m)^x", "a\nx", True),
    ],
)
def test_useful_patterns_are_accepted(pattern: str, text: str, found: bool) -> None:
    """What policies are about can be written."""
    assert SafePattern(pattern).search(text) is found


def test_the_longest_text_follows_from_the_worst_case() -> None:
    """Linear patterns take long texts, others short ones; what is longer is not decided."""
    assert SafePattern("abc").longest == 1_000_000
    quadratic = SafePattern("a.*b")
    assert 256 <= quadratic.longest < 20_000
    assert quadratic.search("a" * (quadratic.longest + 1)) is None
    assert SafePattern("^abc").longest == 1_000_000


def test_values_without_a_canonical_form_name_their_rule() -> None:
    """A date is no value of a policy."""
    error = _error(HEAD + '[[rule]]\nid = "r"\neffect = "deny"\nwhen = { args.x = 2024-01-01 }\n')
    assert error.startswith("p.toml:7: rule 1: when.args.x: datetime.date(2024, 1, 1) is no text")


def test_numbers_outside_json_are_refused() -> None:
    """A policy of infinities has no canonical form."""
    bad: dict[str, Any] = {"id": "r", "effect": "deny", "when": {"args": {"x": {"gt": float("inf")}}}}
    with pytest.raises(PolicyError, match="no text, number"):
        load_policy({"rule": [bad]})


@pytest.mark.parametrize(
    ("value", "told"),
    [("[" * 5000 + "]" * 5000, "nested too deeply|is no TOML"), ("9" * 5000, "is no TOML")],
    ids=["nesting", "a number of 5000 digits"],
)
def test_what_python_cannot_hold_is_refused_like_other_mistakes(value: str, told: str) -> None:
    """Nesting and numbers beyond the interpreter's bounds are the policy's mistake, not a crash."""
    assert re.search(f"^p.toml.*({told})", _error(f"{HEAD}x = {value}\n"))
