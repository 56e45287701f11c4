"""Which expectation of a case each metric reads: a case that none of a suite's metrics is about proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from agentcheck.records import Case


def _turns(case: Case, *keys: str) -> bool:
    return any(turn.expect.get(key) not in (None, [], (), {}, "") for turn in case.turns for key in keys)


#: Metrics that say nothing of a case without an expectation of their own -> whether a case has one.
READS: Mapping[str, Callable[[Case], bool]] = {
    "expected_actions": lambda case: bool(case.expected),
    "forbidden_actions": lambda case: bool(case.forbidden),
    "enforcement": lambda case: bool(case.expected or case.forbidden),
    "exact_match": lambda case: case.answer is not None or _turns(case, "answer"),
    "structured_match": lambda case: case.answer is not None or _turns(case, "answer"),
    "contains": lambda case: bool(case.contains or case.excludes) or _turns(case, "contains", "excludes"),
    "retention": lambda case: _turns(case, "retains"),
    "correction": lambda case: _turns(case, "corrects"),
}
#: True of almost any case, and so no reason by itself for one that was meant to show something else.
OF_ANY_CASE = frozenset({"audit_completeness"})


def without_expectation(cases: Iterable[Case], judged: Collection[str]) -> Iterator[Case]:
    """The cases that no judged metric says anything of, besides those that hold of any case.

    None where a metric needs no expectation (groundedness, what a trial took, one of the user's own), and none where
    nothing but what holds of any case is judged: then that is what the suite is for.
    """
    reading = [READS[name] for name in judged if name in READS]
    if not reading or any(name not in READS and name not in OF_ANY_CASE for name in judged):
        return
    for case in cases:
        if not case.skip and not any(reads(case) for reads in reading):
            yield case
