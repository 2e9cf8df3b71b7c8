"""Define the interface through which the gateway journals its own decisions."""

from typing import Protocol

from surefoot.core.domain import FailoverLevel, Version


class GatewayJournal(Protocol):
    """Records what the gateway has done by itself; each method raises when it is not recorded yet, and is repeated."""

    def record_cut(self, model: str, rollout: str, reason: str) -> None:
        """Record that a candidate's traffic was cut."""
        ...

    def record_fallback_began(
        self, model: str, champion: Version, kind: str, reason: str, standby: Version | None
    ) -> None:
        """Record that callers get answers of the standby, or without one of the fallback; once, however often told."""
        ...

    def record_fallback_ended(self, model: str, champion: Version, rung: FailoverLevel) -> None:
        """Record that a version above this rung answers again; once, however often it is told."""
        ...


class NullJournal:
    """A journal that keeps nothing, for a gateway without a control plane."""

    def record_cut(self, model: str, rollout: str, reason: str) -> None:
        """Record nothing."""

    def record_fallback_began(
        self, model: str, champion: Version, kind: str, reason: str, standby: Version | None
    ) -> None:
        """Record nothing."""

    def record_fallback_ended(self, model: str, champion: Version, rung: FailoverLevel) -> None:
        """Record nothing."""
