"""Define the journal events of failover to another version or the fallback, and of fallback drills."""

from dataclasses import dataclass

from surefoot.core.domain import FailoverLevel, Version
from surefoot.core.fallback import PYFUNC_FALLBACK_KIND, FallbackReference, FallbackVersion


@dataclass(frozen=True, slots=True)
class FallbackBegan:
    """The champion failed a request, and the last proven-good version or the policy's fallback answered it.

    Attributes:
        champion: The version that failed.
        kind: Kind of the fallback, as in the policy; "proven_good" where a version answered.
        reason: How the version failed the first request.
        rung: What answers instead.
        standby: The version that answers instead; None for the policy's fallback.
        source: The version that the policy's fallback is; None for other kinds.
    """

    champion: Version
    kind: str
    reason: str
    rung: FailoverLevel = FailoverLevel.FALLBACK
    standby: Version | None = None
    source: FallbackReference | None = None


@dataclass(frozen=True, slots=True)
class FallbackEnded:
    """The standby or fallback has answered nothing for a while: a version before it in the order answers again.

    Attributes:
        champion: The version that answers.
        rung: What answered instead.
    """

    champion: Version
    rung: FailoverLevel = FailoverLevel.FALLBACK


@dataclass(frozen=True, slots=True)
class FallbackDrilled:
    """The policy's fallback was asked recent requests, before it is needed.

    Attributes:
        kind: Kind of the fallback, as in the policy.
        digest: SHA-256 of its file, or of the files of its version; empty where it has none, or they cannot be used.
        rows: Logged rows that it was asked [count].
        problem: Why it would not do; empty where each answer was valid, and of the champion's shape.
        source: The version that the policy names; None for other kinds.
        version: That version with the digest of its files; None for other kinds, and where it cannot be loaded.
    """

    kind: str
    digest: str
    rows: int
    problem: str
    source: FallbackReference | None = None
    version: Version | None = None

    @property
    def is_unusable(self) -> bool:
        """Whether there is nothing that could answer: its file or its version is missing, or cannot be read."""
        return bool(self.problem) and not self.digest and self.kind != "constant"

    @property
    def fallback_version(self) -> FallbackVersion | None:
        """The version that can answer; None for other kinds, and where it cannot be loaded."""
        return None if self.source is None or self.version is None else FallbackVersion(self.source.model, self.version)

    def usable_version(self, before: FallbackVersion | None) -> FallbackVersion | None:
        """The version that can be the fallback from now on; the one before where this one cannot be loaded."""
        return before if self.source is not None and self.version is None else self.fallback_version

    @property
    def display_name(self) -> str:
        """The fallback as a person names it."""
        return f"{PYFUNC_FALLBACK_KIND} {self.source.uri}" if self.source is not None else self.kind


FallbackEvent = FallbackBegan | FallbackEnded | FallbackDrilled
"""Requests that the champion fails are answered by another rung, or no longer; or a fallback was tried."""
