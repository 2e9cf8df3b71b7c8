"""An equal candidate is rarely failed by any gate, and a bad one is: by exact chances, or else by drawing."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from surefoot.core.domain import Outcome
from surefoot.core.judging.evidence import (
    MILLIONTHS_PER_UNIT,
    BadEventCounts,
    BadEventStratum,
    Evidence,
    GaugeComparisons,
    PairedBlock,
    PairedSums,
    SlicedCounts,
    ValueCounts,
    ValueStratum,
)
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Gate, Metric
from surefoot.core.stats.block_metrics import SCORE_BINS
from surefoot.core.stats.bounded_mean import VALUE_LEVELS
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, log_evidence
from tests.gates import make_gate
from tests.sweeps import EVERYTHING

PAID = make_gate("value", Metric.VALUE, margin=0.02, relative=True, column="paid", cap=100.0)
MEMORY = make_gate("memory", Metric.GAUGE, margin=0.1, column="rss_mb", block=60.0)
RIGHT = make_gate("accuracy", Metric.ZERO_ONE, margin=0.0, block=0.0)
ERRORS = make_gate("errors", Metric.ERROR_RATE, margin=0.0, by=("origin",), min_per_slice=1)
GAP = make_gate("fair", Metric.TPR_GAP, margin=0.0, by=("sex",), min_per_slice=1)
AUC = make_gate("auc", Metric.AUC, margin=0.0)
ECE = make_gate("ece", Metric.ECE, margin=0.0)
LEVEL = DecisionThresholds(0.01)
LOOKS = 8
DAYS = 3
"""New blocks between two looks [count]."""
Chances = Callable[[int, int], Outcome]


def ever(outcome: Outcome, say: Chances, chance: float, tosses: int) -> float:
    """Exact chance that a coin is given an outcome after some toss, looked at after each, by all paths of its counts.

    Args:
        outcome: The outcome.
        say: Outcome after (bad, good) tosses.
        chance: Chance of a bad toss [probability].
        tosses: Tosses in all [count].
    """
    alive, reached = {0: 1.0}, 0.0
    for n in range(1, tosses + 1):
        after: dict[int, float] = {}
        for bad, weight in alive.items():
            after[bad + 1] = after.get(bad + 1, 0.0) + weight * chance
            after[bad] = after.get(bad, 0.0) + weight * (1.0 - chance)
        gone = {bad: weight for bad, weight in after.items() if say(bad, n - bad) is outcome}
        reached += sum(gone.values())
        alive = {bad: weight for bad, weight in after.items() if bad not in gone}
    return reached


def blocks(bad: int, good: int) -> Outcome:
    """A gauge that was above its margin in so many blocks."""
    return judge(MEMORY, GaugeComparisons(bad, good, 120.0, 100.0), LEVEL).outcome


def mistakes(bad: int, good: int) -> Outcome:
    """So many mistakes of each version alone among a thousand requests."""
    cells = PairedBlock("all", 1000, (good + 100, 100), (bad + 100, 100))
    return judge(RIGHT, PairedSums({"": (cells,)}, 1000, 1000), LEVEL).outcome


@pytest.mark.parametrize("say", [blocks, mistakes])
def test_fair_coin_is_failed_no_more_often_than_the_level(say: Chances) -> None:
    """Of all paths of a hundred fair tosses, looked at after each, at most one percent fail, and more than none."""
    assert 0.0005 < ever(Outcome.FAIL, say, 0.5, 100) <= 0.01


@pytest.mark.parametrize("say", [blocks, mistakes])
def test_coin_that_mostly_falls_badly_is_failed(say: Chances) -> None:
    """Nine bad tosses in ten are found within sixty, nearly always."""
    assert ever(Outcome.FAIL, say, 0.9, 60) >= 0.99


def test_gauge_on_its_margin_rarely_passes() -> None:
    """A gauge that is above its margin half of the time passes in at most one of twenty watches."""
    assert 0.005 < ever(Outcome.PASS, blocks, 0.5, 100) <= 0.05


def failed(gate: Gate, looks: Iterator[tuple[Evidence, DecisionThresholds]]) -> bool:
    """Whether any look fails."""
    return any(judge(gate, evidence, level).outcome is Outcome.FAIL for evidence, level in looks)


def paid(seed: int, times: float) -> Iterator[tuple[Evidence, DecisionThresholds]]:
    """A ramp on which a fifth buys something, more by day; of the candidate's, so many times as many."""
    random = np.random.default_rng(seed)
    strata: list[ValueStratum] = []
    for epoch in range(12):
        share = (0.05, 0.25, 0.5)[epoch // 4]
        arrived = int(random.binomial(1500, share))
        sides = []
        for n, rate in ((arrived, times), (1500 - arrived, 1.0)):
            bought = int(random.binomial(n, 0.2 * rate * (1.0 + 0.5 * math.sin(epoch))))
            side = np.bincount(random.integers(1, VALUE_LEVELS, bought), minlength=VALUE_LEVELS)
            side[0] = n - bought
            sides.append(tuple(int(k) for k in side))
        mine, theirs = sides
        strata.append(ValueStratum(share, mine, theirs, epoch))
        if epoch % 2:
            yield ValueCounts(tuple(strata), 0.1), LEVEL


def test_equal_value_is_rarely_failed() -> None:
    """At most one in fifty equal candidates fails on a value that moves with the day, over a whole ramp."""
    runs = 100 if EVERYTHING else 50
    assert sum(failed(PAID, paid(seed, 1.0)) for seed in range(runs)) <= runs // 50


def test_lost_value_is_failed() -> None:
    """A candidate to whom a third fewer sell anything fails within the ramp."""
    assert all(failed(PAID, paid(seed, 0.67)) for seed in range(10))


def failing(seed: int, rates: tuple[float, ...]) -> Iterator[tuple[Evidence, DecisionThresholds]]:
    """Eight slices whose champions fail at 2 % and whose candidates at these rates, looked at ten times."""
    random = np.random.default_rng(seed)
    cells = np.zeros((len(rates), 4), dtype=int)
    for _ in range(10):
        for index, rate in enumerate(rates):
            new = int(random.binomial(400, 0.25))
            bad, old = int(random.binomial(new, rate)), int(random.binomial(400 - new, 0.02))
            cells[index] += np.array([bad, new - bad, old, 400 - new - old])
        strata = [BadEventStratum(0.25, *(int(cell) for cell in row)) for row in cells]
        # A start from the beginning has 0.8 of the weight, so no slice fails with less evidence; the judge is slower.
        if max(log_evidence([s], 0.02, 1.0, 0.0, HARM_FACTORS) for s in strata) >= math.log(len(rates) / LEVEL.alpha):
            yield SlicedCounts({f"origin={i}": BadEventCounts((s,), 0.02) for i, s in enumerate(strata)}, 10_000), LEVEL


def test_equal_slices_are_rarely_failed() -> None:
    """Of equal candidates with eight slices each at most one in fifty fails, though every slice might do it."""
    assert sum(failed(ERRORS, failing(seed, (0.02,) * 8)) for seed in range(150)) <= 3


def test_slice_that_breaks_is_failed() -> None:
    """One slice of eight that fails five times as often is found behind seven good ones, and is the culprit."""
    for seed in range(5):
        verdicts = [judge(ERRORS, evidence, level) for evidence, level in failing(seed, (*(0.02,) * 7, 0.1))]
        assert {v.culprit for v in verdicts if v.outcome is Outcome.FAIL} == {"origin=7"}


def looks(made: dict[str, list[PairedBlock]]) -> Iterator[tuple[Evidence, DecisionThresholds]]:
    """Growing windows of days; each look has its part of a level of five percent."""
    for look in range(1, LOOKS + 1):
        slices = {name: tuple(blocks[: 2 + DAYS * look]) for name, blocks in made.items()}
        n = sum(block.n for blocks in slices.values() for block in blocks)
        yield PairedSums(slices, n, n), DecisionThresholds(0.05, look=look, late=look)


def scored(seed: int, blur: float, bend: float) -> Iterator[tuple[Evidence, DecisionThresholds]]:
    """Days of requests that two versions score with errors of their own; the candidate's may be larger, or bent."""
    random = np.random.default_rng(seed)
    days, each = 2 + DAYS * LOOKS, 50
    truth = random.normal(0.0, 1.2, (days, each))
    came = random.random((days, each)) < 1.0 / (1.0 + np.exp(-truth))
    day = np.repeat(np.arange(days), each) * SCORE_BINS
    sides = []
    for spread, turn in ((0.8, 1.0), (blur, bend)):
        score = 1.0 / (1.0 + np.exp(-turn * (truth + random.normal(0.0, spread, (days, each))) / 1.44))
        where = day + (score.ravel() * SCORE_BINS).astype(int)
        weights = (np.ones(days * each), came.ravel(), np.rint(score.ravel() * MILLIONTHS_PER_UNIT))
        parts = [np.bincount(where, weight, days * SCORE_BINS).reshape(days, SCORE_BINS) for weight in weights]
        sides.append(np.concatenate(parts, axis=1).astype(int))
    blocks = [
        PairedBlock(f"{d:02}", each, tuple(old), tuple(new))
        for d, (old, new) in enumerate(zip(sides[0].tolist(), sides[1].tolist(), strict=True))
    ]
    return looks({"": blocks})


@pytest.mark.parametrize("gate", [AUC, ECE], ids=["auc", "ece"])
def test_equal_scores_are_rarely_failed(gate: Gate) -> None:
    """At most one in twenty equal candidates fails on areas or calibration, over eight looks without any margin."""
    assert sum(failed(gate, scored(seed, 0.8, 1.0)) for seed in range(60)) <= 3


@pytest.mark.parametrize(("gate", "blur", "bend"), [(AUC, 3.0, 1.0), (ECE, 0.8, 3.0)], ids=["auc", "ece"])
def test_worse_scores_are_failed(gate: Gate, blur: float, bend: float) -> None:
    """Scores that are blurred fail on their order, and scores that are too sure of themselves on their calibration."""
    assert all(failed(gate, scored(seed, blur, bend)) for seed in range(5))


def decided(seed: int, hit: tuple[float, float]) -> Iterator[tuple[Evidence, DecisionThresholds]]:
    """Days of two groups of which the champion finds 60 %, and the candidate these shares."""
    random = np.random.default_rng(seed)
    made: dict[str, list[PairedBlock]] = {}
    for name, rate in zip("fm", hit, strict=True):
        blocks = made.setdefault(f"sex={name}", [])
        for d in range(2 + DAYS * LOOKS):
            came = int(random.binomial(60, 0.5))
            old, new = (int(random.binomial(came, chance)) for chance in (0.6, rate))
            blocks.append(PairedBlock(f"{d:02}", 60, (old, 5, came - old, 55 - came), (new, 5, came - new, 55 - came)))
    return looks(made)


def test_equal_gaps_are_rarely_failed() -> None:
    """At most one in twenty candidates that find as many in both groups fails, over eight looks without any margin."""
    assert sum(failed(GAP, decided(seed, (0.6, 0.6))) for seed in range(100)) <= 5


def test_gap_that_opens_is_failed() -> None:
    """A candidate that finds only a third in one of the groups fails, and that group is the culprit."""
    for seed in range(5):
        verdicts = [judge(GAP, evidence, level) for evidence, level in decided(seed, (0.3, 0.6))]
        assert {v.culprit for v in verdicts if v.outcome is Outcome.FAIL} == {"sex=f"}
