"""What a rollout does next: every wait ends as the policy says, and only PASS advances."""

from typing import TYPE_CHECKING

import pytest

from surefoot.core.actions import JudgeGates, NoRollout
from surefoot.core.domain import EvidenceKind, Outcome, Stage
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.judging.evidence import MissingEvidence
from surefoot.core.planning.alpha_per_gate import TOTAL_SHADOW_GATE_ALPHA
from surefoot.core.policy.parse import parse_policy
from surefoot.core.state_machine import decide_action
from surefoot.rollout import drive_rollout, open_promotion
from tests.fakes import POLICY
from tests.scripted import ALONE, FAIL, MOVED, TWO, at, events, scenario, started

if TYPE_CHECKING:
    from surefoot.core.judging.evidence_request import EvidenceRequest


def test_failing_signal_pauses_until_it_passes() -> None:
    """A signal that fails holds the rollout with a reason, and lets it go when it passes again."""
    env = scenario(TWO, lambda q: MOVED if q.gate.name == "drift" and q.until < 1_010_000 else None)
    started(env)
    paused = events(env, "Paused")
    assert [(item["gate"], item["outcome"]) for item in paused] == [("drift", "FAIL")]
    assert "f has moved by 0.500" in str(paused[0]["reason"])
    assert events(env, "RolloutEnded")[-1]["sink"] == "Promoted"
    assert fold_entries("m", env.journal.entries).now > 1_010_000


def test_earlier_gates_stay_armed() -> None:
    """A guardrail of the first step that fails during the second, which does not name it, rolls back."""
    env = scenario(
        TWO, lambda q: FAIL if q.gate.name == "errors" and events(env, "StageEntered")[-1]["step"] == 1 else None
    )
    started(env)
    (decided,) = events(env, "EndDecided")
    assert (decided["sink"], decided["gate"]) == ("RolledBack", "errors")
    assert fold_entries("m", env.journal.entries).rollouts[str(decided["rollout"])].step == 1


def test_failing_bake_rolls_back() -> None:
    """A guardrail that fails after promotion takes everything back: traffic, champion and previous."""
    env = scenario(POLICY, lambda q: ALONE[True] if q.kind == "bake" else None)
    started(env)
    assert env.picture() == (("RolledBack",), {"champion": "1"}, ("1", None, 0.0))


@pytest.mark.parametrize(
    ("kind", "terminal_stage"), [("data", "Rejected"), ("shadow", "Rejected"), ("live", "RolledBack")]
)
@pytest.mark.parametrize("outcome", [Outcome.INCONCLUSIVE, Outcome.NO_DATA, Outcome.STALE, Outcome.ERROR])
@pytest.mark.parametrize("then", ["rollback", "pause", "hold"])
def test_every_outcome_leads_to_its_action(outcome: Outcome, kind: str, terminal_stage: str, then: str) -> None:
    """What is no verdict waits as long as the policy says, then does what it says; it never advances."""
    action: object = "hold" if then == "hold" else {"hold": "1h", "then": then}
    env = scenario(
        {**POLICY, "on": {outcome.value.lower(): action}},
        lambda q: MissingEvidence(outcome, "so it is") if q.kind == kind else None,
    )
    start = env.clock.time
    ledger = started(env, lambda ledger: not ledger.open or ledger.now > start + 100_000)
    ends, paused = events(env, "RolloutEnded"), events(env, "Paused")
    stage = {"data": "Validating", "shadow": "Shadowing", "live": "Ramping"}[kind]
    entered = next(e for e in env.journal.entries if e.kind == "StageEntered" and e.data["stage"] == stage)
    due = entered.at + (600.0 if kind == "live" else 0.0) + 3600.0
    assert len(events(env, "StageEntered")) == ["data", "shadow", "live"].index(kind) + 1
    if then == "rollback":
        assert [item["sink"] for item in ends] == [terminal_stage]
        decided = next(e for e in env.journal.entries if e.kind == "EndDecided")
        assert decided.at >= due
        assert decided.data["reason"] == f"{decided.data['gate']} is {outcome}: so it is"
    else:
        assert ledger.open
        assert [(item["outcome"], item["reason"]) for item in paused] == (
            [(outcome, "so it is")] if then == "pause" else []
        )
        assert all(e.at >= due for e in env.journal.entries if e.kind == "Paused")


def test_missing_evidence_that_comes_in_time_advances() -> None:
    """A gate without data for a while passes as soon as it has some."""
    env = scenario(
        POLICY,
        lambda q: (
            MissingEvidence(Outcome.NO_DATA, "no request came") if q.kind == "live" and q.until < 1_004_000 else None
        ),
    )
    started(env)
    assert events(env, "RolloutEnded")[-1]["sink"] == "Promoted"


def test_failing_guardrail_that_the_policy_only_pauses() -> None:
    """Under `fail: pause` a failing guardrail never advances and never rolls back, and goes on when it passes."""
    env = scenario(
        {**POLICY, "on": {"fail": "pause"}}, lambda q: FAIL if q.kind == "live" and q.until < 1_010_000 else None
    )
    started(env)
    assert [item["outcome"] for item in events(env, "Paused")] == ["FAIL"]
    assert events(env, "RolloutEnded")[-1]["sink"] == "Promoted"


def test_holds_are_kept() -> None:
    """No step is left before its hold is over, and a bake lasts as long as the policy says."""
    env = scenario()
    started(env)
    entered = {(e.data["stage"], e.data["step"]): e.at for e in env.journal.entries if e.kind == "StageEntered"}
    assert entered["Ramping", 1] - entered["Ramping", 0] >= 600.0
    assert entered["Promoting", 0] - entered["Ramping", 1] >= 600.0
    assert env.journal.entries[-1].at - entered["Baking", 0] >= 3600.0


def test_questions_and_levels() -> None:
    """Each stage asks for its own window; looks count up within a step and start again with the next."""
    env = scenario(TWO)
    started(env)
    asked: list[EvidenceRequest] = env.evidence_source.asked  # type: ignore[attr-defined]
    opened = next(e.at for e in env.journal.entries if e.kind == "RolloutOpened")
    assert asked[0].kind == "data"
    assert asked[0].since == opened - 7 * 86400.0
    assert {q.opened for q in asked} == {opened}
    assert all(q.until >= q.since for q in asked)
    looks: dict[tuple[object, object, object], list[int]] = {}
    for judged in events(env, "GateJudged"):
        verdict = judged["verdict"]
        assert isinstance(verdict, dict)
        looks.setdefault((judged["stage"], judged["step"], verdict["gate"]), []).append(int(str(judged["look"])))
    assert all(found == list(range(1, len(found) + 1)) for found in looks.values())
    assert {gate for _, _, gate in looks} == {"data", "answer_shape", "errors", "drift"}


def test_levels_share_the_budget() -> None:
    """Every use of a live guardrail shares the budget, shadow gates the chance of a turn-away; signals cost nothing."""
    both = {**TWO, "steps": [{"shadow": {"window": "7d", "gates": ["errors", "drift"]}}, *TWO["steps"]]}
    env = scenario(both)
    levels = {}

    def note(ledger: Ledger, action: object) -> None:
        if isinstance(action, JudgeGates):
            levels[action.kind] = action.level

    open_promotion(env.ports(), env.request())
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open, on_step=note)
    assert levels[EvidenceKind.SHADOW].alpha == TOTAL_SHADOW_GATE_ALPHA / 2
    assert levels[EvidenceKind.LIVE].alpha == levels[EvidenceKind.BAKE].alpha == 0.005
    assert levels[EvidenceKind.LIVE].allowance == 1.0


def test_nothing_to_do_without_a_rollout() -> None:
    """An empty ledger has no next action."""
    assert decide_action(Ledger("m"), None, 0.0) == NoRollout()


def test_old_look_decides_nothing() -> None:
    """After a night without a scheduler the gates are asked again before yesterday's answers count."""
    env = scenario()
    ledger = started(
        env, lambda ledger: bool(at(Stage.RAMPING, 0, 1)(ledger) and ledger.rollout and ledger.rollout.verdicts)
    )
    now = ledger.now + 86400.0
    action = decide_action(ledger, parse_policy(POLICY), now)
    assert isinstance(action, JudgeGates)
    assert ledger.rollout is not None
    assert action.look == ledger.rollout.look + 1
    assert [gate.name for gate in action.gates] == ["errors"]
