"""Derive messages to people from journal entries about approvals, pauses and freezes."""

from collections.abc import Iterator

from surefoot.core.approvals.approval_events import (
    ApprovalDenied,
    ApprovalEvent,
    ApprovalGiven,
    ApprovalOverdue,
    ApprovalRejected,
    ApprovalsVoided,
)
from surefoot.core.domain import Stage
from surefoot.core.journal.events import Event, StageEntered
from surefoot.core.journal.ledger import Ledger
from surefoot.core.notify.message import Message, Severity, Topic, make_title
from surefoot.core.stages.hold_events import (
    FreezeBegan,
    FreezeEnded,
    FreezeEvent,
    FreezeOverridden,
    HoldEvent,
    RolloutPaused,
    RolloutResumed,
)


def derive_decision_messages(ledger: Ledger, seq: int, event: Event) -> Iterator[Message]:
    """What people are told of an approval that is waited for or was decided, of a pause, and of a freeze.

    Args:
        ledger: State of the model.
        seq: Number of the entry.
        event: Its event.
    """
    model = ledger.model
    match event:
        case StageEntered() if event.stage is Stage.AWAITING_APPROVAL:
            title = make_title(f"{model}: {_version(ledger, event.rollout)} waits for approval")
            yield Message(seq, Topic.APPROVAL, Severity.WARNING, title, event.reason)
        case StageEntered() if event.stage is Stage.HOLDING:
            title = make_title(f"{model}: {_version(ledger, event.rollout)} is held in place")
            yield Message(seq, Topic.WAIT, Severity.WARNING, title, event.reason)
        case _ if isinstance(event, ApprovalEvent):
            yield _of_approval(ledger, seq, event)
        case _ if isinstance(event, FreezeEvent | HoldEvent):
            yield _of_hold(ledger, seq, event)
        case _:
            pass


def _version(ledger: Ledger, rollout: str) -> str:
    """The version of a rollout, in words."""
    found = ledger.rollouts.get(rollout)
    return "the rollout" if found is None else f"version {found.opened.candidate.number}"


def _of_approval(ledger: Ledger, seq: int, event: ApprovalEvent) -> Message:
    model, what = ledger.model, _version(ledger, event.rollout)
    severity, body = Severity.WARNING, f"surefoot status {model}"
    match event:
        case ApprovalGiven():
            severity, said = Severity.INFO, f"{what} is approved by {event.signed.person}"
            body = event.reason or body
        case ApprovalDenied():
            said, body = f"{what} is denied by {event.signed.person}", event.reason or body
        case ApprovalRejected():
            said, body = f"an approval of {what} was refused", f"why: surefoot history {model}"
        case ApprovalsVoided():
            said = f"approvals of {what} are void, gate {event.gate} is {event.after} now"
            body = f"look at it and sign again: surefoot approve {model}"
        case ApprovalOverdue():
            said, body = f"{what} was not approved in time", f"{event.reason}\nsurefoot approve {model}"
    return Message(seq, Topic.APPROVAL, severity, make_title(f"{model}: {said}"), body)


def _of_hold(ledger: Ledger, seq: int, event: FreezeEvent | HoldEvent) -> Message:
    model, severity = ledger.model, Severity.INFO
    match event:
        case RolloutPaused():
            severity, said = Severity.WARNING, f"{_version(ledger, event.rollout)} is paused by a person"
        case RolloutResumed():
            said = f"{_version(ledger, event.rollout)} is resumed"
        case FreezeBegan():
            severity, said = Severity.WARNING, "no version gets more traffic, the model is frozen"
        case FreezeEnded():
            said = "the freeze is over"
        case FreezeOverridden():
            severity, said = Severity.WARNING, f"{_version(ledger, event.rollout)} goes on in spite of freezes"
    return Message(seq, Topic.WAIT, severity, make_title(f"{model}: {said}"), event.reason)
