"""Python callables as agents: every shape passes the kit, and what does not fit is named."""

from __future__ import annotations

import asyncio
import functools
import inspect
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest

from agentcheck.agents.callable import make, shape_of
from agentcheck.agents.sync_session import SessionOver, SyncSession
from agentcheck.agents.tool_functions import session_tools_as_functions
from agentcheck.contracts import Agent
from agentcheck.errors import ActionDenied, AgentError, PluginError, StoreError, SuiteError, ToolError
from agentcheck.records import Case, Decision, Task, ToolSpec
from fakes import FakeSession
from kits.agent import AgentKit, KitModel, KitWorld, refuse

CASE = Case("c", "p")
OBEDIENT = "kits.obedient.callables"


def made(name: str, **options: Any) -> Agent:
    """The agent around an attribute of the module of obedient callables."""
    return make({"target": f"{OBEDIENT}:{name}", **options}, CASE)


class TestSyncFunction(AgentKit):
    """A blocking function in a thread."""

    def make(self) -> Agent:
        return made("sync_agent")


class TestAsyncFunction(AgentKit):
    """A coroutine function on the loop."""

    def make(self) -> Agent:
        return made("async_agent")


class TestLoopOfItsOwn(AgentKit):
    """A blocking function that runs its own loop and threads."""

    def make(self) -> Agent:
        return made("loop_of_its_own")


class TestSyncClass(AgentKit):
    """A class made with the options."""

    def make(self) -> Agent:
        return made("SyncClass", tone="kind")


class TestAsyncClass(AgentKit):
    """A class with a coroutine method and the session by keyword."""

    def make(self) -> Agent:
        return made("AsyncClass")


class TestInstance(AgentKit):
    """An object that serves all trials."""

    def make(self) -> Agent:
        return made("instance")


class TestFactory(AgentKit):
    """A factory with options and case."""

    def make(self) -> Agent:
        return made("factory")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A module of a user, to which tests add attributes; shapes are forgotten afterwards."""
    found = types.ModuleType("users_module")
    monkeypatch.setitem(sys.modules, "users_module", found)
    shape_of.cache_clear()
    yield found
    shape_of.cache_clear()


def answer_of(module: types.ModuleType, target: Any, session: Any = None, **options: Any) -> Any:
    """What the agent around a target answers to the prompt ``hi``."""
    module.target = target  # type: ignore[attr-defined]
    shape_of.cache_clear()

    async def talk() -> Any:
        agent = make({"target": "users_module:target", **options}, CASE)
        try:
            return await agent.respond(Task("hi"), session or FakeSession(KitWorld(), KitModel()))
        finally:
            await agent.close()

    return asyncio.run(talk())


async def _async_prompt(prompt: str) -> str:
    return prompt.upper()


class _Callable:
    async def __call__(self, prompt: str) -> str:
        return prompt.upper()


class _Static:
    @staticmethod
    def respond(prompt: str) -> str:
        return prompt.upper()


SHAPES: dict[str, Any] = {
    "prompt": lambda prompt: prompt.upper(),
    "any name": lambda question: question.upper(),
    "task by name": lambda task: task.prompt.upper(),
    "optional second": lambda prompt, temperature=0.2: prompt.upper(),
    "async": _async_prompt,
    "returns a coroutine": lambda prompt: _async_prompt(prompt),
    "partial": functools.partial(lambda prefix, prompt: prefix + prompt.upper(), ""),
    "instance with async call": _Callable(),
    "class with async call": _Callable,
    "static method": _Static,
    "star arguments after": lambda prompt, *rest, **more: prompt.upper(),
}


@pytest.mark.parametrize("target", SHAPES.values(), ids=SHAPES.keys())
def test_every_shape_is_told_by_its_signature(module: types.ModuleType, target: Any) -> None:
    """Functions, classes and objects with one parameter get the prompt, or the task where they ask for it."""
    assert answer_of(module, target) == "HI"


def test_an_annotation_asks_for_the_task(module: types.ModuleType) -> None:
    """A parameter annotated ``Task`` gets the task, whatever its name."""

    def agent(given: Task) -> str:
        return f"{given.prompt} {given.turn}"

    assert answer_of(module, agent) == "hi 1"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (lambda: "x", "takes ()"),
        (lambda a, b, c: "x", "takes (a, b, c)"),
        (lambda prompt, *, key: "x", "takes (prompt, key)"),
        (lambda *everything: "x", "takes ()"),
        (42, "an int cannot be called"),
        (type("Nothing", (), {}), "none of the methods respond, run, __call__"),
        (type("Greedy", (), {"__init__": lambda self, a, b: None, "run": lambda self, prompt: ""}), "needs (a, b)"),
    ],
    ids=["nothing", "three", "keyword", "star", "int", "no method", "constructor"],
)
def test_what_fits_nothing_is_refused_when_the_suite_is_collected(
    module: types.ModuleType, target: Any, says: str
) -> None:
    """The message shows what was found, and the advice the shapes that fit."""
    module.target = target  # type: ignore[attr-defined]
    with pytest.raises(PluginError) as caught:
        make.check({"target": "users_module:target"})
    assert says.replace("an int", "a int") in str(caught.value)
    assert "f(prompt" in str(caught.value) or "a class takes nothing" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "needs target"),
        ({"target": "no_colon"}, "needs target"),
        ({"target": "no_such_module:x"}, "cannot import 'no_such_module'"),
        ({"target": f"{OBEDIENT}:sync_agnt"}, "did you mean 'sync_agent'?"),
        ({"target": f"{OBEDIENT}:sync_agent", "tone": "kind"}, "gives it tone"),
        ({"target": f"{OBEDIENT}:AsyncClass", "tone": "kind"}, "constructor takes no options"),
    ],
)
def test_a_wrong_target_or_option_is_named(options: dict[str, str], says: str) -> None:
    """A missing target, module or attribute, and options for what takes none, are mistakes of the suite."""
    with pytest.raises((SuiteError, PluginError), match=says.replace("?", r"\?")):
        make.check(options)


def test_a_class_gets_the_options_of_the_suite(module: types.ModuleType) -> None:
    """Whatever the constructor calls its parameter, it gets the further keys of ``[agent]``."""

    class Agent1:
        def __init__(self, settings: dict[str, Any]) -> None:
            self.tone = settings["tone"]

        def run(self, prompt: str) -> str:
            return f"{prompt}, {self.tone}"

    assert answer_of(module, Agent1, tone="kindly") == "hi, kindly"


def test_a_new_instance_serves_each_trial_and_is_closed_once(module: types.ModuleType) -> None:
    """A class is made per trial; its ``close`` is called once, an object's that serves all trials never."""
    closed: list[Any] = []

    class Closing:
        def run(self, prompt: str) -> str:
            return str(id(self))

        def close(self) -> None:
            closed.append(self)

    answer_of(module, Closing)
    answer_of(module, Closing)
    assert len({id(each) for each in closed}) == 2
    shape_of.cache_clear()
    answer_of(module, Closing())
    assert len(closed) == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [({"a": [1, "ü"]}, '{"a": [1, "ü"]}'), ([1, 2], "[1, 2]"), (3, "3"), (True, "true"), (None, None), ("", "")],
)
def test_json_values_become_text(module: types.ModuleType, value: Any, text: str | None) -> None:
    """Structured answers may be returned as they are."""
    assert answer_of(module, lambda prompt: value) == text


@pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}, float("nan"), {"a": object()}])
def test_other_values_are_an_error(module: types.ModuleType, value: Any) -> None:
    """An answer that is neither text nor JSON breaks the contract."""
    with pytest.raises(AgentError, match="answered with"):
        answer_of(module, lambda prompt: value)


def _raises(error: BaseException) -> Any:
    def agent(prompt: str) -> str:
        raise error

    return agent


def _raises_async(error: BaseException) -> Any:
    async def agent(prompt: str) -> str:
        raise error

    return agent


@pytest.mark.parametrize("shape", [_raises, _raises_async], ids=["thread", "loop"])
@pytest.mark.parametrize(
    "error", [ValueError("broken"), StopIteration("broken"), ToolError("broken")], ids=["value", "stop", "tool"]
)
def test_an_exception_of_the_code_names_its_last_line(module: types.ModuleType, shape: Any, error: Exception) -> None:
    """What the user's code raises is an `AgentError` with file, line and function."""
    with pytest.raises(AgentError, match=r"broken|StopIteration") as caught:
        answer_of(module, shape(error))
    assert "test_callable_agent.py:" in caught.value.where
    assert caught.value.where.endswith("in agent")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=["exit", "interrupt"])
def test_a_thread_that_tries_to_end_the_process_ends_only_itself(
    module: types.ModuleType, error: BaseException
) -> None:
    """``exit()`` in an agent is an error of the agent."""
    with pytest.raises(AgentError, match=type(error).__name__):
        answer_of(module, _raises(error))


def test_the_last_line_is_the_users_own(module: types.ModuleType) -> None:
    """Where a library raised, the line of the user's code that called it is named."""

    def agent(prompt: str) -> str:
        import json

        return str(json.loads("{"))

    with pytest.raises(AgentError) as caught:
        answer_of(module, agent)
    assert caught.value.where.endswith("in agent")


DENIED = ActionDenied("denied by policy", Decision("deny", "policy"))


def _wraps() -> Exception:
    error = RuntimeError("the framework wraps it")
    error.__cause__ = DENIED
    return error


@pytest.mark.parametrize("shape", [_raises, _raises_async], ids=["thread", "loop"])
@pytest.mark.parametrize("error", [DENIED, _wraps()], ids=["bare", "wrapped"])
def test_a_refusal_that_escapes_ends_the_turn_without_an_answer(
    module: types.ModuleType, shape: Any, error: Exception
) -> None:
    """An agent that stops at a refusal did not break, also where a framework wrapped the refusal."""
    assert answer_of(module, shape(error)) is None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")
def test_a_group_of_refusals_is_a_refusal(module: types.ModuleType) -> None:
    """A task group that ends because of refusals only stopped; with anything else in it, it broke."""
    group = ExceptionGroup("tasks", [DENIED, DENIED])  # noqa: F821 - Python 3.11
    assert answer_of(module, _raises_async(group)) is None
    mixed = ExceptionGroup("tasks", [DENIED, ValueError("x")])  # noqa: F821 - Python 3.11
    with pytest.raises(AgentError):
        answer_of(module, _raises_async(mixed))


def test_a_broken_harness_is_not_blamed_on_the_agent(module: types.ModuleType) -> None:
    """What the harness itself raised passes through unchanged."""
    with pytest.raises(StoreError):
        answer_of(module, _raises(StoreError("disk full")))


class Left:
    """Threads that the time limit leaves behind: one in the middle of a call, one before it."""

    def __init__(self) -> None:
        self.began, self.go_on, self.gone = threading.Event(), threading.Event(), threading.Event()
        self.ended: list[BaseException] = []

    def stubborn(self, prompt: str, session: SyncSession) -> str:
        """Calls again, whatever is raised."""
        try:
            while True:
                self.began.set()
                try:
                    session.call_tool("wait")
                except Exception as error:
                    self.ended.append(error)
        except BaseException as error:
            self.ended.append(error)
            self.gone.set()
            raise

    def late(self, prompt: str, session: SyncSession) -> str:
        """Calls only once its turn is over."""
        self.began.set()
        self.go_on.wait(30)
        return self.stubborn(prompt, session)


@pytest.mark.parametrize(("code", "asked"), [("stubborn", 1), ("late", 0)])
def test_a_thread_left_behind_ends_at_its_next_call(module: types.ModuleType, code: str, asked: int) -> None:
    """After the time limit a call raises what ``except Exception`` does not catch, and nothing was asked."""
    left = Left()
    module.left = getattr(left, code)  # type: ignore[attr-defined]

    async def talk() -> None:
        world = KitWorld()
        door = FakeSession(world)
        agent = make({"target": "users_module:left"}, CASE)
        turn = asyncio.create_task(agent.respond(Task("p"), door))
        assert await asyncio.to_thread(left.began.wait, 30)
        if asked:
            await world.waiting.wait()
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
        left.go_on.set()
        assert await asyncio.to_thread(left.gone.wait, 30)
        assert len(door.actions) == asked

    asyncio.run(talk())
    assert [type(error) for error in left.ended] == [SessionOver]


def test_a_thread_that_never_ends_does_not_keep_the_process() -> None:
    """The interpreter ends although an agent's thread blocks for ever."""
    program = (
        "import asyncio, sys, threading, types\n"
        "from agentcheck.agents.callable import make\n"
        "from agentcheck.records import Case, Task\n"
        "stuck = types.ModuleType('stuck')\n"
        "stuck.agent = lambda prompt: threading.Event().wait()\n"
        "sys.modules['stuck'] = stuck\n"
        "agent = make({'target': 'stuck:agent'}, Case('c', 'p'))\n"
        "async def talk():\n"
        "    try:\n"
        "        await asyncio.wait_for(agent.respond(Task('p'), None), 0.05)\n"
        "    except asyncio.TimeoutError:\n"
        "        print('stopped')\n"
        "asyncio.run(talk())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "stopped"


def test_a_sync_session_refuses_to_block_the_loop() -> None:
    """Calling it in the thread of the harness would wait for ever; it says so instead."""

    async def talk() -> None:
        session = SyncSession(FakeSession(KitWorld()), asyncio.get_running_loop())
        with pytest.raises(AgentError, match="cannot wait in the thread"):
            session.call_tool("echo", text="x")

    asyncio.run(talk())


def test_a_function_of_the_agent_runs_under_the_session(module: types.ModuleType) -> None:
    """``act(..., perform=f)`` carries a synchronous function out in a thread, only where it is allowed."""
    ran: list[str] = []

    def agent(prompt: str, session: SyncSession) -> str:
        def own(action: Any) -> str:
            ran.append(action.arguments["text"])
            return threading.current_thread().name

        allowed = session.act("tool_call", "own", {"text": "fine"}, perform=own)
        denied = session.act("tool_call", "own", {"text": "denied"}, perform=own)
        return f"{allowed.output} {denied.status}"

    assert answer_of(module, agent, FakeSession(KitWorld(), decide=refuse)) == "perform own denied"
    assert ran == ["fine"]


SCHEMA = {
    "type": "object",
    "properties": {
        "to": {"type": "string", "description": "Who gets it."},
        "amount": {"type": "number"},
        "class": {"type": "string", "enum": ["a", "b"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "when": {"type": ["string", "null"]},
        "free text": {"type": "object"},
    },
    "required": ["to", "amount"],
}


class ToolWorld(KitWorld):
    """A world with one tool whose schema has everything."""

    def tools(self) -> tuple[ToolSpec, ...]:
        """Names that are no identifiers, too."""
        return (ToolSpec("pay-bill", "Pays a bill.", SCHEMA), ToolSpec("fail", "Fails."))


def test_tools_as_functions_are_typed_and_documented() -> None:
    """Frameworks read name, docstring, signature and type hints; required parameters come first."""
    pay, fail = session_tools_as_functions(FakeSession(ToolWorld()))
    assert (pay.__name__, fail.__name__) == ("pay_bill", "fail")
    assert inspect.getdoc(pay) == (
        "Pays a bill.\n\nArgs:\n    to: Who gets it.\n    amount:\n    class_:\n    tags:\n    when:\n    free_text:"
    )
    assert str(inspect.signature(pay)).startswith("(to: str, amount: float, class_: Optional[Literal['a', 'b']] = None")
    hints = get_type_hints(pay)
    assert hints["tags"] == list[str] | None
    assert hints["when"] == str | None
    assert inspect.iscoroutinefunction(pay)
    assert pay.parameters == SCHEMA  # type: ignore[attr-defined]


def test_tools_as_functions_go_through_the_session() -> None:
    """Positional and named arguments reach the tool under its own names; an optional one left out is not sent."""
    door = FakeSession(ToolWorld())
    pay, _ = session_tools_as_functions(door)
    output = asyncio.run(pay("ann", 5.5, class_="a", tags=None, free_text={"x": 1}))
    assert output == {"to": "ann", "amount": 5.5, "class": "a", "free text": {"x": 1}}
    assert [(each.name, dict(each.arguments)) for each in door.actions] == [("pay-bill", output)]
    with pytest.raises(TypeError):
        asyncio.run(pay("ann"))


def test_tools_as_functions_tell_refusals_as_text_or_raise_them() -> None:
    """A model reads a refusal as text; code that wants exceptions gets them."""
    door = FakeSession(ToolWorld(), decide=lambda action: "deny" if action.name == "pay-bill" else "allow")
    pay, fail = session_tools_as_functions(door)
    assert asyncio.run(pay("ann", 1)) == "Not done: deny by the fake"
    assert asyncio.run(fail()) == "Not done: the tool failed"
    pay, fail = session_tools_as_functions(door, refusals="raise")
    with pytest.raises(ActionDenied):
        asyncio.run(pay("ann", 1))
    with pytest.raises(ToolError):
        asyncio.run(fail())


def test_tools_of_a_sync_session_are_plain_functions(module: types.ModuleType) -> None:
    """In a synchronous agent the functions block, and work from threads of the framework."""

    def agent(prompt: str, session: SyncSession) -> str:
        from concurrent.futures import ThreadPoolExecutor

        pay, fail = session_tools_as_functions(session)
        with ThreadPoolExecutor(4) as pool:
            outputs = list(pool.map(lambda index: pay(f"p{index}", index), range(8)))
        return " ".join(output["to"] for output in outputs) + f" / {fail()}"

    assert answer_of(module, agent, FakeSession(ToolWorld())) == "p0 p1 p2 p3 p4 p5 p6 p7 / Not done: the tool failed"
