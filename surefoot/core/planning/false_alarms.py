"""Compute an upper bound on the yearly false alarms of the bake, the observation period after a promotion."""

import math

from surefoot.core.policy.policy_types import Policy

_YEAR_S = 365.25 * 86400.0


def false_alarms_a_year(policy: Policy) -> float:
    """Largest number of good versions that the bake's gates would roll back, if it went on, in a year [count per year].

    Law: the bake's detector raises a false alarm at most once in E / alpha epochs on average, where E epochs make up a
        bake; gates share half of the budget. So the number a year is that half times the bakes a year.
    """
    return policy.false_rollback_budget / 2.0 * _YEAR_S / policy.bake.hold if policy.bake.hold > 0.0 else math.inf
