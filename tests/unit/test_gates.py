"""Gates on served traffic: each of them passes, fails and waits for the reason that it says."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from surefoot.core.domain import FigureKind, Outcome, Role, Stage, Verdict
from surefoot.core.journal.chain import canonical_bytes
from surefoot.core.journal.events import GateJudged, decode_event, encode_event
from surefoot.core.judging.evidence import (
    BadEventCounts,
    BadEventStratum,
    Evidence,
    GaugeComparisons,
    MeasurementCounts,
    MeasurementStratum,
    SlicedCounts,
    ValueCounts,
    ValueStratum,
)
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Gate, Metric, ValueGate
from surefoot.core.stats.bounded_mean import VALUE_LEVELS
from tests.gates import changed, make_gate
from tests.unit.test_judge import spread

if TYPE_CHECKING:
    from collections.abc import Callable

LEVEL = DecisionThresholds()
BUDGET = make_gate("slo", Metric.ERROR_RATE, margin=None, limit=0.02)
ERRORS = make_gate("errors", Metric.ERROR_RATE, margin=0.01)
BOTH = changed(ERRORS, limit=0.05)
LABELS = make_gate("labels", Metric.MISSING_LABEL, margin=0.02, maturity=3600.0)
LATENCY = make_gate("latency", Metric.LATENCY, margin=0.2)
TAIL = changed(LATENCY, quantiles=(0.5, 0.9, 0.99))
PAID = make_gate("value", Metric.VALUE, margin=0.1, relative=True, column="paid", cap=200.0)
WAIT = make_gate("value", Metric.VALUE, margin=5.0, column="wait_s", cap=100.0, higher=False)


def judged(gate: Gate, evidence: Evidence, level: DecisionThresholds = LEVEL) -> Verdict:
    """A verdict that the journal carries there and back."""
    verdict = judge(gate, evidence, level)
    event = GateJudged("r", Stage.RAMPING, 0, 1, verdict, level)
    kind, data = encode_event(event)
    canonical_bytes(data)
    assert decode_event(kind, data) == event
    return verdict


def figure(verdict: Verdict, name: str) -> float:
    """One number of a verdict by its name."""
    return next(item.value for item in verdict.figures if item.name == name)


def arms(n: int, bad: float, champion_bad: float, baseline: float | None = 0.02, got: float = 0.5) -> BadEventCounts:
    """Trials at half each that fail at these rates; the candidate may have got another share of them."""
    new = round(n * got)
    mine, theirs = round(new * bad), round((n - new) * champion_bad)
    return BadEventCounts((BadEventStratum(0.5, mine, new - mine, theirs, n - new - theirs),), baseline, recent=n)


def values(n: int, mean: float, champion_mean: float, center: float | None = 0.5, got: float = 0.5) -> ValueCounts:
    """Trials at half each, every one of which is worth nothing or the cap."""
    new = round(n * got)
    sides = []
    for size, share in ((new, mean), (n - new, champion_mean)):
        top = round(size * share)
        sides.append((size - top, *[0] * (VALUE_LEVELS - 2), top))
    mine, theirs = sides
    return ValueCounts((ValueStratum(0.5, mine, theirs),), center, recent=n)


def speeds(n: int, slower: float, *, tail: float = 1.0, got: float = 0.5, unit: str = "ms") -> MeasurementCounts:
    """Requests at half each; the candidate takes so many times as long, and its slowest 4 % longer still."""
    new = round(n * got)
    plain, slow = spread(round(new * 0.96), slower), spread(new - round(new * 0.96), slower * tail)
    mine = {key: dict(plain).get(key, 0) + dict(slow).get(key, 0) for key in dict(plain) | dict(slow)}
    return MeasurementCounts(
        (MeasurementStratum(0.5, tuple(sorted(mine.items())), spread(n - new, 1.0)),), spread(5_000, 1.0), unit
    )


@pytest.mark.parametrize(
    ("n", "bad", "outcome", "words"),
    [
        (20_000, 0.01, Outcome.PASS, "1 % of the candidate's 10,000 requests fail; at most 2 % is accepted"),
        (
            20_000,
            0.05,
            Outcome.FAIL,
            "5 % of the candidate's 10,000 requests fail; at most 2 % is accepted: it uses the error budget",
        ),
        (
            2_000,
            0.02,
            Outcome.INCONCLUSIVE,
            "not decided: 2 % of the candidate's 1,000 requests fail; at most 2 % is accepted, and it is not",
        ),
    ],
)
def test_error_budget_says_how_fast_it_burns(n: int, bad: float, outcome: Outcome, words: str) -> None:
    """With a limit alone the candidate is held against it, with its burn rate in words and in figures."""
    verdict = judged(BUDGET, arms(n, bad, 0.02))
    assert verdict.outcome is outcome
    assert verdict.reason.startswith(words)
    assert figure(verdict, "burn rate") == pytest.approx(bad / 0.02)
    assert (verdict.estimate, verdict.margin) == (pytest.approx(bad), 0.02)


def test_error_budget_does_not_look_at_the_champion() -> None:
    """A champion that always fails, or never did, changes nothing about a limit of the candidate's own."""
    for bad in (0.01, 0.05):
        said = {judged(BUDGET, arms(20_000, bad, old, past)).reason for old in (0.0, 1.0) for past in (None, 0.5)}
        assert len(said) == 1


def test_good_past_does_not_hide_that_the_budget_burns() -> None:
    """What happened since the candidate broke is held against the limit, and the sentence says since when."""
    good = [BadEventStratum(0.5, 0, 2000, 0, 2000, epoch) for epoch in range(10)]
    bad = [BadEventStratum(0.5, 200, 1800, 0, 2000, epoch) for epoch in (10, 11)]
    verdict = judged(BUDGET, BadEventCounts((*good, *bad), 0.0))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.estimate is not None
    assert verdict.estimate < 0.02
    assert verdict.reason.endswith("the error budget 5.0 times as fast as it may since part 11 of 24 of the ramp")


@pytest.mark.parametrize(
    ("bad", "old", "outcome", "words"),
    [
        (0.02, 0.02, Outcome.PASS, "up to +1 point is accepted"),
        (0.045, 0.02, Outcome.FAIL, "against 2 % of the champion's: +2.5 points (between"),
        (0.09, 0.085, Outcome.FAIL, "the error budget 1.8 times as fast as it may"),
        (0.0495, 0.0495, Outcome.INCONCLUSIVE, "not yet proved to stay below that"),
        (0.03, 0.02, Outcome.INCONCLUSIVE, "not decided: 3 % of the candidate's 20,000 requests fail, against 2 %"),
    ],
)
def test_margin_and_limit_must_both_hold(bad: float, old: float, outcome: Outcome, words: str) -> None:
    """With a margin and a limit either of them fails, both must pass, and the one that decides is named."""
    verdict = judged(BOTH, arms(40_000, bad, old, old))
    assert verdict.outcome is outcome, verdict.reason
    assert words in verdict.reason
    assert figure(verdict, FigureKind.HARM_NEEDED) == pytest.approx(math.log(2.0 / LEVEL.alpha))


def test_an_unhealthy_baseline_blames_nobody() -> None:
    """A champion that fails far more often than ever before decides nothing, be the candidate like it or better."""
    for bad in (0.3, 0.05, 0.0):
        verdict = judged(changed(ERRORS, role=Role.SIGNAL), arms(4_000, bad, 0.3))
        assert verdict.outcome is Outcome.BASELINE_UNHEALTHY
        assert verdict.reason == (
            "the champion itself fails on 30 % of its 2,000 requests, after 2 % before the rollout: the cause is"
            " not the candidate, and nothing is promoted meanwhile"
        )
        assert (verdict.role, verdict.culprit) == (Role.SIGNAL, "")


def test_candidate_that_is_worse_than_a_sick_champion_fails() -> None:
    """A champion in trouble is no shelter: a candidate that surely adds to it is turned away all the same."""
    verdict = judged(ERRORS, arms(4_000, 0.6, 0.3))
    assert verdict.outcome is Outcome.FAIL
    assert "60 % of the candidate's 2,000 requests fail, against 30 %" in verdict.reason


@pytest.mark.parametrize("baseline", [None, 0.3, 0.16])
def test_champion_that_was_always_like_this_is_not_unhealthy(baseline: float | None) -> None:
    """What is not known from before, or is less than twice as much, is no sickness."""
    assert judged(ERRORS, arms(4_000, 0.3, 0.3, baseline)).outcome is Outcome.INCONCLUSIVE


def test_sick_champion_needs_proof() -> None:
    """A handful of failures of the champion is bad luck before it is a sickness."""
    assert judged(ERRORS, arms(20, 0.2, 0.2)).outcome is Outcome.INCONCLUSIVE


BROKEN: dict[str, tuple[Gate, Evidence, Evidence, Outcome]] = {
    f"{name}, {what}": (gate, made(0.5), made(0.42), outcome)
    for name, what, gate, made, outcome in (
        ("errors", "bad", ERRORS, lambda got: arms(20_000, 0.3, 0.02, got=got), Outcome.FAIL),
        ("errors", "good", ERRORS, lambda got: arms(40_000, 0.02, 0.02, got=got), Outcome.PASS),
        ("errors", "both bad", ERRORS, lambda got: arms(20_000, 0.3, 0.3, got=got), Outcome.BASELINE_UNHEALTHY),
        ("budget", "bad", BUDGET, lambda got: arms(20_000, 0.3, 0.3, got=got), Outcome.FAIL),
        ("budget", "good", BUDGET, lambda got: arms(20_000, 0.0, 0.0, got=got), Outcome.PASS),
        ("labels", "bad", LABELS, lambda got: arms(20_000, 0.3, 0.02, got=got), Outcome.FAIL),
        ("latency", "bad", LATENCY, lambda got: speeds(20_000, 2.0, got=got), Outcome.FAIL),
        ("latency", "good", LATENCY, lambda got: speeds(20_000, 1.0, got=got), Outcome.PASS),
        ("value", "bad", PAID, lambda got: values(40_000, 0.3, 0.5, got=got), Outcome.FAIL),
        ("value", "good", PAID, lambda got: values(40_000, 0.5, 0.5, got=got), Outcome.PASS),
    )
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_split_decides_nothing(case: str) -> None:
    """Arms that do not get their share prove neither harm nor safety, however bad or good they are."""
    gate, sound, broken, outcome = BROKEN[case]
    assert judged(gate, sound).outcome is outcome
    verdict = judged(gate, broken)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "the split is broken, and nothing can be concluded from it" in verdict.reason
    assert verdict.culprit == ""


def test_broken_split_of_one_slice_is_said_of_it() -> None:
    """One slice that does not get its share keeps the whole gate from passing, and is named."""
    gate = changed(ERRORS, by=("origin",))
    fine, broken = arms(40_000, 0.02, 0.02), arms(40_000, 0.02, 0.02, got=0.4)
    verdict = judged(gate, SlicedCounts({"origin=JFK": fine, "origin=LGA": broken}, 10_000))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reason.startswith("on origin=LGA the candidate does not get the share")


def test_missing_labels_are_said_as_such() -> None:
    """A candidate whose labels do not come fails with those words; where nobody's come, nobody is blamed for it."""
    verdict = judged(LABELS, replace(arms(4_000, 0.2, 0.02), trial="unit"))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason == (
        "20 % of the candidate's 2,000 units have no label in time, against 2 % of the champion's: +18 points"
        " (between +14.68 and +20.9 points); up to +2 points is accepted"
    )
    assert judged(LABELS, arms(20_000, 0.02, 0.02)).outcome is Outcome.PASS
    sick = judged(LABELS, arms(4_000, 0.9, 0.9))
    assert sick.outcome is Outcome.BASELINE_UNHEALTHY
    assert sick.reason.startswith("the champion itself has no label in time for 90 % of its 2,000 requests")


@pytest.mark.parametrize(
    ("gate", "mean", "old", "outcome", "words"),
    [
        (PAID, 0.5, 0.5, Outcome.PASS, "paid per request is 100 on the candidate, 100 on the champion: +0 (between -3"),
        (PAID, 0.7, 0.5, Outcome.PASS, "140 on the candidate, 100 on the champion: +40 (between +3"),
        (PAID, 0.3, 0.5, Outcome.FAIL, "60 on the candidate, 100 on the champion: -40; at least 90 is accepted"),
        (PAID, 0.46, 0.5, Outcome.INCONCLUSIVE, "92 on the candidate, 100 on the champion: -8 (between -11"),
        (WAIT, 0.5, 0.5, Outcome.PASS, "wait_s per request is 50 on the candidate, 50 on the champion: +0 (between -1"),
        (WAIT, 0.3, 0.5, Outcome.PASS, "30 on the candidate, 50 on the champion: -20 (between -21"),
        (WAIT, 0.7, 0.5, Outcome.FAIL, "70 on the candidate, 50 on the champion: +20; at most 55 is accepted"),
        (WAIT, 0.54, 0.5, Outcome.INCONCLUSIVE, "54 on the candidate, 50 on the champion: +4 (between +2"),
    ],
)
def test_value_is_said_in_its_own_unit(gate: ValueGate, mean: float, old: float, outcome: Outcome, words: str) -> None:
    """A mean is judged in the direction that the owner names, and said in the unit of the value, not of the cap."""
    verdict = judged(gate, values(40_000, mean, old))
    assert verdict.outcome is outcome, verdict.reason
    assert words in verdict.reason
    assert verdict.estimate == pytest.approx(
        abs(mean - old) * gate.cap * (1 if (mean > old) != gate.higher_is_better else -1)
    )
    assert verdict.margin == pytest.approx(10.0 if gate is PAID else 5.0)
    assert verdict.unit == gate.column


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("higher", [True, False])
def test_value_within_its_margin_is_no_failure(*, higher: bool, relative: bool) -> None:
    """A loss that is surely there and less than the owner accepts passes; twice the margin fails, either way round."""
    gate = changed(PAID, higher=higher, relative=relative, margin=0.1 if relative else 10.0)
    sign = -1.0 if higher else 1.0
    for part, outcome in ((0.5, Outcome.PASS), (2.0, Outcome.FAIL)):
        verdict = judged(gate, values(400_000, 0.5 * (1.0 + sign * 0.1 * part), 0.5))
        assert verdict.outcome is outcome, verdict.reason


def test_value_without_a_past_or_an_arm_is_no_data() -> None:
    """No centre from before the rollout, or no value of one arm, is NO_DATA with its reason."""
    unknown = judged(PAID, values(4_000, 0.1, 0.5, None))
    assert (unknown.outcome, unknown.n) == (Outcome.NO_DATA, 4_000)
    assert unknown.reason == "no value of the champion is known from before the rollout"
    for got, arm in ((0.0, "candidate"), (1.0, "champion")):
        empty = judged(PAID, values(4_000, 0.1, 0.5, got=got))
        assert (empty.outcome, empty.reason) == (Outcome.NO_DATA, f"no request of the {arm} has a value yet")


@pytest.mark.parametrize(
    ("gate", "evidence"),
    [
        (PAID, values(400, 0.5, 0.5)),
        (WAIT, values(400, 0.5, 0.5)),
        (TAIL, speeds(400, 1.0)),
        (ERRORS, arms(400, 0.02, 0.02)),
    ],
)
def test_undecided_gate_says_how_much_more_it_needs(gate: Gate, evidence: Evidence) -> None:
    """What an equal candidate takes is said as an interval, in time too where traffic is planned; its end decides."""
    bare, planned = (judged(gate, evidence, DecisionThresholds(per_minute=rate)) for rate in (0.0, 60.0))
    assert bare.outcome is Outcome.INCONCLUSIVE
    assert bare.reason.endswith("in 8 of 10 cases (400 until now)")
    assert planned.reason.startswith(bare.reason)
    assert planned.reason.endswith("of planned traffic")
    wanted = int(bare.reason.rpartition(" requests in 8")[0].rpartition(" ")[2].replace(",", ""))
    made: dict[str, Callable[[int], Evidence]] = {
        PAID.name: lambda n: values(n, 0.5, 0.5),
        TAIL.name: lambda n: speeds(n, 1.0),
    }
    more = made.get(gate.name, lambda n: arms(n, 0.02, 0.02))
    assert judged(gate, more(2 * (400 + wanted))).outcome is Outcome.PASS


def test_worst_of_several_quantiles_is_named() -> None:
    """A candidate that is slow in its tail alone fails on the quantile that shows it, beside the others' figures."""
    verdict = judged(TAIL, speeds(20_000, 1.0, tail=3.0))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason.startswith("p99 is ")
    assert verdict.unit == "ms"
    for quantile, at_least, at_most in (("p50", 0.95, 1.05), ("p90", 0.95, 1.1), ("p99", 2.0, 3.0)):
        ratio = figure(verdict, f"candidate {quantile}") / figure(verdict, f"champion {quantile}")
        assert at_least <= ratio <= at_most
    assert judged(changed(TAIL, quantiles=(0.5, 0.9)), speeds(20_000, 1.0, tail=3.0)).outcome is Outcome.PASS


def test_every_quantile_must_pass() -> None:
    """Where the median is proved to be safe and the tail is not yet, the gate waits, and speaks of the tail."""
    evidence = speeds(800, 1.0)
    assert [judged(changed(TAIL, quantiles=(q,)), evidence).outcome for q in (0.5, 0.99)] == [
        Outcome.PASS,
        Outcome.INCONCLUSIVE,
    ]
    verdict = judged(TAIL, evidence)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reason.startswith("not decided: p99 is ")


def test_resource_is_said_in_its_unit() -> None:
    """A resource is judged as a latency is, and said in its own unit."""
    gate = make_gate("energy", Metric.RESOURCE, margin=0.2, column="joules")
    for slower, outcome in ((2.0, Outcome.FAIL), (1.0, Outcome.PASS)):
        verdict = judged(gate, speeds(20_000, slower, unit="joules"))
        assert (verdict.outcome, verdict.unit, verdict.metric) == (outcome, "joules", "resource")
        assert verdict.reason.count("joules") >= 4
        assert " ms" not in verdict.reason


@pytest.mark.parametrize(
    ("gate", "evidence", "culprit"),
    [
        (changed(ERRORS, by=("origin",)), SlicedCounts({"origin=LGA": arms(2_000, 0.3, 0.02)}, 10), "origin=LGA"),
        (
            make_gate("memory", Metric.GAUGE, margin=0.2, column="rss_mb"),
            GaugeComparisons(20, 0, 150.0, 100.0, 10),
            "",
        ),
    ],
)
def test_proven_harm_does_not_wait_for_the_steps_requests(gate: Gate, evidence: Evidence, culprit: str) -> None:
    """A slice or a gauge that surely fails does so at once, however many requests the step still demands."""
    verdict = judged(gate, evidence, DecisionThresholds(min_requests=10**6))
    assert (verdict.outcome, verdict.culprit) == (Outcome.FAIL, culprit)


def test_a_short_past_calls_no_baseline_unhealthy() -> None:
    """Three requests without a failure before the rollout say nothing about a champion that fails on one in twenty."""
    both = (BadEventStratum(0.5, 50, 950, 50, 950),)
    outcomes = [
        judge(ERRORS, BadEventCounts(both, 0.0, "request", 10_000, history), DecisionThresholds()).outcome
        for history in (3, 100_000)
    ]
    assert outcomes == [Outcome.INCONCLUSIVE, Outcome.BASELINE_UNHEALTHY]
