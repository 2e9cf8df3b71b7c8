"""Every gate gives each of its outcomes for the reason it says, and no other."""

import math
import re
from dataclasses import replace

import pytest

from surefoot.core.domain import Outcome, Role, Stage, Verdict
from surefoot.core.journal.chain import canonical_bytes
from surefoot.core.journal.events import GateJudged, encode_event
from surefoot.core.judging.data_validation import FailedExpectation, ValidationResult
from surefoot.core.judging.evidence import (
    MILLIONTHS_PER_UNIT,
    BadEventCounts,
    BadEventStratum,
    DistributionShift,
    Evidence,
    FeatureShift,
    MeasurementCounts,
    MeasurementStratum,
    MissingEvidence,
    PairedBlock,
    PairedSums,
)
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds, choose_margin_multiple
from surefoot.core.policy.policy_types import Gate, Metric
from surefoot.core.stats.histogram import bucket_of
from surefoot.core.verdicts.quantities import percentage_points
from tests.gates import changed, make_gate

ERRORS = make_gate("errors", Metric.ERROR_RATE, margin=0.01)
RATIO = make_gate("errors", Metric.ERROR_RATE, margin=0.5, relative=True)
LATENCY = make_gate("latency", Metric.LATENCY, margin=0.2, quantiles=(0.9,))
QUALITY = make_gate("quality", Metric.BRIER, margin=0.01, coverage=0.9)
SLICES = make_gate("slices", Metric.BRIER, margin=0.01, by=("origin",), min_per_slice=300)
SHIFT = make_gate("inputs", Metric.INPUT_SHIFT, limit=0.2)
DATA = make_gate("data", Metric.VALIDATION)


def counts(share: float, n: int, bad: float, champion_bad: float, **fields: object) -> BadEventCounts:
    """Arms that served n requests and failed at these rates."""
    new, old = round(n * share), n - round(n * share)
    mine, theirs = round(new * bad), round(old * champion_bad)
    return BadEventCounts((BadEventStratum(share, mine, new - mine, theirs, old - theirs),), champion_bad, **fields)  # type: ignore[arg-type]


def spread(n: int, scale: float) -> tuple[tuple[int, int], ...]:
    """A histogram of n latencies, evenly from 10 to 110 ms times a scale."""
    cells: dict[int, int] = {}
    for index in range(n):
        key = bucket_of((10.0 + 100.0 * (index + 0.5) / n) * scale)
        cells[key] = cells.get(key, 0) + 1
    return tuple(sorted(cells.items()))


def slow(share: float, n: int, ratio: float) -> MeasurementCounts:
    """Arms of n requests of which the candidate takes so many times as long."""
    new = round(n * share)
    return MeasurementCounts(
        (MeasurementStratum(share, spread(new, ratio), spread(n - new, 1.0)),), spread(5_000, 1.0), recent=n
    )


def paired(gap: float, *, days: int = 20, each: int = 500, noise: float = 0.002, slices: object = None) -> PairedSums:
    """Days on which the candidate loses `gap` more, give or take a little every other day."""
    made = tuple(
        PairedBlock(
            f"day{d}",
            each,
            (round(0.2 * each * MILLIONTHS_PER_UNIT),),
            (round((0.2 + gap + (noise if d % 2 else -noise)) * each * MILLIONTHS_PER_UNIT),),
        )
        for d in range(days)
    )
    n = days * each
    return PairedSums({"": made, **(slices or {})}, n, n)  # type: ignore[dict-item]


def shift(*distances: float, n: int = 20_000, **fields: int) -> DistributionShift:
    """Features that moved by so much."""
    return DistributionShift(
        "the window before", tuple(FeatureShift(f"f{i}", d, n, n, **fields) for i, d in enumerate(distances))
    )


BROKEN = FailedExpectation("expect_column_values_to_not_be_null", "origin", "3 of 100 values are null", ({"row": 1},))
CASES: dict[tuple[str, Outcome], tuple[Gate, Evidence, DecisionThresholds]] = {
    ("errors", Outcome.PASS): (ERRORS, counts(0.5, 20_000, 0.02, 0.02), DecisionThresholds()),
    ("errors", Outcome.FAIL): (ERRORS, counts(0.5, 2_000, 0.1, 0.02), DecisionThresholds()),
    ("errors", Outcome.INCONCLUSIVE): (ERRORS, counts(0.5, 2_000, 0.02, 0.02), DecisionThresholds()),
    ("errors", Outcome.NO_DATA): (
        ERRORS,
        BadEventCounts((BadEventStratum(0.5, 0, 0, 3, 97),), 0.02),
        DecisionThresholds(),
    ),
    ("errors", Outcome.STALE): (ERRORS, MissingEvidence(Outcome.STALE, "the log ends 2 h ago"), DecisionThresholds()),
    ("errors", Outcome.ERROR): (ERRORS, counts(0.5, 2_000, 0.02, 0.02, recent=-1), DecisionThresholds()),
    ("ratio", Outcome.PASS): (RATIO, counts(0.5, 100_000, 0.02, 0.02), DecisionThresholds()),
    ("ratio", Outcome.FAIL): (RATIO, counts(0.5, 20_000, 0.04, 0.02), DecisionThresholds()),
    ("ratio", Outcome.INCONCLUSIVE): (RATIO, counts(0.5, 1_000, 0.02, 0.02), DecisionThresholds()),
    ("latency", Outcome.PASS): (LATENCY, slow(0.5, 20_000, 1.0), DecisionThresholds()),
    ("latency", Outcome.FAIL): (LATENCY, slow(0.5, 5_000, 1.5), DecisionThresholds()),
    ("latency", Outcome.INCONCLUSIVE): (LATENCY, slow(0.5, 40, 1.0), DecisionThresholds()),
    ("latency", Outcome.NO_DATA): (LATENCY, MeasurementCounts((), ((232, 1000),)), DecisionThresholds()),
    ("latency", Outcome.STALE): (LATENCY, MissingEvidence(Outcome.STALE, "the log ends 2 h ago"), DecisionThresholds()),
    ("latency", Outcome.ERROR): (LATENCY, replace(slow(0.5, 200, 1.0), recent=-1), DecisionThresholds()),
    ("quality", Outcome.PASS): (QUALITY, paired(0.0), DecisionThresholds()),
    ("quality", Outcome.FAIL): (QUALITY, paired(0.05), DecisionThresholds()),
    ("quality", Outcome.INCONCLUSIVE): (QUALITY, paired(0.009, noise=0.05), DecisionThresholds()),
    ("quality", Outcome.NO_DATA): (QUALITY, paired(0.0, days=4), DecisionThresholds()),
    ("quality", Outcome.STALE): (QUALITY, MissingEvidence(Outcome.STALE, "labels end 2 d ago"), DecisionThresholds()),
    ("quality", Outcome.ERROR): (QUALITY, replace(paired(0.0), labelled=-1), DecisionThresholds()),
    ("inputs", Outcome.PASS): (SHIFT, shift(0.05, 0.1), DecisionThresholds()),
    ("inputs", Outcome.FAIL): (SHIFT, shift(0.05, 0.4), DecisionThresholds()),
    ("inputs", Outcome.INCONCLUSIVE): (SHIFT, shift(0.05, 0.19), DecisionThresholds()),
    ("inputs", Outcome.NO_DATA): (SHIFT, DistributionShift("the window before", ()), DecisionThresholds()),
    ("inputs", Outcome.STALE): (SHIFT, MissingEvidence(Outcome.STALE, "the log ends 2 h ago"), DecisionThresholds()),
    ("inputs", Outcome.ERROR): (SHIFT, shift(0.05, math.nan), DecisionThresholds()),
    ("data", Outcome.PASS): (DATA, ValidationResult("m", 100, 3, ()), DecisionThresholds()),
    ("data", Outcome.FAIL): (DATA, ValidationResult("m", 100, 3, (BROKEN,)), DecisionThresholds()),
    ("data", Outcome.INCONCLUSIVE): (
        DATA,
        MissingEvidence(Outcome.INCONCLUSIVE, "only half was read"),
        DecisionThresholds(),
    ),
    ("data", Outcome.NO_DATA): (DATA, MissingEvidence(Outcome.NO_DATA, "no request was logged"), DecisionThresholds()),
    ("data", Outcome.STALE): (DATA, MissingEvidence(Outcome.STALE, "the log ends 2 h ago"), DecisionThresholds()),
    ("data", Outcome.ERROR): (DATA, ValidationResult("m", 0, 3, ()), DecisionThresholds()),
}


@pytest.mark.parametrize(("gate", "outcome"), CASES)
def test_each_outcome_of_each_metric(gate: str, outcome: Outcome) -> None:
    """Each of the six outcomes is reached, keeps its role, and can be journalled."""
    given, evidence, level = CASES[gate, outcome]
    verdict = judge(changed(given, role=Role.SIGNAL), evidence, level)
    assert verdict.outcome is outcome, verdict.reason
    assert (verdict.gate, verdict.metric, verdict.role) == (given.name, given.metric.value, Role.SIGNAL)
    canonical_bytes(encode_event(GateJudged("r", Stage.RAMPING, 0, 1, verdict))[1])


def test_error_reason_holds_the_rates() -> None:
    """A failed error gate says both rates, the trials and the limit."""
    verdict = judge(ERRORS, counts(0.5, 2_000, 0.1, 0.02, trial="unit"), DecisionThresholds())
    assert verdict.reason == (
        "10 % of the candidate's 1,000 units fail, against 2 % of the champion's: +8 points (between +4.47 and"
        " +11.23 points); up to +1 point is accepted"
    )
    assert verdict.estimate == pytest.approx(0.08)
    assert verdict.margin == pytest.approx(0.01)


def test_latency_reason_holds_the_quantiles() -> None:
    """A failed latency gate says both quantiles and the limit."""
    verdict = judge(*CASES["latency", Outcome.FAIL])
    words = (
        r"p90 is 1(49|50|51).\d ms on the candidate, (99|100).\d ms on the champion: \+5\d.\d ms; at"
        r" most 1(19|20).\d ms is accepted"
    )
    assert re.fullmatch(words, verdict.reason)


def test_loss_reason_holds_the_losses() -> None:
    """A failed loss gate says both losses, the interval, the margin, the requests and the days."""
    verdict = judge(*CASES["quality", Outcome.FAIL])
    words = r"brier goes from 0.2000 to 0.2500 \(\+0.0500, between \+0.04\d\d and \+0.05\d\d; \+0.0100 is accepted\)"
    assert re.fullmatch(words + " over 10,000 requests on 20 days", verdict.reason)


def test_shift_reason_holds_the_distance_and_the_others() -> None:
    """A failed shift names the worst feature, how far it moved, and the others that moved."""
    verdict = judge(SHIFT, shift(0.3, 0.5, 0.1), DecisionThresholds())
    assert verdict.reason.startswith("f1 has moved by 0.500 against the window before, on a scale from 0")
    assert verdict.reason.endswith("so have f0")
    assert verdict.culprit == "f1"


def test_data_reason_counts_the_expectations() -> None:
    """A failed suite names its expectations and the column to blame, with rows to look at."""
    verdict = judge(DATA, ValidationResult("m", 100, 3, (BROKEN,)), DecisionThresholds())
    assert verdict.reason == "1 of 3 expectations do not hold: expect_column_values_to_not_be_null(origin)"
    assert verdict.culprit == "origin"
    assert verdict.details[0]["samples"] == [{"row": 1}]


def test_samples_that_are_no_json_are_shown_as_text() -> None:
    """A failed row that holds NaN is shown all the same, and the verdict can be journalled."""
    odd = replace(BROKEN, samples=(math.nan, {"row": 10**400}, "\ud800"))
    verdict = judge(DATA, ValidationResult("m", 100, 3, (odd,)), DecisionThresholds())
    assert verdict.outcome is Outcome.FAIL
    canonical_bytes(encode_event(GateJudged("r", Stage.VALIDATING, 0, 1, verdict))[1])


@pytest.mark.parametrize("validation", [ValidationResult("m", 0, 3, ()), ValidationResult("m", 100, 0, ())])
def test_suite_that_judged_nothing_has_not_passed(validation: ValidationResult) -> None:
    """An empty table or an empty suite is an ERROR."""
    assert judge(DATA, validation, DecisionThresholds()).outcome is Outcome.ERROR


def test_warnings_of_a_suite_do_not_block() -> None:
    """An expectation of lesser severity is shown and passes."""
    verdict = judge(DATA, ValidationResult("m", 100, 3, (), (BROKEN,)), DecisionThresholds())
    assert verdict.outcome is Outcome.PASS
    assert verdict.details[0]["column"] == "origin"


@pytest.mark.parametrize(("share", "trials"), [(0.01, 12), (0.05, 15), (0.5, 30)])
def test_candidate_that_often_fails_is_caught_at_once(share: float, trials: int) -> None:
    """Forty percent failures are proved within a handful of the candidate's trials, at any weight."""
    evidence = counts(share, round(trials / share), 0.4, 0.01)
    assert judge(ERRORS, evidence, DecisionThresholds(alpha=0.005)).outcome is Outcome.FAIL


def test_candidate_whose_champion_never_fails_is_caught() -> None:
    """A champion without a single error is not a licence to fail."""
    evidence = BadEventCounts((BadEventStratum(0.05, 8, 12, 0, 380),), 0.0)
    assert judge(ERRORS, evidence, DecisionThresholds()).outcome is Outcome.FAIL


def test_arms_without_errors_pass_when_there_is_enough() -> None:
    """Two arms that never fail pass, but not after a handful of requests."""
    assert judge(ERRORS, counts(0.5, 2_000, 0.0, 0.0), DecisionThresholds()).outcome is Outcome.PASS
    assert judge(ERRORS, counts(0.5, 40, 0.0, 0.0), DecisionThresholds()).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("margin", [0.001, 0.01, 0.05, 0.2, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("weight", [1.0, 5.0, 25.0, 50.0])
def test_any_margin_at_any_weight_can_be_judged(margin: float, weight: float) -> None:
    """Wide margins at small weights reach beyond every probability and still give an answer."""
    level = DecisionThresholds(allowance=choose_margin_multiple(weight))
    for relative in (False, True):
        gate = changed(ERRORS, margin=margin, relative=relative)
        for bad in (0.0, 0.02, 0.5, 1.0):
            verdict = judge(gate, counts(weight / 100.0, 100_000, bad, 0.02), level)
            assert verdict.outcome is not Outcome.ERROR, verdict.reason


def test_shown_interval_is_that_of_the_verdict() -> None:
    """A pass says the difference, its interval and what is accepted in points, as the verdict's numbers do."""
    verdict = judge(ERRORS, counts(0.5, 40_000, 0.02, 0.02), DecisionThresholds())
    assert verdict.outcome is Outcome.PASS
    assert verdict.lower is not None
    assert verdict.upper is not None
    assert verdict.lower < 0.0 < verdict.upper < 0.01
    low, high = map(percentage_points, (verdict.lower, verdict.upper))
    assert verdict.reason.endswith(f"0 points (between {low} and {high} points); up to +1 point is accepted")


@pytest.mark.parametrize("gate", ["errors", "latency", "quality"])
def test_too_few_requests_block_a_pass(gate: str) -> None:
    """With fewer requests than the step demands, the reason says how many are there."""
    given, evidence, level = CASES[gate, Outcome.PASS]
    verdict = judge(given, evidence, replace(level, min_requests=50_000))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "50,000" in verdict.reason


@pytest.mark.parametrize("gate", ["errors", "latency"])
def test_too_few_requests_do_not_block_a_fail(gate: str) -> None:
    """Proven harm need not wait for the step's requests."""
    given, evidence, level = CASES[gate, Outcome.FAIL]
    assert judge(given, evidence, replace(level, min_requests=10**9)).outcome is Outcome.FAIL


def test_harm_within_the_margin_is_no_failure() -> None:
    """A candidate that is surely worse, but by less than the owner accepts, is not turned away."""
    verdict = judge(ERRORS, counts(0.5, 1_000_000, 0.025, 0.02), DecisionThresholds())
    assert verdict.outcome is Outcome.PASS


def test_small_weights_prove_less() -> None:
    """At one percent the margin is excluded fifteen times over; at fifty as it stands."""
    assert [choose_margin_multiple(w) for w in (0.5, 1, 2, 5, 10, 25, 26, 50, 99)] == [15, 15, 5, 5, 2, 2, 1, 1, 1]
    evidence = counts(0.01, 20_000, 0.02, 0.02)
    assert judge(ERRORS, evidence, DecisionThresholds(allowance=15.0)).outcome is Outcome.PASS
    assert judge(ERRORS, evidence, DecisionThresholds()).outcome is Outcome.INCONCLUSIVE


def test_candidate_alone_is_judged_against_the_baseline_and_its_margin() -> None:
    """After promotion a rise within the margin is no harm; one beyond it is."""
    alone = BadEventCounts((BadEventStratum(1.0, 25, 975, 0, 0),), 0.02)
    assert judge(ERRORS, alone, DecisionThresholds()).outcome is Outcome.INCONCLUSIVE
    assert (
        judge(ERRORS, replace(alone, strata=(BadEventStratum(1.0, 80, 920, 0, 0),)), DecisionThresholds()).outcome
        is Outcome.FAIL
    )
    assert (
        judge(ERRORS, replace(alone, strata=(BadEventStratum(1.0, 1000, 49_000, 0, 0),)), DecisionThresholds()).outcome
        is Outcome.PASS
    )


def test_candidate_alone_without_a_baseline_is_not_judged() -> None:
    """Nobody knows what to compare with, so it neither passes nor fails."""
    for bad in (0, 500):
        alone = BadEventCounts((BadEventStratum(1.0, bad, 10_000 - bad, 0, 0),), None)
        assert judge(ERRORS, alone, DecisionThresholds()).outcome is Outcome.NO_DATA


def test_unanswered_replays_fail() -> None:
    """A candidate that leaves more than one percent of a replay unanswered fails, whatever the rest looks like."""
    evidence = replace(paired(-0.1), unscored=100)
    assert judge(QUALITY, evidence, DecisionThresholds()).outcome is Outcome.PASS
    verdict = judge(QUALITY, replace(evidence, unscored=101), DecisionThresholds(min_requests=10**9))
    assert verdict.outcome is Outcome.FAIL
    assert "101 of 10,000 replayed requests" in verdict.reason


def test_missing_labels_are_not_judged_around() -> None:
    """Coverage below what is demanded is INCONCLUSIVE, even when the labels at hand look terrible."""
    evidence = replace(paired(0.3), labelled=8_999)
    verdict = judge(QUALITY, evidence, DecisionThresholds())
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "89.99 % of 10,000 mature requests have a label; 90 % is demanded" in verdict.reason
    assert judge(QUALITY, replace(evidence, labelled=9_000), DecisionThresholds()).outcome is Outcome.FAIL


@pytest.mark.parametrize("slices", [{}, {"": ()}])
def test_no_labels_at_all(slices: dict[str, tuple[PairedBlock, ...]]) -> None:
    """Without one label a gate that demands no coverage has no data; it does not break."""
    evidence = PairedSums(slices, 1000, 0)
    assert judge(changed(QUALITY, coverage=0.0), evidence, DecisionThresholds()).outcome is Outcome.NO_DATA
    assert judge(QUALITY, PairedSums({}, 0, 0), DecisionThresholds()).outcome is Outcome.NO_DATA


def blocks(gap: float, *, days: int = 20, each: int = 50) -> tuple[PairedBlock, ...]:
    """Days of one slice."""
    return paired(gap, days=days, each=each).slices[""]


def test_bad_slice_is_the_culprit() -> None:
    """One slice that got worse fails the gate though the whole got better, and is named."""
    slices = {"origin=JFK": blocks(0.0), "origin=LGA": blocks(0.08), "origin=EWR": blocks(-0.05)}
    verdict = judge(SLICES, paired(-0.02, slices=slices), DecisionThresholds())
    assert verdict.outcome is Outcome.FAIL
    assert verdict.culprit == "origin=LGA"
    assert "brier on origin=LGA goes from 0.2000 to 0.2800" in verdict.reason
    assert {row["slice"] for row in verdict.details} == set(slices)


def test_whole_is_no_slice() -> None:
    """A gate by slices does not judge all requests together."""
    verdict = judge(SLICES, paired(0.5, slices={"origin=JFK": blocks(0.0)}), DecisionThresholds())
    assert verdict.outcome is Outcome.PASS


def test_small_slices_are_counted_in_the_reason() -> None:
    """A slice with too little data never passes silently."""
    slices = {"origin=JFK": blocks(0.0), "origin=LGA": blocks(0.5, each=1), "origin=EWR": blocks(0.5, days=4, each=99)}
    verdict = judge(SLICES, paired(0.0, slices=slices), DecisionThresholds())
    assert verdict.outcome is Outcome.PASS
    assert verdict.reason.endswith("2 slices have too little data to be judged")


def test_nothing_but_small_slices_is_no_data() -> None:
    """When no slice can be judged, the gate has no data."""
    slices = {"origin=JFK": blocks(0.5, each=1), "origin=LGA": blocks(0.0, days=4, each=200)}
    assert judge(SLICES, paired(0.0, slices=slices), DecisionThresholds()).outcome is Outcome.NO_DATA
    assert judge(SLICES, paired(0.0), DecisionThresholds()).outcome is Outcome.NO_DATA


def test_worst_slice_decides() -> None:
    """One undecided slice keeps the gate undecided, though the others pass."""
    slices = {"origin=JFK": blocks(0.0), "origin=LGA": paired(0.0, noise=0.3, each=50).slices[""]}
    verdict = judge(SLICES, paired(0.0, slices=slices), DecisionThresholds())
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "on origin=LGA" in verdict.reason


def test_later_looks_demand_more() -> None:
    """The interval of a tenth look is wider than that of the first; its level was shared."""
    first, tenth = (judge(QUALITY, paired(0.0), DecisionThresholds(look=look, late=look)) for look in (1, 10))
    assert first.lower is not None
    assert tenth.lower is not None
    assert first.upper is not None
    assert tenth.upper is not None
    assert tenth.lower < first.lower < first.upper < tenth.upper


def test_relative_margin_of_a_loss_is_a_share_of_the_champions() -> None:
    """Ten percent of a loss of 0.2 is 0.02."""
    verdict = judge(changed(QUALITY, margin=0.1, relative=True), paired(0.0), DecisionThresholds())
    assert verdict.margin == pytest.approx(0.02)


def test_identical_answers_pass_without_a_margin() -> None:
    """Zero difference on every day is within a margin of zero; any sure difference is not."""
    strict = changed(QUALITY, margin=0.0)
    assert judge(strict, paired(0.0, noise=0.0), DecisionThresholds()).outcome is Outcome.PASS
    assert judge(strict, paired(0.001, noise=0.0), DecisionThresholds()).outcome is Outcome.FAIL


def test_feature_that_cannot_be_compared_has_not_passed() -> None:
    """One feature without rows keeps the gate from passing, and is named."""
    evidence = DistributionShift("before", (FeatureShift("a", 0.0, 20_000, 20_000), FeatureShift("b", 0.0, 0, 20_000)))
    verdict = judge(SHIFT, evidence, DecisionThresholds())
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "nothing to compare b with" in verdict.reason


def test_feature_with_few_rows_is_not_hidden_by_a_sure_one() -> None:
    """A feature that may have moved keeps the gate undecided behind one that surely has not."""
    evidence = DistributionShift("before", (FeatureShift("a", 0.1, 10**6, 10**6), FeatureShift("b", 0.1, 100, 100)))
    assert judge(SHIFT, evidence, DecisionThresholds()).outcome is Outcome.INCONCLUSIVE


def test_many_categories_differ_by_chance() -> None:
    """Two samples of two thousand rows over a thousand equal categories are far apart, and that is no shift."""
    by_chance = 0.28  # mean total variation distance of two such samples
    assert judge(SHIFT, shift(by_chance, n=2000, categories=1000), DecisionThresholds()).outcome is not Outcome.FAIL
    assert judge(SHIFT, shift(by_chance, n=2000), DecisionThresholds()).outcome is Outcome.FAIL
    assert judge(SHIFT, shift(0.9, n=2000, categories=3), DecisionThresholds()).outcome is Outcome.FAIL


def test_same_evidence_same_verdict() -> None:
    """A verdict is a pure function of its evidence."""
    found: list[Verdict] = [judge(*case) for case in CASES.values()]
    assert found == [judge(*case) for case in CASES.values()]
