"""Rollouts wait for signed approvals: real keys and `ssh-keygen`, and the scripted world of the state machine."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from surefoot.core.approvals.approval_statement import APPROVE, DENY, ApprovalStatement
from surefoot.core.approvals.version_claims import VersionClaims
from surefoot.core.domain import Outcome, Stage
from surefoot.core.journal.chain import check_chain
from surefoot.core.journal.ledger import Ledger
from surefoot.core.judging.evidence import MissingEvidence
from surefoot.rollout import (
    approval_view,
    drive_rollout,
    end_rollout,
    open_promotion,
    open_rollback,
    record_signed_decision,
)
from tests.approvers import ApproverFolder, approver_folder
from tests.fakes import APPROVED, Scenario
from tests.scripted import FAIL, at, events, scenario, started

FIRST = at(Stage.AWAITING_APPROVAL, 0)
SECOND = at(Stage.AWAITING_APPROVAL, 1)
HOUR_S = 3600.0


@pytest.fixture
def folder(tmp_path: Path) -> ApproverFolder:
    """Ann and Ben may approve."""
    return approver_folder(tmp_path)


def waiting(
    folder: ApproverFolder, policy: dict[str, Any] = APPROVED, play: Callable[..., Any] = lambda _q: None
) -> Scenario:
    """A rollout of version 2 that waits at its first approve step."""
    env = scenario(policy, play)
    env.approvers = folder.approvers()
    started(env, FIRST)
    return env


def statement(env: Scenario, decision: str = APPROVE, nonce: str = "n1", reason: str = "") -> ApprovalStatement:
    """What a person signs now."""
    return approval_view(env.ports().ledger("m")).statement(decision, nonce, env.clock.now(), reason)


def decide(env: Scenario, folder: ApproverFolder, who: str, decision: str = APPROVE, nonce: str = "") -> None:
    """Let a person sign what the rollout waits for."""
    made = statement(env, decision, nonce or f"{who}-{len(env.journal.entries)}")
    record_signed_decision(env.ports(), "m", folder.text(made, who))


def drive(env: Scenario, until: Callable[[Ledger], bool] = lambda ledger: not ledger.open) -> Ledger:
    """Go on until something holds."""
    return drive_rollout(env.ports(), "m", until=until)


def test_a_rollout_waits_for_each_approval_and_goes_on(folder: ApproverFolder) -> None:
    """Nothing moves before the first person has signed, nor the champion before two have; then it is promoted."""
    env = waiting(folder)
    assert all(split.candidate is None for split in env.traffic.changes)
    drive(env, lambda _: env.clock.time > 1_010_000)
    assert FIRST(env.ports().ledger("m"))
    decide(env, folder, "ann")
    drive(env, SECOND)
    split = env.traffic.split
    assert split is not None
    assert split.weight == 5
    decide(env, folder, "ben")
    moment = env.clock.time
    drive(env, lambda _: env.clock.time > moment + 1000.0)
    assert SECOND(env.ports().ledger("m"))
    decide(env, folder, "ann")
    drive(env)
    assert env.picture() == (("Promoted",), {"champion": "2", "previous": "1"}, ("2", None, 0.0))
    given = events(env, "ApprovalGiven")
    assert [(one["step"], one["signed"]["person"]) for one in given] == [  # type: ignore[index]
        (0, "ann@example.com"),
        (1, "ben@example.com"),
        (1, "ann@example.com"),
    ]
    check_chain(env.journal.entries)


def test_an_approval_does_not_save_a_candidate_that_fails(folder: ApproverFolder) -> None:
    """A guardrail that fails while the rollout waits takes the candidate back, approved or not."""
    failing: list[bool] = []
    env = waiting(folder, play=lambda q: FAIL if failing and q.kind == "live" else None)
    decide(env, folder, "ann")
    drive(env, SECOND)
    decide(env, folder, "ann")
    decide(env, folder, "ben")
    failing.append(True)
    env.clock.time += HOUR_S  # the last look is too old by now
    drive(env)
    assert env.picture() == (("RolledBack",), {"champion": "1", "candidate": "2"}, ("1", None, 0.0))


def test_guardrails_are_armed_before_any_traffic_too(folder: ApproverFolder) -> None:
    """A candidate that fails its shadow while it waits for the first approval is rejected."""
    failing: list[bool] = []
    env = waiting(folder, play=lambda q: FAIL if failing and q.kind == "shadow" else None)
    failing.append(True)
    drive(env)
    assert [one["sink"] for one in events(env, "RolloutEnded")] == ["Rejected"]


@pytest.mark.parametrize("then", ["abort", "hold"])
def test_silence_ends_as_the_policy_says(folder: ApproverFolder, then: str) -> None:
    """Without an approval in time the rollout is aborted, or waits on and goes on with a late one."""
    steps = [*APPROVED["steps"]]
    steps[1] = {"approve": {"by": "releasers", "expires": "4h", "then": then}}
    env = waiting(folder, {**APPROVED, "steps": steps})
    begun = env.journal.entries[-1].at
    drive(env, lambda ledger: not ledger.open or env.clock.time > begun + 6 * HOUR_S)
    if then == "abort":
        assert [one["sink"] for one in events(env, "RolloutEnded")] == ["Aborted"]
        assert "0 of 1 approvals by group 'releasers' came within 4 h" in str(events(env, "EndDecided")[0]["reason"])
        assert begun + 4 * HOUR_S <= env.journal.entries[-1].at < begun + 5 * HOUR_S
    else:
        assert [one["step"] for one in events(env, "ApprovalOverdue")] == [0]
        decide(env, folder, "ben")
        drive(env, at(Stage.RAMPING, 0))


@pytest.mark.parametrize("then", ["abort", "hold"])
def test_a_denial_ends_as_the_policy_says(folder: ApproverFolder, then: str) -> None:
    """A signed no aborts the rollout, or holds it whatever others say, until the same person approves."""
    steps = [*APPROVED["steps"]]
    steps[1] = {"approve": {"by": "releasers", "expires": "4h", "then": then}}
    env = waiting(folder, {**APPROVED, "steps": steps})
    record_signed_decision(env.ports(), "m", folder.text(statement(env, DENY, "no", "not before the holidays"), "ben"))
    if then == "abort":
        drive(env)
        assert str(events(env, "EndDecided")[0]["reason"]) == "denied by ben@example.com: not before the holidays"
        assert env.picture() == (("Aborted",), {"champion": "1", "candidate": "2"}, ("1", None, 0.0))
        return
    decide(env, folder, "ann")
    moment = env.clock.time
    drive(env, lambda _: env.clock.time > moment + HOUR_S)
    assert FIRST(env.ports().ledger("m"))
    decide(env, folder, "ben")
    drive(env, at(Stage.RAMPING, 0))


def test_one_person_is_counted_once(folder: ApproverFolder) -> None:
    """Two keys of one person are one approval of a quorum of two."""
    folder.person("ann@example.com", "second")
    env = waiting(folder)
    decide(env, folder, "ann")
    drive(env, SECOND)
    decide(env, folder, "ann")
    decide(env, folder, "second")
    moment = env.clock.time
    drive(env, lambda _: env.clock.time > moment + HOUR_S)
    ledger = env.ports().ledger("m")
    assert SECOND(ledger)
    assert ledger.rollout is not None
    assert ledger.rollout.approvals.people() == ("ann@example.com",)


def test_a_verdict_that_changes_makes_approvals_void(folder: ApproverFolder) -> None:
    """An approval on a PASS does not count once the gate answers otherwise; later entries alone do no harm."""
    unsure: list[bool] = []
    silent = MissingEvidence(Outcome.STALE, "the log is silent")
    play = lambda q: silent if unsure and q.kind == "live" else None  # noqa: E731 - a script of one line
    env = waiting(folder, play=play)
    decide(env, folder, "ann")
    drive(env, SECOND)
    decide(env, folder, "ann")
    looks = len(events(env, "GateJudged"))
    drive(env, lambda _: len(events(env, "GateJudged")) > looks + 1)
    ledger = env.ports().ledger("m")
    assert ledger.rollout is not None
    assert ledger.rollout.approvals.people() == ("ann@example.com",)
    unsure.append(True)
    drive(env, lambda _: bool(events(env, "ApprovalsVoided")))
    (void,) = events(env, "ApprovalsVoided")
    assert (void["gate"], void["before"], void["after"]) == ("errors", "PASS", "STALE")
    unsure.clear()
    drive(env, lambda seen: seen.rollout is not None and seen.rollout.latest["errors"].outcome is Outcome.PASS)
    decide(env, folder, "ann")
    decide(env, folder, "ben")
    drive(env, at(Stage.PROMOTING))


def test_abort_and_rollback_need_no_approval(folder: ApproverFolder) -> None:
    """A rollout that waits is ended by abort before any traffic, and by rollback after it, without a signature."""
    env = waiting(folder)
    end_rollout(env.ports(), "m", Stage.ABORTED, "operator")
    drive(env)
    other = waiting(folder)
    decide(other, folder, "ann")
    drive(other, SECOND)
    open_rollback(other.ports(), "m", "operator")
    drive(other)
    assert [events(one, "RolloutEnded")[-1]["sink"] for one in (env, other)] == ["Aborted", "RolledBack"]


def test_the_author_is_pinned_when_the_rollout_opens(folder: ApproverFolder) -> None:
    """Who made the version is journalled at open, so that a later edit of the registry lets no author approve."""
    env = scenario(APPROVED)
    env.approvers = folder.approvers()
    env.claims = VersionClaims(("ann",))
    started(env, FIRST)
    env.claims = VersionClaims()
    with pytest.raises(Exception, match="author"):
        decide(env, folder, "ann")
    decide(env, folder, "ben")
    drive(env, at(Stage.RAMPING, 0))


def test_open_promotion_without_approvals_asks_the_registry_nothing_more() -> None:
    """A policy without approve steps and ticket causes no further call of the registry."""
    env = Scenario()

    def refuse(_model: str, _number: str) -> VersionClaims:
        raise AssertionError("asked")

    open_promotion(replace(env.ports(), version_claims=refuse), env.request())
