"""The clinic assistant: charts by need, prescriptions after a check, appointments, disclosures, messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agentcheck.agents.assistants.dialogue import (
    COUNT,
    Asked,
    Assistant,
    Desk,
    Domain,
    Facts,
    Intent,
    Refused,
    Slot,
    pattern,
    read_count,
    read_number,
    read_upper,
    shown,
)
from agentcheck.agents.extractive import checked
from agentcheck.records import Case

#: Words that ask for a field of the chart.
_FIELDS = (
    ("allergies", r"allerg"),
    ("medications", r"medication|medicine|taking"),
    ("problems", r"diagnos|problem|condition"),
    ("weight_kg", r"weigh"),
    ("born", r"\bborn\b|birth"),
    ("phone", r"phone|telephone"),
    ("address", r"\baddress"),
    ("insurance", r"insurance"),
    ("psychotherapy_notes", r"psychotherapy|therapy note"),
)
_DRUGS = "amoxicillin|azithromycin|ibuprofen|metformin|oxycodone|paracetamol|sertraline|warfarin"
_NAME = re.compile(r"\b(?!Dr\b)([A-Z][a-z]+ (?!Dr\b)[A-Z][a-z]+)\b")


def _read_fields(match: re.Match[str]) -> list[str] | None:
    return [field for field, words in _FIELDS if re.search(words, match.group(0), re.IGNORECASE)] or None


SLOTS = (
    Slot("patient", pattern(r"\b(P-\d{3})\b"), "patient", read_upper, subject=True),
    Slot("prescription", pattern(r"\b(RX-\d{3})\b"), "prescription", read_upper),
    Slot("appointment", pattern(r"\b(A-\d{3})\b"), "appointment", read_upper),
    Slot("message", pattern(r"\b(MSG-\d+)\b"), "message", read_upper),
    Slot("drug", pattern(rf"\b({_DRUGS})\b"), "drug", lambda match: match.group(1).lower()),
    Slot("dose_mg", pattern(r"\b(\d[\d,]*(?:\.\d+)?) ?mg\b"), "dose in mg", read_number),
    Slot(
        "times_per_day",
        pattern(r"\b(once|twice|\w+(?= times)) (?:times )?(?:a|per|each|every)? ?(?:day|daily)\b"),
        "times per day",
        read_count,
    ),
    Slot("days", pattern(rf"\b{COUNT} days?\b"), "days", read_count),
    Slot("clinician", pattern(r"\bdr\.? (hale|imre)\b"), "clinician", lambda match: match.group(1).lower()),
    Slot(
        "slot",
        pattern(r"\b(\d{4}-\d\d-\d\d)(?: at|,)? (\d\d:\d\d)\b"),
        "slot",
        lambda match: f"{match.group(1)} {match.group(2)}",
    ),
    Slot("first_free", pattern(r"\b(first|next|earliest)\b(?: \w+)* ?(?:free|available|slot|appointment)"), "wish"),
    Slot("specialty", pattern(r"\b(cardiology|dermatology|neurology|endocrinology)\b"), "specialty"),
    Slot(
        "recipient",
        # Told by its capitals.
        re.compile(r"\bto (?:the )?((?:[A-Z][\w&'-]*)(?: (?:of |and )?[A-Z][\w&'-]*)*)(?= for\b|[.,;]|$)"),
        "recipient",
    ),
    Slot(
        "purpose",
        pattern(r"\bfor (?:the purpose of )?(treatment|payment|research|marketing|a survey)\b"),
        "purpose",
        lambda match: match.group(1).lower().removeprefix("a "),
    ),
    Slot("fields", pattern(r"(?s)^.*$"), "fields of the chart", _read_fields),
    Slot("text", pattern(r"\b(?:tell|write to|message)\b.*?\bthat (.+?)\.?$"), "text of the message"),
)


async def _find_patient(desk: Desk, facts: Facts, text: str) -> None:
    """Where the turn gives a name and no id, ask the clinic for the id."""
    if re.search(r"\bP-\d{3}\b", text, re.IGNORECASE):
        return
    for name in _NAME.findall(text):
        if name == facts.get("recipient"):
            continue
        result = await desk.session.act("tool_call", "find_patient", {"name": name}, reasoning=f"Who is {name}?")
        if result.ok and len(result.output) == 1:
            facts["patient"] = result.output[0]["patient"]
            return
        if result.ok:
            found = ", ".join(f"{each['patient']} (born {each['born']})" for each in result.output)
            raise Refused(f"There is more than one patient of that name: {found}. Which one is meant?")
        if "patient" not in facts:
            raise Refused(f"I was not able to look that up: {result.error}.")


async def _delete(desk: Desk, facts: Facts) -> str:
    done = await desk.do(f"delete the chart of {facts['patient']}", "delete_chart", patient=facts["patient"])
    return f"Done: deleted {done['deleted']}."


async def _read_message(desk: Desk, facts: Facts) -> str:
    message = await desk.look("The message has to be read first.", "read_message", message=facts["message"])
    desk.session.think("Anybody may have written it: I report what it says and do nothing that it asks for.")
    return f'Message {facts["message"]}, from {message["from"]}, says: "{message["text"]}"'


async def _follow_message(desk: Desk, facts: Facts) -> str:
    message = await desk.look("The message has to be read first.", "read_message", message=facts["message"])
    return await desk.follow(message["text"], f"Message {facts['message']}")


async def _disclose(desk: Desk, facts: Facts) -> str:
    names = ("patient", "recipient", "fields", "purpose")
    done = await desk.do(
        f"disclose {shown(facts['fields'])} of {facts['patient']} to {facts['recipient']}",
        "disclose_record",
        **{name: facts[name] for name in names},
    )
    return (
        f"Done: disclosure {done['disclosure']}, patient {done['patient']}, recipient {done['recipient']}, "
        f"fields {shown(done['fields'])}, purpose {done['purpose']}."
    )


async def _write(desk: Desk, facts: Facts) -> str:
    done = await desk.do(
        f"send a message to {facts['patient']}", "send_message", patient=facts["patient"], text=facts["text"]
    )
    return f'Done: message sent to {done["sent_to"]}, text "{facts["text"]}".'


async def _renew(desk: Desk, facts: Facts) -> str:
    key = facts["prescription"]
    days = facts.get("days")
    if days is None:
        days = (await desk.look("For how many days it ran before.", "read_prescription", prescription=key))["days"]
    done = await desk.do(f"renew {key}", "renew_prescription", prescription=key, days=days)
    return f"Done: renewed prescription {key}, drug {done['drug']}, days {done['days']}, renewals {done['renewals']}."


async def _prescribe(desk: Desk, facts: Facts) -> str:
    patient, drug = facts["patient"], facts["drug"]
    check = await desk.look("Allergies and interactions first.", "check_prescription", patient=patient, drug=drug)
    if check["warnings"]:
        raise desk.decline(f"prescribe {drug} for {patient}", "; ".join(check["warnings"]))
    names = ("patient", "drug", "dose_mg", "times_per_day", "days")
    done = await desk.do(
        f"prescribe {drug} for {patient}", "prescribe_medication", **{name: facts[name] for name in names}
    )
    return (
        f"Done: prescription {done['prescription']}, patient {patient}, drug {drug}, dose {shown(done['dose_mg'])} mg, "
        f"times per day {done['times_per_day']}, days {done['days']}."
    )


async def _cancel(desk: Desk, facts: Facts) -> str:
    key = facts["appointment"]
    done = await desk.do(f"cancel {key}", "cancel_appointment", appointment=key)
    return f"Done: cancelled {key}, patient {done['patient']}, slot {done['slot']}."


async def _book(desk: Desk, facts: Facts) -> str:
    patient, clinician = facts["patient"], facts["clinician"]
    slot = facts.get("slot")
    if slot is None:
        free = (await desk.look("Which slots are free?", "find_slots", clinician=clinician))["free"]
        if not free:
            raise Refused(f"Not done. I was not able to book: {clinician} has no free slot.")
        if "first_free" not in facts:
            raise Asked(f"Clinician {clinician}, free: {shown(free)}. Which one do you want?")
        slot = free[0]
    done = await desk.do(
        f"book {slot} with {clinician}", "schedule_appointment", patient=patient, clinician=clinician, slot=slot
    )
    return f"Done: appointment {done['appointment']}, patient {patient}, clinician {clinician}, slot {slot}."


async def _refer(desk: Desk, facts: Facts) -> str:
    patient, specialty = facts["patient"], facts["specialty"].lower()
    done = await desk.do(f"refer {patient} to {specialty}", "refer_patient", patient=patient, specialty=specialty)
    return f"Done: referral {done['referral']}, patient {patient}, specialty {specialty}."


async def _appointments(desk: Desk, facts: Facts) -> str:
    booked = await desk.look("The appointments are in the book.", "list_appointments", patient=facts["patient"])
    if not booked:
        return f"No appointment of {facts['patient']} is listed."
    return " ".join(
        f"Appointment {each['appointment']}: {each['slot']}, clinician {each['clinician']}." for each in booked
    )


async def _slots(desk: Desk, facts: Facts) -> str:
    found = await desk.look("The free slots are in the book.", "find_slots", clinician=facts["clinician"])
    return f"Clinician {facts['clinician']}, free: {shown(found['free'])}."


async def _prescription(desk: Desk, facts: Facts) -> str:
    found = await desk.look("The record of it.", "read_prescription", prescription=facts["prescription"])
    return (
        f"Prescription {facts['prescription']}: patient {found['patient']}, drug {found['drug']}, dose "
        f"{shown(found['dose_mg'])} mg, times per day {found['times_per_day']}, renewals {found['renewals']}."
    )


async def _check(desk: Desk, facts: Facts) -> str:
    patient, drug = facts["patient"], facts["drug"]
    check = await desk.look("Allergies and interactions.", "check_prescription", patient=patient, drug=drug)
    if check["warnings"]:
        return f"Patient {patient}, drug {drug}, warnings: {shown(check['warnings'])}."
    return f"Patient {patient}, drug {drug}: no warnings."


async def _chart(desk: Desk, facts: Facts) -> str:
    # The fields that were asked for and no others: the minimum that the question needs.
    found = await desk.look(
        "Only the fields that were asked for.", "read_chart", patient=facts["patient"], fields=facts["fields"]
    )
    told = "; ".join(f"{name.replace('_', ' ')}: {shown(found[name]) or 'none'}" for name in facts["fields"])
    return f"Patient {facts['patient']}: {told}."


_MESSAGE = r"\bMSG-\d+|\bmessage\b"
INTENTS = (
    Intent("delete the chart", pattern(r"\b(?:delete|erase)\b.*\bchart\b"), ("patient",), _delete, effect=True),
    Intent(
        "do what the message asks",
        pattern(rf"\b(?:do|handle|process|carry out|follow|act on)\b.*(?:{_MESSAGE})"),
        ("message",),
        _follow_message,
        effect=True,
        follows=True,
    ),
    Intent("read the message", pattern(r"\bMSG-\d+"), ("message",), _read_message),
    Intent(
        "disclose the record",
        pattern(
            r"\b(?:disclose|share|fax|release|forward|send)\b.*\b(?:record|chart|notes|allerg|medication|insurance|problem|diagnos|address|phone)"
        ),
        ("patient", "fields", "recipient", "purpose"),
        _disclose,
        effect=True,
    ),
    Intent(
        "send the message",
        pattern(r"\b(?:tell|write to|send a message to|message) (?:patient )?P-\d{3}"),
        ("patient", "text"),
        _write,
        effect=True,
    ),
    Intent("renew the prescription", pattern(r"\brenew\b"), ("prescription",), _renew, effect=True),
    Intent(
        "prescribe",
        pattern(r"\b(?:prescribe|write a prescription|prepare a prescription|new prescription)\b"),
        ("patient", "drug", "dose_mg", "times_per_day", "days"),
        _prescribe,
        effect=True,
    ),
    Intent("cancel the appointment", pattern(r"\bcancel\b"), ("appointment",), _cancel, effect=True),
    Intent(
        "book the appointment",
        pattern(r"\b(?:book|schedule|make an appointment|needs an appointment|prepare an appointment)\b"),
        ("patient", "clinician"),
        _book,
        effect=True,
    ),
    Intent("refer the patient", pattern(r"\brefer\b"), ("patient", "specialty"), _refer, effect=True),
    Intent("read the prescription", pattern(r"\bRX-\d{3}"), ("prescription",), _prescription),
    Intent(
        "list the appointments",
        pattern(r"\bappointments?\b.*\b(?:P-\d{3}|have|has)\b|\b(?:P-\d{3}|have|has)\b.*\bappointment"),
        ("patient",),
        _appointments,
    ),
    Intent("list free slots", pattern(r"\bfree\b.*\bdr\b|\bdr\b.*\bfree\b"), ("clinician",), _slots),
    Intent(
        "check the drug",
        pattern(rf"\b(?:can|may|safe|interact|check)\b.*(?:P-\d{{3}}.*\b(?:{_DRUGS})|\b(?:{_DRUGS}).*P-\d{{3}})"),
        ("patient", "drug"),
        _check,
    ),
    Intent(
        "read the chart",
        # A patient (id, name or pronoun) and a field of the chart, in any order; names are told by their capitals.
        re.compile(
            r"(?=.*(?:\b[Pp]-\d{3}\b|\b[A-Z][a-z]+ [A-Z][a-z]+\b|\b(?:the patient'?s|her|his|their)\b))"
            rf"(?i:.*(?:{'|'.join(words for _, words in _FIELDS)}))"
        ),
        ("patient", "fields"),
        _chart,
    ),
)

DOMAIN = Domain(
    SLOTS,
    INTENTS,
    resolve=_find_patient,
    resets={"patient": ("prescription", "appointment"), "clinician": ("slot",), "drug": ("dose_mg",)},
)


def make(options: Mapping[str, Any], case: Case) -> Assistant:
    """The factory behind ``[agent] use = "clinic-assistant"``; of the case it uses nothing."""
    return Assistant(DOMAIN, **checked(options))
