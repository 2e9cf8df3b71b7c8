"""Import a gate's records from external sources, then compute its evidence from them."""

from collections.abc import Callable
from dataclasses import dataclass

from surefoot.adapters.evidence.excluded_counts import gate_needs_labels
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.domain import EvidenceKind, Outcome
from surefoot.core.durations import format_duration
from surefoot.core.errors import SurefootError
from surefoot.core.judging.evidence import Evidence, MissingEvidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.evidence.evidence_section import EvidenceOrigin
from surefoot.core.ports import EvidenceSource
from surefoot.wiring.foreign_evidence.evidence_import import EvidenceImporter, SourceImportResult

_SERVED = frozenset({EvidenceKind.LIVE, EvidenceKind.BAKE})


@dataclass(frozen=True, slots=True)
class ImportedEvidence:
    """The port of evidence for models whose requests are recorded elsewhere; of any other model nothing is imported.

    Attributes:
        log: The prediction log.
        importer: Imports into it.
        inner: Gathers evidence from the log.
        counters: Gathers evidence from counters in Prometheus; None where a gate does not read them.
    """

    log: PredictionLog
    importer: EvidenceImporter
    inner: EvidenceSource
    counters: Callable[[EvidenceRequest], Evidence | None] = lambda _question: None

    def gather(self, question: EvidenceRequest) -> Evidence:
        """Import what has come, then measure; never raises for what sources do."""
        origin = question.origin
        if origin is None:
            return self.inner.gather(question)
        try:
            if (counted := self.counters(question)) is not None:
                return counted
            missing = self._missing(question, origin)
        except SurefootError as error:
            return MissingEvidence(Outcome.ERROR, str(error))
        return missing if missing is not None else self.inner.gather(question)

    def _missing(self, question: EvidenceRequest, origin: EvidenceOrigin) -> MissingEvidence | None:
        """Why the sources cannot speak of the question's window; None when they can."""
        found = self.importer.refresh(question.model, origin, question.until)
        if origin.section.predictions is not None:
            if problem := _problem(found.predictions):
                return problem
            if silent := self._silent(question, found.predictions):
                return silent
        if origin.section.labels is not None and gate_needs_labels(question):
            return _problem(found.labels)
        return None

    def _silent(self, question: EvidenceRequest, found: SourceImportResult) -> MissingEvidence | None:
        """Whether the source has no row at all, or none that is new enough for evidence of now."""
        newest = self.log.newest_request_time(question.model, question.until)
        if newest is None:
            age = format_duration(question.until - found.since)
            return MissingEvidence(Outcome.NO_DATA, f"{found.place} answers, and has no row of the last {age}")
        if question.kind not in _SERVED or not question.stale_after or question.until - newest <= question.stale_after:
            return None
        age, allowed = format_duration(question.until - newest), format_duration(question.stale_after)
        reason = f"the newest row of {found.place} is {age} old; after {allowed} (stale_after) nothing is decided"
        return MissingEvidence(Outcome.STALE, reason)


def _problem(found: SourceImportResult) -> MissingEvidence | None:
    """Why a source was not read to the end, or not well enough."""
    if found.failure is not None:
        return MissingEvidence(Outcome.ERROR, f"{found.failure.problem}: {found.failure}")
    if found.too_many:
        said = "; ".join(found.unusable.reasons())
        reason = f"{found.unusable.total:,} of {found.read:,} rows of {found.place} cannot be used: {said}"
        return MissingEvidence(Outcome.ERROR, f"partial: {reason}")
    return None
