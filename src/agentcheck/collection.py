"""A suite made ready to run: names resolved, cases read, hashes taken. Errors here are the user's (exit code 4)."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentcheck.approvals.scripted import ScriptedVoters
from agentcheck.contracts import Control, Loaded, Metric
from agentcheck.errors import DatasetError, PluginError, PolicyError, SuiteError, UserError
from agentcheck.governance.build import Runtime, build_controls, unmatched_names
from agentcheck.governance.decide import UnsafeAllowAll
from agentcheck.governance.names import Named, unmatched
from agentcheck.governance.policy import Policy, load_policy
from agentcheck.metrics import function
from agentcheck.metrics.expectations import without_expectation
from agentcheck.plugins import Registry
from agentcheck.records import Case, ToolSpec
from agentcheck.retention import STANDARD
from agentcheck.suites import MetricTable, Suite, UseTable, unbounded

#: Formats by suffix; ``.gz`` is looked through.
FORMATS = {".jsonl": "agentcheck", ".csv": "agentcheck"}
#: Cases that one message names; the rest are counted.
LISTED = 10
#: Recorded worlds differ from case to case in their tools; so many sets are kept ready.
RUNTIMES_KEPT = 64


@dataclass(frozen=True)
class Measure:
    """A metric of a suite with its threshold; ``direction`` says which side of it is good."""

    name: str
    metric: Metric
    threshold: float | None
    direction: str


@dataclass(frozen=True)
class Plan:
    """A suite with everything that a trial needs. Factories are called once per trial."""

    suite: Suite
    cases: tuple[Case, ...]
    skipped_records: tuple[str, ...]
    dataset_hash: str
    agent_hash: str
    agent_commit: str
    agent_author: str
    make_agent: Any
    make_world: Any
    make_user: Any
    make_model: Any | None
    measures: tuple[Measure, ...]
    controls: tuple[Control, ...]
    policy: Policy | UnsafeAllowAll
    policy_hash: str
    voters: ScriptedVoters
    needed: Mapping[int, int]
    told: tuple[str, ...] = ()
    _notes: list[list[str]] = field(default_factory=list, compare=False, repr=False)
    _runtimes: dict[str, Runtime] = field(default_factory=dict, compare=False, repr=False)

    def runtime(self, tools: Sequence[ToolSpec], text: str) -> Runtime:
        """The controls for a world with these tools; ``text`` is the tools' JSON, and tells equal sets of tools."""
        found = self._runtimes.get(text)
        if found is None:
            if len(self._runtimes) >= RUNTIMES_KEPT:
                self._runtimes.clear()
            config = self.suite.spec.governance.model_dump(exclude={"policy", "votes", "needed"}, exclude_none=True)
            config["policy"] = self.policy
            found = build_controls(config, tools=tools, extra_controls=self.controls, where=str(self.suite.file))
            self._runtimes[text] = found
            # A rule that names no tool of this world may name one of the next: what holds for all is told.
            if self._notes:
                self._notes[0] = [note for note in self._notes[0] if note in found.notes]
            else:
                self._notes.append(list(found.notes))
        return found

    @property
    def notes(self) -> Sequence[str]:
        """What a reader should know of cases and controls, such as a rule that names no tool of any world so far."""
        return (*self.told, *(self._notes[0] if self._notes else ()))

    @property
    def direction(self) -> Mapping[str, str]:
        """Metric -> direction."""
        return {measure.name: measure.direction for measure in self.measures}


def prepare(
    suite: Suite,
    registry: Registry,
    cases: Sequence[Case] | None = None,
    *,
    has_agent: bool = True,
    retention: Collection[str] = (),
) -> Plan:
    """Resolve a suite's names and read its cases, unless they are given. A Python test is its own agent.

    ``retention`` names the classes that the settings define.

    Raises:
        SuiteError, DatasetError, PolicyError, PluginError: with the place.
    """
    spec, where = suite.spec, str(suite.file)
    mistakes = _Mistakes(suite)
    loaded, dataset_hash = Loaded(cases or (), ()), ""
    if cases is None and not suite.skip_reason:
        with mistakes.at("dataset", "path"):
            loaded, dataset_hash = read_cases(suite, registry)
    agent, make_agent = spec.agent, None
    if has_agent:
        with mistakes.at("agent", key="use"):
            make_agent = _agent_factory(agent, registry, where)
    made: dict[str, Any] = {}
    for table in ("world", "user", "model"):
        chosen: UseTable | None = getattr(spec, table)
        made[table] = None
        if chosen is not None:
            with mistakes.at(table, "use"):
                made[table] = registry.get(f"{table}s", chosen.use, where=where)
    policy: Policy | UnsafeAllowAll = UnsafeAllowAll()
    if not suite.unsafe:
        with mistakes.at("governance", "policy"):
            policy = _policy(suite, where)
    measures, controls = [], []
    for number, metric in enumerate(spec.metrics):
        with mistakes.at("metrics", number, key="use"):
            measures.append(_measure(metric, registry, where))
    for number, control in enumerate(spec.controls):
        with mistakes.at("controls", number, key="use"):
            factory = registry.get("controls", control.use, where=where)
            controls.append(_made(f"control {control.use!r}", factory, control.options(), where))
    with mistakes.at("governance", "votes"):
        tables = (vote.model_dump(exclude_none=True) for vote in spec.governance.votes)
        voters = ScriptedVoters.parse(tables, where=where)
    with mistakes.at("suite", "retention"):
        _refuse_undefined(spec.suite.retention, retention)
    with mistakes.at("world"):
        mistakes.found += _misspelt_tools(suite, policy, made["world"], loaded.cases)
    if len(measures) == len(spec.metrics):
        for name in spec.gate.metrics:
            with mistakes.at("gate", "metrics", name):
                _refuse_unmeasured(name, [measure.name for measure in measures])
    told = _idle_cases(suite, loaded.cases, mistakes)
    mistakes.tell()
    source = _agent_source(agent.use)
    return Plan(
        suite=suite,
        cases=tuple(loaded.cases),
        skipped_records=tuple(loaded.skipped),
        dataset_hash=dataset_hash,
        agent_hash=_agent_hash(agent, source),
        agent_commit=agent.commit or _git(source, "log", "-1", "--format=%H"),
        agent_author=agent.author or _git(source, "log", "-1", "--format=%an"),
        make_agent=make_agent,
        make_world=made["world"],
        make_user=made["user"],
        make_model=made["model"],
        measures=tuple(measures),
        controls=tuple(controls),
        policy=policy,
        policy_hash=policy.hash,
        voters=voters,
        needed={int(level): number for level, number in spec.governance.needed.items()},
        told=told,
    )


class _Mistakes:
    """What is wrong with a suite; all of it is told together, each with the line of the table that is at fault."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self.found: list[UserError] = []

    @contextmanager
    def at(self, *keys: str | int, key: str = "") -> Iterator[None]:
        """Take a mistake that is made inside; ``keys`` lead to the table, ``key`` is at fault where none is named."""
        try:
            yield
        except UserError as error:
            if error.where in ("", str(self._suite.file)):
                at_fault = getattr(error, "key", "") or key
                error.where = self._suite.where(*keys, *([at_fault] if at_fault else []))
            self.found.append(error)

    def tell(self) -> None:
        """Raise what was found: the one mistake, or all of them as one."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise SuiteError("\n".join(map(str, self.found)))


def _refuse_undefined(name: str, defined: Collection[str]) -> None:
    """A class that is misspelt would keep what should go; ``standard`` needs no table."""
    known = sorted({STANDARD, *defined})
    if name not in known:
        near = get_close_matches(name, known, 1)
        raise SuiteError(
            f"no retention class is called {name!r}",
            advice=(f"did you mean {near[0]!r}? " if near else "")
            + f"known: {', '.join(known)}; [tool.agentcheck.retention.{name}] in pyproject.toml defines it",
        )


def _refuse_unmeasured(name: str, measured: Sequence[str]) -> None:
    if name not in measured:
        raise SuiteError(unbounded(name, measured))


def _idle_cases(suite: Suite, cases: Sequence[Case], mistakes: _Mistakes) -> tuple[str, ...]:
    """Cases that say nothing that the suite's judged metrics could hold them to: mistakes of a golden dataset.

    A recording was not written for this suite: there they are only told.
    """
    idle = list(
        without_expectation(cases, [metric.use for metric in suite.spec.metrics if metric.threshold is not None])
    )
    rows = [case for case in idle if case.recording is None]
    if rows:
        shown = "; ".join(f"{case.source or case.id} ({case.id})" for case in rows[:LISTED])
        more = f" and {len(rows) - LISTED} more" if len(rows) > LISTED else ""
        with mistakes.at("dataset", "path"):
            raise DatasetError(
                f"no metric with a threshold is about what these cases expect, so they prove nothing: {shown}{more}",
                advice='say what is expected of them, measure it, or give them skip = "why"',
            )
    recorded = len(idle) - len(rows)
    return (f"recorded cases that no metric with a threshold is about: {recorded}",) if recorded else ()


def _policy(suite: Suite, where: str) -> Policy:
    policy = suite.policy
    if isinstance(policy, dict):
        return load_policy(policy, where=where)
    path = Path(policy)
    if not path.is_file():
        raise PolicyError(
            f"no such policy: {suite.spec.governance.policy}", where=where, advice="it is relative to the suite file"
        )
    return load_policy(path)  # its errors name its own lines


def _misspelt_tools(
    suite: Suite, policy: Policy | UnsafeAllowAll, make_world: Any, cases: Iterable[Case]
) -> list[SuiteError]:
    """Names that no tool of the world answers to, where the world tells its tools before a run."""
    tells = getattr(make_world, "known_tools", None)
    if tells is None:
        return []
    world = suite.spec.world
    offered = {tool.name for tool in _made(f"world {world.use!r}", tells, world.options(), str(suite.file))}
    allowed = suite.spec.governance.unknown_tools == "allow"
    rows = (
        Named(f"the case {case.id!r} forbids", action.name, where=case.source, quiet=True)
        for case in cases
        for action in case.forbidden
        if action.kind == "tool_call" and action.name not in offered
    )
    unmet = unmatched(rows, offered, unknown_allowed=allowed) if offered else ()
    in_rows = [SuiteError(str(each), where=each.named.where) for each in unmet if each.mistake]
    if suite.base:  # what the base branch says cannot be mended here: a note tells it
        return in_rows
    governance = suite.spec.governance.model_dump(exclude={"policy"}, exclude_none=True)
    found = unmatched_names(governance, policy, offered) if offered else ()
    wrong = in_rows + [
        SuiteError(str(each), where=each.named.where or suite.where(*each.named.keys)) for each in found if each.mistake
    ]
    if wrong:
        wrong[-1].advice = f"tools of the world {world.use!r}: {', '.join(sorted(offered))}"
    return wrong


def _made(what: str, factory: Any, options: Mapping[str, Any], where: str) -> Any:
    """What a factory of a metric or a control makes; whatever it raises is told with the place."""
    try:
        return factory(options)
    except UserError:
        raise
    except (TypeError, ValueError, KeyError) as error:
        raise SuiteError(f"{what} does not take these options: {error}", where=where) from error
    except Exception as error:
        raise PluginError(
            f"{what} cannot be made: {type(error).__name__}: {error}",
            where=where,
            advice="its factory takes one argument, the options of its table (docs/plugins.md)",
        ) from error


def _agent_factory(agent: UseTable, registry: Registry, where: str) -> Any:
    """The factory of an agent. One that has a ``check`` is asked once, here, so that mistakes are found early."""
    options = agent.options()
    factory = registry.get("agents", agent.use, where=where) if agent.use in registry.names("agents") else None
    if factory is None and ":" in agent.use:
        # The user's own code goes through the callable adapter.
        factory = registry.get("agents", "callable", where=where)
        options = {"target": agent.use, **options}
    factory = factory or registry.get("agents", agent.use, where=where)
    check = getattr(factory, "check", None)
    if check is not None:
        try:
            check(options)
        except UserError as error:
            error.where = error.where or where
            raise
    return lambda given, case: factory(options, case)


def _measure(table: MetricTable, registry: Registry, where: str) -> Measure:
    factory = registry.get("metrics", table.use, where=where)
    factory = function.factory(factory) or factory
    metric = _made(f"metric {table.use!r}", factory, table.options(), where)
    name = getattr(metric, "name", None)
    if not isinstance(name, str) or not callable(getattr(metric, "score", None)):
        raise PluginError(
            f"metric {table.use!r} is a {type(metric).__name__} without a name or a coroutine 'score'",
            where=where,
            advice="a function of your own takes one argument called transcript; docs/metrics.md has both ways",
        )
    return Measure(name, metric, table.threshold, getattr(metric, "direction", "higher"))


def read_cases(suite: Suite, registry: Registry) -> tuple[Loaded, str]:
    """Read the dataset of a suite: its cases, the records that were skipped, and the content hash (SHA-256, hex)."""
    table = suite.spec.dataset
    paths = [table.path] if isinstance(table.path, str) else list(table.path)
    cases: list[Case] = []
    skipped: list[str] = []
    digest = hashlib.sha256()
    for relative in paths:
        path = suite.path(relative)
        if not path.is_file():
            near = get_close_matches(path.name, [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else [])
            advice = f"did you mean {near[0]!r}?" if near else "the path is relative to the suite file"
            raise DatasetError(f"no such dataset: {relative}", where=str(suite.file), advice=advice)
        suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
        name = table.format or FORMATS.get(suffix)
        if name is None:
            raise SuiteError(
                f"cannot tell the format of {relative}",
                where=str(suite.file),
                advice=f"set dataset.format to one of: {', '.join(registry.names('datasets'))}",
            )
        loaded = registry.get("datasets", name, where=str(suite.file))(path, table.options())
        cases.extend(loaded.cases)
        skipped.extend(loaded.skipped)
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    _refuse_repeated(cases, suite)
    return Loaded(cases, skipped), digest.hexdigest()


def _refuse_repeated(cases: Sequence[Case], suite: Suite) -> None:
    seen: dict[str, str] = {}
    for case in cases:
        if case.id in seen:
            raise DatasetError(
                f"two cases are called {case.id!r}: {seen[case.id]} and {case.source}",
                where=str(suite.file),
                advice="case ids are unique in a suite",
            )
        seen[case.id] = case.source


def case_hash(case: Case, text: str) -> str:
    """Content hash of a case from its recorded texts, for comparing runs."""
    return hashlib.sha256(f"{case.id}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()


def _agent_source(use: str) -> Path | None:
    """The file of the user's own agent; ``None`` for one of ours."""
    if ":" not in use:
        return None
    module = use.partition(":")[0]
    loaded = sys.modules.get(module)
    try:
        found = loaded.__spec__ if loaded is not None else importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(found.origin) if found and found.origin and found.has_location else None


def _agent_hash(agent: UseTable, source: Path | None) -> str:
    digest = hashlib.sha256(json.dumps(agent.model_dump(mode="json"), sort_keys=True).encode())
    if source is not None:
        digest.update(source.read_bytes())
    return digest.hexdigest()


@lru_cache(maxsize=256)
def _git(source: Path | None, *arguments: str) -> str:
    """One fact about a file from git; empty where there is no git, no repository or no history."""
    if source is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            ["git", *arguments, "--", source.name],  # noqa: S607 - the user's own git
            cwd=source.parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
