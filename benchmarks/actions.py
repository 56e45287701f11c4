"""Governed actions per second: request and decision durable on disk before each, its result buffered.

    python benchmarks/actions.py                          32 sessions at once, 600 actions each
    python benchmarks/actions.py --sessions 1             what one session alone waits for
    python benchmarks/actions.py --profile 30             where the time goes, by cProfile

One process, one ledger on SQLite as a run has it (WAL, synchronous FULL, redaction on). In force: the envelope
(actions, seconds, spend, tokens, per-tool counts), forbidden actions, the circuit breaker, authorization levels and a
native policy of 20 rules. The tool itself does nothing, so what is measured is the runtime. Each session is a trial of
its own and is opened before the clock starts. For comparison, the same number of rows is first written with the bare
ledger: what the store alone can acknowledge.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import secrets
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentcheck.contracts import World
from agentcheck.governance.build import Runtime, build_controls
from agentcheck.ledger.ledger import Ledger
from agentcheck.ledger.redaction import Redactor
from agentcheck.records import Action, Effect, ToolSpec
from agentcheck.session import Door
from agentcheck.storage.sqlite import SqliteStore

TOOLS = tuple(
    ToolSpec(
        name,
        parameters={
            "type": "object",
            "properties": {"account": {"type": "string"}, "amount": {"type": "number"}, "note": {"type": "string"}},
            "required": ["account", "amount"],
            "additionalProperties": False,
        },
        effect=name.startswith("send"),
    )
    for name in ("get_balance", "list_payments", "send_payment", "schedule_payment", "update_address")
)


def rules() -> list[dict[str, Any]]:
    """Twenty rules: some about the action asked for, some about other tools, amounts, people and earlier events."""
    found: list[dict[str, Any]] = [
        {"id": "reading", "effect": "allow", "when": {"tool": ["get_*", "list_*"]}},
        {"id": "paying", "effect": "allow", "when": {"tool": ["send_payment", "schedule_payment"]}},
        {"id": "large", "effect": "hold", "when": {"tool": "send_*", "args": {"amount": {"gt": 100000}}}},
        {"id": "no-account", "effect": "deny", "when": {"tool": "send_*", "args": {"account": {"equals": ""}}}},
        {"id": "address", "effect": "deny", "when": {"tool": "update_address", "principal": {"role": "guest"}}},
        {"id": "many", "effect": "deny", "when": {"tool": "schedule_*", "count": {"tool": "schedule_*", "gte": 5}}},
    ]
    for number in range(len(found), 20):
        condition: dict[str, Any] = {"tool": f"tool_{number}_*"}
        if number % 2:
            condition = {"tool": "send_*", "args": {"note": {"exists": True, "contains": f"code {number}"}}}
        found.append({"id": f"rule-{number}", "effect": "deny", "when": condition})
    return found


def runtime() -> Runtime:
    """All controls that a suite can switch on, none of which refuses the benchmark's actions."""
    return build_controls(
        {
            "policy": {"policy": {"name": "benchmark", "version": "1", "default": "deny"}, "rule": rules()},
            "forbidden": ["delete_*"],
            "levels": {"update_*": 3, "send_payment": 1},
            "limits": {
                "actions": 10**6,
                "seconds": 3600.0,
                "spend": "1000",
                "tokens": 10**9,
                "per_tool": {"update_address": 3},
            },
            "breaker": {"failures": 5, "cooldown": 30.0},
        },
        tools=TOOLS,
    )


class Still:
    """A world whose tools do nothing."""

    def tools(self) -> Sequence[ToolSpec]:
        """The tools."""
        return TOOLS

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str) -> Any:
        """Nothing happens."""
        return None

    def effects(self) -> Sequence[Effect] | None:
        """No log."""
        return None

    async def close(self) -> None:
        """Nothing is held."""


def microseconds() -> int:
    """The wall clock as ledgers keep it."""
    return time.time_ns() // 1000


def open_ledger(folder: Path, name: str) -> Ledger:
    """A ledger as a run opens it."""
    return Ledger(SqliteStore(folder / name), "main", redact=Redactor(secrets.token_bytes(32)), clock=microseconds)


async def perform(action: Action) -> Any:
    """The tool: nothing happens."""
    return None


async def one_session(door: Door, actions: int, latencies: list[float]) -> None:
    """One agent that asks for one action after the other; a refusal would make the figure worthless."""
    for number in range(actions):
        arguments = {"account": f"NL{number:08d}", "amount": number % 1000, "note": "invoice"}
        started = time.perf_counter()
        result = await door.act("tool_call", "send_payment", arguments, perform=perform)
        latencies.append(time.perf_counter() - started)
        if result.status != "done":
            raise SystemExit(f"refused: {result.error}")


async def governed(folder: Path, sessions: int, actions: int, profile: int) -> tuple[float, list[float]]:
    """All sessions at once; seconds from the first request to the last result on disk, and each action's latency."""
    ledger, controls, world = open_ledger(folder, "governed.db"), runtime(), Still()
    doors = [open_door(f"bench::case-{number}#1", ledger, controls, world) for number in range(sessions)]
    latencies: list[float] = []
    profiler = cProfile.Profile()
    gc.collect()
    if profile:
        profiler.enable()
    started = time.perf_counter()
    await asyncio.gather(*(one_session(door, actions, latencies) for door in doors))
    await ledger.settle()
    took = time.perf_counter() - started
    if profile:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(profile)
    ledger.close()
    return took, latencies


def open_door(session: str, ledger: Ledger, controls: Runtime, world: World) -> Door:
    """A session under the controls."""
    return Door(session, ledger=ledger, runtime=controls, world=world, tools=TOOLS, clock=microseconds)


async def bare(folder: Path, sessions: int, actions: int) -> float:
    """Seconds for the same number of durable appends by the ledger alone: no door, no decision, no result."""
    ledger = open_ledger(folder, "bare.db")

    async def producer() -> None:
        for number in range(actions):
            await ledger.append(
                "approval.resolved", {"approval": "a", "action": str(number), "outcome": "o", "reason": ""}
            )

    started = time.perf_counter()
    await asyncio.gather(*(producer() for _ in range(sessions)))
    took = time.perf_counter() - started
    ledger.close()
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=32)
    parser.add_argument("--actions", type=int, default=600, help="of each session")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--profile", type=int, default=0, metavar="LINES", help="run once under cProfile")
    parser.add_argument("--folder", type=Path, help="where the ledger is written (default: a temporary folder)")
    arguments = parser.parse_args()
    total = arguments.sessions * arguments.actions
    rates, alone = [], []
    latencies: list[float] = []
    for _ in range(1 if arguments.profile else arguments.repeat):
        with tempfile.TemporaryDirectory(prefix="agentcheck-benchmark-", dir=arguments.folder) as name:
            alone.append(total / asyncio.run(bare(Path(name), arguments.sessions, arguments.actions)))
            took, found = asyncio.run(governed(Path(name), arguments.sessions, arguments.actions, arguments.profile))
            rates.append(total / took)
            latencies += found
    cuts = statistics.quantiles(latencies, n=100)
    print(f"{arguments.sessions} sessions, {arguments.actions} actions each, median of {len(rates)}")
    print(f"governed actions: {statistics.median(rates):.0f} a second (best {max(rates):.0f})")
    print(f"latency of one:   p50 {1000 * cuts[49]:.2f} ms, p99 {1000 * cuts[98]:.2f} ms")
    print(f"ledger alone:     {statistics.median(alone):.0f} durable appends a second")


if __name__ == "__main__":
    main()
