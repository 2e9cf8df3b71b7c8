"""Statistics of sums agree with plain computations over the requests, and their errors with the textbooks."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from surefoot.adapters.evidence.paired.score_bins import score_bin_totals
from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import MILLIONTHS_PER_UNIT, PairedBlock
from surefoot.core.policy.policy_types import GAP_METRICS, GROUP_RATE_METRICS, PAIRED_METRICS, Metric
from surefoot.core.stats.block_metrics import (
    SCORE_BINS,
    Floats,
    block_metric_for,
    calibration_error,
    group_metric_values,
    mean_loss,
    misranked_share,
    root_mean_square,
)
from surefoot.core.stats.paired_difference import MIN_BLOCKS, block_difference, jackknife_difference

Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]

SCORED = st.lists(st.tuples(st.integers(0, MILLIONTHS_PER_UNIT), st.booleans()), min_size=1, max_size=60)
"""Requests: a score in millionths, and what came true."""
CENTRED = st.lists(st.tuples(st.integers(0, SCORE_BINS - 1), st.booleans()), min_size=1, max_size=60)
"""The same with the number of the score's bin."""
CELLS = st.tuples(*[st.integers(0, 40)] * 4)
GROUPS = st.lists(CELLS, min_size=2, max_size=5)
RATES = {
    Metric.TPR_GAP: lambda hits, _alarms, misses, _rejections: (hits, hits + misses),
    Metric.FPR_GAP: lambda _hits, alarms, _misses, rejections: (alarms, alarms + rejections),
    Metric.SELECTION_GAP: lambda hits, alarms, misses, rejections: (hits + alarms, hits + alarms + misses + rejections),
}
"""Each rate as (cases, of how many), by its textbook."""


def sums(scores: Sequence[int], came: Sequence[bool]) -> Floats:
    """Requests, positives and scores by bin, counted one by one."""
    made = np.zeros(3 * SCORE_BINS)
    for score, true in zip(scores, came, strict=True):
        where = min(score * SCORE_BINS // MILLIONTHS_PER_UNIT, SCORE_BINS - 1)
        made[where] += 1
        made[SCORE_BINS + where] += true
        made[2 * SCORE_BINS + where] += score
    return made


def centre(number: int) -> int:
    """Middle of a bin [millionths]."""
    return (2 * number + 1) * MILLIONTHS_PER_UNIT // (2 * SCORE_BINS)


def blocks_of(each: int, scores: tuple[Whole, Whole], came: Flags) -> list[PairedBlock]:
    """Both versions' sums, cut into blocks of so many requests."""
    return [
        PairedBlock(
            str(first),
            each,
            *(
                tuple(int(x) for x in sums(side[first : first + each].tolist(), came[first : first + each].tolist()))
                for side in scores
            ),
        )
        for first in range(0, len(came), each)
    ]


@given(CENTRED)
def test_misranked_is_one_minus_the_area(requests: list[tuple[int, bool]]) -> None:
    """Scores on the centres of their bins, ties among them, have the area that scikit-learn finds."""
    scores, came = [centre(number) for number, _ in requests], [true for _, true in requests]
    found = float(misranked_share(np.array(float(len(came))), sums(scores, came)))
    if len(set(came)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(1.0 - metrics.roc_auc_score(came, scores), abs=1e-12)


@given(SCORED)
def test_area_is_known_to_within_its_ties(requests: list[tuple[int, bool]]) -> None:
    """Scores anywhere in their bins have an area that differs by no more than half of the pairs that share a bin."""
    scores, came = np.array([score for score, _ in requests]), np.array([true for _, true in requests])
    if len(set(came.tolist())) == 1:
        return
    bins = np.minimum(scores * SCORE_BINS // MILLIONTHS_PER_UNIT, SCORE_BINS - 1)
    shared = float(np.mean(bins[came][:, None] == bins[~came][None, :]))
    found = float(misranked_share(np.array(1.0), sums(scores.tolist(), came.tolist())))
    assert abs(1.0 - found - metrics.roc_auc_score(came, scores)) <= 0.5 * shared + 1e-12


@given(SCORED)
def test_calibration_error_is_that_of_ten_bins(requests: list[tuple[int, bool]]) -> None:
    """The error is the mean over ten bins of how far the mean score lies from the frequency, by requests."""
    members: dict[int, list[tuple[float, bool]]] = {}
    for score, true in requests:
        members.setdefault(min(score * 10 // MILLIONTHS_PER_UNIT, 9), []).append((score / MILLIONTHS_PER_UNIT, true))
    expected = 0.0
    for inside in members.values():
        apart = sum(score for score, _ in inside) / len(inside) - sum(true for _, true in inside) / len(inside)
        expected += len(inside) / len(requests) * abs(apart)
    found = calibration_error(np.array(float(len(requests))), sums(*zip(*requests, strict=True)))
    assert float(found) == pytest.approx(expected, abs=1e-9)


@given(SCORED)
def test_adapter_counts_scores_as_the_statistics_read_them(requests: list[tuple[int, bool]]) -> None:
    """Bins that the adapter fills are those that the core takes apart, however the scores lie."""
    scores, came = zip(*requests, strict=True)
    cells = score_bin_totals(np.array(scores) / MILLIONTHS_PER_UNIT, np.array(came, dtype=float))
    flat = np.array([cell[part] for part in range(3) for cell in cells], dtype=float)
    assert flat.sum() == sums(scores, came).sum()
    if all(score * SCORE_BINS % MILLIONTHS_PER_UNIT for score in scores):  # on an edge the last bit of a float decides
        assert flat.tolist() == sums(scores, came).tolist()


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30))
def test_mean_and_root(losses: list[int]) -> None:
    """A mean is that of the losses, and a root mean squared error its root."""
    n, total = np.array(float(len(losses))), np.array([float(sum(losses))])
    expected = math.fsum(loss / MILLIONTHS_PER_UNIT for loss in losses) / len(losses)
    assert float(mean_loss(n, total)) == pytest.approx(expected, abs=1e-12)
    assert float(root_mean_square(n, total)) == pytest.approx(math.sqrt(expected), abs=1e-12)
    assert math.isnan(float(mean_loss(np.array(0.0), np.array([0.0]))))


@pytest.mark.parametrize("metric", sorted(GROUP_RATE_METRICS))
@given(groups=GROUPS)
def test_gap_is_the_largest_difference_between_two_groups(metric: Metric, groups: list[tuple[int, ...]]) -> None:
    """A gap is the largest over all pairs; one group whose rate nobody knows leaves it unknown."""
    cells, n = np.array(groups, dtype=float), np.array([float(sum(group)) for group in groups])
    pairs = [RATES[metric](*group) for group in groups]
    found = float(block_metric_for(metric)(n, cells))
    if not all(below for _, below in pairs):
        assert math.isnan(found)
        return
    known = [above / below for above, below in pairs]
    assert group_metric_values(metric, n, cells).tolist() == pytest.approx(known, abs=1e-12)
    assert found == pytest.approx(max(abs(a - b) for a in known for b in known), abs=1e-12)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 10**8)), min_size=2, max_size=5))
def test_gap_of_a_loss_is_between_means(groups: list[tuple[int, int]]) -> None:
    """The gap of a loss is between the groups' mean losses."""
    means = [total / MILLIONTHS_PER_UNIT / n for n, total in groups]
    n, total = (np.array([float(group[k]) for group in groups]) for k in (0, 1))
    assert float(block_metric_for(Metric.LOSS_GAP)(n, total[:, None])) == pytest.approx(
        max(means) - min(means), abs=1e-9
    )


@pytest.mark.parametrize("metric", sorted(PAIRED_METRICS))
def test_whole_arrays_are_taken_row_by_row(metric: Metric) -> None:
    """A statistic of a stack of sums is the stack of their statistics."""
    random = np.random.default_rng(4)
    width = 3 * SCORE_BINS if metric in {Metric.AUC, Metric.ECE} else 4
    shape = (3, 2, 4) if metric in GAP_METRICS else (3, 2)
    stacked = random.integers(1, 50, (*shape, width)).astype(float)
    if width > 4:
        stacked[..., :SCORE_BINS] += stacked[..., SCORE_BINS : 2 * SCORE_BINS]  # no more positives than requests
    n = stacked[..., : min(width, SCORE_BINS)].sum(axis=-1)
    found = block_metric_for(metric)(n, stacked)
    assert found.shape == (3, 2)
    for row in np.ndindex(3, 2):
        assert float(found[row]) == pytest.approx(float(block_metric_for(metric)(n[row], stacked[row])), abs=1e-12)


@pytest.mark.parametrize("metric", sorted(set(Metric) - PAIRED_METRICS))
def test_what_is_not_judged_on_the_same_requests_has_no_statistic(metric: Metric) -> None:
    """A statistic of a served metric is a bug."""
    with pytest.raises(InvariantBroken, match="not judged on the same requests"):
        block_metric_for(metric)


def delong(scores: tuple[Whole, Whole], came: Flags) -> tuple[float, float]:
    """Standard errors of (a difference of two areas, the second area).

    Source: DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44(3), equations 4 to 6.
    """
    placed = []
    for side in scores:
        apart = side[came][:, None] - side[~came][None, :]
        right = (apart > 0) + 0.5 * (apart == 0)
        placed.append((right.mean(axis=1), right.mean(axis=0)))
    positive, negative = (np.stack([side[k] for side in placed]) for k in (0, 1))
    covariance = np.cov(positive) / positive.shape[1] + np.cov(negative) / negative.shape[1]
    along = np.array([-1.0, 1.0])
    return float(np.sqrt(along @ covariance @ along)), float(np.sqrt(covariance[1, 1]))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_error_of_an_area_is_delongs(seed: int) -> None:
    """Left out in turn, small blocks of independent requests spread two areas as DeLong says, apart and alone."""
    random = np.random.default_rng(seed)
    n, each = 3000, 10
    truth = random.normal(0.0, 1.0, n)
    came = random.random(n) < 1.0 / (1.0 + np.exp(1.0 - 2.0 * truth))
    one, other = (truth + random.normal(0.0, spread, n) for spread in (0.7, 1.2))
    old, new = (
        ((2 * np.floor(SCORE_BINS / (1.0 + np.exp(-side))) + 1) * MILLIONTHS_PER_UNIT / (2 * SCORE_BINS)).astype(
            np.int64
        )
        for side in (one, other)
    )
    found = block_difference(blocks_of(each, (old, new), came), misranked_share)
    assert found is not None
    assert found.mean == pytest.approx(metrics.roc_auc_score(came, old) - metrics.roc_auc_score(came, new), abs=1e-9)
    error, own = delong((old, new), came)
    assert found.error == pytest.approx(error, rel=0.1)
    assert found.own == pytest.approx(own, rel=0.1)


@given(
    st.lists(
        st.tuples(st.integers(0, MILLIONTHS_PER_UNIT), st.integers(0, MILLIONTHS_PER_UNIT)),
        min_size=MIN_BLOCKS,
        max_size=40,
    )
)
def test_error_of_a_mean_is_the_textbooks(pairs: list[tuple[int, int]]) -> None:
    """With one request a block the error is the deviation of paired differences over the root of their number."""
    old, new = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    apart = (new - old) / MILLIONTHS_PER_UNIT
    expected = float(np.std(apart, ddof=1)) / math.sqrt(len(pairs))
    found = jackknife_difference(np.ones(len(pairs)), old[:, None], new[:, None], mean_loss)
    ratio = block_difference([PairedBlock(str(i), 1, (a,), (b,)) for i, (a, b) in enumerate(pairs)])
    assert found is not None
    assert ratio is not None
    for made in (found, ratio):
        assert made.mean == pytest.approx(float(apart.mean()), abs=1e-9)
        assert made.error == pytest.approx(expected, abs=1e-9)
        assert made.own == pytest.approx(
            float(np.std(new / MILLIONTHS_PER_UNIT, ddof=1)) / math.sqrt(len(pairs)), abs=1e-9
        )


def test_error_of_a_root_is_that_of_the_delta_method() -> None:
    """A root mean squared error varies as its square does, over twice itself."""
    random = np.random.default_rng(6)
    squares = np.square(random.normal(0.0, 2.0, (2, 4000))) * MILLIONTHS_PER_UNIT
    found = jackknife_difference(np.ones(4000), squares[0][:, None], squares[1][:, None], root_mean_square)
    assert found is not None
    expected = float(np.std(squares[1] / MILLIONTHS_PER_UNIT, ddof=1)) / math.sqrt(4000.0) / (2.0 * found.candidate)
    assert found.own == pytest.approx(expected, rel=0.01)


def test_error_of_a_gap_is_that_of_two_independent_rates() -> None:
    """A gap of two rates that are far apart varies as their difference does: by the root of both variances."""
    random = np.random.default_rng(7)
    positives, chances = 20, (0.9, 0.5)
    hits = random.binomial(positives, chances, (400, 2))
    cells = np.stack([hits, 0 * hits, positives - hits, 0 * hits], axis=-1).astype(float)
    found = jackknife_difference(np.full((400, 2), float(positives)), cells, cells, block_metric_for(Metric.TPR_GAP))
    assert found is not None
    total = positives * 400
    expected = math.sqrt(sum(p * (1.0 - p) / total for p in hits.sum(axis=0) / total))
    assert found.own == pytest.approx(expected, rel=0.1)
    assert (found.mean, found.error) == (0.0, 0.0)


def test_sums_that_were_coarsened_are_worth_as_much() -> None:
    """A unit of ten millionths gives the same difference as ten units of one, whatever the statistic."""
    fine = [PairedBlock(str(d), 10, (40_000 * d,), (30_000 * d + 70_000,)) for d in range(1, 9)]
    coarse = [PairedBlock(b.key, b.n, (b.champion[0] // 10,), (b.candidate[0] // 10,)) for b in fine]
    for statistic in (mean_loss, root_mean_square):
        assert block_difference(fine, statistic) == block_difference(coarse, statistic, 10)


@settings(deadline=None)
@given(st.integers(0, 7))
def test_value_that_hangs_on_one_block_is_no_value(lonely: int) -> None:
    """Where all positives are in one block, leaving it out leaves no area and no true positive rate: no difference."""
    came = np.array([index // 10 == lonely and index % 2 == 0 for index in range(80)])
    scores = np.arange(80) * MILLIONTHS_PER_UNIT // 80
    assert block_difference(blocks_of(10, (scores, scores), came), misranked_share) is None
    cells = np.array([[[10.0, 0.0, 0.0, 0.0], [5.0 * (d == lonely), 5.0, 0.0, 5.0]] for d in range(8)])
    assert jackknife_difference(cells.sum(axis=-1), cells, cells, block_metric_for(Metric.TPR_GAP)) is None
    assert jackknife_difference(cells.sum(axis=-1), cells, cells, block_metric_for(Metric.SELECTION_GAP)) is not None
