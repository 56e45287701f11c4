"""The fixtures `governed` and `agentcheck_case`: Python tests under the same runtime and in the same run.

A Python test goes pytest's normal way. What it does through ``governed`` is decided by the controls that its marker
names, recorded in the run's ledger, and counted: the test's outcome is the verdict of a case.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pydantic import ValidationError

from agentcheck.collection import Plan, prepare, read_cases
from agentcheck.contracts import Perform
from agentcheck.engine import Engine, Job, microseconds, open_door, session_id
from agentcheck.errors import ActionDenied, ActionHeld, Refusal, UserError
from agentcheck.pytest_run import SuiteRun
from agentcheck.pytest_suites import of
from agentcheck.records import ActionKind, Case, Decision, ModelReply, Result, ToolSpec, Transcript
from agentcheck.runs import record_suite
from agentcheck.session import Door
from agentcheck.suites import Suite, SuiteFile
from agentcheck.transcript import fold
from agentcheck.worlds.effects import redacting

_T = TypeVar("_T")
_GOVERNANCE = ("policy", "levels", "forbidden", "unknown_tools", "limits", "breaker", "votes", "needed")
_TABLES = ("world", "model")
_OTHERS = ("dataset", "prompt", "principal", "state", "retention")


class Governed:
    """A session for Python tests: `contracts.Session` without ``await``, and what the ledger holds of it."""

    def __init__(self, door: Door, engine: Engine) -> None:
        self._door = door
        self._engine = engine

    def _wait(self, waiting: Awaitable[_T]) -> _T:
        """The result; a refusal is told as the record has it, without the frames that lead to the door."""
        __tracebackhide__ = True
        try:
            return self._engine.loop.run_until_complete(waiting)
        except ActionDenied as refusal:
            decision = refusal.decision
            rule = f", rule {decision.rule}" if decision.rule else ""
            reason = f": {decision.reason}" if decision.reason else ""
            outcome = "held and not approved" if isinstance(refusal, ActionHeld) else "denied"
            told = f"{refusal.what}\n{outcome} by {decision.control}{rule}{reason}"
            raise type(refusal)(told, decision) from None
        except Refusal as refusal:
            raise refusal.with_traceback(None) from None

    @property
    def tools(self) -> Sequence[ToolSpec]:
        """The tools of the world."""
        return self._door.tools

    def act(
        self, kind: ActionKind, name: str, arguments: Mapping[str, Any], *, perform: Perform | None = None
    ) -> Result:
        """Ask for one action; a refusal is a `Result`."""
        __tracebackhide__ = True
        return self._wait(self._door.act(kind, name, arguments, perform=perform))

    def call_tool(self, name: str, /, **arguments: Any) -> Any:
        """Call a tool; raises `ActionDenied`, `ActionHeld` (both with control, rule and reason) or `ToolError`."""
        __tracebackhide__ = True
        return self._wait(self._door.call_tool(name, **arguments))

    def call_model(self, messages: Sequence[Mapping[str, Any]], **parameters: Any) -> ModelReply:
        """Ask the model."""
        __tracebackhide__ = True
        return self._wait(self._door.call_model(messages, **parameters))

    def say(self, text: str) -> Result:
        """Send a message to the user."""
        __tracebackhide__ = True
        return self._wait(self._door.say(text))

    def think(self, text: str) -> None:
        """Record stated reasoning."""
        self._door.think(text)

    @property
    def session(self) -> Door:
        """The session itself, for asynchronous agents."""
        return self._door

    @property
    def transcript(self) -> Transcript:
        """The fold of what was recorded so far."""
        return fold(self._door.events)

    def decision(self, action: str) -> Decision:
        """What was decided on an action, by its id."""
        step = next(step for step in self.transcript.steps if step.id == action)
        assert step.outcome != "withheld"  # a session that is going on has all of its events
        return Decision(step.outcome, step.control, step.rule, step.reason, step.level)


def session(request: pytest.FixtureRequest) -> Iterator[Governed]:
    """The body of the fixture ``governed``."""
    run = of(request.config)
    options = _options(request.node)
    plan = _plan(run, request, options)
    case = _case(request, options)
    job = Job(plan, case, run.attempt(plan.suite.name, case.id))
    scratch = run.folder.scratch / re.sub(r"\W+", "_", session_id(job, 1))
    engine = run.engine
    with redacting(run.redact):
        world = plan.make_world(plan.suite.spec.world.options(), case, scratch)
    table = plan.suite.spec.model
    model = plan.make_model(table.options(), case) if plan.make_model and table else None
    door = open_door(job, 1, run.ledger, world, model, microseconds, vote_key=run.folder.key)
    door.note("case.turn", {"turn": 1, "text": case.prompt})
    started = microseconds()
    try:
        yield Governed(door, engine)
    finally:
        door.note_effects(world.effects())
        status, reasons = run.outcome(request.node)
        door.note(
            "verdict.reached",
            {
                "suite": plan.suite.name,
                "case": case.id,
                "trial": 1,
                "status": status,
                "reasons": reasons,
                "duration": microseconds() - started,
            },
        )
        door.close()
        engine.loop.run_until_complete(world.close())
        engine.loop.run_until_complete(door.settle())


def _options(node: pytest.Item) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for marker in reversed(list(node.iter_markers("agentcheck"))):
        if marker.args:
            raise UserError("the agentcheck marker takes keywords only", where=node.nodeid)
        options.update(marker.kwargs)
    unknown = set(options) - {*_GOVERNANCE, *_TABLES, *_OTHERS}
    if unknown:
        raise UserError(
            f"the agentcheck marker has no {', '.join(sorted(unknown))}",
            where=node.nodeid,
            advice=f"known: {', '.join((*_GOVERNANCE, *_TABLES, *_OTHERS))}",
        )
    return options


def _plan(run: SuiteRun, request: pytest.FixtureRequest, options: Mapping[str, Any]) -> Plan:
    node = request.node
    function = getattr(node, "originalname", None) or node.name
    name = re.sub(r"[^A-Za-z0-9_.-]+", ".", f"{node.nodeid.partition('::')[0].removesuffix('.py')}.{function}")[-80:]
    known = run.plans.get(name.lstrip("."))
    if known is not None:
        return known
    table: dict[str, Any] = {
        "suite": {"name": name.lstrip(".")},
        "dataset": {"path": "-"},
        "agent": {"use": f"{request.module.__name__}:{function}"},
        "governance": {key: options[key] for key in _GOVERNANCE if key in options},
    }
    if "retention" in options:
        table["suite"]["retention"] = options["retention"]
    for key in _TABLES:
        if key in options:
            value = options[key]
            table[key] = value if isinstance(value, Mapping) else {"use": value}
    try:
        spec = SuiteFile.model_validate(table)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise UserError(
            f"the agentcheck marker is not usable: {problems}",
            where=node.nodeid,
            advice="@pytest.mark.agentcheck(policy='policies/x.policy.toml', world='none')",
        ) from None
    suite = Suite(Path(node.path), spec.suite.name or "", "", spec)
    plan = prepare(suite, run.registry, (), has_agent=False, retention=run.settings.retention)
    run.plans[suite.name] = plan
    selected = sum(
        getattr(item, "originalname", None) == function and item.path == node.path for item in request.session.items
    )
    record_suite(run.ledger, plan, selected=selected, deselected=0)
    return plan


def _case(request: pytest.FixtureRequest, options: Mapping[str, Any]) -> Case:
    callspec = getattr(request.node, "callspec", None)
    given = callspec.params.get("agentcheck_case") if callspec else None
    if isinstance(given, Case):
        return given
    return Case(
        id=callspec.id if callspec else "test",
        prompt=str(options.get("prompt", "")),
        principal=dict(options.get("principal", {})),
        state=dict(options.get("state", {})),
        source=request.node.nodeid,
    )


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run a test once per case of the dataset that its marker names."""
    run = of(metafunc.config)
    marker = next(metafunc.definition.iter_markers("agentcheck"), None)
    dataset = marker.kwargs.get("dataset") if marker else None
    where = metafunc.definition.nodeid
    if dataset is None:
        raise UserError(
            "agentcheck_case needs a dataset", where=where, advice="@pytest.mark.agentcheck(dataset='cases.jsonl')"
        )
    table = {"dataset": {"path": str(dataset)}, "agent": {"use": "-"}, "governance": {"policy": "-"}}
    suite = Suite(metafunc.definition.path, "dataset", "", SuiteFile.model_validate(table))
    cases = read_cases(suite, run.registry)[0].cases
    metafunc.parametrize("agentcheck_case", cases, ids=[case.id for case in cases], scope="function", indirect=True)
