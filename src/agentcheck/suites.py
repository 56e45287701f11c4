"""Suite files: TOML (YAML accepted) -> `Suite`, strictly; an error names file:line and the nearest known key.

This is a border: pydantic validates here and is the source of the JSON Schema for editors (`json_schema`).
Names of agents, worlds and metrics are not resolved here; the registry does that (`agentcheck.plugins`).
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from agentcheck.errors import SuiteError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUFFIXES = (".toml", ".yaml", ".yml")
UNSAFE = "UnsafeAllowAll"
#: Suite names appear in node ids, file names and URLs.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
Decimal = Annotated[str, StringConstraints(pattern=r"^\d{1,12}(\.\d{1,6})?$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Open(BaseModel):
    """A table whose further keys are options of what it names."""

    model_config = ConfigDict(extra="allow", frozen=True)

    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class SuiteTable(_Table):
    """``[suite]``"""

    name: Name | None = Field(None, description="Default: the file's name without suffix.")
    description: str = ""
    domain: Literal["healthcare", "finance", "aviation", "general"] = "general"
    trials: int = Field(1, ge=1, le=1000, description="Repeated runs of each case; all must pass.")
    time_limit: float = Field(30.0, gt=0, le=86400, description="Seconds for one trial.")
    tags: tuple[Name, ...] = ()
    retention: Name = Field("standard", description="A class of [tool.agentcheck.retention] in pyproject.toml.")
    skip_unless: str | None = Field(None, description="A path; where it is absent every case is skipped, and says so.")


class DatasetTable(_Open):
    """``[dataset]``"""

    path: str | tuple[str, ...]
    format: str | None = Field(None, description="Default by suffix: .jsonl and .csv are agentcheck's own format.")


class UseTable(_Open):
    """``[agent]``, ``[world]``, ``[model]``, ``[user]``, ``[[controls]]``, ``[[faults]]``"""

    use: str = Field(min_length=1, description="A registered name, or 'package.module:attribute'.")


class AgentTable(UseTable):
    """``[agent]``"""

    author: str | None = Field(None, description="Who answers for the agent under test; recorded in the run.")
    commit: str | None = Field(None, description="Commit of the agent under test, where it lives elsewhere.")
    model: str | None = Field(None, description="The model the agent says it uses; recorded in the run.")


class MetricTable(UseTable):
    """``[[metrics]]``"""

    threshold: float | None = Field(None, description="Omitted: recorded, not judged.")


class ReserveTable(_Table):
    """``[governance.limits.reserve]``: what a model call is counted at while its cost is not known."""

    spend: Decimal | None = None
    tokens: int | None = Field(None, ge=1)


class LimitsTable(_Table):
    """``[governance.limits]``"""

    actions: int | None = Field(None, ge=1)
    seconds: float | None = Field(None, gt=0)
    spend: Decimal | None = Field(None, description="US dollars as a decimal string.")
    tokens: int | None = Field(None, ge=1)
    requests: int | None = Field(None, ge=1, description="Actions asked for, refused ones included.")
    per_tool: dict[str, int] = Field(default_factory=dict)
    reserve: ReserveTable | None = None


class BreakerTable(_Table):
    """``[governance.breaker]``"""

    failures: int = Field(5, ge=1)
    cooldown: float = Field(30.0, gt=0, description="Seconds.")
    session_failures: int | None = Field(None, ge=1, description="Failures of all tools in a row.")


class VoteTable(_Table):
    """``[[governance.votes]]``: a scripted approver; the rules that match a held action vote."""

    tool: str = "*"
    voter: str = "approver"
    vote: Literal["approve", "deny", "none"]
    arguments: dict[str, Any] = Field(default_factory=dict)
    level: Annotated[int, Field(ge=2, le=4)] | None = None
    reason: str = ""


class GovernanceTable(_Table):
    """``[governance]``"""

    policy: str | dict[str, Any] = Field(description=f"A policy file, an inline policy, or {UNSAFE!r}.")
    levels: dict[str, Annotated[int, Field(ge=0, le=4)]] = Field(default_factory=dict)
    forbidden: tuple[str, ...] = ()
    unknown_tools: Literal["allow", "deny"] = "deny"
    limits: LimitsTable = Field(default_factory=LimitsTable)
    breaker: BreakerTable | None = None
    votes: tuple[VoteTable, ...] = ()
    needed: dict[Annotated[str, StringConstraints(pattern="^[2-4]$")], Annotated[int, Field(ge=1, le=20)]] = Field(
        default_factory=dict, description="Votes needed by level; default 1 at levels 2 and 3, 2 at level 4."
    )


class GateTable(_Table):
    """``[gate]``: what blocks the merge."""

    pass_rate: float = Field(1.0, ge=0, le=1, description="Passed cases over all that ran without an error.")
    max_errors: int = Field(0, ge=0)
    metrics: dict[str, float] = Field(default_factory=dict, description="Metric -> bound on its mean over the suite.")


class SuiteFile(_Table):
    """A suite file."""

    suite: SuiteTable = Field(default_factory=SuiteTable)
    dataset: DatasetTable
    agent: AgentTable
    world: UseTable = Field(default_factory=lambda: UseTable(use="none"))
    model: UseTable | None = None
    user: UseTable = Field(default_factory=lambda: UseTable(use="scripted"))
    governance: GovernanceTable
    controls: tuple[UseTable, ...] = ()
    metrics: tuple[MetricTable, ...] = ()
    gate: GateTable = Field(default_factory=GateTable)
    faults: tuple[UseTable, ...] = ()


@dataclass(frozen=True)
class Suite:
    """A validated suite. ``file`` is as the user named it; ``hash`` is over the file's bytes (SHA-256, hex).

    ``changed`` lists how the bar differs from the base branch, and ``base`` names it (see `agentcheck.base`).
    """

    file: Path
    name: str
    hash: str
    spec: SuiteFile
    changed: tuple[str, ...] = ()
    base: str = ""
    policy_directory: Path | None = None
    lines: Lines | None = field(default=None, compare=False, repr=False)

    def where(self, *keys: str | int) -> str:
        """``file:line`` of a key of the suite file; of a suite that no file holds, what it has for one."""
        return f"{self.file}:{self.lines.find(keys)}" if self.lines else str(self.file)

    def path(self, relative: str) -> Path:
        """A path as written in the file, relative to it."""
        return _plain(self.file.parent / relative)

    @property
    def policy(self) -> str | Path | dict[str, Any]:
        """The policy: a path, an inline table, or the name of the bypass."""
        policy = self.spec.governance.policy
        if isinstance(policy, dict):
            # In place, the head of a policy file is the table itself: [governance.policy] name = ..., default = ...
            body: dict[str, Any] = {key: policy[key] for key in ("rule", "trust") if key in policy}
            head = {key: value for key, value in policy.items() if key not in body}
            return policy if "policy" in policy else {"policy": head, **body}
        if policy == UNSAFE:
            return policy
        return _plain((self.policy_directory or self.file.parent) / policy)

    @property
    def unsafe(self) -> bool:
        """True where the policy is the bypass."""
        return self.spec.governance.policy == UNSAFE

    @property
    def skip_reason(self) -> str:
        """Why every case is skipped; empty where they run."""
        needed = self.spec.suite.skip_unless
        if needed and not self.path(needed).exists():
            return f"needs {needed}, which is absent"
        return ""

    def bar_from(self, base: Suite, ref: str) -> Suite:
        """This suite, held to the bar of ``base``: its governance, gate, metrics and thresholds.

        Metrics that only this version has are added; nothing of the base can be dropped or loosened. Trials may only
        rise, the time limit only fall.
        """
        ours, theirs = self.spec.suite, base.spec.suite
        held = {
            "skip_unless": theirs.skip_unless,
            "trials": max(ours.trials, theirs.trials),
            "time_limit": min(ours.time_limit, theirs.time_limit),
        }
        known = {_metric_key(metric) for metric in base.spec.metrics}
        added = [metric for metric in self.spec.metrics if _metric_key(metric) not in known]
        spec = self.spec.model_copy(
            update={
                "governance": base.spec.governance,
                "gate": base.spec.gate,
                "metrics": (*base.spec.metrics, *added),
                "controls": (*base.spec.controls, *(c for c in self.spec.controls if c not in base.spec.controls)),
                "suite": ours.model_copy(update=held),
            }
        )
        changed = tuple(differences(base.spec, self.spec))
        return replace(self, spec=spec, base=ref, changed=changed, policy_directory=base.file.parent)


def _plain(path: Path) -> Path:
    """The path without ``..``, as a reader expects it, where that leads to the same place (links may not)."""
    plain = Path(os.path.normpath(path))
    return plain if os.path.realpath(plain) == os.path.realpath(path) else path


def _metric_key(metric: MetricTable) -> tuple[str, str]:
    return metric.use, repr(sorted(metric.options().items()))


def differences(base: SuiteFile, head: SuiteFile) -> Iterator[str]:
    """What of the bar differs, in words: ``gate.pass_rate: 0.95 -> 0.5``."""
    for section in ("governance", "gate", "metrics", "controls"):
        before = base.model_dump(mode="json", include={section})
        after = head.model_dump(mode="json", include={section})
        yield from _compare(before, after, "")
    for key in ("skip_unless", "trials", "time_limit"):
        if getattr(base.suite, key) != getattr(head.suite, key):
            yield f"suite.{key}: {getattr(base.suite, key)} -> {getattr(head.suite, key)}"
    # Cases are the working tree's own, and so are the world and the user; a reader should know that they differ.
    for section in ("dataset", "world", "user", "model"):
        before = base.model_dump(mode="json", include={section})
        after = head.model_dump(mode="json", include={section})
        yield from _compare(before, after, "")


def _compare(before: Any, after: Any, path: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _compare(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif isinstance(before, list) and isinstance(after, list) and path == "metrics":
        yield from _compare(_by_name(before), _by_name(after), path)
    elif isinstance(before, list) and isinstance(after, list):
        yield from (f"{path}: {_short(item)} was removed" for item in before if item not in after)
        yield from (f"{path}: {_short(item)} was added" for item in after if item not in before)
        if before != after and sorted(map(str, before)) == sorted(map(str, after)):
            yield f"{path}: the order changed"
    elif before != after:
        yield f"{path}: {_short(before)} -> {_short(after)}"


def _by_name(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for table in tables:
        name = str(table["use"])
        while name in named:
            name += "'"
        named[name] = {key: value for key, value in table.items() if key != "use"}
    return named


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 120 else text[:117] + "..."


def load_suite(path: Path) -> Suite:
    """Read and validate one suite file.

    Raises:
        SuiteError: not readable, not TOML/YAML, an unknown key, a wrong value; all places are named.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SuiteError(f"cannot read the suite: {error.strerror}", where=str(path)) from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SuiteError("not UTF-8 text", where=f"{path}:{line}", advice="save the file as UTF-8") from error
    table, lines = parse(text, path)
    if not table:
        raise SuiteError("the file is empty", where=str(path), advice="`agentcheck init` writes a working example")
    try:
        spec = SuiteFile.model_validate(table)
    except ValidationError as error:
        raise SuiteError(*_explain(error, path, lines)) from None
    name = spec.suite.name or re.sub(r"[^A-Za-z0-9_.-]", "-", path.stem.removesuffix(".suite"))
    _check_meaning(spec, path, lines)
    return Suite(path, name, hashlib.sha256(content).hexdigest(), spec, lines=lines)


def _check_meaning(spec: SuiteFile, path: Path, lines: Lines) -> None:
    if any(":" in metric.use for metric in spec.metrics):
        return  # what code of the user's own is called is known once it is made
    known = {str(metric.options().get("name") or metric.use) for metric in spec.metrics}
    problems = [
        f"{path}:{lines.find(('gate', 'metrics', name))}: {unbounded(name, known)}"
        for name in spec.gate.metrics
        if name not in known
    ]
    if problems:
        raise SuiteError("\n".join(problems))


def unbounded(name: str, measured: Iterable[str]) -> str:
    """What is wrong with a gate on a metric that a suite does not measure."""
    known = sorted(measured)
    near = get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"measured: {', '.join(known)}" if known else "it measures nothing"
    return f"the gate bounds the metric {name!r}, which this suite does not measure; {hint}"


def parse(text: str, path: Path) -> tuple[dict[str, Any], Lines]:
    """Parse TOML or YAML by suffix into a table and the lines of its keys; raises `SuiteError` with file:line."""
    language, read = ("YAML", _yaml) if path.suffix in (".yaml", ".yml") else ("TOML", _toml)
    try:
        return read(text, path)
    except RecursionError:
        raise SuiteError(f"not usable {language}: it is nested too deeply", where=str(path)) from None
    except ValueError as error:  # a number, date or time that Python cannot hold
        raise SuiteError(f"not valid {language}: {error}", where=str(path)) from None


def _toml(text: str, path: Path) -> tuple[dict[str, Any], Lines]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        where = f"{path}:{found.group(1)}" if found else f"{path}:{text.count(chr(10)) + 1}"
        raise SuiteError(f"not valid TOML: {error}", where=where) from None
    return table, Lines(dict(_toml_lines(text)))


def _yaml(text: str, path: Path) -> tuple[dict[str, Any], Lines]:
    import yaml  # most suites are TOML

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        table = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise SuiteError(f"not valid YAML: {getattr(error, 'problem', None) or error}", where=where) from None
    if table is None:
        return {}, Lines({})
    if not isinstance(table, dict):
        raise SuiteError("expected tables such as 'suite:' at the top", where=f"{path}:1")
    lines: dict[tuple[str | int, ...], int] = {}
    for key, line in _yaml_lines(node, (), set()):
        if key in lines:  # YAML's reader would take the last one and drop the first
            name = ".".join(map(str, key))
            raise SuiteError(f"{name!r} is given twice, first in line {lines[key]}", where=f"{path}:{line}")
        lines[key] = line
    return table, Lines(lines)


class Lines:
    """Where each key stands; `find` falls back to the nearest enclosing table that is known."""

    def __init__(self, known: Mapping[tuple[str | int, ...], int]) -> None:
        self._known = known

    def find(self, path: tuple[str | int, ...]) -> int:
        """The line of a key path, counted from 1."""
        while path and path not in self._known:
            path = path[:-1]
        return self._known.get(path, 1)


def _yaml_lines(node: Any, path: tuple[str | int, ...], met: set[int]) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """Lines of keys and items. What an alias repeats is not followed again: its own line is the place to look."""
    if id(node) in met:
        return
    met.add(id(node))
    if node.id == "mapping":
        for key, value in node.value:
            here = (*path, str(key.value))
            yield here, key.start_mark.line + 1
            yield from _yaml_lines(value, here, met)
    elif node.id == "sequence":
        for index, value in enumerate(node.value):
            yield (*path, index), value.start_mark.line + 1
            yield from _yaml_lines(value, (*path, index), met)


_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def _toml_lines(text: str) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """Lines of headers and keys. tomllib keeps no positions; keys inside inline tables fall back to their line."""
    table: tuple[str | int, ...] = ()
    counts: dict[tuple[str | int, ...], int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        header = _HEADER.match(line)
        if header:
            table = _resolve(tuple(_parts(header.group(2))), counts, header.group(1) == "[[")
            yield table, number
            continue
        key = _KEY.match(line)
        if key:
            yield (*table, *_parts(key.group(1))), number


def _parts(dotted: str) -> list[str]:
    return [part.strip("\"'") for part in _PART.findall(dotted)]


def _resolve(names: tuple[str, ...], counts: dict[tuple[str | int, ...], int], is_array: bool) -> tuple[str | int, ...]:
    """The path of a header, with the current index of every array of tables on the way."""
    path: tuple[str | int, ...] = ()
    for position, name in enumerate(names):
        path = (*path, name)
        if is_array and position == len(names) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _explain(error: ValidationError, path: Path, lines: Lines) -> tuple[str]:
    """One message for all problems of a file, each with file:line and advice."""
    problems = []
    for item in error.errors(include_url=False):
        location = tuple(part for part in item["loc"] if not _is_branch(part))
        where = f"{path}:{lines.find(location)}"
        key = ".".join(str(part) for part in location)
        if item["type"] == "extra_forbidden":
            near = get_close_matches(str(location[-1]), _known_keys(location[:-1]), 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(_known_keys(location[:-1]))}"
            problems.append(f"{where}: unknown key {key!r}{hint}")
        elif item["type"] == "missing":
            problems.append(f"{where}: {key!r} is missing")
        else:
            problems.append(f"{where}: {key!r}: {item['msg'][:1].lower()}{item['msg'][1:]}")
    return ("\n".join(dict.fromkeys(problems)),)


def _is_branch(part: str | int) -> bool:
    """Pydantic names the branch of a union in the location; it is no key of the file."""
    return isinstance(part, str) and (part in ("str", "dict[str,any]", "tuple[str, ...]") or "[" in part)


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    model: Any = SuiteFile
    for part in location:
        if isinstance(part, int):
            continue
        fields = getattr(model, "model_fields", {})
        if part not in fields:
            return []
        model = _model_of(fields[part].annotation)
    return list(getattr(model, "model_fields", {}))


def _model_of(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_of(argument)
        if found is not None:
            return found
    return None


def json_schema() -> dict[str, Any]:
    """The JSON Schema of suite files, for editors; the shipped copy is compared with this in a test."""
    schema = SuiteFile.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "agentcheck suite"
    return schema
