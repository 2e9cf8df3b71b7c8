"""Decide when a model's rollback must be rehearsed in a drill, and journal the drill's result."""

from surefoot.core.drills.drill_events import DrillFinished
from surefoot.core.errors import Rejected
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.policy_types import Policy
from surefoot.rollout.ports import Ports
from surefoot.rollout.rollout_commands import retry_on_conflict

DRILL_RETRY_S = 6 * 3600.0
"""Time after which a drill that has not come to its end is started again [seconds]."""


def is_rollback_drill_due(ledger: Ledger, policy: Policy, now: float) -> bool:
    """Whether a drill of a model is to be started: it serves, nothing is under way, and the last one is long ago."""
    return ledger.champion is not None and not ledger.open and ledger.drills.is_due(policy.drill, now)


def record_drill(ports: Ports, model: str, event: DrillFinished) -> Ledger:
    """Journal what a drill has shown; needs nothing but the journal.

    Raises:
        Rejected: The model has no champion, so that there is no way back that a drill could prove.
        SurefootError: The journal cannot be written now.
    """

    def record() -> Ledger:
        ledger = ports.ledger(model)
        if ledger.champion is None:
            raise Rejected(f"{model} has no champion in the journal: nothing was rehearsed")
        return ports.append(ledger, event)

    return retry_on_conflict(record)
