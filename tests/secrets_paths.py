"""Every path by which text reaches something that is written, as a table: path -> what sends a seed along it.

A path is a row of `ROWS`; a further one is a further row. `agentcheck` runs this module as agent, world, model, user,
metric and control of the project that ``tests/acceptance/test_secrets.py`` writes: each case is called after its row
and the number of its seed, so that no secret has to be handed over in a file.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agentcheck import hookimpl
from agentcheck.agents.user import ScriptedUser
from agentcheck.errors import ActionDenied, ToolError
from agentcheck.records import Action, Case, Decision, Effect, ModelReply, Score, Task, ToolSpec, Transcript
from agentcheck.worlds.effects import EffectLog
from agentcheck.worlds.retrieval import Index
from secrets_seeded import Seed, fits_a_line, seed

Act = Callable[[Any, Seed], Awaitable[Any]]
#: Seeds of a row, where it does not say otherwise.
EACH = 3


class Row(NamedTuple):
    """One path. ``case`` gives further keys of the dataset row, ``act`` is what the agent does in that case.

    A row of a ``suite`` other than ``main`` or without a suite is sent along by `test_secrets` itself.
    """

    act: Act | None = None
    case: Callable[[Seed], Mapping[str, Any]] | None = None
    suite: str = "main"
    fits: Callable[[Seed], bool] = lambda found: True
    each: int = EACH
    #: The marker is told, and the secret beside it is not mentioned at all.
    silent: bool = False
    #: A part of the name of a place where the marker must stand, and a regular expression for what stands before it.
    where: str = ""
    after: str = ""


# What the agent does


async def _nothing(session: Any, found: Seed) -> str:
    return "done"


async def _say_nothing(session: Any, found: Seed) -> str:
    await session.call_tool("give", number=-1)
    return "done"


def _tool(name: str, *, key: str = "text") -> Act:
    """Call a tool with the seed as an argument."""

    async def act(session: Any, found: Seed) -> str:
        await session.call_tool(name, **{key: found.value})
        return "done"

    return act


def _numbered(name: str) -> Act:
    """Call a tool with the number of the seed, which the tool then brings in; what it raises is survived."""

    async def act(session: Any, found: Seed) -> str:
        try:
            await session.call_tool(name, number=found.number)
        except (ToolError, ActionDenied) as error:
            return f"it told me {error}"
        return "done"

    return act


def _kind(kind: str) -> Act:
    async def act(session: Any, found: Seed) -> str:
        await session.act(kind, "somewhere", {"what": found.value, "why": found.text})
        return "done"

    return act


async def _performed(session: Any, found: Seed) -> str:
    async def perform(action: Action) -> Any:
        return found.value

    await session.act("tool_call", "own", {}, perform=perform)
    return "done"


async def _performed_badly(session: Any, found: Seed) -> str:
    async def perform(action: Action) -> Any:
        raise OSError(found.text)

    return (await session.act("tool_call", "own", {}, perform=perform)).error


async def _caused(session: Any, found: Seed) -> str:
    await session.act("tool_call", "give", {"number": -1}, cause=found.text)
    return "done"


async def _named(session: Any, found: Seed) -> str:
    await session.act("tool_call", found.text, {})
    return "done"


async def _asks_model(session: Any, found: Seed) -> str:
    await session.call_model([{"role": "system", "content": found.text}, {"role": "user", "content": "plain"}])
    return "done"


async def _is_told_by_model(session: Any, found: Seed) -> str:
    reply = await session.call_model([{"role": "user", "content": f"number {found.number}."}])
    return f"it said {reply.text}"


def _raises(make: Callable[[Seed], BaseException]) -> Act:
    async def act(session: Any, found: Seed) -> str:
        raise make(found)

    return act


async def _raises_chained(session: Any, found: Seed) -> str:
    try:
        raise ValueError(found.text)
    except ValueError as error:
        raise RuntimeError(f"{found.marker} what was below is chained") from error


async def _raises_noted(session: Any, found: Seed) -> str:
    error = RuntimeError(f"{found.marker} what is noted is beside it")
    error.__notes__ = [found.text]  # type: ignore[attr-defined]  # as add_note does since Python 3.11
    raise error


async def _broken_base(session: Any, found: Seed) -> str:
    raise SystemExit(found.text)


async def _answers(session: Any, found: Seed) -> str:
    return f"the answer is {found.text}"


async def _says(session: Any, found: Seed) -> str:
    await session.say(found.text)
    return "done"


async def _thinks(session: Any, found: Seed) -> str:
    session.think(found.text)
    return "done"


async def _searches(session: Any, found: Seed) -> str:
    await session.call_tool("search", query=f"what about {found.marker}")
    return "done"


async def _prints(session: Any, found: Seed) -> str:
    print(found.text)
    return "done"


async def _prints_an_error(session: Any, found: Seed) -> str:
    print(json.dumps(found.value), file=sys.stderr)
    return "done"


async def _writes(session: Any, found: Seed) -> str:
    os.write(1, f"{found.text}\n".encode())
    return "done"


async def _child_prints(session: Any, found: Seed) -> str:
    subprocess.run([sys.executable, "-c", f"print({found.text!r})"], check=True)  # noqa: ASYNC221 - waits on purpose
    return "done"


async def _logs(session: Any, found: Seed) -> str:
    logging.getLogger("shop").error("an error: %s", found.text)
    return "done"


async def _debugs(session: Any, found: Seed) -> str:
    logging.getLogger("shop").debug("details: %s", found.value)
    return "done"


async def _logs_an_exception(session: Any, found: Seed) -> str:
    try:
        raise LookupError(found.text)
    except LookupError:
        logging.getLogger("shop").exception("it went wrong")
    return "done"


async def _warns(session: Any, found: Seed) -> str:
    warnings.warn(found.text, UserWarning, stacklevel=1)
    return "done"


async def _loses_a_thread(session: Any, found: Seed) -> str:
    def run() -> None:
        raise RuntimeError(found.text)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return "done"


async def _loses_a_task(session: Any, found: Seed) -> str:
    async def run() -> None:
        raise RuntimeError(found.text)

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    return "done"


async def _tells_its_environment(session: Any, found: Seed) -> str:
    # The line says what it is, as `env` prints it.
    return f"{found.marker} {os.environ[variable(found)]}"


def _is_a_key(found: Seed) -> bool:
    return found.kind.startswith("key of")


async def _dies(session: Any, found: Seed) -> str:
    print(found.text, flush=True)
    await session.call_tool("effect", text=found.value)
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def variable(found: Seed) -> str:
    """The environment variable that holds a seed."""
    return f"SHOP_SETTING_{found.number}"


#: Path -> row, in the order in which they are run.
ROWS: Mapping[str, Row] = {
    # What the agent's process shows besides
    "prints": Row(_prints, where="output of the run"),
    "prints-an-error": Row(_prints_an_error, where="output of the run"),
    "writes-to-a-descriptor": Row(_writes, where="output of the run"),
    "child-prints": Row(_child_prints, each=1, where="output of the run"),
    "logs-an-error": Row(_logs, where="out/shop.log"),
    "logs-details": Row(_debugs, where="out/shop.log"),
    "logs-an-exception": Row(_logs_an_exception, where="out/shop.log"),
    "warns": Row(_warns, where="output of the run"),
    "loses-a-thread": Row(_loses_a_thread, each=2, where="output of the run"),
    "loses-a-task": Row(_loses_a_task, each=2, where="out/shop.log"),
    "prints-meanwhile": Row(suite="aside", where="output of the run"),
    # Datasets
    "prompt": Row(_nothing, lambda s: {"prompt": f"please: {s.text}"}),
    "expected-answer": Row(_nothing, lambda s: {"answer": s.text}),
    "structured-answer": Row(_nothing, lambda s: {"answer": {"it": s.value}}),
    "contains": Row(_nothing, lambda s: {"contains": [s.text]}),
    "excludes": Row(_nothing, lambda s: {"excludes": [s.text]}),
    "expected-action": Row(_nothing, lambda s: {"expected": [{"name": "effect", "arguments": {"text": s.value}}]}),
    "forbidden-action": Row(
        _tool("effect"), lambda s: {"forbidden": [{"name": "effect", "arguments": {"text": s.value}}]}
    ),
    "documents": Row(_nothing, lambda s: {"documents": [{"id": "d1", "text": s.text, "title": "a document"}]}),
    "titles": Row(_nothing, lambda s: {"documents": [{"id": "d1", "text": "text", "title": s.text}]}),
    "retrieved": Row(
        _searches,
        lambda s: {"documents": [{"id": "d1", "text": f"what about {s.text}"}]},
        where="events of",
        after=r'"output":"\[\\"what about ',
    ),
    "state": Row(_nothing, lambda s: {"state": {"orders": [s.value]}}),
    "principal": Row(_say_nothing, lambda s: {"principal": {"user": s.text}}),
    "turns": Row(_nothing, lambda s: {"turns": [{"text": s.text, "expect": {"retains": [s.text]}}]}),
    "metadata": Row(_nothing, lambda s: {"metadata": {"origin": s.value}}),
    "tags": Row(_nothing, lambda s: {"tags": [s.text]}),
    "skip-reason": Row(_nothing, lambda s: {"skip": f"not now, {s.text}"}, where="output of the run"),
    # Actions
    "arguments": Row(_tool("give")),
    "effect": Row(_tool("effect"), where="effects.jsonl"),
    "names-of-arguments": Row(lambda session, s: _tool("give", key=s.text)(session, s)),
    "name-of-a-tool": Row(_named),
    "cause": Row(_caused, where="events of", after='"cause":"'),
    "output": Row(_numbered("give")),
    "tool-error": Row(_numbered("refuse")),
    "tool-exception": Row(_numbered("explode")),
    "refused-by-a-control": Row(_numbered("controlled")),
    "broken-control": Row(_numbered("uncontrolled"), silent=True),
    "votes": Row(lambda session, s: _tool(f"held_{s.number}")(session, s), where="events of", after='"reason":"'),
    "own-function": Row(_performed),
    "own-function-raises": Row(_performed_badly),
    "answer": Row(_answers),
    "message": Row(_says),
    "reasoning": Row(_thinks, where="events of", after='"text":"'),
    "memory": Row(_kind("memory")),
    "delegate": Row(_kind("delegate")),
    "environment": Row(_tells_its_environment, fits=fits_a_line),
    # Exceptions
    "agent-raises": Row(_raises(lambda s: RuntimeError(s.text)), where="output of the run"),
    "agent-raises-a-key": Row(_raises(lambda s: KeyError(s.text))),
    "agent-raises-arguments": Row(_raises(lambda s: OSError(5, s.text, s.bare))),
    "agent-raises-a-value": Row(_raises(lambda s: ValueError(s.value))),
    "agent-raises-chained": Row(_raises_chained, silent=True),
    "agent-raises-noted": Row(_raises_noted, silent=True),
    "agent-exits": Row(_broken_base),
    "agent-is-not-made": Row(_nothing),
    "world-is-not-made": Row(_nothing),
    "world-tells-no-tools": Row(_nothing),
    "world-tells-no-effects": Row(_nothing),
    "world-does-not-close": Row(_nothing, where="output of the run"),
    "user-raises": Row(_nothing),
    "metric-raises": Row(_nothing, where="output of the run"),
    "metric-tells-why": Row(_nothing, where="output of the run"),
    "metric-tells-details": Row(_nothing),
    # Models
    "messages": Row(_asks_model, suite="scripted"),
    "reply": Row(_is_told_by_model, suite="scripted"),
    "model-raises": Row(_is_told_by_model, suite="model"),
    "endpoint-reply": Row(_is_told_by_model, suite="endpoint"),
    "endpoint-tool-call": Row(_is_told_by_model, suite="endpoint"),
    "endpoint-error": Row(_is_told_by_model, suite="endpoint", where="output of the run"),
    "endpoint-garbage": Row(_is_told_by_model, suite="endpoint"),
    "endpoint-echoes-key": Row(_is_told_by_model, fits=_is_a_key, suite="keyed", silent=True),  # told as "[key]"
    # Agents behind a wire
    "process-argument": Row(suite="process", where="effects.jsonl"),
    "process-error-output": Row(suite="process", where="output of the run"),
    "process-garbage": Row(suite="process"),
    "http-argument": Row(suite="http", where="effects.jsonl"),
    "http-error": Row(suite="http", where="output of the run"),
    "http-garbage": Row(suite="http"),
    # Recorded runs
    "trace-agentdojo": Row(suite="traces"),
    "trace-taubench": Row(suite="traces"),
    "trace-tau2": Row(suite="traces"),
    "trace-who_and_when": Row(suite="traces"),
    "trace-rjudge": Row(suite="traces"),
    "trace-toolemu": Row(suite="traces"),
    "trace-otel": Row(suite="traces"),
    "trace-swe_agent": Row(suite="traces"),
    # Python tests
    "test-fails": Row(suite="python", where="output of the run"),
    "test-raises": Row(suite="python", where="output of the run"),
    "test-prints": Row(suite="python", where="output of the run"),
    "test-logs": Row(suite="python", where="out/shop.log"),
    "test-calls": Row(suite="python", where="effects.jsonl"),
    "test-skips": Row(suite="python", where="output of the run"),
    "test-shows-locals": Row(suite="python", where="output of the run"),
    "test-warns": Row(suite="python", where="output of the run"),
    # The run as a whole
    "command-line": Row(suite="", fits=fits_a_line, where="events of", after="no:"),
    "suite-names-its-agent": Row(suite="", where="report.json"),
    "reporter-raises": Row(suite="", each=1, where="output of the run"),
    # Runs that do not get far, and commands
    "bad-dataset": Row(suite="", each=1),
    "bad-suite": Row(suite="", each=1),
    "import-raises": Row(suite="", each=1),
    "import-prints": Row(suite="", each=1),
    "collection-warns": Row(suite="", each=1),
    "unknown-case": Row(suite="", each=1, fits=fits_a_line),
    "shows-no-case": Row(suite="", each=1, fits=fits_a_line),
    "run-is-killed": Row(_dies, suite="killed", each=1, where="effects.jsonl"),
}


def _dealt() -> Mapping[str, tuple[Seed, ...]]:
    """Each seed goes along one path only, so a leak names its path."""
    dealt, number, passed_over = {}, 0, []
    for name, row in ROWS.items():
        given: list[Seed] = []
        for index in list(passed_over):
            if len(given) < row.each and row.fits(seed(index)):
                passed_over.remove(index)
                given.append(seed(index))
        while len(given) < row.each:
            found = seed(number)
            if row.fits(found):
                given.append(found)
            else:
                passed_over.append(number)
            number += 1
        dealt[name] = tuple(given)
    return dealt


DEALT = _dealt()


def case_id(name: str, found: Seed) -> str:
    """What the case is called that sends a seed along a path."""
    return f"{name}.{found.number}"


def of_case(name: str) -> tuple[str, Seed]:
    """Path and seed of a case; none for other cases."""
    path, _, number = name.rpartition(".")
    return (path, seed(int(number))) if path in ROWS and number.isdigit() else ("", seed(0))


# What a suite names


class Shop:
    """The agent: does what the row of its case says."""

    def __init__(self, name: str) -> None:
        self.path, self.seed = of_case(name)
        if self.path == "agent-is-not-made":
            raise RuntimeError(self.seed.text)

    async def respond(self, task: Task, session: Any) -> Any:
        """Send the seed along the path."""
        act = ROWS[self.path].act
        assert act is not None
        return await act(session, self.seed)


def make_agent(options: Mapping[str, Any], case: Case) -> Shop:
    """The agent's factory."""
    return Shop(case.id)


def talk(task: Task) -> str:
    """A synchronous agent, which prints while pytest tells of other cases."""
    found = of_case(task.case)[1]
    for _ in range(400):
        print(found.text)  # in one piece: a key to which another thread has glued a letter is not known as one
        hashlib.pbkdf2_hmac("sha256", b"work", b"of milliseconds", 5000)  # beside which other cases are told
    return "done"


class World:
    """Tools that take a seed, that bring one in, and that break; its log is the shipped one."""

    def __init__(self, case: Case, scratch: Path) -> None:
        self.path, self.seed = of_case(case.id)
        if self.path == "world-is-not-made":
            raise RuntimeError(self.seed.text)
        self._log = EffectLog(scratch)
        self._index = Index(case.documents)

    def tools(self) -> Sequence[ToolSpec]:
        """The tools."""
        if self.path == "world-tells-no-tools":
            raise RuntimeError(self.seed.text)
        return (ToolSpec("give"), ToolSpec("effect", effect=True), ToolSpec("search"))

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str) -> Any:
        """Carry out."""
        number = arguments.get("number", -1)
        if name == "effect":
            return self._log.once(key, name, arguments, lambda: "done")
        if name == "search":
            return [document.text for document, _ in self._index.search(arguments["query"])]
        if name == "refuse":
            raise ToolError(seed(number).text)
        if name == "explode":
            raise ValueError(seed(number).text)
        return seed(number).value if number >= 0 else "nothing"

    def effects(self) -> Sequence[Effect]:
        """The log."""
        if self.path == "world-tells-no-effects":
            raise RuntimeError(self.seed.text)
        return self._log.entries()

    async def close(self) -> None:
        """Release nothing."""
        if self.path == "world-does-not-close":
            raise RuntimeError(self.seed.text)


def make_world(options: Mapping[str, Any], case: Case, scratch: Path) -> World:
    """The world's factory."""
    return World(case, scratch)


class Model:
    """Breaks."""

    name = "broken"

    def __init__(self, case: Case) -> None:
        self.seed = of_case(case.id)[1]

    async def complete(self, arguments: Mapping[str, Any]) -> ModelReply:
        """Raise."""
        raise ConnectionError(self.seed.text)


def make_model(options: Mapping[str, Any], case: Case) -> Model:
    """The model's factory."""
    return Model(case)


class User(ScriptedUser):
    """Says the case's turns; breaks where its row says so."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.path, self.seed = of_case(case.id)

    async def next(self, answers: Sequence[str]) -> str | None:
        """The next turn."""
        if self.path == "user-raises":
            raise RuntimeError(self.seed.text)
        return await super().next(answers)


def make_user(options: Mapping[str, Any], case: Case) -> User:
    """The user's factory."""
    return User(case)


class Metric:
    """Fails every case, so that each is told in full."""

    name = "judged"

    async def score(self, transcript: Transcript) -> Score:
        """Score, or break, as the row says."""
        path, found = of_case(transcript.case.id)
        if path == "metric-raises":
            raise RuntimeError(found.text)
        if path == "metric-tells-why":
            return Score(self.name, 0.0, found.text)
        if path == "metric-tells-details":
            return Score(self.name, 0.0, "see the details", detail={"why": found.value, "how": found.text})
        return Score(self.name, 0.0, "every case fails here")


def make_metric(options: Mapping[str, Any]) -> Metric:
    """The metric's factory."""
    return Metric()


class Control:
    """Denies one tool with a reason that holds a seed, and breaks at another."""

    id = "shop.control"

    def decide(self, action: Action, state: Any, now: int) -> Decision | None:
        """Decide."""
        if action.name == "controlled":
            return Decision("deny", self.id, "shop-rule", seed(action.arguments["number"]).text)
        if action.name == "uncontrolled":
            found = seed(action.arguments["number"])
            # The record names the type of what a control raises, and not its text.
            raise type(found.marker, (RuntimeError,), {})(found.text)
        return None


def make_control(options: Mapping[str, Any]) -> Control:
    """The control's factory."""
    return Control()


def report_badly(report: Any, directory: Path) -> Iterable[Path]:
    """A reporter of a plugin that breaks."""
    raise RuntimeError(DEALT["reporter-raises"][0].text)


@hookimpl
def agentcheck_reporters() -> Mapping[str, Any]:
    """The reporter, as a plugin brings it."""
    return {"broken": report_badly}


def process() -> None:
    """An agent behind pipes: what it does follows from the case."""
    for line in sys.stdin:
        path, found = of_case(json.loads(line)["case"])
        if path == "process-argument":
            request = {"type": "tool_call", "id": 1, "name": "effect", "arguments": {"text": found.value}}
            print(json.dumps(request), flush=True)
            sys.stdin.readline()
            print(json.dumps({"type": "answer", "text": found.text}), flush=True)
        elif path == "process-garbage":
            print(found.text, flush=True)
        else:
            sys.stderr.write(f"Traceback\n{found.text}\n{json.dumps(found.value)}\n")
            sys.exit(3)


def answer(path: str, headers: Mapping[str, str], body: Any) -> tuple[int, dict[str, str], bytes]:
    """The server of the tests: an agent behind HTTP, and an OpenAI-compatible endpoint, by the path that is asked."""
    if path.startswith("/agent"):
        return _agent_answer(*of_case(body["case"]), body)
    number = int(re.findall(r"number (\d+)\.", body["messages"][-1]["content"])[0])
    found = seed(number)
    row = next(name for name, given in DEALT.items() if found in given)
    if row == "endpoint-error":
        return 400, {}, json.dumps({"error": {"message": found.text}}).encode()
    if row == "endpoint-garbage":
        return 200, {}, f"no completion: {found.text}".encode()
    if row == "endpoint-echoes-key":
        return 401, {}, f"{found.marker} refused; Authorization was {headers['authorization']}".encode()
    message: dict[str, Any] = {"content": found.text}
    if row == "endpoint-tool-call":
        call = {"name": "effect", "arguments": json.dumps({"text": found.value})}
        message = {"content": None, "tool_calls": [{"id": "c1", "function": call}]}
    return 200, {}, json.dumps({"choices": [{"message": message}]}).encode()


def _agent_answer(path: str, found: Seed, body: Any) -> tuple[int, dict[str, str], bytes]:
    if path == "http-error":
        return 500, {}, f"<html>{found.text}</html>".encode()
    if path == "http-garbage":
        return 200, {}, json.dumps({"state": found.text}).encode()
    if body["results"]:
        return 200, {}, json.dumps({"answer": found.text}).encode()
    wanted = {"type": "tool_call", "name": "effect", "arguments": {"text": found.value}}
    return 200, {}, json.dumps({"actions": [wanted], "state": None}).encode()


def example(format_: str) -> Any:
    """A record of a trace format with the seeds of its row in it."""
    record = importlib.import_module("fakes_traces").example(format_)
    texts = "\n".join(found.text for found in DEALT[f"trace-{format_}"])
    places: Mapping[str, Callable[[Any], tuple[Any, Any]]] = {
        "agentdojo": lambda r: (r["messages"][3], "content"),
        "taubench": lambda r: (r["traj"][3], "content"),
        "tau2": lambda r: (r["simulations"][0]["messages"][3], "content"),
        "who_and_when": lambda r: (r["history"][2], "content"),
        "rjudge": lambda r: (r["contents"][0][2], "content"),
        "toolemu": lambda r: (r["intermediate_steps"][0][1], 0),
        "otel": lambda r: (r["spans"][1]["attributes"], "gen_ai.output"),
        "swe_agent": lambda r: (r["trajectory"][0], "observation"),
    }
    holder, key = places[format_](record)
    holder[key] = f"{holder[key]}\n{texts}"
    return record
