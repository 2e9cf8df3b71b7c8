"""A gap between groups is told by the groups that make it."""

import pytest

from surefoot.core.domain import Outcome
from surefoot.core.judging.evidence import PairedBlock, PairedSums
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Metric
from tests.gates import make_gate

DAYS = 20
N = 400


def confusion(hits: float, alarms: float) -> tuple[int, int, int, int]:
    """Hits, false alarms, misses and correct rejections of a day with as many of both kinds."""
    half = N // 2
    return round(half * hits), round(half * alarms), half - round(half * hits), half - round(half * alarms)


def sums(**groups: tuple[tuple[float, float], tuple[float, float]]) -> PairedSums:
    """Groups by name: ((hits, false alarms) of the champion, of the candidate), a little different every day."""
    slices = {}
    for name, (old, new) in groups.items():
        blocks = []
        for day in range(DAYS):
            wave = 0.01 * (day % 3 - 1)
            cells = [confusion(hits + wave, alarms + wave) for hits, alarms in (old, new)]
            blocks.append(PairedBlock(f"2026-01-{day + 1:02}", N, cells[0], cells[1]))
        slices[f"sex={name}"] = tuple(blocks)
    return PairedSums(slices, len(groups) * DAYS * N, len(groups) * DAYS * N)


@pytest.mark.parametrize(
    ("metric", "groups", "blamed"),
    [
        # The rate of one group gets better and that of the other stays: the one that is left behind is named.
        (Metric.TPR_GAP, {"f": ((0.6, 0.1), (0.9, 0.1)), "m": ((0.6, 0.1), (0.6, 0.1))}, "sex=m"),
        (Metric.FPR_GAP, {"f": ((0.6, 0.3), (0.6, 0.05)), "m": ((0.6, 0.3), (0.6, 0.3))}, "sex=m"),
        (Metric.SELECTION_GAP, {"f": ((0.5, 0.5), (0.2, 0.2)), "m": ((0.5, 0.5), (0.5, 0.5))}, "sex=f"),
    ],
)
def test_a_gap_names_the_group_that_it_is_against(metric: Metric, groups: dict[str, object], blamed: str) -> None:
    """A FAIL names both groups with their rates and blames the one at a disadvantage, not the one that improved."""
    gate = make_gate("fair", metric, margin=0.05, by=("sex",), maturity=60.0)
    verdict = judge(gate, sums(**groups), DecisionThresholds(0.05))  # type: ignore[arg-type]
    assert (verdict.outcome, verdict.culprit) == (Outcome.FAIL, blamed)
    assert "sex=f" in verdict.reason
    assert "sex=m" in verdict.reason
    rows = {row["group"]: row for row in verdict.details if "group" in row}
    assert set(rows) == {"sex=f", "sex=m"}
    assert all(0.0 <= float(str(row[side])) <= 1.0 for row in rows.values() for side in ("champion", "candidate"))


def test_a_pass_tells_each_groups_rate_too() -> None:
    """Whatever the outcome, the details carry the rate of each group with both versions."""
    gate = make_gate("fair", Metric.TPR_GAP, margin=0.2, by=("sex",), maturity=60.0)
    verdict = judge(gate, sums(f=((0.6, 0.1), (0.6, 0.1)), m=((0.6, 0.1), (0.6, 0.1))), DecisionThresholds(0.05))
    assert verdict.outcome is Outcome.PASS
    found = {row["group"]: (row["champion"], row["candidate"]) for row in verdict.details if "group" in row}
    assert found == {name: (pytest.approx(0.6, abs=0.01), pytest.approx(0.6, abs=0.01)) for name in ("sex=f", "sex=m")}
