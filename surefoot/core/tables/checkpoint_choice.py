"""Choose which output table gets the next checkpoint before a promotion."""

from surefoot.core.journal.events import SetAlias
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.policy.policy_types import Policy
from surefoot.core.policy.recovery.data_layer import DataSource, OnRollback


def next_checkpoint(ledger: Ledger, rollout: Rollout, policy: Policy) -> DataSource | str | None:
    """The table to checkpoint next; why the promotion cannot go on; or None when every table is done."""
    if SetAlias("champion", rollout.opened.candidate.number, rollout.opened.champion.number) in rollout.done:
        return None
    opened = rollout.opened.rollout
    for source in policy.data_layer:
        refused = ledger.data.refused.get((opened, source.name))
        if refused is not None and source.on_rollback is OnRollback.RESTORE:
            return f"it could not go on: table {source.name} could not be restored after a rollback: {refused}"
        if refused is None and ledger.data.rollout_checkpoint(opened, source.name) is None:
            return source
    return None
