"""Define the policy section `drill`: how often the rollback is rehearsed."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, JsonValue

from surefoot.core.drills.drill_faults import DrillFault
from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import PositiveDuration, Texts, one_or_more_schema, optional_duration
from surefoot.core.policy.violations import Violation

_FAULT_SCHEMA: dict[str, JsonValue] = {"enum": [fault.value for fault in DrillFault]}


class DrillSection(PolicyModel):
    """Rehearse the rollback in a twin of production; a proof that is too old holds back promotions, never rollbacks."""

    every: PositiveDuration = optional_duration("7d", "Time between two drills.")
    expires: PositiveDuration = optional_duration(
        "14d", "Age of the last passed drill from which on no promotion is opened."
    )
    faults: Annotated[Texts, one_or_more_schema(_FAULT_SCHEMA)] = Field(
        (), description="Faults that are injected, one rollback each; every known one without this key."
    )

    def broken_rules(self) -> Iterator[Violation]:
        """A proof lives longer than the time between two drills, and faults are known."""
        if self.expires <= self.every:
            yield Violation(
                ("expires",), "must be longer than 'every': each proof would be too old before the next drill"
            )
        known = [fault.value for fault in DrillFault]
        for place, name in enumerate(self.faults):
            if name not in known:
                yield Violation(("faults", place), f"'{name}' is not a fault that a drill injects: {', '.join(known)}")

    @property
    def chosen(self) -> tuple[DrillFault, ...]:
        """The faults that a scheduled drill injects."""
        return tuple(DrillFault(name) for name in self.faults) or tuple(DrillFault)
