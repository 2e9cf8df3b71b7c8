"""Determine whether a model's rollback is immediate or goes in steps."""

import contextlib
from collections.abc import Mapping

from surefoot.core.domain import Version
from surefoot.core.journal.ledger import Ledger
from surefoot.core.journal.rollback_schedule import RollbackSchedule
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.recovery.rollback import RollbackSection
from surefoot.core.policy.violations import Violation
from surefoot.core.rollback.stepped_rollback import last_promotion_of, outside_rollback_window_reason, rollback_steps
from surefoot.core.served_versions.service_summary import last_served_at
from surefoot.rollout.ports import Ports


def resolve_rollback_schedule(
    ports: Ports, ledger: Ledger, champion: Version, target: Version, mode: str | None
) -> tuple[RollbackSchedule | None, str, Mapping[str, object]]:
    """The steps of a rollback (None: at once), why, and the policy whose gates judge them.

    What a policy says that cannot be read is no reason to wait: the rollback goes at once, or by steps without gates.

    Args:
        ports: The outside world; the journal alone is asked.
        ledger: The model's ledger.
        champion: The version that is taken back.
        target: The version that traffic goes back to.
        mode: "immediate" or "stepped" where a person asks for it; None for what the policy says.
    """
    if not ledger.engine.abilities.steps_back:
        asked = f"engine '{ledger.engine.name}' takes all traffic back at once" if mode == "stepped" else ""
        return None, asked, {}
    promotion = last_promotion_of(ledger, champion)
    section, gates, written = RollbackSection.model_validate({}), tuple[str, ...](), dict[str, object]()
    if promotion is not None:
        with contextlib.suppress(Violation):
            policy = parse_policy(promotion.opened.policy)
            section, gates, written = policy.rollback, policy.rollback_gates, dict(promotion.opened.policy)
    outside = ""
    if mode is None and section.window is not None:
        now = ports.clock.now()
        served = last_served_at(ports.journal.read(ledger.model), target, now)
        outside = outside_rollback_window_reason(ledger, section, target, served, now)
    steps, why = rollback_steps(section, gates, mode, outside)
    return steps, why, written if steps else {}
