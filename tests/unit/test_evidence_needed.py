"""What an undecided gate still needs, and when it comes at the present traffic."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.domain import FigureKind, Outcome, Role, Stage, Verdict, VerdictFigure
from surefoot.core.journal.events import GateJudged
from surefoot.core.judging.evidence import Evidence, SlicedCounts
from surefoot.core.judging.evidence_json import encode_evidence
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.reports.rollout_plots import TimedGateEvaluation
from surefoot.status_page.views.evidence_needed import EvidenceNeeded, evidence_needed
from tests.unit.test_gates import arms
from tests.unit.test_paired_binary import sums

LEVEL = DecisionThresholds(min_requests=500)


def look(
    n: int,
    at: float,
    *,
    outcome: Outcome = Outcome.INCONCLUSIVE,
    forecast: tuple[float, float] | None = (1000.0, 5000.0),
    unit: str = "request",
    evidence: Evidence | None = None,
    level: DecisionThresholds | None = None,
) -> TimedGateEvaluation:
    """A look at which so many observations were counted."""
    kinds = (FigureKind.EQUAL_PASSES_FROM, FigureKind.EQUAL_PASSES_BY, FigureKind.EQUAL_PASSES_SEEN)
    values = (*forecast, float(n)) if forecast else ()
    figures = tuple(VerdictFigure(kind, value, unit) for kind, value in zip(kinds, values, strict=False))
    verdict = Verdict("errors", "error_rate", outcome, Role.GUARDRAIL, "because", n, figures=figures)
    packed = encode_evidence(evidence) if evidence is not None else ""
    return at, GateJudged("r", Stage.RAMPING, 0, 1, verdict, level, packed)


def needed(looks: Sequence[TimedGateEvaluation], now: float = 600.0) -> str:
    """What is still needed, as one text."""
    return "; ".join(evidence_needed(looks, now, waits=True).needed)


def test_the_forecast_counts_from_what_was_seen() -> None:
    """What was counted is taken off both ends; beyond the lower end only a most is said, beyond both nothing."""
    assert (
        needed([look(200, 600.0)])
        == "between 800 and 4,800 more requests until a pass, if it equals the champion (8 of 10 cases)"
    )
    assert needed([look(2000, 600.0)]).startswith("up to 3,000 more requests")
    assert needed([look(0, 0.0), look(6000, 600.0)]) == (
        "no forecast: 6,000 requests are counted, more than 9 of 10 candidates that equal the champion need"
    )


def test_time_is_said_where_the_pace_is_known() -> None:
    """One look, too little growth, units, slices and a step that has just begun say no time."""
    steady = [look(100, 0.0), look(400, 600.0)]
    assert needed(steady).endswith("expected in 19 min to 3 h, at the traffic of the last 10 min")
    unknown: list[list[TimedGateEvaluation]] = [
        [look(400, 600.0)],
        [look(396, 0.0), look(400, 600.0)],
        [look(500, 0.0), look(400, 600.0)],
        [look(100, 0.0, unit="unit"), look(400, 600.0, unit="unit")],
        [look(100, 0.0), look(400, 600.0, evidence=SlicedCounts({"a=1": arms(400, 0.0, 0.0)}, recent=400))],
        [(0.0, GateJudged("r", Stage.RAMPING, 1, 1, steady[0][1].verdict)), steady[1]],
    ]
    for looks in unknown:
        assert needed(looks), looks
        assert "expected" not in needed(looks), looks


def test_what_a_step_demands_is_no_forecast() -> None:
    """Requests that a step demands are exact; labels are told with what has matured."""
    found = arms(180, 0.0, 0.0)
    said = needed([look(180, 600.0, forecast=None, evidence=found, level=LEVEL)])
    assert said == "this step demands 320 more requests"
    told = evidence_needed(
        [look(300, 600.0, forecast=None, evidence=sums(300, 1, 1, 1), level=LEVEL)], 600.0, waits=True
    )
    assert told.needed == ("this step demands 200 more labelled requests",)
    assert told.labels == "300 of 300 requests that are old enough have their label (100 %)"


@pytest.mark.parametrize("outcome", [Outcome.PASS, Outcome.FAIL, Outcome.ERROR])
def test_a_decided_gate_needs_nothing(outcome: Outcome) -> None:
    """A gate that has answered, a rollout that is over, and a gate without looks say nothing of need."""
    assert needed([look(200, 600.0, outcome=outcome)]) == ""
    assert evidence_needed([look(200, 600.0)], 600.0, waits=False).needed == ()
    assert evidence_needed([], 600.0, waits=True) == EvidenceNeeded()


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.floats(0.0, 1e6)), min_size=1, max_size=8),
    st.tuples(st.floats(1.0, 1e12), st.floats(1.0, 1e12)).map(lambda ends: (min(ends), max(ends))),
    st.floats(-1e6, 1e7),
)
def test_any_looks_give_sentences(rows: list[tuple[int, float]], ends: tuple[float, float], now: float) -> None:
    """Whatever was counted, no sentence tells a number below zero, or one that is none."""
    looks = [look(n, at, forecast=ends) for n, at in rows]
    said = needed(looks, now)
    assert "-" not in said
    assert "nan" not in said
    assert "inf" not in said
