"""The JSON Schema of ``report.json`` (draft 2020-12); ``docs/schema/report.schema.json`` is written from it.

Every key that is written is described and required, and none else is allowed, so that a report that drifts from its
description fails a test and not a reader.
"""

from __future__ import annotations

from typing import Any

from agentcheck.reporting.json_report import MAX_CHARACTERS, MAX_STEPS, MAX_TEXT, MAX_TRIALS, SCHEMA_VERSION
from agentcheck.reporting.report import STATUSES

_Schema = dict[str, Any]


def schema() -> _Schema:
    """The schema of the version that `json_report.to_dict` writes."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "agentcheck report",
        "description": (
            "A run of agentcheck. Times are microseconds since the Unix epoch, durations and offsets microseconds, "
            "money decimal strings in US dollars, hashes hexadecimal SHA-256."
        ),
        **_object(
            schema_version={"const": SCHEMA_VERSION},
            run=_run(),
            exit_code={
                "type": "integer",
                "minimum": 0,
                "maximum": 5,
                "description": "0 passed, 1 a gate failed, 2 interrupted, 3 the harness broke, 4 usage, 5 nothing ran.",
            },
            total=_count("All cases that were collected."),
            counts=_counts(),
            unsafe=_flag("A suite ran with the bypass in place of a policy."),
            base=_text("The branch or commit whose thresholds, gates and policies were in force; empty: none given."),
            changed=_list(_text(), "How thresholds, gates and policies differ from the base."),
            suites=_list(_suite(), "The suites in the order in which they were collected."),
            limits=_limits(),
        ),
    }


def _run() -> _Schema:
    stream = _object(
        name=_text(), events=_count("Events in the stream."), head=_text("Chain value after the last event.")
    )
    return _object(
        ("withheld",),
        id=_text(),
        started=_integer("When it started."),
        duration=_count("How long it took."),
        status={"enum": ["finished", "interrupted", "crashed"]},
        partial=_flag("Some cases have no verdict."),
        agentcheck=_text("Version of agentcheck."),
        python=_text(),
        platform=_text(),
        command=_list(_text(), "The command line."),
        commit=_text("Commit of the repository in which the run took place."),
        dirty=_nullable(_flag("The working tree had uncommitted changes; null: not known.")),
        author=_text(),
        seed=_nullable(_integer("Seed of the run.")),
        redaction=_text("The redactor in force."),
        unsafe=_flag("The run is marked unsafe."),
        configuration=_map(_text(), "Configuration file or setting to its hash."),
        base=_text(),
        changed=_list(_text(), "Changes of the bar that belong to no suite."),
        directory=_text("The run's folder."),
        streams=_list(stream, "The streams of the ledger."),
        notes=_list(_object(level=_text(), text=_text()), "What a reader of the run should know."),
        withheld=_count("Events whose payload was taken away; the notes say by whom and why."),
    )


def _suite() -> _Schema:
    rule = _object(name=_text(), required=_text(), observed=_text(), passed=_nullable({"type": "boolean"}))
    return _object(
        name=_text(),
        file=_text(),
        domain=_text(),
        description=_text(),
        agent=_text(),
        agent_commit=_text(),
        agent_author=_text(),
        world=_text(),
        model=_text(),
        user=_text(),
        hashes=_map(_text(), "suite, dataset, policy and agent to their hashes."),
        trials=_count("Trials of each case."),
        tags=_list(_text()),
        unsafe=_flag("It ran with the bypass in place of a policy."),
        base=_text(),
        changed=_list(_text()),
        gate=_object(
            passed=_nullable(_flag("null: the gate could not be decided.")),
            partial=_flag("The gate was decided over a part of the cases."),
            rules=_list(rule),
        ),
        total=_count("All cases of the suite."),
        counts=_counts(),
        metrics=_list(_metric(), "Each metric over all trials of the suite."),
        enforcement=_list(
            _object(
                label=_text(),
                value=_nullable(_count("null: not measured; note says why.")),
                of=_nullable(_count("The denominator.")),
                note=_text(),
            )
        ),
        skipped_records=_list(_text(), "Dataset records that could not be read, as file:record: why."),
        cases=_list(_case()),
    )


def _metric() -> _Schema:
    return _object(
        metric=_text(),
        mean=_nullable(_number("Mean of what was measured; null: nothing was.")),
        measured=_count("Trials with a value."),
        errors=_count("Trials whose metric or judge broke."),
        not_measured=_count("Trials where it could not be measured."),
        trials=_count("measured + errors + not_measured."),
        passed=_count("Scores that met their threshold."),
        failed=_count("Scores that missed their threshold."),
        threshold=_nullable(_number("The threshold; null: recorded, not judged.")),
    )


def _case() -> _Schema:
    return _object(
        id=_text(),
        status=_status(),
        reasons=_list(_text(), "Why it is not a pass."),
        source=_text("file:line of its dataset row."),
        tags=_list(_text()),
        trials=_list(_trial()),
    )


def _trial() -> _Schema:
    score = _object(
        metric=_text(),
        status={"enum": ["ok", "error", "not_measured"]},
        value=_nullable({"type": "number"}),
        threshold=_nullable({"type": "number"}),
        passed=_nullable({"type": "boolean"}),
        reason=_text(),
        events=_list(_integer(), "Sequence numbers of the events that explain it."),
    )
    return _object(
        ("transcript",),
        session=_text("The name of its events in the ledger."),
        trial=_integer(),
        attempt=_integer("Above 1 where a resumed run began it again."),
        status=_status(),
        reasons=_list(_text()),
        duration=_integer(),
        actions=_count("Actions it asked for."),
        allowed=_count("Allowed at once."),
        held=_count("Held for approval."),
        denied=_count("Denied."),
        approved=_count("Held, then approved."),
        tool_errors=_count("Carried out and answered with an error."),
        orphans=_count("Allowed, and no result was recorded."),
        input_tokens=_count(),
        output_tokens=_count(),
        cost=_text(),
        events=_count("Events of the trial in the ledger."),
        scores=_list(score),
        transcript=_transcript(),
    )


def _transcript() -> _Schema:
    cut = _object(text=_text(), cut=_count("Characters left out."))
    texts = _map(_text())
    step = _object(
        id=_text(),
        kind=_text(),
        name=_text(),
        turn=_integer(),
        arguments=cut,
        outcome={"enum": ["allow", "hold", "deny", "withheld"]},
        status=_text("done, error, denied, held, cancelled, orphan, or withheld: not left to tell."),
        level=_integer("Authorization level, 0 to 4."),
        control=_text("The control that decided."),
        rule=_text(),
        reason=cut,
        others=_list(texts, "Decisions of other controls that were not allow."),
        approved=_flag("Held, then approved."),
        votes=_list(texts),
        output=cut,
        error=cut,
        offset=_integer("Since the trial began."),
        duration=_integer(),
        input_tokens=_count(),
        output_tokens=_count(),
        cost=_text(),
        events=_list(_integer(), "Sequence numbers of its events."),
    )
    return {
        "description": "What happened, for trials that did not pass; arguments and output are JSON text.",
        **_object(
            ("withheld",),
            prompts=_list(cut),
            answers=_list(cut),
            reasoning=_list(cut),
            steps=_list(step),
            steps_left_out=_count(),
            withheld=_text("What of the trial's events was taken away, in words; absent: nothing."),
        ),
    }


def _limits() -> _Schema:
    return _object(
        text={"const": MAX_TEXT, "description": "Characters of one text."},
        steps={"const": MAX_STEPS, "description": "Steps of one trial."},
        trials={"const": MAX_TRIALS, "description": "Trials that carry a transcript."},
        characters={"const": MAX_CHARACTERS, "description": "Characters of all transcripts."},
        trials_left_out=_count("Trials that did not pass and carry none, because of these limits."),
    )


def _status() -> _Schema:
    return {"enum": list(STATUSES)}


def _counts() -> _Schema:
    return _object(**{status: _count() for status in STATUSES})


def _object(optional: tuple[str, ...] = (), /, **properties: _Schema) -> _Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _described(value: _Schema, description: str) -> _Schema:
    return {**value, "description": description} if description else value


def _text(description: str = "") -> _Schema:
    return _described({"type": "string"}, description)


def _integer(description: str = "") -> _Schema:
    return _described({"type": "integer"}, description)


def _count(description: str = "") -> _Schema:
    return _described({"type": "integer", "minimum": 0}, description)


def _number(description: str = "") -> _Schema:
    return _described({"type": "number"}, description)


def _flag(description: str = "") -> _Schema:
    return _described({"type": "boolean"}, description)


def _list(items: _Schema, description: str = "") -> _Schema:
    return _described({"type": "array", "items": items}, description)


def _map(values: _Schema, description: str = "") -> _Schema:
    return _described({"type": "object", "additionalProperties": values}, description)


def _nullable(value: _Schema) -> _Schema:
    description = value.get("description", "")
    inner = {key: item for key, item in value.items() if key != "description"}
    return _described({**inner, "type": [inner["type"], "null"]}, description)
