"""Log-bucket histograms: edges, quantiles, and agreement with what the log's database counts."""

import math

import duckdb
import numpy as np
import pytest

from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import BadEventStratum
from surefoot.core.stats.histogram import (
    BUCKET_RATIO,
    LOWEST_BUCKET,
    Histogram,
    bucket_edge,
    bucket_of,
    count_exceedances,
)


def test_buckets_are_those_of_the_database() -> None:
    """DuckDB puts 20,000 ordinary values into the same buckets; only at exact edges may rounding differ."""
    random = np.random.default_rng(3)
    values = [float(v) for v in np.concatenate([random.lognormal(4.0, 3.0, 15_000), random.uniform(0.0, 1.0, 5_000)])]
    with duckdb.connect() as database:
        rows = database.execute(
            "SELECT CAST(floor(ln(x) / ln(1.02)) AS INTEGER) FROM (SELECT unnest($1::DOUBLE[]) AS x)", [values]
        ).fetchall()
    assert [row[0] for row in rows] == [bucket_of(value) for value in values]


def test_what_is_not_above_zero_is_lowest() -> None:
    """Zero and negative values share a bucket below every positive number."""
    assert bucket_of(0.0) == bucket_of(-0.0) == bucket_of(-5.0) == LOWEST_BUCKET
    assert bucket_of(5e-324) > LOWEST_BUCKET
    assert bucket_edge(LOWEST_BUCKET) == 0.0


def test_edges_reach_over_all_numbers() -> None:
    """From the smallest number to the largest an edge is a number, and infinite beyond."""
    assert bucket_edge(bucket_of(1.7e308)) <= 1.7e308
    assert bucket_edge(10**6) == math.inf
    assert bucket_edge(-90_000) == 0.0
    assert bucket_of(1.0) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_bucket(value: float) -> None:
    """NaN and infinity are no measurements, least of all fast ones."""
    with pytest.raises(InvariantBroken):
        bucket_of(value)


def test_exceedances_are_counted_exactly() -> None:
    """Counts above a margin's edge are those that a scan of the raw values gives."""
    random = np.random.default_rng(5)
    fast, slow = random.lognormal(4.0, 0.6, 3000), random.lognormal(4.1, 0.6, 1000)
    champion, candidate = (tally([float(v) for v in arm]) for arm in (fast, slow))
    line = bucket_of(120.0)
    found = count_exceedances(candidate, champion, 0.25, 7, line + 5, line)
    above, below = int((slow >= bucket_edge(line + 5)).sum()), int((fast >= bucket_edge(line)).sum())
    assert found == BadEventStratum(0.25, above, 1000 - above, below, 3000 - below, 7)
    assert 0 < above < 1000
    assert 0 < below < 3000


def tally(values: list[float]) -> Histogram:
    """Histogram of raw values."""
    counts: dict[int, int] = {}
    for value in values:
        counts[bucket_of(value)] = counts.get(bucket_of(value), 0) + 1
    return Histogram(counts)


def test_total_and_above() -> None:
    """Everything is above the lowest bucket, and nothing above the highest."""
    found = Histogram({LOWEST_BUCKET: 2, -3: 1, 10: 4})
    assert found.total == found.above(LOWEST_BUCKET) == 7
    assert found.above(LOWEST_BUCKET + 1) == found.above(-3) == 5
    assert found.above(-2) == found.above(10) == 4
    assert found.above(11) == 0


def test_quantile_of_zeros_is_zero() -> None:
    """A measurement that is mostly zero has a median of zero."""
    assert Histogram({LOWEST_BUCKET: 3, 100: 1}).quantile(0.5) == 0.0
    assert Histogram({LOWEST_BUCKET: 3, 100: 1}).quantile(0.99) == pytest.approx(BUCKET_RATIO**100.5)


def test_quantile_is_the_lowest_value_that_reaches_it() -> None:
    """The median of two values is the lower one, and anything above it the other."""
    pair = Histogram({0: 1, 10: 1})
    assert pair.quantile(0.5) == pytest.approx(BUCKET_RATIO**0.5)
    assert pair.quantile(0.51) == pytest.approx(BUCKET_RATIO**10.5)


@pytest.mark.parametrize(("counts", "q"), [({}, 0.5), ({3: 0}, 0.5), ({3: 1}, 0.0), ({3: 1}, 1.0), ({3: 1}, math.nan)])
def test_quantiles_that_are_none_are_refused(counts: dict[int, int], q: float) -> None:
    """There is no quantile of nothing, and none outside 0 and 1."""
    with pytest.raises(InvariantBroken):
        Histogram(counts).quantile(q)
