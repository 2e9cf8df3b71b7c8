"""Compute when rival methods raise an alarm: thresholds, rank tests on windows, and cumulative tests.

Each function takes what a monitoring system would hand it and answers with the request of its alarm, infinite
without one. Where a tool leaves a setting open it has the one that did best here at about 1 % of false alarms.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.judging import traffic
from bench.judging.traffic import OUTCOMES, Floats, Ints, Scene
from surefoot.core.stats.rate_eprocess import multiply_odds, trial_evidence_increments

_ALPHA = 0.01
WINDOW_REQUESTS = 1_000
"""Requests of both arms in a window of a monitoring system: a minute at 17 requests a second."""
_JUDGED = 10
"""Windows between two judgements of the rank test."""
_LOOKS = 20
"""Looks that the group-sequential plan spreads evenly over the rollout."""
REQUESTS_BETWEEN_LOOKS = 100
"""Requests between two looks of the tests that add everything up."""
_BURN_IN = (100, 5)
"""Requests and bad events that each arm must have before a normal approximation is believed."""


def find_first_alarm(alarm: NDArray[np.bool_], every: int) -> float:
    """Request of the first alarm, of looks at every so many requests."""
    at = np.flatnonzero(alarm)
    return float((at[0] + 1) * every) if len(at) else math.inf


def find_failed_streaks(failed: NDArray[np.bool_], needed: int) -> NDArray[np.bool_]:
    """Whether the last `needed` checks have all failed, by check."""
    sums = np.concatenate([[0], np.cumsum(failed)])
    made = np.zeros(len(failed), dtype=bool)
    made[needed - 1 :] = sums[needed:] - sums[:-needed] == needed
    return made


# ---- thresholds on windows -------------------------------------------------------------------------------------


def argo_alarm(
    candidate: Floats, champion: Floats, factor: float = 2.0, limit: int = 5, window: int = WINDOW_REQUESTS
) -> float:
    """Argo Rollouts style: `limit` consecutive windows above `factor` times the champion's."""
    return find_first_alarm(find_failed_streaks(candidate > factor * champion, limit), window)


def flagger_alarm(
    candidate: Floats, champion: Floats, factor: float = 1.5, threshold: int = 5, window: int = WINDOW_REQUESTS
) -> float:
    """Flagger style: failed checks are counted over the whole rollout and never forgotten."""
    return find_first_alarm(np.cumsum(candidate > factor * champion) >= threshold, window)


# ---- rank test on windows --------------------------------------------------------------------------------------


def hodges_lehmann_interval(x: Floats, y: Floats, confidence: float) -> tuple[float, float, float]:
    """Median of all differences x - y with its interval (estimate, lower, upper); the normal approximation.

    Source: Hollander and Wolfe, Nonparametric Statistical Methods, 4.3.
    """
    differences = np.sort(np.subtract.outer(x, y).ravel())
    m, n = len(x), len(y)
    z = float(stats.norm.ppf(0.5 + confidence / 2.0))
    rank = math.floor(m * n / 2.0 - z * math.sqrt(m * n * (m + n + 1) / 12.0))
    rank = min(max(rank, 1), m * n)
    return float(np.median(differences)), float(differences[rank - 1]), float(differences[m * n - rank])


def kayenta_alarm(
    candidate: Floats,
    champion: Floats,
    stages: Sequence[int],
    *,
    higher_is_worse: bool = True,
    window: int = WINDOW_REQUESTS,
) -> float:
    """Kayenta style: Mann-Whitney at 98 % on the windows of this stage, a quarter of the shift tolerated.

    Args:
        candidate: Value of each window; NaN without requests.
        champion: The same of the champion.
        stages: Stage of each window: what it looks back on begins anew with each.
        higher_is_worse: Which side is an alarm.
        window: Requests of both arms in a window.
    """
    where = np.asarray(stages)
    for end in range(_JUDGED, len(candidate) + 1, _JUDGED):
        here = where[:end] == where[end - 1]
        x, y = candidate[:end][here], champion[:end][here]
        x, y = x[np.isfinite(x)], y[np.isfinite(y)]
        if len(x) < _JUDGED // 2 or len(y) < _JUDGED // 2:
            continue
        estimate, low, high = hodges_lehmann_interval(x, y, 0.98)
        tolerated = 0.25 * abs(estimate)
        if (low > tolerated) if higher_is_worse else (high < -tolerated):
            return float(end * window)
    return math.inf


# ---- tests that add everything up ------------------------------------------------------------------------------


def _pooled_z(sums: Ints) -> tuple[Floats, Floats]:
    """Z of two pooled proportions, and the variance of their difference, by look; NaN before the burn-in."""
    bad1, good1, bad0, good0 = (sums[:, index].astype(np.float64) for index in range(OUTCOMES))
    n1, n0 = bad1 + good1, bad0 + good0
    ready = (np.minimum(n1, n0) >= _BURN_IN[0]) & (bad1 + bad0 >= _BURN_IN[1])
    with np.errstate(all="ignore"):
        p = (bad1 + bad0) / (n1 + n0)
        variance = p * (1.0 - p) * (1.0 / n1 + 1.0 / n0)
        z = (bad1 / n1 - bad0 / n0) / np.sqrt(variance)
    return np.where(ready, z, np.nan), np.where(ready, variance, np.nan)


def repeated_z_alarm(z: Floats, every: int) -> float:
    """The test at 1 % that people repeat until it is significant."""
    return find_first_alarm(z > stats.norm.ppf(1.0 - _ALPHA), every)


@lru_cache(maxsize=64)
def _boundary(information: tuple[float, ...]) -> float:
    """Constant of the O'Brien-Fleming boundary: Brownian motion exceeds it at one of the looks in 1 % of plans.

    Source: O'Brien and Fleming (1979), Biometrics 35(3); the level by the multivariate normal distribution.
    """
    times = np.array(information)
    motion = stats.multivariate_normal(
        cov=np.minimum.outer(times, times), allow_singular=True, seed=1, maxpts=60_000, abseps=1e-4, releps=1e-4
    )
    low, high = 2.0, 4.0
    for _ in range(14):
        middle = 0.5 * (low + high)
        if 1.0 - motion.cdf(np.full(len(times), middle)) > _ALPHA:
            low = middle
        else:
            high = middle
    return high


def _fractions(shares: Floats, looks: int = _LOOKS) -> tuple[float, ...]:
    """Share of the final information at each look, from the planned split."""
    ends = np.linspace(0, len(shares), looks + 1).astype(int)[1:]
    mine = np.cumsum(shares)[ends - 1]
    theirs = ends - mine
    information = mine * theirs / (mine + theirs)
    return tuple(np.round(information / information[-1], 6).tolist())


def obrien_fleming_alarm(z: Floats, every: int, shares: Floats) -> float:
    """Group-sequential test with 20 looks, planned for the whole rollout."""
    plan = _fractions(shares)
    at = np.linspace(0, len(shares), _LOOKS + 1).astype(int)[1:] // every - 1
    limits = _boundary(plan) / np.sqrt(np.array(plan))
    hits = np.flatnonzero(z[at] > limits)
    return float((at[hits[0]] + 1) * every) if len(hits) else math.inf


def msprt_alarm(z: Floats, variance: Floats, tau: float, every: int) -> float:
    """Mixture sequential probability ratio test on the difference of pooled means, alternatives on the worse side.

    Source: Johari, Koomen, Pekelis and Walsh (2022), Operations Research 70(3); half of a normal mixture of scale tau.
    """
    with np.errstate(all="ignore"):
        wide = variance + tau**2
        logs = 0.5 * np.log(variance / wide) + 0.5 * z**2 * tau**2 / wide
        logs += math.log(2.0) + stats.norm.logcdf(z * tau / np.sqrt(wide))
    return find_first_alarm(logs >= -math.log(_ALPHA), every)


def _sprt(scene: Scene, outcomes: NDArray[np.intp]) -> float:
    """Wald's test, told the true rates of both arms: nothing that is valid can be faster on average."""
    line = min(scene.rate * scene.ratio + scene.points, 1.0 - 1e-9)
    factor = line / (1.0 - line) / (scene.rate / (1.0 - scene.rate))
    if multiply_odds(scene.rate, factor) <= scene.rate:
        factor = 2.0
    rows = [trial_evidence_increments(share, scene.rate, 1.0, 0.0, (factor,))[0] for share, _ in scene.stages]
    table = np.array(rows).ravel()
    return find_first_alarm(np.cumsum(table[outcomes + OUTCOMES * scene.stage]) >= -math.log(_ALPHA), 1)


# ---- all of them on one rollout --------------------------------------------------------------------------------


def _rates(sums: Ints) -> tuple[Floats, Floats]:
    """Share of bad events in each window (candidate, champion); NaN without requests."""
    windows = np.diff(sums, axis=0, prepend=np.zeros((1, OUTCOMES), dtype=sums.dtype)).astype(np.float64)
    with np.errstate(all="ignore"):
        return windows[:, 0] / (windows[:, 0] + windows[:, 1]), windows[:, 2] / (windows[:, 2] + windows[:, 3])


def find_rival_alarms(scene: Scene, outcomes: NDArray[np.intp]) -> dict[str, float]:
    """Request of each rival's first alarm."""
    sums = traffic.count_outcomes(outcomes, REQUESTS_BETWEEN_LOOKS)
    each = WINDOW_REQUESTS // REQUESTS_BETWEEN_LOOKS
    candidate, champion = _rates(sums[each - 1 :: each])
    z, variance = _pooled_z(sums)
    return {
        "Kayenta": kayenta_alarm(candidate, champion, scene.stage[WINDOW_REQUESTS - 1 :: WINDOW_REQUESTS].tolist()),
        "Argo": argo_alarm(candidate, champion),
        "Flagger": flagger_alarm(candidate, champion),
        "repeated z": repeated_z_alarm(z, REQUESTS_BETWEEN_LOOKS),
        "OBF": obrien_fleming_alarm(z, REQUESTS_BETWEEN_LOOKS, scene.shares),
        "mSPRT": msprt_alarm(z, variance, scene.rate, REQUESTS_BETWEEN_LOOKS),
        "SPRT": _sprt(scene, outcomes),
    }
