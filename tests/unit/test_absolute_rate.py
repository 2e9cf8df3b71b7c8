"""One arm against an absolute limit."""

import math

import pytest
from scipy import stats

from surefoot.core.errors import InvariantBroken
from surefoot.core.stats.absolute_rate import evidence_against_rate_limit
from surefoot.core.stats.change_point import log_evidence_at_any_start, log_mixture_over_starts
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, NO_HARM_FACTORS, log_mean_exp, multiply_odds


def evidence(bad: int, good: int, limit: float, grid: tuple[float, ...]) -> float:
    """Log evidence of one epoch."""
    return log_mean_exp(evidence_against_rate_limit({0: (bad, good)}, limit, grid)[0])


@pytest.mark.parametrize("grid", [HARM_FACTORS, NO_HARM_FACTORS])
@pytest.mark.parametrize("limit", [1e-9, 0.001, 0.3, 0.9, 1.0 - 1e-9])
def test_mean_over_all_outcomes_at_the_limit_is_one(grid: tuple[float, ...], limit: float) -> None:
    """At the limit the mean evidence over every outcome of 60 trials is exactly one, however extreme the limit."""
    mean = sum(stats.binom.pmf(k, 60, limit) * math.exp(evidence(k, 60 - k, limit, grid)) for k in range(61))
    assert mean == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(("grid", "rate"), [(HARM_FACTORS, 0.005), (NO_HARM_FACTORS, 0.02)])
def test_mean_on_the_good_side_is_lower(grid: tuple[float, ...], rate: float) -> None:
    """Below the limit evidence of harm is worth less than one, and above it evidence of safety."""
    assert sum(stats.binom.pmf(k, 60, rate) * math.exp(evidence(k, 60 - k, 0.01, grid)) for k in range(61)) < 1.0


@pytest.mark.parametrize("factor", [*HARM_FACTORS, *NO_HARM_FACTORS])
def test_one_alternative_is_walds_ratio(factor: float) -> None:
    """With one alternative the evidence is the likelihood ratio of the binomials at it and at the limit."""
    p = multiply_odds(0.02, factor)
    ratio = stats.binom.logpmf(30, 1000, p) - stats.binom.logpmf(30, 1000, 0.02)
    assert evidence(30, 970, 0.02, (factor,)) == pytest.approx(ratio, rel=1e-9)


def test_epochs_are_kept_apart() -> None:
    """Each epoch has its own increments, and their sum is what all trials together are worth."""
    found = evidence_against_rate_limit({0: (1, 99), 3: (9, 91)}, 0.02)
    assert set(found) == {0, 3}
    whole = evidence_against_rate_limit({0: (10, 190)}, 0.02)[0]
    assert [a + b for a, b in zip(found[0], found[3], strict=True)] == pytest.approx(whole)


def test_breach_is_found_and_health_is_proved() -> None:
    """Three times the limit fails within a few thousand trials; half of it passes."""
    assert evidence(90, 2910, 0.01, HARM_FACTORS) >= math.log(100.0) > evidence(30, 2970, 0.01, HARM_FACTORS)
    assert evidence(15, 2985, 0.01, NO_HARM_FACTORS) >= math.log(20.0) > evidence(30, 2970, 0.01, NO_HARM_FACTORS)


def test_breach_after_a_long_good_time_is_found() -> None:
    """A breach after fifty good epochs reaches both the mixture over starts and the detector."""
    good = dict.fromkeys(range(50), (5, 995))
    found = evidence_against_rate_limit(good | {50: (40, 960), 51: (40, 960)}, 0.01)
    assert log_evidence_at_any_start(found) >= math.log(24.0 / 0.01)
    assert log_mixture_over_starts(found, starts=51) >= math.log(100.0)
    assert log_evidence_at_any_start(evidence_against_rate_limit(good, 0.01)) < math.log(50.0)


@pytest.mark.parametrize("limit", [0.0, 1.0, -0.1, math.nan])
def test_a_limit_that_is_none_is_refused(limit: float) -> None:
    """Only a rate between 0 and 1 can be a limit."""
    with pytest.raises(InvariantBroken):
        evidence_against_rate_limit({0: (1, 1)}, limit)
