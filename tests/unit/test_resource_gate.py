"""A gauge of each version's process, judged by blocks of time."""

from dataclasses import replace
from pathlib import Path

import pytest

from surefoot.adapters.evidence.live_counts.gauge_comparisons import compare_gauges
from surefoot.core.domain import Outcome
from surefoot.core.judging.evidence import GaugeComparisons
from surefoot.core.judging.evidence_json import decode_evidence, encode_evidence
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.planning import plan_policy
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Metric
from surefoot.core.policy.violations import Violation
from tests.fakes import POLICY
from tests.gates import make_gate
from tests.unit.test_counts import LIVE, record, write

MEMORY = make_gate("memory", Metric.GAUGE, margin=0.2, column="rss_mb", block=60.0)
LEVEL = DecisionThresholds(0.01)


def test_stretches_are_counted_by_which_is_higher(tmp_path: Path) -> None:
    """The highest value of each version in a minute is compared; a minute with one version, or unfinished, is not."""
    log = write(
        tmp_path,
        *(record(f"a{i}", 1020.0 + i, rss_mb=100.0) for i in range(3)),
        record("b", 1030.0, arm="candidate", rss_mb=130.0),
        record("c", 1080.0, rss_mb=100.0),
        record("d", 1081.0, arm="candidate", rss_mb=119.0),
        record("e", 1145.0, arm="candidate", rss_mb=999.0),
        record("f", 1981.0, rss_mb=1.0),
        record("g", 1982.0, arm="candidate", rss_mb=999.0),
    )
    found = compare_gauges(log, replace(LIVE, gate=MEMORY))
    assert found == GaugeComparisons(1, 1, 130.0, 100.0, 9)


def test_a_leak_fails_and_a_sound_process_passes() -> None:
    """Twenty minutes above the margin fail, twenty below pass, half and half decide nothing, none is no data."""
    outcomes = [
        judge(MEMORY, GaugeComparisons(above, below, 130.0, 100.0, 999), LEVEL).outcome
        for above, below in ((20, 0), (0, 20), (10, 10), (0, 0))
    ]
    assert outcomes == [Outcome.FAIL, Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.NO_DATA]
    assert judge(MEMORY, GaugeComparisons(0, 20), replace(LEVEL, min_requests=5)).outcome is Outcome.INCONCLUSIVE


def test_a_gauge_comes_back_from_the_journal() -> None:
    """Packed and unpacked it gives the same verdict."""
    found = GaugeComparisons(20, 1, 130.5, 100.25, 7)
    assert decode_evidence(encode_evidence(found)) == found


def gauged(hold: str = "1h", **changes: object) -> dict[str, object]:
    """A policy that watches memory on its ramp."""
    gate = {"metric": "gauge", "column": "rss_mb", "margin": "20%", "block": "1m", **changes}
    return {
        **POLICY,
        "gates": {**POLICY["gates"], "memory": gate},
        "steps": [{"weight": 50, "hold": {"for": hold, "gates": ["errors", "memory"]}}],
        "on": {"inconclusive": "rollback"},
    }


def test_the_plan_counts_stretches() -> None:
    """An hour of minutes is enough either way; three minutes can neither fail nor pass, and the plan says so."""
    fine = next(s for s in plan_policy(parse_policy(gauged())) if s.gate == "memory")
    assert (fine.n, fine.passes, fine.warning) == (60, 1.0, "")
    short = next(s for s in plan_policy(parse_policy(gauged("3m"))) if s.gate == "memory")
    assert "cannot fail" in short.warning


def test_a_gauge_in_milligrams_or_in_a_bake_is_refused() -> None:
    """Its margin is a share of the champion's, its blocks have a length, and there must be a champion beside it."""
    with pytest.raises(Violation, match="a gauge margin is a share"):
        parse_policy(gauged(margin=100))
    with pytest.raises(Violation, match=r"gates\.memory\.block: must be above 0s"):
        parse_policy(gauged(block="0s"))
    with pytest.raises(Violation, match="in a bake only one serves"):
        parse_policy({**gauged(), "bake": {"for": "1d", "gates": ["memory"]}})
