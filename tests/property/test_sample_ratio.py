"""Laws of the evidence on the split."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.judging.evidence import BadEventStratum
from surefoot.core.stats.sample_ratio import ALTERNATIVE_SHARE_FACTORS, sample_ratio_evidence

SHARES = st.floats(0.001, 0.999)
STRATA = st.lists(st.builds(BadEventStratum, SHARES, *[st.integers(0, 5000)] * 4, st.integers(0, 9)), max_size=6)


@given(SHARES, SHARES)
def test_a_request_is_worth_more_than_one_only_if_the_split_is_wrong(share: float, actual: float) -> None:
    """One request is worth exactly one on average under the split that was asked for, and the drift is linear."""
    mine, theirs = (
        math.exp(sample_ratio_evidence([BadEventStratum(share, *cells)])) for cells in ((1, 0, 0, 0), (0, 0, 1, 0))
    )
    assert share * mine + (1.0 - share) * theirs == pytest.approx(1.0, abs=1e-12)
    expected = 1.0 + (actual - share) * (mine - theirs)
    assert actual * mine + (1.0 - actual) * theirs == pytest.approx(expected, abs=1e-12)


def _part(s: BadEventStratum, worker: int, workers: int) -> BadEventStratum:
    cells = (s.candidate_bad, s.candidate_good, s.champion_bad, s.champion_good)
    first, second, third, fourth = (n // workers + (worker < n % workers) for n in cells)
    return BadEventStratum(s.share, first, second, third, fourth, s.epoch + worker)


@given(STRATA, st.integers(1, 5))
def test_evidence_depends_on_the_sums_only(strata: list[BadEventStratum], workers: int) -> None:
    """The split is judged alike for every order and division of the counting."""
    parts = [_part(s, worker, workers) for s in strata for worker in range(workers)]
    assert sample_ratio_evidence(parts[::-1]) == pytest.approx(sample_ratio_evidence(strata), rel=1e-9, abs=1e-6)


@given(SHARES, st.integers(0, 10**6), st.integers(0, 10**6))
def test_no_count_is_too_large(share: float, mine: int, theirs: int) -> None:
    """The evidence is a number for any counts, and no stronger than the boldest alternative could make it."""
    found = sample_ratio_evidence([BadEventStratum(share, mine, 0, theirs, 0)])
    assert math.isfinite(found)
    assert found <= (mine + theirs) * math.log(max(ALTERNATIVE_SHARE_FACTORS) / min(ALTERNATIVE_SHARE_FACTORS)) + 1e-9
