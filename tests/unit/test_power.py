"""Planning: growth, requests, chances and effects, against the published examples and exact chances."""

import math

import pytest

from surefoot.core.errors import InvariantBroken
from surefoot.core.stats.power import (
    TRAFFIC_MULTIPLES_TO_PASS,
    chance_above_level,
    detection_chance_by_events,
    detection_chance_by_requests,
    evidence_growth,
    mean_evidence_needed,
    requests_needed,
)
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, NO_HARM_FACTORS, multiply_odds, trial_evidence_increments

ALPHA, BETA = 0.01, 0.05


@pytest.mark.parametrize(
    ("nats", "level", "published"),
    [
        (evidence_growth(0.5, 0.02, 0.02, 1.1, 0.002, harm=False), BETA, 32_300),
        (evidence_growth(0.5, 0.04, 0.02, 1.0, 0.0), ALPHA, 2630),
        (evidence_growth(0.05, 0.04, 0.02, 1.0, 0.0), ALPHA, 12_400),
    ],
)
def test_published_examples(nats: float, level: float, published: float) -> None:
    """Passing at half each, and finding twice the errors at half and at 5 %, take the growth that was published."""
    assert -math.log(level) / nats == pytest.approx(published, rel=0.005)


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5])
@pytest.mark.parametrize(
    ("grid", "line"), [(HARM_FACTORS, (1.0, 0.0)), (HARM_FACTORS, (1.1, 0.002)), (NO_HARM_FACTORS, (1.1, 0.002))]
)
def test_growth_is_the_mean_of_the_evidence(share: float, grid: tuple[float, ...], line: tuple[float, float]) -> None:
    """When an alternative is true, its log-increments have the growth as their mean."""
    p0 = 0.05
    for factor, row in zip(grid, trial_evidence_increments(share, p0, *line, grid), strict=True):
        p1 = multiply_odds(line[0] * p0 + line[1], factor)
        cells = (share * p1, share * (1.0 - p1), (1.0 - share) * p0, (1.0 - share) * (1.0 - p0))
        mean = sum(likely * gain for likely, gain in zip(cells, row, strict=True))
        assert evidence_growth(share, p1, p0, *line, harm=grid is HARM_FACTORS) == pytest.approx(mean, rel=1e-9)


def test_no_growth_on_the_wrong_side() -> None:
    """A better candidate gives no evidence of harm, nor a worse one of safety, nor does either on the line."""
    assert evidence_growth(0.5, 0.01, 0.02, 1.0, 0.0) == 0.0
    assert evidence_growth(0.5, 0.03, 0.02, 1.0, 0.0, harm=False) == 0.0
    assert evidence_growth(0.5, 0.02, 0.02, 1.0, 0.0) == evidence_growth(0.5, 0.02, 0.02, 1.0, 0.0, harm=False) == 0.0
    assert requests_needed(ALPHA, 0.0) == math.inf


def test_rates_of_nothing_and_everything_are_planned_with() -> None:
    """Champions that never or always fail still give finite plans."""
    assert 0.0 < evidence_growth(0.5, 0.01, 0.0, 1.0, 0.0) < math.inf
    assert 0.0 < evidence_growth(0.5, 0.0, 0.0, 1.0, 0.002, harm=False) < math.inf
    assert evidence_growth(0.5, 1.0, 1.0, 1.0, 0.0) == 0.0


def test_alone_growth_is_the_divergence_from_the_line() -> None:
    """A candidate that serves alone is held against the frozen line."""
    exact = 0.04 * math.log(2.0) + 0.96 * math.log(0.96 / 0.98)
    assert evidence_growth(1.0, 0.04, 0.02, 1.0, 0.0) == pytest.approx(exact)


@pytest.mark.parametrize(("likely", "multiple"), [(0.5, 1.1), (0.8, 2.0), (0.9, 2.5)])
def test_measured_multiples(likely: float, multiple: float) -> None:
    """At the measured chances requests are the measured multiples of ln(1/level) over the growth."""
    assert requests_needed(ALPHA, 0.001, likely) == pytest.approx(multiple * math.log(100.0) / 0.001)


@pytest.mark.parametrize(("share", "ratio"), [(0.5, 1.5), (0.5, 2.0), (0.05, 2.0), (0.01, 2.0)])
def test_planned_chances_are_near_the_exact_ones(share: float, ratio: float) -> None:
    """The table of multiples is within 7 points of the exact chance, and careful beyond what was measured."""
    true = share * ratio / (share * ratio + 1.0 - share)
    nats = true * math.log(true / share) + (1.0 - true) * math.log((1.0 - true) / (1.0 - share))
    for likely, multiple in TRAFFIC_MULTIPLES_TO_PASS:
        exact = detection_chance_by_events(share, ratio, round(multiple * -math.log(ALPHA) / nats), ALPHA)
        assert exact == pytest.approx(likely, abs=0.07)
        if likely in {0.1, 0.99}:
            assert exact >= likely


@pytest.mark.parametrize("likely", [0.5, 0.8, 0.95])
def test_standing_is_reached_where_it_says(likely: float) -> None:
    """The evidence that stands with a chance is the inverse of that chance; none never stands."""
    assert chance_above_level(mean_evidence_needed(BETA, likely), BETA) == pytest.approx(likely)
    assert chance_above_level(0.0, BETA) == 0.0


def test_having_stood_is_likelier_than_standing() -> None:
    """To be above the bar at the end is less likely than to have been above it at some moment."""
    assert all(
        chance_above_level(nats, BETA) < detection_chance_by_requests(1.0, BETA, nats) for nats in (2.0, 3.5, 6.0, 9.0)
    )


def test_chance_has_ends() -> None:
    """No traffic or no growth has no chance, and endless traffic is never called certain."""
    assert detection_chance_by_requests(0.0, ALPHA, 0.1) == detection_chance_by_requests(1000.0, ALPHA, 0.0) == 0.0
    assert detection_chance_by_requests(1e12, ALPHA, 0.1) == 0.99
    assert 0.0 < detection_chance_by_requests(10.0, ALPHA, 0.01) < 0.1


@pytest.mark.parametrize(("level", "likely"), [(0.0, 0.8), (1.0, 0.8), (math.nan, 0.8), (0.01, 0.05), (0.01, 0.995)])
def test_levels_and_chances_out_of_range_are_refused(level: float, likely: float) -> None:
    """What the table does not reach is a bug, not an extrapolation."""
    with pytest.raises(InvariantBroken):
        requests_needed(level, 0.01, likely)


def test_chance_at_a_level_that_is_none_is_refused() -> None:
    """A level is a probability."""
    with pytest.raises(InvariantBroken):
        detection_chance_by_requests(100.0, 1.0, 0.01)


def naive(share: float, ratio: float, events: int, level: float, grid: tuple[float, ...], margin: float) -> float:
    """The chance by a walk over a dictionary, each point asked for its evidence."""
    true = share * ratio / (share * ratio + 1.0 - share)
    null = share * margin / (share * margin + 1.0 - share)
    alive, done = {0: 1.0}, 0.0
    for n in range(1, events + 1):
        following: dict[int, float] = {}
        for k, here in alive.items():
            following[k + 1] = following.get(k + 1, 0.0) + here * true
            following[k] = following.get(k, 0.0) + here * (1.0 - true)
        alive = {}
        for k, here in following.items():
            rows = [f**k / (null * f + 1.0 - null) ** n for f in grid]
            if sum(rows) / len(rows) >= 1.0 / level:
                done += here
            else:
                alive[k] = here
    return done


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
@pytest.mark.parametrize(
    ("grid", "ratio", "margin"),
    [(HARM_FACTORS, 1.0, 1.0), (HARM_FACTORS, 3.0, 1.0), (HARM_FACTORS, 3.0, 1.2), (NO_HARM_FACTORS, 0.4, 1.2)],
)
def test_exact_chance_is_that_of_a_plain_walk(
    share: float, grid: tuple[float, ...], ratio: float, margin: float
) -> None:
    """Following the boundary gives the same chance as asking every point."""
    found = detection_chance_by_events(share, ratio, 120, BETA, grid, margin=margin)
    assert found == pytest.approx(naive(share, ratio, 120, BETA, grid, margin), abs=1e-12)


def test_no_events_no_chance() -> None:
    """Without an event nothing is found, and a candidate that never fails never fails."""
    assert detection_chance_by_events(0.5, 2.0, 0, ALPHA) == 0.0
    assert detection_chance_by_events(0.5, 0.0, 500, ALPHA) == 0.0
    assert detection_chance_by_events(0.5, 0.0, 500, ALPHA, NO_HARM_FACTORS) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("share", "ratio", "events", "level", "grid", "margin"),
    [
        (0.0, 1.0, 10, 0.01, HARM_FACTORS, 1.0),
        (1.0, 1.0, 10, 0.01, HARM_FACTORS, 1.0),
        (0.5, -1.0, 10, 0.01, HARM_FACTORS, 1.0),
        (0.5, 1.0, -1, 0.01, HARM_FACTORS, 1.0),
        (0.5, 1.0, 10, 0.0, HARM_FACTORS, 1.0),
        (0.5, 1.0, 10, 0.01, HARM_FACTORS, 0.0),
        (0.5, 1.0, 10, 0.01, (0.5, 2.0), 1.0),
    ],
)
def test_events_out_of_range_are_refused(
    share: float, ratio: float, events: int, level: float, grid: tuple[float, ...], margin: float
) -> None:
    """Shares, ratios, counts, levels and alternatives that cannot be are bugs."""
    with pytest.raises(InvariantBroken):
        detection_chance_by_events(share, ratio, events, level, grid, margin=margin)
