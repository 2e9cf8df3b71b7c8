"""A journal that remembers what a gateway tells it, for the tests of what a gateway reports."""

import threading

from surefoot.core.domain import FailoverLevel, Version


class Journal:
    """A journal that remembers what it was told, and is down for so many reports of cuts first.

    Attributes:
        reports: Model, rollout and reason of each cut.
        asked: Set when a cut was reported.
        fallbacks: Each report of a beginning or an end, with the number of the version and the reason.
    """

    def __init__(self, failures: float = 0) -> None:
        self.reports: list[tuple[str, str, str]] = []
        self.fallbacks: list[tuple[str, str, str]] = []
        self.asked = threading.Event()
        self._failures = failures

    def record_cut(self, model: str, rollout: str, reason: str) -> None:
        """Remember, or be down."""
        self.reports.append((model, rollout, reason))
        self.asked.set()
        if len(self.reports) <= self._failures:
            raise OSError("the journal is down")

    def record_fallback_began(
        self, model: str, champion: Version, kind: str, reason: str, standby: Version | None
    ) -> None:
        """Remember."""
        self.fallbacks.append((f"{model} began {kind}", champion.number, reason))

    def record_fallback_ended(self, model: str, champion: Version, rung: FailoverLevel) -> None:
        """Remember."""
        self.fallbacks.append((f"{model} ended", champion.number, ""))
