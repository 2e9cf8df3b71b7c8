"""Journal when callers start and stop getting fallback answers."""

from surefoot.core.domain import Version
from surefoot.core.operator_reason import clean_reason
from surefoot.core.record.fallback_events import FallbackBegan, FallbackEnded
from surefoot.core.record.state import Ledger
from surefoot.rollout.ports import Ports
from surefoot.rollout.requests import retry_on_conflict


def begin_fallback(ports: Ports, model: str, champion: Version, kind: str, reason: str) -> Ledger:
    """Journal that callers get fallback answers; nothing when the journal says so already.

    Args:
        ports: Ports of the use cases.
        model: Registered model.
        champion: The version that failed.
        kind: Kind of the fallback.
        reason: How the version failed.

    Raises:
        SurefootError: The journal cannot be written now.
    """

    def request() -> Ledger:
        ledger = ports.ledger(model)
        if ledger.fallback is not None:
            return ledger
        return ports.append(ledger, FallbackBegan(champion, kind, clean_reason(reason).text))

    return retry_on_conflict(request)


def end_fallback(ports: Ports, model: str, champion: Version) -> Ledger:
    """Journal that a champion answers again; nothing when the journal knows of no fallback answers.

    Args:
        ports: Ports of the use cases.
        model: Registered model.
        champion: The version that answers.

    Raises:
        SurefootError: The journal cannot be written now.
    """

    def request() -> Ledger:
        ledger = ports.ledger(model)
        return ledger if ledger.fallback is None else ports.append(ledger, FallbackEnded(champion))

    return retry_on_conflict(request)
