"""Paired differences by block agree with independent formulas and resampling."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import MILLIONTHS_PER_UNIT, PairedBlock
from surefoot.core.stats.paired_difference import MIN_BLOCKS, Difference, alpha_share_of_look, block_difference

LOSS = st.integers(0, 100 * MILLIONTHS_PER_UNIT).map(lambda value: (value,))
BLOCKS = st.lists(st.builds(PairedBlock, st.just("b"), st.integers(1, 500), LOSS, LOSS), min_size=5, max_size=20)


def block(key: str, n: int, champion: float, candidate: float) -> PairedBlock:
    """A block of these sums of losses."""
    return PairedBlock(key, n, (round(champion * MILLIONTHS_PER_UNIT),), (round(candidate * MILLIONTHS_PER_UNIT),))


def made(blocks: int, seed: int = 7) -> list[PairedBlock]:
    """Days of unequal size on which everything moves together."""
    random = np.random.default_rng(seed)
    found = []
    for day in range(blocks):
        n = int(random.integers(50, 400))
        mood = random.normal(0.0, 0.05)
        old = random.normal(0.2, 0.1, n).clip(0.0, 1.0)
        new = (old + 0.01 + mood + random.normal(0.0, 0.05, n)).clip(0.0, 1.0)
        found.append(block(f"2013-06-{day + 1:02d}", n, float(old.sum()), float(new.sum())))
    return found


@given(BLOCKS)
def test_difference_is_a_cluster_robust_ratio(blocks: list[PairedBlock]) -> None:
    """Mean and error are those of least squares on a constant with errors clustered by block."""
    found = block_difference(blocks)
    assert found is not None
    sizes = np.array([b.n for b in blocks], dtype=float)
    sums = np.array([b.candidate[0] - b.champion[0] for b in blocks]) / MILLIONTHS_PER_UNIT
    # Sandwich of a regression on a constant: bread 1/n, meat the squared block sums of the residuals.
    mean = sums.sum() / sizes.sum()
    meat = np.square(sums - mean * sizes).sum() * len(blocks) / (len(blocks) - 1)
    assert found.mean == pytest.approx(mean, abs=1e-9)
    assert found.error == pytest.approx(math.sqrt(meat) / sizes.sum(), rel=1e-9, abs=1e-9)
    assert found.candidate - found.champion == pytest.approx(found.mean, abs=1e-12)
    assert (found.n, found.blocks) == (int(sizes.sum()), len(blocks))


def test_error_is_what_resampling_blocks_shows() -> None:
    """Drawing whole days with replacement spreads the difference as the formula says."""
    blocks = made(40)
    found = block_difference(blocks)
    assert found is not None
    random = np.random.default_rng(1)
    sizes, sums = (
        np.array([b.n for b in blocks]),
        np.array([b.candidate[0] - b.champion[0] for b in blocks]) / MILLIONTHS_PER_UNIT,
    )
    drawn = random.integers(0, 40, (4000, 40))
    spread = float(np.std(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)))
    assert found.error == pytest.approx(spread, rel=0.06)


def test_requests_of_one_day_are_not_independent() -> None:
    """Taking every request for itself would claim far more certainty than the days allow."""
    random, found = np.random.default_rng(3), block_difference(made(30))
    assert found is not None
    alone = float(np.std(random.normal(0.0, 0.07, found.n))) / math.sqrt(found.n)
    assert found.error > 3.0 * alone


@given(st.lists(st.builds(PairedBlock, st.just("b"), st.integers(0, 3), LOSS, LOSS), max_size=MIN_BLOCKS - 1))
def test_few_blocks_say_nothing(blocks: list[PairedBlock]) -> None:
    """Fewer than five blocks give no difference, however many empty ones are added."""
    assert block_difference(blocks) is None
    assert block_difference([*blocks, *[block("empty", 0, 0.0, 0.0)] * 9]) is None


def test_empty_blocks_change_nothing() -> None:
    """A day without requests is no evidence of steadiness."""
    assert block_difference([*made(6), block("2013-07-01", 0, 0.0, 0.0)]) == block_difference(made(6))


@given(BLOCKS, st.randoms())
def test_order_of_blocks_does_not_matter(blocks: list[PairedBlock], random: object) -> None:
    """Blocks may come in any order."""
    shuffled = list(blocks)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    here, there = block_difference(blocks), block_difference(shuffled)
    assert here is not None
    assert there is not None
    assert here.mean == pytest.approx(there.mean, abs=1e-9)
    assert here.error == pytest.approx(there.error, abs=1e-9)


def test_equal_answers_leave_no_doubt() -> None:
    """Versions that lose exactly the same differ by exactly nothing."""
    found = block_difference([block(str(day), 100, 0.1 * day, 0.1 * day) for day in range(5)])
    assert found is not None
    assert (found.mean, found.error, found.radius(1e-6)) == (0.0, 0.0, 0.0)


def test_a_level_shared_over_looks_is_used_once() -> None:
    """The shares of a million looks add up to the level and never exceed it."""
    total = math.fsum(alpha_share_of_look(look) for look in range(1, 1_000_001))
    assert 1.0 - 1e-6 - 1e-9 <= total < 1.0
    assert all(alpha_share_of_look(a) > alpha_share_of_look(b) for a, b in itertools.pairwise(range(1, 100)))


@given(st.integers(5, 400), st.floats(1e-12, 0.49), st.floats(1e-12, 0.49))
def test_the_surer_the_wider(blocks: int, one: float, other: float) -> None:
    """The radius grows as the level falls, and is wider than that of the normal distribution."""
    found = Difference(0.0, 1.0, blocks, 1000, 0.2, 0.2)
    low, high = sorted((one, other))
    assert found.radius(low) >= found.radius(high)
    assert found.radius(low) >= stats.norm.isf(low) - 1e-9


def test_radius_leaves_out_what_it_says() -> None:
    """The density of Student's t beyond the radius integrates to the level."""
    radius = Difference(0.0, 1.0, 8, 1000, 0.2, 0.2).radius(0.003)
    beyond, _ = integrate.quad(lambda x: stats.t.pdf(x, 7), radius, math.inf)
    assert beyond == pytest.approx(0.003, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, -0.1, math.nan])
def test_what_is_no_level_is_refused(alpha: float) -> None:
    """A level of nothing, or of one half and more, is a bug."""
    with pytest.raises(InvariantBroken):
        Difference(0.0, 1.0, 8, 1000, 0.2, 0.2).radius(alpha)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Over two thousand months of days that move together, the one-sided interval misses about 5 % of the time."""
    random = np.random.default_rng(11)
    missed = 0
    for _ in range(2000):
        sizes = random.integers(20, 200, 12)
        sums = sizes * (0.01 + random.normal(0.0, 0.05, 12))
        found = block_difference([block("d", int(n), 0.0, float(x)) for n, x in zip(sizes, sums, strict=True)])
        assert found is not None
        missed += found.mean - found.radius(0.05) > 0.01
    assert 0.03 <= missed / 2000 <= 0.08
