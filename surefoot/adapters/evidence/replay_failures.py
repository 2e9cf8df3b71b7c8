"""Hold the counts of replayed requests that each version answered or failed to answer."""

from dataclasses import dataclass, fields

from surefoot.core.judging.evidence import BadEventCounts, BadEventStratum
from surefoot.core.judging.excluded_records import ExcludedRecords


@dataclass(frozen=True, slots=True)
class ReplayFailures:
    """How many of the same requests each of two versions answered or failed.

    Attributes:
        requests: Requests [count].
        champion_tried: Those that the champion was asked, or had answered [count].
        candidate_tried: The same of the candidate [count].
        champion_answered: Those that the champion could answer [count].
        candidate_answered: The same of the candidate [count].
        neither: Those that neither could answer [count].
    """

    requests: int = 0
    champion_tried: int = 0
    candidate_tried: int = 0
    champion_answered: int = 0
    candidate_answered: int = 0
    neither: int = 0

    def __add__(self, other: "ReplayFailures") -> "ReplayFailures":
        """Count the requests of both."""
        return ReplayFailures(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def error_rate_evidence(self) -> BadEventCounts:
        """Make error-rate evidence as if each version had served half the requests; failures of both do not count."""
        both = self.neither
        champion_bad = self.champion_tried - self.champion_answered - both
        candidate_bad = self.candidate_tried - self.candidate_answered - both
        rate = champion_bad / max(self.champion_tried - both, 1)
        counts = (BadEventStratum(0.5, candidate_bad, self.candidate_answered, champion_bad, self.champion_answered),)
        return BadEventCounts(counts, rate, "request", self.requests - both, left=ExcludedRecords(refused=both))
