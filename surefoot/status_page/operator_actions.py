"""Run the operator actions that people and programs request over HTTP."""

from enum import StrEnum

from surefoot import wiring
from surefoot.core.domain import Stage
from surefoot.core.errors import OutcomeUnknown, Unavailable
from surefoot.core.journal.ledger import Ledger
from surefoot.core.operator_reason import clean_reason
from surefoot.core.rollback.stepped_rollback import waits_for_person
from surefoot.rollout import (
    Ports,
    drive_rollout,
    end_rollout,
    open_rollback,
    pause_rollout,
    resume_rollout,
    retry_on_conflict,
)
from surefoot.settings import Settings

_REGISTRY_TIMEOUT_S = 5.0
"""How long the registry is asked [s]; 'reconcile' repeats what it did not take."""
_DEFAULT_REASON = "operator's decision"


class OperatorAction(StrEnum):
    """What can be asked for on a page, or with an access token."""

    ABORT = "abort"
    ROLLBACK = "rollback"
    PAUSE = "pause"
    RESUME = "resume"


def run_operator_action(config: Settings, model: str, action: OperatorAction, reason: str, actor: str) -> str:
    """Journal what is asked for, and drive it to its end.

    Args:
        config: Where everything is.
        model: Registered model.
        action: What to do.
        reason: Why, as it was typed; no text of it stops the action.
        actor: Who asks, as the journal names them: "page:NAME" or "token:NAME".

    Returns:
        What became of it, as one sentence.

    Raises:
        Rejected: There is nothing to abort or to pause, or no version to go back to.
        SurefootError: The journal or the engine does not answer.
    """
    why = clean_reason(reason.strip() or _DEFAULT_REASON).text
    with wiring.open_ports(config, actor, _REGISTRY_TIMEOUT_S) as ports:
        opened = retry_on_conflict(lambda: _ask(ports, model, action, why)).open
        if action is OperatorAction.PAUSE:
            return "paused: it holds in place until a person resumes it, and its guardrails stay armed"
        if action is OperatorAction.RESUME:
            return "resumed: it goes on at the next tick"
        try:
            ledger = drive_rollout(
                ports,
                model,
                until=lambda seen: not seen.open or waits_for_person(seen.rollout),
                patience=_REGISTRY_TIMEOUT_S,
            )
        except (Unavailable, OutcomeUnknown) as error:
            return f"it is journalled, and 'reconcile' finishes it: {error}"
    ended = ledger.rollouts.get(opened)
    if ended is None or not ended.stage.is_terminal:
        return f"it is held: {ended.reason}" if ended else "there was nothing left to do"
    served = ledger.champion.number if ledger.champion else "none"
    return f"{ended.stage}: version {served} answers everything"


def _ask(ports: Ports, model: str, action: OperatorAction, why: str) -> Ledger:
    if action is OperatorAction.ABORT:
        return end_rollout(ports, model, Stage.ABORTED, why)
    if action is OperatorAction.PAUSE:
        return pause_rollout(ports, model, why)
    if action is OperatorAction.RESUME:
        return resume_rollout(ports, model, why)
    return open_rollback(ports, model, why, None, None)
