"""Laws of the mixture over starts and of the detector: exact means over every path, and simulated alarms."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.judging.evidence import BadEventStratum
from surefoot.core.stats.change_point import (
    BROKEN_FROM_START_WEIGHT,
    log_evidence_at_any_start,
    log_mixture_over_starts,
)
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, epoch_evidence_increments, log_mean_exp

Found = Mapping[int, Sequence[float]]
FOUND = st.dictionaries(st.integers(0, 40), st.tuples(*[st.floats(-30.0, 30.0)] * 3), max_size=10)
EPOCHS = 4
CELLS = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))


def defined(found: Found, starts: int, first: float) -> float:
    """The mixture as it is defined, start by start."""
    each = (1.0 - first) / starts
    means = []
    for k in range(len(next(iter(found.values())))):
        total = first * math.exp(sum(row[k] for row in found.values()))
        for start in range(1, starts + 1):
            total += each * math.exp(sum(row[k] for epoch, row in found.items() if epoch >= start))
        means.append(total)
    return math.log(sum(means) / len(means))


@given(FOUND.filter(bool), st.integers(1, 30), st.floats(0.01, 0.99))
def test_mixture_is_its_definition(found: Found, starts: int, first: float) -> None:
    """Grouping the starts that see the same evidence changes nothing."""
    assert log_mixture_over_starts(found, starts=starts, first=first) == pytest.approx(
        defined(found, starts, first), abs=1e-9
    )


@given(FOUND.filter(bool))
def test_detector_is_its_definition(found: Found) -> None:
    """The detector adds up the evidence since each epoch."""
    sums = [
        sum(math.exp(sum(row[k] for late, row in found.items() if late >= epoch)) for epoch in found) for k in range(3)
    ]
    assert log_evidence_at_any_start(found) == pytest.approx(math.log(sum(sums) / 3.0), abs=1e-9)


@given(FOUND.filter(bool))
def test_mixture_never_loses_more_than_the_weight_of_a_start(found: Found) -> None:
    """The mixture is worth at least the first start's share of the evidence over all epochs."""
    totals = [sum(row[k] for row in found.values()) for k in range(3)]
    assert log_mixture_over_starts(found) >= log_mean_exp(totals) + math.log(BROKEN_FROM_START_WEIGHT) - 1e-9


def expected(
    statistic: Callable[[Found], float], rates: Sequence[tuple[float, float]], share: float
) -> tuple[float, float]:
    """Mean of exp(statistic) over every path of one request an epoch, and the chance that it is ever 20 or more."""
    mean = ever = 0.0
    for path in itertools.product(range(4), repeat=len(rates)):
        chance, strata, reached = 1.0, [], False
        for epoch, (cell, (q0, q1)) in enumerate(zip(path, rates, strict=True)):
            chance *= (share * q1, share * (1.0 - q1), (1.0 - share) * q0, (1.0 - share) * (1.0 - q0))[cell]
            strata.append(BadEventStratum(share, *CELLS[cell], epoch))
            last = statistic(epoch_evidence_increments(strata, 0.1, 1.0, 0.0, HARM_FACTORS))
            reached = reached or last >= math.log(20.0)
        mean += chance * math.exp(last)
        ever += chance * reached
    return mean, ever


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_mean_over_all_paths_of_equal_arms(share: float) -> None:
    """However the rate drifts, the mixture's mean stays one and the detector's is the number of epochs."""
    drift = [(q, q) for q in (0.05, 0.4, 0.1, 0.7)]
    mixture, above = expected(lambda found: log_mixture_over_starts(found, starts=3), drift, share)
    assert mixture == pytest.approx(1.0, abs=1e-9)
    assert above <= 1.0 / 20.0
    detector, alarmed = expected(log_evidence_at_any_start, drift, share)
    assert detector == pytest.approx(EPOCHS, abs=1e-9)
    assert alarmed <= EPOCHS / 20.0


def test_mean_of_a_better_candidate_is_lower() -> None:
    """A candidate that is better than the champion is worth less than an equal one."""
    better = [(q, 0.5 * q) for q in (0.05, 0.4, 0.1, 0.7)]
    assert expected(log_mixture_over_starts, better, 0.5)[0] < 1.0
    assert expected(log_evidence_at_any_start, better, 0.5)[0] < EPOCHS


def test_simulated_alarms_keep_their_rate() -> None:
    """Equal arms alarm in at most K / ARL of the runs of K epochs, and the mixture keeps its level at every look."""
    random, runs, epochs, bar = np.random.default_rng(7), 250, 40, 400.0
    alarms = mixed = 0
    for _ in range(runs):
        rates = 0.02 * random.uniform(0.5, 2.0, epochs)
        mine = random.binomial(1000, 0.2, epochs)
        failed, old = random.binomial(mine, rates), random.binomial(1000 - mine, rates)
        strata = [
            BadEventStratum(0.2, int(f), int(m - f), int(o), int(1000 - m - o), epoch)
            for epoch, (m, f, o) in enumerate(zip(mine, failed, old, strict=True))
        ]
        found = epoch_evidence_increments(strata, 0.02, 1.0, 0.0, HARM_FACTORS)
        pieces = [{epoch: found[epoch] for epoch in range(k + 1)} for k in range(epochs)]
        alarms += any(log_evidence_at_any_start(piece) >= math.log(bar) for piece in pieces)
        mixed += any(log_mixture_over_starts(piece) >= math.log(50.0) for piece in pieces)
    assert alarms / runs <= epochs / bar
    assert mixed / runs <= 1.0 / 50.0
