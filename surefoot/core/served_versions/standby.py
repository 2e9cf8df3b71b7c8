"""Choose the standby, which is the earlier good version that answers when the champion fails."""

from collections.abc import Callable

from surefoot.core.domain import RolloutKind, Version
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.violations import Violation
from surefoot.core.rollback.stepped_rollback import last_promotion_of, outside_rollback_window_reason


def standby_version(ledger: Ledger, champion: Version) -> Version | None:
    """The version that a rollback would go to while a version answers everything else; None when there is none.

    It is the last proven-good version. Never one that is quarantined, found unfit, or being taken back; a candidate
    only if it is proven-good itself.

    Args:
        ledger: The model's ledger.
        champion: The version that answers everything else in the split in force.
    """
    rollout = ledger.rollout
    barred = {champion.digest, *ledger.quarantined}
    if rollout is not None:
        barred.update(rollout.unfit)
        if rollout.opened.kind == RolloutKind.ROLLBACK:
            barred.add(rollout.opened.champion.digest)
    return next((version for version in reversed(ledger.proven) if version.digest not in barred), None)


def no_standby_reason(
    ledger: Ledger, champion: Version, standby: Version, last_served: Callable[[Version], float | None], now: float
) -> str:
    """Why a standby is not kept loaded: it is outside of `rollback.window`. Empty when it is kept.

    Without a window it is kept for as long as it is the one that a rollback would go to, as it is while a rollout is
    open: the way back of a promotion must not have to load anything.

    Args:
        ledger: The model's ledger.
        champion: The version that answers everything else.
        standby: The version that a rollback would go to.
        last_served: When a version last answered callers [Unix seconds]; None when that is not known.
        now: The time [Unix seconds].
    """
    promotion = last_promotion_of(ledger, champion)
    if promotion is None or ledger.open:
        return ""
    try:
        section = parse_policy(promotion.opened.policy).rollback
    except Violation:
        return ""
    window = section.window
    served = last_served(standby) if window is not None and window.age is not None else None
    return outside_rollback_window_reason(ledger, section, standby, served, now)
