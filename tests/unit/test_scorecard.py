"""The ML Test Score of a model counts what its policy and its journal prove, and nothing else."""

import pytest

from surefoot.core.journal.ledger import fold_entries
from surefoot.core.policy.parse import parse_policy
from surefoot.core.scorecard.ml_test_score import Scorecard, Section, make_scorecard
from surefoot.core.scorecard.scorecard_facts import collect_scorecard_facts
from surefoot.rollout import drive_rollout, open_promotion
from tests.fakes import POLICY, Scenario


def score(env: Scenario, policy: dict[str, object]) -> Scorecard:
    """The scorecard of the fakes' model under a policy."""
    entries = env.journal.entries
    facts = collect_scorecard_facts(parse_policy(policy), fold_entries("m", entries), entries, env.clock.now())
    return make_scorecard(facts)


def points(card: Scorecard, section: Section, number: int) -> float:
    """Points of one test."""
    return next(test.points for test in card.tests if (test.section, test.number) == (section, number))


@pytest.fixture(scope="module")
def promoted() -> Scenario:
    """The fakes after the promotion of version 2."""
    env = Scenario()
    open_promotion(env.ports(), env.request())
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    return env


def test_each_section_has_seven_tests_and_the_weakest_is_the_score(promoted: Scenario) -> None:
    """28 tests, seven a section; the score is the smallest sum, as the rubric's authors count."""
    card = score(promoted, POLICY)
    assert len(card.tests) == 28
    assert {section: sum(test.section is section for test in card.tests) for section in Section} == dict.fromkeys(
        Section, 7
    )
    assert card.score == min(card.section_points(section) for section in Section)
    assert {test.points for test in card.tests} <= {0.0, 0.5, 1.0}
    assert all(test.evidence for test in card.tests)


def test_a_promotion_earns_what_it_has_proved(promoted: Scenario) -> None:
    """Looks at the data, a ramp and a gate before traffic count once they are journalled, and not before."""
    before, after = score(Scenario(), POLICY), score(promoted, POLICY)
    earned = {
        (test.section.value, test.number): (old.points, test.points)
        for old, test in zip(before.tests, after.tests, strict=True)
        if old.points != test.points
    }
    assert earned[("data", 1)] == (0.5, 1.0)
    assert earned[("infrastructure", 6)] == (0.5, 1.0)
    assert earned[("monitoring", 5)][1] == 1.0
    assert all(new > old for old, new in earned.values())


def test_what_is_not_seen_earns_nothing(promoted: Scenario) -> None:
    """Review of code, costs of features and tests of pipelines are not seen, and each says so."""
    unseen = [test for test in score(promoted, POLICY).tests if "sees nothing of it" in test.evidence]
    assert len(unseen) >= 8
    assert {test.points for test in unseen} == {0.0}


def test_a_watch_is_worth_half_until_it_has_looked(promoted: Scenario) -> None:
    """A policy with a watch earns half a point for staleness, and the whole one with the first look."""
    quality = {"metric": "brier", "margin": 0.01, "labels": {"maturity": "1h"}}
    judged = {**POLICY, "gates": {**POLICY["gates"], "quality": quality}}
    shadow, *ramp = judged["steps"]
    judged["steps"] = [{"shadow": {**shadow["shadow"], "gates": ["errors", "quality"]}}, *ramp]
    watched = {**judged, "watch": {"every": "1d", "gates": ["quality"]}}
    assert points(score(promoted, judged), Section.MODEL, 4) == 0.0
    assert points(score(promoted, watched), Section.MODEL, 4) == 0.5
    assert points(score(promoted, POLICY), Section.INFRASTRUCTURE, 4) == 0.0
    assert points(score(promoted, judged), Section.INFRASTRUCTURE, 4) == 0.5
