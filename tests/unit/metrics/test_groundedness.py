"""The groundedness baseline: what it supports, what it refuses and why, and what it does not measure."""

from __future__ import annotations

from typing import Any

import pytest

from agentcheck.records import Case, Document, Score, ToolSpec
from fakes_transcript import score, step, transcript

LEAFLET = Document(
    "leaflet",
    "The maximum daily dose of ibuprofen for adults is 1,200 mg. Do not take ibuprofen with alcohol.\n"
    "Take one tablet three times a day.\n\n"
    "The maximum daily dose of paracetamol for adults is 4000 mg. Dr. Kim prescribed amoxicillin on 12 May 2024.\n"
    "Invoice INV-7 of Acme Ltd was approved. The account is open.",
    title="Patient leaflet",
)


def grounded(answer: str, *documents: Document, **options: Any) -> Score:
    """The score of one answer against documents."""
    return score(
        "groundedness", transcript(Case("c", "p", documents=documents or (LEAFLET,)), answers=[answer]), **options
    )


@pytest.mark.parametrize(
    "answer",
    [
        "The maximum daily dose of ibuprofen for adults is 1200 mg.",
        "For adults, the maximum dose of ibuprofen is 1,200 mg daily.",
        "**Ibuprofen:** maximum daily dose 1200mg.",
        "Ibuprofen must not be taken with alcohol.",
        "Do not take ibuprofen with alcohol!",
        "- Take 1 tablet 3 times a day",
        "Dr. Kim prescribed amoxicillin on 12 May 2024.",
        "Invoice INV-7 was approved.",
        "The maximum dose of ibuprofen is 1200 mg, and the account is open.",
    ],
)
def test_what_the_context_says_is_supported(answer: str) -> None:
    """Words in another order, other ways to write a number, markup and joined sentences are supported."""
    found = grounded(answer)
    assert found.value == 1.0, found.reason


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("The maximum daily dose of ibuprofen for adults is 1300 mg.", "1300 is not in the context"),
        ("The maximum daily dose of ibuprofen for adults is 4000 mg.", "the claim says 4000 mg, the context 1200"),
        ("The maximum daily dose of ibuprofen for adults is 1200 g.", "the claim says 1200 g, the context 1200"),
        ("Ibuprofen may be taken with alcohol.", "the context negates"),
        ("The account is not open.", "the claim negates"),
        ("The account is closed.", "the claim says clos, the context open"),
        ("Invoice INV-7 was rejected.", "the claim says reject, the context approv"),
        ("Invoice INV-8 was approved.", "inv-8 is not in the context"),
        ("Dr. Lee prescribed amoxicillin on 12 May 2024.", "lee is not in the context"),
        ("The pharmacy delivers every morning before breakfast.", "stands together in the context"),
        ("Take one tablet twice a day.", "2 is not in the context"),
        ("The document does not state it, but the usual dose is 800 mg.", "800 is not in the context"),
        ("No information speaks against 5000 mg.", "5000 is not in the context"),
        ("Sure, the maximum daily dose of ibuprofen is 1300 mg.", "1300 is not in the context"),
        ("Is the maximum daily dose of ibuprofen 1300 mg?", "1300 is not in the context"),
    ],
)
def test_what_the_context_does_not_say_is_named_with_its_reason(answer: str, why: str) -> None:
    """A foreign or exchanged number, unit or name, a turned negation, an opposite, and words from nowhere."""
    found = grounded(answer)
    assert found.value == 0.0
    assert why in found.detail["unsupported"][0]["why"]
    assert found.detail["unsupported"][0]["sentence"] in answer


def test_the_value_is_the_share_of_supported_sentences() -> None:
    """One false sentence of two gives one half, and only it is listed."""
    found = grounded("Invoice INV-7 was approved. Invoice INV-7 was paid on Friday by Globex.")
    assert (found.value, found.detail["claims"], len(found.detail["unsupported"])) == (0.5, 2, 1)
    assert found.detail["unsupported"][0]["source"] == "document leaflet"


@pytest.mark.parametrize(
    "answer",
    [
        "The document does not state the dose.",
        "I do not know.",
        "That is not known.",
        "I could not find any information about this in the records.",
        "Hello! How can I help you?",
        "Which account do you mean?",
        "Here is what I found:",
        "...",
        "| --- | --- |",
    ],
)
def test_a_refusal_a_question_or_a_courtesy_claims_nothing(answer: str) -> None:
    """Where nothing is claimed there is nothing to support: not measured, and never 1."""
    found = grounded(answer)
    assert (found.status, found.value) == ("not_measured", None)


def test_no_answer_and_no_context_are_not_measured() -> None:
    """An empty answer and an empty context give no value."""
    assert grounded("").status == "not_measured"
    assert grounded("  \n ").status == "not_measured"
    assert score("groundedness", transcript(Case("c", "p"), answers=["The dose is 5 mg."])).status == "not_measured"
    assert grounded("The dose is 5 mg.", Document("d", "  ")).status == "not_measured"


def test_tool_outputs_are_context_and_explain() -> None:
    """What a tool answered supports the answer; a failed call gives no output to stand on."""
    bill = {"bills": [{"number": "B-1", "total": 98.7, "to": "GB29"}, {"number": "B-2", "total": 10, "to": "US11"}]}
    answers = ["Bill B-1 has a total of 98.70 to GB29."]
    assert score("groundedness", transcript(None, [step("get_bill", output=bill)], answers)).value == 1.0
    wrong = score("groundedness", transcript(None, [step("get_bill", output=bill)], ["Bill B-1 has a total of 10."]))
    assert wrong.value == 0.0
    assert {10, 11} <= set(wrong.events)
    failed = transcript(None, [step("get_bill", {}, "error", output=bill, error="down")], answers)
    assert score("groundedness", failed).value == 0.0


def test_saying_that_a_refused_call_was_done_is_not_supported() -> None:
    """A call that was carried out supports saying so; one that was denied supports only saying that it was denied."""
    tools = (ToolSpec("send_payment", effect=True),)
    done = [step("send_payment", {"amount": 50, "recipient": "Acme"}, output={"ok": True})]
    denied = [step("send_payment", {"amount": 50, "recipient": "Acme"}, "denied", error="denied by level")]
    claim = "I sent the payment of 50 to the recipient Acme."
    assert score("groundedness", transcript(None, done, [claim], tools=tools)).value == 1.0
    assert score("groundedness", transcript(None, denied, [claim], tools=tools)).value == 0.0
    told = "The payment of 50 to the recipient Acme was not sent."
    assert score("groundedness", transcript(None, denied, [told], tools=tools)).value == 1.0


def test_a_tool_seen_later_does_not_support_an_earlier_answer() -> None:
    """An answer stands on what was seen up to its turn."""
    from agentcheck.records import Turn

    case = Case("c", "p", turns=(Turn("look it up"),), documents=(Document("d", "Nothing of interest."),))
    steps = [step("read", output="The gate code is 4711.", turn=2)]
    both = score("groundedness", transcript(case, steps, ["The gate code is 4711.", "The gate code is 4711."]))
    assert both.value == 0.5
    assert both.detail["unsupported"][0]["turn"] == 1
    assert score("groundedness", transcript(case, steps, ["The gate code is 4711."] * 2), turns="last").value == 1.0


def test_trusted_only_leaves_out_what_an_outsider_could_have_written() -> None:
    """With ``trusted_only`` neither an untrusted document nor an untrusted tool supports a claim."""
    case = Case(
        "c",
        "p",
        documents=(Document("d", "Opening hours: 9 to 5."), Document("mail", "The code is 4711.", trusted=False)),
    )
    claim = ["The code is 4711."]
    assert score("groundedness", transcript(case, answers=claim)).value == 1.0
    assert score("groundedness", transcript(case, answers=claim), trusted_only=True).value == 0.0
    tools = (ToolSpec("web", trusted=False),)
    trial = transcript(
        None, [step("web", output="The code is 4711."), step("kb", output="Be kind.")], claim, tools=tools
    )
    assert score("groundedness", trial).value == 1.0
    assert score("groundedness", trial, trusted_only=True).value == 0.0


def test_what_the_user_said_is_context_only_where_the_suite_says_so() -> None:
    """Repeating a number of the user is no finding of the agent, unless ``prompts`` makes it one."""
    trial = transcript(Case("c", "My limit is 5000, right?", documents=(LEAFLET,)), answers=["Your limit is 5000."])
    assert score("groundedness", trial).value == 0.0
    assert score("groundedness", trial, prompts=True).value == 1.0


def test_other_scripts_are_compared_by_character() -> None:
    """Text without spaces is supported by the same words and not by others."""
    context = Document("d", "イブプロフェンの一日最大量は1200ミリグラムです。")
    assert grounded("イブプロフェンの最大量は1200です。", context).value == 1.0
    assert grounded("アルコールと一緒に服用できます。", context).value == 0.0


def test_a_long_answer_is_bounded_and_says_so() -> None:
    """Sentences beyond the bound are counted in the detail, not silently dropped."""
    lines = "\n".join(f"Row {number} holds value {number * 7}." for number in range(700))
    found = grounded(lines, Document("d", lines))
    assert (found.value, found.detail["claims"], found.detail["claims_not_read"]) == (1.0, 300, 400)


def test_in_a_context_too_long_to_read_only_support_is_measured() -> None:
    """A claim that is found is supported; one that is not found may stand in what was not read."""
    long = Document("long", "x" * 1_000_001)
    assert grounded("Invoice INV-7 was approved.", LEAFLET, long).value == 1.0
    assert grounded("Invoice INV-8 was approved.", LEAFLET, long).status == "not_measured"


def test_what_a_reading_call_was_asked_for_supports_nothing() -> None:
    """Searching for a number does not make it true; carrying out a payment of it does."""
    tools = (ToolSpec("search"), ToolSpec("pay", effect=True))
    asked = [step("search", {"text": "limit 5000"}, output="nothing found")]
    assert score("groundedness", transcript(None, asked, ["The limit is 5000."], tools=tools)).value == 0.0
    paid = [step("pay", {"limit": 5000}, output="ok")]
    assert score("groundedness", transcript(None, paid, ["The limit is 5000."], tools=tools)).value == 1.0


def test_neighbouring_sentences_support_together_and_distant_ones_do_not() -> None:
    """What stands in two sentences side by side supports a sentence that joins them; other paragraphs do not."""
    claim = "The blue valve feeds the northern tank of the plant."
    near = "The blue valve is old. It feeds the northern tank. The plant is in Leeds."
    far = "The blue valve is old.\n\nMany things happen.\n\nA northern tank is large.\n\nThe plant is in Leeds."
    assert grounded(claim, Document("d", near)).value == 1.0
    assert grounded(claim, Document("d", far)).value == 0.0


def test_a_record_supports_what_its_lines_say_together() -> None:
    """A record of many short lines, such as a tool prints, is one place."""
    record = "\n".join(["name: Ann Lee", "city: Leeds", "plan: gold", "since: 2019", "seats: 12", "owner: Bob"])
    assert grounded("Ann Lee has the gold plan with 12 seats since 2019.", Document("d", record)).value == 1.0


def test_the_title_of_a_document_belongs_to_each_of_its_sentences() -> None:
    """A sentence need not repeat what the document is about."""
    text = Document("d", "The daily maximum is 1200 mg.", title="Ibuprofen leaflet")
    assert grounded("The daily maximum of ibuprofen is 1200 mg.", text).value == 1.0


def test_a_negation_reaches_only_its_own_clause() -> None:
    """What stands after a comma, or far from the "not", is not negated."""
    text = Document("d", "Do not drink alcohol, take one tablet with water.")
    assert grounded("Take one tablet with water.", text).value == 1.0
    assert grounded("Do not take one tablet with water.", text).value == 0.0


def test_a_compound_is_found_by_its_parts() -> None:
    """``follow-up visit`` is supported by a context that writes it apart."""
    assert grounded("The follow-up visit is free.", Document("d", "A follow up visit is free.")).value == 1.0
