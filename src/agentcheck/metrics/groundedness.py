"""Groundedness, a baseline without a model: is what the answer claims supported by what the agent saw?

Each sentence of the answers is a claim, unless it is a question, a courtesy or a refusal ("not known"). A claim is
supported when enough of its words and word pairs stand together in one place of the context, its numbers and names
are there too, and nothing there says the opposite. It reads words, not meaning: a paraphrase without shared words is
called unsupported, and a false sentence made of true words may pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from decimal import Decimal
from functools import partial
from typing import Any, Literal, NamedTuple

from pydantic import Field

from agentcheck.metrics.evidence import Context, gather
from agentcheck.metrics.measure import Measure, listed, measured, not_measured, said_events, shown
from agentcheck.metrics.options import Options
from agentcheck.metrics.options import read as read_options
from agentcheck.metrics.reading import TURNING, Reading, opposed, read, union
from agentcheck.metrics.text import normal, quantities, sentences
from agentcheck.records import Score, Transcript

MOST_CLAIMS = 300
#: From this share of common words on, a place in the context speaks of the same thing as the claim.
_SAME_THING = 0.6
_REFUSAL = re.compile(
    r"\b(?:(?:do|does|did)(?: not|n['’]t) (?:know|state|say|mention|contain|include|specify|provide|have|list|cover)"
    r"|(?:is|are|was|were)(?: not|n['’]t) (?:\w+ )?(?:known|stated|mentioned|specified|available|given|listed|covered"
    r"|found|in (?:the|my|any) \w+)"
    r"|(?:could|can|was|am|were)(?: not|n['’]t|not) (?:able to )?(?:find|determine|answer|help|do that|share|provide"
    r"|disclose|confirm|verify|tell|say|assist|locate|give|access|see)"
    r"|unable to|not able to|no (?:information|record|records|data|mention|details|entry|answer|document|matching)\b"
    r"|not known|unknown|nothing (?:in|about|on)|outside (?:my|the) (?:scope|documents|context))"
)
_COURTESY = re.compile(
    r"^(?:hello|hi|hey|good (?:morning|afternoon|evening|day)|thank(?:s| you)|you(?:['’]re| are) welcome|welcome"
    r"|let me know|please (?:let|feel|tell|confirm|provide|specify|note that i|contact|ask|check|consult|see|speak)"
    r"|feel free|if you (?:have|need|want|would)|is there anything|how can i|i(?:['’]m| am) (?:happy|glad|here|sorry)"
    r"|i(?:['’]d| would) be (?:happy|glad)|i hope|sorry|i apologi[sz]e|i can (?:also |only )?(?:help|assist)"
    r"|would you like|do you want|shall i|you (?:asked|said|mentioned|requested|told|wrote)|as you (?:asked|said|wrote)"
    r"|here (?:is|are)|i understand|i will (?:now|look|check)|let me|i need|to (?:proceed|continue))\b"
)
_OPENING = re.compile(
    r"^(?:yes|no|sure|certainly|of course|ok|okay|unfortunately|however|also)\b[,.!:]?\s+", re.IGNORECASE
)
_MARKUP = re.compile(r"\*\*|__|`+|^\|?[\s:|-]+\|?$|\[\^?\d+\](?!\()")
_CLAUSES = re.compile(
    r"[;:()]|,\s+(?:and|but|while|which|who|whereas|or)\s+|\s+(?:and|but|while|whereas|because)\s+|,\s+"
)


class GroundednessOptions(Options):
    """``support``: the least share of a claim's words that must stand together in the context.

    ``trusted_only``: only documents and tools that no outsider could have written. ``prompts``: what the user said is
    context too. ``turns``: all answers, or the last one.
    """

    support: float = Field(0.6, gt=0, le=1)
    trusted_only: bool = False
    prompts: bool = False
    turns: Literal["all", "last"] = "all"


class Finding(NamedTuple):
    """What was found of one claim: ``why`` is empty where it is supported; ``nearest`` is the closest place."""

    claim: str
    turn: int
    share: float
    why: str
    source: str
    nearest: str
    events: tuple[int, ...]


def make(options: Mapping[str, Any]) -> Measure:
    """Share of claims in the answers that the context supports.

    Not measured where there is no answer, no context, or no claim in the answer. Each unsupported sentence is in the
    detail with its reason: too few shared words, a number, unit or name that the context does not have there, or a
    negation or opposite.
    """
    chosen = read_options(GroundednessOptions, options, "groundedness")
    return Measure(chosen.name or "groundedness", partial(groundedness, options=chosen), heavy=True)


def groundedness(transcript: Transcript, options: GroundednessOptions) -> Score:
    """See `make`."""
    answers = list(enumerate(transcript.answers, start=1))
    answers = [(turn, text) for turn, text in answers if text.strip()]
    if options.turns == "last":
        answers = answers[-1:] if transcript.answer.strip() else []
    if not answers:
        return not_measured("the agent gave no answer")
    context = gather(transcript, trusted_only=options.trusted_only, prompts=options.prompts)
    if not context.segments:
        return not_measured("there is no context: no document, and no output of a tool")
    spoken = {each.value for prompt in transcript.prompts for each in quantities(prompt)}
    claims = [(turn, claim) for turn, text in answers for claim in claims_of(text, context, spoken)]
    events = [seq for turn, _ in answers for seq in said_events(transcript, turn)]
    if not claims:
        return not_measured("the answer claims nothing that the context could support", events)
    findings = [judge(claim, turn, context, options.support) for turn, claim in claims[:MOST_CLAIMS]]
    unsupported = [finding for finding in findings if finding.why]
    if unsupported and context.left_out:
        return not_measured(f"the context is too long: {context.left_out} characters of it were not read", events)
    events += [seq for finding in unsupported for seq in finding.events]
    words = [f"{shown(finding.claim)}: {finding.why}" for finding in unsupported]
    return measured(
        (len(findings) - len(unsupported)) / len(findings),
        listed(words, 3) if words else f"all {len(findings)} claims are supported",
        events,
        claims=len(findings),
        claims_not_read=len(claims) - len(findings),
        unsupported=[_told(finding) for finding in unsupported],
    )


def _told(finding: Finding) -> dict[str, Any]:
    return {
        "sentence": finding.claim,
        "turn": finding.turn,
        "why": finding.why,
        "share": round(finding.share, 3),
        "nearest": shown(finding.nearest),
        "source": finding.source,
    }


def claims_of(answer: str, context: Context, spoken: Set[Decimal]) -> Iterator[str]:
    """The sentences of an answer that claim something."""
    known = context.values | spoken
    for line in answer.splitlines():
        for sentence in sentences(_MARKUP.sub("", line).replace("|", " ")):
            claim = _OPENING.sub("", sentence).strip()
            reading = read(claim)
            if reading.stems and not _claims_nothing(claim, reading, known):
                yield claim


def _claims_nothing(sentence: str, reading: Reading, known: Set[Decimal]) -> bool:
    """True for questions, courtesies, headings and refusals; never for a sentence with a number from nowhere."""
    if not reading.values <= known:
        return False
    folded = normal(sentence)
    if folded.endswith("?") or _COURTESY.search(folded) or (folded.endswith(":") and not reading.values):
        return True
    if not _REFUSAL.search(folded):
        return False
    # "It is not stated, but the usual dose is 400 mg" claims something in its other part.
    rest = [part for part in re.split(r"\b(?:but|however|although)\b|;", folded) if not _REFUSAL.search(part)]
    return not any(read(part).stems for part in rest)


def judge(claim: str, turn: int, context: Context, support: float) -> Finding:
    """Look for a place in the context that supports a claim as a whole, then clause by clause."""
    reading = read(claim)
    nearest = context.nearest(reading, turn)
    share, why = _weigh(reading, nearest, context, support)
    if why:
        clauses = [read(clause) for clause in _CLAUSES.split(claim) if clause]
        clauses = [clause for clause in clauses if len(clause.stems) > 1]
        if len(clauses) > 1 and _cover(clauses, reading):
            parts = [_weigh(clause, context.nearest(clause, turn), context, support) for clause in clauses]
            if not any(part_why for _, part_why in parts) and not why.startswith("the"):
                why = ""
    best = context.segments[nearest[0]] if nearest else None
    if best is None:
        return Finding(claim, turn, share, why, "", "", ())
    return Finding(claim, turn, share, why, best.source, best.text, best.events)


def _cover(clauses: list[Reading], whole: Reading) -> bool:
    return len(union(clauses).stems & whole.stems) >= 0.8 * len(whole.stems)


def _weigh(claim: Reading, nearest: list[int], context: Context, support: float) -> tuple[float, str]:
    """The best share of a claim found in one place, and why it is not supported (empty where it is)."""
    absent = sorted(name for name in claim.names if name not in context.postings and not _inside(name, context))
    foreign = sorted(claim.values - context.values)
    best, complete = 0.0, False
    for index in nearest:
        for window in context.windows(index):
            share = _share(claim, window)
            # A place with all numbers is better than one with more words, once it has words enough.
            whole = claim.values <= window.values and share >= support
            if (whole, share) > (complete, best):
                best, complete = share, whole
    if foreign:
        return best, f"{_written(foreign)} is not in the context"
    if absent:
        return best, f"{', '.join(absent[:4])} is not in the context"
    contradiction = _contradiction(claim, nearest, context)
    if contradiction:
        return best, contradiction
    if best < support:
        return best, f"only {best:.0%} of it stands together in the context"
    if not complete:
        return best, f"{_written(sorted(claim.values))} does not stand with it in the context"
    return best, ""


def _inside(name: str, context: Context) -> bool:
    """True for an address or a compound that the context holds in its text."""
    return not name.isalnum() and any(name in segment.text.casefold() for segment in context.segments)


def _written(values: list[Any]) -> str:
    return ", ".join(f"{value.normalize():f}" for value in values[:4])


def _share(claim: Reading, window: Reading) -> float:
    """Share of the claim's words found, with a fifth of the weight on adjacent pairs."""
    single = len(claim.stems & window.stems) / len(claim.stems)
    if not claim.pairs:
        return single
    return 0.8 * single + 0.2 * len(claim.pairs & window.pairs) / len(claim.pairs)


def _contradiction(claim: Reading, nearest: list[int], context: Context) -> str:
    """Why the one sentence that says most of the claim says it differently; empty where an equal one agrees."""
    rated = [(_common(claim, context.segments[index].reading), index) for index in nearest]
    rated = sorted((pair for pair in rated if pair[0] >= _SAME_THING), reverse=True)
    found = ""
    for common, index in rated:
        if common < rated[0][0] - 0.1:
            break
        evidence = context.segments[index].reading
        why = opposed(claim, evidence) or _replaced(claim, evidence, common)
        if not why:
            return ""
        found = found or why
    return found


def _common(claim: Reading, evidence: Reading) -> float:
    content = claim.content - TURNING
    return len(content & evidence.content) / len(content) if content else 0.0


def _replaced(claim: Reading, evidence: Reading, common: float) -> str:
    """A number or name in the place of another: the claim's is not in the sentence, the sentence's not in the claim."""
    ours, theirs = claim.numbers - evidence.numbers, evidence.numbers - claim.numbers
    for value, unit in sorted(ours):
        if value in evidence.values and not unit:
            continue
        others = sorted(other for other, kind in theirs if kind == unit or (value == other and unit and kind))
        if others and (value not in evidence.values or unit):
            return f"the claim says {value.normalize():f} {unit}".rstrip() + f", the context {_written(others)}"
    names, named = claim.names - evidence.stems, evidence.names - claim.stems
    if common >= 0.75 and len(names) == 1 and len(named) == 1:
        return f"the claim says {next(iter(names))}, the context {next(iter(named))}"
    return ""
