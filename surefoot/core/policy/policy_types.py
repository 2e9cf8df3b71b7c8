"""Collect the gate, metric and step types of a policy for import from one place."""

from surefoot.core.policy.corners import Corners
from surefoot.core.policy.gates.base import Gate, LimitedGate, SlicedGate, narrow_gate_type
from surefoot.core.policy.gates.distribution_shift import InputShiftGate, ShiftGate
from surefoot.core.policy.gates.expected_loss import ExpectedLossGate
from surefoot.core.policy.gates.golden_rows import GoldenGate
from surefoot.core.policy.gates.implicit import ANSWER_SHAPE_GATE_NAME, CORNERS_GATE_NAME, DATA_GATE_NAME, ImplicitGate
from surefoot.core.policy.gates.metrics import (
    BAD_EVENT_METRICS,
    BINARY_METRICS,
    CLASS_LOSS_METRICS,
    GAP_METRICS,
    GROUP_RATE_METRICS,
    LIVE_ONLY_METRICS,
    LOSS_METRICS,
    MEASUREMENT_METRICS,
    PAIRED_METRICS,
    SCORE_BIN_METRICS,
    SHIFT_METRICS,
    Metric,
)
from surefoot.core.policy.gates.paired import (
    ClassGate,
    CostGate,
    Costs,
    PairedGate,
    PinballGate,
    get_gate_class_names,
    get_gate_loss,
    get_gate_threshold,
)
from surefoot.core.policy.gates.served_traffic import (
    BadEventGate,
    ErrorRateGate,
    GaugeGate,
    LatencyGate,
    MeasurementGate,
    ValueGate,
)
from surefoot.core.policy.policy import Policy
from surefoot.core.policy.sections import FailureAction, Reaction, Scoring
from surefoot.core.policy.steps import (
    REPLAY_EVALUATION_INTERVAL_S,
    Approve,
    Bake,
    LiveShadow,
    Shadow,
    Step,
    Weight,
    default_evaluation_interval,
)

__all__ = [
    "ANSWER_SHAPE_GATE_NAME",
    "BAD_EVENT_METRICS",
    "BINARY_METRICS",
    "CLASS_LOSS_METRICS",
    "CORNERS_GATE_NAME",
    "DATA_GATE_NAME",
    "GAP_METRICS",
    "GROUP_RATE_METRICS",
    "LIVE_ONLY_METRICS",
    "LOSS_METRICS",
    "MEASUREMENT_METRICS",
    "PAIRED_METRICS",
    "REPLAY_EVALUATION_INTERVAL_S",
    "SCORE_BIN_METRICS",
    "SHIFT_METRICS",
    "Approve",
    "BadEventGate",
    "Bake",
    "ClassGate",
    "Corners",
    "CostGate",
    "Costs",
    "ErrorRateGate",
    "ExpectedLossGate",
    "FailureAction",
    "Gate",
    "GaugeGate",
    "GoldenGate",
    "ImplicitGate",
    "InputShiftGate",
    "LatencyGate",
    "LimitedGate",
    "LiveShadow",
    "MeasurementGate",
    "Metric",
    "PairedGate",
    "PinballGate",
    "Policy",
    "Reaction",
    "Scoring",
    "Shadow",
    "ShiftGate",
    "SlicedGate",
    "Step",
    "ValueGate",
    "Weight",
    "default_evaluation_interval",
    "get_gate_class_names",
    "get_gate_loss",
    "get_gate_threshold",
    "narrow_gate_type",
]
