"""Find why a signed statement does not count as an approval."""

from collections.abc import Collection
from dataclasses import dataclass

from surefoot.core.approvals.approval_state import compute_evidence_digest, find_changed_gate, list_gate_outcomes
from surefoot.core.approvals.approval_statement import ApprovalStatement
from surefoot.core.domain import Stage
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.policy.steps import Approve

_MAX_CLOCK_SKEW_S = 300.0
"""How far the clocks of the approver and of the journal may differ [seconds]."""


@dataclass(frozen=True, slots=True)
class Signer:
    """The person whose key has signed a statement.

    Attributes:
        person: Principal of `configs/allowed_signers`.
        key: Fingerprint of the key.
        names: Other names of the person, such as the one in MLflow.
        signers: SHA-256 of the files by which this was decided.
    """

    person: str
    key: str
    names: frozenset[str] = frozenset()
    signers: str = ""

    def is_one_of(self, others: Collection[str]) -> bool:
        """Whether one of these names is the person's: the principal, its part before the @, or another name."""
        mine = {self.person.casefold(), self.person.partition("@")[0].casefold(), *(n.casefold() for n in self.names)}
        return any(other.casefold() in mine or other.partition("@")[0].casefold() in mine for other in others)


def find_subject_problem(ledger: Ledger, statement: ApprovalStatement) -> str:
    """Why a statement is about something else than the rollout that waits; empty when it is about that."""
    rollout = ledger.rollout
    if statement.model != ledger.model:
        return f"it is about model {statement.model}, not {ledger.model}"
    if rollout is None or statement.rollout != ledger.open:
        return f"it is about rollout {statement.rollout}, and {ledger.open or 'none'} is open"
    opened = rollout.opened
    if (statement.version, statement.artifact) != (opened.candidate.number, opened.candidate.digest):
        return f"it is about version {statement.version} with other bytes than those of the rollout"
    if statement.policy != opened.policy_digest:
        return "it is about another policy than the one that the rollout was opened with"
    if rollout.ending:
        return f"the rollout ends as {rollout.ending.terminal_stage}"
    if rollout.stage is not Stage.AWAITING_APPROVAL:
        return f"the rollout waits for no approval: it is {rollout.stage}"
    if statement.step != rollout.step:
        return f"it is about approve step {statement.step + 1}, and the rollout waits at {rollout.step + 1}"
    return ""


def find_evidence_problem(now: Ledger, seen: Ledger | None, statement: ApprovalStatement) -> str:
    """Why the evidence that an approver has seen does not hold any more, or was never there; empty when it holds.

    Later entries of the journal void a statement only if a verdict has changed.

    Args:
        now: State of the model.
        seen: State of the model at the entry that the statement names; None where the journal has no such entry.
        statement: The statement.
    """
    rollout = now.rollout
    then = seen.rollout if seen is not None else None
    if rollout is None or then is None or then.opened.rollout != rollout.opened.rollout:
        return f"it names journal entry {statement.head}, at which this rollout was not open"
    if compute_evidence_digest(then.latest) != statement.evidence:
        return f"it is about other evidence than the journal had at entry {statement.head}"
    before = list_gate_outcomes(then.latest)
    if gate := find_changed_gate(before, rollout.latest):
        after = rollout.latest[gate].outcome if gate in rollout.latest else "not judged"
        was = before.get(gate, "not judged")
        return f"a verdict has changed since: gate {gate} was {was} and is {after}; look at it and sign again"
    return ""


def find_time_problem(rollout: Rollout, step: Approve, statement: ApprovalStatement, now: float) -> str:
    """Why a statement does not count at this time, or was used before; empty when it counts."""
    if statement.nonce in rollout.approvals.nonces:
        return "it was used before: sign a new one"
    if statement.expires <= now:
        return "it has expired: sign a new one"
    if statement.expires > now + step.expires + _MAX_CLOCK_SKEW_S:
        return "it would count for longer than the policy's 'expires'"
    return ""


def find_person_problem(rollout: Rollout, step: Approve, group: Collection[str], signer: Signer) -> str:
    """Why a person may not decide about a rollout; empty when the person may."""
    if signer.person not in group:
        return f"{signer.person} is not in group '{step.by}'"
    number = rollout.opened.candidate.number
    if signer.is_one_of(rollout.opened.authors):
        return f"{signer.person} is the author of version {number}: another person of '{step.by}' has to decide"
    decided = [one.signed for one in rollout.approvals.given] + [one.signed for one in rollout.approvals.denied]
    other = next((one.person for one in decided if one.key == signer.key), signer.person)
    if other != signer.person:
        return f"{other} has decided with the same key already: one key is one person"
    return ""
