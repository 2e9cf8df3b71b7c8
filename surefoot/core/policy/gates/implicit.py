"""Define the implicit gates, which every rollout has although its policy does not list them."""

from typing import Literal

from surefoot.core.policy.gates.base import Gate
from surefoot.core.policy.gates.metrics import Metric


class ImplicitGate(Gate):
    """A gate that every rollout begins with; no policy names it."""

    metric: Literal[Metric.VALIDATION, Metric.ANSWER_SHAPE]
