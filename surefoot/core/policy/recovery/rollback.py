"""Define the policy section `rollback`: whether traffic moves back at once or in steps, and to which versions."""

import itertools
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import Count, OptionalKey, PositiveDuration, Texts, optional_duration
from surefoot.core.policy.steps import WeightShare
from surefoot.core.policy.violations import Violation, describe_type, rule_error

_DEFAULT_STEPS = (10.0, 25.0, 50.0)


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


class RollbackCohort(PolicyModel):
    """Units that the proven-good version answers first: a canary of the rollback."""

    share: WeightShare = Field(description="Share of the units, by their hash; they stay in all later steps [percent].")
    hold: PositiveDuration = optional_duration("1m", "Time in which the cohort alone is with the proven-good version.")


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
        if self.cohort is not None and self.cohort.share >= self.weights[0]:
            first = self.weights[0]
            yield Violation(("cohort", "share"), f"{self.cohort.share:g} is not below the first step, {first:g}")
