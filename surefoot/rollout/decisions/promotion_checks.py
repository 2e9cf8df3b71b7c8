"""Check that a promotion may begin, and collect the claims and the provenance of its version."""

from surefoot.core.approvals.version_claims import VersionClaims
from surefoot.core.domain import PROMOTED_STAGES, RolloutKind, Stage, Version
from surefoot.core.errors import Rejected
from surefoot.core.journal.ledger import Ledger
from surefoot.core.operator_reason import clean_reason
from surefoot.core.policy.governance.artifact_trust import (
    SIGNATURE_FIELD_NAME,
    describe_missing_provenance,
    find_artifact_problem,
    read_provenance,
)
from surefoot.core.policy.policy_types import Policy
from surefoot.core.served_versions.quarantine import Quarantine
from surefoot.rollout.ports import Ports

_TICKET_TAG = "surefoot.ticket"
"""Tag of a version in the registry that holds its change ticket."""


def collect_version_claims(ports: Ports, policy: Policy, number: str, ticket: str) -> VersionClaims:
    """Read who made a version, where people approve it, and its change ticket.

    Args:
        ports: The outside world.
        policy: Policy of the promotion.
        number: The version.
        ticket: The ticket that was given with the request; empty for the one of the version's tag.

    Raises:
        Rejected: The policy requires a ticket, and there is none.
        RegistryUnavailable: The registry does not answer.
    """
    given = clean_reason(ticket).text if ticket.strip() else ""
    if not policy.approvals and (given or policy.ticket == "optional"):
        return VersionClaims(ticket=given)
    found = ports.version_claims(policy.model, number)
    tagged = clean_reason(found.ticket).text if found.ticket.strip() else ""
    if policy.ticket == "required" and not (given or tagged):
        raise Rejected(
            f"version {number} of {policy.model} is not promoted: its policy requires a change ticket; name it with"
            f" 'surefoot promote {policy.model} {number} --ticket ...', or set the version's tag {_TICKET_TAG}"
        )
    return VersionClaims(found.authors if policy.approvals else (), given or tagged)


def check_artifact(ports: Ports, policy: Policy, candidate: Version) -> dict[str, str]:
    """Check signature, flavours, pickles and provenance of a version against its policy.

    Args:
        ports: The outside world.
        policy: Policy of the promotion.
        candidate: The version.

    Returns:
        What is known of each kind of provenance that the policy demands, and whose key has signed, for the journal.

    Raises:
        Rejected: The policy does not take its files, or provenance is missing; the message names what.
        ArtifactTampered: Its files are not those of its digest.
        RegistryUnavailable: The registry does not answer.
        Unavailable: The library that checks signatures is not installed here.
    """
    named = f"version {candidate.number} of {policy.model} is not promoted"
    signed = check_signature(ports, policy, candidate)
    if policy.artifacts.flavors is not None or policy.artifacts.pickle == "refuse":
        problem = find_artifact_problem(policy.artifacts, ports.artifact_contents(policy.model, candidate))
        if problem:
            raise Rejected(f"{named}: {problem}")
    if not policy.provenance:
        return signed
    known = collect_provenance(ports, policy, candidate)
    if problem := describe_missing_provenance(policy.provenance, known):
        raise Rejected(f"{named}: {problem}")
    return signed | {kind: known[kind] for kind in policy.provenance}


def check_signature(ports: Ports, policy: Policy, candidate: Version) -> dict[str, str]:
    """Check that a key of the policy has signed a version, before any of its code is loaded.

    Returns:
        Whose key has signed it, for the journal; empty where the policy demands no signature.

    Raises:
        Rejected: No such key has signed exactly its files; the message names what is wrong.
        ArtifactTampered: Its files are not those of its digest.
        RegistryUnavailable: The registry does not answer.
        Unavailable: The library that checks signatures is not installed here.
    """
    if policy.artifacts.signed_by is None:
        return {}
    found = ports.check_signature(policy, candidate)
    if found.problem or not found.signer:
        raise Rejected(f"version {candidate.number} of {policy.model} is not promoted: {found.problem}")
    return {SIGNATURE_FIELD_NAME: found.signer}


def collect_provenance(ports: Ports, policy: Policy, candidate: Version) -> dict[str, str]:
    """What the registry knows of how a version came to be, by kind; raises what the registry does."""
    authors = ports.version_claims(policy.model, candidate.number).authors
    return read_provenance(ports.version_facts(policy.model, candidate), authors)


def refuse_other_champion(ports: Ports, ledger: Ledger) -> None:
    """Refuse to begin while alias `champion` is not what is served: the promotion could not move it in the end.

    Raises:
        Rejected: Another version has the alias, or none has.
    """
    champion = ledger.champion
    live = ports.registry.alias(ledger.model, "champion")
    if champion is not None and live != champion.number:
        says = f"points to version {live}" if live else "is not set"
        raise Rejected(
            f"alias champion of {ledger.model} {says}, but version {champion.number} is served: 'surefoot repair"
            f" {ledger.model}' sets it to {champion.number}; to serve another version, promote it after that"
        )


def refuse_repeated_promotion(ledger: Ledger, candidate: Version, *, force: bool) -> None:
    """Refuse a version that serves already, that a rollout goes back to, or that was turned away before.

    Raises:
        Rejected: Nothing to do, or not without `force`; the message says what to do instead.
    """
    champion = ledger.champion
    if champion and candidate.digest == champion.digest:
        same = (
            "is the champion"
            if candidate.number == champion.number
            else f"has the same bytes as champion {champion.number}"
        )
        raise Rejected(f"version {candidate.number} of {ledger.model} {same}: nothing to promote")
    current = ledger.rollout
    if current and current.opened.kind == RolloutKind.PROMOTION and candidate.digest == current.opened.champion.digest:
        raise Rejected(
            f"version {candidate.number} of {ledger.model} is what the rollout of version"
            f" {current.opened.candidate.number} goes back to: roll back instead"
        )
    held = ledger.quarantined.get(candidate.digest)
    if held and not force:
        # The way out comes first: long reasons are shortened where they are shown.
        same = "" if held.version.number == candidate.number else f"has the bytes of version {held.version.number} and "
        raise Rejected(
            f"version {candidate.number} of {ledger.model} {same}is quarantined: 'surefoot release {ledger.model}"
            f" {held.version.number} --reason ...' lifts that, and --force tries it again; {describe_quarantine(held)}"
        )
    judged = [item for item in ledger.attempts(candidate) if item.stage in PROMOTED_STAGES]
    proven = any(version.digest == candidate.digest for version in ledger.proven)
    if judged and proven and not force:
        raise Rejected(
            f"version {candidate.number} of {ledger.model} was promoted before and is proven-good, and --force promotes"
            f" it again; it is {judged[-1].stage}: {judged[-1].reason}"
        )


def describe_quarantine(held: Quarantine) -> str:
    """What became of a quarantined version, as a clause."""
    became = "was promoted, then taken back" if held.stage is Stage.FAST_ROLLED_BACK else f"is {held.stage}"
    return f"it {became}: {held.reason}"
