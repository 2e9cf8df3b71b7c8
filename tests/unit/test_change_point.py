"""When the trouble began: the mixture over starts and the detector, on plain examples."""

import math

import pytest

from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import BadEventStratum
from surefoot.core.stats.change_point import (
    BROKEN_FROM_START_WEIGHT,
    LOG_ZERO,
    log_evidence_at_any_start,
    log_mixture_over_starts,
)
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, epoch_evidence_increments, log_evidence


def test_nothing_is_worth_one() -> None:
    """Before the first epoch the mixture is exactly one."""
    assert log_mixture_over_starts({}) == 0.0
    assert log_mixture_over_starts({0: (0.0, 0.0)}) == pytest.approx(0.0, abs=1e-12)


def test_first_epoch_counts_in_the_first_start_only() -> None:
    """In epoch 0 the weight of the first start bets on its evidence, and the rest waits."""
    assert log_mixture_over_starts({0: (math.log(99.0),)}, first=0.5) == pytest.approx(math.log(0.5 * 99.0 + 0.5))
    assert log_mixture_over_starts({0: (math.log(99.0),)}) == pytest.approx(
        math.log(BROKEN_FROM_START_WEIGHT * 99.0 + 1.0 - BROKEN_FROM_START_WEIGHT)
    )


def test_epochs_beyond_the_last_start_count_in_every_one() -> None:
    """When all starts have begun, all of the weight is on what came after."""
    assert log_mixture_over_starts({100: (7.0, 7.0)}, starts=24) == pytest.approx(7.0)
    assert log_mixture_over_starts({24: (7.0,)}, starts=24) == pytest.approx(7.0)
    assert log_mixture_over_starts({23: (7.0,)}, starts=24) < 7.0


def test_an_epoch_without_traffic_changes_nothing() -> None:
    """Whether a quiet epoch is named with no evidence or left out is all the same."""
    named = {0: (1.0, -2.0), 1: (0.0, 0.0), 2: (0.0, 0.0), 3: (4.0, 0.5)}
    left_out = {0: (1.0, -2.0), 3: (4.0, 0.5)}
    assert log_mixture_over_starts(named) == pytest.approx(log_mixture_over_starts(left_out))


def served(epoch: int, ratio: float) -> BadEventStratum:
    """Counts of an epoch of 4,000 requests at half each, the champion at 2 % errors."""
    return BadEventStratum(0.5, round(40 * ratio), 2000 - round(40 * ratio), 40, 1960, epoch)


def test_a_late_break_is_found_where_the_whole_past_hides_it() -> None:
    """Twenty good epochs weigh against a candidate that breaks afterwards, but not in the mixture."""
    strata = [served(epoch, 0.9 if epoch < 20 else 2.0) for epoch in range(23)]
    found = log_mixture_over_starts(epoch_evidence_increments(strata, 0.02, 1.0, 0.0, HARM_FACTORS))
    assert log_evidence(strata, 0.02, 1.0, 0.0, HARM_FACTORS) < math.log(100.0) < found


def test_a_break_at_the_start_costs_little_more() -> None:
    """The mixture gives away at most the weight of the first start against knowing that the trouble began at once."""
    strata = [served(epoch, 1.5) for epoch in range(4)]
    whole = log_evidence(strata, 0.02, 1.0, 0.0, HARM_FACTORS)
    assert log_mixture_over_starts(epoch_evidence_increments(strata, 0.02, 1.0, 0.0, HARM_FACTORS)) >= whole + math.log(
        BROKEN_FROM_START_WEIGHT
    )


@pytest.mark.parametrize("huge", [1e4, -1e4, 1e15])
def test_huge_evidence_stays_a_number(huge: float) -> None:
    """Increments that no exponential can hold give finite answers."""
    found = dict.fromkeys(range(30), (huge, -huge, 0.0))
    assert math.isfinite(log_mixture_over_starts(found))
    assert math.isfinite(log_evidence_at_any_start(found))
    assert math.isfinite(log_evidence_at_any_start({0: (-1e4,)}))
    assert log_mixture_over_starts({0: (-1e4,)}) == pytest.approx(math.log(1.0 - BROKEN_FROM_START_WEIGHT))


def test_detector_of_silence_counts_epochs() -> None:
    """Epochs that say nothing add one each."""
    assert log_evidence_at_any_start(dict.fromkeys(range(12), (0.0, 0.0, 0.0))) == pytest.approx(math.log(12.0))


def test_detector_of_nothing_never_alarms() -> None:
    """Without an epoch the detector is as good as zero, and a number all the same."""
    assert log_evidence_at_any_start({}) == LOG_ZERO
    assert math.isfinite(LOG_ZERO)
    assert math.exp(LOG_ZERO) == pytest.approx(0.0, abs=1e-300)


def test_detector_is_the_recursion() -> None:
    """The statistic is the published recursion (R + 1) * LR, whatever came before."""
    steps = [0.3, -1.2, 2.0, -0.4, 0.0]
    running = 0.0
    for k, step in enumerate(steps):
        running = (running + 1.0) * math.exp(step)
        found = log_evidence_at_any_start({epoch: (value,) for epoch, value in enumerate(steps[: k + 1])})
        assert found == pytest.approx(math.log(running))


@pytest.mark.parametrize(("starts", "first"), [(0, 0.5), (24, 0.0), (24, 1.0), (24, -0.1), (24, math.nan)])
def test_weights_that_are_none_are_refused(starts: int, first: float) -> None:
    """A mixture without later starts, or with weights outside 0 and 1, is a bug."""
    with pytest.raises(InvariantBroken):
        log_mixture_over_starts({0: (1.0,)}, starts=starts, first=first)
