"""Track whether one version may predict several requests together."""

import logging

from surefoot.models.model_protocols import BatchRecheckCounts, Predictor
from surefoot.models.rows.independence import IndependenceResult, RowIndependence

_log = logging.getLogger(__name__)
_FINAL = (RowIndependence.BATCH_DEPENDENT, RowIndependence.NOT_REPEATABLE)


class BatchPermission:
    """Permission to batch the requests of one version; all its methods belong to the event loop.

    Attributes:
        allowed: Whether requests may share a batch.
        why: Why they may not, in one line; empty when they may.
        finding: Why a caller's row has shown that they may not; it holds until the version is loaded anew. Empty
            without such a row.
    """

    def __init__(self, number: str, predictor: Predictor) -> None:
        """Start with what the first process of the version knows."""
        self._number = number
        self.allowed, self.why, self.finding = predictor.batchable, "", ""
        self._final = False
        self._batches = self._shared = 0
        self._checks = BatchRecheckCounts()
        if predictor.independence is not None:
            self._apply(predictor.independence)

    def update(
        self, independence: IndependenceResult | None, now: BatchRecheckCounts, before: BatchRecheckCounts
    ) -> None:
        """Update from what a process knows by now.

        Args:
            independence: What it knows of its rows.
            now: Rows that it has asked again alone since it was started.
            before: The same at the last update.
        """
        self._checks = BatchRecheckCounts(
            *(have + new - old for have, new, old in zip(self._checks, now, before, strict=True))
        )
        if independence is None or self._final:
            return
        if independence.batching in _FINAL:
            self.finding = independence.why
        self._apply(independence)

    def forbid(self, why: str) -> None:
        """Ask one request at a time from now on, because another worker has found out why."""
        if not self._final:
            self._apply(IndependenceResult(RowIndependence.BATCH_DEPENDENT, why))

    def count_batch(self, requests: int) -> None:
        """Count a batch of so many requests."""
        self._batches += 1
        if requests > 1:
            self._shared += requests

    def stats(self) -> dict[str, object]:
        """Give the counts for `/stats`."""
        return {
            "batches": self._batches,
            "shared": self._shared,
            **self._checks._asdict(),
            "row_wise": self.allowed,
            "one_at_a_time": self.why,
        }

    def _apply(self, independence: IndependenceResult) -> None:
        before, self._final = (self.allowed, self.why), independence.batching in _FINAL
        self.allowed, self.why = independence.row_wise, independence.why
        if before == (self.allowed, self.why):
            return
        if self.allowed:
            _log.info(
                "version %s: its requests are predicted together, since it answers each row by itself", self._number
            )
        else:
            _log.warning("version %s: asked one request at a time: %s", self._number, self.why)
