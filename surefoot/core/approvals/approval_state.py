"""Track who has approved or denied a waiting rollout step, and find gates changed since then."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from surefoot.core.approvals.approval_events import (
    ApprovalDenied,
    ApprovalEvent,
    ApprovalGiven,
    ApprovalOverdue,
    ApprovalRejected,
    ApprovalsVoided,
)
from surefoot.core.domain import Verdict
from surefoot.core.journal.chain import canonical_digest
from surefoot.core.journal.codec import JsonCodec

_CODEC = JsonCodec()


@dataclass(frozen=True, slots=True)
class ApprovalState:
    """Who has said what of the step that a rollout waits at.

    Attributes:
        given: Approvals that count, in order; one a person.
        denied: Persons whose last word is no.
        nonces: Nonces of every statement that was accepted in this rollout.
        refused: Statements that were refused in this rollout [count].
        overdue: What was missing when the time was over; empty before.
    """

    given: tuple[ApprovalGiven, ...] = ()
    denied: tuple[ApprovalDenied, ...] = ()
    nonces: tuple[str, ...] = ()
    refused: int = 0
    overdue: str = ""

    def next_step(self) -> "ApprovalState":
        """The state when a rollout begins to wait at a step; a nonce counts once in the whole rollout."""
        return ApprovalState(nonces=self.nonces, refused=self.refused)

    def after_event(self, event: ApprovalEvent) -> "ApprovalState":
        """The state after one more event of the rollout."""
        match event:
            case ApprovalGiven() | ApprovalDenied():
                given = tuple(one for one in self.given if one.signed.person != event.signed.person)
                denied = tuple(one for one in self.denied if one.signed.person != event.signed.person)
                nonces = (*self.nonces, event.signed.nonce)
                if isinstance(event, ApprovalGiven):
                    return replace(self, given=(*given, event), denied=denied, nonces=nonces)
                return replace(self, given=given, denied=(*denied, event), nonces=nonces)
            case ApprovalsVoided():
                return replace(self, given=())
            case ApprovalOverdue():
                return replace(self, overdue=event.reason)
            case ApprovalRejected():
                return replace(self, refused=self.refused + 1)
            case _:
                assert_never(event)

    def people(self) -> tuple[str, ...]:
        """Persons whose approvals count: one key is one person, whatever names it has."""
        keys = {one.signed.key: one.signed.person for one in reversed(self.given)}
        return tuple(
            dict.fromkeys(one.signed.person for one in self.given if keys[one.signed.key] == one.signed.person)
        )


def list_gate_outcomes(verdicts: Mapping[str, Verdict]) -> dict[str, str]:
    """Outcome of each gate."""
    return {name: verdict.outcome.value for name, verdict in sorted(verdicts.items())}


def compute_evidence_digest(verdicts: Mapping[str, Verdict]) -> str:
    """SHA-256 of the latest verdict of each gate, with its numbers."""
    return canonical_digest({name: _CODEC.encode(verdict) for name, verdict in verdicts.items()})


def find_changed_gate(before: Mapping[str, str], verdicts: Mapping[str, Verdict]) -> str:
    """Gate whose outcome is another one than before; empty when there is none."""
    now = list_gate_outcomes(verdicts)
    return next((name for name in sorted({*before, *now}) if before.get(name) != now.get(name)), "")
