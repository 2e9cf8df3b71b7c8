"""A stepped rollback: traffic goes back by weights, each held while no gate fails, and always comes to an end."""

from collections.abc import Callable
from typing import Any

import pytest

from surefoot.adapters.mlflow.runs.run_views import make_run_views
from surefoot.core.domain import Outcome, RolloutKind, Stage
from surefoot.core.errors import OutcomeUnknown, VersionUnavailable
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import EffectIntended, SetSplit, decode_event
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.judging.evidence import Evidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.reverify import reverify
from surefoot.core.planning.policy_notes import list_policy_notes
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.violations import Violation
from surefoot.core.rollback.stepped_rollback import waits_for_person
from surefoot.rollout import (
    NextStep,
    drive_rollout,
    end_rollout,
    end_rollout_cut_by_gateway,
    finish_decided_ending,
    next_step,
    open_promotion,
    open_rollback,
)
from tests.fakes import POLICY, STEPPED, Scenario
from tests.scripted import FAIL, events, scenario, started

Play = Callable[[EvidenceRequest], Evidence | None]
WEIGHTS = [(10.0, "1"), (50.0, "1"), (0.0, None)]


def fails(question: EvidenceRequest) -> Evidence | None:
    """Version 1 fails as the target of a rollback, and nowhere else."""
    return FAIL if question.kind == "live" and question.candidate.number == "1" else None


def promoted(policy: dict[str, Any] = STEPPED, play: Play = lambda _: None) -> Scenario:
    """A world in which version 2 has been promoted over version 1."""
    env = scenario(policy, play)
    started(env)
    assert env.registry.aliases["champion"] == "2"
    return env


def splits(env: Scenario, after: int) -> list[tuple[float, str | None]]:
    """Weight and candidate of every split that was put in force since so many of them."""
    return [
        (split.weight, split.candidate.number if split.candidate else None) for split in env.traffic.changes[after:]
    ]


def rollback(env: Scenario, mode: str | None = None, to: str | None = None) -> Ledger:
    """Roll back, and drive that to its end or until it is held."""
    open_rollback(env.ports(), "m", "operator", to, mode)
    return drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open or waits_for_person(ledger.rollout))


def last(ledger: Ledger) -> Rollout:
    """The rollout that was opened last."""
    return list(ledger.rollouts.values())[-1]


def first_weight(ledger: Ledger) -> bool:
    """Whether the first weight of a rollback is live."""
    return bool(ledger.rollout and ledger.rollout.opened.kind == RolloutKind.ROLLBACK and ledger.rollout.done)


def test_traffic_goes_back_by_the_weights_of_the_policy() -> None:
    """Each weight is held for its time and judged, then all traffic goes back, then the aliases."""
    env = promoted()
    before, entries = len(env.traffic.changes), len(env.journal.entries)
    ledger = rollback(env)
    assert splits(env, before) == WEIGHTS
    assert last(ledger).stage is Stage.FAST_ROLLED_BACK
    assert env.registry.aliases["champion"] == "1"
    mine = env.journal.entries[entries:]
    entered = [entry.at for entry in mine if entry.kind == "StageEntered"]
    moved = next(e.at for e in mine if e.kind == "EffectIntended" and not e.data["effect"].get("weight", 1.0))  # type: ignore[attr-defined]
    assert entered[1] - entered[0] >= 300.0
    assert moved - entered[1] >= 300.0
    judged = [entry.data for entry in mine if entry.kind == "GateJudged"]
    assert {int(str(one["step"])) for one in judged} == {0, 1}
    assert ledger.champion is not None
    assert ledger.champion.number == "1"
    assert "2" in {held.version.number for held in ledger.quarantined.values()}


def test_verdicts_of_a_rollback_are_judged_again() -> None:
    """Every verdict of a stepped rollback follows from its counters by the policy that it was opened with."""
    env = promoted()
    rollback(env)
    again = list(reverify(env.journal.entries))
    assert [one.problem for one in again if one.problem] == []
    assert len(again) == len(events(env, "GateJudged"))


def test_the_default_goes_back_at_once() -> None:
    """Without a word in the policy a rollback is one change of the split, and its entry is as it was."""
    env = promoted(POLICY)
    before = len(env.traffic.changes)
    rollback(env)
    assert splits(env, before) == [(0.0, None)]
    opened = events(env, "RolloutOpened")[-1]
    assert (opened["policy"], opened["stepped"], opened["mode_reason"]) == ({}, None, "")


def test_a_person_may_choose_either_way() -> None:
    """--stepped steps where the policy says at once, and --now goes at once where it says step by step."""
    env = promoted(POLICY)
    before = len(env.traffic.changes)
    rollback(env, "stepped")
    assert splits(env, before) == [(10.0, "1"), (25.0, "1"), (50.0, "1"), (0.0, None)]
    env = promoted()
    before = len(env.traffic.changes)
    rollback(env, "immediate")
    assert splits(env, before) == [(0.0, None)]


def test_a_failed_gate_holds_until_a_person_finishes_or_aborts() -> None:
    """A target that fails is given no more traffic; --now moves it all, abort leaves the version that serves."""
    for finish in (True, False):
        env = promoted(play=fails)
        before = len(env.traffic.changes)
        held = rollback(env)
        assert waits_for_person(held.rollout)
        assert splits(env, before) == WEIGHTS[:1]
        assert events(env, "Paused")[-1]["gate"] == "errors"
        if finish:
            ledger = rollback(env, "immediate")
            assert (last(ledger).stage, env.registry.aliases["champion"]) == (Stage.FAST_ROLLED_BACK, "1")
        else:
            end_rollout(env.ports(), "m", Stage.ABORTED, "operator")
            ledger = drive_rollout(env.ports(), "m", until=lambda seen: not seen.open)
            assert (last(ledger).stage, env.registry.aliases["champion"]) == (Stage.ABORTED, "2")
            assert not ledger.quarantined
        assert env.traffic.split is not None
        assert env.traffic.split.champion.number == ("1" if finish else "2")
        assert env.traffic.split.candidate is None


def test_a_step_is_held_while_it_fails_and_goes_on_when_it_does_not() -> None:
    """A gate that fails once and then passes lets the rollback go on by itself."""
    count = 0

    def play(question: EvidenceRequest) -> Evidence | None:
        nonlocal count
        count += fails(question) is not None
        return fails(question) if count == 1 else None

    env = promoted(play=play)
    assert waits_for_person(rollback(env).rollout)
    ledger = drive_rollout(env.ports(), "m", until=lambda seen: not seen.open)
    assert last(ledger).stage is Stage.FAST_ROLLED_BACK


@pytest.mark.parametrize("error", [OutcomeUnknown("no answer"), OSError("the disk is gone"), ValueError("odd")])
def test_evidence_that_cannot_be_gathered_holds_nothing_up(error: Exception) -> None:
    """A step whose gates cannot be asked is widened when its time is over."""
    broken = False

    def play(_: EvidenceRequest) -> Evidence | None:
        if broken:
            raise error
        return None

    env = promoted(play=play)
    before, broken = len(env.traffic.changes), True
    ledger = rollback(env)
    assert last(ledger).stage is Stage.FAST_ROLLED_BACK
    assert splits(env, before) == WEIGHTS
    verdicts: Any = [one["verdict"] for one in events(env, "GateJudged")]
    assert verdicts[-1]["outcome"] == Outcome.ERROR.value


def test_an_open_promotion_goes_back_at_once_whatever_is_asked_for() -> None:
    """A candidate is never taken back by steps."""
    env = scenario(STEPPED)
    started(env, lambda ledger: bool(ledger.rollout and ledger.rollout.stage is Stage.RAMPING and ledger.rollout.done))
    before = len(env.traffic.changes)
    rollback(env, "stepped")
    assert splits(env, before) == [(0.0, None)]


@pytest.mark.parametrize(
    ("window", "at_once"),
    [({"age": "30d"}, True), ({"versions": 1}, True), ({"age": "30d", "versions": 1}, True), ({"age": "1s"}, False)],
)
def test_a_target_inside_the_window_is_gone_to_at_once(window: dict[str, object], at_once: bool) -> None:
    """What served lately, and is few versions back, needs no steps; the journal says why."""
    env = promoted({**STEPPED, "rollback": {**STEPPED["rollback"], "window": window}})
    before = len(env.traffic.changes)
    rollback(env)
    assert splits(env, before) == (WEIGHTS[2:] if at_once else WEIGHTS)
    said = str(events(env, "RolloutOpened")[-1]["mode_reason"])
    assert said.startswith("the target is inside" if at_once else "outside rollback.window: it last served")


def test_versions_outside_the_window_are_counted_from_the_champion() -> None:
    """A version two back is outside of a window of one."""
    policy = {**STEPPED, "rollback": {**STEPPED["rollback"], "window": {"versions": 1}}}
    env = promoted(policy)
    open_promotion(env.ports(), env.request("3"))
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    before = len(env.traffic.changes)
    rollback(env, to="1")
    assert splits(env, before) == WEIGHTS


def test_asked_twice_it_is_one_rollback() -> None:
    """A second request joins the first, and --now overrides an abort that has not ended yet."""
    env = promoted()
    open_rollback(env.ports(), "m", "one")
    drive_rollout(env.ports(), "m", until=first_weight)
    head = len(env.journal.entries)
    open_rollback(env.ports(), "m", "two")
    open_rollback(env.ports(), "m", "two", mode="stepped")
    assert len(env.journal.entries) == head
    end_rollout(env.ports(), "m", Stage.ABORTED, "abort")
    ledger = rollback(env, "immediate")
    assert last(ledger).stage is Stage.FAST_ROLLED_BACK
    assert len(events(env, "RolloutOpened")) == 2


def test_an_abort_after_all_traffic_has_moved_changes_nothing() -> None:
    """Once the last split is intended the rollback goes on to its end."""
    env = promoted()
    open_rollback(env.ports(), "m", "operator")
    final = SetSplit(env.registry.versions["1"], None, 0.0)
    drive_rollout(env.ports(), "m", until=lambda ledger: bool(ledger.rollout and final in ledger.rollout.done))
    end_rollout(env.ports(), "m", Stage.ABORTED, "too late")
    ledger = drive_rollout(env.ports(), "m", until=lambda seen: not seen.open)
    assert last(ledger).stage is Stage.FAST_ROLLED_BACK


def test_a_target_that_the_gateway_cuts_calls_the_rollback_off() -> None:
    """The tripwire has moved traffic to the version that serves; the journal follows, and one may ask again."""
    env = promoted()
    open_rollback(env.ports(), "m", "operator")
    ledger = drive_rollout(env.ports(), "m", until=first_weight)
    end_rollout_cut_by_gateway(env.ports("gateway"), "m", ledger.open, "9 of 10 requests failed")
    ledger = drive_rollout(env.ports(), "m", until=lambda seen: not seen.open)
    assert (last(ledger).stage, last(ledger).reason) == (Stage.ABORTED, "9 of 10 requests failed")
    assert last(rollback(env, "immediate")).stage is Stage.FAST_ROLLED_BACK


def test_runs_of_the_steps_are_named_by_their_weight() -> None:
    """MLflow shows each step of a rollback under its own weight, not under one of the promotion's."""
    env = promoted()
    rollback(env)
    names = [view.name for view in make_run_views(env.journal.entries) if "Ramping" in view.name]
    assert names[-2:] == ["01 Ramping 10 %", "02 Ramping 50 %"]


def test_lint_says_what_a_stepped_rollback_costs() -> None:
    """How long callers go on with the bad version is said, and keys that are not used are named."""
    said = list_policy_notes(parse_policy(STEPPED))
    assert any("answers callers for 10 min more" in note for note in said)
    unused = {**POLICY, "rollback": {"hold": "5m", "window": {"versions": 2}}}
    assert any("of hold, window nothing is used" in note for note in list_policy_notes(parse_policy(unused)))
    assert not any("rollback" in note for note in list_policy_notes(parse_policy(POLICY)))


def test_ticks_bring_a_rollback_to_its_end_whose_command_was_killed() -> None:
    """`reconcile` takes what is due at each tick, waits for nothing, and ends the rollback."""
    env = promoted()
    open_rollback(env.ports(), "m", "operator")
    ticks = 0
    while (ledger := env.ports().ledger("m")).open:
        assert next_step(ledger, driven=False) is NextStep.FINISH
        finish_decided_ending(env.ports(), "m")
        env.clock.time += 60.0
        ticks += 1
        assert ticks < 20
    assert ticks > 5
    assert last(ledger).stage is Stage.FAST_ROLLED_BACK


def test_a_target_that_cannot_be_loaded_at_a_step_gives_way_to_the_next() -> None:
    """The steps go on with the next proven-good version."""
    env = promoted()
    open_promotion(env.ports(), env.request("3"))
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    shift = env.traffic.shift

    def without_two(model: str, split: Any) -> None:
        if split.candidate and split.candidate.number == "2":
            raise VersionUnavailable("version 2 cannot be loaded")
        shift(model, split)

    env.traffic.shift = without_two  # type: ignore[method-assign]
    before = len(env.traffic.changes)
    ledger = rollback(env)
    assert splits(env, before) == WEIGHTS
    assert env.registry.aliases["champion"] == "1"
    assert last(ledger).rollback_target.number == "1"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"steps": [50, 10]}, "weights must grow"),
        ({"steps": []}, "expected a list of weights"),
        ({"window": {}}, "give 'age', 'versions' or both"),
        ({"hold": "0s"}, "above 0s"),
        ({"gates": ["none"]}, "there is no gate 'none'"),
        ({"gates": ["loss"]}, "a rollback does not wait for labels"),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(section: dict[str, object], said: str) -> None:
    """Weights grow, a window ends, a hold lasts, and gates need no labels."""
    loss = {"metric": "brier", "margin": 0.01, "labels": {"maturity": "1h"}}
    policy = {**POLICY, "gates": {**POLICY["gates"], "loss": loss}, "rollback": section}
    policy["steps"] = [{"shadow": {"window": "7d", "gates": ["errors", "loss"]}}, *POLICY["steps"][1:]]
    with pytest.raises(Violation, match=said):
        parse_policy(policy)


def test_a_cohort_goes_back_before_all_others() -> None:
    """The first weight is the cohort's, for a time of its own; its units are among those of every later step."""
    cohort = {"share": 1, "hold": "10m"}
    env = promoted({**STEPPED, "rollback": {**STEPPED["rollback"], "cohort": cohort}})
    before = len(env.traffic.changes)
    ledger = rollback(env)
    assert splits(env, before) == [(1.0, "1"), *WEIGHTS]
    steps = last(ledger).opened.stepped
    assert steps is not None
    assert (steps.hold_seconds(0), steps.hold_seconds(1), steps.total_seconds) == (
        600.0,
        steps.hold,
        600.0 + 2 * steps.hold,
    )


@pytest.mark.parametrize(("share", "weight"), [({}, 0.1), ({"share": 1}, 1.0)])
def test_listed_units_go_back_first_and_stay(share: dict[str, object], weight: float) -> None:
    """The first split names them, beside the share or the smallest weight, and so does each later one."""
    cohort = {**share, "units": ["ACME", 4711.0, True], "hold": "10m"}
    env = promoted({**STEPPED, "unit": "customer", "rollback": {**STEPPED["rollback"], "cohort": cohort}})
    before = len(env.traffic.changes)
    ledger = rollback(env)
    assert splits(env, before) == [(weight, "1"), *WEIGHTS]
    units = [split.units for split in env.traffic.changes[before:]]
    assert units == [("ACME", "4711", "true")] * 3 + [()]
    assert last(ledger).stage is Stage.FAST_ROLLED_BACK
    told = " ".join(describe_event(decode_event(one.kind, one.data)) for one in env.journal.entries)
    assert told.count(f"version 1 answers 3 listed units and {weight:g} % of the units") >= 2
    assert told.count("version 1 answers 3 listed units and 50 % of the units") >= 2


@pytest.mark.parametrize(
    ("cohort", "said"),
    [
        ({}, "give 'share', 'units' or both"),
        ({"units": []}, "expected a list of units"),
        ({"units": "ACME"}, "expected a list of units"),
        ({"units": ["ACME", None]}, "expected a unit as requests name it, found nothing"),
        ({"units": [" "]}, "expected a unit as requests name it"),
        ({"units": [[1]]}, "expected a unit as requests name it"),
        ({"units": [7, "7.0"]}, "are the same unit"),
        ({"units": list(range(1001))}, "1,001 units are too many: at most 1,000"),
    ],
)
def test_a_cohort_that_cannot_be_meant_is_refused(cohort: dict[str, object], said: str) -> None:
    """A unit is named once, as requests name it; the error is one line."""
    policy = {**POLICY, "unit": "customer", "rollback": {"mode": "stepped", "cohort": cohort}}
    with pytest.raises(Violation, match=said) as refused:
        parse_policy(policy)
    assert "\n" not in str(refused.value)


def test_listed_units_need_a_column() -> None:
    """Without `unit` each request is its own unit, and no request would be of the cohort."""
    policy = {key: value for key, value in POLICY.items() if key != "unit"}
    cohort = {"mode": "stepped", "cohort": {"units": ["ACME"]}}
    with pytest.raises(Violation, match=r"rollback\.cohort\.units: requests have no units without the key 'unit'"):
        parse_policy({**policy, "rollback": cohort})


def test_splits_of_an_earlier_release_list_no_unit() -> None:
    """What 0.1.0 has journalled of splits is read as before."""
    version = {"number": "1", "digest": f"sha256:{1:064}", "data_digest": ""}
    effect = {"effect": "SetSplit", "champion": version, "candidate": None, "weight": 0.0}
    found = decode_event("EffectIntended", {"rollout": "r", "effect": effect})
    assert isinstance(found, EffectIntended)
    assert isinstance(found.effect, SetSplit)
    assert found.effect.units == ()
