"""Define the journal events of when the standby or fallback starts and stops answering in the champion's place."""

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


FallbackEvent = FallbackBegan | FallbackEnded
"""Requests that the champion fails are answered by another rung, or no longer."""
