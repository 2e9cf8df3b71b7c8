"""Define the implicit gates, which a rollout has although its policy does not list them."""

from typing import Literal

from surefoot.core.policy.gates.base import Gate
from surefoot.core.policy.gates.metrics import Metric


class ImplicitGate(Gate):
    """A gate that no policy names: a rollout has it by itself, or by a section of its policy."""

    metric: Literal[Metric.VALIDATION, Metric.ANSWER_SHAPE, Metric.CORNERS]
