"""What people pass on of a promotion: a section of a model card, and a line of a changelog."""

from typing import Any

import pytest

from surefoot.core.domain import Stage
from surefoot.core.served_versions.promotion_card import card_markdown, changelog_line, promotion_cards
from surefoot.rollout import drive_rollout, end_rollout, open_promotion, open_rollback
from tests.fakes import APPROVED, BY_ALIAS, POLICY, Scenario
from tests.scripted import POINTS, scenario, started


def _promoted(policy: dict[str, Any] = POLICY) -> Scenario:
    """A version that was promoted and has baked."""
    env = scenario(policy)
    started(env)
    assert env.ports().ledger("m").champion == env.registry.versions["2"]
    return env


def test_a_promotion_is_told_with_its_gates_and_its_way() -> None:
    """The card has each gate once with its numbers, the shares on the way, the artifact and the version before."""
    env = _promoted()
    (card,) = promotion_cards(env.journal.entries)
    text = card_markdown(card, "m")
    assert "Version 2 of `m` replaced version 1 on" in text
    assert text.count("| errors (error_rate) | PASS |") == 1
    assert text.count("| errors (error_rate, in the bake) | PASS |") == 1
    assert "- Traffic: 5 %, 50 % of the units, then all" in text
    assert env.registry.versions["2"].digest in text
    assert "Still watched" not in text
    assert changelog_line(card).startswith("- 1970-")
    assert "version 2 replaces version 1" in changelog_line(card)


def test_without_a_ramp_it_went_all_at_once() -> None:
    """By alias there are no shares on the way, and the card says so."""
    (card,) = promotion_cards(_promoted(BY_ALIAS).journal.entries)
    assert "- Traffic: all at once, after the shadow" in card_markdown(card, "m")


def test_a_version_that_is_taken_back_says_so() -> None:
    """After a rollback weeks later card and changelog name why; the next version has its own."""
    env = _promoted()
    open_rollback(env.ports(), "m", "prices are wrong")
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    (card,) = promotion_cards(env.journal.entries)
    assert "**Taken back: prices are wrong**" in card_markdown(card, "m")
    assert changelog_line(card).endswith("taken back: prices are wrong")
    open_promotion(env.ports(), env.request("3"))
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert [one.taken_back for one in promotion_cards(env.journal.entries)] == ["prices are wrong", ""]


def test_a_version_that_bakes_says_so() -> None:
    """While the bake goes on the card says that it is watched; a rollback in the bake is told with its reason."""
    env = scenario()
    started(env, lambda ledger: ledger.rollout is not None and ledger.rollout.stage is Stage.BAKING)
    (card,) = promotion_cards(env.journal.entries)
    assert "Still watched after the promotion (bake)" in card_markdown(card, "m")
    assert "in the bake" not in card_markdown(card, "m")
    end_rollout(env.ports(), "m", Stage.ROLLED_BACK, "too slow", "latency")
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    (card,) = promotion_cards(env.journal.entries)
    assert card.taken_back == "RolledBack: too slow"


@pytest.mark.parametrize("point", POINTS)
def test_a_version_that_never_had_all_requests_has_no_card(point: str) -> None:
    """Up to the promotion there is no card, whatever the rollout has come to; reading never fails."""
    env = scenario()
    ledger = started(env, POINTS[point])
    cards = promotion_cards(env.journal.entries)
    stages = {entry.data["stage"] for entry in env.journal.entries if entry.kind == "StageEntered"}
    assert bool(cards) is ("Baking" in stages), ledger.rollout


def test_an_approved_policy_is_read() -> None:
    """A rollout that waits for people has no card yet."""
    env = Scenario(policy=dict(APPROVED))
    open_promotion(env.ports(), env.request())
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open, wait=False)
    assert promotion_cards(env.journal.entries) == ()
