"""Build the evidence requests that a rollout's gates, also those of a stepped rollback, need next."""

from surefoot.core.actions import (
    JudgeGates,
)
from surefoot.core.domain import EvidenceKind, RolloutKind
from surefoot.core.gates.bad_event_rate import MAX_EPOCHS
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Policy
from surefoot.core.policy.violations import Violation
from surefoot.core.state_machine import decide_action


def read_stepped_rollback_policy(rollout: Rollout | None) -> Policy | None:
    """The policy whose gates judge the steps of a rollback; None where no gate judges them, or it cannot be read."""
    if rollout is None or rollout.opened.stepped is None or rollout.ending:
        return None
    try:
        return parse_policy(rollout.opened.policy)
    except Violation:
        return None


def evidence_requests(
    model: str, rollout: Rollout, policy: Policy, look: JudgeGates, asked_at: float
) -> tuple[EvidenceRequest, ...]:
    """The evidence request of each gate of one evaluation; all are about the same requests.

    Args:
        model: Registered model.
        rollout: The rollout under way.
        policy: Its policy.
        look: The look.
        asked_at: When it is asked [Unix seconds].
    """
    lasts = policy.bake.hold
    if rollout.opened.stepped is not None:
        lasts = rollout.opened.stepped.total_seconds
    elif look.kind == EvidenceKind.LIVE:
        lasts = sum(step.hold for step in policy.ramp)
    elif look.kind == EvidenceKind.LIVE_SHADOW and policy.live_shadow:
        lasts = policy.live_shadow.hold
    opened = rollout.opened
    replayed = policy.shadow if look.kind == EvidenceKind.SHADOW and policy.corners else None
    return tuple(
        EvidenceRequest(
            model=model,
            gate=gate,
            kind=look.kind,
            suite=opened.suite_digest,
            rollout=opened.rollout,
            champion=opened.champion,
            candidate=opened.candidate,
            since=look.since,
            until=asked_at,
            opened=rollout.opened_at,
            epoch=max(lasts / MAX_EPOCHS, 1.0),
            stale_after=policy.stale_after,
            mirrored=policy.live_shadow.share if policy.live_shadow else 0.0,
            max_rows=policy.shadow.max_rows if policy.shadow and look.kind == EvidenceKind.SHADOW else None,
            look_gates=tuple(look.gates),
            corners=policy.corners if replayed else None,
            shadow_gates=tuple(policy.gates[name] for name in replayed.gates) if replayed else (),
            origin=policy.evidence_origin,
        )
        for gate in look.gates
    )


def due_replay_requests(ledger: Ledger, rollout: str, asked_at: float) -> tuple[EvidenceRequest, ...]:
    """The evidence requests of a rollout's replay gates that are due; nothing where none are.

    Args:
        ledger: The model's ledger.
        rollout: Id of the rollout.
        asked_at: When it is asked [Unix seconds].
    """
    found = ledger.rollout
    if found is None or ledger.open != rollout or found.opened.kind != RolloutKind.PROMOTION or found.ending:
        return ()
    policy = parse_policy(found.opened.policy)
    action = decide_action(ledger, policy, asked_at)
    if not isinstance(action, JudgeGates) or action.kind != EvidenceKind.SHADOW:
        return ()
    return evidence_requests(ledger.model, found, policy, action, asked_at)
