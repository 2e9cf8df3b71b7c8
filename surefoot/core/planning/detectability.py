"""Define what a gate can detect in a step, and find the smallest harm that it detects with a given power."""

import math
from collections.abc import Callable
from dataclasses import dataclass

PLAN_POWER = 0.8
"""Chance that a plan counts on [probability]."""
_BISECTION_STEPS = 60
"""Halvings of an interval until a number is known as well as floating point knows it [count]."""


@dataclass(frozen=True, slots=True)
class Detectability:
    """What one gate can detect in one step, and how long a pass takes.

    Attributes:
        step: The step as people name it: "shadow", "weight 5 %" or "bake".
        gate: Name of the gate.
        metric: What it measures.
        n: What it counts by the end of the step, earlier steps included where they count too.
        counts: What is counted: "requests", "units" or "blocks".
        effect: Smallest harm that is found by then with the chance PLAN_POWER; None where no number can be given.
        finds: The same in words; empty where no number can be given.
        passes: Chance that a candidate equal to the champion passes by the end of the step, or None.
        needs: How long the step must be for that chance to be PLAN_POWER [seconds]; None when it is unknown.
        lasts: How long the step is planned to be [seconds].
        assumes: What the numbers rest on that the policy does not say; empty when nothing.
        warning: What is wrong with this step; empty when nothing is.
    """

    step: str
    gate: str
    metric: str
    n: float
    counts: str
    effect: float | None = None
    finds: str = ""
    passes: float | None = None
    needs: float | None = None
    lasts: float = 0.0
    assumes: str = ""
    warning: str = ""


def find_smallest_detectable_harm(
    found: Callable[[float], float], low: float, high: float, chance: float = PLAN_POWER
) -> float:
    """Smallest harm that is found with a chance; infinite when even the largest is not.

    Args:
        found: Chance to find a harm [0 to 1]; never falls as the harm grows.
        low: Least harm [> 0].
        high: Largest harm that there is.
        chance: Chance that is wanted [probability].
    """
    if found(high) < chance:
        return math.inf
    for _ in range(_BISECTION_STEPS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if found(middle) >= chance else (middle, high)
    return high
