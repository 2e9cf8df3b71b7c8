"""A champion is judged for as long as it serves: what its policy says follows, once, and survives every kill."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from bench.watch_years import FAULT_DAY, Fault, simulate_years
from surefoot.core.champion_watch.day_counts import DAY_S, DayCounts
from surefoot.core.champion_watch.early_signal_history import EarlySignalHistory
from surefoot.core.domain import Outcome, Stage
from surefoot.core.errors import Rejected
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import decode_event
from surefoot.core.journal.ledger import Ledger
from surefoot.core.journal.served_version_events import ServiceCounted
from surefoot.core.journal.watch_events import ChampionJudged, ChampionWatched, IncidentOpened
from surefoot.core.judging.evidence import Evidence, MissingEvidence, PairedBlock, PairedSums
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.reverify import reverify
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Metric
from surefoot.core.policy.violations import Violation
from surefoot.rollout import (
    Ports,
    drive_rollout,
    evaluate_champion,
    find_retraining_to_start,
    next_evaluation_time,
    open_promotion,
)
from tests.fakes import POLICY, FakeJournal, Killed, Scenario
from tests.sweeps import swept

LOSS = {"metric": "brier", "role": "guardrail", "margin": 0.02, "block": "1d", "labels": {"maturity": "12h"}}
QUIET = list(simulate_years(3, FAULT_DAY + 10))
BROKEN = list(simulate_years(3, FAULT_DAY + 10, Fault(times=4.0)))
DRIFTED = list(simulate_years(3, FAULT_DAY + 10, Fault(broken="seats")))


def policy(**watch: object) -> dict[str, object]:
    """The usual policy, with a watch after the bake."""
    gates = {**cast("dict[str, Any]", POLICY["gates"]), "loss": LOSS}
    return {**POLICY, "gates": gates, "watch": {"every": "1d", "gates": ["loss"], **watch}}


def losses(champion: float, candidate: float) -> PairedSums:
    """Four weeks of 500 requests a day, of which each version loses so much, a little more or less each day."""
    days = []
    for number in range(28):
        sides = [round(500 * 1e6 * (loss + 0.002 * (number % 3))) for loss in (champion, candidate)]
        days.append(PairedBlock(f"2026-01-{number + 1:02d}T00:00Z", 500, (sides[0],), (sides[1],)))
    return PairedSums({"": tuple(days)}, 28 * 500, 28 * 500)


class World:
    """A promoted champion, the days of its log, and what it loses beside the version before."""

    def __init__(
        self, watch: dict[str, object], old: float = 0.2, new: float = 0.2, days: Sequence[DayCounts] = QUIET
    ) -> None:
        self.scenario = Scenario(policy=policy(**watch))
        self.old, self.new, self.days = old, new, days
        self.asked: list[EvidenceRequest] = []
        open_promotion(self.scenario.ports(), self.scenario.request())
        drive_rollout(self.scenario.ports(), "m", until=lambda ledger: not ledger.open)
        self.began = self.scenario.clock.time + DAY_S

    def gather(self, question: EvidenceRequest) -> Evidence:
        """The evidence of the watch."""
        self.asked.append(question)
        if question.gate.metric is Metric.BRIER:
            return self.scenario.faults.call(lambda: losses(self.old, self.new))
        return self.scenario.evidence_source.gather(question)

    def count_days(self, *_: object) -> Sequence[DayCounts]:
        """The days, moved to now."""
        now = int(self.scenario.clock.time // DAY_S)
        return [replace(one, day=one.day + now - FAULT_DAY - 10) for one in self.days]

    def ports(self) -> Ports:
        """What a look uses."""
        return replace(self.scenario.ports(), evidence_source=self, count_days=self.count_days)

    def look(self, days: float = 1.0) -> Ledger:
        """Look once, a day later."""
        self.scenario.clock.time += days * DAY_S
        ledger = evaluate_champion(self.ports(), "m")
        return drive_rollout(self.ports(), "m", until=lambda seen: not seen.open) if ledger.open else ledger

    def incidents(self) -> list[IncidentOpened]:
        """All incidents."""
        events = [decode_event(entry.kind, entry.data) for entry in self.scenario.journal.entries]
        return [event for event in events if isinstance(event, IncidentOpened)]

    def served(self) -> str:
        """The version that callers get."""
        split = self.scenario.traffic.split
        return split.champion.number if split else ""


def test_a_champion_that_has_decayed_goes_back_to_the_version_that_is_better_now() -> None:
    """The old version loses less on the same requests: an incident is opened, and the champion is taken back."""
    world = World({}, old=0.2, new=0.3)
    assert world.served() == "2"
    ledger = world.look()
    assert world.served() == "1"
    assert world.scenario.registry.aliases["champion"] == "1"
    (incident,) = world.incidents()
    assert incident.champion.number == "2"
    assert "would do better now" in incident.reason
    last = tuple(ledger.rollouts.values())[-1]
    assert last.stage is Stage.FAST_ROLLED_BACK
    assert "gate loss" in last.opened.reason
    question = world.asked[-1]
    assert (question.champion.number, question.candidate.number) == ("1", "2")
    with pytest.raises(Rejected, match="watched"):  # the version that serves now was promoted under no policy
        world.look()


def test_what_hurts_both_versions_alike_rolls_nothing_back() -> None:
    """Both versions lose three times as much as before, and labels come true far more often: told, not rolled back."""
    world = World({}, old=0.6, new=0.6, days=BROKEN)
    ledger = world.look()
    assert world.served() == "2"
    assert [one.trigger for one in world.incidents()] == ["base rate"]
    assert ledger.watch.found is not None
    assert any("base rate" in one for one in ledger.watch.found.alarms)


@pytest.mark.parametrize(
    ("worse", "incidents", "served"), [("tell", 0, "2"), ("incident", 1, "2"), ("rollback", 1, "1")]
)
def test_the_policy_says_what_follows(worse: str, incidents: int, served: str) -> None:
    """A version that is worse now is told, is an incident, or is taken back."""
    world = World({"worse": worse}, old=0.2, new=0.3)
    world.look()
    assert (len(world.incidents()), world.served()) == (incidents, served)


def test_alarms_may_be_told_alone() -> None:
    """With `alarm: tell` a changed base rate stands in the journal and opens no incident."""
    world = World({"alarm": "tell"}, days=BROKEN)
    ledger = world.look()
    assert ledger.watch.found is not None
    assert ledger.watch.found.alarms
    assert world.incidents() == []


def test_an_early_signal_alone_is_no_incident() -> None:
    """A column that has lost its values needs no labels: it is journalled as early, and nothing else follows."""
    world = World({}, days=DRIFTED)
    ledger = world.look()
    assert ledger.watch.found is not None
    assert not ledger.watch.found.alarms
    assert any("seats" in one for one in ledger.watch.found.early)
    assert world.incidents() == []
    assert world.served() == "2"


def test_other_entries_during_a_look_do_not_lose_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that journals during each evidence and each append costs no look: the champion goes back."""
    world = World({}, old=0.2, new=0.3)
    append, waiting = FakeJournal.append, {"ChampionJudged", "ChampionWatched", "IncidentOpened", "RolloutOpened"}

    def append_late(journal: FakeJournal, *entry: Any) -> Entry:
        if entry[4] in waiting:  # just before, another process counts requests
            waiting.remove(entry[4])
            ports = world.scenario.ports("another process")
            ports.append(ports.ledger("m"), ServiceCounted(0.0, 0.0, 0.0, 0.0, ()))
        return append(journal, *entry)

    monkeypatch.setattr(FakeJournal, "append", append_late)
    world.look()
    assert world.served() == "1"
    assert len(world.incidents()) == 1
    assert not waiting


def test_a_rollout_that_is_opened_during_a_look_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who promotes another version while the watch finds the champion worse keeps that rollout."""
    world = World({}, old=0.2, new=0.3)
    append = FakeJournal.append

    def append_then_promote(journal: FakeJournal, *entry: Any) -> Entry:
        made = append(journal, *entry)
        if entry[4] == "IncidentOpened":
            open_promotion(world.scenario.ports("a person"), world.scenario.request("3"))
        return made

    monkeypatch.setattr(FakeJournal, "append", append_then_promote)
    world.scenario.clock.time += DAY_S
    ledger = evaluate_champion(world.ports(), "m")
    assert ledger.rollout is not None
    assert ledger.rollout.opened.candidate.number == "3"
    assert ledger.rollout.ending is None


def test_an_early_signal_has_a_history_of_hits_and_false_alarms() -> None:
    """An early alarm without harm within the label delay and two weeks was false; one that harm follows is a hit."""
    world = World({"gates": ["loss"], "worse": "tell"}, days=DRIFTED)
    name = "input drift of seats"
    assert world.look().watch.early[name].sentence == "its first early alarm"
    world.look(14.0)
    assert world.look(0.4).watch.early[name] == EarlySignalHistory(since=world.began, alarmed=True)
    assert world.look(0.2).watch.early[name] == EarlySignalHistory(false_alarms=1, alarmed=True)
    world.days = QUIET
    assert not world.look().watch.early[name].alarmed
    world.days = DRIFTED
    world.look()
    world.new = 0.3
    found = world.look(3.0).watch.early[name]
    assert (found.hits, found.false_alarms, found.since) == (1, 1, None)
    assert found.sentence == "1 of its 2 earlier alarms came before measured harm"


def test_trouble_that_goes_on_is_one_incident_a_month() -> None:
    """The same trouble opens no second incident the next day; four weeks later it does."""
    world = World({}, days=BROKEN)
    for _ in range(3):
        world.look()
    assert len(world.incidents()) == 1
    world.look(days=28.0)
    assert len(world.incidents()) == 2


def test_a_look_is_due_each_day_while_nothing_else_is_open() -> None:
    """The first look is due a day after the bake, the next one a day later; none while a rollout is open."""
    world = World({})
    ledger = world.ports().ledger("m")
    first = next_evaluation_time(ledger)
    assert first is not None
    assert first == pytest.approx(ledger.now + DAY_S, abs=DAY_S)
    seen = world.look()
    assert next_evaluation_time(seen) == pytest.approx(world.scenario.clock.time + DAY_S, abs=1.0)
    open_promotion(world.scenario.ports(), world.scenario.request("3"))
    assert next_evaluation_time(world.ports().ledger("m")) is None
    with pytest.raises(Rejected, match="a rollout is open"):
        evaluate_champion(world.ports(), "m")


def test_without_a_watch_nothing_is_looked_at() -> None:
    """A policy that says nothing of the time after the bake has nothing done."""
    scenario = Scenario()
    open_promotion(scenario.ports(), scenario.request())
    ledger = drive_rollout(scenario.ports(), "m", until=lambda seen: not seen.open)
    assert next_evaluation_time(ledger) is None
    assert find_retraining_to_start(ledger) is None


def test_an_incident_asks_for_training_once_a_month() -> None:
    """The key by which the deployment starts is the same for each look of a month, and another one afterwards."""
    world = World({"retrain": "train/late", "worse": "incident"}, old=0.2, new=0.3)
    keys = {find_retraining_to_start(world.look()) for _ in range(3)}
    assert len(keys) == 1
    ((deployment, _),) = keys  # type: ignore[misc] # there is one
    assert deployment == "train/late"
    assert find_retraining_to_start(world.look(days=60.0)) not in keys


def test_evidence_that_cannot_be_had_takes_nobody_back() -> None:
    """An ERROR of the comparison is journalled and is no FAIL."""
    world = World({})
    world.gather = lambda _question: MissingEvidence(Outcome.ERROR, "the log cannot be read")  # type: ignore[method-assign, assignment]
    ledger = world.look()
    assert ledger.watch.judged["loss"].verdict.outcome is Outcome.ERROR
    assert world.served() == "2"
    assert world.incidents() == []


def test_verdicts_of_a_watch_are_judged_again_from_their_counters() -> None:
    """`verify` comes to the same verdict, under the policy of the promotion that put the champion there."""
    world = World({}, old=0.2, new=0.3)
    world.look()
    found = [one for one in reverify(world.scenario.journal.entries) if one.gate == "loss"]
    assert [(one.problem, one.skipped) for one in found] == [("", "")]


def test_every_event_of_a_watch_is_one_sentence() -> None:
    """What is journalled reads as a line for people, and comes back from the journal as it was."""
    world = World({}, old=0.2, new=0.3, days=BROKEN)
    world.look()
    events = [decode_event(entry.kind, entry.data) for entry in world.scenario.journal.entries]
    said = [describe_event(one) for one in events if isinstance(one, ChampionJudged | ChampionWatched | IncidentOpened)]
    assert len(said) == 3
    assert said[0].startswith("version 2 beside version 1, loss FAIL:")
    assert "base rate" in said[1]
    assert said[2].startswith("incident ")


def test_a_kill_at_any_port_call_ends_where_it_would_have_ended() -> None:
    """Whichever call of a look is the last one, the next look takes the champion back, with one incident."""
    plain = World({}, old=0.2, new=0.3)
    before = plain.scenario.faults.calls
    plain.look()
    calls = plain.scenario.faults.calls - before
    assert calls > 5
    for turn, how in enumerate(("before", "after")):
        for place in swept(calls, turn):
            world = World({}, old=0.2, new=0.3)
            world.scenario.faults.at = {world.scenario.faults.calls + place: how}
            try:
                world.look()
            except Killed:
                drive_rollout(world.ports(), "m", until=lambda seen: not seen.open)
                if world.served() == "2":
                    world.look()
            assert world.served() == "1", (place, how)
            assert len(world.incidents()) == 1, (place, how)


@pytest.mark.parametrize(
    ("watch", "rule"),
    [
        ({"gates": ["errors"]}, "compares what both versions make"),
        ({"gates": ["missing"]}, "there is no gate 'missing'"),
        ({"worse": "panic"}, "worse"),
        ({"false_alarms_a_year": 0}, "false_alarms_a_year"),
    ],
)
def test_a_watch_that_cannot_be_is_refused(watch: dict[str, object], rule: str) -> None:
    """Gates that compare nothing, unknown ones, unknown reactions and a budget of nothing are refused by lint."""
    with pytest.raises(Violation, match=rule):
        parse_policy(policy(**watch))
