"""Laws of the evidence from disagreements."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.stats.mcnemar import log_evidence_of_harm, log_evidence_of_no_harm

COUNTS = st.integers(0, 3000)
DELTAS = st.floats(0.0, 0.5)


@given(COUNTS, COUNTS)
def test_each_loss_is_harm_and_each_win_is_not(worse: int, better: int) -> None:
    """One more request that only the candidate gets wrong raises the evidence of harm; one that it wins lowers it."""
    here = log_evidence_of_harm(worse, better)
    assert log_evidence_of_harm(worse, better + 1) < here < log_evidence_of_harm(worse + 1, better)


@given(COUNTS, COUNTS, COUNTS, DELTAS)
def test_each_win_is_safe_and_each_loss_is_not(worse: int, better: int, same: int, delta: float) -> None:
    """A win speaks for safety, more so than agreement, and a loss against it."""
    here = log_evidence_of_no_harm(worse, better, same, delta)
    agreed, won = (
        log_evidence_of_no_harm(worse, better, same + 1, delta),
        log_evidence_of_no_harm(worse, better + 1, same, delta),
    )
    assert log_evidence_of_no_harm(worse + 1, better, same, delta) < here < won
    assert here - 1e-9 <= agreed < won


@given(COUNTS, COUNTS, COUNTS, DELTAS, DELTAS)
def test_what_a_limit_proves_safe_a_wider_one_does(worse: int, better: int, same: int, a: float, b: float) -> None:
    """The evidence of safety never falls as more loss is accepted."""
    low, high = sorted((a, b))
    narrow, wide = log_evidence_of_no_harm(worse, better, same, low), log_evidence_of_no_harm(worse, better, same, high)
    assert narrow <= wide + 1e-9 * (1.0 + abs(narrow))


@given(st.floats(0.0, 0.6), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_one_request_is_worth_at_most_one_beyond_the_limit(delta: float, agree: float, part: float) -> None:
    """Whatever the versions disagree on, a candidate that loses at least as much as is accepted gains nothing."""
    loss = delta + part * (1.0 - delta)
    disagree = loss + (1.0 - loss) * (1.0 - agree)
    worse, better = (disagree + loss) / 2.0, (disagree - loss) / 2.0
    rows = ((worse, (1, 0, 0)), (better, (0, 1, 0)), (1.0 - disagree, (0, 0, 1)))
    mean = sum(chance * math.exp(log_evidence_of_no_harm(*cell, delta)) for chance, cell in rows)
    assert mean <= 1.0 + 1e-9
    assert part > 0.0 or mean == pytest.approx(1.0, abs=1e-9)
