"""Show what an approver of a rollout is to sign, and verify and journal signed approvals and denials."""

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from surefoot.core.approvals.approval_checks import (
    Signer,
    find_evidence_problem,
    find_person_problem,
    find_subject_problem,
    find_time_problem,
)
from surefoot.core.approvals.approval_events import (
    ApprovalDenied,
    ApprovalGiven,
    ApprovalRejected,
    SignedDecision,
)
from surefoot.core.approvals.approval_state import compute_evidence_digest, list_gate_outcomes
from surefoot.core.approvals.approval_statement import APPROVE, ApprovalStatement, SignedText, read_signed_text
from surefoot.core.domain import Stage, Verdict
from surefoot.core.errors import ApprovalInvalid, InvariantBroken, StaleLedger, TransitionIllegal
from surefoot.core.journal.events import Event
from surefoot.core.journal.ledger import Ledger, Rollout, fold_entries
from surefoot.core.operator_reason import clean_reason
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Policy
from surefoot.core.ports import Approvers
from surefoot.core.stages.stage_places import StagePlace, next_place
from surefoot.rollout.ports import Ports

_E = TypeVar("_E", bound=Event)
_CONFLICT_RETRIES = 100
"""How often a decision is recorded again when another process was faster [count]."""


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """What an approver sees before signing.

    Attributes:
        rollout: The rollout that waits.
        policy: Its policy.
        head: Last journal entry of this view.
        verdicts: The latest verdict of each gate.
        next_place: Stage and step that an approval lets the rollout enter.
        deadline: When the time for approvals is over [Unix seconds].
    """

    rollout: Rollout
    policy: Policy
    head: int
    verdicts: Mapping[str, Verdict]
    next_place: StagePlace
    deadline: float

    def statement(self, decision: str, nonce: str, now: float, reason: str = "") -> ApprovalStatement:
        """The statement that approves or denies what this view shows.

        Args:
            decision: APPROVE or DENY.
            nonce: Random text, another one for each statement.
            now: Time of the policies' clock [Unix seconds].
            reason: Why.
        """
        opened, step = self.rollout.opened, self.policy.approvals[self.rollout.step]
        return ApprovalStatement(
            decision=decision,
            model=self.policy.model,
            rollout=opened.rollout,
            version=opened.candidate.number,
            artifact=opened.candidate.digest,
            policy=opened.policy_digest,
            evidence=compute_evidence_digest(self.verdicts),
            head=self.head,
            step=self.rollout.step,
            expires=int(max(self.deadline, now + step.expires) if step.then == "hold" else self.deadline),
            nonce=nonce,
            reason=reason,
        )


def approval_view(ledger: Ledger) -> ApprovalView:
    """What is to be approved now.

    Raises:
        TransitionIllegal: No rollout of the model waits for an approval.
    """
    rollout = ledger.rollout
    if rollout is None or rollout.stage is not Stage.AWAITING_APPROVAL or rollout.ending:
        where = "none is open" if rollout is None else f"its rollout is {rollout.stage}"
        if rollout is not None and rollout.ending:
            where = f"its rollout ends as {rollout.ending.terminal_stage}"
        raise TransitionIllegal(f"no rollout of {ledger.model} waits for an approval: {where}")
    policy = parse_policy(rollout.opened.policy)
    deadline = rollout.waiting_since + policy.approvals[rollout.step].expires
    place = next_place(policy, rollout.stage, rollout.step)
    return ApprovalView(rollout, policy, ledger.head, rollout.latest, place, deadline)


def record_signed_decision(ports: Ports, model: str, body: bytes) -> ApprovalGiven | ApprovalDenied:
    """Verify a signed statement and record it; a text that does not count is recorded as refused.

    Args:
        ports: The outside world.
        model: Registered model.
        body: Statement and signature.

    Raises:
        ApprovalInvalid: It does not count; the journal says so.
        Rejected: It cannot be verified here, for example because `ssh-keygen` is missing; nothing was recorded.
        StaleLedger: Other processes were faster every time.
    """
    try:
        return _record_valid(ports, model, body)
    except ApprovalInvalid as error:
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        refused = ApprovalRejected("", clean_reason(str(error)).text, error.person, error.key, digest)
        if ports.ledger(model).head:
            _append(ports, model, lambda seen: replace(refused, rollout=seen.open))
        raise


def _record_valid(ports: Ports, model: str, body: bytes) -> ApprovalGiven | ApprovalDenied:
    """Record a text that counts; ApprovalInvalid where it does not."""
    signed = read_signed_text(body)
    signer = _approvers(ports).verify(signed.statement.signed_bytes, signed.armour)

    return _append(
        ports, model, lambda seen: _decision(_checked(ports, seen, signed.statement, signer), signed, signer)
    )


def _approvers(ports: Ports) -> Approvers:
    if ports.approvers is None:
        raise InvariantBroken("these ports were opened without the files that say who may approve")
    return ports.approvers


def _checked(ports: Ports, ledger: Ledger, statement: ApprovalStatement, signer: Signer) -> Rollout:
    """The rollout that a verified statement decides about.

    Raises:
        ApprovalInvalid: It does not count.
    """
    rollout = ledger.rollout
    problem = find_subject_problem(ledger, statement)
    if problem or rollout is None:
        raise ApprovalInvalid(problem, signer.person, signer.key)
    step = parse_policy(rollout.opened.policy).approvals[rollout.step]
    entries = ports.journal.read(ledger.model) if 0 < statement.head <= ledger.head else ()
    seen = fold_entries(ledger.model, entries[: statement.head]) if entries else None
    problem = (
        find_time_problem(rollout, step, statement, ports.clock.now())
        or find_evidence_problem(ledger, seen, statement)
        or find_person_problem(rollout, step, _approvers(ports).people(step.by), signer)
    )
    if problem:
        raise ApprovalInvalid(problem, signer.person, signer.key)
    return rollout


def _decision(rollout: Rollout, signed: SignedText, signer: Signer) -> ApprovalGiven | ApprovalDenied:
    statement = signed.statement
    proof = SignedDecision(
        person=signer.person,
        key=signer.key,
        nonce=statement.nonce,
        statement=statement.signed_bytes.decode(),
        signature=signed.armour,
        signers=signer.signers,
        outcomes=list_gate_outcomes(rollout.latest),
    )
    reason = clean_reason(statement.reason).text if statement.reason else ""
    kind = ApprovalGiven if statement.decision == APPROVE else ApprovalDenied
    return kind(statement.rollout, statement.step, proof, reason)


def _append(ports: Ports, model: str, make: Callable[[Ledger], _E]) -> _E:
    """Append an event that is made of the state before it, made again as long as other processes are faster.

    Raises:
        StaleLedger: Others were faster every time.
    """
    for _ in range(_CONFLICT_RETRIES):
        ledger = ports.ledger(model)
        event = make(ledger)
        with contextlib.suppress(StaleLedger):
            ports.append(ledger, event)
            return event
    ports.append(ledger := ports.ledger(model), event := make(ledger))
    return event
