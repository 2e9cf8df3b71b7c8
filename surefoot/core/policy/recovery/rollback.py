"""Define the policy section `rollback`: its mode (at once or in steps), its window, and its first cohort."""

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from surefoot.core.canonical_text import canonical_text
from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import Count, OptionalKey, PositiveDuration, Texts, optional_duration
from surefoot.core.policy.steps import WeightShare
from surefoot.core.policy.violations import Violation, describe_type, rule_error

_DEFAULT_STEPS = (10.0, 25.0, 50.0)
_LEAST_SHARE = 0.1
"""Share of the units beside a cohort's listed ones, where the policy names no share: the smallest weight [percent]."""
_MAX_UNITS = 1000
"""Most units of a cohort: each split, and the gateway's route, names them [count]."""
_UNITS_SCHEMA = WithJsonSchema(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": _MAX_UNITS,
        "items": {"type": ["string", "number", "boolean"]},
        "examples": [["ACME", 4711]],
    }
)


def _weights(value: object) -> object:
    if not isinstance(value, list) or not value:
        raise rule_error(f"expected a list of weights such as [10, 25, 50], found {describe_type(value)}")
    return tuple(value)


def _growing(weights: tuple[float, ...]) -> tuple[float, ...]:
    for before, after in itertools.pairwise(weights):
        if after <= before:
            raise rule_error(f"weights must grow; {after:g} follows {before:g}")
    return weights


class RollbackWindow(PolicyModel):
    """Versions that a rollback goes to at once, also where its mode is `stepped`."""

    age: OptionalKey[PositiveDuration] = Field(
        None, description="Longest time since the version last answered callers, such as 30d."
    )
    versions: OptionalKey[Annotated[Count, Field(ge=1)]] = Field(
        None, description="How many proven-good versions back it may be; 1 is the last one [count]."
    )

    def broken_rules(self) -> Iterator[Violation]:
        """A window has an end."""
        if self.age is None and self.versions is None:
            yield Violation((), "give 'age', 'versions' or both: a window without either holds every version")


def _read_units(value: object) -> object:
    """Units as canonical texts, each once."""
    if not isinstance(value, list) or not value:
        raise rule_error(f"expected a list of units such as [ACME, 4711], found {describe_type(value)}")
    if len(value) > _MAX_UNITS:
        raise rule_error(f"{len(value):,} units are too many: at most {_MAX_UNITS:,}; a share takes more")
    found: dict[str, object] = {}
    for unit in value:
        text = None if isinstance(unit, list | dict) else canonical_text(unit)
        if text is None or (isinstance(unit, float) and not math.isfinite(unit)):
            raise rule_error(f"expected a unit as requests name it, found {describe_type(unit)}")
        if text in found:
            raise rule_error(f"{describe_type(unit)} and {describe_type(found[text])} are the same unit")
        found[text] = unit
    return tuple(found)


class RollbackCohort(PolicyModel):
    """Units that the proven-good version answers first: a canary of the rollback."""

    share: OptionalKey[WeightShare] = Field(
        None, description="Share of the units, by their hash; they stay in all later steps [percent]."
    )
    units: Annotated[tuple[str, ...], BeforeValidator(_read_units), _UNITS_SCHEMA] = Field(
        (), description="Units by name, compared as canonical texts; they stay in all later steps."
    )
    hold: PositiveDuration = optional_duration("1m", "Time in which the cohort alone is with the proven-good version.")

    @property
    def weight(self) -> float:
        """Weight of the first step [percent]."""
        return _LEAST_SHARE if self.share is None else self.share

    def broken_rules(self) -> Iterator[Violation]:
        """A cohort has units."""
        if self.share is None and not self.units:
            yield Violation((), "give 'share', 'units' or both: a cohort without either has no unit")


class RollbackSection(PolicyModel):
    """How traffic goes back from a promoted version; an open rollout always goes back at once."""

    mode: Literal["immediate", "stepped"] = Field(
        "immediate", description="At once, or step by step; abort, failed gates and the tripwire always act at once."
    )
    weights: Annotated[tuple[WeightShare, ...], BeforeValidator(_weights), AfterValidator(_growing)] = Field(
        _DEFAULT_STEPS,
        alias="steps",
        description="Share of the units that the proven-good version answers in each step [percent, 0.1 to 99].",
        json_schema_extra={"minItems": 1, "default": [10, 25, 50]},
    )
    cohort: OptionalKey[RollbackCohort] = Field(
        None, description="Units that go back before all others, for a time of their own."
    )
    hold: PositiveDuration = optional_duration("1m", "Time at each weight.")
    gates: Texts = Field(
        (), description="Gates of errors and latency that must not fail; every one of the policy without a name."
    )
    window: OptionalKey[RollbackWindow] = Field(
        None, description="Versions that a stepped rollback goes to at once, since they are warm or well known."
    )

    def broken_rules(self) -> Iterator[Violation]:
        """A cohort is smaller than the first step."""
        if self.cohort is not None and self.cohort.weight >= self.weights[0]:
            first = self.weights[0]
            yield Violation(("cohort", "share"), f"{self.cohort.weight:g} is not below the first step, {first:g}")
