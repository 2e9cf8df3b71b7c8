"""Define the journal events that mark when callers start and stop getting fallback answers."""

from dataclasses import dataclass

from surefoot.core.domain import Version


@dataclass(frozen=True, slots=True)
class FallbackBegan:
    """The champion failed a request, and the policy's fallback answered it.

    Attributes:
        champion: The version that failed.
        kind: Kind of the fallback, as in the policy: "constant".
        reason: How the version failed the first request.
    """

    champion: Version
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class FallbackEnded:
    """The champion answers again, and the fallback has answered nothing for a while.

    Attributes:
        champion: The version that answers.
    """

    champion: Version


FallbackEvent = FallbackBegan | FallbackEnded
