"""Simulate whole rollouts in which each stage lasts until its gate passes."""

import math
from typing import TYPE_CHECKING

import numpy as np

from bench.judging.ours import BETA, GROWTH, MARGIN_MULTIPLES, POINTS, compute_log_mean, count_strata, find_fail
from bench.judging.traffic import RAMP, Floats, Scene, compute_candidate_rates, compute_champion_rates, count_outcomes
from surefoot.core.gates.bad_event_rate import MAX_EPOCHS
from surefoot.core.judging.evidence import BadEventStratum
from surefoot.core.stats.rate_eprocess import NO_HARM_FACTORS, trial_evidence_increments

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HORIZON = 240_000
"""Requests of both arms after which nobody waits any longer."""
_LEAST = 10_000
"""Requests that a stage must see."""
_LOOK = 100
"""Requests between two looks."""


def simulate_rollout(scene: Scene, rng: np.random.Generator) -> tuple[float, float]:
    """One rollout over the shares of the ramp.

    Args:
        scene: Rates of both arms; its stages are not used.
        rng: Source of chance.

    Returns:
        (request of the promotion, request of the rollback), infinite for what did not happen; never both.
    """
    rates = compute_champion_rates(scene, rng, _HORIZON)
    worst = np.broadcast_to(compute_candidate_rates(scene, rates, _HORIZON), _HORIZON)
    rates = np.broadcast_to(rates, _HORIZON)
    to, luck = rng.random(_HORIZON), rng.random(_HORIZON)
    stages: list[tuple[float, int]] = []
    pieces: list[NDArray[np.intp]] = []
    start = 0
    promoted = math.inf
    for share, _ in RAMP:
        mine = to[start:] < share
        good = luck[start:] >= np.where(mine, worst[start:], rates[start:])
        outcomes = (2 * ~mine + good).astype(np.intp)
        past = count_strata(Scene(tuple(stages) or RAMP, scene.rate), np.concatenate(pieces or [outcomes[:0]]), start)
        length = _passed(share, outcomes, _past_totals(past, share, scene.rate), scene.rate)
        end = length or _HORIZON - start
        stages.append((share, end))
        pieces.append(outcomes[:end])
        start += end
        if not length:
            break
    else:
        promoted = float(start)
    whole = np.concatenate(pieces)
    failed = find_fail(Scene(tuple(stages), scene.rate), whole, size=_HORIZON // MAX_EPOCHS)
    return (math.inf, failed) if failed < promoted else (promoted, math.inf)


def _past_totals(past: list[BadEventStratum], share: float, guess: float) -> Floats:
    """Evidence of safety of the stages before, at the margin that this stage must exclude, by alternative."""
    margin = _margin(share)
    made = np.zeros(len(NO_HARM_FACTORS))
    for s in past:
        cells = np.array([s.candidate_bad, s.candidate_good, s.champion_bad, s.champion_good])
        made += np.array(trial_evidence_increments(s.share, guess, *margin, NO_HARM_FACTORS)) @ cells
    return made


def _margin(share: float) -> tuple[float, float]:
    return 1.0 + MARGIN_MULTIPLES[share] * (GROWTH - 1.0), MARGIN_MULTIPLES[share] * POINTS


def _passed(share: float, outcomes: np.ndarray, base: Floats, guess: float) -> int:
    """Requests until the stage's gate passes; 0 when it never does."""
    counts = count_outcomes(outcomes, _LOOK)
    rows = np.array(trial_evidence_increments(share, guess, *_margin(share), NO_HARM_FACTORS))
    logs = compute_log_mean(base[:, None] + rows @ counts.T)
    logs[: _LEAST // _LOOK - 1] = -math.inf
    over = np.flatnonzero(logs >= -math.log(BETA))
    return int(over[0] + 1) * _LOOK if len(over) else 0
