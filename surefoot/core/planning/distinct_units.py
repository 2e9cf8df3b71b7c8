"""Estimate how many distinct units, such as customers, send a given number of requests."""

import math


def distinct_units(n: float, units: float) -> float:
    """Different units among n requests, if every unit comes as often as any other [count]; n when nothing is known.

    Args:
        n: Requests [count].
        units: Different units that there are [count]; 0 when unknown.

    Source: Feller (1968), An Introduction to Probability Theory 1, section IV.2 (occupancy).
    """
    return units * -math.expm1(-n / units) if units else n
