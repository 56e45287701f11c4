"""Ask all controls, and let the strictest answer win.

The rules, in the order in which `decide` applies them:

1. Every control is asked, in the order of registration. ``None`` is no opinion.
2. A control that raises, or that answers with anything but a `Decision` of the table, denies.
3. Deny wins over hold over allow; among equals the control registered first decides.
4. The level is the highest one stated. From level 2 on an allowed action is held, and a hold that states no such
   level needs approval (3).
5. Nothing is allowed by default: a control that may grant (a policy) must have answered; others only restrict.

Pure and synchronous: the time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from agentcheck.contracts import Control
from agentcheck.records import SEVERITY, Action, Decision

#: From this level on a human decides.
HOLD_LEVEL = 2
#: The level of a hold that states none.
DEFAULT_HOLD_LEVEL = 3
HIGHEST_LEVEL = 4

MISSING = Decision("deny", "policy.missing", "no-policy", "no policy allows this; nothing is allowed by default")


def decide(action: Action, state: Any, controls: Iterable[Control], now: int) -> Decision:
    """Decide on an action from all controls; the deciding `Decision` carries the ``others`` that did not allow.

    ``state`` is the fold of the session's events, ``now`` is in microseconds since the Unix epoch.
    """
    granted: Decision | None = None
    asked_policy = False
    level = 0
    policy = ""
    leading: Decision | None = None  # states the highest level
    refusals: list[Decision] | None = None
    for control in controls:
        try:
            decision = control.decide(action, state, now)
            if decision is None:
                continue
            problem = _problem(decision)
            if not problem and decision.control != control.id:
                # The record says who decided, whatever name the control wrote.
                decision = _replace(decision, control=control.id)
        except Exception as error:
            decision, problem = None, f"the control raised {type(error).__name__}"
        if problem or decision is None:
            decision = Decision("deny", _id(control), "control-failed", problem)
        if decision.level > level:
            level, leading = decision.level, decision
        grants = getattr(control, "grants", False) is True
        if grants:
            asked_policy, policy = True, policy or decision.policy
        if decision.outcome != "allow":
            if refusals is None:
                refusals = []
            refusals.append(decision)
        elif grants and granted is None:
            granted = decision
    if refusals is None and granted is not None and level < HOLD_LEVEL:
        return granted if level == granted.level else _replace(granted, level=level)
    refusals = refusals or []
    if not asked_policy:
        # Last in the order: another control's denial says more.
        refusals.append(MISSING)
    return _refuse(refusals, leading, level, policy)


def _refuse(refusals: list[Decision], leading: Decision | None, level: int, policy: str) -> Decision:
    """The refusal that decides when not everything allowed: see rules 3 and 4."""
    if level >= HOLD_LEVEL and leading is not None and leading.outcome == "allow":
        refusals.append(_replace(leading, outcome="hold"))
    deciding = max(refusals, key=lambda each: SEVERITY[each.outcome])  # the first of the strictest
    if deciding.outcome == "hold" and level < HOLD_LEVEL:
        level = DEFAULT_HOLD_LEVEL
    others = tuple(each for each in refusals if each is not deciding) + _others(deciding)
    return _replace(deciding, level=level, policy=policy or deciding.policy, others=others)


def _others(decision: Decision) -> tuple[Decision, ...]:
    """What a control itself collected beside its decision: the further rules of a policy that refuse."""
    found = decision.others
    return found if type(found) is tuple and all(type(each) is Decision for each in found) else ()


def _problem(decision: Any) -> str:
    """Why an answer is no decision of the table; empty when it is one."""
    if type(decision) is not Decision:
        return f"the control answered with {type(decision).__name__}"
    if decision.outcome not in SEVERITY:
        return "the control answered with an unknown outcome"
    if type(decision.level) is not int or not 0 <= decision.level <= HIGHEST_LEVEL:
        return "the control answered with an unknown level"
    if not (type(decision.rule) is type(decision.reason) is type(decision.policy) is str):
        return "the control answered with a reason that is no text"
    return ""


def _id(control: Any) -> str:
    name = getattr(control, "id", "")
    return name if isinstance(name, str) and name else type(control).__name__


def _replace(decision: Decision, **changes: Any) -> Decision:
    """`dataclasses.replace`, several times faster on this path."""
    return Decision(
        outcome=changes.get("outcome", decision.outcome),
        control=changes.get("control", decision.control),
        rule=decision.rule,
        reason=decision.reason,
        level=changes.get("level", decision.level),
        policy=changes.get("policy", decision.policy),
        others=changes.get("others", decision.others),
    )


_UNSAFE_HASH = sha256(b"agentcheck/policy/v1\nUnsafeAllowAll").hexdigest()
_UNSAFE = Decision("allow", "policy", "unsafe-allow-all", "UnsafeAllowAll: no policy is in force", policy=_UNSAFE_HASH)


class UnsafeAllowAll:
    """The bypass: a policy that allows everything and marks the run unsafe. Bounds, levels and breakers still hold."""

    id = "policy"
    name = "UnsafeAllowAll"
    version = ""
    grants = True
    unsafe = True
    rules: tuple[Any, ...] = ()
    messages: Mapping[str, str] = {}
    hash = _UNSAFE_HASH

    def decide(self, action: Action, state: Any, now: int) -> Decision:
        """Allow."""
        return _UNSAFE
