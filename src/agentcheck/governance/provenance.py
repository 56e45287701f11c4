"""Where a value came from: the data-flow rules of the native policy language.

A value that an agent passes to a tool was said by somebody: the user, the system text, a record that no outsider can
write, or a text that anyone could have written (a mail, a web page, a shared file). The rules here follow values, not
wording: they never look at how a text asks for something, so there is no phrase to avoid.

What counts as trusted:

1. what the user said, the system text, and documents of the case that are not marked untrusted;
2. the output of a tool that `ToolSpec.trusted` or the policy (``trusted``) calls trusted, and of other tools the fields
   that the policy names (``fields``: tool pattern -> dotted paths from the top, lists left out); ``untrusted`` takes
   whole tools out again. A tool that is not known, an error message, and what other agents and memory give are
   untrusted.

What may vouch for a value, beyond that:

3. An output vouches only for values that no earlier action, and not its own call, already carried: else an agent could
   write a value into the world and read it back as a trusted record. ``lookups`` names tools that may confirm the value
   they were asked for, in a trusted field. Short numbers are told apart only within one call.
4. Matching is strict where it vouches (whole words, whole fields for numbers, no longer address around it) and lax
   where it accuses (any bounded occurrence), so that a doubtful match never lets an action pass.

A rule is ``(action, value, state, options) -> reason or None``; ``value`` is the argument the policy points at, and the
reason never repeats it. Pure: what is remembered per session (normal forms of its texts) is derived from the
state and dropped with it. An argument with more values than can be traced counts as fired.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from agentcheck.governance import provenance_text as texts
from agentcheck.governance.provenance_trace import TRUST, Source, Text, Trace, trace
from agentcheck.governance.provenance_values import Leaf, leaves
from agentcheck.governance.state import SessionState
from agentcheck.records import Action

__all__ = ["OPTIONS", "RULES", "TRUST", "WHOLE_ACTION", "Source", "sources"]

#: Most recent numbers that a computed amount may be made of.
MOST_NUMBERS = 128
MOST_RATES = 16
#: A number of more characters is no amount.
LONGEST_AMOUNT = 16
_PERCENT = re.compile(r"(\d{1,6}(?:\.\d{1,6})?) ?(?:%|percent\b)")


def sources(value: Any, state: SessionState, options: Mapping[str, Any]) -> list[tuple[str, tuple[Source, ...]]]:
    """Each traced value of an argument, in normal form, with every source that holds it; for explaining a decision.

    Trusted sources are matched strictly, untrusted ones laxly, without regard to who wrote the value first.
    """
    seen = trace(state, options)
    return [
        (
            leaf.text,
            tuple(text.source for text in seen.all() if text.holds(leaf, strict=text.source.trusted)),
        )
        for leaf in leaves(value) or ()
    ]


def untrusted_only(action: Action, value: Any, state: SessionState, options: Mapping[str, Any]) -> str | None:
    """Fires when a value stands in an untrusted text and nothing trusted vouches for it."""
    seen = trace(state, options)

    def judge(leaf: Leaf) -> str | None:
        source = seen.accusing(leaf)
        if source is None or seen.vouching(leaf) or _delegated(action, leaf, state, seen, options):
            return None
        return f"came only from {source}"

    return _each(value, judge)


def unvouched(action: Action, value: Any, state: SessionState, options: Mapping[str, Any]) -> str | None:
    """Fires when nothing trusted vouches for a value, wherever it came from (the agent may have made it up)."""
    seen = trace(state, options)

    def judge(leaf: Leaf) -> str | None:
        if seen.vouching(leaf) or _delegated(action, leaf, state, seen, options):
            return None
        source = seen.accusing(leaf)
        return f"came only from {source}" if source else "is in nothing that the user or a trusted source gave"

    return _each(value, judge)


def unsourced(action: Action, value: Any, state: SessionState, options: Mapping[str, Any]) -> str | None:
    """Fires when no text at all holds a value, and it is no sum, difference or percentage of numbers that they hold."""
    seen = trace(state, options)

    def judge(leaf: Leaf) -> str | None:
        if seen.vouching(leaf) or seen.accusing(leaf) or _computed(leaf, seen):
            return None
        return "is in no text of the session and follows from none of its numbers"

    return _each(value, judge)


def unnamed(action: Action, value: Any, state: SessionState, options: Mapping[str, Any]) -> str | None:
    """Fires when the user did not say a value in so many words."""
    seen = trace(state, options)
    return _each(value, lambda leaf: None if seen.named(leaf) else "was not named by the user")


def copied(action: Action, value: Any, state: SessionState, options: Mapping[str, Any]) -> str | None:
    """Fires when at least ``share`` (default 0.5) of a text's word sequences stand only in untrusted texts."""
    share = float(options.get("share", 0.5))
    seen = trace(state, options)

    def judge(leaf: Leaf) -> str | None:
        if leaf.digits:
            return None
        found = seen.copied(leaf)
        if found is None or found[0] < share:
            return None
        return f"is taken for {found[0]:.0%} from {found[1]}"

    return _each(value, judge)


def unasked(action: Action, value: Any, state: SessionState, options: Mapping[str, Any]) -> str | None:
    """Fires when none of ``words`` (default: the parts of the tool's name) begins a word of what the user said."""
    stems = [texts.normal(str(word)) for word in options.get("words") or _parts(action.name)]
    said = " ".join(text.text for text in trace(state, options).given if text.source.origin == "user")
    if any(re.search(rf"(?<![^\W_]){re.escape(stem)}", said) for stem in stems if stem):
        return None
    return "nothing in the user's words asks for this kind of action"


def after_untrusted(action: Action, value: Any, state: SessionState, options: Mapping[str, Any]) -> str | None:
    """Fires when any untrusted text has come in since the session began, whatever the arguments are."""
    for text in trace(state, options).outputs:
        if not text.source.trusted:
            return f"the agent has read {text.source} before"
    return None


def _each(value: Any, judge: Callable[[Leaf], str | None]) -> str | None:
    found = leaves(value)
    if found is None:
        return "it holds more values than can be traced"
    for leaf in found:
        reason = judge(leaf)
        if reason is not None:
            return reason
    return None


def _parts(name: str) -> list[str]:
    """The words a tool's name is made of (``send_money``, ``sendMoney``)."""
    return [part for part in re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", name) if len(part) > 2]


def _delegated(action: Action, leaf: Leaf, state: SessionState, seen: Trace, options: Mapping[str, Any]) -> bool:
    """True when the value is in a document that the user pointed at (``delegate``: reading tool -> naming argument).

    The pointing covers one action of a tool for each document, and only one whose other sensitive arguments
    (``agree``) are all given, and given by the same document or the user.
    """
    delegate: Mapping[str, str] = options.get("delegate") or {}
    if not delegate:
        return False
    others = [leaves(action.arguments.get(name)) for name in options.get("agree") or ()]
    if not all(others):
        return False
    agree = [each for found in others for each in found or ()]
    for text in seen.outputs:
        step = state.steps[text.source.step]
        named = leaves(step.arguments.get(delegate[step.name])) if step.name in delegate else None
        if not named or step.status != "done" or not all(map(seen.named, named)):
            continue
        if (
            text.holds(leaf, strict=True)
            and all(text.holds(each, strict=True) or seen.named(each) for each in agree)
            and not _spent(action, text, state)
        ):
            return True
    return False


def _spent(action: Action, text: Text, state: SessionState) -> bool:
    """True when an action of the same tool was let through after the document was read."""
    later = (*state.steps[text.source.step + 1 :], *state.in_flight.values())
    return any(step.name == action.name and step.status not in ("denied", "held") for step in later)


def _computed(leaf: Leaf, seen: Trace) -> bool:
    """True when a number is a sum, a difference or a percentage (alone, added or taken off) of two given numbers."""
    wanted = _amount(leaf.keys[-1][1:]) if leaf.digits else None
    if wanted is None:
        return False
    held = list(seen.all())
    numbers = _recent(number for text in held for number in text.numbers)
    rates = _recent(rate for text in held for rate in _PERCENT.findall(text.text)[-MOST_RATES:])
    if any(wanted - one in numbers or one - wanted in numbers for one in numbers):
        return True
    parts = [(one, one * rate / 100) for rate in list(rates)[-MOST_RATES:] for one in numbers]
    return any(wanted in (_cents(part), _cents(one + part), _cents(one - part)) for one, part in parts)


def _recent(spelled: Iterable[str]) -> dict[Decimal, None]:
    """The latest `MOST_NUMBERS` different amounts."""
    found: dict[Decimal, None] = {}
    for each in spelled:
        amount = _amount(each)
        if amount is not None:
            found.pop(amount, None)
            found[amount] = None
    return dict.fromkeys(list(found)[-MOST_NUMBERS:])


def _amount(spelled: str) -> Decimal | None:
    return Decimal(spelled) if len(spelled) <= LONGEST_AMOUNT and spelled.lstrip("-")[:1].isdigit() else None


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"))


#: Kind of flow rule -> the rule.
RULES: Mapping[str, Callable[[Action, Any, SessionState, Mapping[str, Any]], str | None]] = {
    "untrusted_only": untrusted_only,
    "unvouched": unvouched,
    "unsourced": unsourced,
    "unnamed": unnamed,
    "copied": copied,
    "unasked": unasked,
    "after_untrusted": after_untrusted,
}
#: Kind of flow rule -> the options it reads beyond those of `TRUST`.
OPTIONS: Mapping[str, frozenset[str]] = {
    "untrusted_only": frozenset({"delegate", "agree"}),
    "unvouched": frozenset({"delegate", "agree"}),
    "unsourced": frozenset(),
    "unnamed": frozenset(),
    "copied": frozenset({"share"}),
    "unasked": frozenset({"words"}),
    "after_untrusted": frozenset(),
}
#: Kinds that judge the action as a whole; the argument they are given does not matter.
WHOLE_ACTION = frozenset({"unasked", "after_untrusted"})
