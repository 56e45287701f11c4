"""`agentcheck list` and `agentcheck show`: what there is, narrowed as asked, and what is not there is said."""

from __future__ import annotations

from pathlib import Path

import pytest

import cli


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A helpdesk project."""
    return cli.desk(tmp_path)


def headings(text: str) -> list[str]:
    """The lines that open a part of the listing."""
    return [line for line in text.splitlines() if line and not line.startswith(" ")]


def test_list_is_narrowed_to_a_kind(desk: Path) -> None:
    """A kind alone shows that kind; one that nothing brings still says what was asked for; suites come alone too."""
    assert headings(cli.agentcheck(desk, "list", "--kind", "worlds").out)[0] == "worlds"
    assert headings(cli.agentcheck(desk, "list", "--kind", "reporters").out) == ["reporters"]
    suites = cli.agentcheck(desk, "list", "--kind", "suites")
    assert headings(suites.out) == [f"suite desk  {Path('suites/desk.toml')}  30 cases"]
    assert "refund-3" in suites.out
    unknown = cli.agentcheck(desk, "list", "--kind", "zebras")
    assert (unknown.code, "no kind is called 'zebras'" in unknown.err) == (4, True)
    assert "known: suites, agents, worlds" in unknown.err


def test_list_takes_files_and_folders(desk: Path) -> None:
    """A suite file is listed by itself, a folder with all its suites, policies left out; elsewhere paths stay whole."""
    (desk / "suites" / "other.yaml").write_text(
        "dataset: {path: ../golden_datasets/desk.jsonl}\nagent: {use: echo}\ngovernance: {policy: UnsafeAllowAll}\n",
        "utf-8",
    )
    alone = cli.agentcheck(desk, "list", "suites/other.yaml", "--kind", "suites")
    assert [line.split()[1] for line in headings(alone.out)] == ["other"]
    both = cli.agentcheck(desk, "list", "suites", "--kind", "suites")
    assert [line.split()[1] for line in headings(both.out)] == ["desk", "other"]
    (desk / "elsewhere").mkdir()
    far = cli.agentcheck(desk / "elsewhere", "list", str(desk / "suites" / "other.yaml"), "--kind", "suites")
    assert headings(far.out) == [f"suite other  {desk / 'suites' / 'other.yaml'}  30 cases"]


def test_list_says_why_a_suite_is_skipped(desk: Path) -> None:
    """A suite that needs what is absent is listed with the reason and without cases."""
    cli.edit(desk / "suites" / "desk.toml", "time_limit = 20", 'time_limit = 20\nskip_unless = "../no-data"')
    (line,) = headings(cli.agentcheck(desk, "list", "--kind", "suites").out)
    assert line.endswith("0 cases, skipped: needs ../no-data, which is absent")


def test_list_without_suites_still_names_what_plugins_bring(tmp_path: Path) -> None:
    """A folder without suites is told, with what to do; a path that is given must exist."""
    listed = cli.agentcheck(tmp_path, "list")
    assert listed.code == 0, listed.text
    assert listed.out.splitlines()[0] == "no suites here; name a path, or begin with: agentcheck init"
    assert "agents" in listed.out.splitlines()
    missing = cli.agentcheck(tmp_path, "list", "nowhere")
    assert (missing.code, "no suite at nowhere" in missing.err) == (4, True)


def test_show_finds_the_case_that_was_meant(desk: Path) -> None:
    """Every trial of a case is shown; of a name that is nearly right the candidates are told; of others nothing is."""
    cli.edit(desk / "suites" / "desk.toml", "time_limit = 20", "time_limit = 20\ntrials = 2")
    assert cli.agentcheck(desk, "run", "-k", "refund-3 or too-much-1").code == 0
    for name in ("refund-3", "desk::refund-3"):
        shown = cli.agentcheck(desk, "show", "last", name)
        assert shown.code == 0, shown.text
        assert shown.out.count("refund 3") >= 2, name
    near = cli.agentcheck(desk, "show", "last", "too-much")
    assert near.code == 4
    assert "did you mean desk::too-much-1" in near.err
    far = cli.agentcheck(desk, "show", "last", "zebra")
    assert (far.code, "did you mean" in far.err) == (4, False)


def test_show_says_why_a_case_did_not_run(desk: Path) -> None:
    """A case without a trial has no timeline, but a status and a reason."""
    cli.edit(desk / "golden_datasets" / "desk.jsonl", '"id": "refund-3"', '"skip": "later", "id": "refund-3"')
    cli.agentcheck(desk, "run")
    shown = cli.agentcheck(desk, "show", "last", "refund-3")
    assert shown.code == 0, shown.text
    assert shown.out.startswith("refund-3: skipped: ")
