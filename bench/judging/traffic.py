"""Simulate requests of two arms: ramping splits, moving baselines, and candidates that are worse."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RAMP = ((0.01, 60_000), (0.05, 60_000), (0.25, 60_000), (0.5, 60_000))
"""Stages of the rollout that every method is judged on: (share of the candidate, requests of both arms)."""
EVEN_SPLIT = ((0.5, 120_000),)
"""An even split from the first request on."""
_Shape = Literal["flat", "rising", "day"]
OUTCOMES = 4
"""What a request can be: candidate bad, candidate good, champion bad, champion good, in this order."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Traffic of one kind.

    Attributes:
        stages: (share of the candidate, requests of both arms) of each stage.
        rate: The champion's rate of bad events, on average [probability].
        ratio: The candidate's rate over the champion's at the same instant.
        points: What the candidate's rate has on top [probability].
        shape: How the baseline moves: not, from 0.4 to 1.6 times, or by 30 % up and down each 86,400 requests.
        skew: By how much the candidate's actual share is above the configured one [share of it].
        breaks_at: Request from which on the ratio holds; before it the candidate is equal.
    """

    stages: tuple[tuple[float, int], ...]
    rate: float
    ratio: float = 1.0
    points: float = 0.0
    shape: _Shape = "flat"
    skew: float = 0.0
    breaks_at: int = 0

    @property
    def length(self) -> int:
        """Requests of both arms in all stages."""
        return sum(n for _, n in self.stages)

    @property
    def shares(self) -> Floats:
        """Configured share of the candidate at each request, shape (length,)."""
        return np.repeat([share for share, _ in self.stages], [n for _, n in self.stages])

    @property
    def stage(self) -> Ints:
        """Number of the stage of each request, shape (length,)."""
        return np.repeat(np.arange(len(self.stages)), [n for _, n in self.stages])


def compute_champion_rates(scene: Scene, rng: np.random.Generator, length: int) -> Floats:
    """The champion's rate at each request [probability], shape (length,) or (1,) when it does not move."""
    when = np.arange(length)
    if scene.shape == "rising":
        return scene.rate * (0.4 + 1.2 * when / length)
    if scene.shape == "day":
        return scene.rate * (1.0 + 0.3 * np.sin(2.0 * np.pi * (when / 86_400.0 + rng.random())))
    return np.full(1, scene.rate)


def compute_candidate_rates(scene: Scene, rates: Floats, length: int) -> Floats:
    """The candidate's rate where the champion's is this, shape as given or (length,)."""
    bad = np.minimum(rates * scene.ratio + scene.points, 1.0)
    if not scene.breaks_at:
        return bad
    return np.where(np.arange(length) < scene.breaks_at, np.broadcast_to(rates, length), bad)


def simulate_requests(scene: Scene, rng: np.random.Generator) -> NDArray[np.intp]:
    """One rollout: what became of each request [0 to OUTCOMES - 1], shape (length,)."""
    n = scene.length
    rates = compute_champion_rates(scene, rng, n)
    candidate = rng.random(n) < scene.shares * (1.0 + scene.skew)
    bad = rng.random(n) < np.where(candidate, compute_candidate_rates(scene, rates, n), rates)
    return (2 * ~candidate + ~bad).astype(np.intp)


def count_outcomes(outcomes: NDArray[np.intp], every: int) -> Ints:
    """Requests of each outcome up to the end of each block of `every` requests, shape (blocks, OUTCOMES)."""
    blocks = len(outcomes) // every
    cells = outcomes[: blocks * every] + OUTCOMES * np.repeat(np.arange(blocks), every)
    counts = np.bincount(cells, minlength=blocks * OUTCOMES).reshape(blocks, OUTCOMES)
    return counts.cumsum(axis=0)
