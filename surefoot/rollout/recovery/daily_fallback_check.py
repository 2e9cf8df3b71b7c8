"""Run the daily check of a model's fallback when it is due."""

from surefoot.core.fallback import FallbackReference
from surefoot.core.journal.fallback_events import FallbackDrilled
from surefoot.core.journal.ledger import Ledger
from surefoot.rollout.ports import Ports
from surefoot.rollout.recovery.fallback_check import check_and_judge_fallback, send_fallback_version
from surefoot.rollout.rollout_commands import retry_on_conflict

_FALLBACK_CHECK_INTERVAL_S = 86400.0
"""Time between two checks of a fallback [seconds]."""


def is_fallback_check_due(ledger: Ledger, now: float, source: FallbackReference | None = None) -> bool:
    """Whether the fallback of a model that serves was not tried for a day, or is another version than that.

    Args:
        ledger: The model's ledger.
        now: The time [Unix seconds].
        source: The version that the policy names as fallback; None where it names none.
    """
    if ledger.champion is None:
        return False
    if ledger.drilled is None or now - ledger.drilled[1] >= _FALLBACK_CHECK_INTERVAL_S:
        return True
    return source is not None and ledger.drilled[0].source != source


def check_fallback(ports: Ports, model: str) -> FallbackDrilled | None:
    """Try the fallback of a model and journal the result; None where its policy has none.

    Raises:
        SurefootError: The journal cannot be written now.
    """
    ledger = ports.ledger(model)
    if ledger.champion is None:
        return None
    found = check_and_judge_fallback(ports, ledger, ledger.champion)
    if found is not None:
        result = found
        send_fallback_version(ports, retry_on_conflict(lambda: ports.append(ports.ledger(model), result)))
    return found
