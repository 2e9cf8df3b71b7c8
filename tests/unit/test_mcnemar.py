"""Two versions on the same requests: only disagreements speak."""

import math

import pytest
from scipy import stats

from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import BadEventStratum
from surefoot.core.stats.mcnemar import BET_SHARES, log_evidence_of_harm, log_evidence_of_no_harm
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, MIN_PROBABILITY, log_evidence


@pytest.mark.parametrize("n", [1, 7, 40, 200])
def test_mean_over_all_outcomes_of_equal_versions_is_one(n: int) -> None:
    """When either version is as likely to be the wrong one, the mean evidence of harm is exactly one."""
    mean = sum(stats.binom.pmf(k, n, 0.5) * math.exp(log_evidence_of_harm(k, n - k)) for k in range(n + 1))
    assert mean == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("n", [7, 40])
def test_mean_of_a_better_candidate_is_lower(n: int) -> None:
    """When the candidate is less often the wrong one, the mean evidence of harm is below one."""
    mean = sum(stats.binom.pmf(k, n, 0.4) * math.exp(log_evidence_of_harm(k, n - k)) for k in range(n + 1))
    assert mean < 1.0


def test_harm_is_the_split_test_at_half_each() -> None:
    """Disagreements are rare events that fall to either version with a half each."""
    found = log_evidence([BadEventStratum(0.5, 60, 0, 30, 0)], MIN_PROBABILITY, 1.0, 0.0, HARM_FACTORS)
    assert log_evidence_of_harm(60, 30) == pytest.approx(found, abs=1e-3)


def test_harm_needs_disagreement() -> None:
    """Without a disagreement there is no evidence, and with as many wins as losses it is against harm."""
    assert log_evidence_of_harm(0, 0) == 0.0
    assert log_evidence_of_harm(200, 200) < 0.0
    assert log_evidence_of_harm(300, 200) > math.log(100.0)


@pytest.mark.parametrize("delta", [0.0, 0.01, 0.2])
@pytest.mark.parametrize("disagree", [0.25, 0.9])
@pytest.mark.parametrize("n", [1, 12])
def test_mean_over_all_outcomes_at_the_limit_is_one(delta: float, disagree: float, n: int) -> None:
    """When the candidate loses exactly as much as is accepted, the mean evidence of safety is exactly one."""
    worse, better = (disagree + delta) / 2.0, (disagree - delta) / 2.0
    mean = 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            chance = stats.multinomial.pmf([b, c, n - b - c], n, [worse, better, 1.0 - disagree])
            mean += chance * math.exp(log_evidence_of_no_harm(b, c, n - b - c, delta))
    assert mean == pytest.approx(1.0, rel=1e-9)


def test_equality_is_proved_safe_and_the_limit_is_not() -> None:
    """With 3 % disagreements on each side 8,000 labels prove a loss below one point, and never one of a point."""
    assert log_evidence_of_no_harm(240, 240, 7520, 0.01) >= math.log(20.0)
    assert log_evidence_of_no_harm(280, 200, 7520, 0.01) < math.log(20.0)
    assert log_evidence_of_no_harm(320, 160, 7520, 0.01) < 0.0


def test_agreement_is_safe_too() -> None:
    """Two versions that never disagree are as good as each other: with enough labels that is a proof."""
    assert log_evidence_of_no_harm(0, 0, 2000, 0.01) >= math.log(20.0)
    assert log_evidence_of_no_harm(0, 0, 1000, 0.0) == 0.0


def test_the_worst_request_is_survived() -> None:
    """No outcome costs more than the bet's share of what there is."""
    lowest = [math.log1p(-bet) for bet in BET_SHARES]
    assert log_evidence_of_no_harm(1, 0, 0, 0.01) == pytest.approx(math.log(sum(map(math.exp, lowest)) / len(lowest)))
    assert math.isfinite(log_evidence_of_no_harm(10**6, 0, 0, 0.99))


@pytest.mark.parametrize("delta", [-0.01, 1.0, math.nan])
def test_a_loss_that_is_no_probability_is_refused(delta: float) -> None:
    """An accepted loss below 0 or from 1 on is a bug."""
    with pytest.raises(InvariantBroken):
        log_evidence_of_no_harm(1, 1, 1, delta)
