"""Laws of the bets on bounded means: exact expectations over any two distributions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.judging.evidence import ValueStratum
from surefoot.core.stats.bounded_mean import BET_FRACTIONS, VALUE_LEVELS, mean_evidence_increments

NONE = (0,) * VALUE_LEVELS
LAWS = st.lists(st.tuples(st.integers(0, VALUE_LEVELS - 1), st.floats(0.01, 1.0)), min_size=1, max_size=4).map(
    lambda rows: [(level, weight / sum(w for _, w in rows)) for level, weight in rows]
)
SHARES = st.floats(0.001, 0.999)


def mean(law: list[tuple[int, float]]) -> float:
    """Mean of a distribution over levels."""
    return sum(level * weight for level, weight in law) / (VALUE_LEVELS - 1)


def factors(
    share: float, law: list[tuple[int, float]], other: list[tuple[int, float]], **question: float
) -> list[float]:
    """Mean of each bet's factor over one request whose value follows its arm's distribution."""
    total = [0.0] * len(BET_FRACTIONS)
    sides = ((law, share, True), (other, 1.0 - share, False))
    for rows, chance, mine in sides:
        for level, weight in rows:
            one = tuple(int(number == level) for number in range(VALUE_LEVELS))
            stratum = ValueStratum(share, one if mine else NONE, NONE if mine else one)
            found = mean_evidence_increments([stratum], **question)[0]  # type: ignore[arg-type]
            for k, log in enumerate(found):
                total[k] += chance * weight * math.exp(log)
    return total


@given(SHARES, LAWS, LAWS, st.floats(0.0, 1.0), st.floats(0.0, 0.5), st.booleans(), st.booleans(), st.floats(0.5, 2.0))
def test_mean_factor_is_at_most_one_exactly_under_the_null(
    share: float,
    new: list[tuple[int, float]],
    old: list[tuple[int, float]],
    center: float,
    margin: float,
    harm: bool,
    higher: bool,
    slope: float,
) -> None:
    """Whatever the values are like, a bet gains on average exactly if its null is false."""
    loss = (slope * mean(old) - mean(new)) * (1.0 if higher else -1.0)
    gain = (loss - margin) * (1.0 if harm else -1.0)
    question = {"center": center, "margin": margin, "harm": harm, "higher_is_better": higher, "slope": slope}
    for factor in factors(share, new, old, **question):
        if gain > 1e-6:
            assert factor > 1.0
        elif gain < -1e-6:
            assert factor < 1.0
        else:
            assert factor == pytest.approx(1.0, abs=1e-4)


@given(SHARES, LAWS, st.floats(0.0, 1.0), st.booleans(), st.booleans())
def test_equal_arms_are_worth_exactly_one(
    share: float, law: list[tuple[int, float]], center: float, harm: bool, higher: bool
) -> None:
    """Without a margin, arms with the same values are worth exactly one, whatever the center."""
    question = {"center": center, "margin": 0.0, "harm": harm, "higher_is_better": higher}
    assert factors(share, law, law, **question) == pytest.approx([1.0] * len(BET_FRACTIONS), abs=1e-9)


@given(st.lists(st.integers(0, 50), min_size=VALUE_LEVELS, max_size=VALUE_LEVELS), st.integers(2, 4), SHARES)
def test_counters_may_be_split_over_workers(counts: list[int], workers: int, share: float) -> None:
    """Levels that several workers counted are worth as much as their sum."""
    parts = [
        ValueStratum(share, tuple(n // workers + (w < n % workers) for n in counts), tuple(counts[::-1]))
        for w in range(workers)
    ]
    whole = ValueStratum(share, tuple(counts), tuple(n * workers for n in counts[::-1]))
    ask = {"center": 0.4, "margin": 0.01}
    found, expected = (
        mean_evidence_increments(strata, **ask, harm=True, higher_is_better=True) for strata in (parts, [whole])
    )
    assert found[0] == pytest.approx(expected[0], rel=1e-9, abs=1e-6)
