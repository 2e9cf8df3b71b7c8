"""Determine which version stands by for a champion, and tell the gateway."""

import contextlib
from collections.abc import Callable

from surefoot.core.domain import RolloutKind, Split, Version
from surefoot.core.errors import SurefootError
from surefoot.core.journal.ledger import Ledger
from surefoot.core.rollback.stepped_rollback import rollback_is_aborted
from surefoot.core.served_versions.service_summary import last_served_at
from surefoot.core.served_versions.standby import no_standby_reason, standby_version
from surefoot.rollout.ports import Ports


def choose_standby(
    ledger: Ledger, champion: Version, now: float, last_served: Callable[[Version], float | None]
) -> Version | None:
    """The version that is to stay loaded beside a champion; None when there is none, or it is outside of its window.

    Args:
        ledger: The model's ledger.
        champion: The version that answers everything else.
        now: The time [Unix seconds].
        last_served: When a version last answered callers [Unix seconds]; None when that is not known.
    """
    standby = standby_version(ledger, champion)
    if standby is None or no_standby_reason(ledger, champion, standby, last_served, now):
        return None
    return standby


def is_rollback_target(ledger: Ledger, split: Split) -> bool:
    """Whether the candidate of a split is what traffic goes back to, as in a stepped rollback."""
    rollout = ledger.rollout
    back = rollout is not None and rollout.opened.kind == RolloutKind.ROLLBACK and not rollback_is_aborted(rollout)
    return back and rollout is not None and split.candidate == rollout.rollback_target


def send_standby(ports: Ports, ledger: Ledger, split: Split) -> None:
    """Name the standby of a split that has just been put in force.

    Nothing depends on it that moves traffic: what goes wrong here is left to the controller, which looks at each tick.
    """
    if not ledger.engine.abilities.standby:
        return

    def served(version: Version) -> float | None:
        return last_served_at(ports.journal.read(ledger.model), version, ports.clock.now())

    with contextlib.suppress(SurefootError):
        standby = choose_standby(ledger, split.champion, ports.clock.now(), served)
        ports.set_standby(ledger.model, split.generation, standby, going_back=is_rollback_target(ledger, split))
