"""Define the implicit gates (data, answer shape, corner cases), which a policy does not list as gates."""

from typing import Literal

from surefoot.core.policy.gates.base import Gate
from surefoot.core.policy.gates.metrics import Metric

DATA_GATE_NAME = "data"
"""Name of the implicit gate that every rollout starts with: its expectation suite."""
ANSWER_SHAPE_GATE_NAME = "answer_shape"
"""Name of the implicit gate beside it: both versions give answers of the same shape."""
CORNERS_GATE_NAME = "corners"
"""Name of the implicit gate of a shadow whose policy declares corners."""


class ImplicitGate(Gate):
    """A gate that no policy names: a rollout has it by itself, or by a section of its policy."""

    metric: Literal[Metric.VALIDATION, Metric.ANSWER_SHAPE, Metric.CORNERS]


DATA_GATE = ImplicitGate(metric=Metric.VALIDATION).with_name(DATA_GATE_NAME)
ANSWER_SHAPE_GATE = ImplicitGate(metric=Metric.ANSWER_SHAPE).with_name(ANSWER_SHAPE_GATE_NAME)
CORNERS_GATE = ImplicitGate(metric=Metric.CORNERS).with_name(CORNERS_GATE_NAME)
IMPLICIT_GATES: dict[str, Gate] = {gate.name: gate for gate in (DATA_GATE, ANSWER_SHAPE_GATE, CORNERS_GATE)}
"""Gates that no policy writes, by name."""
