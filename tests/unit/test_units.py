"""What sticks to one arm is counted where it sticks."""

from dataclasses import replace
from pathlib import Path

from surefoot.adapters.evidence.live_counts.measurement_histograms import count_measurements
from surefoot.core.assignment import assign_arm
from surefoot.core.domain import Outcome, Split
from surefoot.core.judging.evidence import MeasurementCounts
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from tests.unit.test_counts import LATENCY, LEAST_HISTORY, LIVE, V1, V2, before, record, write


def test_a_sound_split_of_units_is_not_called_broken(tmp_path: Path) -> None:
    """Latencies are counted by unit where the split sticks by unit: none of 40 sound splits is called broken."""
    broken = []
    for salt in range(40):
        split = Split(V1, V2, 50.0, f"salt {salt}")
        home = tmp_path / str(salt)
        home.mkdir()
        asked = [
            record(
                f"{unit}/{n}", unit=f"u{unit}", arm=assign_arm(split, f"u{unit}").value, weight=50.0, latency_ms=9.0 + n
            )
            for unit in range(100)
            for n in range(20)
        ]
        history = [before(f"h{i}", unit=f"u{i}", latency_ms=9.0 + i % 20) for i in range(LEAST_HISTORY)]
        found = count_measurements(write(home, *asked, *history), replace(LIVE, gate=LATENCY))
        assert isinstance(found, MeasurementCounts)
        assert found.trial == "unit"
        assert sum(n for s in found.strata for side in (s.candidate, s.champion) for _, n in side) == 100
        verdict = judge(LATENCY, found, DecisionThresholds(0.01))
        if "split" in verdict.reason or verdict.outcome is Outcome.FAIL:
            broken.append((salt, verdict.reason))
    assert not broken
