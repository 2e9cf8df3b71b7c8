"""Define the gate on golden rows: example requests with known answers that are stored with a version."""

from typing import Annotated, Literal

from pydantic import Field

from surefoot.core.policy.gates.base import SpreadGate
from surefoot.core.policy.gates.metrics import Metric


class GoldenGate(SpreadGate):
    """The rows that the version carries, answered as its author saw them."""

    metric: Literal[Metric.GOLDEN]
    tolerance: Annotated[float, Field(ge=0.0, le=1e6, allow_inf_nan=False)] = Field(
        1e-6, description="Largest difference between two answers that are the same."
    )
