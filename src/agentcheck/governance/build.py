"""From the ``[governance]`` table of a suite to the controls in force.

Order of registration, which breaks ties between equally strict answers: ``tool.unknown``, ``tool.arguments``,
``forbidden.action``, the envelope, ``breaker``, ``authorization.level``, the policy, then controls of plugins.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

from agentcheck.contracts import Control
from agentcheck.errors import PolicyError
from agentcheck.governance import envelope
from agentcheck.governance.authorization import AuthorizationLevel, ForbiddenAction
from agentcheck.governance.breaker import Breaker
from agentcheck.governance.decide import HIGHEST_LEVEL, UnsafeAllowAll, decide
from agentcheck.governance.names import Unmatched, named_in, unmatched
from agentcheck.governance.policy import Policy, load_policy
from agentcheck.governance.state import SessionState
from agentcheck.governance.tools import ToolArguments, UnknownTool
from agentcheck.records import SEVERITY, Action, Decision, ToolSpec

#: Keys of the ``[governance]`` table. ``votes`` is read by `agentcheck.approvals.scripted`.
KEYS = ("policy", "forbidden", "unknown_tools", "levels", "limits", "breaker", "votes", "needed")
LIMITS = ("actions", "requests", "seconds", "spend", "tokens", "per_tool", "reserve")
_MESSAGES = {
    "envelope": "a bound of this session is reached",
    "forbidden.action": "this action is forbidden",
    "authorization.level": "this action needs an approval",
    "breaker": "this tool is stopped for now after failures",
    "policy.missing": "nothing is allowed here",
}


@dataclass(frozen=True)
class Runtime:
    """The controls in force for one suite. Holds no state of a session: one may serve many sessions at a time."""

    controls: tuple[Control, ...]
    policy: Policy | UnsafeAllowAll
    breaker: Breaker | None = None
    configuration_hash: str = ""
    #: What a reader of the run should know: a rule that names no offered tool, and the like.
    notes: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def policy_hash(self) -> str:
        """SHA-256 of the policy's content."""
        return self.policy.hash

    @property
    def unsafe(self) -> bool:
        """True when no policy is in force (`UnsafeAllowAll`); the run is marked."""
        return isinstance(self.policy, UnsafeAllowAll)

    def decide(self, action: Action, state: SessionState, now: int) -> Decision:
        """Ask all controls; see `agentcheck.governance.decide`.

        The caller applies the resulting ``action.decided`` to the state before anything else runs in the session
        (no ``await`` between): that is what keeps concurrent actions within the bounds.
        """
        return decide(action, state, self.controls, now)

    def message(self, decision: Decision) -> str:
        """What the agent is told of a refusal: which control, and what helps it, never the pattern that matched."""
        if decision.control == self.policy.id:
            told = self.policy.messages.get(decision.rule) or "not allowed by the policy"
        elif decision.control in ("tool.arguments", "tool.unknown") and decision.rule != "control-failed":
            told = decision.reason
        else:
            told = _MESSAGES.get(decision.control) or _MESSAGES.get(decision.control.partition(".")[0]) or "refused"
        return f"{decision.control}: {told}"

    def after(self, action: str, state: SessionState) -> list[tuple[str, dict[str, Any]]]:
        """Events (type, body) that follow from a finished action: a breaker that opened or closed."""
        return self.breaker.events(action, state) if self.breaker else []

    def describe(self) -> list[dict[str, str]]:
        """One row for each control (``id``, ``what``, ``settings``), in the order of asking."""
        rows = []
        for control in self.controls:
            what = (type(control).__doc__ or "").strip().partition("\n")[0]
            rows.append({"id": control.id, "what": what, "settings": self.settings.get(control.id, "")})
        return rows


def build_controls(
    config: Mapping[str, Any],
    *,
    tools: Sequence[ToolSpec] = (),
    extra_controls: Iterable[Control] = (),
    base: Path | None = None,
    where: str = "",
) -> Runtime:
    """Build the controls of a suite. ``base`` is the folder that a relative policy path starts from.

    ``tools`` serve where a session's events do not name the offered tools. Nothing is shared between sessions.

    Raises:
        PolicyError: no policy, an unknown key, a value that cannot be used, or a plugin control that would grant.
    """
    config = {key: value for key, value in config.items() if value is not None}
    _known(config, KEYS, "governance", where)
    policy = _policy(config.get("policy"), base, where)
    offered = {tool.name: tool for tool in tools}
    controls: list[Control] = []
    settings: dict[str, str] = {}
    unknown = config.get("unknown_tools", "deny")
    if unknown not in SEVERITY:
        raise PolicyError(f"unknown_tools is {unknown!r}", where=where, advice="one of: deny, hold, allow")
    if unknown != "allow":
        controls.append(UnknownTool(offered, unknown))
    controls.append(ToolArguments(offered))
    forbidden = config.get("forbidden") or ()
    if isinstance(forbidden, str) or not isinstance(forbidden, Sequence):
        raise PolicyError("forbidden must be a list of tool patterns", where=where)
    if forbidden:
        controls.append(ForbiddenAction(forbidden))
        settings[ForbiddenAction.id] = ", ".join(forbidden)
    controls.extend(_envelope(_table(config, "limits", where), settings, where))
    breaker = _breaker(config.get("breaker"), where)
    if breaker:
        controls.append(breaker)
        settings[breaker.id] = f"{breaker.failures} failures, {breaker.cooldown / 1e6:g} s"
    levels = _table(config, "levels", where)
    for pattern, level in levels.items():
        _integer(level, f"levels.{pattern}", where, highest=HIGHEST_LEVEL)
    if levels:
        controls.append(AuthorizationLevel(levels))
        settings[AuthorizationLevel.id] = ", ".join(f"{pattern} = {level}" for pattern, level in levels.items())
    controls.append(policy)
    settings[policy.id] = f"{policy.name} {policy.version} ({len(policy.rules)} rules, {policy.hash[:12]})"
    controls.extend(_extra(extra_controls, {control.id for control in controls}, where))
    notes = tuple(str(each) for each in unmatched_names(config, policy, offered)) if offered else ()
    return Runtime(tuple(controls), policy, breaker, _hash(config, policy.hash), notes, settings)


def unmatched_names(
    config: Mapping[str, Any], policy: Policy | UnsafeAllowAll, offered: Collection[str]
) -> Iterator[Unmatched]:
    """Names in table and policy that none of the offered tools answers to; see `agentcheck.governance.names`."""
    named = [*named_in(config), *(policy.named_tools() if isinstance(policy, Policy) else ())]
    return unmatched(named, offered, unknown_allowed=config.get("unknown_tools", "deny") == "allow")


def _policy(value: Any, base: Path | None, where: str) -> Policy | UnsafeAllowAll:
    if value is None or value == "":
        raise PolicyError(
            "there is no policy",
            where=where,
            advice='name one: policy = "policies/NAME.policy.toml"; to run without one, write "UnsafeAllowAll"',
        )
    if isinstance(value, (Policy, UnsafeAllowAll)):
        return value
    if value == "UnsafeAllowAll":
        return UnsafeAllowAll()
    if isinstance(value, Mapping):
        return load_policy(value, where=where)
    if isinstance(value, (str, Path)):
        return load_policy((base or Path()) / value, where=where)
    raise PolicyError(f"policy must be a path or a table, got {type(value).__name__}", where=where)


def _envelope(limits: Mapping[str, Any], settings: dict[str, str], where: str) -> Iterable[Control]:
    _known(limits, LIMITS, "governance.limits", where)
    reserve = limits.get("reserve") or {}
    if not isinstance(reserve, Mapping):
        raise PolicyError("limits.reserve must be a table", where=where, advice='{ spend = "0.05", tokens = 4000 }')
    _known(reserve, ("spend", "tokens"), "governance.limits.reserve", where)
    controls: list[Control] = []
    if "actions" in limits:
        controls.append(envelope.MaxActions(_integer(limits["actions"], "limits.actions", where)))
    if "requests" in limits:
        controls.append(envelope.MaxRequests(_integer(limits["requests"], "limits.requests", where)))
    if "seconds" in limits:
        controls.append(envelope.MaxSeconds(_microseconds(limits["seconds"], "limits.seconds", where)))
    if "spend" in limits:
        bound = _money(limits["spend"], "limits.spend", where)
        controls.append(envelope.MaxSpend(bound, _money(reserve.get("spend", "0"), "limits.reserve.spend", where)))
    if "tokens" in limits:
        reserved = _integer(reserve.get("tokens", 0), "limits.reserve.tokens", where)
        controls.append(envelope.MaxTokens(_integer(limits["tokens"], "limits.tokens", where), reserved))
    for control in controls:
        settings[control.id] = str(limits[control.id.removeprefix("envelope.max_")])
    per_tool = _table(limits, "per_tool", where)
    if per_tool:
        bounds = {name: _integer(bound, f"limits.per_tool.{name}", where) for name, bound in per_tool.items()}
        controls.append(envelope.PerTool(bounds))
        settings[envelope.PerTool.id] = ", ".join(f"{name} = {bound}" for name, bound in bounds.items())
    return controls


def _breaker(table: Any, where: str) -> Breaker | None:
    if table is None:
        return None
    if not isinstance(table, Mapping):
        raise PolicyError("breaker must be a table", where=where, advice="{ failures = 5, cooldown = 30 }")
    _known(table, ("failures", "cooldown", "session_failures"), "governance.breaker", where)
    failures = _integer(table.get("failures", 5), "breaker.failures", where, lowest=1)
    session = _integer(table.get("session_failures", 0), "breaker.session_failures", where)
    return Breaker(failures, _microseconds(table.get("cooldown", 30), "breaker.cooldown", where), session)


def _extra(controls: Iterable[Control], taken: set[str], where: str) -> Iterable[Control]:
    for control in controls:
        name = getattr(control, "id", None)
        if not isinstance(name, str) or not name or not callable(getattr(control, "decide", None)):
            raise PolicyError(f"{type(control).__name__} is no control: it needs an id and decide()", where=where)
        if name in taken:
            raise PolicyError(f"two controls are called {name!r}", where=where, advice="rename one of them")
        if getattr(control, "grants", False):
            raise PolicyError(f"control {name!r} would grant; a plugin may add a denial, never lift one", where=where)
        taken.add(name)
        yield control


def _known(table: Mapping[str, Any], keys: Sequence[str], name: str, where: str) -> None:
    for key in table:
        if key not in keys:
            near = get_close_matches(str(key), keys, 1)
            advice = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(keys)}"
            raise PolicyError(f"[{name}] has no key {key!r}", where=where, advice=advice)


def _table(table: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = table.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise PolicyError(f"{key} must be a table, got {type(value).__name__}", where=where)
    return {name: each for name, each in value.items() if each is not None}


def _integer(value: Any, name: str, where: str, *, lowest: int = 0, highest: int | None = None) -> int:
    if type(value) is not int or value < lowest or (highest is not None and value > highest):
        wanted = f"a whole number from {lowest}" + (f" to {highest}" if highest is not None else "")
        raise PolicyError(f"{name} must be {wanted}, got {value!r}", where=where)
    return value


def _microseconds(value: Any, name: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise PolicyError(f"{name} must be a number of seconds, got {value!r}", where=where)
    return round(value * 1_000_000)


def _money(value: Any, name: str, where: str) -> Decimal:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    try:
        amount = Decimal(value) if isinstance(value, (str, Decimal)) else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise PolicyError(f"{name} must be an amount in quotes, got {value!r}", where=where, advice='"1.00"')
    return amount


def _hash(config: Mapping[str, Any], policy_hash: str) -> str:
    """SHA-256 of the whole table, with the policy's content in place of its path."""
    content = {**config, "policy": policy_hash}
    return sha256(json.dumps(content, sort_keys=True, default=str, separators=(",", ":")).encode()).hexdigest()
