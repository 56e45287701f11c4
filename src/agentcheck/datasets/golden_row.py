"""One row of a golden dataset: what it may hold, and what is wrong with it in words."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from agentcheck.records import Case, Document, ExpectedAction, Turn

#: Conditions that may stand in place of an argument's value, and what each takes. Several must all hold.
CONDITIONS: dict[str, str] = {
    "one_of": "a list",
    "contains": "a value",
    "matches": "a regular expression",
    "gt": "a number",
    "gte": "a number",
    "lt": "a number",
    "lte": "a number",
    "any": "true",
}
_PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,30})(?:\.\d{1,30})?")
#: Separators of session ids, and what has no place in a name that stands on one line.
_ID = re.compile(r"(?!.*::)[^\s#\x00-\x1f\x7f](?:[^#\x00-\x1f\x7f]*[^\s#\x00-\x1f\x7f])?\Z")


def _id(text: str) -> str:
    if len(text) > 200:
        raise ValueError("an id has at most 200 characters")
    if not _ID.match(text):
        raise ValueError("an id is one line of text without '#' and '::', and without spaces at its ends")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _finite(value: Any) -> Any:
    if value and not isinstance(value, str):
        json.dumps(value, allow_nan=False)
    return value


def _argument(path: str, value: Any) -> None:
    """Refuse a condition that could never hold by its own mistake; a key near a condition's name is one."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            _argument(f"{path}[{index}]", item)
        return
    if not isinstance(value, dict):
        return
    conditions = [key for key in value if key in CONDITIONS]
    for key, wanted in value.items():
        if len(conditions) == len(value):
            _condition(path, key, wanted)
            continue
        near = get_close_matches(key, CONDITIONS, 1, 0.8) if conditions or len(value) == 1 else []
        if near and key not in CONDITIONS:
            raise ValueError(f"argument {path}: unknown condition {key!r}; did you mean {near[0]!r}?")
        _argument(f"{path}.{key}", wanted)


def _condition(path: str, key: str, wanted: Any) -> None:
    number = isinstance(wanted, (int, float, str)) and not isinstance(wanted, bool)
    fits = {
        "one_of": isinstance(wanted, list) and bool(wanted),
        "contains": wanted not in ("", None),
        "matches": _compiles(wanted),
        "any": wanted is True,
    }
    if not fits.get(key, number and (not isinstance(wanted, str) or bool(_PLAIN_NUMBER.fullmatch(wanted)))):
        raise ValueError(f"argument {path}: {key!r} takes {CONDITIONS[key]}, found {_found(wanted)}")
    for index, item in enumerate(wanted if key == "one_of" else ()):
        _argument(f"{path}.one_of[{index}]", item)


def _compiles(pattern: Any) -> bool:
    try:
        re.compile(pattern)
    except (re.error, TypeError, RecursionError, OverflowError):
        return False
    return isinstance(pattern, str)


def _arguments(value: dict[str, Any]) -> dict[str, Any]:
    for name, wanted in value.items():
        _argument(name, wanted)
    return value


Filled = Annotated[str, AfterValidator(_filled), Field(json_schema_extra={"minLength": 1})]
AnyJson = Annotated[Any, AfterValidator(_finite)]
Arguments = Annotated[dict[str, Any], AfterValidator(_finite), AfterValidator(_arguments)]
Kind = Literal["model_call", "tool_call", "message", "memory", "delegate"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class GoldenDocument(_Strict):
    """A context document."""

    id: Filled = Field(description="Unique in its case.")
    text: str
    title: str = ""
    trusted: bool = Field(True, description="False for text that an outsider could have written.")


class GoldenForbidden(_Strict):
    """A call that must not be carried out."""

    name: Filled = Field(description="Name of the tool; a pattern such as delete_* is allowed.")
    arguments: Arguments = Field(default_factory=dict, description="A subset: values, or condition tables.")
    kind: Kind = "tool_call"


class GoldenExpected(GoldenForbidden):
    """A call that must be carried out, or must be refused."""

    outcome: Literal["allow", "hold", "deny", "any"] = Field("any", description="What must be decided on it.")
    count: int = Field(0, ge=0, description="How often it is carried out at most; 0 = no bound.")


class GoldenExpectation(_Strict):
    """What the answer to one turn is held to."""

    answer: AnyJson = None
    contains: list[Filled] = Field(default_factory=list)
    excludes: list[Filled] = Field(default_factory=list)
    retains: list[Filled] = Field(default_factory=list, description="Facts of earlier turns that it must still hold.")
    corrects: dict[Filled, Filled] = Field(default_factory=dict, description="Old value -> new value.")


class GoldenTurn(_Strict):
    """What the user says next."""

    text: Filled
    expect: GoldenExpectation = Field(default_factory=GoldenExpectation)


class GoldenRow(_Strict):
    """One case."""

    id: Annotated[str, AfterValidator(_id)] = Field(
        description="Unique in the dataset; one line without '#' and '::'.",
        json_schema_extra={"minLength": 1, "maxLength": 200},
    )
    prompt: Filled = Field(description="What the user says first.")
    documents: list[GoldenDocument] = Field(default_factory=list)
    turns: list[GoldenTurn] = Field(default_factory=list, description="What the user says after the prompt.")
    answer: AnyJson = Field(None, description="The final answer, for exact or structured match.")
    contains: list[Filled] = Field(default_factory=list, description="Pieces that the final answer must hold.")
    excludes: list[Filled] = Field(default_factory=list, description="Pieces that the final answer must not hold.")
    expected: list[GoldenExpected] = Field(default_factory=list)
    forbidden: list[GoldenForbidden] = Field(default_factory=list)
    state: Annotated[dict[str, Any], AfterValidator(_finite)] = Field(
        default_factory=dict, description="Seeds the world."
    )
    principal: dict[str, str] = Field(default_factory=dict, description="user, role, tenant, purpose.")
    tags: list[Filled] = Field(default_factory=list)
    metadata: Annotated[dict[str, Any], AfterValidator(_finite)] = Field(default_factory=dict)
    skip: str = Field("", description="Why the case is not run; empty = it is run.")

    @model_validator(mode="after")
    def _document_ids(self) -> GoldenRow:
        ids = [document.id for document in self.documents]
        for id_ in ids:
            if ids.count(id_) > 1:
                raise ValueError(f"documents: two are called {id_!r}")
        return self


def case_of(row: GoldenRow, source: str) -> Case:
    """The case that a checked row describes."""
    return Case(
        id=row.id,
        prompt=row.prompt,
        documents=tuple(Document(**document.model_dump()) for document in row.documents),
        turns=tuple(Turn(turn.text, turn.expect.model_dump(exclude_unset=True)) for turn in row.turns),
        answer=row.answer,
        contains=tuple(row.contains),
        excludes=tuple(row.excludes),
        expected=tuple(ExpectedAction(**action.model_dump()) for action in row.expected),
        forbidden=tuple(ExpectedAction(**action.model_dump()) for action in row.forbidden),
        state=row.state,
        principal=row.principal,
        tags=tuple(row.tags),
        metadata=row.metadata,
        skip=row.skip,
        source=source,
    )


_PARTS: dict[str, type[BaseModel]] = {
    "documents": GoldenDocument,
    "turns": GoldenTurn,
    "expect": GoldenExpectation,
    "expected": GoldenExpected,
    "forbidden": GoldenForbidden,
}
_WANTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}


def problems_of(error: ValidationError) -> list[str]:
    """What is wrong with a row, one sentence for each problem, with the path of the field."""
    return [_problem(dict(one)) for one in error.errors(include_url=False)]


def _problem(one: dict[str, Any]) -> str:
    location = [part for part in one["loc"] if part != "[key]"]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    kind = one["type"]
    if kind == "extra_forbidden":
        return _unknown_key(location, path)
    if kind == "missing":
        return f"{path}: missing"
    if kind in _WANTED:
        return f"{path}: expected {_WANTED[kind]}, found {_found(one['input'])}"
    if kind == "value_error":
        text = str(one["ctx"]["error"])
        return f"{path}: {text}" if path else text
    return f"{path}: {one['msg']}"


def _found(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _unknown_key(location: list[Any], path: str) -> str:
    names = [part for part in location[:-1] if isinstance(part, str)]
    holder = _PARTS.get(names[-1], GoldenRow) if names else GoldenRow
    key = str(location[-1])
    near = get_close_matches(key, holder.model_fields, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(holder.model_fields)}"
    return f"{path}: unknown key {key!r}; {hint}"
