"""Laws of planning."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.core.stats.power import (
    detection_chance_by_events,
    detection_chance_by_requests,
    evidence_growth,
    requests_needed,
)
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, NO_HARM_FACTORS

LEVELS = st.floats(1e-4, 0.2)
NATS = st.floats(1e-7, 1.0)
SHARES = st.floats(0.01, 0.99)
RATES = st.floats(1e-4, 0.3)


@given(LEVELS, NATS, st.floats(0.1, 0.99))
def test_chance_is_the_inverse_of_requests(level: float, nats: float, likely: float) -> None:
    """The chance that the requests for a chance are enough is that chance."""
    assert detection_chance_by_requests(requests_needed(level, nats, likely), level, nats) == pytest.approx(
        likely, abs=1e-9
    )


@given(LEVELS, NATS, st.floats(0.0, 1e9), st.floats(0.0, 1e9))
def test_chance_grows_with_traffic(level: float, nats: float, a: float, b: float) -> None:
    """More requests never have a lower chance, and no chance leaves 0 to 0.99."""
    low, high = sorted((a, b))
    assert (
        0.0 <= detection_chance_by_requests(low, level, nats) <= detection_chance_by_requests(high, level, nats) <= 0.99
    )


@given(SHARES, RATES, st.floats(1.0, 3.0), st.floats(1.0, 3.0))
def test_worse_candidates_are_found_sooner(share: float, rate: float, a: float, b: float) -> None:
    """Growth never falls as the candidate gets worse, and never falls below zero."""
    low, high = sorted((a, b))
    assert (
        0.0
        <= evidence_growth(share, low * rate, rate, 1.0, 0.0)
        <= evidence_growth(share, high * rate, rate, 1.0, 0.0) + 1e-15
    )


@given(SHARES, RATES, st.floats(0.001, 0.1), st.floats(0.001, 0.1))
def test_wider_margins_pass_sooner(share: float, rate: float, a: float, b: float) -> None:
    """An equal candidate proves a wider margin with less traffic."""
    low, high = sorted((a, b))
    near, far = (evidence_growth(share, rate, rate, 1.0, points, harm=False) for points in (low, high))
    assert 0.0 <= near <= far + 1e-15


@settings(deadline=None, max_examples=40)
@given(SHARES, st.floats(0.0, 1.0), st.floats(1.0, 2.0), st.integers(1, 300), LEVELS)
def test_no_null_exceeds_its_level(share: float, part: float, margin: float, events: int, level: float) -> None:
    """Exactly: a candidate within the line fails, and one beyond it passes, no more often than the level says."""
    assert detection_chance_by_events(share, part * margin, events, level, HARM_FACTORS, margin=margin) <= level
    assert (
        detection_chance_by_events(share, margin / max(part, 0.1), events, level, NO_HARM_FACTORS, margin=margin)
        <= level
    )


@settings(deadline=None, max_examples=40)
@given(SHARES, st.floats(1.0, 6.0), st.integers(1, 200), st.integers(0, 100), LEVELS)
def test_chance_grows_with_events(share: float, ratio: float, events: int, more: int, level: float) -> None:
    """More events never have a lower chance of an alarm, nor has a worse candidate."""
    here = detection_chance_by_events(share, ratio, events, level)
    assert here <= detection_chance_by_events(share, ratio, events + more, level) + 1e-12
    assert here <= detection_chance_by_events(share, ratio * 1.1, events, level) + 1e-12
