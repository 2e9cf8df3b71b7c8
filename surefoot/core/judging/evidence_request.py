"""Define the request that says which evidence to measure for a gate."""

from dataclasses import dataclass

from surefoot.core.domain import EvidenceKind, Version
from surefoot.core.policy.evidence.evidence_section import EvidenceOrigin
from surefoot.core.policy.policy_types import Corners, Gate


@dataclass(frozen=True, slots=True)
class EvidenceRequest:
    """Request to measure the evidence of one gate.

    Attributes:
        model: Registered model.
        gate: The gate that asks.
        kind: Where the evidence comes from.
        suite: SHA-256 of the expectation suite as it was when the rollout opened.
        rollout: Id of the rollout.
        champion: The version served today.
        candidate: The version on trial.
        since: Start of the window [Unix seconds].
        until: End of the window, which is now [Unix seconds].
        opened: When the rollout opened; live evidence reaches back to it [Unix seconds].
        epoch: Length of an epoch; a candidate may break in a later one [seconds].
        stale_after: Age of the newest request above which live evidence is stale [seconds].
        mirrored: Share of the requests that are mirrored to the candidate [percent].
        max_rows: Most rows of the window that are replayed [count]; None for all.
        look_gates: All gates that the same look asks about, this one among them, so that rows are read once for all.
        corners: Corner cases that the policy declares; None where the look does not ask them.
        shadow_gates: All gates of the shadow whose groups corner cases look at.
        origin: What evidence is imported from first; None where Surefoot records all of it.
    """

    model: str
    gate: Gate
    kind: EvidenceKind
    suite: str
    rollout: str
    champion: Version
    candidate: Version
    since: float
    until: float
    opened: float
    epoch: float = 0.0
    stale_after: float = 0.0
    mirrored: float = 0.0
    max_rows: int | None = None
    look_gates: tuple[Gate, ...] = ()
    corners: Corners | None = None
    shadow_gates: tuple[Gate, ...] = ()
    origin: EvidenceOrigin | None = None
