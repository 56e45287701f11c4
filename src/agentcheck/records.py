"""What passes between rooms: plain frozen dataclasses, nothing heavy.

A `Case` goes in; the door turns what the agent asks into `Action`, `Decision` and `Result`; the fold of the events of
one trial is a `Transcript`; a metric turns that into a `Score`; scores become a `Verdict`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

ActionKind = Literal["model_call", "tool_call", "message", "memory", "delegate"]
ACTION_KINDS: tuple[ActionKind, ...] = ("model_call", "tool_call", "message", "memory", "delegate")
Outcome = Literal["allow", "hold", "deny"]
#: Deny wins over hold over allow.
SEVERITY: Mapping[str, int] = {"allow": 0, "hold": 1, "deny": 2}
ResultStatus = Literal["done", "error", "denied", "held"]
ScoreStatus = Literal["ok", "error", "not_measured"]
VerdictStatus = Literal["pass", "fail", "error", "inconclusive", "skipped", "aborted"]
LEVEL_NAMES = ("autonomous", "notify", "confirm", "approve", "committee")


@dataclass(frozen=True, slots=True)
class Document:
    """A context document of a case. ``trusted`` is false for text that an outsider could have written."""

    id: str
    text: str
    title: str = ""
    trusted: bool = True


@dataclass(frozen=True, slots=True)
class ExpectedAction:
    """A tool call that must (or must not) be carried out.

    ``arguments`` is a subset match: each named argument must be equal (numbers by value, text by exact match), or
    meet a condition table ``{"one_of": [...]}``, ``{"contains": "..."}``, ``{"matches": "regex"}``,
    ``{"gt"|"gte"|"lt"|"lte": n}``, ``{"any": true}``. ``outcome`` is what the runtime must have decided on it
    (``any`` = does not matter); ``count`` is how often it must be carried out at most (0 = no bound).
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    kind: ActionKind = "tool_call"
    outcome: Literal["allow", "hold", "deny", "any"] = "any"
    count: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """What the user says in one turn of a scripted conversation, and what the answer to it is held to.

    ``expect`` uses the keys of `Case`: ``answer``, ``contains``, ``excludes``, ``retains`` (facts of earlier turns
    that the answer must still hold), ``corrects`` (old value -> new value after a correction).
    """

    text: str
    expect: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded run of an agent: what it asked for, step by step, and what the outside world answered.

    ``steps`` are in recorded order. ``source`` names file and record; ``labels`` holds what the dataset says of the
    run (attack, success, reward, ...). ``asked`` counts the actions the source file holds for this record.
    """

    steps: tuple[RecordedStep, ...]
    source: str
    labels: Mapping[str, Any] = field(default_factory=dict)
    asked: int = 0

    def turns(self) -> tuple[tuple[str, tuple[RecordedStep, ...]], ...]:
        """The conversation as ``(what the user says, what the agent then does)``.

        What the agent did before the user first spoke belongs to the first turn; texts of a user who speaks twice in
        a row are one prompt; a last word of the user that the agent does not react to opens no turn.
        """
        turns: list[tuple[list[str], list[RecordedStep]]] = [([], [])]
        open_prompt = True
        for step in self.steps:
            if step.kind != "user":
                turns[-1][1].append(step)
                open_prompt = not turns[-1][0]
            elif open_prompt:
                turns[-1][0].append(step.text)
            else:
                turns.append(([step.text], []))
                open_prompt = True
        kept = turns[:1] + [turn for turn in turns[1:] if turn[1]]
        return tuple(("\n\n".join(prompts), tuple(steps)) for prompts, steps in kept)


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """One step of a recording.

    ``kind`` is an action kind, ``"user"`` (the user speaks; ``text``), or ``"reasoning"`` (``text``).
    ``injected`` marks an action that the dataset says serves an attacker.
    """

    kind: str
    name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    output: Any = None
    error: str = ""
    text: str = ""
    injected: bool = False
    usage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """One row of a golden dataset under one suite.

    ``id`` is unique in its suite. ``prompt`` is the first turn; ``turns`` the later ones. ``answer`` is the expected
    final answer (exact or structured match), ``contains``/``excludes`` are pieces the final answer must hold or must
    not hold, ``expected``/``forbidden`` are actions. ``state`` seeds the world. ``source`` is ``file:line``.
    """

    id: str
    prompt: str
    documents: tuple[Document, ...] = ()
    turns: tuple[Turn, ...] = ()
    answer: Any = None
    contains: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    expected: tuple[ExpectedAction, ...] = ()
    forbidden: tuple[ExpectedAction, ...] = ()
    state: Mapping[str, Any] = field(default_factory=dict)
    principal: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    recording: Recording | None = None
    skip: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool of a world as the agent and the runtime see it.

    ``parameters`` is a JSON Schema object. ``effect`` is true where the tool changes the world. ``trusted`` says
    whether its *output* is text that an outsider could not have written; data-flow rules read it.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    effect: bool = False
    trusted: bool = True


@dataclass(frozen=True, slots=True)
class Task:
    """What the agent is given in one turn. ``messages`` holds the conversation so far, this turn's prompt last."""

    prompt: str
    turn: int = 1
    messages: tuple[Mapping[str, str], ...] = ()
    documents: tuple[Document, ...] = ()
    case: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Action:
    """One thing the agent asks to do. ``key`` is its idempotency key; an edited or retried call is a new action."""

    id: str
    kind: ActionKind
    name: str
    arguments: Mapping[str, Any]
    turn: int = 1
    key: str = ""
    principal: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a control says of an action; the deciding one carries the ``others`` that were not ``allow``."""

    outcome: Outcome
    control: str
    rule: str = ""
    reason: str = ""
    level: int = 0
    policy: str = ""
    others: tuple[Decision, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What the door gives back to the agent. ``error`` never reveals the pattern that matched."""

    action: str
    status: ResultStatus
    output: Any = None
    error: str = ""

    @property
    def ok(self) -> bool:
        """True when the action was carried out and did not answer with an error."""
        return self.status == "done"


@dataclass(frozen=True, slots=True)
class ModelReply:
    """What a model answered. Token counts are integers, ``cost`` is a decimal string in US dollars."""

    text: str
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    cost: str = "0"


@dataclass(frozen=True, slots=True)
class Effect:
    """One line of a world's own effect log: the witness that shares no code or storage with the ledger."""

    key: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One action of a trial with all that the ledger says of it.

    ``seqs`` are the sequence numbers of its events. ``status`` is ``done``, ``error``, ``denied``, ``held`` (not
    approved), or ``orphan`` (allowed, and no result recorded). Where events of the trial are withheld, ``outcome``
    and ``status`` are ``withheld`` if no decision, or no result, is left to tell.
    """

    id: str
    kind: str
    name: str
    arguments: Mapping[str, Any]
    outcome: Outcome | Literal["withheld"]
    status: str
    turn: int = 1
    level: int = 0
    control: str = ""
    rule: str = ""
    reason: str = ""
    others: tuple[Mapping[str, Any], ...] = ()
    output: Any = None
    error: str = ""
    key: str = ""
    duration: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: str = "0"
    time: int = 0
    approved: bool = False
    votes: tuple[Mapping[str, Any], ...] = ()
    seqs: tuple[int, ...] = ()

    @property
    def carried_out(self) -> bool:
        """True when the action reached the world, whatever came back."""
        return self.status in ("done", "error", "orphan")


@dataclass(frozen=True, slots=True)
class Transcript:
    """The fold of one trial's events: what metrics score and reports show.

    ``answers`` holds the agent's answer of each turn, ``effects`` the witness (``None`` = not measured),
    ``events`` the raw events for timelines. ``withheld`` says in words what of them was taken away; empty: nothing.
    """

    case: Case
    session: str
    suite: str = ""
    trial: int = 1
    prompts: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    reasoning: tuple[str, ...] = ()
    effects: tuple[Effect, ...] | None = None
    tools: tuple[ToolSpec, ...] = ()
    events: Sequence[Any] = ()
    started: int = 0
    duration: int = 0
    withheld: str = ""

    @property
    def answer(self) -> str:
        """The answer of the last turn; empty when the agent gave none."""
        return self.answers[-1] if self.answers else ""


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's value for one trial. ``events`` are the sequence numbers that explain it.

    ``status`` keeps a broken judge (``error``) and a thing that could not be measured apart from a low value;
    ``value`` is then ``None``. Values lie in 0..1 unless the metric says otherwise; NaN is refused.
    """

    metric: str
    value: float | None
    reason: str = ""
    status: ScoreStatus = "ok"
    threshold: float | None = None
    passed: bool | None = None
    events: tuple[int, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Pass, fail, error or inconclusive of one trial or of a case over its trials, with the reasons in words."""

    status: VerdictStatus
    reasons: tuple[str, ...] = ()
    scores: tuple[Score, ...] = ()
    duration: int = 0
    session: str = ""
