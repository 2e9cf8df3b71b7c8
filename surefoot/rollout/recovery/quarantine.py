"""Release a version from quarantine, so that it may be promoted again."""

from surefoot.core.errors import NotFound, Rejected
from surefoot.core.journal.ledger import Ledger
from surefoot.core.journal.served_version_events import VersionReleased
from surefoot.core.operator_reason import clean_reason
from surefoot.rollout.ports import Ports


def release_version(ports: Ports, model: str, number: str, reason: str) -> Ledger:
    """Journal that a quarantined version may be promoted again, and why; the actor of the ports is recorded.

    Raises:
        NotFound: The journal holds nothing of the model.
        Rejected: No reason is given, or the version is not quarantined.
    """
    if not reason.strip():
        raise Rejected("a quarantine is lifted with a reason: say with --reason why the version may be tried again")
    ledger = ports.ledger(model)
    if not ledger.head:
        raise NotFound(f"the journal holds nothing of {model}; known: {', '.join(ports.journal.models()) or 'none'}")
    held = next((one for one in ledger.quarantined.values() if one.version.number == number), None)
    if held is None:
        found = ", ".join(f"{one.version.number} ({one.stage})" for one in ledger.quarantined.values()) or "none"
        raise Rejected(f"version {number} of {model} is not quarantined; quarantined versions: {found}")
    return ports.append(ledger, VersionReleased(held.version, clean_reason(reason).text))
