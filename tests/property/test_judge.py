"""No number, however broken, makes the judge decide; and a good candidate is turned away as rarely as promised."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.core.domain import Outcome, Stage
from surefoot.core.journal.chain import canonical_bytes
from surefoot.core.journal.events import GateJudged, decode_event, encode_event
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import (
    MILLIONTHS_PER_UNIT,
    BadEventCounts,
    BadEventStratum,
    DistributionShift,
    Evidence,
    FeatureShift,
    MeasurementCounts,
    MeasurementStratum,
    PairedBlock,
    PairedSums,
)
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds, choose_margin_multiple
from surefoot.core.policy.policy_types import Gate, Metric
from surefoot.core.stats.histogram import bucket_of
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, log_evidence
from tests.gates import changed, make_gate
from tests.sweeps import EVERYTHING

ERRORS = make_gate("errors", Metric.ERROR_RATE, margin=0.01)
LATENCY = make_gate("latency", Metric.LATENCY, margin=0.2)
QUALITY = make_gate("quality", Metric.BRIER, margin=0.01)
SLICES = make_gate("slices", Metric.BRIER, margin=0.01, by=("origin",), min_per_slice=10)
SHIFT = make_gate("inputs", Metric.INPUT_SHIFT, limit=0.2)
DATA = make_gate("data", Metric.VALIDATION)

COUNTS = st.integers(0, 20_000)
STRATUM = st.builds(BadEventStratum, st.sampled_from([0.01, 0.05, 0.5, 1.0]), COUNTS, COUNTS, COUNTS, COUNTS)
STRATA = st.lists(STRATUM, min_size=1, max_size=3).map(tuple)
MS = st.floats(0.1, 1000.0)
SUMS = st.integers(0, 10**9).map(lambda value: (value,))
BLOCKS = st.lists(st.builds(PairedBlock, st.just("b"), st.integers(1, 500), SUMS, SUMS), min_size=5, max_size=8).map(
    tuple
)
BUCKETS = st.dictionaries(st.integers(-50, 400), st.integers(1, 5_000), min_size=1, max_size=5).map(
    lambda cells: tuple(sorted(cells.items()))
)
SPEEDS = st.lists(
    st.builds(MeasurementStratum, st.sampled_from([0.01, 0.5, 1.0]), BUCKETS, BUCKETS), min_size=1, max_size=3
).map(tuple)
JUDGED: list[tuple[Gate, st.SearchStrategy[Evidence]]] = [
    (ERRORS, st.builds(BadEventCounts, STRATA, st.floats(0.0, 1.0), st.just("unit"), COUNTS)),
    (LATENCY, st.builds(MeasurementCounts, SPEEDS, BUCKETS, st.just("ms"), COUNTS)),
    (QUALITY, st.builds(PairedSums, st.fixed_dictionaries({"": BLOCKS}), st.just(4000), COUNTS, COUNTS, COUNTS)),
    (SLICES, st.builds(PairedSums, st.fixed_dictionaries({"o=A": BLOCKS, "o=B": BLOCKS}), st.just(4000), COUNTS)),
    (
        SHIFT,
        st.lists(st.builds(FeatureShift, st.just("f"), st.floats(0, 1), COUNTS, COUNTS), min_size=1, max_size=3).map(
            lambda features: DistributionShift("before", tuple(features))
        ),
    ),
    (DATA, st.builds(ValidationResult, st.just("m"), COUNTS, COUNTS, st.just(()))),
]
CASE = st.one_of(*(st.tuples(st.just(gate), evidence) for gate, evidence in JUDGED))


Put = Callable[[object], object]


def _with_field(value: Any, name: str, put: Put, other: object) -> object:
    return replace(value, **{name: put(other)})


def _with_item(value: tuple[object, ...], index: int, put: Put, other: object) -> object:
    return (*value[:index], put(other), *value[index + 1 :])


def _with_key(value: Mapping[str, object], key: str, put: Put, other: object) -> object:
    return {**value, key: put(other)}


def numbers(value: object) -> Iterator[Put]:
    """For every number inside a value, the function that puts another one in its place."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield lambda other: other
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            for put in numbers(getattr(value, field.name)):
                yield partial(_with_field, value, field.name, put)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            for put in numbers(item):
                yield partial(_with_item, value, index, put)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            for put in numbers(item):
                yield partial(_with_key, value, key, put)


def judged(gate: Gate, evidence: Evidence, level: DecisionThresholds) -> Outcome:
    """The outcome of a verdict that the journal can carry there and back."""
    verdict = judge(gate, evidence, level)
    event = GateJudged("r", Stage.RAMPING, 0, 1, verdict)
    kind, data = encode_event(event)
    canonical_bytes(data)
    assert decode_event(kind, data) == event
    assert verdict.reason
    return verdict.outcome


@settings(max_examples=300 if EVERYTHING else 100, deadline=None)
@given(CASE, st.sampled_from([1.0, 2.0, 15.0]), st.data())
def test_no_broken_number_decides(case: tuple[Gate, Evidence], wide: float, data: st.DataObject) -> None:
    """NaN, an infinity, 1e308 or an endless count anywhere in the evidence is an ERROR, never PASS or FAIL."""
    gate, evidence = case
    put = data.draw(st.sampled_from(list(numbers(evidence))))
    broken = data.draw(st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308, 10**400, 2**60, -1]))
    if not (broken == -1 and isinstance(evidence, PairedSums | MeasurementCounts)):  # a sum or a bucket may be negative
        assert judged(gate, put(broken), DecisionThresholds(allowance=wide)) is Outcome.ERROR  # type: ignore[arg-type]


@settings(max_examples=200 if EVERYTHING else 100, deadline=None)
@given(CASE, st.data())
def test_negative_zero_is_zero(case: tuple[Gate, Evidence], data: st.DataObject) -> None:
    """-0.0 anywhere decides what 0 decides."""
    gate, evidence = case
    put = data.draw(st.sampled_from(list(numbers(evidence))))
    negative, zero = (judged(gate, put(value), DecisionThresholds()) for value in (-0.0, 0))  # type: ignore[arg-type]
    assert negative is zero


@settings(max_examples=150, deadline=None)
@given(CASE, st.floats(1e-4, 0.4), st.integers(1, 50))
def test_every_evidence_has_a_verdict(case: tuple[Gate, Evidence], alpha: float, look: int) -> None:
    """Whatever was counted, the judge answers with one outcome and one sentence; it never raises."""
    gate, evidence = case
    assert judged(gate, evidence, DecisionThresholds(alpha, look=look, late=look)) in set(Outcome)


@settings(deadline=None, max_examples=40)
@given(st.tuples(COUNTS, COUNTS, COUNTS, COUNTS), st.sampled_from([0.05, 0.5]))
def test_more_failures_never_help(cells: tuple[int, int, int, int], share: float) -> None:
    """Turning one more of the candidate's answers into a failure never turns a FAIL into a PASS."""
    bad, good, champion_bad, champion_good = cells
    better, worse = (
        judged(
            ERRORS,
            BadEventCounts((BadEventStratum(share, b, g, champion_bad, champion_good),), 0.02),
            DecisionThresholds(),
        )
        for b, g in ((bad, good + 1), (bad + 1, good))
    )
    assert not (better is Outcome.FAIL and worse is Outcome.PASS)


@settings(deadline=None, max_examples=50)
@given(STRATA.filter(lambda strata: all(s.share < 1.0 for s in strata)), st.floats(0.0, 1.0), st.floats(1e-4, 0.4))
def test_no_failure_without_evidence_of_harm(strata: tuple[BadEventStratum, ...], guess: float, alpha: float) -> None:
    """Beside a champion, a FAIL always has evidence of harm of at least 1 / alpha."""
    if judged(ERRORS, BadEventCounts(strata, guess), DecisionThresholds(alpha)) is Outcome.FAIL:
        assert log_evidence(strata, guess, 1.0, 0.0, HARM_FACTORS) >= -math.log(alpha)


RAMP = ((5.0, 1500), (25.0, 1500), (50.0, 1500))


def ramps(runs: int, rate: Callable[[float], float], effect: float, seed: int) -> float:
    """Share of simulated ramps of 45 looks, under a baseline that moves, that any look rolls back."""
    random = np.random.default_rng(seed)
    failed = 0
    for _ in range(runs):
        done: list[BadEventStratum] = []
        for weight, requests in RAMP:
            cells = np.zeros(4, dtype=int)
            stop = False
            for look in range(15):
                q = rate((len(done) * 15 + look) / 45.0)
                new = int(random.binomial(requests // 15, weight / 100.0))
                old = requests // 15 - new
                bad, champion_bad = int(random.binomial(new, q * effect)), int(random.binomial(old, q))
                cells += np.array([bad, new - bad, champion_bad, old - champion_bad])
                strata = (*done, BadEventStratum(weight / 100.0, *(int(cell) for cell in cells)))
                if log_evidence(strata, 0.05, 1.0, 0.0, HARM_FACTORS) < math.log(99.0):
                    continue  # far from any FAIL, as the law below says; the whole judge is slower
                verdict = judge(
                    ERRORS, BadEventCounts(strata, 0.05), DecisionThresholds(allowance=choose_margin_multiple(weight))
                )
                if stop := verdict.outcome is Outcome.FAIL:
                    break
            if stop:
                failed += 1
                break
            done.append(strata[-1])
    return failed / runs


@pytest.mark.parametrize("rate", [lambda _: 0.05, lambda t: 0.02 + 0.08 * t, lambda t: 0.05 + 0.03 * math.sin(9 * t)])
def test_good_candidate_is_rarely_rolled_back(rate: Callable[[float], float]) -> None:
    """An equal candidate fails a whole ramp at most twice in a hundred times, however the baseline moves."""
    assert ramps(300, rate, 1.0, 5) <= 0.02


def test_bad_candidate_is_rolled_back() -> None:
    """A candidate that fails three times as often does not reach the end of the ramp."""
    assert ramps(30, lambda _: 0.05, 3.0, 6) >= 0.95


def histogram(values: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Values as the counters keep them."""
    cells = np.unique([bucket_of(float(value)) for value in values], return_counts=True)
    return tuple((int(key), int(n)) for key, n in zip(*cells, strict=True))


def slow(random: np.random.Generator, effect: float, looks: int) -> Iterator[MeasurementCounts]:
    """Looks at growing latencies of two arms, both drawn from one heavy-tailed distribution."""
    before = histogram(random.lognormal(0.0, 0.8, 2_000))
    everything = random.lognormal(0.0, 0.8, (2, looks * 50)) * np.array([[1.0], [effect]])
    for n in range(50, looks * 50 + 1, 50):
        old, new = (histogram(arm[:n]) for arm in everything)
        yield MeasurementCounts((MeasurementStratum(0.5, new, old),), before, "ms", 2 * n)


def test_equal_latency_is_rarely_rolled_back() -> None:
    """Of pairs of equal arms, looked at twenty times, at most two percent fail on latency."""
    random = np.random.default_rng(8)
    runs = 200 if EVERYTHING else 60
    failed = sum(
        any(judge(LATENCY, e, DecisionThresholds()).outcome is Outcome.FAIL for e in slow(random, 1.0, 20))
        for _ in range(runs)
    )
    assert failed / runs <= 0.02


def test_doubled_latency_is_rolled_back() -> None:
    """A candidate that takes twice as long fails."""
    random = np.random.default_rng(9)
    assert all(
        any(judge(LATENCY, e, DecisionThresholds()).outcome is Outcome.FAIL for e in slow(random, 2.0, 20))
        for _ in range(20)
    )


def test_equal_losses_are_rarely_rejected() -> None:
    """Over ten looks at growing windows of days that move together, an equal candidate fails within the level."""
    random = np.random.default_rng(10)
    failed, runs = 0, 400
    for _ in range(runs):
        days = [
            PairedBlock(
                "d",
                100,
                (20 * MILLIONTHS_PER_UNIT,),
                (round((20.0 + 100 * float(random.normal(0.0, 0.03))) * MILLIONTHS_PER_UNIT),),
            )
            for _ in range(30)
        ]
        looks = (PairedSums({"": tuple(days[: 10 + 2 * k])}, 3000, 3000) for k in range(1, 11))
        strict = changed(QUALITY, margin=0.0)
        failed += any(
            judge(strict, found, DecisionThresholds(0.05, look=k)).outcome is Outcome.FAIL
            for k, found in enumerate(looks, 1)
        )
    assert failed / runs <= 0.05


def test_equal_inputs_are_rarely_called_moved() -> None:
    """Twenty features from one distribution never fail a limit of zero more often than the level."""
    random = np.random.default_rng(12)
    strict = changed(SHIFT, limit=0.0)
    failed, runs = 0, 200
    for _ in range(runs):
        made = []
        for index in range(20):
            a, b = random.integers(0, 200, (2, 500))
            shares = [np.bincount(x, minlength=200) / 500 for x in (a, b)]
            if index % 2:
                distance = float(np.abs(np.cumsum(shares[0] - shares[1])).max())
                made.append(FeatureShift("n", distance, 500, 500))
            else:
                distance = float(np.abs(shares[0] - shares[1]).sum() / 2.0)
                made.append(FeatureShift("c", distance, 500, 500, 200))
        failed += (
            judge(strict, DistributionShift("before", tuple(made)), DecisionThresholds(0.05)).outcome is Outcome.FAIL
        )
    assert failed / runs <= 0.05
