"""Pauses, freezes and tickets: a rollout holds in place where it would go on, is judged on, and goes back as ever."""

from dataclasses import replace
from typing import Any

import pytest

from surefoot.core.approvals.version_claims import VersionClaims, VersionFacts, list_fact_changes
from surefoot.core.domain import Outcome, Stage
from surefoot.core.errors import Rejected, TransitionIllegal
from surefoot.core.judging.evidence import MissingEvidence
from surefoot.core.policy.parse import parse_policy
from surefoot.core.stages.hold_events import FreezeBegan, FreezeSource
from surefoot.core.stages.stage_places import has_passed, judged_place, next_place, stage_places
from surefoot.rollout import (
    drive_rollout,
    end_rollout,
    freeze_model,
    open_promotion,
    open_rollback,
    pause_rollout,
    resume_rollout,
    unfreeze_model,
)
from tests.fakes import APPROVED, MIRRORED, POLICY, Scenario
from tests.scripted import FAIL, at, events, scenario, started

HOUR_S = 3600.0
HOLDING = lambda ledger: ledger.rollout is not None and ledger.rollout.stage is Stage.HOLDING  # noqa: E731 - a condition


def pass_time(env: Scenario, seconds: float) -> None:
    """Drive a rollout for so long."""
    moment = env.clock.time
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open or env.clock.time > moment + seconds)


def test_places_follow_the_policy() -> None:
    """Stages come in the order of the steps; while a rollout waits, the gates of the step before it are judged."""
    policy = parse_policy(APPROVED)
    places = stage_places(policy)
    assert places[2:5] == ((Stage.AWAITING_APPROVAL, 0), (Stage.RAMPING, 0), (Stage.AWAITING_APPROVAL, 1))
    assert [next_place(policy, *place) for place in places[:-1]] == list(places[1:])
    assert judged_place(policy, Stage.AWAITING_APPROVAL, 0) == (Stage.SHADOWING, 0)
    assert judged_place(policy, Stage.HOLDING, 4) == (Stage.RAMPING, 0)
    for before, place in enumerate(places):
        assert [has_passed(policy, at_, place) for at_ in places] == [now > before for now in range(len(places))]
        assert [has_passed(policy, (Stage.HOLDING, n), place) for n in range(len(places))] == [
            now >= before for now in range(len(places))
        ]
    assert not has_passed(policy, (Stage.SUBMITTED, 0), places[0])


@pytest.mark.parametrize("point", ["Validating", "Shadowing", "Ramping"])
def test_a_pause_holds_where_it_is(point: str) -> None:
    """A paused rollout is judged on and enters no further stage for a day; resumed, it is promoted."""
    env = scenario(POLICY)
    started(env, lambda ledger: ledger.rollout is not None and ledger.rollout.stage.value == point)
    pause_rollout(env.ports(), "m", "a look at it")
    pass_time(env, 24 * HOUR_S)
    held = env.ports().ledger("m").rollout
    assert held is not None
    assert held.stage is Stage.HOLDING
    assert "a look at it" in held.reason
    changes = len(env.traffic.changes)
    looks = len(events(env, "GateJudged"))
    pass_time(env, 24 * HOUR_S)
    assert len(env.traffic.changes) == changes
    assert len(events(env, "GateJudged")) > looks
    resume_rollout(env.ports(), "m", "it is fine")
    pass_time(env, 48 * HOUR_S)
    assert env.picture()[0] == ("Promoted",)


def test_guardrails_are_armed_in_a_pause() -> None:
    """A candidate that fails while it is held is taken back."""
    failing: list[bool] = []
    env = scenario(POLICY, lambda q: FAIL if failing and q.kind == "live" else None)
    started(env, at(Stage.RAMPING, 0, 1))
    pause_rollout(env.ports(), "m", "a look at it")
    drive_rollout(env.ports(), "m", until=HOLDING)
    failing.append(True)
    pass_time(env, 4 * HOUR_S)
    assert env.picture() == (("RolledBack",), {"champion": "1", "candidate": "2"}, ("1", None, 0.0))


def test_what_is_missing_in_a_pause_ends_nothing() -> None:
    """Missing evidence is waited for anew once a person resumes: a pause is no time in which nothing came."""
    silent = MissingEvidence(Outcome.NO_DATA, "no request")
    missing: list[bool] = [True]
    env = scenario(POLICY, lambda q: silent if missing and q.kind == "live" else None)
    started(env, at(Stage.RAMPING, 0, 1))
    pause_rollout(env.ports(), "m", "no traffic tonight")
    pass_time(env, 24 * HOUR_S)
    assert at(Stage.RAMPING, 0, 1)(env.ports().ledger("m"))
    resume_rollout(env.ports(), "m", "traffic is back")
    pass_time(env, HOUR_S)
    assert env.ports().ledger("m").open
    pass_time(env, 4 * HOUR_S)
    assert env.picture()[0] == ("RolledBack",)


def test_a_bake_that_is_paused_does_not_end() -> None:
    """A version that bakes is not proven-good while a person holds it."""
    env = scenario(POLICY)
    started(env, at(Stage.BAKING))
    pause_rollout(env.ports(), "m", "a look at it")
    pass_time(env, 24 * HOUR_S)
    assert at(Stage.BAKING)(env.ports().ledger("m"))
    resume_rollout(env.ports(), "m", "it is fine")
    pass_time(env, HOUR_S)
    assert env.picture()[0] == ("Promoted",)


@pytest.mark.parametrize("source", list(FreezeSource))
def test_a_freeze_holds_before_any_traffic(source: FreezeSource) -> None:
    """A frozen model's candidate is validated and replayed, and gets no traffic until the freeze is over."""
    env = scenario(POLICY)
    freeze = FreezeBegan(source, "holidays", env.clock.time + 24 * HOUR_S)
    if source is FreezeSource.CALENDAR:
        env.window = freeze
    else:
        freeze_model(env.ports(), "m", "holidays", freeze.until)
    started(env, HOLDING)
    held = env.ports().ledger("m").rollout
    assert held is not None
    assert held.reason == "frozen: holidays"
    assert {"data", "errors"} <= {str(one["verdict"]["gate"]) for one in events(env, "GateJudged")}  # type: ignore[index]
    pass_time(env, 12 * HOUR_S)
    assert not any(split.candidate for split in env.traffic.changes)
    env.window = None if env.clock.time >= (freeze.until or 0.0) else env.window
    drive_rollout(env.ports(), "m", until=lambda ledger: env.clock.time >= (freeze.until or 0.0))
    env.window = None
    drive_rollout(env.ports(), "m", until=at(Stage.RAMPING, 0))
    assert env.journal.entries[-1].at >= (freeze.until or 0.0)


def test_a_window_that_is_taken_out_of_the_calendar_ends() -> None:
    """A freeze that the calendar does not name any more is over, on record."""
    env = scenario(POLICY)
    env.window = FreezeBegan(FreezeSource.CALENDAR, "holidays", env.clock.time + 1000 * HOUR_S)
    started(env, HOLDING)
    env.window = None
    pass_time(env, 24 * HOUR_S)
    assert [one["reason"] for one in events(env, "FreezeEnded")] == ["the calendar has no window now"]
    assert env.picture()[0] == ("Promoted",)


@pytest.mark.parametrize("way", ["abort", "rollback"])
def test_a_freeze_holds_no_way_back(way: str) -> None:
    """Abort and rollback of a frozen model act at once."""
    env = scenario(POLICY)
    started(env, at(Stage.RAMPING, 0, 1))
    freeze_model(env.ports(), "m", "holidays")
    drive_rollout(env.ports(), "m", until=HOLDING)
    if way == "abort":
        end_rollout(env.ports(), "m", Stage.ABORTED, "operator")
    else:
        open_rollback(env.ports(), "m", "operator")
    pass_time(env, HOUR_S)
    end = "Aborted" if way == "abort" else "RolledBack"
    assert env.picture() == ((end,), {"champion": "1", "candidate": "2"}, ("1", None, 0.0))


def test_a_freeze_is_overridden_on_record() -> None:
    """--override-freeze lets one rollout go on, also one that is open and held, and the journal says why."""
    env = scenario(POLICY)
    freeze_model(env.ports(), "m", "holidays")
    started(env, HOLDING)
    open_promotion(env.ports(), replace(env.request(), override_freeze=True, reason="the old version is broken"))
    pass_time(env, 24 * HOUR_S)
    assert env.picture()[0] == ("Promoted",)
    assert [one["reason"] for one in events(env, "FreezeOverridden")] == ["the old version is broken"]


def test_only_what_can_be_held_is_held() -> None:
    """A pause of nothing, a resume of nothing and an end of no freeze are refused in one line."""
    env = scenario(POLICY)
    for act in (pause_rollout, resume_rollout, unfreeze_model):
        with pytest.raises(TransitionIllegal):
            act(env.ports(), "m", "why")
    env.window = FreezeBegan(FreezeSource.CALENDAR, "holidays")
    started(env, HOLDING)
    with pytest.raises(TransitionIllegal, match=r"edit configs/freeze\.ics"):
        unfreeze_model(env.ports(), "m", "why")


@pytest.mark.parametrize(
    ("given", "tagged", "kept"), [("", "", None), ("CHG-1", "", "CHG-1"), ("", "CHG-2", "CHG-2"), ("a", "b", "a")]
)
def test_a_required_ticket_is_kept(given: str, tagged: str, kept: str | None) -> None:
    """A promotion without a ticket is refused in one line; one that is given wins over the version's tag."""
    env = scenario({**POLICY, "ticket": "required"})
    env.claims = VersionClaims(("ann",), tagged)
    if kept is None:
        with pytest.raises(Rejected, match=r"requires a change ticket.*--ticket.*surefoot\.ticket") as refused:
            open_promotion(env.ports(), env.request(ticket=given))
        assert "\n" not in str(refused.value)
        assert not events(env, "RolloutOpened")
        return
    open_promotion(env.ports(), env.request(ticket=given))
    (opened,) = events(env, "RolloutOpened")
    assert (opened["ticket"], opened["authors"]) == (kept, [])


def test_a_live_shadow_may_wait_for_people() -> None:
    """An approve step may stand before a live shadow and after it, and not before the replay."""
    steps: list[Any] = MIRRORED["steps"]
    asked = {"approve": {"by": "g"}}
    parse_policy({**MIRRORED, "steps": [steps[0], asked, steps[1], asked, *steps[2:], asked]})
    with pytest.raises(Exception, match="the shadow step comes first"):
        parse_policy({**MIRRORED, "steps": [asked, *steps]})


def test_changes_between_versions_are_listed() -> None:
    """What differs is named by kind and name; what is the same is not."""
    old = VersionFacts({"d": "1"}, {"x": "double"}, {"depth": "4", "rate": "1"}, {"auc": "0.8"}, {"commit": "a"})
    new = VersionFacts({"d": "2"}, {"x": "double", "y": "long"}, {"depth": "6", "rate": "1"}, {}, {"commit": "a"})
    assert [(one.kind, one.name, one.before, one.after) for one in list_fact_changes(old, new)] == [
        ("data", "d", "1", "2"),
        ("features", "y", "", "long"),
        ("parameters", "depth", "4", "6"),
        ("metrics", "auc", "0.8", ""),
    ]
