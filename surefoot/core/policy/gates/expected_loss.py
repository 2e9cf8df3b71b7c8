"""Define the gate on expected Brier loss, which needs no new labels."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from surefoot.core.domain import Role
from surefoot.core.policy.gates.base import Labels, LimitedGate, RoleField, SpreadGate
from surefoot.core.policy.gates.distribution_shift import _signal, _without_default
from surefoot.core.policy.gates.metrics import Metric
from surefoot.core.policy.scalars import BlockLength, optional_duration


class ExpectedLossGate(LimitedGate, SpreadGate):
    """The Brier loss to expect before the labels are in; only as a signal."""

    metric: Literal[Metric.EXPECTED_LOSS]
    role: Annotated[RoleField, AfterValidator(_signal), WithJsonSchema({"const": Role.SIGNAL.value})] = Field(
        Role.GUARDRAIL,
        validate_default=True,
        description="An expectation is no proof: say signal.",
        json_schema_extra=_without_default,
    )
    labels: Labels = Field(description="When the labels of the past count.")
    block: BlockLength = optional_duration("1d", "Has no effect on this metric.")

    @property
    def maturity(self) -> float:
        """Age at which a label counts [seconds]."""
        return self.labels.maturity
