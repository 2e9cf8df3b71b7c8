"""Choose how to react to an alias `champion` that was moved by hand, and limit how often it is set back."""

from surefoot.core.domain import RolloutKind
from surefoot.core.journal.ledger import Ledger
from surefoot.core.registry_drift.drift_events import (
    CHAMPION_DRIFT_NAME,
    DriftReaction,
    DriftReactionChosen,
    served_version_drift_name,
)

MAX_ALIAS_SET_BACKS = 3
"""How often in `SET_BACK_WINDOW_S` the alias is set back; then it is only told, so that two programs never fight."""
SET_BACK_WINDOW_S = 86400.0
"""Time in which that is counted [seconds]."""


def choose_reaction(ledger: Ledger, on_drift: DriftReaction, now: float) -> DriftReactionChosen | None:
    """The reaction to a moved alias `champion`; None where nothing is to be chosen.

    Nothing is chosen twice for the same move, and nothing while a rollout goes back: that sets the alias itself.

    Args:
        ledger: State of the model.
        on_drift: What the policy says.
        now: The time [Unix seconds].
    """
    drift, champion, rollout = ledger.drifts.get(CHAMPION_DRIFT_NAME), ledger.champion, ledger.rollout
    if drift is None or champion is None or drift.alias != "champion" or drift.repeat:
        return None
    if rollout is not None and (rollout.ending is not None or rollout.opened.kind == RolloutKind.ROLLBACK):
        return None
    known = ledger.drift.chosen.get(drift.what)
    if known is not None and (known.before, known.rollout) == (drift.before, ledger.open):
        return None
    target = ledger.target()
    if target is not None and drift.before == target.number:
        reason = f"alias champion was moved back to version {target.number}, the last proven-good one"
        return DriftReactionChosen(drift.what, DriftReaction.ROLLBACK, drift.before, target.number, reason, ledger.open)
    if on_drift is DriftReaction.ALERT or served_version_drift_name(champion.number) in ledger.drifts:
        return None
    often = sum(now - at <= SET_BACK_WINDOW_S for at in ledger.drift.set_back)
    if often >= MAX_ALIAS_SET_BACKS:
        reason = f"it was set back {often} times within a day, and moved again: another hand or program wants it there"
        return DriftReactionChosen(drift.what, DriftReaction.ALERT, drift.before, "", reason, ledger.open)
    reason = f"the policy says on_drift: {on_drift}"
    return DriftReactionChosen(drift.what, on_drift, drift.before, champion.number, reason, ledger.open)
