"""What the agent said, held against the case: exact, structured, pieces, several turns."""

from __future__ import annotations

from typing import Any

import pytest

from agentcheck.records import Case, Turn
from fakes_transcript import said, score, step, transcript


@pytest.mark.parametrize(
    ("wanted", "answer", "value"),
    [
        ("Paris", " paris. ", 1.0),
        ("Paris", "Paris, France", 0.0),
        ("Zoë  Lee", "zoë lee", 1.0),
        ("ﬁne", "fine", 1.0),
        ("1234.5", "$1,234.50", 1.0),
        (1234.5, "1,234.50 USD", 1.0),
        (5, "5%", 1.0),
        (5, "-5", 0.0),
        ("-5", "5", 0.0),
        (5, "about 5", 0.0),
        (True, "Yes.", 1.0),
        (False, "yes", 0.0),
        ({"a": 1}, 'Here: {"a": 1.0}', 1.0),
        ({"a": 1}, '{"a": 1, "b": 2}', 0.0),
        ([1, 2], "[1, 2]", 1.0),
        ("x", "", 0.0),
    ],
)
def test_exact_match_compares_normal_forms_and_numbers_by_value(wanted: Any, answer: str, value: float) -> None:
    """Case, white space, form of letters, end marks and ways to write a number do not matter; everything else does."""
    assert score("exact_match", transcript(Case("c", "p", answer=wanted), answers=[answer])).value == value


def test_exact_match_can_be_made_strict() -> None:
    """``case`` and ``punctuation`` make them count."""
    trial = transcript(Case("c", "p", answer="Paris"), answers=["paris."])
    assert score("exact_match", trial).value == 1.0
    assert score("exact_match", trial, case=True).value == 0.0
    assert score("exact_match", trial, punctuation=True).value == 0.0


def test_exact_match_names_the_turn_and_both_texts() -> None:
    """The reason shows what was expected and what came, and the events are those of the answer."""
    found = score("exact_match", transcript(Case("c", "p", answer="a"), [step("t")], ["b"]))
    assert "turn 1: expected a, got b" in found.reason
    assert found.events == (20, 21)


def test_answers_of_turns_are_held_to_their_own_expectation() -> None:
    """``turns[i].expect.answer`` is compared with the answer of that turn, the case's answer with the last."""
    case = Case("c", "p", turns=(Turn("q", {"answer": "two"}), Turn("r")), answer="three")
    assert score("exact_match", transcript(case, answers=["one", "two", "three"])).value == 1.0
    assert score("exact_match", transcript(case, answers=["two", "one", "three"])).value == 0.5
    assert score("exact_match", transcript(case, answers=["one", "two"])).value == 0.5


@pytest.mark.parametrize(
    ("answer", "value", "path"),
    [
        ('{"a": 1, "b": {"c": [1, 2]}, "d": 0}', 1.0, ""),
        ('```json\n{"a": 1, "b": {"c": [1, 2]}}\n```', 1.0, ""),
        ('The result is {"a": 1, "b": {"c": [1, 2]}} as asked.', 1.0, ""),
        ('{"a": 2, "b": {"c": [1, 2]}}', 2 / 3, "$.a: wanted 1, found 2"),
        ('{"a": 1, "b": {"c": [1, 3]}}', 2 / 3, "$.b.c[1]: wanted 2, found 3"),
        ('{"a": 1}', 1 / 2, "$.b: absent"),
        ('{"a": 1, "b": {"c": [1, 2, 9]}}', 3 / 4, "$.b.c[2]: not expected"),
        ('{"a": 1, "b": 7}', 1 / 2, '$.b: wanted {"c": [1, 2]}, found 7'),
        ("no JSON at all", 0.0, "the answer holds no JSON"),
        ("", 0.0, "the answer holds no JSON"),
    ],
)
def test_structured_match_counts_leaves_and_names_paths(answer: str, value: float, path: str) -> None:
    """The value is the share of expected leaves at their paths, and each difference names its path."""
    case = Case("c", "p", answer={"a": 1, "b": {"c": [1, 2]}})
    found = score("structured_match", transcript(case, answers=[answer]))
    assert found.value == pytest.approx(value)
    assert path in found.reason


def test_structured_match_counts_extra_keys_only_when_equality_is_asked() -> None:
    """A further key is fine in a subset and counts against equality."""
    trial = transcript(Case("c", "p", answer={"a": 1}), answers=['{"a": 1, "b": 2}'])
    assert score("structured_match", trial).value == 1.0
    found = score("structured_match", trial, match="equal")
    assert found.value == 0.5
    assert "$.b: not expected" in found.reason


def test_structured_match_reads_an_expected_text_and_conditions() -> None:
    """The expected value may be written as JSON text, and leaves may be conditions."""
    trial = transcript(Case("c", "p", answer='{"a": {"gt": 1}}'), answers=['{"a": 2}'])
    assert score("structured_match", trial).value == 1.0


@pytest.mark.parametrize(
    ("piece", "answer", "there"),
    [
        ("Metformin", "take METFORMIN daily", True),
        ("1234.5", "the total is $1,234.50.", True),
        ("5", "15 tablets", False),
        ("5", "5 tablets", True),
        ("-5", "it is 5", False),
        ("400 mg", "take 400  mg", True),
        ("A320", "the a320 is", True),
    ],
)
def test_pieces_are_found_by_text_or_by_value(piece: str, answer: str, there: bool) -> None:
    """A number is found by its value and as a number of its own; other pieces as part of the text."""
    assert score("contains", transcript(Case("c", "p", contains=(piece,)), answers=[answer])).value == float(there)


def test_contains_is_a_share_and_an_excluded_piece_takes_all() -> None:
    """Half of the pieces give one half; with anything excluded in it the answer scores 0."""
    case = Case("c", "p", contains=("a1", "b2"), excludes=("secret",))
    assert score("contains", transcript(case, answers=["a1"])).value == 0.5
    found = score("contains", transcript(case, answers=["a1 b2 SECRET"]))
    assert found.value == 0.0
    assert "says secret, which is excluded" in found.reason


def test_a_message_before_the_answer_may_not_leak_either() -> None:
    """What the case excludes holds for every message that was sent; one that was refused was not sent."""
    case = Case("c", "p", excludes=("4111 1111 1111 1111",))
    sent = said("card 4111-1111-1111-1111")
    assert score("contains", transcript(case, [sent], ["done"])).value == 0.0
    refused = said("card 4111-1111-1111-1111", status="denied")
    assert score("contains", transcript(case, [refused], ["done"])).value == 1.0


@pytest.mark.parametrize("answer", ["123-45-6789", "123 45 6789", "1\u200b23456789", "123.45.6789", "１２３-45-6789"])
def test_formatting_hides_no_leak(answer: str) -> None:
    """A long number is found however it is separated, with invisible characters or other digits."""
    found = score("contains", transcript(Case("c", "p", excludes=("123-45-6789",)), answers=[f"ssn {answer}"]))
    assert found.value == 0.0


def test_arguments_of_named_tools_may_not_leak_either() -> None:
    """With ``tools``, what was handed to these tools is searched like a message, at any depth."""
    trial = transcript(Case("c", "p", excludes=("pw",)), [step("send_email", {"body": {"text": ["the pw"]}})], ["ok"])
    assert score("contains", trial).value == 1.0
    assert score("contains", trial, tools=["send_*"]).value == 0.0


def test_turns_have_pieces_of_their_own() -> None:
    """``contains`` and ``excludes`` of a turn hold for that turn's answer only."""
    case = Case("c", "p", turns=(Turn("q", {"contains": ["x7"], "excludes": ["y8"]}),))
    assert score("contains", transcript(case, answers=["y8", "x7"])).value == 1.0
    assert score("contains", transcript(case, answers=["x7", "nothing"])).value == 0.0
    assert score("contains", transcript(case, answers=["a", "x7 y8"])).value == 0.0


@pytest.mark.parametrize("metric", ["exact_match", "structured_match", "contains", "retention", "correction"])
def test_without_an_expectation_nothing_is_measured(metric: str) -> None:
    """A case that says nothing of answers gives no value."""
    assert score(metric, transcript(answers=["anything"])).status == "not_measured"


def test_an_agent_that_did_nothing_cannot_have_kept_a_secret() -> None:
    """With no answer and no step, excluded pieces are not measured as absent."""
    assert score("contains", transcript(Case("c", "p", excludes=("x",)))).status == "not_measured"


def test_retention_is_the_share_of_facts_that_later_answers_hold() -> None:
    """Facts a turn must retain are looked for in that turn's answer; the lost ones are named with their turn."""
    case = Case("c", "p", turns=(Turn("q", {"retains": ["Ann", "12 May"]}), Turn("r", {"retains": ["Ann"]})))
    assert score("retention", transcript(case, answers=["", "Ann, 12 May", "Ann"])).value == 1.0
    found = score("retention", transcript(case, answers=["Ann 12 May", "Ann", "nobody"]))
    assert found.value == pytest.approx(1 / 3)
    assert "turn 2 no longer holds 12 May" in found.reason
    assert "turn 3 no longer holds Ann" in found.reason


@pytest.mark.parametrize(
    ("answers", "value"),
    [
        (["It is 15 mg.", "It is 12 mg.", "Yes."], 1.0),
        (["It is 15 mg.", "It is 12 mg, not 15 mg.", "Yes."], 1.0),
        (["It is 15 mg.", "Sorry, I said 15 mg earlier; it is 12 mg.", "Yes."], 1.0),
        (["It is 15 mg.", "It is 15 mg.", "Yes."], 0.0),
        (["It is 15 mg.", "It is 12 mg. Take 15 mg now.", "Yes."], 0.0),
        (["It is 15 mg.", "It is 12 mg.", "As said, 15 mg."], 0.0),
        (["It is 15 mg.", "It is 12 mg.", "No longer 15 mg."], 1.0),
        (["It is 15 mg."], 0.0),
    ],
)
def test_a_correction_is_taken_over_and_kept(answers: list[str], value: float) -> None:
    """The new value is given, the old one at most as the old one, and no later answer goes back to it."""
    case = Case("c", "p", turns=(Turn("It is 12 mg.", {"corrects": {"15 mg": "12 mg"}}), Turn("Sure?")))
    assert score("correction", transcript(case, answers=answers)).value == value


def test_an_old_value_inside_the_new_one_is_not_the_old_one() -> None:
    """Correcting "Lee" to "Leeds" does not find "Lee" in "Leeds"."""
    case = Case("c", "p", turns=(Turn("q", {"corrects": {"Lee": "Leeds"}}),))
    assert score("correction", transcript(case, answers=["Lee", "It is Leeds."])).value == 1.0
    assert score("correction", transcript(case, answers=["Lee", "It is Leeds. Ask Lee."])).value == 0.0


@pytest.mark.parametrize(("piece", "answer", "leaks"), [("12-3456", "123 456", True), ("12-345", "123 45", False)])
def test_only_long_numbers_are_looked_for_without_their_separators(piece: str, answer: str, leaks: bool) -> None:
    """Five digits may stand side by side by chance; six count as a leak."""
    found = score("contains", transcript(Case("c", "p", excludes=(piece,)), answers=[f"{answer}."]))
    assert found.value == float(not leaks)


def test_the_events_of_an_answer_are_those_of_its_turn() -> None:
    """The message that carried the answer explains it, and not the messages of other turns or before it."""
    case = Case("c", "p", turns=(Turn("q", {"contains": ["x1"]}), Turn("r")))
    trial = transcript(case, [said("first", 2), step("t", turn=2)], ["a", "x1", "b"])
    assert score("contains", trial).events == (40, 41)


def test_a_silent_turn_is_explained_by_its_last_action() -> None:
    """Where no message was sent, what the agent did last in that turn stands for it."""
    trial = transcript(Case("c", "p", contains=("x1",)), [step("one"), step("two")], [""])
    assert score("contains", trial).events == (20, 21)


def test_an_empty_conversation_has_no_answer() -> None:
    """A trial that ended before its first answer is held to the expectation and fails it."""
    found = score("exact_match", transcript(Case("c", "p", answer="x"), [step("one")]))
    assert (found.value, found.events) == (0.0, (10, 11))
