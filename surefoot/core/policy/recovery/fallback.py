"""Define the policy section `fallback`: what answers a request that no version can answer."""

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue
from pydantic_core import PydanticCustomError

from surefoot.core.fallback import FallbackAnswer, FallbackReference
from surefoot.core.naming.model_names import is_model_name
from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import MAX_NUMBER, NOT_A_NUMBER_MESSAGE, OptionalKey, Text, Texts
from surefoot.core.policy.violations import Violation, describe_type, rule_error

_MAX_CONSTANT_CHARACTERS = 10_000
"""Longest constant, as JSON: it stands in the log for each row that it answers [characters]."""
_VERSION_PATTERN = r"(?:models:/([^/:]{1,256})/)?([1-9][0-9]{0,18})"
"""A version of the same model, or of another one as MLflow's users write it."""

ANSWER_JSON_COLUMN = "answer"
"""Column of a table's file that holds the answers, as JSON."""


def check_fallback_answer(value: JsonValue) -> None:
    """Check that a caller can be given a value for a row.

    Raises:
        Violation: It is null, no number that JSON has, or too long.
    """
    try:
        _constant(value)
    except PydanticCustomError as error:
        raise Violation((), "; ".join(one.rule for one in (error.context or {})["broken"])) from error


def _check_kept(value: JsonValue) -> None:
    """Refuse numbers and texts that the journal or a caller's JSON cannot carry."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_kept(key)
            _check_kept(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_kept(inner)
    elif isinstance(value, str):
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise rule_error(f"{describe_type(value)} holds half a character")
    elif isinstance(value, int | float) and not -MAX_NUMBER <= value <= MAX_NUMBER:  # true for NaN as well
        raise rule_error(f"{describe_type(value)} {NOT_A_NUMBER_MESSAGE}")


def _constant(value: JsonValue) -> JsonValue:
    """A constant that a caller can be given for a row."""
    if value is None:
        raise rule_error("null is no answer: write the answer that each row gets, or 'refuse: true'")
    _check_kept(value)
    text = json.dumps(value, allow_nan=False)
    if len(text) > _MAX_CONSTANT_CHARACTERS:
        raise rule_error(f"it has {len(text):,} characters as JSON, of at most {_MAX_CONSTANT_CHARACTERS:,}")
    return value


def _only_true(value: object) -> object:
    """The one value of a key that only says which kind is wanted."""
    if value is not True:
        raise rule_error(f"expected true, found {describe_type(value)}")
    return value


def _version(value: object) -> object:
    """A version as a text: its number, or `models:/name/number`."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    found = re.fullmatch(_VERSION_PATTERN, text) if isinstance(text, str) else None
    if found and (found.group(1) is None or is_model_name(found.group(1))):
        return text
    moving = isinstance(text, str) and ("@" in text or text.startswith("models:/"))
    hint = ": an alias or a stage may move, and a model's name alone names no version" if moving else ""
    raise rule_error(
        f"expected the number of a version, or 'models:/<model>/<number>', found {describe_type(value)}{hint}"
    )


def _below_project(file: str) -> str:
    """A file below the project's folder, so that the policy means the same on each host."""
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or path.suffix.lower() not in {".csv", ".parquet"}:
        raise rule_error(f"expected a .csv or .parquet file below the project's folder, found '{file}'")
    return file


def _distinct(keys: tuple[str, ...]) -> tuple[str, ...]:
    if not keys or len(set(keys)) < len(keys) or ANSWER_JSON_COLUMN in keys:
        raise rule_error(f"expected one or more different columns of the requests, none of them '{ANSWER_JSON_COLUMN}'")
    return keys


class FallbackTableSection(PolicyModel):
    """A file of answers by one or more columns of the requests."""

    file: Annotated[Text, AfterValidator(_below_project)] = Field(
        description="CSV or Parquet file below the project's folder: the key columns, and `answer` as JSON."
    )
    keys: Annotated[Texts, AfterValidator(_distinct)] = Field(
        description="Columns of the requests whose values name a row of the file."
    )


class Fallback(PolicyModel):
    """What a request gets that no version can answer."""

    constant: Annotated[JsonValue, AfterValidator(_constant)] = Field(
        None,
        description="JSON answer that each row of the request gets, such as 0.18.",
        json_schema_extra={"not": {"type": "null"}},
    )
    table: OptionalKey[FallbackTableSection] = Field(
        None, description="File of answers by columns of the request; the row without a key is that of all others."
    )
    pyfunc: OptionalKey[Annotated[Text, BeforeValidator(_version)]] = Field(
        None,
        description="MLflow version that answers: a number of this model, or `models:/<model>/<number>`.",
        json_schema_extra={
            "type": ["string", "integer"],
            "minimum": 1,
            "pattern": f"^{_VERSION_PATTERN}$",
            "examples": [3, "models:/base-rate/2"],
        },
    )
    refuse: OptionalKey[Annotated[Literal[True], BeforeValidator(_only_true)]] = Field(
        None, description="Refuse the request with an error and its reason, as without this section."
    )

    def broken_rules(self) -> Iterator[Violation]:
        """Exactly one kind is written."""
        named = (self.table is not None, self.pyfunc is not None, self.refuse is True)
        if sum(("constant" in self.model_fields_set, *named)) != 1:
            yield Violation((), "exactly one of 'constant', 'table', 'pyfunc' and 'refuse' is written")

    @property
    def kind(self) -> str:
        """The kind that is written."""
        named = {"table": self.table, "pyfunc": self.pyfunc, "refuse": self.refuse}
        return next((kind for kind, value in named.items() if value is not None), "constant")

    @property
    def answer(self) -> FallbackAnswer | None:
        """The constant; None for a table, which has to be read from its file, and for what is no list of answers."""
        return (
            FallbackAnswer("constant", json.dumps(self.constant, allow_nan=False)) if self.kind == "constant" else None
        )

    def reference(self, model: str) -> FallbackReference | None:
        """The version that answers; None where no version does.

        Args:
            model: Registered model of the policy, to which a bare number belongs.
        """
        match = re.fullmatch(_VERSION_PATTERN, self.pyfunc or "")
        return None if match is None else FallbackReference(match[1] or model, match[2])
