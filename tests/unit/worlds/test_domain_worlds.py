"""The shipped domains: every tool does its work once and refuses what is impossible."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentcheck.errors import ToolError
from agentcheck.records import Case
from agentcheck.worlds import clinic, maintenance, payables
from agentcheck.worlds.simulated import SimulatedWorld
from kits.world import EffectKit

MAKE = {"clinic": clinic.make, "payables": payables.make, "maintenance": maintenance.make}


class TestClinic(EffectKit):
    """The clinic passes the kit."""

    make = staticmethod(clinic.make)
    read = ("read_chart", {"patient": "P-101", "fields": ["allergies"]})
    effect = ("cancel_appointment", {"appointment": "A-501"})


class TestPayables(EffectKit):
    """Accounts payable passes the kit."""

    make = staticmethod(payables.make)
    read = ("read_balance", {"account": "1000"})
    effect = ("pay_invoice", {"invoice": "INV-4001", "amount": 480, "account": "1000"})


class TestMaintenance(EffectKit):
    """Maintenance passes the kit."""

    make = staticmethod(maintenance.make)
    read = ("check_directives", {"aircraft": "FX-ABB"})
    effect = ("order_part", {"part": "TYR-20", "quantity": 2})


def world(domain: str, tmp_path: Path, **state: Any) -> SimulatedWorld:
    """A shipped world, with the state of a case."""
    return MAKE[domain]({}, Case(id="c", prompt="p", state=state), tmp_path)


def call(world: SimulatedWorld, name: str, /, **arguments: Any) -> Any:
    """One tool call, each under a key of its own."""
    return asyncio.run(world.call(name, arguments, key=f"k{len(world.effects())}"))


DOSE = {"patient": "P-102", "drug": "paracetamol", "dose_mg": 500, "times_per_day": 3, "days": 5}
RELEASE = {"aircraft": "FX-ABA", "work_order": "WO-610", "licence": "L-11"}
DISCLOSE = {"patient": "P-101", "recipient": "Mockford Hospital", "purpose": "treatment"}

#: Domain, tool, arguments, and what its output holds.
WORKS: list[tuple[str, str, dict[str, Any], Any]] = [
    ("clinic", "find_patient", {"name": "quist"}, [{"patient": "P-101", "name": "Arlen Quist", "born": "1986-04-02"}]),
    ("clinic", "read_chart", {"patient": "P-103", "fields": ["weight_kg"]}, {"patient": "P-103", "weight_kg": 21}),
    (
        "clinic",
        "check_prescription",
        {"patient": "P-101", "drug": "amoxicillin"},
        {"warnings": ["allergy to penicillin"]},
    ),
    (
        "clinic",
        "check_prescription",
        {"patient": "P-102", "drug": "ibuprofen"},
        {"warnings": ["interaction with warfarin"]},
    ),
    ("clinic", "check_prescription", {"patient": "P-102", "drug": "paracetamol"}, {"warnings": []}),
    ("clinic", "read_prescription", {"prescription": "RX-303"}, {"drug": "sertraline", "renewals": 3}),
    ("clinic", "find_slots", {"clinician": "imre"}, {"free": ["2031-05-15 14:00", "2031-05-19 08:30"]}),
    ("clinic", "read_message", {"message": "MSG-1"}, {"from": "portal account of P-101"}),
    ("clinic", "prescribe_medication", DOSE, {"prescription": "RX-900", "drug": "paracetamol"}),
    ("clinic", "renew_prescription", {"prescription": "RX-303", "days": 28}, {"renewals": 2, "days": 28}),
    (
        "clinic",
        "schedule_appointment",
        {"patient": "P-103", "clinician": "hale", "slot": "2031-05-14 09:30"},
        {"appointment": "A-900"},
    ),
    ("clinic", "cancel_appointment", {"appointment": "A-502"}, {"cancelled": "A-502", "patient": "P-104"}),
    ("clinic", "send_message", {"patient": "P-101", "text": "hello"}, {"sent_to": "P-101"}),
    ("clinic", "disclose_record", {**DISCLOSE, "fields": ["allergies"]}, {"disclosure": "D-900"}),
    ("clinic", "refer_patient", {"patient": "P-102", "specialty": "cardiology"}, {"referral": "REF-900"}),
    ("clinic", "delete_chart", {"patient": "P-104"}, {"deleted": "P-104"}),
    (
        "payables",
        "find_vendor",
        {"name": "orchard"},
        [{"vendor": "V-201", "name": "Orchard Paper", "status": "approved"}],
    ),
    ("payables", "read_vendor", {"vendor": "V-204"}, {"bank_account": "FICT-1004"}),
    ("payables", "read_invoice", {"invoice": "INV-4002"}, {"amount": 2150.5, "status": "open"}),
    ("payables", "read_attachment", {"invoice": "INV-4001"}, {"invoice": "INV-4001"}),
    ("payables", "match_invoice", {"invoice": "INV-4001"}, {"matches": True, "differences": []}),
    ("payables", "match_invoice", {"invoice": "INV-4004"}, {"differences": ["invoiced 1325.00, ordered 1235.00"]}),
    ("payables", "read_balance", {"account": "6300"}, {"balance": 8800.0}),
    ("payables", "read_email", {"email": "EM-2"}, {"subject": "New bank details"}),
    (
        "payables",
        "pay_invoice",
        {"invoice": "INV-4001", "amount": 480, "account": "1000"},
        {"payment": "PAY-900", "to": "FICT-1001"},
    ),
    ("payables", "change_bank_account", {"vendor": "V-202", "bank_account": "FICT-7"}, {"was": "FICT-1002"}),
    ("payables", "hold_invoice", {"invoice": "INV-4004", "reason": "price"}, {"status": "on hold"}),
    ("payables", "post_entry", {"debit": "6100", "credit": "2100", "amount": 10.1}, {"entry": "JE-900"}),
    ("payables", "add_vendor", {"name": "Lantern", "bank_account": "FICT-8"}, {"vendor": "V-900", "status": "new"}),
    ("payables", "send_email", {"vendor": "V-201", "subject": "s", "text": "t"}, {"sent_to": "V-201"}),
    ("payables", "delete_invoice", {"invoice": "INV-4001"}, {"deleted": "INV-4001"}),
    ("maintenance", "read_aircraft", {"aircraft": "FX-CDB"}, {"hours": 2510, "status": "grounded"}),
    ("maintenance", "read_work_order", {"work_order": "WO-611"}, {"unsigned": ["2"]}),
    ("maintenance", "read_defect", {"defect": "DF-21"}, {"status": "open"}),
    ("maintenance", "read_pilot_report", {"report": "PR-1"}, {"aircraft": "FX-ABB"}),
    ("maintenance", "check_stock", {"part": "BRK-40"}, {"stock": 2, "price": 1800}),
    ("maintenance", "order_part", {"part": "TYR-20", "quantity": 2}, {"order": "ORD-900", "cost": 1300}),
    ("maintenance", "reserve_part", {"part": "BRK-40", "quantity": 2, "work_order": "WO-611"}, {"stock_left": 0}),
    ("maintenance", "defer_defect", {"defect": "DF-21", "item": "MEL-33-1", "days": 120}, {"status": "deferred"}),
    ("maintenance", "sign_off_task", {"work_order": "WO-611", "task": "2", "licence": "L-09"}, {"unsigned": []}),
    ("maintenance", "release_to_service", RELEASE, {"status": "in service"}),
    ("maintenance", "ground_aircraft", {"aircraft": "FX-ABB", "reason": "hail"}, {"status": "grounded"}),
    ("maintenance", "open_work_order", {"aircraft": "FX-ABB", "title": "tyre"}, {"work_order": "WO-900"}),
    (
        "maintenance",
        "record_directive",
        {"aircraft": "FX-CDB", "directive": "AD-31-02", "work_order": "WO-613"},
        {"status": "recorded"},
    ),
    ("maintenance", "delete_record", {"work_order": "WO-612"}, {"deleted": "WO-612"}),
]


@pytest.mark.parametrize(("domain", "name", "arguments", "holds"), WORKS, ids=[f"{row[0]}-{row[1]}" for row in WORKS])
def test_a_tool_does_its_work(domain: str, name: str, arguments: dict[str, Any], holds: Any, tmp_path: Path) -> None:
    """A possible request gives its output, and an effect where the tool has one."""
    there = world(domain, tmp_path)
    output = call(there, name, **arguments)
    if isinstance(holds, dict):
        assert holds.items() <= output.items()
    else:
        assert output == holds
    effectful = {tool.name for tool in there.tools() if tool.effect}
    assert [effect.name for effect in there.effects()] == ([name] if name in effectful else [])


#: Domain, tool, arguments, and a piece of the error.
REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("clinic", "find_patient", {"name": "Nobody"}, "no patient called"),
    ("clinic", "read_chart", {"patient": "P-999", "fields": ["name"]}, "no patient"),
    ("clinic", "read_chart", {"patient": "P-101", "fields": ["shoe_size"]}, "no field 'shoe_size'"),
    ("clinic", "read_chart", {"patient": "P-101", "fields": []}, "at least one field"),
    ("clinic", "check_prescription", {"patient": "P-101", "drug": "stardust"}, "no drug"),
    ("clinic", "find_slots", {"clinician": "who"}, "no clinician"),
    ("clinic", "read_message", {"message": "MSG-9"}, "no message"),
    ("clinic", "prescribe_medication", {**DOSE, "dose_mg": 1500}, "above the maximum of 4000 mg"),
    ("clinic", "prescribe_medication", {**DOSE, "days": 0}, "days must be more than zero"),
    (
        "clinic",
        "prescribe_medication",
        {**DOSE, "drug": "warfarin", "dose_mg": 5, "times_per_day": 1},
        "already has warfarin",
    ),
    ("clinic", "renew_prescription", {"prescription": "RX-302", "days": 5}, "no renewals left"),
    (
        "clinic",
        "schedule_appointment",
        {"patient": "P-101", "clinician": "imre", "slot": "2031-05-14 09:00"},
        "not free",
    ),
    ("clinic", "cancel_appointment", {"appointment": "A-1"}, "no appointment"),
    ("clinic", "disclose_record", {**DISCLOSE, "fields": ["soul"]}, "no field"),
    ("payables", "find_vendor", {"name": "Nobody"}, "no vendor called"),
    ("payables", "read_attachment", {"invoice": "INV-4006"}, "no attachment"),
    ("payables", "read_balance", {"account": "9"}, "no account"),
    ("payables", "pay_invoice", {"invoice": "INV-4005", "amount": 95.2, "account": "1000"}, "already paid"),
    ("payables", "pay_invoice", {"invoice": "INV-4003", "amount": 310, "account": "1000"}, "V-203 is blocked"),
    ("payables", "pay_invoice", {"invoice": "INV-4006", "amount": 18400, "account": "6100"}, "does not hold"),
    ("payables", "pay_invoice", {"invoice": "INV-4001", "amount": -5, "account": "1000"}, "more than zero"),
    ("payables", "hold_invoice", {"invoice": "INV-4005", "reason": "late"}, "already paid"),
    ("payables", "post_entry", {"debit": "6100", "credit": "77", "amount": 1}, "no account"),
    ("payables", "add_vendor", {"name": "orchard paper", "bank_account": "x"}, "already a vendor"),
    ("maintenance", "read_aircraft", {"aircraft": "FX-ZZZ"}, "no aircraft"),
    ("maintenance", "order_part", {"part": "TYR-20", "quantity": 0}, "more than zero"),
    ("maintenance", "reserve_part", {"part": "BRK-40", "quantity": 3, "work_order": "WO-611"}, "only 2 of BRK-40"),
    ("maintenance", "defer_defect", {"defect": "DF-21", "item": "MEL-33-1", "days": 121}, "at most 120 days"),
    ("maintenance", "sign_off_task", {"work_order": "WO-611", "task": "2", "licence": "L-07"}, "does not cover"),
    ("maintenance", "sign_off_task", {"work_order": "WO-611", "task": "9", "licence": "L-09"}, "no task"),
    ("maintenance", "sign_off_task", {"work_order": "WO-611", "task": "1", "licence": "L-09"}, "already signed off"),
    ("maintenance", "release_to_service", {**RELEASE, "aircraft": "FX-CDA"}, "is for FX-ABA"),
    (
        "maintenance",
        "release_to_service",
        {"aircraft": "FX-CDA", "work_order": "WO-611", "licence": "L-11"},
        "not signed off: 2",
    ),
    (
        "maintenance",
        "release_to_service",
        {"aircraft": "FX-ABB", "work_order": "WO-612", "licence": "L-11"},
        "already in service",
    ),
    ("maintenance", "release_to_service", {**RELEASE, "licence": "L-99"}, "no licence"),
    (
        "maintenance",
        "record_directive",
        {"aircraft": "FX-CDB", "directive": "AD-31-01", "work_order": "WO-613"},
        "does not apply",
    ),
    (
        "maintenance",
        "record_directive",
        {"aircraft": "FX-CDA", "directive": "AD-31-02", "work_order": "WO-611"},
        "no signed-off work",
    ),
]


@pytest.mark.parametrize(
    ("domain", "name", "arguments", "why"), REFUSED, ids=[f"{r[0]}-{r[1]}-{r[3]}" for r in REFUSED]
)
def test_a_tool_refuses_the_impossible(
    domain: str, name: str, arguments: dict[str, Any], why: str, tmp_path: Path
) -> None:
    """An impossible request answers with an error that says why, and takes no effect."""
    there = world(domain, tmp_path)
    with pytest.raises(ToolError, match=why):
        call(there, name, **arguments)
    assert there.effects() == ()


def test_a_booked_slot_is_taken_and_a_cancelled_one_is_free(tmp_path: Path) -> None:
    """Booking and cancelling move a slot between the book and the free ones."""
    there = world("clinic", tmp_path)
    call(there, "schedule_appointment", patient="P-101", clinician="imre", slot="2031-05-15 14:00")
    assert call(there, "find_slots", clinician="imre")["free"] == ["2031-05-19 08:30"]
    call(there, "cancel_appointment", appointment="A-900")
    assert call(there, "find_slots", clinician="imre")["free"] == ["2031-05-15 14:00", "2031-05-19 08:30"]
    assert call(there, "list_appointments", patient="P-103") == []


def test_a_prescription_shows_up_in_the_chart(tmp_path: Path) -> None:
    """What was prescribed is a medication of the chart and counts for the next check."""
    there = world("clinic", tmp_path)
    call(there, "prescribe_medication", patient="P-103", drug="warfarin", dose_mg=2, times_per_day=1, days=5)
    assert call(there, "read_chart", patient="P-103", fields=["medications"])["medications"] == ["warfarin 2 mg"]
    assert call(there, "check_prescription", patient="P-103", drug="ibuprofen")["warnings"]


def test_a_payment_moves_money_once(tmp_path: Path) -> None:
    """Paying lowers the account to the cent, closes the invoice, is listed, and cannot be repeated."""
    there = world("payables", tmp_path, accounts={"1000": {"balance": 100.3}}, invoices={"INV-4001": {"amount": 100.1}})
    call(there, "pay_invoice", invoice="INV-4001", amount=100.1, account="1000")
    assert call(there, "read_balance", account="1000")["balance"] == 0.2
    assert [each["payment"] for each in call(there, "list_payments", vendor="V-201")] == ["PAY-801", "PAY-900"]
    assert call(there, "list_open_invoices", vendor="V-201") == []
    with pytest.raises(ToolError, match="already paid"):
        call(there, "pay_invoice", invoice="INV-4001", amount=100.1, account="1000")
    assert len(there.effects()) == 1


def test_a_payment_goes_to_the_account_on_record(tmp_path: Path) -> None:
    """A changed bank account is where the next payment goes."""
    there = world("payables", tmp_path)
    call(there, "change_bank_account", vendor="V-201", bank_account="FICT-2")
    assert call(there, "pay_invoice", invoice="INV-4001", amount=480, account="1000")["to"] == "FICT-2"


@pytest.mark.parametrize(
    ("order", "why"),
    [({"received": False}, "not received"), ({"vendor": "V-204"}, "with V-204"), (None, "no order PO-71")],
)
def test_a_match_looks_at_receipt_and_vendor(order: dict[str, Any] | None, why: str, tmp_path: Path) -> None:
    """Goods that did not come, another vendor or a missing order are differences."""
    found = call(world("payables", tmp_path, orders={"PO-71": order}), "match_invoice", invoice="INV-4001")
    assert not found["matches"]
    assert why in found["differences"][0]


def test_an_entry_moves_between_accounts(tmp_path: Path) -> None:
    """A journal entry adds to the one account what it takes from the other."""
    there = world("payables", tmp_path)
    call(there, "post_entry", debit="6100", credit="2100", amount=0.3)
    assert call(there, "read_balance", account="6100")["balance"] == 3120.3
    assert call(there, "read_balance", account="2100")["balance"] == 22760.4


def test_directives_are_told_with_their_hours(tmp_path: Path) -> None:
    """Directives of the type that are not done are listed, and overdue once the hours are passed."""
    there = world("maintenance", tmp_path)
    listed = call(there, "check_directives", aircraft="FX-ABB")["open_directives"]
    assert [(each["directive"], each["hours_left"], each["overdue"]) for each in listed] == [
        ("AD-31-01", 275, False),
        ("AD-30-09", -25, True),
    ]
    assert call(there, "check_directives", aircraft="FX-ABA")["open_directives"] == []
    call(there, "record_directive", aircraft="FX-CDB", directive="AD-31-02", work_order="WO-613")
    assert call(there, "check_directives", aircraft="FX-CDB")["open_directives"] == []


def test_a_release_needs_all_sign_offs(tmp_path: Path) -> None:
    """Signing off the last task opens the way to the release, which closes the work order."""
    there = world("maintenance", tmp_path)
    call(there, "sign_off_task", work_order="WO-611", task="2", licence="L-09")
    call(there, "release_to_service", aircraft="FX-CDA", work_order="WO-611", licence="L-11")
    assert call(there, "read_aircraft", aircraft="FX-CDA")["status"] == "in service"
    orders = call(there, "list_work_orders", aircraft="FX-CDA")
    assert orders == [{"work_order": "WO-611", "title": "Replace brake unit", "status": "closed"}]


def test_text_from_outside_is_not_trusted() -> None:
    """Exactly the tools that read what an outsider wrote are marked as not trusted."""
    marked = {
        each.spec.name for module in (clinic, payables, maintenance) for each in module.TOOLS if not each.spec.trusted
    }
    assert marked == {"read_message", "read_attachment", "read_email", "read_pilot_report"}
