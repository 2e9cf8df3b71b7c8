"""Define the union type of all gates in a policy."""

from typing import Annotated, get_args

from pydantic import Field, TypeAdapter

from surefoot.core.policy.gates.base import Gate
from surefoot.core.policy.gates.distribution_shift import InputShiftGate, PredictionShiftGate
from surefoot.core.policy.gates.expected_loss import ExpectedLossGate
from surefoot.core.policy.gates.golden_rows import GoldenGate
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
from surefoot.core.policy.gates.served_traffic import (
    ErrorRateGate,
    GaugeGate,
    LatencyGate,
    MissingLabelGate,
    ResourceGate,
    ValueGate,
)

PolicyGate = Annotated[
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
    for kind in get_args(get_args(PolicyGate)[0])
    for metric in get_args(kind.model_fields["metric"].annotation)
}
"""The class of the gates on each metric."""
GATE_ADAPTER: TypeAdapter[PolicyGate] = TypeAdapter(PolicyGate)
"""Reads one gate from the mapping that the file holds."""
