"""What follows when another hand moves or deletes what the registry says of the champion: alert, revert, adopt."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from surefoot.core.domain import RegistryView, Stage
from surefoot.core.errors import Rejected, SurefootError
from surefoot.core.incidents.playbook import list_playbook_steps
from surefoot.core.notify.journal_messages import derive_entry_messages
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.recovery.playbook import NO_PLAYBOOK
from surefoot.core.policy.violations import Violation
from surefoot.core.registry_drift.drift_events import UNKNOWN_REGISTRY_ACTOR, DriftReaction
from surefoot.core.registry_drift.reaction_choice import MAX_ALIAS_SET_BACKS, SET_BACK_WINDOW_S
from surefoot.rollout import (
    DriftRule,
    adopt_champion,
    advance_rollout,
    drive_rollout,
    find_wanted_change,
    finish_decided_ending,
    journal_model_drift,
    open_due_incidents,
    open_rollback,
    read_drift_reaction,
)
from tests.fakes import BY_ALIAS, POLICY, Scenario
from tests.scripted import POINTS, at, events, scenario, started

ALERT, REVERT, ADOPT = DriftReaction.ALERT, DriftReaction.REVERT, DriftReaction.ADOPT


def tick(env: Scenario, on_drift: DriftReaction) -> list[str]:
    """What `reconcile` does about differences."""
    rule = DriftRule(on_drift, lambda wish: env.request(wish.number))
    return journal_model_drift(env.ports("reconcile"), "m", rule)


def promoted(policy: dict[str, object] = POLICY) -> Scenario:
    """Version 2 has been promoted, and version 1 is the last proven-good one."""
    env = scenario(policy)
    started(env)
    return env


def kinds(env: Scenario, since: int) -> list[str]:
    """Names of the events after so many entries."""
    return [entry.kind for entry in env.journal.entries[since:]]


def test_a_policy_says_what_follows() -> None:
    """The key `on_drift` takes three words, and alerts by default; so does a model without a policy."""
    assert read_drift_reaction(None) is ALERT
    assert read_drift_reaction(parse_policy(POLICY)) is ALERT
    for word in ("alert", "revert", "adopt"):
        assert read_drift_reaction(parse_policy({**POLICY, "on_drift": word})) == word
    with pytest.raises(Violation, match="on_drift: expected one of alert, revert, adopt"):
        parse_policy({**POLICY, "on_drift": "ignore"})


@pytest.mark.parametrize("to", ["3", None])
def test_an_alert_is_an_incident_and_changes_nothing(to: str | None) -> None:
    """A moved or removed alias stays, is journalled once, and has one incident that names what, and no actor."""
    env = promoted()
    before, served = len(env.journal.entries), env.traffic.split
    _move(env, to)
    lines = [tick(env, ALERT) for _ in range(3)]
    assert kinds(env, before) == ["DriftFound", "IncidentOpened"]
    assert lines[0] == lines[2] != []
    assert env.registry.aliases.get("champion") == to
    assert env.traffic.split == served
    (incident,) = env.ports().ledger("m").incidents.known.values()
    where = f"version {to}" if to else "nothing"
    assert incident.opened.reason == (
        f"alias champion should be 2: it points to {where}; MLflow does not record who has moved it"
    )
    assert incident.version.number == "2"


def _move(env: Scenario, to: str | None) -> None:
    if to is None:
        env.registry.aliases.pop("champion", None)
    else:
        env.registry.aliases["champion"] = to


@pytest.mark.parametrize("on_drift", [REVERT, ADOPT])
def test_a_removed_alias_is_set_back(on_drift: DriftReaction) -> None:
    """Where alias champion was removed there is nothing to adopt: both reactions set it back."""
    env = promoted()
    _move(env, None)
    assert tick(env, on_drift) == []
    assert env.registry.aliases["champion"] == "2"
    assert not env.ports().ledger("m").open


@pytest.mark.parametrize("policy", [POLICY, BY_ALIAS], ids=["gateway", "alias"])
def test_revert_is_journalled_before_and_after(policy: dict[str, object]) -> None:
    """The choice is journalled before the alias is set back, and after it that it was; an incident tells of it."""
    env = promoted(policy)
    before = len(env.journal.entries)
    _move(env, "3")
    assert tick(env, REVERT) == []
    assert env.registry.aliases["champion"] == "2"
    assert kinds(env, before) == ["DriftFound", "DriftReactionChosen", "DriftResolved", "IncidentOpened"]
    assert tick(env, REVERT) == []
    assert len(env.journal.entries) == before + 4
    assert events(env, "DriftResolved")[-1]["how"] == "it was set back to version 2, from version 3"


def test_two_programs_never_fight_for_ever() -> None:
    """After three times within a day the alias is left where it is, which is said; a day later it is set back again."""
    env = promoted()
    for _ in range(MAX_ALIAS_SET_BACKS):
        _move(env, "3")
        assert tick(env, REVERT) == []
    for _ in range(3):
        _move(env, "3")
        assert tick(env, REVERT)
    assert env.registry.aliases["champion"] == "3"
    chosen = events(env, "DriftReactionChosen")
    assert [one["reaction"] for one in chosen] == ["revert"] * MAX_ALIAS_SET_BACKS + ["alert"]
    assert f"set back {MAX_ALIAS_SET_BACKS} times within a day" in str(chosen[-1]["reason"])
    env.clock.time += SET_BACK_WINDOW_S + 1.0
    _move(env, "2")
    tick(env, REVERT)
    _move(env, "3")
    assert tick(env, REVERT) == []
    assert env.registry.aliases["champion"] == "2"


def test_a_registry_that_refuses_is_asked_again_and_counts_once() -> None:
    """A revert that the registry refuses is told and repeated at each tick, and chosen once; its incident is open."""
    env = promoted()
    _move(env, "3")
    allowed = env.registry.set_alias

    def refuse(model: str, alias: str, number: str | None) -> None:
        raise Rejected("403: you may not set aliases")

    env.registry.set_alias = refuse  # type: ignore[method-assign]
    for _ in range(2 * MAX_ALIAS_SET_BACKS):
        assert "m: 403: you may not set aliases" in tick(env, REVERT)
    assert len(events(env, "IncidentOpened")) == 1
    env.registry.set_alias = allowed  # type: ignore[method-assign]
    assert tick(env, REVERT) == []
    assert len(events(env, "DriftReactionChosen")) == 1


def test_an_adopted_version_is_promoted_step_by_step() -> None:
    """The alias goes back to what is served, and the version that it was set on is judged as any other one."""
    env = promoted()
    _move(env, "3")
    assert tick(env, ADOPT) == []
    ledger = env.ports().ledger("m")
    assert env.registry.aliases["champion"] == "2"
    assert ledger.rollout is not None
    assert (ledger.rollout.stage, ledger.rollout.opened.candidate.number) == (Stage.SUBMITTED, "3")
    assert ledger.rollout.opened.source == "champion"
    assert env.traffic.split is not None
    assert env.traffic.split.champion.number == "2"
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert events(env, "RolloutEnded")[-1]["sink"] == "Promoted"
    assert env.registry.aliases["champion"] == "3"


@pytest.mark.parametrize("why", ["quarantined", "missing", "no policy"])
def test_a_version_that_may_not_be_served_is_not_adopted(why: str) -> None:
    """A quarantined or missing version is refused by name, the alias is back, and nothing is tried twice."""
    env = promoted()
    if why == "quarantined":
        open_rollback(env.ports(), "m", "it is worse")
        drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    elif why == "missing":
        del env.registry.versions["3"]
    served = env.registry.aliases["champion"]
    _move(env, "2" if why == "quarantined" else "3")
    for _ in range(2):
        rule = DriftRule(ADOPT) if why == "no policy" else DriftRule(ADOPT, lambda wish: env.request(wish.number))
        assert journal_model_drift(env.ports(), "m", rule) == []
    assert env.registry.aliases["champion"] == served
    (refused,) = events(env, "CandidateRefused")
    assert refused["source"] == "champion"
    wanted = {"quarantined": "is quarantined", "missing": "no version 3", "no policy": "no policy"}[why]
    assert wanted in str(refused["reason"])
    assert not env.ports().ledger("m").open


def test_an_adoption_waits_for_the_open_rollout() -> None:
    """While another version is on trial and the policy queues, the adopted one waits, and is opened after its end."""
    env = scenario({**POLICY, "on_new_candidate": "queue"})
    started(env, at(Stage.RAMPING, done=1))
    _move(env, "3")
    tick(env, ADOPT)
    assert env.registry.aliases["champion"] == "1"
    rule = DriftRule(ADOPT, lambda wish: env.request(wish.number))
    assert find_wanted_change(lambda ports: journal_model_drift(ports, "m", rule), env.ports())
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    tick(env, ADOPT)
    rollout = env.ports().ledger("m").rollout
    assert rollout is not None
    assert rollout.opened.candidate.number == "3"


@pytest.mark.parametrize("on_drift", [ALERT, REVERT, ADOPT])
@pytest.mark.parametrize("policy", [POLICY, BY_ALIAS], ids=["gateway", "alias"])
def test_a_move_back_onto_the_proven_good_version_is_a_rollback(
    on_drift: DriftReaction, policy: dict[str, object]
) -> None:
    """Whatever the policy says, traffic goes back in the name of the other hand, and the rollback has one incident."""
    env = promoted(policy)
    _move(env, "1")
    tick(env, on_drift)
    finish_decided_ending(env.ports(), "m")
    open_due_incidents(env.ports(), "m")
    assert tick(env, on_drift) == []
    assert events(env, "RolloutEnded")[-1]["sink"] == "FastRolledBack"
    assert env.traffic.split is not None
    assert env.traffic.split.champion.number == env.registry.aliases["champion"] == "1"
    opened = [entry for entry in env.journal.entries if entry.kind == "RolloutOpened"][-1]
    assert opened.actor == UNKNOWN_REGISTRY_ACTOR
    (incident,) = env.ports().ledger("m").incidents.known.values()
    assert (incident.version.number, incident.rollback) == ("2", opened.data["rollout"])


def test_a_move_back_during_the_bake_ends_the_promotion() -> None:
    """A person who moves the alias back while the new champion bakes has it rolled back, also as a promotion."""
    env = scenario()
    started(env, at(Stage.BAKING))
    _move(env, "1")
    tick(env, REVERT)
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert events(env, "RolloutEnded")[-1]["sink"] == "RolledBack"
    assert env.traffic.split is not None
    assert env.traffic.split.champion.number == env.registry.aliases["champion"] == "1"


def test_a_rollback_that_cannot_begin_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the move back finds no way, that is chosen as an alert with its reason, and not tried for ever."""
    env = promoted()
    _move(env, "1")
    ports = env.ports()

    def no_rollback(*_: object) -> object:
        raise Rejected("not now")

    monkeypatch.setattr("surefoot.rollout.recovery.drift_reactions.open_rollback", no_rollback)
    for _ in range(3):
        journal_model_drift(ports, "m")
    assert [one["reaction"] for one in events(env, "DriftReactionChosen")] == ["rollback", "alert"]
    assert len(events(env, "IncidentOpened")) == 1
    assert "a rollback to version 1 cannot begin: not now" in str(events(env, "DriftReactionChosen")[-1]["reason"])


def test_a_move_during_a_rollout_is_told_and_set_back_at_once() -> None:
    """A move in the middle of the ramp is found at the next tick; set back, it stops no promotion."""
    env = scenario()
    started(env, at(Stage.RAMPING, done=1))
    _move(env, "3")
    tick(env, REVERT)
    assert env.registry.aliases["champion"] == "1"
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert events(env, "RolloutEnded")[-1]["sink"] == "Promoted"
    assert len(events(env, "IncidentOpened")) == 1


def test_a_deleted_served_version_is_an_incident_and_serves_on() -> None:
    """The served version, deleted or with an edited tag, is a difference with an incident; its return resolves it."""
    env = promoted()
    served, version = env.traffic.split, env.registry.versions.pop("2")
    env.registry.aliases.pop("champion")
    lines = tick(env, REVERT)
    assert "m: served version 2 should be in the registry, it was deleted; its verified copy is served on" in lines
    assert env.traffic.split == served
    assert {str(one["trigger"]) for one in events(env, "IncidentOpened")} == {
        "drift of alias champion",
        "drift of served version 2",
    }
    assert not events(env, "DriftReactionChosen")  # no alias can be set on it
    env.registry.versions["2"] = version
    assert tick(env, REVERT) == []
    assert env.registry.aliases["champion"] == "2"


@pytest.mark.parametrize("view", [RegistryView(exists=False), None], ids=["model deleted", "tag edited"])
def test_what_else_the_registry_loses_is_told(view: RegistryView | None) -> None:
    """A deleted model and an edited tag of the served version are differences for as long as they hold."""
    env = promoted()
    right = env.registry.view
    wrong = view or replace(right("m"), data_digests={"2": "sha256:other"})
    env.registry.view = lambda model: wrong  # type: ignore[method-assign]
    lines = tick(env, ALERT)
    said = "it says sha256:other" if view is None else "the registered model was deleted or renamed"
    assert any(said in line for line in lines)
    env.registry.view = right  # type: ignore[method-assign]
    assert tick(env, ALERT) == []


def test_a_difference_of_the_version_before_is_over_when_another_one_serves() -> None:
    """What was told of a served version is resolved once traffic has gone back to another one."""
    env = promoted()
    del env.registry.versions["2"]
    tick(env, ALERT)
    open_rollback(env.ports(), "m", "operator")
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert tick(env, ALERT) == []


def test_a_rollout_that_goes_on_meanwhile_is_no_difference() -> None:
    """What `reconcile` reads while the rollout itself moves the alias is neither journalled nor told."""
    env = scenario()
    started(env, POINTS["previous is set"])
    ports, driver, view = env.ports("reconcile"), env.ports("promote"), env.registry.view

    def moved_meanwhile(model: str) -> RegistryView:
        advance_rollout(driver, driver.ledger("m"))
        assert env.registry.aliases["champion"] == "2"
        return view(model)

    env.registry.view = moved_meanwhile  # type: ignore[method-assign]
    assert journal_model_drift(ports, "m", DriftRule(REVERT)) == []
    env.registry.view = view  # type: ignore[method-assign]
    assert not events(env, "DriftFound")
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert events(env, "RolloutEnded")[-1]["sink"] == "Promoted"


def test_people_are_told_once_and_what_to_do() -> None:
    """A moved alias warns and does not page; the playbook's first step is to find out who has changed it."""
    env = promoted()
    before = len(env.journal.entries)
    _move(env, "3")
    tick(env, REVERT)
    ledger = env.ports().ledger("m")
    told = [
        (one.topic.value, one.severity.value) for one in derive_entry_messages(ledger, env.journal.entries[before:])
    ]
    assert told == [("drift", "warning"), ("drift", "info"), ("drift", "info"), ("incident", "warning")]
    first = list_playbook_steps(ledger, NO_PLAYBOOK)[0]
    assert first.text.startswith("Find out who has changed it, and whether that is wanted: alias champion should be 2")


def test_a_later_rollback_has_an_incident_of_its_own() -> None:
    """An open incident about a moved alias is no reason for which a version was taken back later."""
    env = promoted()
    _move(env, "3")
    tick(env, REVERT)
    open_rollback(env.ports(), "m", "it is worse")
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    open_due_incidents(env.ports(), "m")
    assert [one.rollback != "" for one in env.ports().ledger("m").incidents.known.values()] == [False, True]


@pytest.mark.parametrize("on_drift", [REVERT, ADOPT])
@pytest.mark.parametrize("fault", ["before", "after", "refused", "unknown"])
def test_a_kill_at_any_call_of_a_reaction_ends_where_it_would_have(on_drift: DriftReaction, fault: str) -> None:
    """A kill, a refusal or a lost reply at each port call changes nothing about the end of a reaction."""
    calm = _reacted(on_drift, {})
    for number in range(1, calm.faults.calls + 1):
        env = _reacted(on_drift, {number: fault})
        assert env.registry.aliases == calm.registry.aliases, number
        assert env.ports().ledger("m").open == calm.ports().ledger("m").open, number
        assert len(events(env, "DriftReactionChosen")) == 1, number
        assert len(events(env, "IncidentOpened")) == 1, number


def _reacted(on_drift: DriftReaction, faults: dict[int, str]) -> Scenario:
    """A move of the alias, and ticks under faults until nothing is left to do."""
    env = scenario()
    adopt_champion(env.ports(), "m")
    env.faults.calls = 0
    env.faults.at = faults
    _move(env, "3")
    for _ in range(3):
        _survive(lambda: tick(env, on_drift))
    env.faults.at = {}
    calls = env.faults.calls
    tick(env, on_drift)
    env.faults.calls = calls
    return env


def _survive(act: Callable[[], object]) -> None:
    """Act as a process that may be killed."""
    try:
        act()
    except SurefootError:
        return
    except BaseException as error:
        if type(error).__name__ != "Killed":
            raise
