"""Means of a bounded value: rounding, bets and estimates, on examples."""

import math

import numpy as np
import pytest

from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import ValueStratum
from surefoot.core.stats.bounded_mean import BET_FRACTIONS, VALUE_LEVELS, arm_means, mean_evidence_increments
from surefoot.core.stats.change_point import log_mixture_over_starts
from surefoot.core.stats.rate_eprocess import log_mean_exp

NONE = (0,) * VALUE_LEVELS


def levels(values: list[float]) -> tuple[int, ...]:
    """Counts of values between 0 and 1 by level, each rounded up or down by a draw that keeps its mean."""
    counts = [0] * VALUE_LEVELS
    for index, value in enumerate(values):
        counts[min(math.floor(value * (VALUE_LEVELS - 1) + (index * 0.618) % 1.0), VALUE_LEVELS - 1)] += 1
    return tuple(counts)


def at(*level: int) -> tuple[int, ...]:
    """Counts of one trial at each of some levels."""
    return tuple(level.count(number) for number in range(VALUE_LEVELS))


def arms(share: float, n: int, old: float, new: float, epoch: int = 0) -> ValueStratum:
    """Both arms with values that alternate around their means."""
    mine = round(n * share)
    theirs = n - mine
    return ValueStratum(
        share,
        levels([min(new * (0.5 + i % 2), 1.0) for i in range(mine)]),
        levels([min(old * (0.5 + i % 2), 1.0) for i in range(theirs)]),
        epoch,
    )


def safe(strata: list[ValueStratum], margin: float, *, higher: bool, slope: float = 1.0) -> float:
    """Log evidence of safety."""
    made = mean_evidence_increments(strata, 0.3, margin, harm=False, higher_is_better=higher, slope=slope)
    return log_mean_exp([sum(column) for column in zip(*made.values(), strict=True)])


def harm(strata: list[ValueStratum], *, higher: bool) -> float:
    """Log evidence of harm at any moment."""
    return log_mixture_over_starts(mean_evidence_increments(strata, 0.3, 0.0, harm=True, higher_is_better=higher))


def test_loss_is_found_on_the_side_that_is_worse() -> None:
    """A mean that falls is harm where higher is better, and none where lower is."""
    fallen = [arms(0.5, 4000, 0.3, 0.25)]
    assert harm(fallen, higher=True) >= math.log(100.0)
    assert harm(fallen, higher=False) < 0.0
    risen = [arms(0.5, 4000, 0.3, 0.35)]
    assert harm(risen, higher=False) >= math.log(100.0)
    assert harm(risen, higher=True) < 0.0


def test_equality_is_proved_within_the_margin() -> None:
    """Equal arms are proved to lose less than 3 points, in either sense, and not to lose less than nothing."""
    equal = [arms(0.5, 20_000, 0.3, 0.3)]
    assert safe(equal, 0.03, higher=True) >= math.log(20.0)
    assert safe(equal, 0.03, higher=False) >= math.log(20.0)
    assert safe(equal, 0.0, higher=True) < math.log(20.0)


def test_relative_margin_needs_no_estimate() -> None:
    """A tenth less than the champion is a slope of 0.9 on the champion's mean, whatever that is."""
    assert safe([arms(0.5, 20_000, 0.3, 0.29)], 0.0, higher=True, slope=0.9) >= math.log(20.0)
    assert safe([arms(0.5, 20_000, 0.3, 0.265)], 0.0, higher=True, slope=0.9) < 0.0


def test_every_share_is_bet_on_at_its_own_stake() -> None:
    """Evidence under one share does not change because other shares were in force at other times."""
    ramp = [arms(0.01, 4000, 0.3, 0.28, 0), arms(0.5, 4000, 0.3, 0.28, 1)]
    together = mean_evidence_increments(ramp, 0.3, 0.0, harm=True, higher_is_better=True)
    for epoch, stratum in enumerate(ramp):
        alone = mean_evidence_increments([stratum], 0.3, 0.0, harm=True, higher_is_better=True)
        assert alone == {epoch: together[epoch]}


def test_serving_alone_proves_nothing() -> None:
    """A stratum in which the candidate gets everything has no champion to compare with."""
    alone = ValueStratum(1.0, at(3, 4), NONE)
    assert mean_evidence_increments([alone], 0.3, 0.0, harm=True, higher_is_better=True) == {}
    assert arm_means([alone]) is None


@pytest.mark.parametrize("center", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("margin", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("share", [1e-4, 0.5, 0.9999])
def test_no_trial_ruins(center: float, margin: float, share: float) -> None:
    """Even the worst trial under the smallest share leaves a twentieth of what there was."""
    for level in (0, VALUE_LEVELS - 1):
        for stratum in (ValueStratum(share, at(level), NONE), ValueStratum(share, NONE, at(level))):
            for wrong in (True, False):
                found = mean_evidence_increments([stratum], center, margin, harm=wrong, higher_is_better=True)[0]
                assert len(found) == len(BET_FRACTIONS)
                assert min(found) >= math.log(0.05) - 1e-9


@pytest.mark.parametrize(
    ("stratum", "center", "margin", "slope"),
    [
        (ValueStratum(0.5, NONE, NONE), 1.1, 0.0, 1.0),
        (ValueStratum(0.5, NONE, NONE), math.nan, 0.0, 1.0),
        (ValueStratum(0.5, NONE, NONE), 0.5, -0.1, 1.0),
        (ValueStratum(0.5, NONE, NONE), 0.5, 0.0, 0.0),
        (ValueStratum(0.0, NONE, NONE), 0.5, 0.0, 1.0),
        (ValueStratum(1.5, NONE, NONE), 0.5, 0.0, 1.0),
        (ValueStratum(0.5, NONE[1:], NONE), 0.5, 0.0, 1.0),
        (ValueStratum(0.5, NONE, (*NONE, 1)), 0.5, 0.0, 1.0),
    ],
)
def test_numbers_out_of_range_are_refused(stratum: ValueStratum, center: float, margin: float, slope: float) -> None:
    """Centers, margins, slopes, shares and levels that cannot be are bugs."""
    with pytest.raises(InvariantBroken):
        mean_evidence_increments([stratum], center, margin, harm=True, higher_is_better=True, slope=slope)


def test_means_do_not_mix_splits() -> None:
    """Simpson's paradox: a mean that rises while the candidate's share grows is not the candidate's doing."""
    early, late = arms(0.01, 10_000, 0.2, 0.2), arms(0.5, 10_000, 0.4, 0.4)
    champion, candidate = arm_means([early, late]) or (0.0, 1.0)
    assert candidate == pytest.approx(champion, abs=0.005)
    pooled = sum(level * (a + b) for level, (a, b) in enumerate(zip(early.candidate, late.candidate, strict=True)))
    assert pooled / (sum(early.candidate) + sum(late.candidate)) / (VALUE_LEVELS - 1) > champion + 0.003


def test_strata_weigh_what_they_can_tell() -> None:
    """One trial against many tells less of a difference than an even match of as many trials."""
    lopsided = ValueStratum(0.5, at(64), tuple(99 * (n == 0) for n in range(VALUE_LEVELS)))
    even = ValueStratum(
        0.5, tuple(50 * (n == 16) for n in range(VALUE_LEVELS)), tuple(50 * (n == 32) for n in range(VALUE_LEVELS))
    )
    champion, candidate = arm_means([lopsided, even]) or (0.0, 0.0)
    assert candidate == pytest.approx((0.99 * 1.0 + 25.0 * 0.25) / 25.99)
    assert champion == pytest.approx((0.99 * 0.0 + 25.0 * 0.5) / 25.99)


def test_equal_arms_of_heavy_tails_rarely_fail() -> None:
    """Over a ramp with capped revenue that rises during the day at most one equal candidate in fifty fails."""
    random, failed, runs = np.random.default_rng(11), 0, 200
    for _ in range(runs):
        strata = []
        for epoch, share in enumerate((0.01, 0.05, 0.25, 0.5)):
            rate = 0.05 * (0.5 + 0.5 * epoch)
            value = np.minimum(np.exp(random.normal(3.0, 1.2, 4000)) / 300.0, 1.0) * (random.random(4000) < rate)
            level = np.floor(value * (VALUE_LEVELS - 1) + random.random(4000)).astype(int)
            mine = random.random(4000) < share
            counts = [tuple(int(n) for n in np.bincount(level[arm], minlength=VALUE_LEVELS)) for arm in (mine, ~mine)]
            strata.append(ValueStratum(share, counts[0], counts[1], epoch))
        found = mean_evidence_increments(strata, 0.006, 0.0, harm=True, higher_is_better=True)
        looks = ({e: found[e] for e in range(k + 1)} for k in range(4))
        failed += any(log_mixture_over_starts(look) >= math.log(100.0) for look in looks)
    assert failed <= runs / 50
