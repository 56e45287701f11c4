"""Fakes that implement our contracts, for tests that need the other side of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentcheck.contracts import Model, Perform, World
from agentcheck.errors import ActionDenied, ActionHeld, Refusal, ToolError
from agentcheck.records import Action, ActionKind, Decision, ModelReply, Outcome, Result, ToolSpec

Decide = Callable[[Action], Outcome]


@dataclass
class FakeSession:
    """A door without governance and ledger: ``decide`` says what happens, ``actions`` and ``results`` what did.

    Tool calls go to ``world``, model calls to ``model``; a held action is never approved.
    """

    world: World | None = None
    model: Model | None = None
    decide: Decide = lambda action: "allow"
    actions: list[Action] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    turn: int = 1

    @property
    def tools(self) -> Sequence[ToolSpec]:
        """The tools of the world."""
        return self.world.tools() if self.world else ()

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
        """Record the action, decide it, and carry it out where it is allowed."""
        if reasoning:
            self.think(reasoning)
        number = len(self.actions) + 1
        action = Action(f"a{number}", kind, name, dict(arguments), self.turn, f"fake/a{number}")
        self.actions.append(action)
        outcome = self.decide(action)
        if outcome == "allow":
            result = await self._carry_out(action, perform)
        else:
            result = Result(action.id, "denied" if outcome == "deny" else "held", error=f"{outcome} by the fake")
        self.results.append(result)
        return result

    async def _carry_out(self, action: Action, perform: Perform | None) -> Result:
        try:
            if perform is not None:
                output = await perform(action)
            elif action.kind == "tool_call" and self.world is not None:
                output = await self.world.call(action.name, action.arguments, key=action.key)
            elif action.kind == "model_call" and self.model is not None:
                output = await self.model.complete(action.arguments)
            else:
                output = None
        except Refusal as refusal:
            return Result(action.id, "error", error=refusal.what)
        return Result(action.id, "done", output)

    async def call_tool(self, name: str, /, **arguments: Any) -> Any:
        """A tool call whose refusals are exceptions."""
        return self._output(await self.act("tool_call", name, arguments))

    async def call_model(self, messages: Sequence[Mapping[str, Any]], **parameters: Any) -> ModelReply:
        """A model call whose refusals are exceptions."""
        name = self.model.name if self.model else "none"
        reply = self._output(await self.act("model_call", name, {"messages": list(messages), **parameters}))
        assert isinstance(reply, ModelReply)
        return reply

    async def say(self, text: str) -> Result:
        """A message to the user."""
        return await self.act("message", "say", {"text": text})

    def think(self, text: str) -> None:
        """Keep stated reasoning."""
        self.reasoning.append(text)

    def _output(self, result: Result) -> Any:
        if result.status == "done":
            return result.output
        if result.status == "error":
            raise ToolError(result.error)
        held = result.status == "held"
        raise (ActionHeld if held else ActionDenied)(result.error, Decision("hold" if held else "deny", "fake"))
