"""Settings under which nothing can fail; a policy that is opened must have none, one of an old journal may."""

import math
from functools import partial

from surefoot.core.answers.class_names import class_text, says_nothing
from surefoot.core.domain import Outcome
from surefoot.core.policy.fields import Problem, Violation, guarded, tell
from surefoot.core.policy.model import BINNED, CONFUSIONS, EVENTS, SHIFTS, Gate, Metric, Policy
from surefoot.core.policy.parse_gate import TWO_CLASSES

LARGEST = dict.fromkeys(
    {*EVENTS, *BINNED, *CONFUSIONS, *SHIFTS, Metric.ZERO_ONE, Metric.BRIER, Metric.DISAGREEMENT}, 1.0
)
"""Largest value that a metric has, and the largest difference of two of them [unit of the metric]."""


def refuse_vacuous(policy: Policy, told: Problem | None = None) -> None:
    """Refuse what no candidate could fail, and classes that cannot be told apart.

    Args:
        policy: The policy.
        told: Where broken rules go; without it the first one is raised.

    Raises:
        Violation: Names the first setting of that kind.
    """
    for gate in policy.gates.values():
        guarded(told, partial(_gate, gate), None)
        guarded(told, partial(_classes, gate), None)
    if math.isinf(policy.on[Outcome.FAIL].hold):
        tell(told, ("on", "fail"), "'hold' without an end lets nothing fail: say rollback, pause or how long to hold")


def _gate(gate: Gate) -> None:
    largest = LARGEST.get(gate.metric, math.inf)
    if gate.metric is Metric.BRIER and gate.classes:
        largest = 2.0
    if gate.metric is Metric.VALUE:
        largest = gate.cap - gate.floor
    relevant = gate.limit if gate.metric in SHIFTS else gate.margin
    grows = gate.metric not in SHIFTS and gate.margin is not None and (gate.relative or gate.margin < largest)
    limited = gate.limit is not None and gate.limit < largest
    if not grows and not limited and (relevant is not None or gate.limit is not None):
        where, found = ("margin", relevant) if gate.limit is None else ("max", gate.limit)
        rule = f"must be below {largest:g}, found {found:g}: no {gate.metric} is larger, so nothing could fail"
        raise Violation(("gates", gate.name, where), rule)


def _classes(gate: Gate) -> None:
    where = ("gates", gate.name, "classes")
    if blank := next((name for name in gate.classes if says_nothing(name)), None):
        raise Violation(where, f"names the class {blank!r}, which stands for a missing value: no label is read as it")
    if len({class_text(name) for name in gate.classes}) < len(gate.classes):
        raise Violation(where, "names a class twice: 1, 1.0, true and '1' are one name")
    if len(gate.classes) == 1 or (gate.classes and gate.metric in TWO_CLASSES and len(gate.classes) != 2):  # noqa: PLR2004 - no and yes
        raise Violation(where, "names every class; this metric knows two, of which the second is the positive one")
