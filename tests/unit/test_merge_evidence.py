"""One number for several gates."""

import math

import pytest

from surefoot.core.errors import InvariantBroken
from surefoot.core.stats.merge_evidence import merge_log_evidence


def test_weighted_mean() -> None:
    """Evidence of 10 and 2 with weights of a quarter and a half is worth 3.5."""
    assert merge_log_evidence([math.log(10.0), math.log(2.0)], [0.25, 0.5]) == pytest.approx(math.log(3.5))


def test_missing_weight_counts_as_zero() -> None:
    """Half of the weight on evidence of one is worth a half."""
    assert merge_log_evidence([0.0], [0.5]) == pytest.approx(math.log(0.5))


def test_gate_without_weight_is_not_heard() -> None:
    """No evidence is strong enough to count without a weight."""
    assert merge_log_evidence([1e300, 1.0], [0.0, 1.0]) == 1.0


def test_huge_and_no_evidence() -> None:
    """Neither evidence beyond every exponential nor an e-value of zero breaks the mean."""
    assert merge_log_evidence([1e4, -1e4], [0.5, 0.5]) == pytest.approx(1e4 - math.log(2.0))
    assert merge_log_evidence([-math.inf, 0.0], [0.5, 0.5]) == pytest.approx(-math.log(2.0))
    assert merge_log_evidence([-math.inf, -math.inf], [0.5, 0.5]) == -math.inf


def test_weights_may_round_up() -> None:
    """Ten weights of a tenth, which do not add up to one in floating point, are accepted."""
    assert merge_log_evidence([2.0] * 10, [0.1] * 10) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("logs", "weights"),
    [
        ([1.0], [-0.1]),
        ([1.0, 1.0], [1.2, -0.2]),
        ([1.0, 1.0], [0.6, 0.5]),
        ([1.0], [1.0 + 1e-8]),
        ([1.0], [0.0]),
        ([], []),
        ([1.0], [0.5, 0.5]),
        ([1.0], [math.nan]),
        ([math.nan], [1.0]),
    ],
)
def test_what_is_no_mean_is_refused(logs: list[float], weights: list[float]) -> None:
    """Weights that could make evidence out of nothing are a bug, and so is evidence that is not a number."""
    with pytest.raises(InvariantBroken):
        merge_log_evidence(logs, weights)
