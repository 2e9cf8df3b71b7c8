"""What verdicts say, read as an operator reads them at night."""

import re
from dataclasses import replace

import pytest

from surefoot.core.domain import FigureKind, Outcome
from surefoot.core.judging.evidence import BadEventCounts, DistributionShift, Evidence, FeatureShift, PairedSums
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Gate, Metric
from surefoot.core.verdicts.pass_forecast import forecast_pass
from surefoot.core.verdicts.quantities import as_percent, percentage_points
from surefoot.core.verdicts.sentence_parts import format_value
from tests.gates import changed, make_gate
from tests.unit.test_gates import BOTH, BUDGET, ERRORS, LATENCY, PAID, TAIL, WAIT, arms, speeds, values
from tests.unit.test_judge import CASES
from tests.unit.test_paired_binary import RIGHT, sums

SMALL = DecisionThresholds(allowance=5.0, weight=5.0)
RELATIVE = changed(ERRORS, margin=0.5, relative=True)
SAID: tuple[tuple[Gate, Evidence, DecisionThresholds], ...] = (
    *((gate, evidence, level) for gate, evidence, level in CASES.values()),
    *(
        (gate, arms(n, bad, old), level)
        for gate in (ERRORS, RELATIVE, BUDGET, BOTH)
        for n in (40, 400, 40_000)
        for bad, old in ((0.0, 0.0), (0.02, 0.02), (0.3, 0.02), (0.02, 0.3), (1.0, 1.0))
        for level in (DecisionThresholds(), SMALL, DecisionThresholds(forever=True, lasts=86400.0))
    ),
    *(
        (gate, speeds(n, slower), level)
        for gate in (LATENCY, TAIL)
        for n in (40, 400, 20_000)
        for slower in (0.5, 1.0, 3.0)
        for level in (DecisionThresholds(), SMALL)
    ),
    *((gate, values(n, mean, 0.5), SMALL) for gate in (PAID, WAIT) for n in (40, 40_000) for mean in (0.3, 0.5, 0.7)),
    *((RIGHT, sums(n, n // 20, n // 20, n // 25), DecisionThresholds()) for n in (300, 20_000)),
)


def test_no_sentence_counts_in_shares_of_a_margin() -> None:
    """No verdict speaks of percent of the accepted degradation, of stretches, or of how many more are needed."""
    for gate, evidence, level in SAID:
        reason = judge(gate, evidence, level).reason
        assert not re.search(r"degradation|burns|stretch \d|more \w+s (are needed|would tell)|\binf\b", reason), reason
        assert not re.search(r"\d{3,}(\.\d+)? %", reason.replace("100 %", "")), reason


def test_no_interval_of_rates_leaves_what_rates_can_be() -> None:
    """An interval in points lies between -100 and +100, has its ends in order, and holds the difference itself."""
    for gate, evidence, level in SAID:
        if not isinstance(evidence, BadEventCounts):
            continue
        reason = judge(gate, evidence, level).reason
        found = re.search(r"([+-]?[\d.]+) points? \(between ([+-]?[\d.]+) and ([+-]?[\d.]+) points\)", reason)
        if found:
            apart, low, high = map(float, found.groups())
            assert -100.0 <= low <= apart <= high <= 100.0, reason


def test_a_small_weight_says_which_multiple_of_the_margin_passes() -> None:
    """At weight 5 a pass names the difference that is accepted there and that it is five times the margin."""
    for gate, evidence, words in (
        (ERRORS, arms(40_000, 0.02, 0.02), "at weight 5 up to +5 points is accepted (5 times the margin)"),
        (RELATIVE, arms(40_000, 0.02, 0.02), "at weight 5 up to 3.5 times the champion's rate is accepted (5 times"),
        (LATENCY, speeds(20_000, 1.0), " ms is accepted (5 times the margin)"),
        (PAID, values(40_000, 0.5, 0.5), "at weight 5 up to 50 less is accepted (5 times the margin)"),
    ):
        verdict = judge(gate, evidence, SMALL)
        assert verdict.outcome is Outcome.PASS
        assert words in verdict.reason
    assert "times the margin" not in judge(ERRORS, arms(40_000, 0.02, 0.02), DecisionThresholds(weight=50.0)).reason


def test_a_latency_says_its_difference_and_interval_in_milliseconds() -> None:
    """The difference of a quantile and its interval are milliseconds; the interval holds the difference."""
    for slower in (0.8, 1.0, 1.1):
        reason = judge(LATENCY, speeds(20_000, slower), DecisionThresholds()).reason
        found = re.search(r"champion: ([+-][\d.]+) ms \(between ([+-][\d.]+) and ([+-][\d.]+) ms\)", reason)
        assert found, reason
        apart, low, high = map(float, found.groups())
        assert low <= apart <= high
        assert high - low < 25.0


def test_a_fast_answer_is_not_rounded_to_nothing() -> None:
    """Measurements of a thousandth of their unit are told with digits that count."""
    fast = speeds(20_000, 1.0)
    shift = 698  # a millionth of the time: 1.02 ** 698
    small = replace(
        fast,
        baseline=tuple((k - shift, n) for k, n in fast.baseline),
        strata=tuple(
            replace(
                s,
                candidate=tuple((k - shift, n) for k, n in s.candidate),
                champion=tuple((k - shift, n) for k, n in s.champion),
            )
            for s in fast.strata
        ),
    )
    verdict = judge(LATENCY, small, DecisionThresholds())
    assert verdict.outcome is Outcome.PASS
    assert re.match(r"p90 is 0\.0000\d*[1-9]\d* ms on the candidate, 0\.0000\d*[1-9]", verdict.reason), verdict.reason


def test_a_value_says_its_difference_and_interval_in_its_own_unit() -> None:
    """A value's interval is on both sides of its difference, be the candidate better or worse."""
    for gate in (PAID, WAIT):
        for mean in (0.45, 0.5, 0.7):
            reason = judge(gate, values(40_000, mean, 0.5), DecisionThresholds()).reason
            found = re.search(r"champion: ([+-][\d.]+) \(between ([+-][\d.]+) and ([+-][\d.]+)\)", reason)
            if "at least" not in reason and "at most" not in reason:  # a proved failure says its limit instead
                assert found, reason
                apart, low, high = map(float, found.groups())
                assert low <= apart <= high


@pytest.mark.parametrize(
    ("value", "near", "said"),
    [
        (0.19, 0.0, "0.1900"),
        (0.0, 0.0, "0.0000"),
        (1.2e-7, 0.0, "1.2e-07"),
        (12345.678, 0.0, "12,345.7"),
        (3.0, 5e3, "3.0"),
    ],
)
def test_a_loss_of_any_size_shows_digits_that_count(value: float, near: float, said: str) -> None:
    """Losses of a millionth and of thousands are both readable; the sentence keeps one number of decimals."""
    assert format_value(value, near) == said


def test_rare_events_are_not_rounded_away() -> None:
    """A rate of 12 in a million is not shown as nothing."""
    assert (as_percent(0.000012), percentage_points(0.000012), as_percent(0.02), percentage_points(-0.02)) == (
        "0.0012 %",
        "+0.0012",
        "2 %",
        "-2",
    )


def test_a_forecast_is_an_interval_that_does_not_move_with_the_estimate() -> None:
    """What an equal candidate takes is the same forecast whatever this one happened to show, with both its ends."""
    said = [
        judge(ERRORS, arms(1_000, bad, 0.02), DecisionThresholds(per_minute=60.0)).reason.partition(
            "; a candidate equal"
        )[2]
        for bad in (0.018, 0.02, 0.022)
    ]
    assert said[0]
    assert len(set(said)) == 1
    assert re.search(r"passes after [\d,]+ to [\d,]+ requests in 8 of 10 cases \(1,000 until now\), \d+ ", said[0])
    assert forecast_pass(0.0, 0.05, 10, "request") is None


def test_a_forecast_is_a_number_as_well() -> None:
    """What a sentence says of an equal candidate stands in the verdict's figures; a gate that has passed has none."""
    told = 0
    for gate, evidence, level in SAID:
        verdict = judge(gate, evidence, level)
        found = re.search(
            r"passes after ([\d,]+) to ([\d,]+) (\w+)s in 8 of 10 cases \(([\d,]+) until now\)", verdict.reason
        )
        figures = {one.kind: one for one in verdict.figures}
        if found is None:
            continue
        told += 1
        low, high, seen = (
            figures[kind]
            for kind in (FigureKind.EQUAL_PASSES_FROM, FigureKind.EQUAL_PASSES_BY, FigureKind.EQUAL_PASSES_SEEN)
        )
        assert float(found[1].replace(",", "")) == pytest.approx(low.value, rel=0.06)
        assert float(found[2].replace(",", "")) == pytest.approx(high.value, rel=0.06)
        assert (low.unit, f"{seen.value:,.0f}") == (found[3], found[4])
    assert told > 10
    passed = judge(RIGHT, sums(20_000, 1000, 1000, 800), DecisionThresholds())
    assert passed.outcome is Outcome.PASS
    assert FigureKind.EQUAL_PASSES_BY not in {one.kind for one in passed.figures}


def test_a_loss_says_no_forecast_of_its_own_difference() -> None:
    """An undecided loss says its interval and no number of blocks, which would change with every block."""
    verdict = judge(*CASES["quality", Outcome.INCONCLUSIVE])
    assert verdict.reason.startswith("not decided: brier goes from")
    assert "more" not in verdict.reason


def test_a_margin_of_nothing_says_what_passes() -> None:
    """With a margin of 0 a loss must surely be lower, and the sentence says so."""
    gate, evidence, level = CASES["quality", Outcome.FAIL]
    assert isinstance(evidence, PairedSums)
    assert "; it must surely be lower)" in judge(changed(gate, margin=0.0), evidence, level).reason


def test_a_shift_says_its_scale_and_interval() -> None:
    """A distance is said with its scale, its interval and its limit."""
    gate = make_gate("inputs", Metric.INPUT_SHIFT, limit=0.2)
    found = DistributionShift("the window before", (FeatureShift("x", 0.1, 5_000, 5_000),))
    reason = judge(gate, found, DecisionThresholds()).reason
    assert re.search(
        r"on a scale from 0 \(alike\) to 1 \(between 0\.0\d+ and 0\.1\d+; at most 0\.2 is accepted\)", reason
    )
