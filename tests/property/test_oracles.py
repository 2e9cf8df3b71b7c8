"""Independent oracles of the evidence: exact chances, brute force over all paths, closed forms, metamorphoses."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from surefoot.core.judging.evidence import BadEventStratum
from surefoot.core.stats import distributions
from surefoot.core.stats.mcnemar import log_evidence_of_harm
from surefoot.core.stats.power import detection_chance_by_events
from surefoot.core.stats.rate_eprocess import (
    HARM_FACTORS,
    MIN_PROBABILITY,
    NO_HARM_FACTORS,
    log_evidence,
    trial_evidence_increments,
)


@example(level=1e-30, degrees=0, value=0.0, shapes=(2, 4))
@given(
    level=st.floats(1e-30, 1.0, exclude_max=True),
    degrees=st.integers(-1, 100_000),
    value=st.floats(-50.0, 50.0),
    shapes=st.tuples(*[st.one_of(st.integers(1, 10**7), st.floats(1e-9, 1e7))] * 2),
)
def test_quantiles_are_those_of_scipy_stats_to_the_bit(
    level: float, degrees: int, value: float, shapes: tuple[float, float]
) -> None:
    """Journalled verdicts rest on the numbers of `scipy.stats`, and ours are the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of `scipy.stats`, about searches that end early
        pairs = _pairs_of_quantiles(level, degrees, value, shapes)
    assert all(ours == theirs or (math.isnan(ours) and math.isnan(theirs)) for ours, theirs in pairs), pairs


def _pairs_of_quantiles(
    level: float, degrees: int, value: float, shapes: tuple[float, float]
) -> list[tuple[float, float]]:
    """Our quantiles and those of `scipy.stats`."""
    return [
        (distributions.student_upper_quantile(level, degrees), stats.t.isf(level, degrees)),
        (distributions.normal_quantile(level), stats.norm.ppf(level)),
        (distributions.normal_probability(value), stats.norm.cdf(value)),
        (distributions.beta_quantile(level, *shapes), stats.beta.ppf(level, *shapes)),
    ]


CELLS = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))


@pytest.mark.parametrize(
    ("share", "published"),
    [
        (0.01, (0.00118, 0.0029, 0.00444)),
        (0.05, (0.00209, 0.0043, 0.00571)),
        (0.25, (0.00342, 0.00569, 0.00669)),
        (0.5, (0.00436, 0.00688, 0.00795)),
    ],
)
def test_false_rollbacks_within_events(share: float, published: tuple[float, ...]) -> None:
    """Equal arms are rolled back within 100, 1,000 and 5,000 events exactly as rarely as published."""
    found = [detection_chance_by_events(share, 1.0, events, 0.01) for events in (100, 1000, 5000)]
    assert found == pytest.approx(published, abs=6e-6)


@pytest.mark.parametrize(
    ("share", "ratio", "median", "ninth"),
    [
        (0.5, 1.2, 1315, 2809),
        (0.5, 1.5, 255, 529),
        (0.5, 2.0, 89, 179),
        (0.5, 5.0, 21, 39),
        (0.05, 1.5, 1049, 2235),
        (0.05, 2.0, 299, 638),
        (0.05, 5.0, 35, 78),
        (0.01, 2.0, 1374, 2942),
        (0.01, 5.0, 143, 321),
    ],
)
def test_events_until_rollback(share: float, ratio: float, median: int, ninth: int) -> None:
    """The median and the ninth decile of the events until rollback are the published ones, to the event."""
    for events, likely in ((median, 0.5), (ninth, 0.9)):
        assert detection_chance_by_events(share, ratio, events - 1, 0.01) < likely
        assert detection_chance_by_events(share, ratio, events, 0.01) >= likely


@pytest.mark.parametrize(("margin", "events", "published"), [(1.2, 6000, 0.0401), (1.1, 12_000, 0.0448)])
def test_passes_on_the_margin(margin: float, events: int, published: float) -> None:
    """A candidate exactly on its margin passes as rarely as published."""
    assert detection_chance_by_events(0.5, margin, events, 0.05, NO_HARM_FACTORS, margin=margin) == pytest.approx(
        published, abs=6e-5
    )


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
@pytest.mark.parametrize("margin", [1.1, 1.2, 1.5])
def test_passes_on_any_margin_keep_their_level(share: float, margin: float) -> None:
    """On the margin between 2.9 % and 4.6 % pass within 6,000 events: below the level of 5 %, and near it."""
    assert 0.029 <= detection_chance_by_events(share, margin, 6000, 0.05, NO_HARM_FACTORS, margin=margin) <= 0.046


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("ratio", [1.2, 1.5, 2.0, 3.0, 5.0])
def test_events_are_near_walds_bound(share: float, ratio: float) -> None:
    """The median number of events until rollback is at most a quarter above what knowing the effect would take."""
    true = share * ratio / (share * ratio + 1.0 - share)
    nats = true * math.log(true / share) + (1.0 - true) * math.log((1.0 - true) / (1.0 - share))
    bound = -math.log(0.01) / nats
    assert detection_chance_by_events(share, ratio, math.floor(1.25 * bound), 0.01) >= 0.5


def worth(n: int, share: float, s: float, grid: tuple[float, ...]) -> NDArray[np.float64]:
    """Evidence of every table of n requests by (n11, n10, n01), 0 where there is none; guess .2, 10 % + 2 points."""
    n11, n10, n01 = np.ogrid[: n + 1, : n + 1, : n + 1]
    n00 = n - n11 - n10 - n01
    rows = trial_evidence_increments(share, 0.2, 1.0 + 0.1 * s, 0.02 * s, grid)
    total = sum(np.exp(a * n11 + b * n10 + c * n01 + d * np.maximum(n00, 0)) for a, b, c, d in rows)
    return np.where(n00 >= 0, np.asarray(total) / len(rows), 0.0)


@pytest.mark.parametrize(
    ("share", "q0", "q1", "s", "grid", "crossed", "mean"),
    [
        (0.5, 0.2, 0.2, 0.0, HARM_FACTORS, 0.009002, 1.0),
        (0.5, 0.1, 0.1, 0.0, HARM_FACTORS, 0.008331, 1.0),
        (0.5, 0.3, 0.2, 0.0, HARM_FACTORS, 0.001865, 0.498412),
        (0.5, 0.2, 0.24, 1.0, NO_HARM_FACTORS, 0.002211, 1.0),
        (0.5, 0.2, 0.30, 1.0, NO_HARM_FACTORS, 0.000840, 0.736811),
        (0.1, 0.2, 0.2, 0.0, HARM_FACTORS, 0.001845, 1.0),
    ],
)
def test_brute_force_over_all_tables(
    share: float, q0: float, q1: float, s: float, grid: tuple[float, ...], crossed: float, mean: float
) -> None:
    """All paths of 40 requests reach 20 as rarely, and are worth as much in the end, as published."""
    chances = (share * q1, share * (1.0 - q1), (1.0 - share) * q0, (1.0 - share) * (1.0 - q0))
    length = 40
    alive = np.zeros((length + 1,) * 3)
    alive[0, 0, 0] = 1.0
    everything, reached = alive.copy(), 0.0
    for n in range(1, length + 1):
        grown = []
        for layer in (alive, everything):
            after = layer * chances[3]
            after[1:] += layer[:-1] * chances[0]
            after[:, 1:] += layer[:, :-1] * chances[1]
            after[:, :, 1:] += layer[:, :, :-1] * chances[2]
            grown.append(after)
        found = np.zeros_like(alive)
        found[: n + 1, : n + 1, : n + 1] = worth(n, share, s, grid)
        over = found >= 20.0
        reached += float(grown[0][over].sum())
        alive, everything = np.where(over, 0.0, grown[0]), grown[1]
    assert reached == pytest.approx(crossed, abs=6e-7)
    assert float((everything * found).sum()) == pytest.approx(mean, abs=6e-7)


@pytest.mark.parametrize("grid", [(1.5,), (5.0,)])
def test_one_alternative_at_half_each_is_mcnemars_sprt(grid: tuple[float, ...]) -> None:
    """Rare events at half each under one alternative are worth Wald's ratio of two coins."""
    p = grid[0] / (1.0 + grid[0])
    for bad, old in itertools.product((0, 3, 40), repeat=2):
        wald = bad * math.log(2.0 * p) + old * math.log(2.0 * (1.0 - p))
        found = log_evidence([BadEventStratum(0.5, bad, 0, old, 0)], MIN_PROBABILITY, 1.0, 0.0, grid)
        assert found == pytest.approx(wald, abs=1e-3)


@given(st.integers(0, 200), st.integers(0, 200))
def test_discordant_pairs_are_rare_events_at_half_each(worse: int, better: int) -> None:
    """The sequential McNemar test is the conditional test of the split at half each."""
    found = log_evidence([BadEventStratum(0.5, worse, 0, better, 0)], MIN_PROBABILITY, 1.0, 0.0, HARM_FACTORS)
    assert log_evidence_of_harm(worse, better) == pytest.approx(found, abs=2e-3)


@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize("guess", [0.01, 0.3])
def test_matched_drift_and_ramps_stay_worth_one(share: float, guess: float) -> None:
    """While both arms drift together and the split moves, the mean over all paths stays exactly one."""
    hours = [(share, 0.05), (0.9, 0.6), (share / 2.0, 0.2), (0.5, 0.01)]
    mean = 0.0
    for path in itertools.product(range(4), repeat=len(hours)):
        chance, strata = 1.0, []
        for cell, (split, q) in zip(path, hours, strict=True):
            chance *= (split * q, split * (1.0 - q), (1.0 - split) * q, (1.0 - split) * (1.0 - q))[cell]
            strata.append(BadEventStratum(split, *CELLS[cell]))
        mean += chance * math.exp(log_evidence(strata, guess, 1.0, 0.0, HARM_FACTORS))
    assert mean == pytest.approx(1.0, abs=1e-9)
