"""Find vacuous policy settings, with which no candidate could ever fail, or ever pass, a gate."""

import math
from collections.abc import Iterable, Iterator

from surefoot.core.answers.class_names import convert_to_class_name, is_missing_value
from surefoot.core.policy.gates.base import Gate, LimitedGate
from surefoot.core.policy.gates.distribution_shift import ShiftGate
from surefoot.core.policy.gates.metrics import (
    BAD_EVENT_METRICS,
    BINARY_METRICS,
    GROUP_RATE_METRICS,
    SCORE_BIN_METRICS,
    SHIFT_METRICS,
    Metric,
)
from surefoot.core.policy.gates.paired import get_gate_class_names
from surefoot.core.policy.gates.served_traffic import ValueGate
from surefoot.core.policy.sections import Reaction
from surefoot.core.policy.violations import Violation

_LARGEST_VALUES = dict.fromkeys(
    {
        *BAD_EVENT_METRICS,
        *SCORE_BIN_METRICS,
        *GROUP_RATE_METRICS,
        *SHIFT_METRICS,
        Metric.ZERO_ONE,
        Metric.BRIER,
        Metric.DISAGREEMENT,
    },
    1.0,
)
"""Largest value that a metric has, and the largest difference of two of them [unit of the metric]."""


def vacuous_settings(gates: Iterable[Gate], fail: Reaction | None) -> Iterator[Violation]:
    """Find what no candidate could fail or pass, and classes that cannot be told apart.

    Args:
        gates: Gates of the policy.
        fail: What a FAIL leads to; None when it is not known.
    """
    for gate in gates:
        yield from _gate(gate)
        yield from _classes(gate)
    if fail is not None and math.isinf(fail.hold):
        rule = "'hold' without an end lets nothing fail: say rollback, pause or how long to hold"
        yield Violation(("on", "fail"), rule)


def _gate(gate: Gate) -> Iterator[Violation]:
    largest = _LARGEST_VALUES.get(gate.metric, math.inf)
    margin, relative, limit = None, False, None
    if isinstance(gate, LimitedGate):
        margin, relative, limit = gate.margin, gate.relative, gate.limit
        if gate.metric is Metric.BRIER and get_gate_class_names(gate):
            largest = 2.0
    elif isinstance(gate, ValueGate):
        margin, relative, largest = gate.margin, gate.relative, gate.cap - gate.floor
    elif isinstance(gate, ShiftGate):
        limit = gate.limit
        if not gate.block:
            yield Violation(("gates", gate.name, "block"), "must be above 0s: without a length there is no level")
    grows = margin is not None and (relative or margin < largest)
    limited = limit is not None and limit < largest
    found = margin if limit is None else limit
    if found is not None and not grows and not limited:
        where = "margin" if limit is None else "max"
        rule = f"must be below {largest:g}, found {found:g}: no {gate.metric} is larger, so nothing could fail"
        yield Violation(("gates", gate.name, where), rule)


def _classes(gate: Gate) -> Iterator[Violation]:
    where, classes = ("gates", gate.name, "classes"), get_gate_class_names(gate)
    if blank := next((name for name in classes if is_missing_value(name)), None):
        yield Violation(where, f"names the class {blank!r}, which stands for a missing value: no label is read as it")
    elif len({convert_to_class_name(name) for name in classes}) < len(classes):
        yield Violation(where, "names a class twice: 1, 1.0, true and '1' are one name")
    elif len(classes) == 1 or (classes and gate.metric in BINARY_METRICS and len(classes) != 2):  # noqa: PLR2004 - no and yes
        yield Violation(where, "names every class; this metric knows two, of which the second is the positive one")
