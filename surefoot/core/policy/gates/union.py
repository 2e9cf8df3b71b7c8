"""Define the union type of all gates in a policy, discriminated by the field `metric`."""

from typing import Annotated, get_args

from pydantic import Field, TypeAdapter

from surefoot.core.policy.gates.base import Gate
from surefoot.core.policy.gates.metrics import Metric
from surefoot.core.policy.gates.paired import (
    CostGate,
    DecisionGapGate,
    DisagreementGate,
    LossGapGate,
    NumberLossGate,
    PinballGate,
    ProbabilityLossGate,
    ScoreDistributionGate,
    ZeroOneGate,
)
from surefoot.core.policy.gates.served import (
    ErrorRateGate,
    GaugeGate,
    LatencyGate,
    MissingLabelGate,
    ResourceGate,
    ValueGate,
)
from surefoot.core.policy.gates.shift_and_golden import (
    ExpectedLossGate,
    GoldenGate,
    InputShiftGate,
    PredictionShiftGate,
)

WrittenGate = Annotated[
    ErrorRateGate
    | MissingLabelGate
    | LatencyGate
    | ResourceGate
    | GaugeGate
    | ValueGate
    | ProbabilityLossGate
    | NumberLossGate
    | PinballGate
    | ZeroOneGate
    | CostGate
    | DisagreementGate
    | ScoreDistributionGate
    | DecisionGapGate
    | LossGapGate
    | InputShiftGate
    | PredictionShiftGate
    | ExpectedLossGate
    | GoldenGate,
    Field(discriminator="metric"),
]
GATE_CLASSES: dict[Metric, type[Gate]] = {
    metric: kind
    for kind in get_args(get_args(WrittenGate)[0])
    for metric in get_args(kind.model_fields["metric"].annotation)
}
"""The class of the gates on each metric."""
GATE_ADAPTER: TypeAdapter[WrittenGate] = TypeAdapter(WrittenGate)
"""Reads one gate from the mapping that the file holds."""
