"""Define the quarantine that bars a rejected or rolled-back version from promotion."""

from dataclasses import dataclass

from surefoot.core.domain import Stage, Version


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A version that was turned away or taken back: it is not promoted again until a person releases it.

    Attributes:
        version: The version.
        stage: How the rollout ended that says so.
        reason: Why.
        rollout: Id of that rollout.
        at: When it ended [Unix seconds].
    """

    version: Version
    stage: Stage
    reason: str
    rollout: str
    at: float
