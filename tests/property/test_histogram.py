"""Laws of log-bucket histograms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.stats.histogram import BUCKET_RATIO, Histogram, bucket_edge, bucket_of

POSITIVE = st.floats(1e-300, 1e300)
VALUES = st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=60)
COUNTS = st.dictionaries(st.integers(-500, 500), st.integers(0, 1000), max_size=12)


def tally(values: list[float]) -> Histogram:
    """Histogram of raw values, one by one."""
    found = Histogram({})
    for value in values:
        found += Histogram({bucket_of(value): 1})
    return found


@given(POSITIVE)
def test_a_value_lies_in_its_bucket(value: float) -> None:
    """A value is between the edges of its bucket, up to the rounding of a logarithm."""
    assert bucket_edge(bucket_of(value)) <= value * (1.0 + 1e-11)
    assert value <= bucket_edge(bucket_of(value) + 1) * (1.0 + 1e-11)


@given(POSITIVE, POSITIVE)
def test_buckets_are_in_order(a: float, b: float) -> None:
    """A larger value never falls into a lower bucket."""
    assert (bucket_of(a) <= bucket_of(b)) or a > b


@given(st.integers(-30_000, 30_000))
def test_edges_are_a_ratio_apart(number: int) -> None:
    """Each edge is 2 % above the one before."""
    assert bucket_edge(number + 1) / bucket_edge(number) == pytest.approx(BUCKET_RATIO, rel=1e-9)


@given(VALUES, st.floats(1e-3, 1e6))
def test_counts_at_edges_are_exact(values: list[float], near: float) -> None:
    """Counting above an edge gives what a scan of the raw values gives, unless one lies on the edge itself."""
    line = bucket_of(near)
    off = [value for value in values if abs(math.log(value / bucket_edge(line))) > 1e-9]
    assert tally(off).above(line) == sum(value >= bucket_edge(line) for value in off)


@given(VALUES, st.floats(0.01, 0.99))
def test_quantiles_are_within_a_percent(values: list[float], q: float) -> None:
    """A quantile is within 1 % of the value of that rank."""
    exact = sorted(values)[math.ceil(q * len(values)) - 1]
    assert tally(values).quantile(q) == pytest.approx(exact, rel=0.0101)


@given(COUNTS, COUNTS, COUNTS)
def test_merging_is_free_of_order(a: dict[int, int], b: dict[int, int], c: dict[int, int]) -> None:
    """Histograms of several workers add up to the same in any order and any grouping."""
    x, y, z = Histogram(a), Histogram(b), Histogram(c)
    assert (x + y) + z == z + (y + x) == y + (z + x)
    assert (x + y).total == x.total + y.total
    assert (x + y).above(7) == x.above(7) + y.above(7)
    assert x + Histogram({}) == x
