"""Define the journal events of approvals: given, denied, rejected, voided and overdue."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SignedDecision:
    """A decision of a person, and everything that shows later who signed it.

    Attributes:
        person: Principal of `configs/allowed_signers` whose key signed.
        key: Fingerprint of that key, "SHA256:" and base64.
        nonce: Random text that tells statements apart.
        statement: The statement, as it was signed.
        signature: The SSH signature, armoured.
        signers: SHA-256 of the files by which the signer was accepted.
        outcomes: Outcome of each gate when the decision was recorded.
    """

    person: str
    key: str
    nonce: str
    statement: str
    signature: str
    signers: str
    outcomes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ApprovalGiven:
    """A person has approved the next step of a rollout.

    Attributes:
        rollout: Id of the rollout.
        step: Index into the policy's approve steps.
        signed: Who, and the proof.
        reason: Why, as the person said.
    """

    rollout: str
    step: int
    signed: SignedDecision
    reason: str


@dataclass(frozen=True, slots=True)
class ApprovalDenied:
    """A person has refused the next step of a rollout.

    Attributes:
        rollout: Id of the rollout.
        step: Index into the policy's approve steps.
        signed: Who, and the proof.
        reason: Why, as the person said.
    """

    rollout: str
    step: int
    signed: SignedDecision
    reason: str


@dataclass(frozen=True, slots=True)
class ApprovalRejected:
    """A signed statement, or what was handed in as one, does not count.

    Attributes:
        rollout: Id of the open rollout; empty where none is open.
        reason: Why it does not count.
        person: Who signed it; empty where that is not known.
        key: Fingerprint of the key; empty where the signature does not verify.
        text: SHA-256 of what was handed in.
    """

    rollout: str
    reason: str
    person: str = ""
    key: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class ApprovalsVoided:
    """Approvals of a step do not count any more: a verdict that they rest on has changed.

    Attributes:
        rollout: Id of the rollout.
        step: Index into the policy's approve steps.
        gate: Gate whose verdict has changed.
        before: Its outcome when a person approved; empty where there was none.
        after: Its outcome now.
    """

    rollout: str
    step: int
    gate: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ApprovalOverdue:
    """The time for approvals is over; the rollout waits on, as its policy says.

    Attributes:
        rollout: Id of the rollout.
        step: Index into the policy's approve steps.
        reason: What is missing.
    """

    rollout: str
    step: int
    reason: str


ApprovalEvent = ApprovalGiven | ApprovalDenied | ApprovalRejected | ApprovalsVoided | ApprovalOverdue


def describe_approval(event: ApprovalEvent) -> str:
    """What happened to an approval, as one line for a person."""
    match event:
        case ApprovalGiven():
            why = f": {event.reason}" if event.reason else ""
            return f"{event.signed.person} approved it with key {event.signed.key}{why}"
        case ApprovalDenied():
            why = f": {event.reason}" if event.reason else ""
            return f"{event.signed.person} denied it with key {event.signed.key}{why}"
        case ApprovalRejected():
            who = f" of {event.person}" if event.person else ""
            return f"an approval{who} was refused: {event.reason}"
        case ApprovalsVoided():
            before = event.before or "not judged"
            return f"approvals are void: gate {event.gate} was {before} when they were signed, and is {event.after}"
        case ApprovalOverdue():
            return f"not approved in time, it waits on: {event.reason}"
