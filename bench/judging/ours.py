"""Compute our judge's verdict after every single request, from running sums of its own increments."""

import math

import numpy as np
from numpy.typing import NDArray

from bench.judging.traffic import OUTCOMES, Floats, Ints, Scene
from surefoot.core.errors import InvariantBroken
from surefoot.core.gates.bad_event_rate import MAX_EPOCHS, merge_strata
from surefoot.core.judging.evidence import BadEventStratum
from surefoot.core.stats.change_point import BROKEN_FROM_START_WEIGHT, likely_failure_start, log_mixture_over_starts
from surefoot.core.stats.rate_eprocess import (
    HARM_FACTORS,
    NO_HARM_FACTORS,
    epoch_evidence_increments,
    log_evidence,
    mantel_haenszel_rates,
    trial_evidence_increments,
)
from surefoot.core.stats.sample_ratio import ALTERNATIVE_SHARE_FACTORS, sample_ratio_evidence
from surefoot.core.verdicts.live_decision import SAMPLE_RATIO_ALPHA

ALPHA, BETA = 0.01, 0.05
GROWTH, POINTS = 1.10, 0.002
"""The limit that is accepted everywhere here: 1.10 times the champion's rate and 0.2 points."""
MARGIN_MULTIPLES = {0.01: 15.0, 0.05: 5.0, 0.25: 2.0, 0.5: 1.0}
"""Multiple of the margin that a stage must exclude, by its share."""
_SAME_SUM = 1e-6
"""Difference of two sums of 240,000 logarithms that are the same sum [nats]."""


def _running(
    scene: Scene, outcomes: NDArray[np.intp], grid: tuple[float, ...], slope: float, offset: float, guess: float
) -> Floats:
    """Log-increments added up, for each alternative after each request [nats], shape (alternatives, length)."""
    tables = np.array([trial_evidence_increments(share, guess, slope, offset, grid) for share, _ in scene.stages])
    flat = tables.transpose(1, 0, 2).reshape(len(grid), -1)
    cells = outcomes + OUTCOMES * scene.stage[: len(outcomes)]
    return np.cumsum(flat[:, cells], axis=1)


def compute_log_mixture(totals: Floats, size: int) -> Floats:
    """Log of the mixture over starts after each request [nats], shape (requests,).

    Args:
        totals: Log-increments added up, shape (alternatives, requests).
        size: Length of an epoch [requests].

    Law: what `log_mixture_over_starts` says of the same increments.
    """
    length = totals.shape[1]
    each = (1.0 - BROKEN_FROM_START_WEIGHT) / MAX_EPOCHS
    made = np.empty(length)
    weights = np.full(len(totals), math.log(BROKEN_FROM_START_WEIGHT))
    for epoch in range(MAX_EPOCHS):
        part = slice(epoch * size, length if epoch == MAX_EPOCHS - 1 else min((epoch + 1) * size, length))
        if part.start >= length:
            break
        if epoch:
            weights = np.logaddexp(weights, math.log(each) - totals[:, part.start - 1])
        logs = totals[:, part] + weights[:, None]
        made[part] = _log_mean_exp(logs, each * (MAX_EPOCHS - epoch))
    return made


def _log_mean_exp(logs: Floats, waiting: float = 0.0) -> Floats:
    """Log of the mean over the first axis of exp(logs) + waiting [nats]."""
    top = np.maximum(logs.max(axis=0), 0.0)
    made: Floats = top + np.log(np.exp(logs - top).mean(axis=0) + waiting * np.exp(-top))
    return made


def compute_log_mean(totals: Floats) -> Floats:
    """Log of the mean over alternatives after each request [nats], shape (requests,)."""
    return _log_mean_exp(totals)


def count_strata(scene: Scene, outcomes: NDArray[np.intp], until: int, size: int = 0) -> list[BadEventStratum]:
    """What the gateway would have counted up to a request, with an epoch every `size` requests."""
    epochs = np.minimum(np.arange(until) // size, MAX_EPOCHS - 1) if size else np.zeros(until, dtype=np.int64)
    cells = outcomes[:until] + OUTCOMES * (scene.stage[:until] + len(scene.stages) * epochs)
    counts = np.bincount(cells, minlength=OUTCOMES).tolist()
    counts += [0] * (-len(counts) % OUTCOMES)
    made = []
    for number, at in enumerate(range(0, len(counts), OUTCOMES)):
        mine_bad, mine_good, bad, good = counts[at : at + OUTCOMES]
        share, epoch = scene.stages[number % len(scene.stages)][0], number // len(scene.stages)
        if mine_bad or mine_good or bad or good:
            made.append(BadEventStratum(share, mine_bad, mine_good, bad, good, epoch))
    return made


def _beyond(counted: list[BadEventStratum], guess: float) -> bool:
    """Whether the estimate since the candidate seems to have broken lies above the limit."""
    start = likely_failure_start(epoch_evidence_increments(counted, guess, 1.0, 0.0, HARM_FACTORS), starts=MAX_EPOCHS)
    rates = mantel_haenszel_rates(merge_strata([s for s in counted if s.epoch >= start]))
    return rates is not None and rates[1] > GROWTH * rates[0] + POINTS


def find_fail(
    scene: Scene,
    outcomes: NDArray[np.intp],
    *,
    alpha: float = ALPHA,
    guarded: bool = True,
    size: int = 0,
) -> float:
    """Request at which the judge says FAIL; infinite when it never does.

    Args:
        scene: What kind of traffic it is.
        outcomes: What became of each request.
        alpha: Level [probability].
        guarded: Whether the estimate must lie above the limit too, as in a verdict; without it the strictest reading
            of "false rollback".
        size: Length of an epoch [requests]; by default the planned length over EPOCHS.

    Raises:
        InvariantBroken: The running sums are not what the judge says of the same counters.
    """
    size = size or scene.length // MAX_EPOCHS
    logs = compute_log_mixture(_running(scene, outcomes, HARM_FACTORS, 1.0, 0.0, scene.rate), size)
    over = np.flatnonzero(logs >= -math.log(alpha))
    end = int(over[0]) + 1 if len(over) else len(outcomes)
    counted = count_strata(scene, outcomes, end, size)
    said = log_mixture_over_starts(
        epoch_evidence_increments(counted, scene.rate, 1.0, 0.0, HARM_FACTORS), starts=MAX_EPOCHS
    )
    _same(said, float(logs[end - 1]))
    for at in _thinned(over) if guarded else over[:1]:
        if not guarded or _beyond(count_strata(scene, outcomes, int(at) + 1, size), scene.rate):
            return float(at + 1)
    return math.inf


def _same(said: float, sum_: float) -> None:
    if abs(said - sum_) > _SAME_SUM:
        raise InvariantBroken(f"the judge says {said} where the running sum is {sum_}")


def _thinned(over: Ints) -> Ints:
    """Every one of the first 100, then ever fewer: the estimate moves slowly."""
    return np.concatenate([over[:100], over[100::50]])


def find_pass(scene: Scene, outcomes: NDArray[np.intp], *, guess: float, multiple: float = 1.0) -> float:
    """Request at which the evidence of safety suffices; infinite when it never does."""
    margin = (1.0 + multiple * (GROWTH - 1.0), multiple * POINTS)
    totals = _running(scene, outcomes, NO_HARM_FACTORS, *margin, guess)
    logs = compute_log_mean(totals)
    _same(log_evidence(count_strata(scene, outcomes, len(outcomes)), guess, *margin, NO_HARM_FACTORS), float(logs[-1]))
    over = np.flatnonzero(logs >= -math.log(BETA))
    return float(over[0] + 1) if len(over) else math.inf


def find_broken_split(scene: Scene, outcomes: NDArray[np.intp]) -> float:
    """Request at which the split is called broken; infinite when it never is."""
    mine = outcomes < OUTCOMES // 2
    shares = scene.shares
    totals = np.array(
        [np.cumsum(mine * math.log(factor) - np.log1p(shares * (factor - 1.0))) for factor in ALTERNATIVE_SHARE_FACTORS]
    )
    logs = compute_log_mean(totals)
    _same(sample_ratio_evidence(count_strata(scene, outcomes, len(outcomes))), float(logs[-1]))
    over = np.flatnonzero(logs >= -math.log(SAMPLE_RATIO_ALPHA))
    return float(over[0] + 1) if len(over) else math.inf
