"""Whole rollouts in which every stage lasts until its gate passes."""

import math
from typing import TYPE_CHECKING

import numpy as np

from bench.judging.ours import BETA, GROWTH, LADDER, POINTS, fails, plain, strata
from bench.judging.traffic import RAMP, Floats, Scene, baseline, sums, worse
from surefoot.core.gates.bad_event_rate import MAX_EPOCHS
from surefoot.core.judging.evidence import BadEventStratum
from surefoot.core.stats.rate_eprocess import NO_HARM_FACTORS, trial_evidence_increments

if TYPE_CHECKING:
    from numpy.typing import NDArray

HORIZON = 240_000
"""Requests of both arms after which nobody waits any longer."""
LEAST = 10_000
"""Requests that a stage must see."""
LOOK = 100
"""Requests between two looks."""


def rollout(scene: Scene, rng: np.random.Generator) -> tuple[float, float]:
    """One rollout over the shares of the ramp.

    Args:
        scene: Rates of both arms; its stages are not used.
        rng: Source of chance.

    Returns:
        (request of the promotion, request of the rollback), infinite for what did not happen; never both.
    """
    rates = baseline(scene, rng, HORIZON)
    worst = np.broadcast_to(worse(scene, rates, HORIZON), HORIZON)
    rates = np.broadcast_to(rates, HORIZON)
    to, luck = rng.random(HORIZON), rng.random(HORIZON)
    stages: list[tuple[float, int]] = []
    pieces: list[NDArray[np.intp]] = []
    start = 0
    promoted = math.inf
    for share, _ in RAMP:
        mine = to[start:] < share
        good = luck[start:] >= np.where(mine, worst[start:], rates[start:])
        outcomes = (2 * ~mine + good).astype(np.intp)
        past = strata(Scene(tuple(stages) or RAMP, scene.rate), np.concatenate(pieces or [outcomes[:0]]), start)
        length = _passed(share, outcomes, past_totals(past, share, scene.rate), scene.rate)
        end = length or HORIZON - start
        stages.append((share, end))
        pieces.append(outcomes[:end])
        start += end
        if not length:
            break
    else:
        promoted = float(start)
    whole = np.concatenate(pieces)
    failed = fails(Scene(tuple(stages), scene.rate), whole, size=HORIZON // MAX_EPOCHS)
    return (math.inf, failed) if failed < promoted else (promoted, math.inf)


def past_totals(past: list[BadEventStratum], share: float, guess: float) -> Floats:
    """Evidence of safety of the stages before, at the margin that this stage must exclude, by alternative."""
    margin = _margin(share)
    made = np.zeros(len(NO_HARM_FACTORS))
    for s in past:
        cells = np.array([s.candidate_bad, s.candidate_good, s.champion_bad, s.champion_good])
        made += np.array(trial_evidence_increments(s.share, guess, *margin, NO_HARM_FACTORS)) @ cells
    return made


def _margin(share: float) -> tuple[float, float]:
    return 1.0 + LADDER[share] * (GROWTH - 1.0), LADDER[share] * POINTS


def _passed(share: float, outcomes: np.ndarray, base: Floats, guess: float) -> int:
    """Requests until the stage's gate passes; 0 when it never does."""
    counts = sums(outcomes, LOOK)
    rows = np.array(trial_evidence_increments(share, guess, *_margin(share), NO_HARM_FACTORS))
    logs = plain(base[:, None] + rows @ counts.T)
    logs[: LEAST // LOOK - 1] = -math.inf
    over = np.flatnonzero(logs >= -math.log(BETA))
    return int(over[0] + 1) * LOOK if len(over) else 0
