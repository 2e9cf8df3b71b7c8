"""Laws of every gate: the order and the cut of what was counted do not matter, and no broken number decides."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.core.domain import Outcome, Role, Verdict
from surefoot.core.judging.evidence import (
    MILLIONTHS_PER_UNIT,
    BadEventCounts,
    BadEventStratum,
    DistributionShift,
    Evidence,
    FeatureShift,
    GaugeComparisons,
    MeasurementCounts,
    MeasurementStratum,
    PairedBlock,
    PairedSums,
    ScoreBins,
    ServedCounts,
    SlicedCounts,
    ValueCounts,
    ValueStratum,
)
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Gate, Metric
from surefoot.core.stats.block_metrics import SCORE_BINS
from surefoot.core.stats.bounded_mean import VALUE_LEVELS
from tests.gates import changed, make_gate
from tests.property.test_judge import judged, numbers

ERRORS = make_gate("errors", Metric.ERROR_RATE, margin=0.01)
BOTH = changed(ERRORS, limit=0.1)
BUDGET = changed(BOTH, margin=None)
BY = changed(ERRORS, by=("o",), min_per_slice=50)
LATENCY = make_gate("latency", Metric.LATENCY, margin=0.2, quantiles=(0.5, 0.9))
PAID = make_gate("value", Metric.VALUE, margin=0.05, relative=True, column="paid", cap=10.0)
MEMORY = make_gate("memory", Metric.GAUGE, margin=0.1, column="rss_mb", block=60.0)
RIGHT = make_gate("accuracy", Metric.ZERO_ONE, margin=0.01, block=0.0)
AUC = make_gate("auc", Metric.AUC, margin=0.01)
ECE = make_gate("ece", Metric.ECE, margin=0.01)
GAP = make_gate("fair", Metric.TPR_GAP, margin=0.01, by=("o",), min_per_slice=50)
LOSS = make_gate("loss", Metric.BRIER, margin=0.01, by=("o",), min_per_slice=50)
FORESEEN = make_gate("foreseen", Metric.EXPECTED_LOSS, Role.SIGNAL, margin=0.01)
MOVED = make_gate("moved", Metric.INPUT_SHIFT, limit=0.1)
LEVEL = DecisionThresholds(0.05)

COUNT = st.integers(0, 3000)
SHARE = st.sampled_from([0.05, 0.25, 0.5])
EPOCH = st.integers(0, 3)
N = st.integers(100, 20_000)
RATE = st.sampled_from([0.0, 0.03, 0.05, 0.06, 0.1, 0.3])
SLOWER = st.integers(0, 20)
"""Buckets of 2 % by which a version is slower than it was."""
PAST = tuple((bucket, 50) for bucket in range(0, 200, 10))


def stratum(share: float, n: int, rates: tuple[float, float], epoch: int) -> BadEventStratum:
    """Requests that fail at these rates, and of which the candidate got its share."""
    new = round(n * share)
    mine, theirs = round(new * rates[0]), round((n - new) * rates[1])
    return BadEventStratum(share, mine, new - mine, theirs, n - new - theirs, epoch)


def speed(share: float, n: int, slower: tuple[int, int], epoch: int) -> MeasurementStratum:
    """Requests that are distributed as in the past, but for being slower."""
    sizes = (round(n * share) // len(PAST), (n - round(n * share)) // len(PAST))
    mine, theirs = (tuple((key + by, size) for key, _ in PAST if size) for size, by in zip(sizes, slower, strict=True))
    return MeasurementStratum(share, mine, theirs, epoch)


def value(share: float, n: int, rates: tuple[float, float], epoch: int) -> ValueStratum:
    """Requests of which one part is worth the cap, as many again a tenth of it, and the rest nothing."""
    sides = []
    for size, rate in zip((round(n * share), n - round(n * share)), rates, strict=True):
        cells = [0] * VALUE_LEVELS
        cells[-1] = cells[6] = round(size * rate)
        cells[0] = size - 2 * cells[-1]
        sides.append(tuple(cells))
    mine, theirs = sides
    return ValueStratum(share, mine, theirs, epoch)


STRATUM = st.builds(stratum, SHARE, N, st.tuples(RATE, RATE), EPOCH)
SPLITS = st.lists(STRATUM, min_size=1, max_size=4).map(
    lambda made: BadEventCounts(tuple(made), 0.05, "request", 10_000)
)
SPEEDS = st.lists(st.builds(speed, SHARE, N, st.tuples(SLOWER, SLOWER), EPOCH), min_size=1, max_size=4).map(
    lambda made: MeasurementCounts(tuple(made), PAST, "ms", 10_000)
)
VALUES = st.lists(st.builds(value, SHARE, N, st.tuples(RATE, RATE), EPOCH), min_size=1, max_size=4).map(
    lambda made: ValueCounts(tuple(made), 0.05, "request", 10_000)
)
SERVED: list[tuple[Gate, st.SearchStrategy[Evidence]]] = [
    (ERRORS, SPLITS),
    (BOTH, SPLITS),
    (BUDGET, SPLITS),
    (LATENCY, SPEEDS),
    (PAID, VALUES),
]


def binned(cells: Mapping[int, tuple[int, int]]) -> tuple[int, ...]:
    """Sums of scores on the centres of a few bins: (negatives, positives) in each."""
    made = [0] * 3 * SCORE_BINS
    for number, (negatives, positives) in cells.items():
        n = negatives + positives
        made[number], made[SCORE_BINS + number] = n, positives
        made[2 * SCORE_BINS + number] = n * (2 * number + 1) * MILLIONTHS_PER_UNIT // (2 * SCORE_BINS)
    return tuple(made)


SCORED = st.dictionaries(
    st.integers(0, SCORE_BINS - 1), st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5
)
CONFUSION = st.tuples(*[st.integers(0, 60)] * 4)
SUMMED = st.tuples(st.integers(0, 100 * MILLIONTHS_PER_UNIT))


def days(side: st.SearchStrategy[tuple[int, ...]]) -> st.SearchStrategy[tuple[PairedBlock, ...]]:
    """Blocks whose keys are their days."""
    pairs = st.lists(st.tuples(st.integers(1, 200), side, side), min_size=5, max_size=9)
    return pairs.map(lambda made: tuple(PairedBlock(f"{d:02}", *cells) for d, cells in enumerate(made)))


def sums(side: st.SearchStrategy[tuple[int, ...]], names: tuple[str, ...]) -> st.SearchStrategy[Evidence]:
    """Sums of each slice."""
    slices = st.fixed_dictionaries({name: days(side) for name in names})
    return slices.map(lambda made: PairedSums(made, 10_000, 10_000))


PAIRS: list[tuple[Gate, st.SearchStrategy[Evidence]]] = [
    (AUC, sums(SCORED.map(binned), ("",))),
    (ECE, sums(SCORED.map(binned), ("",))),
    (GAP, sums(CONFUSION, ("o=a", "o=b", "o=c"))),
    (LOSS, sums(SUMMED, ("o=a", "o=b", "o=c"))),
]


def near(one: Verdict, other: Verdict) -> None:
    """Two verdicts that say the same, but for the last bits of their numbers."""
    assert one.outcome is other.outcome, (one.reason, other.reason)
    assert one.n == other.n
    for name in ("estimate", "lower", "upper", "margin"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine is None) is (theirs is None), name
        assert mine is None or mine == pytest.approx(theirs, rel=1e-6, abs=1e-6), name


@pytest.mark.parametrize("number", range(len(SERVED)))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_order_of_strata_does_not_matter(number: int, data: st.DataObject) -> None:
    """What was served under several splits and at several times may be told in any order."""
    gate, evidence = SERVED[number]
    found = data.draw(evidence)
    assert isinstance(found, BadEventCounts | MeasurementCounts | ValueCounts)
    strata = data.draw(st.permutations(found.strata))
    near(judge(gate, found, LEVEL), judge(gate, replace(found, strata=tuple(strata)), LEVEL))  # type: ignore[arg-type]


@pytest.mark.parametrize("gate", [ERRORS, BOTH, BUDGET], ids=["margin", "both", "limit"])
@settings(max_examples=25, deadline=None)
@given(found=SPLITS, data=st.data())
def test_stratum_may_be_counted_in_two_parts(gate: Gate, found: BadEventCounts, data: st.DataObject) -> None:
    """Counts of one split and one time that two workers kept add up to those that one would have kept."""
    (first, *rest), part = found.strata, data.draw(st.tuples(*[st.integers(0, 20_000)] * 4))
    whole = (first.candidate_bad, first.candidate_good, first.champion_bad, first.champion_good)
    mine = [min(a, b) for a, b in zip(part, whole, strict=True)]
    halves = (mine, [b - a for a, b in zip(mine, whole, strict=True)])
    cut = [BadEventStratum(first.share, a, b, c, d, first.epoch) for a, b, c, d in halves]
    near(judge(gate, found, LEVEL), judge(gate, replace(found, strata=(*cut, *rest)), LEVEL))


@settings(max_examples=25, deadline=None)
@given(found=SPEEDS, part=st.floats(0.0, 1.0))
def test_histogram_may_be_counted_in_two_parts(found: MeasurementCounts, part: float) -> None:
    """Latencies of one split and one time that two workers kept add up, bucket by bucket."""
    first, *rest = found.strata
    mine = tuple(tuple((key, int(n * part)) for key, n in side) for side in (first.candidate, first.champion))
    left = tuple(
        tuple((key, n - int(n * part)) for key, n in side if n > int(n * part))
        for side in (first.candidate, first.champion)
    )
    cut = [MeasurementStratum(first.share, half[0], half[1], first.epoch) for half in (mine, left)]
    near(judge(LATENCY, found, LEVEL), judge(LATENCY, replace(found, strata=(*cut, *rest)), LEVEL))


@settings(max_examples=25, deadline=None)
@given(st.lists(SPLITS, min_size=2, max_size=4), st.data())
def test_order_of_slices_does_not_matter(parts: list[BadEventCounts], data: st.DataObject) -> None:
    """Slices may come in any order: the outcome is the same, and so is the row of each of them."""
    named: dict[str, ServedCounts] = {f"o={index}": part for index, part in enumerate(parts)}
    names = data.draw(st.permutations(sorted(named)))
    one, other = (judge(BY, SlicedCounts(slices, 10_000), LEVEL) for slices in (named, {n: named[n] for n in names}))
    assert one.outcome is other.outcome
    assert sorted(map(repr, one.details)) == sorted(map(repr, other.details))


@pytest.mark.parametrize("number", range(len(PAIRS)))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_order_of_blocks_and_groups_does_not_matter(number: int, data: st.DataObject) -> None:
    """Days, slices and groups may come in any order, while a stage lasts and in a watch without an end."""
    gate, evidence = PAIRS[number]
    found = data.draw(evidence)
    assert isinstance(found, PairedSums)
    names = data.draw(st.permutations(sorted(found.slices)))
    mixed = {name: tuple(data.draw(st.permutations(found.slices[name]))) for name in names}
    for level in (LEVEL, DecisionThresholds(0.05, forever=True, lasts=86400.0 * 10)):
        one, other = (judge(gate, replace(found, slices=slices), level) for slices in (found.slices, mixed))
        if gate is not LOSS:  # of two slices that are equally bad either may be named
            near(one, other)
        assert one.outcome is other.outcome


@pytest.mark.parametrize("number", range(len(PAIRS)))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_exchanged_versions_differ_by_as_much_the_other_way(number: int, data: st.DataObject) -> None:
    """With champion and candidate exchanged each difference changes its sign and keeps its error."""
    gate, evidence = PAIRS[number]
    found = data.draw(evidence)
    assert isinstance(found, PairedSums)
    back = {
        name: tuple(replace(b, champion=b.candidate, candidate=b.champion) for b in blocks)
        for name, blocks in found.slices.items()
    }
    one, other = (judge(gate, replace(found, slices=slices), LEVEL) for slices in (found.slices, back))
    sides = ({row["slice"] for row in verdict.details if "slice" in row} for verdict in (one, other))
    assert next(sides) == next(sides)
    for row in (row for row in one.details if "slice" in row):
        mirror = next(made for made in other.details if made.get("slice") == row["slice"])
        if "difference" not in row:
            continue
        assert mirror["difference"] == pytest.approx(-float(str(row["difference"])), abs=1e-9)
        width, same = (float(str(r["upper"])) - float(str(r["difference"])) for r in (row, mirror))
        assert same == pytest.approx(width, rel=1e-6, abs=1e-6)
        assert not (row["outcome"] == mirror["outcome"] == Outcome.FAIL.value)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 5000)), min_size=1, max_size=4), st.booleans(), st.data())
def test_order_of_features_does_not_matter(cells: list[tuple[float, int]], same: bool, data: st.DataObject) -> None:
    """Features may come in any order: the outcome and the interval of each are the same."""
    features = [FeatureShift(f"f{i}", distance, n, n) for i, (distance, n) in enumerate(cells)]
    mixed = data.draw(st.permutations(features))
    one, other = (judge(MOVED, DistributionShift("before", tuple(made), same), LEVEL) for made in (features, mixed))
    assert one.outcome is other.outcome
    assert sorted(map(repr, one.details)) == sorted(map(repr, other.details))


TRIPLE = st.tuples(st.integers(600, 2000), st.integers(0, 600), st.integers(0, 600 * MILLIONTHS_PER_UNIT))
TRIPLES = st.tuples(TRIPLE, TRIPLE, TRIPLE)
ANSWERS = st.integers(20, 900).map(
    lambda wrong: PairedSums({"": (PairedBlock("all", 4000, (60, 20), (wrong, 20)),)}, 4000, 4000)
)
PARTS: list[tuple[Gate, st.SearchStrategy[Evidence]]] = [
    (BOTH, SPLITS),
    (BUDGET, SPLITS),
    (BY, st.fixed_dictionaries({"o=a": SPLITS, "o=b": SPLITS}).map(lambda slices: SlicedCounts(dict(slices)))),
    (PAID, VALUES),
    (MEMORY, st.builds(GaugeComparisons, COUNT, COUNT, st.floats(0.0, 1e6), st.floats(0.0, 1e6), COUNT)),
    (FORESEEN, st.builds(ScoreBins, TRIPLES, TRIPLES, TRIPLES)),
    (GAP, sums(CONFUSION, ("o=a", "o=b"))),
    (RIGHT, ANSWERS),
]


@pytest.mark.parametrize("number", range(len(PARTS)))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_broken_number_decides(number: int, data: st.DataObject) -> None:
    """NaN, an infinity, 1e308 or an endless count in any kind of evidence is an ERROR that can be journalled."""
    gate, evidence = PARTS[number]
    found = data.draw(evidence)
    assert judged(gate, found, LEVEL) in set(Outcome)
    places = list(numbers(found))
    put = places[data.draw(st.integers(0, len(places) - 1))]
    broken = data.draw(st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308, 10**400, 2**60]))
    assert judged(gate, put(broken), LEVEL) is Outcome.ERROR  # type: ignore[arg-type]
