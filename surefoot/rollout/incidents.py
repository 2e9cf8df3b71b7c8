"""Open incidents for rolled-back versions and for drift, and journal their notes, closing and evidence holds."""

from surefoot.core.domain import RolloutKind, Version
from surefoot.core.errors import NotFound, Rejected
from surefoot.core.incidents.incident_events import EvidenceHoldLifted, IncidentClosed, IncidentNoted
from surefoot.core.incidents.incident_state import Incident
from surefoot.core.journal.chain import canonical_digest
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.journal.watch_events import IncidentOpened
from surefoot.core.registry_drift.drift_events import drift_incident_trigger
from surefoot.rollout.ports import Ports
from surefoot.rollout.rollout_commands import retry_on_conflict


def open_due_incidents(ports: Ports, model: str) -> tuple[str, ...]:
    """Open an incident for each rollout that takes a version back from callers, and each difference, that has none.

    Returns:
        Ids of the incidents that were opened.
    """
    opened: list[str] = []

    def open_next() -> Ledger:
        ledger = ports.ledger(model)
        for rollout, version in ledger.incidents.due(ports.clock.now()).items():
            event = _incident_of(ledger, ledger.rollouts[rollout], version)
            ledger = ports.append(ledger, event)
            opened.append(event.incident)
        before = set(ledger.incidents.known)
        ledger = open_drift_incidents(ports, ledger)
        opened.extend(name for name in ledger.incidents.known if name not in before)
        return ledger

    retry_on_conflict(open_next)
    return tuple(opened)


def open_drift_incidents(ports: Ports, ledger: Ledger) -> Ledger:
    """Open an incident for each difference that another hand has made and that has none.

    Raises:
        Conflict: Another process has appended to the journal.
    """
    champion = ledger.champion
    if champion is None:
        return ledger
    for drift in ledger.drift.due_incidents(ledger.drifts, ports.clock.now()):
        facts = {"drift": drift.what, "model": ledger.model, "seq": ledger.head}
        name = canonical_digest(facts)[7:19]
        promoted = [one.opened.rollout for one in ledger.attempts(champion)]
        reason = f"{drift.what} should be {drift.expected}: {drift.seen}"
        if drift.what.startswith("alias "):
            reason += "; MLflow does not record who has moved it"
        event = IncidentOpened(name, (promoted or [""])[-1], champion, drift_incident_trigger(drift.what), reason)
        ledger = ports.append(ledger, event)
    return ledger


def _incident_of(ledger: Ledger, rollout: Rollout, version: Version) -> IncidentOpened:
    """The incident of a rollout that takes a version back."""
    name, ending = rollout.opened.rollout, rollout.ending
    if rollout.opened.kind == RolloutKind.ROLLBACK:
        promoted = [one.opened.rollout for one in ledger.attempts(version)]
        promotion, trigger, reason = (promoted or [""])[-1], "rollback", rollout.opened.reason
    else:
        promotion, trigger = name, f"gate {ending.gate}" if ending and ending.gate else "end of the rollout"
        reason = ending.reason if ending else rollout.reason
    facts = {"model": ledger.model, "rollback": name, "version": version.digest}
    return IncidentOpened(
        canonical_digest(facts)[7:19],
        promotion,
        rollout.opened.champion,
        trigger,
        reason,
        subject=version,
        rollback=name,
    )


def find_incident(ledger: Ledger, begins: str = "") -> Incident:
    """The incident whose id begins so; the latest one without it.

    Raises:
        NotFound: There is none, or more than one.
    """
    found = [one for name, one in ledger.incidents.known.items() if name.startswith(begins)]
    if not found or (begins and len(found) > 1):
        known = ", ".join(ledger.incidents.known) or "none"
        said = (
            f"{begins} names {len(found) or 'no'} incident{'s' if found else ''}" if begins else "there is no incident"
        )
        raise NotFound(f"{said} of {ledger.model}; known: {known}")
    return found[-1]


def add_incident_note(ports: Ports, model: str, event: IncidentNoted) -> Ledger:
    """Journal a note of an incident, also of one that is closed.

    Raises:
        NotFound: The journal knows no such incident.
        Rejected: The note is empty.
    """
    if not event.text.strip():
        raise Rejected("a note needs a text")
    find_incident(ports.ledger(model), event.incident)
    return retry_on_conflict(lambda: ports.append(ports.ledger(model), event))


def close_incident(ports: Ports, model: str, event: IncidentClosed) -> Ledger:
    """Journal that a person closed an incident; what it rests on is kept until that hold is lifted.

    Raises:
        NotFound: The journal knows no such incident.
        Rejected: It is closed already, its rollback is under way, or there is no reason.
    """

    def close() -> Ledger:
        ledger = ports.ledger(model)
        incident = find_incident(ledger, event.incident)
        if incident.closed is not None:
            raise Rejected(f"incident {incident.name} was closed before: {incident.closed.reason}")
        if incident.rollback and incident.rollback == ledger.open:
            raise Rejected(f"incident {incident.name} cannot be closed: its rollback is under way ('surefoot status')")
        if not event.reason.strip():
            raise Rejected("closing an incident needs a reason")
        return ports.append(ledger, event)

    return retry_on_conflict(close)


def lift_evidence_hold(ports: Ports, model: str, name: str, reason: str) -> Ledger:
    """Journal that the evidence of an incident may expire as everything else does.

    Raises:
        NotFound: The journal knows no such incident.
        Rejected: Its evidence is not held, or there is no reason.
    """

    def lift() -> Ledger:
        ledger = ports.ledger(model)
        incident = find_incident(ledger, name)
        if incident.held is None:
            raise Rejected(f"the evidence of incident {incident.name} is not held: {incident.lifted or 'it never was'}")
        if not reason.strip():
            raise Rejected("lifting a hold needs a reason")
        return ports.append(ledger, EvidenceHoldLifted(incident.name, reason))

    return retry_on_conflict(lift)
