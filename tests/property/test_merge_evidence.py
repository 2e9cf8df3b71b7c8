"""Laws of merging evidence."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.judging.evidence import BadEventStratum
from surefoot.core.stats.merge_evidence import merge_log_evidence
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, log_evidence

GATES = st.lists(st.tuples(st.floats(-700.0, 700.0), st.floats(0.01, 1.0)), min_size=1, max_size=8)


def parts(gates: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Evidence and weights that add up to one."""
    total = sum(weight for _, weight in gates)
    return [log for log, _ in gates], [weight / total for _, weight in gates]


@given(GATES.flatmap(lambda gates: st.tuples(st.just(gates), st.permutations(gates))))
def test_order_does_not_matter(orders: tuple[list[tuple[float, float]], list[tuple[float, float]]]) -> None:
    """Gates may be merged in any order."""
    assert merge_log_evidence(*parts(orders[0])) == pytest.approx(merge_log_evidence(*parts(orders[1])), abs=1e-9)


@given(GATES)
def test_between_each_share_and_the_largest(gates: list[tuple[float, float]]) -> None:
    """The merge is at most the strongest evidence, and at least each gate's own with its weight."""
    logs, weights = parts(gates)
    found = merge_log_evidence(logs, weights)
    assert found <= max(logs) + 1e-9
    assert all(found >= log + math.log(weight) - 1e-9 for log, weight in zip(logs, weights, strict=True))


@given(GATES, st.floats(-50.0, 50.0))
def test_evidence_scales(gates: list[tuple[float, float]], shift: float) -> None:
    """Evidence that is stronger by a factor everywhere is stronger by that factor together."""
    logs, weights = parts(gates)
    assert merge_log_evidence([log + shift for log in logs], weights) == pytest.approx(
        merge_log_evidence(logs, weights) + shift, abs=1e-9
    )


@given(st.floats(0.05, 0.95), st.floats(0.02, 0.5), st.floats(0.0, 1.0))
def test_mean_is_one_under_any_dependence(share: float, rate: float, together: float) -> None:
    """Two gates on the same request, whose failures come together as often as you like, are worth one on average."""
    both = together * rate
    events = {(1, 1): both, (1, 0): rate - both, (0, 1): rate - both, (0, 0): 1.0 - 2.0 * rate + both}
    mean = 0.0
    for arm, chance in ((1, share), (0, 1.0 - share)):
        for (a, b), likely in events.items():
            rows = [(bad * arm, (1 - bad) * arm, bad * (1 - arm), (1 - bad) * (1 - arm)) for bad in (a, b)]
            logs = [log_evidence([BadEventStratum(share, *row)], rate, 1.0, 0.0, HARM_FACTORS) for row in rows]
            mean += chance * likely * math.exp(merge_log_evidence(logs, [0.3, 0.7]))
    assert mean == pytest.approx(1.0, abs=1e-9)
