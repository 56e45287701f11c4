"""The engine: a selection of cases x trials, from start to verdicts, many at once under a bound.

It runs on one asyncio loop that its caller drives: `wait` runs the loop until one case is decided, and all the others
go on meanwhile. Suite items of pytest are names that wait for their result here. With a bound on failures no new
trial starts once it is reached, and the running ones are recorded as aborted.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import re
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agentcheck.collection import Measure, Plan, case_hash
from agentcheck.contracts import Agent, Model, World
from agentcheck.deadlines import Deadlines
from agentcheck.errors import ActionDenied, AgentcheckError, AgentError, HarnessError, WorldError
from agentcheck.events import Event
from agentcheck.ledger.canonical import dump_json
from agentcheck.ledger.ledger import Ledger
from agentcheck.records import Case, Score, Task, Transcript, Verdict, VerdictStatus
from agentcheck.session import Clock, Door
from agentcheck.transcript import expected, fold, given, score_from, tool_dict, verdict_from
from agentcheck.verdicts import case_status, format_number, judge, trial_verdict
from agentcheck.worlds.effects import redacting

Key = tuple[str, str]
#: JSON text in, the same without secrets out.
Redact = Callable[[str], str]
_UNSAFE_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")
#: Trials in flight at once, where nothing else is said.
CONCURRENCY = 32
#: Seconds that an agent gets to stop after its time limit, and a run to stop its trials, before they are left behind.
GRACE = 5.0
#: Seconds for closing an agent and its world; and the least that the metrics of a trial get.
CLOSING, SCORING = 10.0, 60.0


def microseconds() -> int:
    """The clock of the runtime: microseconds since the Unix epoch."""
    return time.time_ns() // 1000


@dataclass(slots=True)
class CaseResult:
    """A case decided over its trials. ``transcript`` is that of the first trial that did not pass."""

    status: VerdictStatus
    trials: tuple[Verdict, ...]
    duration: float
    transcript: Transcript | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it did not pass, each reason once."""
        return tuple(dict.fromkeys(reason for trial in self.trials for reason in trial.reasons))


@dataclass(frozen=True, slots=True)
class Job:
    """One case of one suite to be run; ``attempt`` counts from 1 and rises with each resume of an unfinished case."""

    plan: Plan
    case: Case
    attempt: int = 1

    @property
    def key(self) -> Key:
        """What names the job: suite and case."""
        return self.plan.suite.name, self.case.id


class Engine:
    """Runs jobs on a loop; one engine per process and run."""

    def __init__(
        self,
        ledger: Ledger,
        scratch: Path,
        *,
        concurrency: int = CONCURRENCY,
        clock: Clock = microseconds,
        max_failures: int = 0,
        vote_key: bytes = b"",
        redact: Redact = str,
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self._deadlines = Deadlines(self.loop)
        self._ledger = ledger
        self._scratch = scratch
        self._clock = clock
        self._concurrency = max(1, concurrency)
        self._max_failures = max_failures
        self._vote_key = vote_key
        self._redact = redact
        self._queue: deque[tuple[Job, int]] = deque()
        self._waiting: dict[Key, asyncio.Future[CaseResult]] = {}
        self._verdicts: dict[Key, list[Verdict]] = {}
        self._transcripts: dict[Key, Transcript] = {}
        self._running: dict[asyncio.Task[None], Trial] = {}
        self._reached: list[tuple[Job, Verdict]] = []  # verdicts that are not known to be on disk
        self._settler: asyncio.Task[None] | None = None
        self._failures = 0
        self._stopped = ""

    def submit(self, jobs: Iterable[Job]) -> None:
        """Take jobs; those already taken are passed over. They start when the loop runs."""
        for job in jobs:
            if job.key not in self._waiting:
                self._waiting[job.key] = self.loop.create_future()
                self._verdicts[job.key] = []
                self._queue.extend((job, trial) for trial in range(1, job.plan.suite.spec.suite.trials + 1))

    def decided(self, key: Key) -> bool:
        """Whether `wait` has its result at hand, so that no code under test runs meanwhile."""
        future = self._waiting[key]
        return future is not _TAKEN and future.done()

    def wait(self, key: Key) -> CaseResult:
        """Run the loop until the case is decided, and give its result once.

        Raises:
            StoreError: the store took no more; nothing later was acknowledged.
        """
        future = self._waiting[key]
        if future is _TAKEN:
            raise HarnessError(f"the case {key[1]!r} of {key[0]} was asked for twice")
        if not future.done():
            self._fill()
            try:
                self.loop.run_until_complete(future)
            except (SystemExit, RuntimeError) as error:
                if future.done():
                    raise
                # What the trials themselves raise is theirs; this came from a task or callback of the user's own.
                raise HarnessError(
                    f"code under test ended the loop: {type(error).__name__}: {error}",
                    advice="an agent or world may not call sys.exit() or loop.stop() in a task of its own",
                ) from error
        self._verdicts.pop(key, None)
        # The future stays as the mark that the key was taken; its result is given away.
        result = future.result()
        self._waiting[key] = _TAKEN
        return result

    def _fill(self) -> None:
        while self._queue and len(self._running) < self._concurrency and not self._stopped:
            job, trial = self._queue.popleft()
            more = self._deadlines, self._vote_key, self._redact
            self._start(Trial(job, trial, self._ledger, self._scratch, self._clock, *more))

    def _start(self, trial: Trial) -> None:
        task = self.loop.create_task(self._run(trial))
        self._running[task] = trial
        task.add_done_callback(self._ended)

        def leave() -> None:
            # The agent did not stop at its time limit: its task is left behind, and the trial is decided without it.
            if self._running.pop(task, None) is not None:
                setattr(task, "_log_destroy_pending", False)  # noqa: B010 - asyncio's own switch; the trial says it
                again = self.loop.create_task(self._run(trial, left=True))
                self._running[again] = trial
                again.add_done_callback(self._ended)

        trial.leave = leave

    def _ended(self, task: asyncio.Task[None]) -> None:
        trial = self._running.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if trial is None:
            return  # left behind
        trial.leave = None  # it holds the task, and the task the trial: only the garbage collector would free them
        if task.cancelled():
            self._decide(trial.job, Verdict("aborted", (self._stopped or "cancelled",), session=trial.session))
        elif error is not None:
            if not isinstance(error, (AgentcheckError, KeyboardInterrupt)):
                broken = HarnessError(f"the trial {trial.session} broke: {type(error).__name__}: {error}")
                broken.__cause__ = error
                error = broken
            self._break(trial.job, error)
        self._fill()

    def _break(self, job: Job, error: BaseException) -> None:
        future = self._waiting[job.key]
        if not future.done():
            future.set_exception(error)
            future.exception()  # whoever waits gets it; nobody need wait

    async def _run(self, trial: Trial, *, left: bool = False) -> None:
        job = trial.job
        verdict, transcript = await trial.run(left=left)
        if verdict.status != "pass" and job.key not in self._transcripts:
            self._transcripts[job.key] = transcript
        self._reached.append((job, verdict))
        if self._settler is None:
            self._settler = self.loop.create_task(self._settle())
        if self._max_failures:  # this verdict may be the one after which nothing begins
            with contextlib.suppress(asyncio.CancelledError):  # it is reached all the same
                await asyncio.wait((self._settler,))

    async def _settle(self) -> None:
        """A verdict counts once it is on disk. The trials that reached one meanwhile share the next wait."""
        try:
            while self._reached:
                reached, self._reached = self._reached, []
                try:
                    await self._ledger.settle()
                except AgentcheckError as error:
                    for job, _ in reached:
                        self._break(job, error)
                else:
                    for job, verdict in reached:
                        self._decide(job, verdict)
        finally:
            self._settler = None

    def _decide(self, job: Job, verdict: Verdict) -> None:
        trials = self._verdicts[job.key]
        trials.append(verdict)
        future = self._waiting[job.key]
        if future.done() or len(trials) < job.plan.suite.spec.suite.trials:
            return
        status = case_status(each.status for each in trials)
        duration = sum(each.duration for each in trials) / 1e6
        future.set_result(CaseResult(status, tuple(trials), duration, self._transcripts.pop(job.key, None)))
        if status in ("fail", "error"):
            self._failures += 1
            if self._max_failures and self._failures >= self._max_failures and not self._stopped:
                self._stop(f"stopped after {self._failures} failures")

    def _stop(self, reason: str) -> None:
        """Start nothing more; cancel what runs; what never started is decided as aborted without an event."""
        self._stopped = reason
        for task, running in list(self._running.items()):
            running.stopping = True
            task.cancel()
        while self._queue:
            job, trial = self._queue.popleft()
            self._decide(job, Verdict("aborted", (reason,), session=session_id(job, trial)))

    def abort(self, reason: str) -> None:
        """Stop everything now and wait until the running trials are recorded as aborted."""
        self._stop(reason)
        if self._running:
            self.loop.run_until_complete(asyncio.wait(list(self._running), timeout=GRACE + CLOSING))
        if self._settler is not None:
            self.loop.run_until_complete(asyncio.wait((self._settler,), timeout=CLOSING))
        # A KeyboardInterrupt may have ended tasks without their callbacks having run yet.
        self.loop.run_until_complete(asyncio.sleep(0))
        for task, trial in list(self._running.items()):
            del self._running[task]
            setattr(task, "_log_destroy_pending", False)  # noqa: B010
            trial.give_up()
            self._decide(trial.job, Verdict("aborted", (reason,), session=trial.session))

    def close(self) -> None:
        """Release the loop and the threads of synchronous agents that have ended."""
        if self._running or self._settler is not None:
            self.abort("the run ended")
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


_TAKEN: Any = None


def session_id(job: Job, trial: int) -> str:
    """``suite::case#trial``, with ``~attempt`` after a resume."""
    suffix = f"~{job.attempt}" if job.attempt > 1 else ""
    return f"{job.plan.suite.name}::{job.case.id}#{trial}{suffix}"


class Trial:
    """One trial of one case: the world, the conversation, the scores, the verdict."""

    def __init__(
        self,
        job: Job,
        trial: int,
        ledger: Ledger,
        scratch: Path,
        clock: Clock,
        deadlines: Deadlines,
        vote_key: bytes = b"",
        redact: Redact = str,
    ) -> None:
        self.plan = job.plan
        # A world may take the case's state for its own: trials do not share it.
        self.case = replace(job.case, state=copy.deepcopy(job.case.state)) if job.case.state else job.case
        self.job = job
        self.trial = trial
        self.session = session_id(job, trial)
        self._ledger = ledger
        self._scratch = scratch
        self._clock = clock
        self._deadlines = deadlines
        self._vote_key = vote_key
        self._redact = redact
        self._door: Door | None = None
        self._agent: Agent | None = None
        self._world: World | None = None
        self._stopped = ""
        self._left = False
        self._decided = False
        #: Set by the engine: a cancellation from now on is the run's, and no doing of the agent.
        self.stopping = False
        #: Set by the engine: leaves the task of this trial behind and runs it again, to its verdict.
        self.leave: Callable[[], None] | None = None

    async def run(self, *, left: bool = False) -> tuple[Verdict, Transcript]:
        """Run to a verdict. A cancellation is recorded as ``case.aborted`` and raised again.

        ``left``: the conversation did not stop at its time limit and is left behind; only the rest is done.
        """
        try:
            broken = await (self._take_down() if left else self._converse())
            return await self._judge(broken)
        except asyncio.CancelledError:
            if left or not self._left:
                self.give_up()
            raise

    def give_up(self) -> None:
        """Record the trial as aborted, unless it is decided; nothing of it acts any more."""
        if self._door is not None:
            self._door.close()
        if not self._decided:
            self._decided = True
            self._record("case.aborted", {"reason": "cancelled"})

    def _record(self, type_: str, body: dict[str, Any]) -> Event:
        """Record an event of the trial, and give it as the ledger has it."""
        if self._door is not None:
            return self._door.note(type_, body)
        return self._ledger.record(type_, body, self.session)

    async def _converse(self) -> str:
        """Set up, talk, and take down; returns why the trial could not be completed, empty where it was."""
        limit = self.plan.suite.spec.suite.time_limit
        task = asyncio.current_task()
        assert task is not None
        self._timer = self._deadlines.after(limit, lambda: self._overrun(task, limit))
        broken = ""
        try:
            self._set_up()
            await self._talk()
        except asyncio.CancelledError:
            if self.stopping and not self._left:
                self._timer.cancel()
                await self._take_down()
            if self.stopping or self._left:
                raise
            if not self._stopped:
                broken = "AgentError: the code under test cancelled the task that it runs in"
        except AgentcheckError as error:
            # What an agent raises when its time is over is its way of stopping.
            if not (self._stopped and isinstance(error, AgentError)):
                broken = f"{type(error).__name__}: {error}"
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            broken = f"HarnessError: the trial broke: {type(error).__name__}: {error}"
        finally:
            self._timer.cancel()
        if self._left:
            raise asyncio.CancelledError
        return await self._take_down() or broken

    def _set_up(self) -> None:
        plan, spec = self.plan, self.plan.suite.spec
        with redacting(self._redact):
            self._world = world = self._make("world", plan.make_world, spec.world.options(), self._folder())
        model = self._make("model", plan.make_model, self._model_options()) if plan.make_model else None
        self._door = open_door(self.job, self.trial, self._ledger, world, model, self._clock, vote_key=self._vote_key)
        self._agent = self._make("agent", plan.make_agent, spec.agent.options())

    def _overrun(self, task: asyncio.Task[Any], limit: float) -> None:
        self._stopped = f"the time limit of {format_number(limit)} s was reached"
        task.cancel()
        self._timer = self._deadlines.after(GRACE, self._overstay)

    def _overstay(self) -> None:
        """The agent, or what it waits for, ignored the cancellation: go on without it."""
        self._stopped += " and the trial did not stop when it was told to"
        self._left = True
        if self.leave is not None:
            self.leave()

    def _folder(self) -> Path:
        """The trial's own folder, made by the world on first use; its name cannot leave the run's folder."""
        safe = _UNSAFE_IN_A_NAME.sub("_", self.session[:80])
        return Path(f"{self._scratch}/{safe}-{zlib.crc32(self.session.encode('utf-8', 'surrogatepass')):08x}")

    def _make(self, what: str, factory: Any, options: Mapping[str, Any], *more: Any) -> Any:
        try:
            return factory(options, self.case, *more)
        except AgentcheckError:
            raise
        except (Exception, SystemExit) as error:
            kind = AgentError if what == "agent" else WorldError if what == "world" else HarnessError
            raise kind(f"the {what} could not be made: {type(error).__name__}: {error}") from error

    def _model_options(self) -> Mapping[str, Any]:
        table = self.plan.suite.spec.model
        return table.options() if table else {}

    async def _talk(self) -> None:
        """The conversation: the case's prompt, then what the user says next, until the user has no more."""
        door, agent = self._door, self._agent
        assert door is not None
        assert agent is not None
        user = self._make("user", self.plan.make_user, self.plan.suite.spec.user.options())
        prompt: str | None = self.case.prompt
        answers: list[str] = []
        messages: list[Mapping[str, str]] = []
        while prompt is not None:
            door.turn = len(answers) + 1
            door.note("case.turn", {"turn": door.turn, "text": prompt})
            messages.append({"role": "user", "content": prompt})
            answer = await self._ask(agent, prompt, messages)
            answers.append(answer)
            messages.append({"role": "assistant", "content": answer})
            prompt = await user.next(answers)

    async def _ask(self, agent: Agent, prompt: str, messages: list[Mapping[str, str]]) -> str:
        """One turn: the agent's answer goes through the door like any other action; a withheld one counts as none."""
        door = self._door
        assert door is not None
        task = Task(
            prompt=prompt,
            turn=door.turn,
            messages=tuple(messages),
            documents=self.case.documents,
            case=self.case.id,
            metadata=self.case.metadata,
        )
        try:
            answer = await agent.respond(task, door.for_agent())
        except ActionDenied:
            return ""  # The agent stopped at a refusal; that is behaviour, and is scored as such.
        except AgentcheckError:
            raise
        except (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            raise AgentError(f"the agent raised {type(error).__name__}: {error}") from error
        if answer is None:
            return ""
        if not isinstance(answer, str):
            raise AgentError(f"the agent answered with {type(answer).__name__}; expected text or None")
        result = await door.act("message", "answer", {"text": answer})
        return answer if result.ok else ""

    async def _take_down(self) -> str:
        """End the session, close agent and world, whatever happened, and read the witness."""
        broken = ""
        door, world = self._door, self._world
        if door is not None:
            await door.end()
        for what, thing in (("agent", self._agent), ("world", world)):
            try:
                if what == "world" and door is not None and world is not None:
                    door.note_effects(world.effects())
                if thing is not None:
                    await self._deadlines.within(CLOSING, thing.close())
            except (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:
                broken = f"the {what} could not be closed: {type(error).__name__}: {error}"
        return broken

    async def _judge(self, broken: str) -> tuple[Verdict, Transcript]:
        """Score what the ledger holds and record the verdict, which counts once it is on disk."""
        door = self._door
        transcript = fold(door.events if door else ())
        scores: list[Score] = []
        status: VerdictStatus
        if broken:
            status, reasons = "error", [broken]
        else:
            shortfalls: list[str] = []
            for measure in self.plan.measures:
                score = await self._score(measure, transcript)
                passed, shortfall = judge(score, measure.threshold, measure.direction)
                judged = _judged(score, measure, passed)
                if shortfall:
                    shortfalls.append(shortfall)
                body = _score_body(judged)
                event = self._record("score.recorded", body)
                # Reports tell what the ledger holds, without the secrets that a metric may have named.
                scores.append(judged if event.body == body else score_from(event))
            status, reasons = trial_verdict(scores, shortfalls, self._stopped)
        self._decided = True
        event = self._record(
            "verdict.reached",
            {
                "suite": self.plan.suite.name,
                "case": self.case.id,
                "trial": self.trial,
                "status": status,
                "reasons": reasons,
                "duration": transcript.duration,
            },
        )
        return verdict_from(event, scores), transcript

    async def _score(self, measure: Measure, transcript: Transcript) -> Score:
        """Score; a metric that raises, or gives NaN, is a broken judge and not a low value."""
        try:
            limit = max(SCORING, self.plan.suite.spec.suite.time_limit)
            score = await self._deadlines.within(limit, measure.metric.score(transcript))
        except HarnessError as error:
            return Score(measure.name, None, error.what, "error")
        except (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            return Score(measure.name, None, f"{type(error).__name__}: {error}", "error")
        if not isinstance(score, Score):
            return Score(measure.name, None, f"the metric gave {type(score).__name__}, not a score", "error")
        if score.value is not None and not -1e12 < score.value < 1e12:
            return Score(measure.name, None, f"the value {score.value} is no finite number", "error")
        if score.status == "ok" and score.value is None:
            return Score(measure.name, None, "the metric gave no value", "error")
        return score


def open_door(
    job: Job, trial: int, ledger: Ledger, world: World, model: Model | None, clock: Clock, *, vote_key: bytes = b""
) -> Door:
    """Open the session of a trial and record ``case.started``."""
    plan, case = job.plan, job.case
    try:
        tools = tuple(world.tools())
    except (Exception, SystemExit) as error:
        raise WorldError(f"the world does not tell its tools: {type(error).__name__}: {error}") from error
    texts = [dump_json(given(case)), dump_json(expected(case)), dump_json([tool_dict(tool) for tool in tools])]
    runtime = plan.runtime(tools, texts[2])
    door = Door(
        session_id(job, trial),
        ledger=ledger,
        runtime=runtime,
        world=world,
        tools=tools,
        model=model,
        voters=plan.voters,
        needed=plan.needed,
        principal=case.principal,
        clock=clock,
        vote_key=vote_key,
    )
    body = {
        "suite": plan.suite.name,
        "case": case.id,
        "trial": trial,
        "attempt": job.attempt,
        "case_hash": case_hash(case, texts[0] + texts[1]),
        "given": texts[0],
        "expected": texts[1],
        "tools": texts[2],
        "source": case.source,
    }
    door.note("case.started", body)
    return door


def _judged(score: Score, measure: Measure, passed: bool | None) -> Score:
    """The score under the metric's name in the suite, with its threshold and what follows from it."""
    return Score(
        measure.name, score.value, score.reason, score.status, measure.threshold, passed, score.events, score.detail
    )


def _score_body(score: Score) -> dict[str, Any]:
    body: dict[str, Any] = {
        "metric": score.metric,
        "status": score.status,
        "reason": score.reason,
        "events": list(score.events),
    }
    if score.value is not None:
        body["value"] = format_number(score.value)
    if score.threshold is not None:
        body["threshold"] = format_number(score.threshold)
    if score.passed is not None:
        body["passed"] = score.passed
    if score.detail:
        body["detail"] = dump_json(score.detail)
    return body
