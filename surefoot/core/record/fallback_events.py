"""Define the journal events of the standby or fallback answering in place of a failing champion."""

from dataclasses import dataclass

from surefoot.core.domain import Rung, Version


@dataclass(frozen=True, slots=True)
class FallbackBegan:
    """The champion failed a request, and the last proven-good version or the policy's fallback answered it.

    Attributes:
        champion: The version that failed.
        kind: Kind of the fallback, as in the policy: "constant"; "proven_good" where a version answered.
        reason: How the version failed the first request.
        rung: What answers instead.
        standby: The version that answers instead; None for the policy's fallback.
    """

    champion: Version
    kind: str
    reason: str
    rung: Rung = Rung.FALLBACK
    standby: Version | None = None


@dataclass(frozen=True, slots=True)
class FallbackEnded:
    """The rung has answered nothing for a while, and a version above it answers again.

    Attributes:
        champion: The version that answers.
        rung: What answered instead.
    """

    champion: Version
    rung: Rung = Rung.FALLBACK


@dataclass(frozen=True, slots=True)
class FallbackDrilled:
    """The policy's fallback was asked recent requests, before it is needed.

    Attributes:
        kind: Kind of the fallback, as in the policy.
        digest: SHA-256 of its file; empty where it has none.
        rows: Logged rows that it was asked [count].
        problem: Why it would not do; empty where each answer was valid, and of the champion's shape.
    """

    kind: str
    digest: str
    rows: int
    problem: str


FallbackEvent = FallbackBegan | FallbackEnded | FallbackDrilled
"""Requests that the champion fails are answered by another rung, or no longer; or a fallback was tried."""
