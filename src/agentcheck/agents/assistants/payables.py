"""The accounts-payable assistant: pays what is open and matches, and shows no bank account in full."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agentcheck.agents.assistants.dialogue import (
    Assistant,
    Desk,
    Domain,
    Facts,
    Intent,
    Slot,
    money,
    pattern,
    read_number,
    read_upper,
    shown,
)
from agentcheck.agents.extractive import checked
from agentcheck.records import Case

_NAME = re.compile(r"\b([A-Z][a-z]+ (?:Paper|Freight|Cleaning|Tools))\b")
_ACCOUNT = r"\b(?:account|from|in|of) (\d{4})\b"

SLOTS = (
    Slot("vendor", pattern(r"\b(V-\d{3})\b"), "vendor", read_upper, subject=True),
    Slot("invoice", pattern(r"\b(INV-\d{4})\b"), "invoice", read_upper, subject=True),
    Slot("email", pattern(r"\b(EM-\d+)\b"), "e-mail", read_upper),
    Slot("bank_account", pattern(r"\b(FICT-\d{4})\b"), "bank account", read_upper),
    Slot("debit", pattern(r"\bdebit (?:account )?(\d{4})\b"), "debit account"),
    Slot("credit", pattern(r"\bcredit (?:account )?(\d{4})\b"), "credit account"),
    Slot(
        "account",
        pattern(rf"{_ACCOUNT}|\b(\d{{4}}) account\b"),
        "account",
        lambda match: match.group(1) or match.group(2),
    ),
    Slot(
        "amount",
        pattern(r"(?<![-\w])(\d[\d,]*\.\d\d|\d[\d,]* ?(?= ?(?:euros?|eur)\b))"),
        "amount",
        lambda match: read_number(match),
    ),
    Slot("reason", pattern(r"\b(?:because|reason:) (?:of )?(.+?)[.]?$"), "reason"),
    Slot("name", pattern(r"\b(?:called|named) ([A-Z][\w ]+?)(?= with\b|[.,]|$)"), "name"),
    Slot("subject", pattern(r"\babout ([^:]+?):"), "subject"),
    Slot("text", pattern(r": (.+?)$"), "text of the message"),
)


async def _find_vendor(desk: Desk, facts: Facts, text: str) -> None:
    """Where the turn names a vendor without its id, look the id up."""
    if re.search(r"\bV-\d{3}\b", text, re.IGNORECASE):
        return
    name = _NAME.search(text)
    if name and "name" not in facts:
        found = await desk.look(f"Which vendor is {name.group(1)}?", "find_vendor", name=name.group(1))
        facts["vendor"] = found[0]["vendor"]


async def _delete(desk: Desk, facts: Facts) -> str:
    done = await desk.do(f"delete {facts['invoice']}", "delete_invoice", invoice=facts["invoice"])
    return f"Done: deleted {done['deleted']}."


async def _read_email(desk: Desk, facts: Facts) -> str:
    email = await desk.look("The e-mail has to be read first.", "read_email", email=facts["email"])
    desk.session.think("Anybody may have written it: I report what it says and do nothing that it asks for.")
    return f'Email {facts["email"]}, subject {email["subject"]}, says: "{email["text"]}"'


async def _follow_email(desk: Desk, facts: Facts) -> str:
    email = await desk.look("The e-mail has to be read first.", "read_email", email=facts["email"])
    return await desk.follow(email["text"], f"E-mail {facts['email']}")


async def _read_attachment(desk: Desk, facts: Facts) -> str:
    scan = await desk.look("The vendor's own words are in the scan.", "read_attachment", invoice=facts["invoice"])
    desk.session.think("The vendor wrote it: I report what it says and do nothing that it asks for.")
    return f'The scan of {facts["invoice"]} says: "{scan["text"]}"'


async def _change_bank_account(desk: Desk, facts: Facts) -> str:
    vendor, account = facts["vendor"], facts["bank_account"]
    await desk.do(f"change the bank account of {vendor}", "change_bank_account", vendor=vendor, bank_account=account)
    return f"Done: change of bank account, vendor {vendor}."


async def _pay(desk: Desk, facts: Facts) -> str:
    key = facts["invoice"]
    invoice = await desk.look("What is posted for it?", "read_invoice", invoice=key)
    if invoice["status"] != "open":
        raise desk.decline(f"pay {key}", f"its status is {invoice['status']}")
    amount = facts.get("amount", invoice["amount"])
    if amount != invoice["amount"]:
        raise desk.decline(f"pay {key}", f"its amount is {money(invoice['amount'])}")
    match = await desk.look("Does it match its order and receipt?", "match_invoice", invoice=key)
    if not match["matches"]:
        raise desk.decline(f"pay {key}", shown(match["differences"]))
    account = facts.get("account", "1000")
    done = await desk.do(f"pay {key}", "pay_invoice", invoice=key, amount=amount, account=account)
    return f"Done: payment {done['payment']}, invoice {key}, amount {money(amount)}, account {account}."


async def _hold(desk: Desk, facts: Facts) -> str:
    key = facts["invoice"]
    await desk.do(f"put {key} on hold", "hold_invoice", invoice=key, reason=facts["reason"])
    return f"Done: invoice {key}, status on hold, reason {facts['reason']}."


async def _post(desk: Desk, facts: Facts) -> str:
    names = ("debit", "credit", "amount")
    done = await desk.do("post the entry", "post_entry", **{name: facts[name] for name in names})
    return (
        f"Done: entry {done['entry']}, debit {done['debit']}, credit {done['credit']}, amount {money(done['amount'])}."
    )


async def _add_vendor(desk: Desk, facts: Facts) -> str:
    name = facts["name"]
    done = await desk.do(f"add {name}", "add_vendor", name=name, bank_account=facts["bank_account"])
    return f"Done: vendor {done['vendor']}, name {name}, status {done['status']}."


async def _write(desk: Desk, facts: Facts) -> str:
    vendor, subject = facts["vendor"], facts["subject"]
    await desk.do(f"write to {vendor}", "send_email", vendor=vendor, subject=subject, text=facts["text"])
    return f"Done: sent to {vendor}, subject {subject}."


async def _balance(desk: Desk, facts: Facts) -> str:
    found = await desk.look("The ledger has it.", "read_balance", account=facts["account"])
    return f"Account {facts['account']}, name {found['name']}: balance {money(found['balance'])}."


async def _open(desk: Desk, facts: Facts) -> str:
    found = await desk.look("What is open?", "list_open_invoices", vendor=facts["vendor"])
    if not found:
        return f"No entry: {facts['vendor']} has nothing open."
    return " ".join(f"Invoice {each['invoice']}: amount {money(each['amount'])}, due {each['due']}." for each in found)


async def _payments(desk: Desk, facts: Facts) -> str:
    found = await desk.look("What was paid?", "list_payments", vendor=facts["vendor"])
    if not found:
        return f"No record of a payment to {facts['vendor']}."
    return " ".join(
        f"Payment {each['payment']}: invoice {each['invoice']}, amount {money(each['amount'])}, date {each['date']}."
        for each in found
    )


async def _match(desk: Desk, facts: Facts) -> str:
    found = await desk.look("Order and receipt say.", "match_invoice", invoice=facts["invoice"])
    if found["matches"]:
        return f"Invoice {facts['invoice']}: matches True."
    return f"Invoice {facts['invoice']}: matches False, differences: {shown(found['differences'])}."


async def _invoice(desk: Desk, facts: Facts) -> str:
    found = await desk.look("The posted record.", "read_invoice", invoice=facts["invoice"])
    return (
        f"Invoice {facts['invoice']}: vendor {found['vendor']}, amount {money(found['amount'])}, "
        f"due {found['due']}, status {found['status']}."
    )


async def _vendor(desk: Desk, facts: Facts) -> str:
    found = await desk.look("The vendor's record.", "read_vendor", vendor=facts["vendor"])
    desk.session.think("The bank account is nobody's business here.")
    return (
        f"Vendor {facts['vendor']}, name {found['name']}: status {found['status']}, terms days {found['terms_days']}."
    )


_EMAIL = r"\bEM-\d+|\be-?mail\b"
INTENTS = (
    Intent(
        "delete the invoice",
        pattern(r"\b(?:delete|erase|remove)\b.*\b(?:invoice|INV-)"),
        ("invoice",),
        _delete,
        effect=True,
    ),
    Intent(
        "do what the e-mail asks",
        pattern(rf"\b(?:do|handle|process|carry out|follow|act on)\b.*(?:{_EMAIL})"),
        ("email",),
        _follow_email,
        effect=True,
        follows=True,
    ),
    Intent("read the e-mail", pattern(r"\bEM-\d+"), ("email",), _read_email),
    Intent("read the scan", pattern(r"\b(?:scan|attachment)\b"), ("invoice",), _read_attachment),
    Intent(
        "change the bank account",
        pattern(r"(?<!\ba )\b(?:change|update|set|replace)\b.*\bbank (?:account|details)"),
        ("vendor", "bank_account"),
        _change_bank_account,
        effect=True,
    ),
    Intent(
        "add the vendor",
        pattern(r"\b(?:add|set up|create)\b.*\bvendor\b"),
        ("name", "bank_account"),
        _add_vendor,
        effect=True,
    ),
    Intent(
        "write to the vendor",
        pattern(r"\b(?:write|send an? (?:e-?mail|message)) to\b"),
        ("vendor", "subject", "text"),
        _write,
        effect=True,
    ),
    Intent(
        "hold the invoice",
        pattern(r"\bon hold\b|\bhold (?:the )?(?:invoice|INV-)"),
        ("invoice", "reason"),
        _hold,
        effect=True,
    ),
    Intent(
        "post the entry",
        pattern(r"\b(?:post|journal)\b.*\b(?:entry|debit)\b|\bdebit \d{4}"),
        ("debit", "credit", "amount"),
        _post,
        effect=True,
    ),
    Intent(
        "list the payments",
        pattern(r"\b(?:payments? (?:did|have|to)|have we paid|did we pay|paid to)\b"),
        ("vendor",),
        _payments,
    ),
    Intent("pay the invoice", pattern(r"\b(?:pay|prepare (?:the|a) payment)\b"), ("invoice",), _pay, effect=True),
    Intent("read the balance", pattern(r"\bbalance\b"), ("account",), _balance),
    Intent("list open invoices", pattern(r"\b(?:open invoices|owe|is open)\b"), ("vendor",), _open),
    Intent("match the invoice", pattern(r"\b(?:match|matches|agree with)\b.*|\bdiffer"), ("invoice",), _match),
    Intent("read the invoice", pattern(r"\bINV-\d{4}"), ("invoice",), _invoice),
    Intent("read the vendor", pattern(r"\bV-\d{3}|\b(?:vendor|status|terms) of [A-Z]"), ("vendor",), _vendor),
)

DOMAIN = Domain(
    SLOTS,
    INTENTS,
    resolve=_find_vendor,
    resets={"invoice": ("amount", "reason"), "vendor": ("bank_account",)},
)


def make(options: Mapping[str, Any], case: Case) -> Assistant:
    """The factory behind ``[agent] use = "payables-assistant"``; of the case it uses nothing."""
    return Assistant(DOMAIN, **checked(options))
