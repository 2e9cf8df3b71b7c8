"""Simulate alarms on measurements: latencies, right and wrong answers, and revenue."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.judging import rivals
from bench.judging.ours import ALPHA, BETA, _same, compute_log_mean, compute_log_mixture
from bench.judging.traffic import Floats, Ints, Scene
from surefoot.core.gates.bad_event_rate import MAX_EPOCHS
from surefoot.core.judging.evidence import ValueStratum
from surefoot.core.stats import bounded_mean, mcnemar
from surefoot.core.stats.change_point import log_mixture_over_starts
from surefoot.core.stats.histogram import bucket_edge, bucket_of
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, trial_evidence_increments

_Bools = NDArray[np.bool_]
_QUANTILES = (0.5, 0.9, 0.99, 0.999)
"""Quantiles of a latency that are judged together."""
_SLOWER = 1.05
"""Ratio of a quantile that is accepted, for the estimate that a FAIL needs as well."""
MEDIAN_MS, SIGMA = 50.0, 0.6
_STALL = (0.02, 500.0)
"""Share of the candidate's requests that stall, and how long that takes [ms]."""
_HISTORY = 20_000
"""Requests of the champion from before the rollout."""
_FREQUENT = 10
"""Requests between two looks of the rivals where an alarm may come within 200."""


@dataclass(frozen=True, slots=True)
class LatencyScene:
    """How much slower a candidate is.

    Attributes:
        factor: Of every request.
        stalls: Whether some stall besides.
        length: Requests of both arms, half of them each.
    """

    factor: float = 1.0
    stalls: bool = False
    length: int = 120_000


def _latencies(speed: LatencyScene, rng: np.random.Generator) -> tuple[_Bools, Floats]:
    """One rollout: whether each request is the candidate's, and how long it takes [ms]."""
    mine = rng.random(speed.length) < 0.5
    took = MEDIAN_MS * np.exp(SIGMA * rng.standard_normal(speed.length))
    slow = took * speed.factor
    if speed.stalls:
        slow = slow + _STALL[1] * (rng.random(speed.length) < _STALL[0])
    return mine, np.where(mine, slow, took)


def find_latency_alarms(speed: LatencyScene, rng: np.random.Generator) -> dict[str, float]:
    """Request of each method's alarm on the latency of one rollout."""
    past = MEDIAN_MS * np.exp(SIGMA * rng.standard_normal(_HISTORY))
    mine, took = _latencies(speed, rng)
    each = []
    for quantile in _QUANTILES:
        line = bucket_edge(bucket_of(float(np.quantile(past, quantile))) + 1)
        guess = float((past >= line).mean())
        table = np.array(trial_evidence_increments(0.5, guess, 1.0, 0.0, HARM_FACTORS))
        each.append(
            compute_log_mixture(np.cumsum(table[:, 2 * ~mine + (took < line)], axis=1), speed.length // MAX_EPOCHS)
        )
    logs = compute_log_mean(np.array(each))
    ours = math.inf
    for at in np.flatnonzero(logs >= -math.log(ALPHA))[::5]:
        ratio = np.quantile(took[: at + 1][mine[: at + 1]], _QUANTILES) / np.quantile(
            took[: at + 1][~mine[: at + 1]], _QUANTILES
        )
        if ratio.max() > _SLOWER:
            ours = float(at + 1)
            break
    return {"ours": ours, **_slow_rivals(speed, mine, took)}


def _slow_rivals(speed: LatencyScene, mine: _Bools, took: Floats) -> dict[str, float]:
    windows = speed.length // rivals.WINDOW_REQUESTS
    p99 = [_by_window(mine, took, side, lambda x: float(np.quantile(x, 0.99))) for side in (True, False)]
    candidate, champion = p99
    z, variance = _welch(mine, took, _FREQUENT)
    mean = float(took[~mine].mean())
    return {
        "Kayenta": rivals.kayenta_alarm(candidate, champion, [0] * windows),
        "Argo": rivals.argo_alarm(candidate, champion, 1.2, 3),
        "Flagger": rivals.flagger_alarm(candidate, champion, 1.2),
        "repeated z": rivals.repeated_z_alarm(z, _FREQUENT),
        "OBF": rivals.obrien_fleming_alarm(z, _FREQUENT, np.full(speed.length, 0.5)),
        "mSPRT": rivals.msprt_alarm(z, variance, 0.1 * mean, _FREQUENT),
        "SPRT": _knows(speed, mine, took),
    }


def _knows(speed: LatencyScene, mine: _Bools, took: Floats) -> float:
    """Wald's test of the candidate alone, told both laws."""

    def density(x: Floats) -> Floats:
        return np.asarray(stats.lognorm.pdf(x, SIGMA, scale=MEDIAN_MS * speed.factor))

    if speed.factor == 1.0 and not speed.stalls:
        return math.nan
    law = density(took)
    if speed.stalls:
        law = (1.0 - _STALL[0]) * law + _STALL[0] * density(took - _STALL[1])
    null = stats.lognorm.pdf(took, SIGMA, scale=MEDIAN_MS)
    logs = np.where(mine, np.log(np.maximum(law, 1e-300) / np.maximum(null, 1e-300)), 0.0)
    return rivals.find_first_alarm(np.cumsum(logs) >= -math.log(ALPHA), 1)


def _by_window(mine: _Bools, values: Floats, side: bool, law: Callable[[Floats], float]) -> Floats:
    """A statistic of one arm in each window; NaN without requests."""
    size = rivals.WINDOW_REQUESTS
    made = []
    for start in range(0, len(values) - size + 1, size):
        part = values[start : start + size][mine[start : start + size] == side]
        made.append(law(part) if len(part) else math.nan)
    return np.array(made)


def _welch(mine: _Bools, values: Floats, every: int) -> tuple[Floats, Floats]:
    """Welch's z of candidate against champion at every look, and the variance of the difference; NaN at first."""
    made = []
    for side in (mine, ~mine):
        n = np.cumsum(side)[every - 1 :: every].astype(np.float64)
        kept = np.where(side, values, 0.0)
        total = np.cumsum(kept)[every - 1 :: every]
        square = np.cumsum(kept * kept)[every - 1 :: every]
        with np.errstate(all="ignore"):
            mean = total / n
            made.append((n, mean, np.maximum(square / n - mean * mean, 0.0) / n))
    (n1, m1, v1), (n0, m0, v0) = made
    ready = (np.minimum(n1, n0) >= 3 * every) & (v1 + v0 > 0.0)
    with np.errstate(all="ignore"):
        z = (m1 - m0) / np.sqrt(v1 + v0)
    return np.where(ready, z, np.nan), np.where(ready, v1 + v0, np.nan)


# ---- right and wrong answers of both versions on the same requests ---------------------------------------------


@dataclass(frozen=True, slots=True)
class AnswerScene:
    """How often only one version is right.

    Attributes:
        lost: Accuracy that the candidate loses [probability].
        beaten: Labels on which only the candidate is right [probability].
        right: Labels on which the champion is right [probability].
        length: Labels.
    """

    lost: float = 0.0
    beaten: float = 0.03
    right: float = 0.8
    length: int = 20_000


_WINDOW = 500
"""Labels in a window of a monitoring system."""
_DELTA = 0.01
"""Loss of accuracy that is accepted for a pass [probability]."""


def find_answer_alarms(answers: AnswerScene, rng: np.random.Generator) -> dict[str, float]:
    """Label at which each method's alarm comes, and at which ours passes."""
    draw = rng.random(answers.length)
    only_candidate_wrong = draw < answers.beaten + answers.lost
    only_champion_wrong = (draw >= 0.5) & (draw < 0.5 + answers.beaten)
    worse, better = np.cumsum(only_candidate_wrong), np.cumsum(only_champion_wrong)
    n = np.arange(1, answers.length + 1)
    harm = compute_log_mean(
        np.array([worse * math.log(f) - (worse + better) * math.log((1.0 + f) / 2.0) for f in HARM_FACTORS])
    )
    _same(mcnemar.log_evidence_of_harm(int(worse[-1]), int(better[-1])), float(harm[-1]))
    bets = [bet / (1.0 - _DELTA) for bet in mcnemar.BET_SHARES]
    safe = compute_log_mean(
        np.array(
            [
                worse * math.log1p(-lam * (1.0 - _DELTA))
                + better * math.log1p(lam * (1.0 + _DELTA))
                + (n - worse - better) * math.log1p(lam * _DELTA)
                for lam in bets
            ]
        )
    )
    same = answers.length - int(worse[-1]) - int(better[-1])
    _same(mcnemar.log_evidence_of_no_harm(int(worse[-1]), int(better[-1]), same, _DELTA), float(safe[-1]))
    return {
        "ours": rivals.find_first_alarm(harm >= -math.log(ALPHA), 1),
        "pass": rivals.find_first_alarm(safe >= -math.log(BETA), 1),
        **_wrong_rivals(answers, only_candidate_wrong, only_champion_wrong, rng),
    }


def _wrong_rivals(answers: AnswerScene, worse: _Bools, better: _Bools, rng: np.random.Generator) -> dict[str, float]:
    gap = worse.astype(np.float64) - better
    total = np.cumsum(gap)
    apart = np.cumsum(worse | better)
    n = np.arange(1, answers.length + 1)
    with np.errstate(all="ignore"):
        z = np.where(apart >= 10, total / np.sqrt(apart), np.nan)[_FREQUENT - 1 :: _FREQUENT]
        variance = np.where(apart >= 10, apart / n / n, np.nan)[_FREQUENT - 1 :: _FREQUENT]
    both = (rng.random(answers.length) < (1.0 - answers.right)) & ~worse & ~better
    candidate = (both | worse).reshape(-1, _WINDOW).mean(axis=1)
    champion = (both | better).reshape(-1, _WINDOW).mean(axis=1)
    return {
        "Kayenta": rivals.kayenta_alarm(candidate, champion, [0] * len(candidate), window=_WINDOW),
        "Argo": rivals.find_first_alarm(rivals.find_failed_streaks(candidate > champion + 0.02, 3), _WINDOW),
        "Flagger": rivals.find_first_alarm(np.cumsum(candidate > champion + 0.02) >= 5, _WINDOW),
        "repeated z": rivals.repeated_z_alarm(z, _FREQUENT),
        "OBF": rivals.obrien_fleming_alarm(z, _FREQUENT, np.full(answers.length, 0.5)),
        "mSPRT": rivals.msprt_alarm(z, variance, 0.01, _FREQUENT),
        "SPRT": _sprt(answers, np.cumsum(worse), np.cumsum(better)),
    }


def _sprt(answers: AnswerScene, worse: Ints, better: Ints) -> float:
    if not answers.lost:
        return math.nan
    p = (answers.beaten + answers.lost) / (2.0 * answers.beaten + answers.lost)
    logs = worse * math.log(2.0 * p) + better * math.log(2.0 * (1.0 - p))
    return rivals.find_first_alarm(logs >= -math.log(ALPHA), 1)


# ---- revenue ---------------------------------------------------------------------------------------------------

BUYS, BASKET = 0.05, (3.0, 1.2)
"""Share of requests that buy, and the lognormal law of what they spend."""


def find_revenue_alarms(scene: Scene, rng: np.random.Generator) -> dict[str, float]:
    """Request of each method's alarm on the revenue of one rollout whose arms are the same."""
    n = scene.length
    past = _spent(_HISTORY, rng)
    mine, spent = rng.random(n) < scene.shares, _spent(n, rng)
    cap = float(np.quantile(past, 0.999))
    center = float(np.minimum(past, cap).mean() / cap)
    top = bounded_mean.VALUE_LEVELS - 1
    levels = np.minimum(np.floor(np.minimum(spent / cap, 1.0) * top + rng.random(n)), top).astype(np.intp)
    totals = np.cumsum(_bets(scene, mine, levels, center), axis=1)
    size = n // MAX_EPOCHS
    logs = compute_log_mixture(totals, size)
    epochs = np.minimum(np.arange(n) // size, MAX_EPOCHS - 1)
    cells = ((epochs * len(scene.stages) + scene.stage) * 2 + ~mine) * bounded_mean.VALUE_LEVELS + levels
    counts = np.bincount(cells, minlength=MAX_EPOCHS * len(scene.stages) * 2 * bounded_mean.VALUE_LEVELS)
    counted = [
        ValueStratum(scene.stages[at % len(scene.stages)][0], tuple(new), tuple(old), at // len(scene.stages))
        for at, (new, old) in enumerate(counts.reshape(-1, 2, bounded_mean.VALUE_LEVELS).tolist())
        if any(new) or any(old)
    ]
    found = bounded_mean.mean_evidence_increments(counted, center, 0.0, harm=True, higher_is_better=True)
    _same(log_mixture_over_starts(found, starts=MAX_EPOCHS), float(logs[-1]))
    candidate, champion = (_by_window(mine, spent, side, lambda x: float(x.mean())) for side in (True, False))
    z, variance = _welch(mine, -spent, rivals.REQUESTS_BETWEEN_LOOKS)
    mean = math.exp(BASKET[0] + BASKET[1] ** 2 / 2.0) * BUYS
    return {
        "ours": rivals.find_first_alarm(logs >= -math.log(ALPHA), 1),
        "Kayenta": rivals.kayenta_alarm(
            candidate,
            champion,
            scene.stage[rivals.WINDOW_REQUESTS - 1 :: rivals.WINDOW_REQUESTS].tolist(),
            higher_is_worse=False,
        ),
        "Argo": rivals.argo_alarm(champion, candidate),
        "Flagger": rivals.flagger_alarm(champion, candidate),
        "repeated z": rivals.repeated_z_alarm(z, rivals.REQUESTS_BETWEEN_LOOKS),
        "OBF": rivals.obrien_fleming_alarm(z, rivals.REQUESTS_BETWEEN_LOOKS, scene.shares),
        "mSPRT": rivals.msprt_alarm(z, variance, 0.2 * mean, rivals.REQUESTS_BETWEEN_LOOKS),
    }


def _spent(n: int, rng: np.random.Generator) -> Floats:
    return np.where(rng.random(n) < BUYS, np.exp(BASKET[0] + BASKET[1] * rng.standard_normal(n)), 0.0)


@lru_cache(maxsize=16)
def _one(share: float, center: float) -> Floats:
    """What the judge adds for one trial, shape (arms, LEVELS, bets)."""
    zero = (0,) * bounded_mean.VALUE_LEVELS

    def increment(arms: tuple[tuple[int, ...], tuple[int, ...]]) -> tuple[float, ...]:
        stratum = ValueStratum(share, *arms, 0)
        return bounded_mean.mean_evidence_increments([stratum], center, 0.0, harm=True, higher_is_better=True)[0]

    units = [tuple(row) for row in np.eye(bounded_mean.VALUE_LEVELS, dtype=int).tolist()]
    return np.array([[increment((unit, zero)) for unit in units], [increment((zero, unit)) for unit in units]])


def _bets(scene: Scene, mine: _Bools, levels: NDArray[np.intp], center: float) -> Floats:
    """The increment of each trial, for each bet, as the judge counts it; shape (bets, length)."""
    made = np.empty((len(bounded_mean.BET_FRACTIONS), scene.length))
    for stage, (share, _) in enumerate(scene.stages):
        here = scene.stage == stage
        made[:, here] = _one(share, center)[(~mine[here]).astype(int), levels[here]].T
    return made
