"""Record in the journal that a person pauses or resumes the rollout of a promotion."""

from surefoot.core.domain import RolloutKind, Stage
from surefoot.core.errors import TransitionIllegal
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.operator_reason import clean_reason
from surefoot.core.stages.hold_events import RolloutPaused, RolloutResumed
from surefoot.rollout.ports import Ports


def pause_rollout(ports: Ports, model: str, reason: str) -> Ledger:
    """Hold the open promotion in place until a person resumes it; a failing guardrail still ends it.

    Raises:
        TransitionIllegal: No promotion is open, or it cannot be held: it ends, or moves all traffic.
    """
    ledger = ports.ledger(model)
    rollout = _open_promotion(ledger)
    if rollout.held is not None:
        return ledger
    if rollout.stage is Stage.PROMOTING:
        raise TransitionIllegal(
            f"{model} cannot be paused: all traffic moves now; 'surefoot rollback {model}' undoes it"
        )
    return ports.append(ledger, RolloutPaused(ledger.open, clean_reason(reason).text))


def resume_rollout(ports: Ports, model: str, reason: str) -> Ledger:
    """Let a paused promotion go on.

    Raises:
        TransitionIllegal: No promotion is open, or a person has not paused it.
    """
    ledger = ports.ledger(model)
    rollout = _open_promotion(ledger)
    if rollout.held is None:
        waits = f"; it waits since {rollout.reason}" if rollout.paused else ""
        raise TransitionIllegal(f"the rollout of {model} is not paused by a person{waits}")
    return ports.append(ledger, RolloutResumed(ledger.open, clean_reason(reason).text))


def _open_promotion(ledger: Ledger) -> Rollout:
    rollout = ledger.rollout
    if rollout is None or rollout.opened.kind != RolloutKind.PROMOTION:
        raise TransitionIllegal(f"no promotion of {ledger.model} is open: there is nothing to hold in place")
    if rollout.ending:
        raise TransitionIllegal(f"the rollout of {ledger.model} ends as {rollout.ending.terminal_stage} already")
    return rollout
