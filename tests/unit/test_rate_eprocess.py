"""The evidence on two arms: golden values, exact null expectations, brute force, and laws of its shape."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import BadEventStratum
from surefoot.core.stats.rate_eprocess import (
    HARM_FACTORS,
    MIN_PROBABILITY,
    NO_HARM_FACTORS,
    degradation_interval,
    epoch_evidence_increments,
    log_evidence,
    log_mean_exp,
    mantel_haenszel_rates,
    multiply_odds,
    project_to_null,
    trial_evidence_increments,
)

TM, DM = 1.1, 0.002
GRIDS = st.sampled_from([HARM_FACTORS, NO_HARM_FACTORS])
SHARES = st.sampled_from([0.001, 0.01, 0.05, 0.25, 0.5, 0.9, 0.99, 1.0])
RATES = st.floats(MIN_PROBABILITY, 1.0 - MIN_PROBABILITY)
NULLS = st.floats(1e-3, 1.0 - 1e-3)  # rates that the floor of 1e-6 does not touch under any line below
STRATUM = st.builds(BadEventStratum, SHARES, *[st.integers(0, 5000)] * 4)
STRATA = st.lists(STRATUM, max_size=4)
LINES = st.tuples(st.floats(0.0, 2.0), st.floats(0.0, 0.5)) | st.just((0.0, 0.01)) | st.just((0.2, 0.0))


@pytest.mark.parametrize(
    ("rows", "guess", "s", "grid", "golden"),
    [
        ([(0.01, 3, 597, 400, 19000)], 0.02, 0.0, HARM_FACTORS, -2.564704260),
        ([(0.05, 8, 992, 120, 18880), (0.5, 160, 4840, 100, 4900)], 0.02, 0.0, HARM_FACTORS, 5.434182084),
        ([(0.05, 8, 992, 120, 18880), (0.5, 160, 4840, 100, 4900)], 0.02, 1.0, HARM_FACTORS, 0.916076375),
        ([(0.25, 100, 4900, 300, 14700), (0.5, 400, 19600, 400, 19600)], 0.02, 1.0, NO_HARM_FACTORS, 3.553085996),
        ([(0.5, 0, 20000, 0, 20000)], 1e-4, 1.0, NO_HARM_FACTORS, 32.081759885),
    ],
)
def test_golden_log_evidence(
    rows: list[tuple[float, int, int, int, int]], guess: float, s: float, grid: tuple[float, ...], golden: float
) -> None:
    """The published counters give the published evidence."""
    strata = [BadEventStratum(*row) for row in rows]
    assert log_evidence(strata, guess, 1.0 + s * (TM - 1.0), s * DM, grid) == pytest.approx(golden, abs=1e-7)


def step(share: float, q0: float, q1: float, guess: float, line: tuple[float, float], grid: tuple[float, ...]) -> float:
    """Expectation of the e-value of one request when the arms fail with q0 and q1."""
    cells = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))
    chances = (share * q1, share * (1.0 - q1), (1.0 - share) * q0, (1.0 - share) * (1.0 - q0))
    found = (math.exp(log_evidence([BadEventStratum(share, *cell)], guess, *line, grid)) for cell in cells)
    return sum(chance * e for chance, e in zip(chances, found, strict=True))


@given(SHARES.filter(lambda share: share < 1.0), RATES, RATES)
def test_null_expectation_is_one_on_the_diagonal(share: float, q: float, guess: float) -> None:
    """Against "no worse than the champion" one request of equal arms is worth exactly one, whatever the guess."""
    assert step(share, q, q, guess, (1.0, 0.0), HARM_FACTORS) == pytest.approx(1.0, abs=1e-9)
    assert step(share, q, q, guess, (1.0, 0.0), NO_HARM_FACTORS) == pytest.approx(1.0, abs=1e-9)


@given(SHARES.filter(lambda share: share < 1.0), NULLS, RATES, RATES, st.floats(-5.0, 50.0), st.booleans())
def test_null_expectation_of_harm(share: float, q0: float, part: float, guess: float, s: float, relative: bool) -> None:
    """No candidate on the good side of any line makes one request worth more than one as evidence of harm."""
    slope, offset = (max(1.0 + s * 0.2, 0.01), 0.0) if relative else (1.0, s * 0.05)
    edge = min(slope * q0 + offset, 1.0)
    if edge >= MIN_PROBABILITY:
        assert step(share, q0, part * edge, guess, (slope, offset), HARM_FACTORS) <= 1.0 + 1e-9


@given(SHARES.filter(lambda share: share < 1.0), NULLS, RATES, RATES, st.floats(-5.0, 50.0), st.booleans())
def test_null_expectation_of_safety(
    share: float, q0: float, part: float, guess: float, s: float, relative: bool
) -> None:
    """No candidate on the bad side of any line makes one request worth more than one as evidence of safety."""
    slope, offset = (max(1.0 + s * 0.2, 0.01), 0.0) if relative else (1.0, s * 0.05)
    edge = max(slope * q0 + offset, 0.0)
    if edge <= 1.0 - MIN_PROBABILITY:
        assert step(share, q0, edge + part * (1.0 - edge), guess, (slope, offset), NO_HARM_FACTORS) <= 1.0 + 1e-9


def paths(n: int, share: float, q0: float, q1: float, s: float, grid: tuple[float, ...]) -> tuple[float, float]:
    """Exact chance that the evidence has ever reached 20 within n requests, and its expectation at the end.

    A walk over the counts of all four cells: a path that reaches 20 has its chance put aside, while the
    expectation keeps every path.
    """
    line = (1.0 + s * 0.1, s * 0.02)
    chances = (share * q1, share * (1.0 - q1), (1.0 - share) * q0, (1.0 - share) * (1.0 - q0))
    coefficients = []
    for factor in grid:
        p1 = multiply_odds(line[0] * 0.2 + line[1], factor)
        null0, null1 = project_to_null(share, p1, 0.2, *line)
        pairs = ((p1, null1), (1.0 - p1, 1.0 - null1), (0.2, null0), (0.8, 1.0 - null0))
        coefficients.append([math.log(a / b) for a, b in pairs])

    def e(cells: tuple[int, ...]) -> float:
        return sum(math.exp(sum(map(math.prod, zip(cells, row, strict=True)))) for row in coefficients) / len(grid)

    alive: dict[tuple[int, ...], float] = {(0, 0, 0, 0): 1.0}
    everything, crossed = dict(alive), 0.0
    for _ in range(n):
        grown: list[dict[tuple[int, ...], float]] = []
        for layer in (alive, everything):
            made: dict[tuple[int, ...], float] = {}
            for cells, chance in layer.items():
                for index in range(4):
                    after = (*cells[:index], cells[index] + 1, *cells[index + 1 :])
                    made[after] = made.get(after, 0.0) + chance * chances[index]
            grown.append(made)
        over = {cells for cells in grown[0] if e(cells) >= 20.0}
        crossed += sum(grown[0][cells] for cells in over)
        alive, everything = {cells: p for cells, p in grown[0].items() if cells not in over}, grown[1]
    return crossed, sum(chance * e(cells) for cells, chance in everything.items())


def test_brute_force_walk_agrees_with_the_published_one() -> None:
    """All paths of 40 requests of equal arms cross 20 as rarely as published, and the mean evidence stays one."""
    crossed, mean = paths(40, 0.5, 0.2, 0.2, 0.0, HARM_FACTORS)
    assert crossed == pytest.approx(0.009002, abs=1e-6)
    assert mean == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    ("share", "q0", "q1", "s", "grid"),
    [
        (0.5, 0.1, 0.1, 0.0, HARM_FACTORS),
        (0.1, 0.2, 0.2, 0.0, HARM_FACTORS),
        (0.5, 0.3, 0.2, 0.0, HARM_FACTORS),
        (0.5, 0.2, 0.24, 1.0, NO_HARM_FACTORS),
        (0.5, 0.2, 0.30, 1.0, NO_HARM_FACTORS),
    ],
)
def test_short_brute_force_keeps_its_level(
    share: float, q0: float, q1: float, s: float, grid: tuple[float, ...]
) -> None:
    """No null crosses 20 more often than one time in twenty, and none expects more than one."""
    crossed, mean = paths(18, share, q0, q1, s, grid)
    assert crossed <= 0.05
    assert mean <= 1.0 + 1e-9


def event_split(share: float, alpha: float, events: int) -> float:
    """Exact chance that a rare-event null crosses 1/alpha within so many events (binomial conditional form)."""
    alive, crossed = {0: 1.0}, 0.0
    for n in range(1, events + 1):
        made: dict[int, float] = {}
        for k, chance in alive.items():
            made[k + 1] = made.get(k + 1, 0.0) + chance * share
            made[k] = made.get(k, 0.0) + chance * (1.0 - share)
        over = set()
        for k in made:
            logs = [k * math.log(r) - n * math.log(share * r + 1.0 - share) for r in HARM_FACTORS]
            if sum(map(math.exp, logs)) / len(logs) >= 1.0 / alpha:
                over.add(k)
        crossed += sum(made[k] for k in over)
        alive = {k: p for k, p in made.items() if k not in over}
    return crossed


@pytest.mark.parametrize(("share", "golden"), [(0.01, 0.00118), (0.05, 0.00209), (0.25, 0.00342), (0.5, 0.00436)])
def test_false_rollbacks_within_a_hundred_events(share: float, golden: float) -> None:
    """The alternatives of the judge keep far below their level of one percent, exactly as often as published."""
    assert event_split(share, 0.01, 100) == pytest.approx(golden, abs=1e-5)


@given(SHARES.filter(lambda share: share < 1.0), st.integers(0, 30), st.integers(0, 30))
def test_rare_events_need_no_denominators(share: float, bad: int, champion_bad: int) -> None:
    """With a vanishing rate the evidence is the conditional test on events alone."""
    n = bad + champion_bad
    logs = [bad * math.log(r) - n * math.log(share * r + 1.0 - share) for r in HARM_FACTORS]
    top = max(logs)
    expected = top + math.log(sum(math.exp(x - top) for x in logs) / len(logs))
    found = log_evidence([BadEventStratum(share, bad, 0, champion_bad, 0)], MIN_PROBABILITY, 1.0, 0.0, HARM_FACTORS)
    assert found == pytest.approx(expected, abs=1e-3)


@given(st.integers(0, 40), st.integers(0, 40))
def test_half_and_half_with_one_alternative_is_mcnemars_ratio(bad: int, champion_bad: int) -> None:
    """At equal shares one alternative is the likelihood ratio of two binomials, which scipy knows."""
    n = bad + champion_bad
    ratio = stats.binom.logpmf(bad, n, 5.0 / 6.0) - stats.binom.logpmf(bad, n, 0.5)
    found = log_evidence([BadEventStratum(0.5, bad, 0, champion_bad, 0)], MIN_PROBABILITY, 1.0, 0.0, (5.0,))
    assert found == pytest.approx(ratio, abs=1e-3)


@given(STRATUM, st.integers(2, 5), LINES, GRIDS, st.floats(1e-6, 0.5))
def test_counters_may_be_split_over_workers(
    stratum: BadEventStratum, workers: int, line: tuple[float, float], grid: tuple[float, ...], guess: float
) -> None:
    """Counters of several workers under one split, in any order, are worth as much as their sum."""
    counts = (stratum.candidate_bad, stratum.candidate_good, stratum.champion_bad, stratum.champion_good)
    parts = [
        BadEventStratum(stratum.share, *(count // workers + (index < count % workers) for count in counts))
        for index in range(workers)
    ]
    whole = log_evidence([stratum], guess, *line, grid)
    assert log_evidence(parts, guess, *line, grid) == pytest.approx(whole, rel=1e-9, abs=1e-6)
    assert log_evidence(parts[::-1], guess, *line, grid) == pytest.approx(whole, rel=1e-9, abs=1e-6)


@given(SHARES.filter(lambda share: share < 1.0), st.integers(0, 300), st.integers(0, 300))
def test_swapping_the_arms_inverts_the_odds(share: float, bad: int, champion_bad: int) -> None:
    """Exchanging the arms, their shares and the sense of the odds leaves the evidence as it is."""
    here = log_evidence([BadEventStratum(share, bad, 0, champion_bad, 0)], MIN_PROBABILITY, 1.0, 0.0, (3.0,))
    # Three times the odds of the candidate at 1e-6 is a third of the odds of the champion at 3e-6.
    there = log_evidence(
        [BadEventStratum(1.0 - share, champion_bad, 0, bad, 0)], 3.0 * MIN_PROBABILITY, 1.0, 0.0, (1.0 / 3.0,)
    )
    assert here == pytest.approx(there, abs=1e-3)


@given(LINES, GRIDS, st.floats(0.0, 1.0))
def test_nothing_is_worth_nothing(line: tuple[float, float], grid: tuple[float, ...], guess: float) -> None:
    """Without data the evidence is exactly one."""
    assert log_evidence([], guess, *line, grid) == 0.0
    assert log_evidence([BadEventStratum(0.5, 0, 0, 0, 0)], guess, *line, grid) == 0.0


def served(share: float, n: int, rates: tuple[float, float]) -> BadEventStratum:
    """Counts of n requests that came as often as the split and the two rates say."""
    new = round(n * share)
    bad, champion_bad = round(new * rates[1]), round((n - new) * rates[0])
    return BadEventStratum(share, bad, new - bad, champion_bad, n - new - champion_bad)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(SHARES, st.integers(100, 50_000), st.floats(0.5, 2.0)), min_size=1, max_size=3),
    st.floats(0.001, 0.03),
    st.floats(0.3, 3.0),
    st.floats(0.5, 2.0),
    st.sampled_from([(0.0, 0.01), (0.0, 0.05), (0.2, 0.0), (0.5, 0.0)]),
)
def test_proofs_are_monotone_in_the_margin(
    rows: list[tuple[float, int, float]], rate: float, effect: float, wrong: float, margin: tuple[float, float]
) -> None:
    """For traffic that follows its split, what a margin proves safe every wider one does, and harm the other way."""
    strata = [served(share, n, (rate * drift, rate * drift * min(effect, 2.0))) for share, n, drift in rows]
    guess = rate * wrong
    growth, points = margin
    scale = [0.0, 0.5, 1.0, 2.0, 5.0, 15.0]
    lines = [(1.0 + s * growth, s * points) for s in scale]
    harm = [log_evidence(strata, guess, *line, HARM_FACTORS) >= math.log(100.0) for line in lines]
    safe = [log_evidence(strata, guess, *line, NO_HARM_FACTORS) >= math.log(20.0) for line in lines]
    assert harm == sorted(harm, reverse=True)
    assert safe == sorted(safe)


@settings(deadline=None, max_examples=30)
@given(STRATA, st.floats(0.0, 0.9), st.sampled_from([(0.0, 0.005), (0.0, 0.05), (0.0, 0.5), (0.2, 0.0), (5.0, 0.0)]))
def test_band_is_an_interval(strata: list[BadEventStratum], guess: float, margin: tuple[float, float]) -> None:
    """Whatever the counts and the margin, the band has a lower and a higher end inside its scale."""
    low, high = degradation_interval(strata, guess, *margin, 0.01, 0.05)
    assert -5.0 <= low <= high <= 50.0


@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize("rates", [(0.02, 0.02), (0.02, 0.03), (0.02, 0.021), (0.1, 0.11), (0.3, 0.25)])
def test_band_contains_the_estimate_and_tightens(share: float, rates: tuple[float, float]) -> None:
    """The band surrounds what was observed, and ten times the data make it tighter."""
    widths = []
    for n in (20_000, 200_000):
        low, high = degradation_interval([served(share, n, rates)], rates[0], 0.0, 0.02, 0.01, 0.05)
        assert low < (rates[1] - rates[0]) / 0.02 < high
        widths.append(high - low)
    assert widths[1] < widths[0]


def test_band_tightens_as_the_levels_rise() -> None:
    """Being less sure excludes more."""
    strata = [BadEventStratum(0.5, 200, 9800, 200, 9800)]
    wide, tight = (degradation_interval(strata, 0.02, 0.0, 0.01, level, level) for level in (0.001, 0.2))
    assert wide[0] < tight[0] < tight[1] < wide[1]


def test_candidate_alone_is_held_against_the_baseline() -> None:
    """With every request on the candidate the evidence is the likelihood ratio against the frozen line."""
    bad, good, line = 30, 970, 0.02 + 0.005
    expected = [
        bad * math.log(multiply_odds(line, k) / line) + good * math.log((1.0 - multiply_odds(line, k)) / (1.0 - line))
        for k in HARM_FACTORS
    ]
    found = log_evidence([BadEventStratum(1.0, bad, good, 0, 0)], 0.02, 1.0, 0.005, HARM_FACTORS)
    assert found == pytest.approx(math.log(sum(map(math.exp, expected)) / len(expected)))


@given(st.floats(1e-6, 0.5), st.integers(1, 2000))
def test_candidate_alone_keeps_its_level(p: float, n: int) -> None:
    """Alone at the limit, the mean evidence over every outcome of n requests is one."""
    bad = range(min(n, 200) + 1)
    n = min(n, 200)
    mean = sum(
        stats.binom.pmf(k, n, p)
        * math.exp(log_evidence([BadEventStratum(1.0, k, n - k, 0, 0)], p, 1.0, 0.0, HARM_FACTORS))
        for k in bad
    )
    assert mean == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(
    "line", [(1.0, 0.5), (1.0, 1.0), (1.0, 2.5), (1.0, -0.3), (1.0, -2.0), (151.0, 0.0), (0.01, 0.0)]
)
@pytest.mark.parametrize("grid", [HARM_FACTORS, NO_HARM_FACTORS])
def test_line_outside_the_square_is_finite(line: tuple[float, float], grid: tuple[float, ...]) -> None:
    """A margin so wide that the line leaves the probabilities still gives a finite answer."""
    assert math.isfinite(log_evidence([BadEventStratum(0.01, 5, 95, 100, 9900)], 0.02, *line, grid))


@given(
    SHARES.filter(lambda share: share < 1.0), st.floats(1e-4, 0.3), st.sampled_from(HARM_FACTORS), st.floats(0.0, 0.2)
)
def test_projection_is_the_closest_point(share: float, p0: float, factor: float, offset: float) -> None:
    """No point of the line is closer to the alternative than the projection."""

    def distance(q0: float) -> float:
        q1 = 1.1 * q0 + offset
        parts = (share * p1 * math.log(p1 / q1), share * (1.0 - p1) * math.log((1.0 - p1) / (1.0 - q1)))
        rest = p0 * math.log(p0 / q0) + (1.0 - p0) * math.log((1.0 - p0) / (1.0 - q0))
        return sum(parts) + (1.0 - share) * rest

    p1 = multiply_odds(1.1 * p0 + offset, factor)
    q0, q1 = project_to_null(share, p1, p0, 1.1, offset)
    assert q1 == pytest.approx(1.1 * q0 + offset)
    others = [q0 * 0.99, q0 * 1.01, q0 * 0.9]
    assert all(distance(q0) <= distance(other) + 1e-12 for other in others if 1.1 * other + offset < 1.0)


@pytest.mark.parametrize(("share", "guess"), [(0.0, 0.1), (1.5, 0.1), (math.nan, 0.1), (0.5, math.nan), (0.5, -0.1)])
def test_what_is_no_probability_is_refused(share: float, guess: float) -> None:
    """A share or a guess outside the probabilities is a bug, not a number."""
    with pytest.raises(InvariantBroken):
        log_evidence([BadEventStratum(share, 1, 1, 1, 1)], guess, 1.0, 0.0, HARM_FACTORS)


def test_rates_do_not_mix_splits() -> None:
    """Simpson's paradox: pooled rates would blame a candidate that is better under either split."""
    early, late = BadEventStratum(0.01, 1, 99, 198, 9702), BadEventStratum(0.5, 480, 4520, 500, 4500)
    champion, candidate = mantel_haenszel_rates([early, late]) or (0.0, 0.0)
    pooled = ((198 + 500) / 14_900, (1 + 480) / 5_100)
    assert candidate < champion
    assert pooled[1] > pooled[0]


def test_rates_need_both_arms() -> None:
    """Without a stratum in which both arms served there are no rates to compare."""
    assert mantel_haenszel_rates([BadEventStratum(1.0, 1, 9, 0, 0), BadEventStratum(0.5, 0, 0, 1, 9)]) is None


@given(st.sampled_from([0.001, 0.05, 0.5, 0.99]), NULLS, LINES, GRIDS)
def test_each_alternative_is_an_e_value_by_itself(
    share: float, guess: float, line: tuple[float, float], grid: tuple[float, ...]
) -> None:
    """On the line, at the guess, every row of coefficients is worth at most one, not just their mean."""
    q1 = min(line[0] * guess + line[1], 1.0 - MIN_PROBABILITY)
    chances = (share * q1, share * (1.0 - q1), (1.0 - share) * guess, (1.0 - share) * (1.0 - guess))
    rows = trial_evidence_increments(share, guess, *line, grid)
    assert len(rows) == len(grid)
    if MIN_PROBABILITY <= q1 == line[0] * guess + line[1]:
        assert all(sum(c * math.exp(x) for c, x in zip(chances, row, strict=True)) <= 1.0 + 1e-9 for row in rows)


@given(
    st.lists(st.builds(BadEventStratum, SHARES, *[st.integers(0, 5000)] * 4, st.integers(0, 5)), max_size=8),
    LINES,
    GRIDS,
)
def test_increments_add_up_to_the_evidence(
    strata: list[BadEventStratum], line: tuple[float, float], grid: tuple[float, ...]
) -> None:
    """Evidence by epoch, added up, is the evidence as if time did not matter."""
    found = epoch_evidence_increments(strata, 0.02, *line, grid)
    assert set(found) == {s.epoch for s in strata}
    totals = [sum(row[k] for row in found.values()) for k in range(len(grid))]
    whole = log_evidence(strata, 0.02, *line, grid)
    assert log_mean_exp(totals) == pytest.approx(whole, rel=1e-9, abs=1e-6)


def test_mean_of_logs_holds_any_number() -> None:
    """Numbers that no exponential can hold have a mean all the same, and so have nothing and everything."""
    assert log_mean_exp([1e4, 1e4]) == 1e4
    assert log_mean_exp([-1e4, -2e4]) == pytest.approx(-1e4 - math.log(2.0))
    assert log_mean_exp([-math.inf, -math.inf]) == -math.inf
    assert log_mean_exp([math.inf, 0.0]) == math.inf
