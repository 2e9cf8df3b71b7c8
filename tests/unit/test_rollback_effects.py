"""Every way back moves traffic first, needs nothing that may be broken, and overwrites nobody's choice."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from surefoot.core.domain import Split, Stage
from surefoot.core.errors import NotFound, RegistryUnavailable, Rejected, SurefootError
from surefoot.core.journal.events import EffectIntended, SetAlias, SetSplit, decode_event
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.judging.evidence import Evidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.rollout import (
    adopt_champion,
    drive_rollout,
    end_rollout,
    journal_champion_drift,
    list_pending_alias_changes,
    open_promotion,
    open_rollback,
    repair_champion_alias,
    repeat_alias_changes,
)
from tests.fakes import POLICY, Faults, Killed, Scenario
from tests.scripted import ALONE, CASES, FAIL, POINTS, events, scenario, started


def back_in_order(env: Scenario) -> None:
    """On the way back no alias is touched before the traffic is back where it was."""
    decided = next(e.seq for e in env.journal.entries if e.kind == "EndDecided")
    later = (decode_event(e.kind, e.data) for e in env.journal.entries if e.seq > decided)
    effects = [event.effect for event in later if isinstance(event, EffectIntended)]
    kinds = [type(effect) for effect in effects]
    assert kinds == sorted(kinds, key=lambda kind: kind is SetAlias)
    assert not effects or isinstance(effects[0], SetSplit)


@pytest.mark.parametrize("how", ["abort", "roll back", "supersede"])
@pytest.mark.parametrize("point", CASES)
def test_rollback_effects_from_every_stage(point: str, how: str) -> None:
    """From every stage an abort or a rollback ends as it should, with the old champion served and registered."""
    policy, reached = CASES[point]
    env = scenario(policy)
    ledger = started(env, reached)
    before = ledger.rollout.stage.is_before_traffic if ledger.rollout else False
    if how == "roll back":
        open_rollback(env.ports(), "m", "operator")
    else:
        end_rollout(env.ports(), "m", Stage.ABORTED if how == "abort" else Stage.SUPERSEDED, "operator")
    ledger = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    terminal_stage = {"abort": Stage.ABORTED, "supersede": Stage.SUPERSEDED}.get(
        how, Stage.ABORTED if before else Stage.ROLLED_BACK
    )
    (ended,) = events(env, "RolloutEnded")
    assert ended["sink"] == terminal_stage
    back_in_order(env)
    live = env.traffic.split
    assert live is not None
    assert (live.champion.number, live.candidate, live.mirror) == ("1", None, 0.0)
    assert env.registry.aliases["champion"] == "1"
    assert "previous" not in env.registry.aliases or point == "previous is set"
    assert ledger.champion is not None
    assert ledger.champion.number == "1"
    assert [version.number for version in ledger.proven] == ["1"]


@pytest.mark.parametrize("how", ["abort", "roll back"])
def test_rollback_effects_after_a_kill_at_every_call(how: str) -> None:
    """Killed at any call of a promotion and then taken back, the rollout ends with the old champion everywhere."""
    calls = 0
    while True:
        calls += 1
        env = scenario()
        env.faults.at = {calls: "after"}
        try:
            started(env)
        except Killed:
            pass
        else:
            break
        ledger = fold_entries("m", env.journal.entries)
        if not ledger.open:
            continue
        if how == "abort":
            end_rollout(env.ports(), "m", Stage.ABORTED, "operator")
        else:
            open_rollback(env.ports(), "m", "operator")
        drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
        ends = events(env, "RolloutEnded")
        if ends[0]["sink"] != "Promoted":
            back_in_order(env)
            assert env.registry.aliases["champion"] == "1", calls
            live = env.traffic.split
            assert live is None or (live.champion.number, live.candidate) == ("1", None), calls
    assert calls > 40


@dataclass
class Human(Faults):
    """Somebody points `champion` to version 3 right before a numbered call."""

    strikes: int = 0
    aliases: dict[str, str] = field(default_factory=dict)
    struck: bool = False

    def call(self, apply: Callable[[], object]) -> object:  # type: ignore[override]
        """Strike, then run the call."""
        if self.calls + 1 == self.strikes:
            self.aliases["champion"] = "3"
            self.struck = True
        return super().call(apply)


STORIES: dict[str, tuple[Callable[[EvidenceRequest], Evidence | None], Callable[[Ledger], bool] | None]] = {
    "promoted": (lambda _: None, None),
    "canary fails": (lambda q: FAIL if q.kind == "live" else None, None),
    "bake fails": (lambda q: ALONE[True] if q.kind == "bake" else None, None),
    "aborted while promoting": (lambda _: None, POINTS["champion is set"]),
    "aborted while baking": (lambda _: None, POINTS["baking"]),
}


@pytest.mark.parametrize("story", STORIES)
def test_human_moves_the_champion_at_every_call(story: str) -> None:
    """Whenever a human moves `champion`, the move stands or drift is found; only in the last instant it may be lost."""
    play, abort = STORIES[story]
    strikes = 0
    while True:
        strikes += 1
        env = scenario(POLICY, play)
        adopt_champion(env.ports(), "m")
        human = Human(strikes=strikes, aliases=env.registry.aliases)
        for port in (env.journal, env.registry, env.traffic):
            port.faults = human
        writes = []
        original = env.registry.set_alias

        def set_alias(
            model: str, alias: str, number: str | None, human: Human = human, original: object = original
        ) -> None:
            if alias == "champion":
                writes.append(human.calls + 1)  # noqa: B023 - used within this turn of the loop
            original(model, alias, number)  # type: ignore[operator]

        env.registry.set_alias = set_alias  # type: ignore[method-assign]
        refused = False
        try:
            if not abort:
                open_promotion(env.ports(), env.request())
            elif started(env, lambda ledger: not ledger.open or abort(ledger)).open:
                end_rollout(env.ports(), "m", Stage.ABORTED, "operator")
        except Rejected:
            refused = True
        if refused:  # moved before the opening: nothing begins, and the move stands
            assert env.registry.aliases["champion"] == "3"
            assert not env.ports().ledger("m").rollouts
            continue
        ledger = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
        if not human.struck:
            break
        kept = env.registry.aliases["champion"] == "3"
        assert kept or strikes in writes, (story, strikes)
        drifted = bool(events(env, "DriftFound"))
        assert not (drifted and not kept)
        live = env.traffic.split
        assert live is not None
        assert live.candidate is None
        assert ledger.champion == live.champion, (story, strikes)
        ended = events(env, "RolloutEnded")[-1]["sink"]
        assert live.champion.number == ("2" if ended == "Promoted" else "1")
        assert story == "promoted" or ended != "Promoted"
    assert strikes > 20


@pytest.mark.parametrize("point", ["ramping", "ramping on", "previous is set", "champion is set", "baking"])
def test_registry_is_down_during_a_rollback(point: str) -> None:
    """With the registry down the traffic goes back all the same, and the rollout ends once the registry answers."""
    env = scenario()
    started(env, POINTS[point])
    calm = env.registry.faults
    down = Faults(dict.fromkeys(range(1, 10_000), "refused"))
    env.registry.faults = down
    open_rollback(env.ports(), "m", "operator")
    needs_registry = point in {"champion is set", "baking"}
    if needs_registry:
        with pytest.raises(RegistryUnavailable):
            drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open, patience=5.0)
    else:
        drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open, patience=5.0)
    live = env.traffic.split
    assert live is not None
    assert (live.champion.number, live.candidate) == ("1", None)
    env.registry.faults = calm
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert events(env, "RolloutEnded")[-1]["sink"] == "RolledBack"
    assert env.registry.aliases["champion"] == "1"


def test_registry_is_down_while_a_promoted_version_is_taken_back() -> None:
    """After promotion too, the traffic goes back first and the registry follows when it answers."""
    env = scenario()
    started(env)
    calm, env.registry.faults = env.registry.faults, Faults(dict.fromkeys(range(1, 10_000), "refused"))
    open_rollback(env.ports(), "m", "operator")
    with pytest.raises(RegistryUnavailable):
        drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open, patience=5.0)
    assert env.traffic.split is not None
    assert env.traffic.split.champion.number == "1"
    assert env.registry.aliases["champion"] == "2"
    env.registry.faults = calm
    ledger = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert events(env, "RolloutEnded")[-1]["sink"] == "FastRolledBack"
    assert env.registry.aliases == {"champion": "1"}
    assert ledger.champion is not None
    assert ledger.champion.number == "1"


def test_human_moved_the_champion_before_a_rollback_of_a_promoted_version() -> None:
    """The traffic goes back, the human's alias stays, drift is found, and the journal serves what is served."""
    env = scenario()
    started(env)
    env.registry.aliases["champion"] = "3"
    open_rollback(env.ports(), "m", "operator")
    ledger = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert env.registry.aliases["champion"] == "3"
    assert len(events(env, "DriftFound")) == 1
    assert ledger.champion is not None
    assert ledger.champion.number == "1"


def _refusing(error: SurefootError, alias: str) -> Callable[[str, str, str | None], None]:
    """A registry that answers every change of one alias with an error."""

    def set_alias(_model: str, name: str, _number: str | None) -> None:
        if name == alias:
            raise error

    return set_alias


@pytest.mark.parametrize(
    "error", [Rejected("403: you may not set aliases"), NotFound("model m has no version 1")], ids=["forbidden", "gone"]
)
def test_a_registry_change_that_is_refused_stays_open_and_is_repeated(
    error: SurefootError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traffic goes back, the alias that could not be set is an open drift, and it is repeated until it works."""
    env = scenario()
    started(env)
    with monkeypatch.context() as broken:
        broken.setattr(env.registry, "set_alias", _refusing(error, "champion"))
        open_rollback(env.ports(), "m", "operator")
        ledger = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
        assert env.traffic.split is not None
        assert env.traffic.split.champion.number == "1"
        assert env.registry.aliases["champion"] == "2"
        assert [drift.what for drift in list_pending_alias_changes(ledger)] == ["alias champion"]
        assert str(error) in ledger.drifts["alias champion"].seen
        assert repeat_alias_changes(env.ports(), ledger).head == ledger.head  # still refused: nothing new to say
        assert journal_champion_drift(env.ports(), ledger).head == ledger.head
    ledger = repeat_alias_changes(env.ports(), ledger)
    assert not ledger.drifts
    assert env.registry.aliases["champion"] == "1"
    assert fold_entries("m", env.journal.entries) == ledger


def test_a_choice_of_another_hand_is_not_repeated_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who moves the alias while the change is still refused keeps that choice, until `repair` is asked for."""
    env = scenario()
    started(env)
    with monkeypatch.context() as broken:
        broken.setattr(env.registry, "set_alias", _refusing(Rejected("403"), "champion"))
        open_rollback(env.ports(), "m", "operator")
        ledger = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    env.registry.aliases["champion"] = "3"
    ledger = repeat_alias_changes(env.ports(), ledger)
    assert env.registry.aliases["champion"] == "3"
    assert not list_pending_alias_changes(ledger)
    assert ledger.drifts["alias champion"].seen == "it points to version 3"
    ledger = repair_champion_alias(env.ports(), "m")
    assert env.registry.aliases["champion"] == "1"
    assert not ledger.drifts


def test_an_alias_that_somebody_moves_is_told_once_and_told_again_when_it_agrees() -> None:
    """Alias champion that does not say what is served is one entry for each value, and its return is one more."""
    env = scenario()
    ledger = adopt_champion(env.ports(), "m")
    env.registry.aliases["champion"] = "3"
    first = journal_champion_drift(env.ports(), ledger)
    assert first.drifts["alias champion"].seen == "it points to version 3"
    assert journal_champion_drift(env.ports(), first).head == first.head
    del env.registry.aliases["champion"]
    second = journal_champion_drift(env.ports(), first)
    assert second.drifts["alias champion"].seen == "it points to nothing"
    env.registry.aliases["champion"] = "1"
    assert not journal_champion_drift(env.ports(), second).drifts


@dataclass
class StartingWorker:
    """A gateway of which, once, a worker answers that was started a moment ago and serves nothing yet."""

    env: Scenario
    asked: int = 0

    def live(self, model: str) -> Split | None:
        """No version the first time, then what the gateway serves."""
        self.asked += 1
        return None if self.asked == 1 else self.env.traffic.live(model)

    def settled(self, model: str, split: Split) -> bool:
        """As the gateway."""
        return self.env.traffic.settled(model, split)

    def shift(self, model: str, split: Split) -> None:
        """As the gateway."""
        self.env.traffic.shift(model, split)


def test_a_worker_that_serves_nothing_yet_is_no_other_hand() -> None:
    """When the read-back of a route finds a worker that has just been started, the route is looked at again."""
    env = scenario()
    started(env, POINTS["ramping"])
    gateway = StartingWorker(env)
    ports = replace(env.ports(), traffic=gateway)
    open_rollback(ports, "m", "operator")
    ledger = drive_rollout(ports, "m", until=lambda ledger: not ledger.open)
    assert gateway.asked >= 1
    assert events(env, "EffectRefused") == []
    assert ledger.split is not None
    assert (ledger.split.champion.number, ledger.split.weight) == ("1", 0.0)
    assert events(env, "RolloutEnded")[-1]["sink"] == "RolledBack"
