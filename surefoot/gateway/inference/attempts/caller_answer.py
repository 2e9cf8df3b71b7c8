"""Define the answer that a caller gets, and the errors when there is none."""

from dataclasses import dataclass

from surefoot.core.domain import FailoverLevel
from surefoot.gateway.log.scoring_request import ScoringRequest


class NotServing(Exception):
    """The model has no loaded champion."""


class Overloaded(Exception):
    """More requests wait than the queue may hold."""


class NoVersionAnswered(Exception):
    """No version could answer this request."""


@dataclass(slots=True)
class CallerAnswer:
    """The answer that a caller gets, and which version or fallback it comes from.

    Attributes:
        predictions: JSON list of predictions.
        answered_by: Number of the version that gave it; empty for a fallback answer.
        job: The request.
        fallback: Kind of the fallback that gave it; empty when a version did.
    """

    predictions: bytes
    answered_by: str
    job: ScoringRequest
    fallback: str = ""

    @property
    def failover_level(self) -> FailoverLevel | None:
        """What answered because the champion failed; None when champion or candidate answered."""
        return self.job.rung
