"""Decide the effects that undo a rollout or roll back a promoted version, and the version to go back to."""

from surefoot.core.domain import RolloutKind, Split
from surefoot.core.journal.events import Effect, SetAlias, SetSplit
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.journal.served_version_events import RollbackTargetChanged
from surefoot.core.rollback.config_file_effects import rollback_config_effects
from surefoot.core.rollback.stepped_rollback import rollback_is_aborted


def _older_version(ledger: Ledger, rollout: Rollout) -> str | None:
    """The last proven-good version that is neither end of this rollout, for the alias `previous`."""
    both = {rollout.opened.champion.digest, rollout.opened.candidate.digest}
    both |= {rollout.rollback_target.digest, *rollout.unfit}
    known = [version for version in ledger.proven if version.digest not in both]
    return known[-1].number if known else None


def alternative_rollback_target(ledger: Ledger, rollout: Rollout) -> RollbackTargetChanged | None:
    """The change of an ending rollout to the next proven-good version, when its own target has turned out unfit."""
    if rollout.opened.kind != RolloutKind.ROLLBACK and rollout.ending is None:
        return None
    if rollback_is_aborted(rollout):
        return None
    unfit = rollout.rollback_target
    target = ledger.next_target(rollout) if unfit.digest in rollout.unfit else None
    if target is None:
        return None
    why = "it cannot be served" if SetSplit(unfit, None, 0.0) in rollout.refused else "it is not in the registry"
    return RollbackTargetChanged(rollout.opened.rollout, unfit, target, why)


def undo_effects(ledger: Ledger, rollout: Rollout) -> tuple[Effect, ...]:
    """Traffic back first; then the registry, unless somebody else has moved it."""
    old, new = rollout.rollback_target, rollout.opened.candidate
    effects: list[Effect] = []
    back = SetSplit(old, None, 0.0)
    routed = ledger.split.routes_same_as(Split(old, None, 0.0, ledger.split.salt)) if ledger.split else False
    unsure = any(isinstance(effect, SetSplit) for effect in rollout.refused)
    if back in rollout.done or unsure or not routed:
        effects.append(back)
    promoted = SetAlias("champion", new.number, rollout.opened.champion.number)
    if not rollout.drifted and promoted in (*rollout.done, *rollout.refused):
        # Only what this rollout has written is taken back: a version that a human chose since then stays.
        effects += [
            SetAlias("champion", old.number, new.number),
            SetAlias("previous", _older_version(ledger, rollout), None),
        ]
    return (*effects, *rollback_config_effects(ledger, old))


def rollback_effects(ledger: Ledger, rollout: Rollout) -> tuple[Effect, ...]:
    """The effects of a rollback of a promoted version: traffic first, the registry after."""
    target, current = rollout.rollback_target, rollout.opened.champion
    return (
        SetSplit(target, None, 0.0),
        SetAlias("champion", target.number, current.number),
        SetAlias("previous", _older_version(ledger, rollout), None),
        *rollback_config_effects(ledger, target),
    )


def rollout_end_effects(ledger: Ledger, rollout: Rollout) -> tuple[Effect, ...]:
    """The effects of the end that was decided of an open rollout; anything else that was intended is given up."""
    if rollout.opened.kind != RolloutKind.ROLLBACK:
        return undo_effects(ledger, rollout)
    if rollback_is_aborted(rollout):
        return (SetSplit(rollout.opened.champion, None, 0.0),)
    return rollback_effects(ledger, rollout)
