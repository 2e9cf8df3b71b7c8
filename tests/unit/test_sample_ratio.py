"""Whether the arms get the shares that they were given."""

import math

import numpy as np
import pytest

from surefoot.core.judging.evidence import BadEventStratum
from surefoot.core.stats.sample_ratio import ALTERNATIVE_SHARE_FACTORS, sample_ratio_evidence

ALARM = math.log(1000.0)
SHARES = [0.01, 0.1, 0.5, 0.95]


def split(share: float, n: int, actual: float) -> BadEventStratum:
    """So many trials, of which the candidate got an actual share."""
    return BadEventStratum(share, 0, round(n * actual), 0, n - round(n * actual))


@pytest.mark.parametrize("share", SHARES)
def test_one_trial_is_worth_one(share: float) -> None:
    """Under the share that was asked for, a trial's mean evidence is exactly one."""
    mine, theirs = (
        math.exp(sample_ratio_evidence([BadEventStratum(share, *cells)])) for cells in ((0, 1, 0, 0), (0, 0, 1, 0))
    )
    assert share * mine + (1.0 - share) * theirs == pytest.approx(1.0, abs=1e-12)


def test_evidence_is_the_published_ratio() -> None:
    """The evidence is the mean of likelihood ratios of binomial counts whose odds are a factor off."""
    n, k, share = 500, 80, 0.2
    ratios = []
    for factor in ALTERNATIVE_SHARE_FACTORS:
        p = share * factor / (share * factor + 1.0 - share)
        ratios.append(math.exp(k * math.log(p / share) + (n - k) * math.log((1.0 - p) / (1.0 - share))))
    assert sample_ratio_evidence([split(share, n, k / n)]) == pytest.approx(math.log(sum(ratios) / len(ratios)))


@pytest.mark.parametrize("share", SHARES)
def test_a_sound_split_never_alarms_by_itself(share: float) -> None:
    """Traffic that arrives exactly as it was asked for is evidence of a sound split, the more the stronger."""
    found = [sample_ratio_evidence([split(share, n, share)]) for n in (10_000, 100_000, 1_000_000)]
    assert 0.0 > found[0] > found[1] > found[2]


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_tenth_off_is_noticed(factor: float) -> None:
    """A tenth too much or too little of 5 % is noticed within 100,000 requests."""
    assert sample_ratio_evidence([split(0.05, 100_000, 0.05 * factor)]) >= ALARM


def test_rates_do_not_matter() -> None:
    """Which trials failed says nothing about the split."""
    assert sample_ratio_evidence([BadEventStratum(0.5, 40, 60, 0, 100)]) == sample_ratio_evidence(
        [BadEventStratum(0.5, 0, 100, 90, 10)]
    )


def test_schedule_does_not_matter() -> None:
    """Epochs under one share are worth what they are worth together."""
    parts = [BadEventStratum(0.1, 1, 99, 5, 895, 0), BadEventStratum(0.1, 3, 127, 5, 865, 1)]
    assert sample_ratio_evidence(parts) == pytest.approx(
        sample_ratio_evidence([BadEventStratum(0.1, 4, 226, 10, 1760)])
    )


def test_where_there_is_no_split_there_is_no_doubt() -> None:
    """A candidate that serves alone, and no data at all, are worth one."""
    assert sample_ratio_evidence([]) == 0.0
    assert sample_ratio_evidence([BadEventStratum(1.0, 5, 1000, 0, 0)]) == 0.0
    assert sample_ratio_evidence([BadEventStratum(1.0, 5, 1000, 0, 50)]) == 0.0


@pytest.mark.parametrize("share", SHARES)
def test_exact_chance_of_a_false_alarm(share: float) -> None:
    """Over all paths of 1,500 requests a sound split alarms at some moment with at most one chance in a thousand."""
    n = 1500
    alive, alarmed = np.zeros(n + 1), 0.0
    alive[0] = 1.0
    scales = np.array([math.log1p(share * (factor - 1.0)) for factor in ALTERNATIVE_SHARE_FACTORS])
    logs = np.arange(n + 1)[:, None] * np.log(ALTERNATIVE_SHARE_FACTORS)
    for k in (0, n // 3, n):
        exact = math.log(np.exp(logs[k] - n * scales).mean())
        assert sample_ratio_evidence([BadEventStratum(share, 0, k, 0, n - k)]) == pytest.approx(exact, abs=1e-9)
    for m in range(1, n + 1):
        alive[1:] = alive[1:] * (1.0 - share) + alive[:-1] * share
        alive[0] *= 1.0 - share
        over = np.exp(logs - m * scales).mean(axis=1) >= 1000.0
        over[m + 1 :] = False
        alarmed += float(alive[over].sum())
        alive[over] = 0.0
    assert 0.0 < alarmed <= 0.001
