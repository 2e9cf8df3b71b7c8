"""Record the periods in which a standby or fallback answers for the champion."""

from surefoot.core.domain import FailoverLevel, Version
from surefoot.core.fallback import PYFUNC_FALLBACK_KIND, FallbackReference
from surefoot.core.journal.fallback_events import FallbackBegan, FallbackEnded
from surefoot.core.journal.ledger import Ledger
from surefoot.core.operator_reason import clean_reason
from surefoot.rollout.ports import Ports
from surefoot.rollout.rollout_commands import retry_on_conflict


def begin_fallback_period(
    ports: Ports, model: str, champion: Version, kind: str, reason: str, standby: Version | None = None
) -> Ledger:
    """Journal that standby or fallback answers callers from now on; nothing when the journal says so already.

    Args:
        ports: Ports of the use cases.
        model: Registered model.
        champion: The version that failed.
        kind: Kind of the fallback; "proven_good" where a version answers instead.
        reason: How the version failed.
        standby: The proven-good version that answers instead; None for the policy's fallback.

    Raises:
        SurefootError: The journal cannot be written now.
    """
    rung = FailoverLevel.FALLBACK if standby is None else FailoverLevel.PROVEN_GOOD

    def request() -> Ledger:
        ledger = ports.ledger(model)
        if rung in ledger.fallbacks:
            return ledger
        named = ledger.fallback if kind == PYFUNC_FALLBACK_KIND else None
        source = None if named is None else FallbackReference(named.model, named.version.number)
        return ports.append(ledger, FallbackBegan(champion, kind, clean_reason(reason).text, rung, standby, source))

    return retry_on_conflict(request)


def end_fallback_period(
    ports: Ports, model: str, champion: Version, rung: FailoverLevel = FailoverLevel.FALLBACK
) -> Ledger:
    """Journal that standby or fallback answers no longer; nothing when the journal knows of no such period.

    Args:
        ports: Ports of the use cases.
        model: Registered model.
        champion: The version that answers.
        rung: What answered instead.

    Raises:
        SurefootError: The journal cannot be written now.
    """

    def request() -> Ledger:
        ledger = ports.ledger(model)
        return ports.append(ledger, FallbackEnded(champion, rung)) if rung in ledger.fallbacks else ledger

    return retry_on_conflict(request)
