"""Right and wrong answers one by one: from the log to the verdict."""

from dataclasses import replace
from pathlib import Path

import pytest

from surefoot.core.domain import Outcome
from surefoot.core.judging.evidence import PairedBlock, PairedSums
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.planning import plan_policy
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Metric
from surefoot.core.policy.violations import Violation
from surefoot.core.stats.mcnemar import log_evidence_of_harm
from tests.fakes import POLICY
from tests.gates import changed, gate_of, make_gate
from tests.unit.test_replay import ASKED, Model, days, house, paired

RIGHT = make_gate("accuracy", Metric.ZERO_ONE, margin=0.01, block=0.0)
LEVEL = DecisionThresholds(0.01)


def sums(n: int, old: int, new: int, both: int, **more: tuple[int, int, int, int]) -> PairedSums:
    """Who was wrong how often, all together and by slice."""
    made: dict[str, tuple[PairedBlock, ...]] = {
        name: (PairedBlock("all", k, (a, c), (b, c)),)
        for name, (k, a, b, c) in {"": (n, old, new, both), **more}.items()
    }
    return PairedSums(made, n, n)


def test_mistakes_of_one_version_alone_are_told_apart(tmp_path: Path) -> None:
    """From a log: what each version gets wrong, and what both do, whatever the day."""
    days(tmp_path, 50)
    old, new = (
        Model(lambda row: 0.1 if int(str(row["i"])) % 5 == 0 else 0.9),
        Model(lambda row: 0.1 if int(str(row["i"])) % 10 == 0 else 0.9),
    )
    found = paired(house(tmp_path, old, new), replace(ASKED, gate=RIGHT))
    assert [(b.n, b.champion, b.candidate) for b in found.slices[""]] == [(50, (10, 5), (5, 5))]


def test_only_disagreements_speak() -> None:
    """The evidence is that of the sequential sign test on the requests that one version alone gets wrong."""
    verdict = judge(RIGHT, sums(10_000, 400, 700, 300), LEVEL)
    assert verdict.outcome is Outcome.FAIL
    assert next(f.value for f in verdict.figures if f.name == "log evidence of harm") == log_evidence_of_harm(400, 100)
    assert "400 times it alone, 100 times the champion alone" in verdict.reason
    assert verdict.estimate == pytest.approx(0.03)


def test_harm_within_the_margin_is_no_failure() -> None:
    """A proved loss that the owner accepts does not fail, and a large sample of equal answers passes."""
    assert judge(changed(RIGHT, margin=0.05), sums(10_000, 400, 700, 300), LEVEL).outcome is not Outcome.FAIL
    assert judge(RIGHT, sums(20_000, 1000, 1000, 800), LEVEL).outcome is Outcome.PASS
    few = judge(RIGHT, sums(300, 10, 10, 8), replace(LEVEL, per_minute=60.0))
    assert few.outcome is Outcome.INCONCLUSIVE
    assert "a candidate equal to the champion passes after" in few.reason


def test_slices_share_the_level_and_protected_ones_block() -> None:
    """One slice that loses is named; a protected slice without data keeps the gate from passing."""
    gate = changed(RIGHT, by=("origin",), min_per_slice=100)
    more = {"origin=LGA": (5000, 100, 400, 80), "origin=JFK": (50_000, 900, 900, 800), "origin=OO": (9, 0, 0, 0)}
    verdict = judge(gate, sums(60_000, 1000, 1300, 880, **more), LEVEL)
    assert (verdict.outcome, verdict.culprit) == (Outcome.FAIL, "origin=LGA")
    fine = {name: cells for name, cells in more.items() if name != "origin=LGA"}
    assert judge(gate, sums(60_000, 900, 900, 800, **fine), LEVEL).outcome is Outcome.PASS
    blocked = judge(changed(gate, protected=("origin=OO",)), sums(60_000, 900, 900, 800, **fine), LEVEL)
    assert blocked.outcome is Outcome.NO_DATA


def test_what_cannot_be_compared_is_said_first() -> None:
    """No request, missing labels and answers that never came are judged as for every loss."""
    assert judge(RIGHT, PairedSums({}, 0, 0), LEVEL).outcome is Outcome.NO_DATA
    assert judge(RIGHT, PairedSums({}, 100, 100, unscored=50), LEVEL).outcome is Outcome.FAIL
    assert judge(changed(RIGHT, coverage=0.9), PairedSums({}, 100, 10), LEVEL).outcome is Outcome.INCONCLUSIVE
    assert judge(RIGHT, PairedSums({}, 100, 100), LEVEL).outcome is Outcome.NO_DATA


def accuracy(**changes: object) -> dict[str, object]:
    """A policy whose shadow judges answers one by one."""
    gate = {"metric": "zero_one", "margin": 0.01, "block": "none", "labels": {"maturity": "1h"}, **changes}
    return {
        **POLICY,
        "gates": {**POLICY["gates"], "accuracy": gate},
        "steps": [{"shadow": {"window": "7d", "gates": ["accuracy"]}}, *POLICY["steps"][1:]],
    }


def test_only_answers_can_be_judged_one_by_one() -> None:
    """`block: none` is for right and wrong with a margin in points; anything else moves together by the day."""
    assert gate_of(parse_policy(accuracy()), "accuracy").block == 0.0
    for changes in ({"metric": "brier"}, {"max": 0.1}, {"margin": "5%"}):
        with pytest.raises(Violation, match="each for itself only"):
            parse_policy(accuracy(**changes))


def test_the_plan_says_what_answers_one_by_one_find() -> None:
    """More traffic finds a smaller loss; too little is warned of."""
    few, many = (
        next(
            s
            for s in plan_policy(parse_policy({**accuracy(), "traffic": {"requests_per_minute": rate}}))
            if s.gate == "accuracy"
        )
        for rate in (0.02, 6.0)
    )
    assert "chance of" in few.warning or "cannot fail" in few.warning
    assert not many.warning
    assert many.finds.startswith("wrong on 1.")
