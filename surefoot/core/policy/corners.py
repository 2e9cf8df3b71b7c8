"""Define the policy section `corners`: which corner cases and rare groups of inputs are tested."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import (
    MAX_NUMBER,
    NOT_A_NUMBER_MESSAGE,
    Count,
    Number,
    OptionalKey,
    PositiveDuration,
    Text,
    Texts,
    optional_duration,
)
from surefoot.core.policy.violations import Violation, describe_type, rule_error

_MAX_CORNER_ROWS = 1000
"""Most rows that each corner may demand [count]."""


class ColumnKind(StrEnum):
    """What the values of an input column are."""

    NUMBER = "numbers"
    WHOLE = "whole numbers"
    TEXT = "texts"
    TRUTH = "truth values"
    OTHER = "values of several kinds"
    UNKNOWN = "values that are not known"


NUMERIC_COLUMN_KINDS = frozenset({ColumnKind.NUMBER, ColumnKind.WHOLE})
_FITTING_KINDS: Mapping[str, frozenset[ColumnKind]] = {
    "empty": frozenset({ColumnKind.TEXT}),
    "extremes": NUMERIC_COLUMN_KINDS,
    "unseen": frozenset({ColumnKind.TEXT, ColumnKind.WHOLE}),
    "drawn": frozenset({ColumnKind.TEXT, ColumnKind.TRUTH, *NUMERIC_COLUMN_KINDS}),
}
"""Kinds of columns that each key can be made of; the other keys fit every column."""
_ADVICE = {
    "empty": "only a text can be empty: write it under 'missing' or 'extremes'",
    "extremes": "only numbers have extremes: write it under 'empty', 'unseen' or 'values'",
    "unseen": "only texts and whole numbers are categories: write it under 'extremes' or 'values'",
    "drawn": "values of that kind cannot be drawn: write some under 'values'",
}


def _scalars(value: object) -> object:
    """One value, or a list of values, of a JSON text, number or truth value."""
    found = value if isinstance(value, list) else [value]
    if not found:
        raise rule_error("expected at least one value")
    for item in found:
        if not isinstance(item, str | int | float | bool):
            raise rule_error(f"expected texts, numbers or true/false, found {describe_type(item)}")
        if not isinstance(item, str) and not -MAX_NUMBER <= item <= MAX_NUMBER:  # false for NaN as well
            raise rule_error(f"{describe_type(item)} {NOT_A_NUMBER_MESSAGE}")
        if isinstance(item, str) and not item.isascii() and _is_half(item):
            raise rule_error(f"{item!a} holds half a character, which cannot be written down")
    return tuple(found)


def _is_half(text: str) -> bool:
    """Whether a text holds half a character."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


_SCALAR_SCHEMA = {"type": ["string", "number", "boolean"]}
_Scalars = Annotated[
    tuple[bool | int | float | str, ...],
    PlainValidator(_scalars),
    WithJsonSchema({"anyOf": [_SCALAR_SCHEMA, {"type": "array", "items": _SCALAR_SCHEMA, "minItems": 1}]}),
]


class RareGroups(PolicyModel):
    """Groups of the shadow's gates that have too few requests in its window."""

    reach: PositiveDuration = optional_duration(
        "180d", "How far before the rollout real requests of such a group are taken from the log."
    )


class CornerBounds(PolicyModel):
    """Smallest and largest number of an answer."""

    lowest: OptionalKey[Number] = Field(None, alias="min", description="Smallest number of an answer.")
    highest: OptionalKey[Number] = Field(None, alias="max", description="Largest number of an answer.")

    def broken_rules(self) -> Iterator[Violation]:
        """The smallest is not above the largest."""
        if self.lowest is None and self.highest is None:
            yield Violation((), "needs 'min', 'max' or both")
        elif self.lowest is not None and self.highest is not None and self.lowest > self.highest:
            yield Violation(("min",), f"must not be above max ({self.highest:g})")


class Corners(PolicyModel):
    """Corner cases of the input columns; each is made of real requests with a change in the declared columns."""

    rows: Annotated[Count, Field(ge=1, le=_MAX_CORNER_ROWS)] = Field(
        20, description="Fewest synthetic rows of each corner [count]."
    )
    empty: Texts = Field((), description="Columns of texts that are empty.")
    missing: Texts = Field((), description="Columns without a value.")
    extremes: Texts = Field(
        (), description="Columns of numbers at their smallest and largest recorded value, and far beyond both."
    )
    unseen: Texts = Field((), description="Columns with a category that no recorded request has.")
    drawn: Texts = Field((), description="Columns whose values Hypothesis draws, each alone and several together.")
    explicit: dict[Text, _Scalars] = Field(
        default_factory=dict, alias="values", description="Values by column; each is a corner of its own."
    )
    rare_groups: OptionalKey[RareGroups] = Field(
        None, description="Groups of the shadow's gates with too few requests are raised with older real ones."
    )
    max_difference: OptionalKey[Annotated[float, Field(gt=0.0, le=1e12, allow_inf_nan=False)]] = Field(
        None,
        description="Largest distance of a number in the two versions' answers to a synthetic row; any without it.",
    )
    answers: OptionalKey[CornerBounds] = Field(None, description="Bounds of the numbers in an answer.")
    seed: OptionalKey[Count] = Field(
        None, description="Rows are drawn from it; without it from the rollout's id, and journalled."
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is changed, once."""
        named = (*self.empty, *self.missing, *self.extremes, *self.unseen, *self.drawn, *self.explicit)
        return tuple(dict.fromkeys(named))

    @property
    def count(self) -> int:
        """Corners that are made, without those of rare groups [count]."""
        plain = len(self.empty) + len(self.missing) + 4 * len(self.extremes) + len(self.unseen)
        drawn = len(self.drawn) + (len(self.drawn) > 1)
        return plain + drawn + sum(map(len, self.explicit.values()))

    def _named(self) -> Iterator[tuple[str, int | str, str]]:
        """Each key, the place under it, and the column that stands there."""
        for key in ("empty", "missing", "extremes", "unseen", "drawn"):
            for place, column in enumerate(getattr(self, key)):
                yield key, place, column
        for column in self.explicit:
            yield "values", column, column

    def broken_rules(self) -> Iterator[Violation]:
        """Something is declared, each column once under a key, and no column is both a text and a number."""
        if not self.columns and self.rare_groups is None:
            yield Violation(
                (), "declares no corner: name columns under empty, missing, extremes, unseen, drawn or values"
            )
        seen: set[tuple[str, str]] = set()
        for key, place, column in self._named():
            if (key, column) in seen:
                yield Violation((key, place), f"'{column}' stands here twice")
            seen.add((key, column))
            if key == "extremes" and column in self.empty:
                yield Violation((key, place), f"'{column}' is a text under 'empty' and a number here: one of the two")

    def problems(self, kinds: Mapping[str, ColumnKind], *, complete: bool = True) -> Iterator[Violation]:
        """Corners that do not fit the columns; their paths begin in this section.

        Args:
            kinds: Kind of each known column.
            complete: Whether every column of the model is known.
        """
        for key, place, column in self._named():
            kind = kinds.get(column)
            if kind is None:
                if complete:
                    yield Violation((key, place), f"there is no column '{column}'; columns: {_listed(kinds)}")
            elif kind is not ColumnKind.UNKNOWN and kind not in _FITTING_KINDS.get(key, frozenset(ColumnKind)):
                yield Violation((key, place), f"'{column}' holds {kind}, and {_ADVICE[key]}")


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:30]) + (", ..." if len(found) > 30 else "") or "none"  # noqa: PLR2004 - as many fit a line


def determine_column_kind(values: Iterable[object]) -> ColumnKind:
    """What some JSON values of a column are; missing ones say nothing."""
    types = {type(value) for value in values if value is not None}
    if not types:
        return ColumnKind.UNKNOWN
    if types == {bool}:
        return ColumnKind.TRUTH
    if types == {int}:
        return ColumnKind.WHOLE
    if types <= {int, float}:
        return ColumnKind.NUMBER
    return ColumnKind.TEXT if types == {str} else ColumnKind.OTHER
