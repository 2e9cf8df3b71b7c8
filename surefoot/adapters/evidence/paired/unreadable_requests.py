"""Describe requests that a gate's metric cannot read: their example ids, and the values that it accepts."""

import heapq
from collections.abc import Iterable

from surefoot.adapters.evidence.excluded_counts import MAX_EXAMPLE_REQUESTS
from surefoot.core.answers.losses import NUMBER_LOSSES
from surefoot.core.policy.policy_types import (
    GROUP_RATE_METRICS,
    SCORE_BIN_METRICS,
    Gate,
    Metric,
    get_gate_class_names,
    get_gate_loss,
)


def pick_example_ids(ids: Iterable[str]) -> list[str]:
    """Pick a few request ids as examples, the same ones in whatever order they come."""
    return heapq.nsmallest(MAX_EXAMPLE_REQUESTS, set(ids))


def describe_accepted_values(gate: Gate) -> str:
    """Describe which answers and labels a gate's metric accepts."""
    if classes := get_gate_class_names(gate):
        return f"labels are among {', '.join(classes)}, answers their probabilities or names"
    if gate.metric in SCORE_BIN_METRICS | GROUP_RATE_METRICS | {Metric.BRIER, Metric.LOG_LOSS, Metric.COST}:
        return "probabilities and labels of 0 or 1 are wanted, or 'classes' in the policy"
    if gate.metric is Metric.ZERO_ONE:
        return (
            "classes are wanted, or 'classes' in the policy where probabilities or numbers meet labels that are texts"
        )
    if get_gate_loss(gate) in NUMBER_LOSSES:
        return "numbers are wanted; where the model answers with several, a label with as many"
    return "numbers or classes are wanted"
