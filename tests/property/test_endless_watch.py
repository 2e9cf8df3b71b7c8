"""A watch without an end: false alarms are limited in number a time, and a good past hides no bad present."""

from dataclasses import replace

import numpy as np
import pytest

from surefoot.core.domain import Outcome
from surefoot.core.judging.evidence import MILLIONTHS_PER_UNIT, PairedBlock, PairedSums
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Metric
from tests.gates import changed, make_gate

DAY = 86400.0
BAKE = DecisionThresholds(0.05, forever=True, lasts=14 * DAY)
COST = make_gate("cost", Metric.BRIER, margin=0.005)


def days(differences: list[float]) -> PairedSums:
    """A block a day on which the candidate's loss differs by so much, 100 requests each."""
    blocks = tuple(
        PairedBlock(
            f"{number:04}", 100, (20 * MILLIONTHS_PER_UNIT,), (round((20.0 + 100.0 * apart) * MILLIONTHS_PER_UNIT),)
        )
        for number, apart in enumerate(differences)
    )
    return PairedSums({"": blocks}, 100 * len(blocks), 100 * len(blocks))


def at(day: int) -> DecisionThresholds:
    """The level of a look so many days into the bake."""
    return replace(BAKE, elapsed=day * DAY, look=day + 1)


def test_the_same_is_spent_on_every_block() -> None:
    """A year into the watch a look has the level that it had in the first week, and a bake has its level in all."""
    assert at(3).error_levels(DAY)[0] == at(400).error_levels(DAY)[0] == pytest.approx(0.05 / 14)
    assert replace(BAKE, forever=False, elapsed=400 * DAY).error_levels(DAY)[0] < 1e-6
    assert replace(BAKE, elapsed=0.0).error_levels(100 * DAY)[0] == pytest.approx(0.05)


def test_a_break_after_a_long_good_time_is_found() -> None:
    """A hundred good days do not hide a fortnight of harm, and the sentence says when it was."""
    random = np.random.default_rng(5)
    good, bad = random.normal(-0.02, 0.01, 100), random.normal(0.03, 0.01, 14)
    found = days([*good, *bad])
    assert judge(COST, found, replace(at(114), forever=False)).outcome is not Outcome.FAIL
    verdict = judge(COST, found, at(114))
    assert verdict.outcome is Outcome.FAIL
    assert "in the last 14 blocks" in verdict.reason or "in the last 7 blocks" in verdict.reason
    assert any(str(row["slice"]).startswith("all, last") for row in verdict.details)


def test_a_few_bad_days_alone_do_not_keep_a_bake_from_passing() -> None:
    """Only the whole time must pass: a fortnight that proves nothing by itself stands in nobody's way."""
    random = np.random.default_rng(6)
    found = days([*random.normal(-0.02, 0.01, 100), *random.normal(0.0, 0.02, 14)])
    assert judge(COST, found, at(114)).outcome is Outcome.PASS


def test_equal_versions_alarm_no_more_often_than_granted() -> None:
    """Bakes of a fortnight with a look a day: an equal candidate fails in at most 5 % of them, and so in later ones."""
    random = np.random.default_rng(7)
    runs, early, late = 300, 0, 0
    for _ in range(runs):
        drawn = random.normal(0.0, 0.02, 60)
        told = [
            judge(changed(COST, margin=0.0), days(list(drawn[:n])), at(n)).outcome is Outcome.FAIL
            for n in (*range(5, 15), *range(46, 60))
        ]
        early += any(told[:10])
        late += any(told[10:])
    assert early / runs <= 0.05 + 0.02
    assert late / runs <= 0.05 + 0.02
