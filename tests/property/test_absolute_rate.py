"""Laws of one arm against a limit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.stats.absolute_rate import evidence_against_rate_limit
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, NO_HARM_FACTORS

LIMITS = st.floats(1e-9, 1.0 - 1e-9)
GRIDS = st.sampled_from([HARM_FACTORS, NO_HARM_FACTORS])


@given(LIMITS, st.floats(0.0, 1.0), GRIDS)
def test_a_trial_is_worth_at_most_one_on_the_good_side(limit: float, part: float, grid: tuple[float, ...]) -> None:
    """Each alternative alone is worth at most one on average wherever its null holds, and exactly one at the limit."""
    bad, good = (evidence_against_rate_limit({0: cell}, limit, grid)[0] for cell in ((1, 0), (0, 1)))
    rate = part * limit if grid is HARM_FACTORS else limit + part * (1.0 - limit)
    for up, down in zip(bad, good, strict=True):
        assert limit * math.exp(up) + (1.0 - limit) * math.exp(down) == pytest.approx(1.0, abs=1e-9)
        assert rate * math.exp(up) + (1.0 - rate) * math.exp(down) <= 1.0 + 1e-9


@given(LIMITS, st.integers(0, 10**6), st.integers(0, 10**6))
def test_bad_trials_are_harm_and_good_ones_are_not(limit: float, bad: int, good: int) -> None:
    """A bad trial never lowers the evidence of harm nor raises that of safety, under any alternative."""
    for grid, sign in ((HARM_FACTORS, 1.0), (NO_HARM_FACTORS, -1.0)):
        here, worse, better = (
            evidence_against_rate_limit({0: cell}, limit, grid)[0]
            for cell in ((bad, good), (bad + 1, good), (bad, good + 1))
        )
        assert all(math.isfinite(x) for x in (*here, *worse, *better))
        slack = 1e-9 * (1.0 + bad + good)
        assert all(sign * (b - a) >= -slack for a, b in zip(here, worse, strict=True))
        assert all(sign * (b - a) <= slack for a, b in zip(here, better, strict=True))
