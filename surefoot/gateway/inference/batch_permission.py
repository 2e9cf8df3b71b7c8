"""Whether requests of one version may be predicted together, and how often they were."""

import logging

from surefoot.models.contract import Predictor, RowChecks
from surefoot.models.row_independence import IndependenceProof, RowIndependence

_log = logging.getLogger(__name__)
_FOR_GOOD = (RowIndependence.BATCH_DEPENDENT, RowIndependence.NOT_REPEATABLE)


class BatchPermission:
    """What is known of the rows of one version; all its methods belong to the event loop.

    Attributes:
        allowed: Whether requests may share a batch.
        why: Why they may not, in one line; empty when they may.
        ruled: What was found after the version was loaded, and holds until it is loaded anew; empty without that.
    """

    def __init__(self, number: str, predictor: Predictor) -> None:
        """Begin with what its first process knows."""
        self._number = number
        self.allowed, self.why, self.ruled = predictor.batchable, "", ""
        self._final = False
        self._batches = self._shared = 0
        self._checks = RowChecks()
        if predictor.proof is not None:
            self._take(predictor.proof)

    def learn(self, proof: IndependenceProof | None, now: RowChecks, before: RowChecks) -> None:
        """Take over what a process knows by now.

        Args:
            proof: What it knows.
            now: Rows that it has asked again alone since it was started.
            before: The same when it was heard last.
        """
        self._checks = RowChecks(*(have + new - old for have, new, old in zip(self._checks, now, before, strict=True)))
        if proof is None or self._final:
            return
        if proof.batching in _FOR_GOOD:
            self.ruled = proof.why
        self._take(proof)

    def rule(self, why: str) -> None:
        """Ask one request at a time from now on, because another worker has found out why."""
        if not self._final:
            self._take(IndependenceProof(RowIndependence.BATCH_DEPENDENT, why))

    def count(self, requests: int) -> None:
        """Note a batch of so many requests."""
        self._batches += 1
        if requests > 1:
            self._shared += requests

    def told(self) -> dict[str, object]:
        """What `/stats` says of it."""
        return {
            "batches": self._batches,
            "shared": self._shared,
            **self._checks._asdict(),
            "row_wise": self.allowed,
            "one_at_a_time": self.why,
        }

    def _take(self, proof: IndependenceProof) -> None:
        before, self._final = (self.allowed, self.why), proof.batching in _FOR_GOOD
        self.allowed, self.why = proof.row_wise, proof.why
        if before == (self.allowed, self.why):
            return
        if self.allowed:
            _log.info("version %s: its requests are predicted together: it answers each row by itself", self._number)
        else:
            _log.warning("version %s: asked one request at a time: %s", self._number, self.why)
