"""What a rollout does next: every wait ends, every way back moves traffic first, and nobody's choice is overwritten."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from surefoot.core.errors import RegistryUnavailable
from surefoot.core.events import SetAlias, SetSplit, decode
from surefoot.core.evidence import Evidence, FeatureShift, InputShift, Missing, Question, SplitCounts, Stratum, Validation
from surefoot.core.machine import PRE_TRAFFIC_ALPHA, Idle, Judge, decide
from surefoot.core.model import Outcome, Stage
from surefoot.core.parse import parse
from surefoot.core.state import Ledger, fold
from surefoot.rollout import adopt, drive, end, open_promotion, open_rollback
from tests.fakes import POLICY, Faults, Killed, World

PASS = SplitCounts((Stratum(0.5, 0, 20_000, 0, 20_000),), 0.0, recent=40_000)
FAIL = SplitCounts((Stratum(0.5, 8_000, 12_000, 0, 20_000),), 0.0, recent=40_000)
ALONE = {True: SplitCounts((Stratum(1.0, 8_000, 12_000, 0, 0),), 0.0), False: SplitCounts((Stratum(1.0, 0, 20_000, 0, 0),), 0.0)}
STILL, MOVED = (InputShift("before", (FeatureShift("f", d, 10**6, 10**6),)) for d in (0.0, 0.5))
TWO = {
    **POLICY,
    "gates": {
        "errors": {"metric": "error_rate", "margin": "1pp"},
        "drift": {"metric": "input_shift", "role": "signal", "max": 0.1},
    },
    "steps": [
        {"weight": 5, "hold": {"for": "10m", "gates": ["errors"]}},
        {"weight": 50, "hold": {"for": "10m", "gates": ["drift"]}},
    ],
}


@dataclass
class Script:
    """Evidence as a function of the question; everything else is good."""

    play: Callable[[Question], Evidence | None] = lambda _question: None
    asked: list[Question] = field(default_factory=list)

    def gather(self, question: Question) -> Evidence:
        self.asked.append(question)
        if found := self.play(question):
            return found
        if question.kind == "data":
            return Validation("m", 100, 3, ())
        return STILL if question.gate.name == "drift" else ALONE[False] if question.kind == "bake" else PASS


def world(policy: Mapping[str, object] = POLICY, play: Callable[[Question], Evidence | None] = lambda _: None) -> World:
    """A world whose evidence follows a script."""
    made = World(policy=dict(policy))
    made.evidences = Script(play)  # type: ignore[assignment]
    return made


def events(seen: World, kind: str) -> list[Mapping[str, object]]:
    """Data of every entry of one kind."""
    return [entry.data for entry in seen.journal.entries if entry.kind == kind]


def started(seen: World, until: Callable[[Ledger], bool] = lambda ledger: not ledger.open) -> Ledger:
    """Open the promotion of version 2 and drive it."""
    open_promotion(seen.ports(), seen.request())
    return drive(seen.ports(), "m", until=until)


def at(stage: Stage, step: int = 0, done: int = 0) -> Callable[[Ledger], bool]:
    """Whether the open rollout is there, with so many effects done."""

    def there(ledger: Ledger) -> bool:
        here = ledger.rollout
        return here is not None and (here.stage, here.step) == (stage, step) and len(here.done) >= done

    return there


POINTS = {
    "submitted": at(Stage.SUBMITTED),
    "validating": at(Stage.VALIDATING),
    "shadowing": at(Stage.SHADOWING),
    "entered the ramp": at(Stage.RAMPING),
    "ramping": at(Stage.RAMPING, 0, 1),
    "entered the second step": at(Stage.RAMPING, 1, 1),
    "ramping on": at(Stage.RAMPING, 1, 2),
    "promoting": at(Stage.PROMOTING),
    "previous is set": at(Stage.PROMOTING, 0, 3),
    "champion is set": at(Stage.PROMOTING, 0, 4),
    "traffic is moved": at(Stage.PROMOTING, 0, 5),
    "candidate is gone": at(Stage.PROMOTING, 0, 6),
    "baking": at(Stage.BAKING),
}


def back_in_order(seen: World) -> None:
    """On the way back no alias is touched before the traffic is back where it was."""
    decided = next(e.seq for e in seen.journal.entries if e.kind == "EndDecided")
    effects = [decode(e.kind, e.data).effect for e in seen.journal.entries if e.kind == "EffectIntended" and e.seq > decided]  # type: ignore[union-attr]
    kinds = [type(effect) for effect in effects]
    assert kinds == sorted(kinds, key=lambda kind: kind is SetAlias)
    assert not effects or isinstance(effects[0], SetSplit)


@pytest.mark.parametrize("how", ["abort", "roll back", "supersede"])
@pytest.mark.parametrize("point", POINTS)
def test_way_back_from_every_stage(point: str, how: str) -> None:
    """From every stage an abort or a rollback ends in its sink, with the old champion served and registered."""
    seen = world()
    ledger = started(seen, POINTS[point])
    before = ledger.rollout.stage in {Stage.SUBMITTED, Stage.VALIDATING, Stage.SHADOWING} if ledger.rollout else False
    if how == "roll back":
        open_rollback(seen.ports(), "m", "operator")
    else:
        end(seen.ports(), "m", Stage.ABORTED if how == "abort" else Stage.SUPERSEDED, "operator")
    ledger = drive(seen.ports(), "m", until=lambda ledger: not ledger.open)
    sink = {"abort": Stage.ABORTED, "supersede": Stage.SUPERSEDED}.get(how, Stage.ABORTED if before else Stage.ROLLED_BACK)
    (ended,) = events(seen, "RolloutEnded")
    assert ended["sink"] == sink
    back_in_order(seen)
    live = seen.traffic.split
    assert live is not None
    assert (live.champion.number, live.candidate) == ("1", None)
    assert seen.registry.aliases["champion"] == "1"
    assert "previous" not in seen.registry.aliases or point == "previous is set"
    assert ledger.champion is not None
    assert ledger.champion.number == "1"
    assert [version.number for version in ledger.proven] == ["1"]


@pytest.mark.parametrize("how", ["abort", "roll back"])
def test_way_back_after_a_kill_at_every_call(how: str) -> None:
    """Killed at any call of a promotion and then taken back, the rollout ends with the old champion everywhere."""
    calls = 0
    while True:
        calls += 1
        seen = world()
        seen.faults.at = {calls: "after"}
        try:
            started(seen)
        except Killed:
            pass
        else:
            break
        ledger = fold("m", seen.journal.entries)
        if not ledger.open:
            continue
        if how == "abort":
            end(seen.ports(), "m", Stage.ABORTED, "operator")
        else:
            open_rollback(seen.ports(), "m", "operator")
        drive(seen.ports(), "m", until=lambda ledger: not ledger.open)
        ends = events(seen, "RolloutEnded")
        if ends[0]["sink"] != "Promoted":
            back_in_order(seen)
            assert seen.registry.aliases["champion"] == "1", calls
            live = seen.traffic.split
            assert live is None or (live.champion.number, live.candidate) == ("1", None), calls
    assert calls > 40


@dataclass
class Human(Faults):
    """Somebody points `champion` to version 3 right before a numbered call."""

    strikes: int = 0
    aliases: dict[str, str] = field(default_factory=dict)
    struck: bool = False

    def call(self, apply: Callable[[], object]) -> object:  # type: ignore[override]
        if self.calls + 1 == self.strikes:
            self.aliases["champion"] = "3"
            self.struck = True
        return super().call(apply)


STORIES: dict[str, tuple[Callable[[Question], Evidence | None], Callable[[Ledger], bool] | None]] = {
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
        seen = world(POLICY, play)
        adopt(seen.ports(), "m")
        human = Human(strikes=strikes, aliases=seen.registry.aliases)
        for port in (seen.journal, seen.registry, seen.traffic):
            port.faults = human
        writes = []
        original = seen.registry.set_alias

        def set_alias(model: str, alias: str, number: str | None, human: Human = human, original: object = original) -> None:
            if alias == "champion":
                writes.append(human.calls + 1)  # noqa: B023 - used within this turn of the loop
            original(model, alias, number)  # type: ignore[operator]

        seen.registry.set_alias = set_alias  # type: ignore[method-assign]
        if abort:
            if started(seen, lambda ledger: not ledger.open or abort(ledger)).open:  # noqa: B023 - same
                end(seen.ports(), "m", Stage.ABORTED, "operator")
        else:
            open_promotion(seen.ports(), seen.request())
        ledger = drive(seen.ports(), "m", until=lambda ledger: not ledger.open)
        if not human.struck:
            break
        kept = seen.registry.aliases["champion"] == "3"
        assert kept or strikes in writes, (story, strikes)
        drifted = bool(events(seen, "DriftFound"))
        assert not (drifted and not kept)
        live = seen.traffic.split
        assert live is not None
        assert live.candidate is None
        assert ledger.champion == live.champion, (story, strikes)
        ended = events(seen, "RolloutEnded")[-1]["sink"]
        assert live.champion.number == ("2" if ended == "Promoted" else "1")
        assert story == "promoted" or ended != "Promoted"
    assert strikes > 20


@pytest.mark.parametrize("point", ["ramping", "ramping on", "previous is set", "champion is set", "baking"])
def test_registry_is_down_during_a_rollback(point: str) -> None:
    """With the registry down the traffic goes back all the same, and the rollout ends once the registry answers."""
    seen = world()
    started(seen, POINTS[point])
    calm = seen.registry.faults
    down = Faults(dict.fromkeys(range(1, 10_000), "refused"))
    seen.registry.faults = down
    open_rollback(seen.ports(), "m", "operator")
    needs_registry = point in {"champion is set", "baking"}
    if needs_registry:
        with pytest.raises(RegistryUnavailable):
            drive(seen.ports(), "m", until=lambda ledger: not ledger.open, patience=5.0)
    else:
        drive(seen.ports(), "m", until=lambda ledger: not ledger.open, patience=5.0)
    live = seen.traffic.split
    assert live is not None
    assert (live.champion.number, live.candidate) == ("1", None)
    seen.registry.faults = calm
    drive(seen.ports(), "m", until=lambda ledger: not ledger.open)
    assert events(seen, "RolloutEnded")[-1]["sink"] == "RolledBack"
    assert seen.registry.aliases["champion"] == "1"


def test_registry_is_down_while_a_promoted_version_is_taken_back() -> None:
    """After promotion too, the traffic goes back first and the registry follows when it answers."""
    seen = world()
    started(seen)
    calm, seen.registry.faults = seen.registry.faults, Faults(dict.fromkeys(range(1, 10_000), "refused"))
    open_rollback(seen.ports(), "m", "operator")
    with pytest.raises(RegistryUnavailable):
        drive(seen.ports(), "m", until=lambda ledger: not ledger.open, patience=5.0)
    assert seen.traffic.split is not None
    assert seen.traffic.split.champion.number == "1"
    assert seen.registry.aliases["champion"] == "2"
    seen.registry.faults = calm
    ledger = drive(seen.ports(), "m", until=lambda ledger: not ledger.open)
    assert events(seen, "RolloutEnded")[-1]["sink"] == "FastRolledBack"
    assert seen.registry.aliases == {"champion": "1"}
    assert ledger.champion is not None
    assert ledger.champion.number == "1"


def test_human_moved_the_champion_before_a_rollback_of_a_promoted_version() -> None:
    """The traffic goes back, the human's alias stays, drift is found, and the journal serves what is served."""
    seen = world()
    started(seen)
    seen.registry.aliases["champion"] = "3"
    open_rollback(seen.ports(), "m", "operator")
    ledger = drive(seen.ports(), "m", until=lambda ledger: not ledger.open)
    assert seen.registry.aliases["champion"] == "3"
    assert len(events(seen, "DriftFound")) == 1
    assert ledger.champion is not None
    assert ledger.champion.number == "1"


def test_failing_signal_pauses_until_it_passes() -> None:
    """A signal that fails holds the rollout with a reason, and lets it go when it passes again."""
    seen = world(TWO, lambda q: MOVED if q.gate.name == "drift" and q.until < 1_010_000 else None)
    started(seen)
    paused = events(seen, "Paused")
    assert [(item["gate"], item["outcome"]) for item in paused] == [("drift", "FAIL")]
    assert "f has moved by 0.500" in str(paused[0]["reason"])
    assert events(seen, "RolloutEnded")[-1]["sink"] == "Promoted"
    assert fold("m", seen.journal.entries).now > 1_010_000


def test_earlier_gates_stay_armed() -> None:
    """A guardrail of the first step that fails during the second, which does not name it, rolls back."""
    seen = world(TWO, lambda q: FAIL if q.gate.name == "errors" and events(seen, "StageEntered")[-1]["step"] == 1 else None)
    started(seen)
    (decided,) = events(seen, "EndDecided")
    assert (decided["sink"], decided["gate"]) == ("RolledBack", "errors")
    assert fold("m", seen.journal.entries).rollouts[str(decided["rollout"])].step == 1


def test_failing_bake_rolls_back() -> None:
    """A guardrail that fails after promotion takes everything back: traffic, champion and previous."""
    seen = world(POLICY, lambda q: ALONE[True] if q.kind == "bake" else None)
    started(seen)
    assert seen.picture() == (("RolledBack",), {"champion": "1"}, ("1", None, 0.0))
    back_in_order(seen)


@pytest.mark.parametrize(("kind", "sink"), [("data", "Rejected"), ("shadow", "Rejected"), ("live", "RolledBack")])
@pytest.mark.parametrize("outcome", [Outcome.INCONCLUSIVE, Outcome.NO_DATA, Outcome.STALE, Outcome.ERROR])
@pytest.mark.parametrize("then", ["rollback", "pause", "hold"])
def test_every_outcome_leads_to_its_action(outcome: Outcome, kind: str, sink: str, then: str) -> None:
    """What is no verdict waits as long as the policy says, then does what it says; it never advances."""
    action: object = "hold" if then == "hold" else {"hold": "1h", "then": then}
    seen = world({**POLICY, "on": {outcome.value.lower(): action}}, lambda q: Missing(outcome, "so it is") if q.kind == kind else None)
    start = seen.clock.time
    ledger = started(seen, lambda ledger: not ledger.open or ledger.now > start + 100_000)
    ends, paused = events(seen, "RolloutEnded"), events(seen, "Paused")
    stage = {"data": "Validating", "shadow": "Shadowing", "live": "Ramping"}[kind]
    entered = next(e for e in seen.journal.entries if e.kind == "StageEntered" and e.data["stage"] == stage)
    due = entered.at + (600.0 if kind == "live" else 0.0) + 3600.0
    assert len(events(seen, "StageEntered")) == ["data", "shadow", "live"].index(kind) + 1
    if then == "rollback":
        assert [item["sink"] for item in ends] == [sink]
        decided = next(e for e in seen.journal.entries if e.kind == "EndDecided")
        assert decided.at >= due
        assert decided.data["reason"] == f"{decided.data['gate']} is {outcome}: so it is"
    else:
        assert ledger.open
        assert [(item["outcome"], item["reason"]) for item in paused] == ([(outcome, "so it is")] if then == "pause" else [])
        assert all(e.at >= due for e in seen.journal.entries if e.kind == "Paused")


def test_missing_evidence_that_comes_in_time_advances() -> None:
    """A gate without data for a while passes as soon as it has some."""
    seen = world(POLICY, lambda q: Missing(Outcome.NO_DATA, "nobody came") if q.kind == "live" and q.until < 1_004_000 else None)
    started(seen)
    assert events(seen, "RolloutEnded")[-1]["sink"] == "Promoted"


def test_failing_guardrail_that_the_policy_only_pauses() -> None:
    """Under `fail: pause` a failing guardrail never advances and never rolls back, and goes on when it passes."""
    seen = world({**POLICY, "on": {"fail": "pause"}}, lambda q: FAIL if q.kind == "live" and q.until < 1_010_000 else None)
    started(seen)
    assert [item["outcome"] for item in events(seen, "Paused")] == ["FAIL"]
    assert events(seen, "RolloutEnded")[-1]["sink"] == "Promoted"


def test_holds_are_kept() -> None:
    """No step is left before its hold is over, and a bake lasts as long as the policy says."""
    seen = world()
    started(seen)
    entered = {(e.data["stage"], e.data["step"]): e.at for e in seen.journal.entries if e.kind == "StageEntered"}
    assert entered["Ramping", 1] - entered["Ramping", 0] >= 600.0
    assert entered["Promoting", 0] - entered["Ramping", 1] >= 600.0
    assert seen.journal.entries[-1].at - entered["Baking", 0] >= 3600.0


def test_questions_and_levels() -> None:
    """Each stage asks for its own window; looks count up within a step and start again with the next."""
    seen = world(TWO)
    started(seen)
    asked: list[Question] = seen.evidences.asked  # type: ignore[attr-defined]
    opened = next(e.at for e in seen.journal.entries if e.kind == "RolloutOpened")
    assert asked[0].kind == "data"
    assert asked[0].since == opened - 7 * 86400.0
    assert {q.opened for q in asked} == {opened}
    assert all(q.until >= q.since for q in asked)
    looks: dict[tuple[object, object, object], list[int]] = {}
    for judged in events(seen, "GateJudged"):
        verdict = judged["verdict"]
        assert isinstance(verdict, dict)
        looks.setdefault((judged["stage"], judged["step"], verdict["gate"]), []).append(int(str(judged["look"])))
    assert all(found == list(range(1, len(found) + 1)) for found in looks.values())
    assert {gate for _, _, gate in looks} == {"data", "errors", "drift"}


def test_levels_share_the_budget() -> None:
    """Every use of a live guardrail shares the budget, shadow gates the chance of a turn-away; signals cost nothing."""
    both = {**TWO, "steps": [{"shadow": {"window": "7d", "gates": ["errors", "drift"]}}, *TWO["steps"]]}  # type: ignore[misc]
    seen = world(both)
    levels = {}

    def note(ledger: Ledger, action: object) -> None:
        if isinstance(action, Judge):
            levels[action.kind] = action.level

    open_promotion(seen.ports(), seen.request())
    drive(seen.ports(), "m", until=lambda ledger: not ledger.open, seen=note)
    assert levels["shadow"].alpha == PRE_TRAFFIC_ALPHA / 2
    assert levels["live"].alpha == levels["bake"].alpha == 0.005
    assert levels["live"].allowance == 1.0


def test_nothing_to_do_without_a_rollout() -> None:
    """An empty ledger has no next action."""
    assert decide(Ledger("m"), None, 0.0) == Idle()


def test_old_look_decides_nothing() -> None:
    """After a night without a scheduler the gates are asked again before yesterday's answers count."""
    seen = world()
    ledger = started(seen, lambda ledger: bool(at(Stage.RAMPING, 0, 1)(ledger) and ledger.rollout and ledger.rollout.verdicts))
    now = ledger.now + 86400.0
    action = decide(ledger, parse(POLICY), now)
    assert isinstance(action, Judge)
    assert ledger.rollout is not None
    assert action.look == ledger.rollout.look + 1
    assert [gate.name for gate in action.gates] == ["errors"]
