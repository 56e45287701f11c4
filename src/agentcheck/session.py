"""The one door: everything an agent does comes through `Door.act`, or not at all.

The steps of one action, numbered as in the code:

1. copy the arguments, so that what is decided is what is done;
2. record ``action.requested`` and ask the controls (`agentcheck.governance.decide`), without any wait in between;
3. record ``action.decided`` and wait until both are on disk;
4. where it is held, ask the approvers and record votes and resolution, durably; a timeout denies;
5. carry it out in the world, at the model, or by the caller's own function;
6. record ``action.finished``; a lost result leaves an orphan intent, which every report lists.

A refusal is a `Result`, so that an agent can correct itself; a broken world, model or store is an exception that ends
the trial as ``error``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agentcheck.approvals.scripted import ScriptedVoters, hash_arguments, needed_votes, tally
from agentcheck.contracts import Model, Perform, World
from agentcheck.errors import (
    ActionDenied,
    ActionHeld,
    AgentcheckError,
    HarnessError,
    Refusal,
    ToolError,
    WorldError,
)
from agentcheck.events import Event
from agentcheck.governance.build import Runtime
from agentcheck.governance.state import SessionState
from agentcheck.ledger.canonical import dump_json, load_json
from agentcheck.ledger.ledger import Ledger
from agentcheck.records import (
    Action,
    ActionKind,
    Decision,
    Effect,
    ModelReply,
    Result,
    ToolSpec,
)

Clock = Callable[[], int]
#: Seconds that actions still under way get to note that they were stopped, when their session ends before them.
GRACE = 5.0


class Door:
    """A session: implements `contracts.Session` for one trial. Made by the engine, and by the fixture ``governed``.

    ``vote_key`` is the run's secret: votes are bound to a hash of the arguments that nobody can guess them from.
    ``events`` holds this session's events as the ledger has them (redacted); `SessionState` sees them before
    redaction, because a decision is about what will really be done.
    """

    def __init__(
        self,
        session: str,
        *,
        ledger: Ledger,
        runtime: Runtime,
        world: World,
        tools: Sequence[ToolSpec],
        model: Model | None = None,
        voters: ScriptedVoters | None = None,
        needed: Mapping[int, int] | None = None,
        principal: Mapping[str, str] | None = None,
        clock: Clock,
        vote_key: bytes = b"",
    ) -> None:
        self.session = session
        self.state = SessionState(session)
        self.events: list[Event] = []
        self.turn = 1
        self._ledger = ledger
        self._runtime = runtime
        self._policy_hash = runtime.policy_hash
        self._world = world
        self._tools = tuple(tools)
        self._model = model
        self._voters = voters or ScriptedVoters()
        self._needed = needed or {}
        self._principal = dict(principal or {})
        self._clock = clock
        self._vote_key = vote_key
        self._asked = 0
        self._closed = False
        self._under_way: list[asyncio.Task[Any] | None] = []

    @property
    def tools(self) -> Sequence[ToolSpec]:
        """The tools of the world."""
        return self._tools

    def note(self, type_: str, body: dict[str, Any]) -> Event:
        """Record an event of this session (not waiting for the disk) and fold it into the state."""
        event = self._ledger.record(type_, body, self.session)
        self.events.append(event)
        self.state.apply(event if event.body is body else event._replace(body=body))
        return event

    def note_effects(self, witness: Sequence[Effect] | None) -> None:
        """Record what the world itself logged, as a fact, so that completeness can be counted again from the ledger.

        Nothing is recorded of a world that keeps no log, or that has no tool with an effect and logged none.
        """
        if witness is None or not (witness or any(tool.effect for tool in self._tools)):
            return
        logged = [{"key": each.key, "name": each.name, "arguments": each.arguments} for each in witness]
        self.note("fact.observed", {"source": "world.effects", "value": dump_json(logged)})

    async def settle(self) -> None:
        """Wait until everything recorded so far is on disk."""
        await self._ledger.settle()

    def close(self) -> None:
        """No action passes after this; a thread or task that an agent left behind cannot act any more."""
        self._closed = True

    async def end(self) -> None:
        """Close, and stop what an agent's tasks still have under way, so that nothing acts after the verdict."""
        self.close()
        left = {task for task in self._under_way if task is not None and task is not asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=GRACE)

    def for_agent(self) -> AgentSession:
        """What an agent is handed of this session."""
        return AgentSession(self)

    async def act(
        self,
        kind: ActionKind,
        name: str,
        arguments: Mapping[str, Any],
        *,
        reasoning: str = "",
        perform: Perform | None = None,
        cause: str = "",
    ) -> Result:
        """Ask for one action; see `contracts.Session.act`."""
        if self._closed:
            raise HarnessError(f"the session {self.session} is over; {kind} {name!r} was not asked")
        if reasoning:
            self.think(reasoning)
        # 1. What is decided is what is done: the agent keeps no reference to these arguments.
        text = dump_json(arguments)
        self._asked += 1
        action = Action(
            id=f"a{self._asked}",
            kind=kind,
            name=name,
            arguments=load_json(text),
            turn=self.turn,
            key=f"{self.session}/a{self._asked}",
            principal=self._principal,
        )
        # 2. and 3.
        decision = self._decide(action, text, cause)
        task = asyncio.current_task()
        self._under_way.append(task)
        try:
            await self._durable(action, allowed=decision.outcome == "allow")
            # 4.
            if decision.outcome == "hold":
                approved = await self._approve(action, decision)
                if not approved:
                    return Result(action.id, "held", error=f"held by {self._runtime.message(decision)}")
            elif decision.outcome == "deny":
                return Result(action.id, "denied", error=f"denied by {self._runtime.message(decision)}")
            # 5. and 6.
            return await self._perform(action, perform or self._performer(kind))
        finally:
            self._under_way.remove(task)

    async def _durable(self, action: Action, *, allowed: bool) -> None:
        """Wait for the disk; an allowed action that is stopped in the meantime is recorded as one that never ran."""
        stopped = "stopped before it ran"
        try:
            await self._ledger.settle()
        except asyncio.CancelledError:
            if allowed:
                self._finish(action, "cancelled", None, stopped, self._clock())
            raise
        if allowed and self._closed:
            self._finish(action, "cancelled", None, stopped, self._clock())
            raise HarnessError(f"the session {self.session} is over; {action.kind} {action.name!r} was not carried out")

    def _decide(self, action: Action, text: str, cause: str) -> Decision:
        requested: dict[str, Any] = {
            "action": action.id,
            "kind": action.kind,
            "name": action.name,
            "arguments": text,
            "turn": action.turn,
            "key": action.key,
        }
        if self._principal:
            requested["principal"] = self._principal
        if cause:
            requested["cause"] = cause
        self.note("action.requested", requested)
        decision = self._runtime.decide(action, self.state, self._clock())
        decided: dict[str, Any] = {
            "action": action.id,
            "outcome": decision.outcome,
            "control": decision.control,
            "rule": decision.rule,
            "reason": decision.reason,
            "level": decision.level,
            "policy": self._policy_hash,
        }
        if decision.others:
            decided["others"] = [
                {"outcome": other.outcome, "control": other.control, "rule": other.rule, "reason": other.reason}
                for other in decision.others
            ]
        self.note("action.decided", decided)
        return decision

    async def _approve(self, action: Action, decision: Decision) -> bool:
        """Ask for votes on one exact action; nobody answering in time denies."""
        arguments_hash = hash_arguments(action, self._vote_key) if self._vote_key else hash_arguments(action)
        approval = f"{action.id}.1"
        needed = needed_votes(decision.level, self._needed)
        self.note(
            "approval.requested",
            {
                "approval": approval,
                "action": action.id,
                "level": decision.level,
                "arguments_hash": arguments_hash,
                "needed": needed,
                "reason": decision.reason,
            },
        )
        votes = self._voters.votes(action, decision.level, arguments_hash)
        for vote in votes:
            self.note(
                "approval.voted",
                {
                    "approval": approval,
                    "voter": vote.voter,
                    "vote": vote.vote,
                    "arguments_hash": vote.arguments_hash,
                    "reason": vote.reason,
                },
            )
        requester = self._principal.get("user", "") or self.session
        resolution = tally(decision.level, needed, votes, requester, arguments_hash)
        self.note(
            "approval.resolved",
            {
                "approval": approval,
                "action": action.id,
                "outcome": "allow" if resolution.approved else "deny",
                "reason": resolution.reason,
            },
        )
        if resolution.approved:
            self.note("action.started", {"action": action.id, "approval": approval})
        await self._durable(action, allowed=resolution.approved)
        return resolution.approved

    def _performer(self, kind: ActionKind) -> Perform:
        if kind == "tool_call":
            return self._call_world
        if kind == "model_call":
            return self._ask_model
        return _deliver

    async def _call_world(self, action: Action) -> Any:
        try:
            return await self._world.call(action.name, action.arguments, key=action.key)
        except AgentcheckError:
            raise
        except (Exception, SystemExit) as error:
            raise WorldError(f"the world broke in {action.name!r}: {type(error).__name__}: {error}") from error

    async def _ask_model(self, action: Action) -> Any:
        if self._model is None:
            raise ToolError("this suite gives the agent no model", advice="add a [model] table to the suite")
        return await self._model.complete(action.arguments)

    async def _perform(self, action: Action, perform: Perform) -> Result:
        started = self._clock()
        output: Any = None
        status, error = "done", ""
        try:
            output = await perform(action)
        except Refusal as refusal:
            status, error = "error", refusal.what
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as broken:
            cancelled = isinstance(broken, asyncio.CancelledError)
            what = "stopped while it ran" if cancelled else f"{type(broken).__name__}: {broken}"
            self._finish(action, "cancelled" if cancelled else "error", None, what, started)
            harness = isinstance(broken, AgentcheckError) or perform in (self._call_world, self._ask_model)
            if cancelled or harness or not isinstance(broken, Exception):
                raise
            # The caller's own function raised: that is an answer of the tool, which the agent may correct itself by.
            return Result(action.id, "error", error=what)
        self._finish(action, status, output, error, started)
        if status == "error":
            return Result(action.id, "error", error=error)
        return Result(action.id, "done", output)

    def _finish(self, action: Action, status: str, output: Any, error: str, started: int) -> None:
        body: dict[str, Any] = {
            "action": action.id,
            "status": status,
            "output": "null" if output is None else dump_json(_plain(output)),
            "duration": max(0, self._clock() - started),
        }
        if error:
            body["error"] = error
        if isinstance(output, ModelReply):
            body["input_tokens"] = output.input_tokens
            body["output_tokens"] = output.output_tokens
            body["cost"] = output.cost
        self.note("action.finished", body)
        for type_, follows in self._runtime.after(action.id, self.state):
            self.note(type_, follows)

    async def call_tool(self, name: str, /, **arguments: Any) -> Any:
        """Call a tool and return its output; see `contracts.Session.call_tool`."""
        return self._output(await self.act("tool_call", name, arguments))

    async def call_model(self, messages: Sequence[Mapping[str, Any]], **parameters: Any) -> ModelReply:
        """Ask the model of the suite; see `contracts.Session.call_model`."""
        name = self._model.name if self._model else "none"
        reply = self._output(await self.act("model_call", name, {"messages": list(messages), **parameters}))
        assert isinstance(reply, ModelReply)
        return reply

    async def say(self, text: str) -> Result:
        """Send a message to the user; see `contracts.Session.say`."""
        return await self.act("message", "say", {"text": text})

    def think(self, text: str) -> None:
        """Record stated reasoning; see `contracts.Session.think`."""
        if self._closed:
            raise HarnessError(f"the session {self.session} is over")
        self.note("agent.reasoning", {"turn": self.turn, "text": str(text)})

    def _output(self, result: Result) -> Any:
        if result.ok:
            return result.output
        if result.status == "error":
            raise ToolError(result.error)
        step = self.state.step(result.action)
        assert step is not None
        decision = Decision("hold" if result.status == "held" else "deny", step.control, step.rule, step.reason)
        raise (ActionHeld if result.status == "held" else ActionDenied)(result.error, decision)


class AgentSession:
    """What an agent is handed: the calls of `contracts.Session`, and nothing that writes the record past the controls.

    It keeps honest code to the door. It is no wall: Python code in the same process can reach everything, so an agent
    that is not trusted runs behind the adapters ``process`` or ``http``.
    """

    __slots__ = ("act", "call_model", "call_tool", "say", "think", "tools")

    def __init__(self, door: Door) -> None:
        self.act: Any = door.act
        self.call_tool: Any = door.call_tool
        self.call_model: Any = door.call_model
        self.say: Any = door.say
        self.think: Any = door.think
        self.tools: Sequence[ToolSpec] = door.tools


async def _deliver(action: Action) -> Any:
    """Messages, memory and delegation have no world of their own yet; the harness takes them as they are."""
    return None


def _plain(output: Any) -> Any:
    if isinstance(output, ModelReply):
        return {"text": output.text, "tool_calls": list(output.tool_calls)}
    return output
