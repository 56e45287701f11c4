"""Agents as processes: two languages pass the kit, every way to break the protocol is named, nothing is left behind."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from agentcheck.agents.process import ProcessAgent, make
from agentcheck.contracts import Agent
from agentcheck.errors import AgentTransportError, StoreError, SuiteError
from agentcheck.records import Case, Task
from fakes import FakeSession
from kits.agent import AgentKit, KitModel, KitWorld

CASE = Case("c", "p")
PROGRAMS = Path(__file__).parents[2] / "kits" / "obedient"
NODE = shutil.which("node")


class TestPython(AgentKit):
    """An obedient agent in Python."""

    def make(self) -> Agent:
        return make({"command": ["{python}", str(PROGRAMS / "process.py")]}, CASE)


@pytest.mark.skipif(NODE is None, reason="needs node, which is not installed")
class TestNode(AgentKit):
    """An obedient agent in JavaScript."""

    def make(self) -> Agent:
        return make({"command": f"node {PROGRAMS / 'process.js'}"}, CASE)


def talk(code: str, *, session: Any = None, turns: int = 1, **options: Any) -> Any:
    """The last answer of an agent written as lines of Python; ``task`` is read, ``send`` writes."""
    head = (
        "import json, os, sys, time, subprocess\n"
        "def take(): return json.loads(sys.stdin.readline())\n"
        "def send(m): print(m if isinstance(m, str) else json.dumps(m), flush=True)\n"
        "task = take()\n"
    )

    async def run() -> Any:
        agent = make({"command": ["{python}", "-c", head + code], **options}, CASE)
        try:
            answer = None
            for turn in range(1, turns + 1):
                answer = await agent.respond(Task("p", turn), session or FakeSession(KitWorld(), KitModel()))
            return answer
        finally:
            await agent.close()

    return asyncio.run(run())


BROKEN = {
    "no JSON": ("send('hello')", "line 1 of its output: the agent sent no JSON", "standard error"),
    "NaN": ('send(\'{"type": "answer", "text": NaN}\')', "NaN is no JSON value", ""),
    "no UTF-8": ("sys.stdout.buffer.write(b'\\xff\\n'); sys.stdout.flush()", "sent no JSON", ""),
    "no object": ("send('[1]')", "expected an object", ""),
    "unknown type": ("send({'type': 'dance'})", "asked for 'dance'; known: tool_call", ""),
    "no type": ("send({})", "asked for None", ""),
    "no name": ("send({'type': 'tool_call'})", "'name' must be text", ""),
    "arguments no object": (
        "send({'type': 'tool_call', 'name': 'a', 'arguments': 1})",
        "'arguments' must be an obj",
        "",
    ),
    "message without text": ("send({'type': 'message'})", "'text' must be text", ""),
    "messages no list": ("send({'type': 'model_call', 'messages': 'hi'})", "'messages' must be a list", ""),
    "answer without text": ("send({'type': 'answer'})", "the answer has no 'text'", "send null for no answer"),
    "answer no text": ("send({'type': 'answer', 'text': 1})", "'text' must be text or null, not 1", ""),
    "second line": ("send({'type': 'reasoning', 'text': 'a'}); send('x')", "line 2 of its output", ""),
    "early exit": ("print('boom', file=sys.stderr); sys.exit(3)", "ended with exit code 3", "boom"),
    "no answer": ("pass", "output ended before its answer (it ended with exit code 0)", ""),
    "killed": ("os.kill(os.getpid(), 9)", "ended with signal 9", ""),
    "closed output": ("os.close(1); time.sleep(60)", "output ended before its answer", ""),
    "traceback": ("raise ValueError('deep')", "ValueError: deep", ""),
}


@pytest.mark.parametrize(("code", "says", "also"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_protocol_is_named_with_its_place(code: str, says: str, also: str) -> None:
    """Whatever the agent sends wrong, the error says what, in which line, and shows its standard error."""
    with pytest.raises(AgentTransportError) as caught:
        talk(code)
    assert says in str(caught.value)
    assert also in str(caught.value)


def test_a_line_that_is_too_long_is_refused() -> None:
    """A line beyond the bound ends the turn instead of filling the memory; the bound is an option."""
    code = "send({'type': 'answer', 'text': 'x' * 5000})"
    assert len(talk(code)) == 5000
    with pytest.raises(AgentTransportError, match="line 1 of its output: the line is longer than 2000 bytes"):
        talk(code, max_line=2000)


def test_an_agent_that_does_not_read_is_noticed() -> None:
    """Closing its input before the task or a result came is an error and no hang."""
    with pytest.raises(AgentTransportError):
        talk("os.close(0); send({'type': 'tool_call', 'name': 'echo', 'id': 1, 'arguments': {}}); sys.exit(1)")


def test_only_the_end_of_standard_error_is_kept() -> None:
    """A flood on standard error blocks nobody, and the error shows its end."""
    with pytest.raises(AgentTransportError) as caught:
        talk("sys.stderr.write('x' * 3_000_000 + 'the end'); sys.stderr.flush(); sys.exit(1)")
    assert "the end" in str(caught.value)
    assert len(str(caught.value)) < 3000


def test_several_requests_may_be_open_at_once() -> None:
    """An agent that asks without waiting gets each result with the id that it gave, whatever the order."""
    code = (
        "for i in range(200): send({'type': 'tool_call', 'id': [i], 'name': 'echo', 'arguments': {'text': str(i)}})\n"
        "results = [take() for i in range(200)]\n"
        "assert all(r['output']['text'] == str(r['id'][0]) for r in results)\n"
        "send({'type': 'answer', 'text': str(len({r['id'][0] for r in results}))})"
    )
    door = FakeSession(KitWorld())
    assert talk(code, session=door) == "200"
    assert [each.arguments["text"] for each in door.actions] == [str(number) for number in range(200)]


def test_what_was_asked_before_the_answer_is_carried_out() -> None:
    """An agent that answers without waiting for its last results does not lose the actions."""
    door = FakeSession(KitWorld())
    code = (
        "send({'type': 'tool_call', 'name': 'echo', 'arguments': {'text': 'a'}}); send({'type': 'answer', 'text': 'b'})"
    )
    assert talk(code, session=door) == "b"
    assert [result.status for result in door.results] == ["done"]


def test_a_result_that_nobody_reads_any_more_takes_no_answer_back() -> None:
    """An agent that closed its input before its last action has still said what it said."""
    door = FakeSession(KitWorld())
    code = (
        "os.close(0); send({'type': 'tool_call', 'name': 'echo', 'arguments': {'text': 'a'}}); "
        "send({'type': 'answer', 'text': 'b'})"
    )
    assert talk(code, session=door) == "b"
    assert [result.status for result in door.results] == ["done"]


def test_a_broken_harness_is_not_blamed_on_the_wire() -> None:
    """What the session itself raises passes through unchanged."""

    class Broken(FakeSession):
        async def act(self, *arguments: Any, **more: Any) -> Any:
            raise StoreError("disk full")

    with pytest.raises(StoreError):
        talk("send({'type': 'tool_call', 'name': 'echo', 'arguments': {}}); take()", session=Broken(KitWorld()))


def test_the_environment_and_the_folder_are_options(tmp_path: Path) -> None:
    """``env`` adds variables, ``cwd`` says where it starts."""
    code = "send({'type': 'answer', 'text': os.environ['TONE'] + os.getcwd()})"
    assert talk(code, env={"TONE": "kind "}, cwd=str(tmp_path)) == f"kind {tmp_path.resolve()}"


def test_an_agent_is_not_given_what_opens_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address of the store, which may hold a password, and the signing key stay with the harness."""
    monkeypatch.setenv("AGENTCHECK_STORE", "postgresql://somebody:secret@127.0.0.1/ledger")
    monkeypatch.setenv("AGENTCHECK_SIGNING_KEY", "a.key")
    code = "send({'type': 'answer', 'text': ' '.join(sorted(n for n in os.environ if n.startswith('AGENTCHECK_S')))})"
    assert talk(code) == ""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "needs the option 'command'"),
        ({"command": ""}, "needs a command"),
        ({"command": []}, "needs a command"),
        ({"command": "a 'b"}, "No closing quotation"),
        ({"command": "a", "comand": "b"}, "did you mean 'command'"),
        ({"command": "a", "cwd": "no/such/folder"}, "there is no folder 'no/such/folder'"),
        ({"command": "a", "max_line": 3}, "'max_line'"),
    ],
)
def test_wrong_options_are_refused_when_the_suite_is_collected(options: dict[str, Any], says: str) -> None:
    """A missing command, a folder that is not there and a misspelt key are mistakes of the suite."""
    with pytest.raises(SuiteError, match=says):
        make.check(options)


def test_a_command_that_does_not_start_is_named() -> None:
    """A program that is not installed is an error with its name."""

    async def run() -> None:
        agent = make({"command": "no-such-program-anywhere --flag"}, CASE)
        with pytest.raises(AgentTransportError, match="'no-such-program-anywhere' does not start"):
            await agent.respond(Task("p"), FakeSession())
        await agent.close()

    asyncio.run(run())


def _alive(pid: int) -> bool:
    """True while a process runs; one that ended and waits to be collected is gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


async def _gone(pids: list[int]) -> None:
    """Wait until the processes are gone; the kernel takes a moment to end what was killed."""

    async def look() -> None:
        while any(_alive(pid) for pid in pids):  # noqa: ASYNC110 - /proc has no event for it
            await asyncio.sleep(0.01)

    await asyncio.wait_for(look(), 20)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("how", ["answered", "stopped", "stubborn", "orphaned", "ended first"])
def test_the_process_and_its_children_are_gone_when_the_trial_ends(how: str) -> None:
    """After an answer, a time limit or an early end, neither the agent nor a child that it left behind runs on."""
    child = "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    say = "send({'type': 'message', 'text': f'{os.getpid()} {child.pid}'}); take()\n"
    code = child + say
    if how == "stubborn":
        code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + code
    if how == "ended first":
        code += "sys.exit(0)"
    elif how == "orphaned":
        code += "os._exit(0)"
    elif how == "answered":
        code += "send({'type': 'answer', 'text': 'x'})\nwhile True: time.sleep(1)"
    else:
        code += "send({'type': 'tool_call', 'name': 'wait', 'arguments': {}})\nwhile True: time.sleep(1)"
    world = KitWorld()
    door = FakeSession(world)

    async def run() -> None:
        head = "import json, os, sys, time, subprocess\ntake = lambda: json.loads(sys.stdin.readline())\n"
        head += "send = lambda m: print(json.dumps(m), flush=True)\ntask = take()\n"
        agent = make({"command": [sys.executable, "-c", head + code]}, CASE)
        turn = asyncio.create_task(agent.respond(Task("p"), door))
        if how in ("stopped", "stubborn"):
            await asyncio.wait_for(world.waiting.wait(), 30)
            turn.cancel()
        await asyncio.wait({turn})
        if how in ("orphaned", "ended first"):
            assert isinstance(turn.exception(), AgentTransportError)
        await agent.close()

    asyncio.run(run())
    pids = [int(pid) for pid in door.actions[0].arguments["text"].split()]
    assert len(pids) == 2
    asyncio.run(_gone(pids))


def test_no_process_starts_before_the_first_turn_and_none_after_the_end() -> None:
    """Making an agent starts nothing, and a closed one cannot be asked again."""

    async def run() -> None:
        agent = make({"command": [sys.executable, "-c", "pass"]}, CASE)
        assert isinstance(agent, ProcessAgent)
        await agent.close()
        with pytest.raises(AgentTransportError, match="closed"):
            await agent.respond(Task("p"), FakeSession())

    asyncio.run(run())
