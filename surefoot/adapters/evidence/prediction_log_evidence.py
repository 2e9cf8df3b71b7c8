"""Gather a gate's evidence from the prediction log and its labels."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from surefoot.adapters.evidence.column_distances import column_distances, count_texts_among_numbers
from surefoot.adapters.evidence.excluded_counts import (
    count_excluded_records,
    gate_needs_labels,
    gate_uses_row_sample,
    merge_excluded_counts,
)
from surefoot.adapters.evidence.live_counts.bad_event_counts import count_bad_events
from surefoot.adapters.evidence.live_counts.bounded_value_counts import count_bounded_values
from surefoot.adapters.evidence.live_counts.gauge_comparisons import compare_gauges
from surefoot.adapters.evidence.live_counts.measurement_histograms import count_measurements
from surefoot.adapters.evidence.live_counts.sql_log import SqlLog
from surefoot.adapters.predictions.validation_table import build_validation_table
from surefoot.core.domain import EvidenceKind, Outcome
from surefoot.core.durations import format_duration
from surefoot.core.errors import InvariantBroken, SurefootError
from surefoot.core.judging.corner_answers import CornerAnswers
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import (
    AnswerShapes,
    DistributionShift,
    Evidence,
    GoldenRows,
    MissingEvidence,
)
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.core.policy.policy_types import (
    BAD_EVENT_METRICS,
    MEASUREMENT_METRICS,
    PAIRED_METRICS,
    Metric,
    ShiftGate,
    narrow_gate_type,
)

if TYPE_CHECKING:
    import pandas as pd

ExpectationSuiteRunner = Callable[[str, "pd.DataFrame", str], ValidationResult | MissingEvidence]
"""(suite digest, requests, name of the report) -> what the suite says."""


class _RequestLog(SqlLog, Protocol):
    """What was served and reported."""

    def newest_request_time(self, model: str, until: float) -> float | None:
        """When the last request until then was received [Unix seconds]; None without any."""
        ...

    def read_features(self, model: str, since: float, until: float) -> "pd.DataFrame":
        """Features of the requests of a window."""
        ...

    def read_predictions(self, model: str, since: float, until: float) -> "pd.DataFrame":
        """Answers that callers got in a window, as the column "prediction"."""
        ...


class _AnswerSource(Protocol):
    """What each of the two versions answers to the same requests."""

    def paired_loss_evidence(self, question: EvidenceRequest) -> Evidence:
        """Sums of both by block and slice."""
        ...

    def failure_evidence(self, question: EvidenceRequest) -> Evidence:
        """RequestLog that each cannot answer."""
        ...

    def refused_requests(self, question: EvidenceRequest) -> tuple[str, ...]:
        """Requests of a rollout, and of the champion's past, that every version refuses."""
        ...

    def count_excluded(self, question: EvidenceRequest) -> ExcludedRecords:
        """What the evidence leaves out of the records of the question's window."""
        ...

    def input_types(self, question: EvidenceRequest) -> Mapping[str, object]:
        """Types of the candidate's inputs by name; none where they are not known."""
        ...

    def answer_shapes(self, question: EvidenceRequest) -> Evidence:
        """What the answers of both look like."""
        ...

    def golden_rows(self, question: EvidenceRequest) -> Evidence:
        """The candidate's answers to the rows that it carries."""
        ...

    def corner_answers(self, question: EvidenceRequest) -> Evidence:
        """What both answer to synthetic rows of corner cases."""
        ...

    def input_differences(self, question: EvidenceRequest) -> Evidence:
        """Share of requests on which each is fed other values."""
        ...

    def answer_shift(self, question: EvidenceRequest) -> Evidence:
        """How far the distributions of their answers are apart."""
        ...

    def past_scores(self, question: EvidenceRequest) -> Evidence:
        """Scores of the past with labels, and of now without."""
        ...


class _MirrorSource(Protocol):
    """What each of the two versions answered to the requests that were mirrored in a rollout."""

    def paired_loss_evidence(self, question: EvidenceRequest) -> Evidence:
        """Sums of both by block and slice."""
        ...

    def answer_shapes(self, question: EvidenceRequest) -> Evidence:
        """What the answers of both look like."""
        ...

    def answer_shift(self, question: EvidenceRequest) -> Evidence:
        """How far the distributions of their answers are apart."""
        ...

    def candidate_answers(self, question: EvidenceRequest) -> "pd.DataFrame":
        """Answers of the candidate, as columns."""
        ...

    def count_excluded(self, question: EvidenceRequest) -> ExcludedRecords:
        """What was not counted as it came, dropped requests among it."""
        ...


_LIVE_EVIDENCE_KINDS = frozenset({EvidenceKind.LIVE_SHADOW, EvidenceKind.LIVE, EvidenceKind.BAKE})
"""Evidence of requests that come now."""
_SERVED_EVIDENCE_KINDS = frozenset({EvidenceKind.LIVE, EvidenceKind.BAKE})
"""Evidence of what callers got."""


class PredictionLogEvidence:
    """Gathers evidence for gates; whatever goes wrong while measuring gives the outcome ERROR with its reason."""

    def __init__(
        self,
        log: _RequestLog,
        answers: _AnswerSource,
        validate: ExpectationSuiteRunner,
        mirror: _MirrorSource | None = None,
    ) -> None:
        """Wire the sources; nothing is read yet.

        Args:
            log: What was served.
            answers: What each version answers.
            validate: The validator.
            mirror: What both answered to mirrored requests; only a live shadow asks for it.
        """
        self._log = log
        self._answers = answers
        self._mirror = mirror
        self._validate = validate
        self._counts: dict[tuple[object, ...], ExcludedRecords] = {}

    def gather(self, question: EvidenceRequest) -> Evidence:
        """Measure; never raises for what the measured things do."""
        try:
            return self._counted(question)
        except SurefootError as error:
            return MissingEvidence(Outcome.ERROR, str(error))
        except Exception as error:  # noqa: BLE001 - last boundary: a metric that raises is an ERROR, never a pass
            return MissingEvidence(
                Outcome.ERROR, f"{question.gate.metric} cannot be measured: {type(error).__name__}: {error}"
            )

    def _counted(self, question: EvidenceRequest) -> Evidence:
        """The evidence, with what was left out of it."""
        metric = question.gate.metric
        live = question.kind in _SERVED_EVIDENCE_KINDS and metric in BAD_EVENT_METRICS | MEASUREMENT_METRICS | {
            Metric.GAUGE,
            Metric.VALUE,
        }
        refused = self._answers.refused_requests(question) if live else ()
        found = self._gather(question, refused)
        if isinstance(found, MissingEvidence | GoldenRows | CornerAnswers):
            return found
        if question.kind == EvidenceKind.LIVE_SHADOW and metric is not Metric.INPUT_SHIFT:
            return replace(found, left=merge_excluded_counts(self._mirrored().count_excluded(question), found.left))
        if isinstance(found, AnswerShapes):
            return found
        return replace(
            found, left=merge_excluded_counts(self._left_out(question, refused if live else None), found.left)
        )

    def _left_out(self, question: EvidenceRequest, refused: tuple[str, ...] | None) -> ExcludedRecords:
        """What was left out of the records; counted once for all gates with the same question."""
        if refused is not None:
            return count_excluded_records(self._log, question, refused)
        key = (
            question.model,
            question.since,
            question.until,
            gate_needs_labels(question),
            gate_uses_row_sample(self._log, question),
        )
        if key not in self._counts:
            self._counts = {known: found for known, found in self._counts.items() if known[:4] == key[:4]}
            self._counts[key] = self._answers.count_excluded(question)
        return self._counts[key]

    def _gather(self, question: EvidenceRequest, refused: tuple[str, ...]) -> Evidence:
        metric = question.gate.metric
        if metric is Metric.VALIDATION:
            return self._data(question)
        answers = self._mirrored() if question.kind == EvidenceKind.LIVE_SHADOW else self._answers
        if metric is Metric.ANSWER_SHAPE:
            return answers.answer_shapes(question)
        if question.kind in _LIVE_EVIDENCE_KINDS and (stale := self._stale(question)):
            return stale
        if metric is Metric.ERROR_RATE and question.kind == EvidenceKind.SHADOW:
            return self._answers.failure_evidence(question)
        if metric in BAD_EVENT_METRICS:
            return count_bad_events(self._log, question, refused)
        if metric in MEASUREMENT_METRICS:
            return count_measurements(self._log, question, refused)
        if metric is Metric.GAUGE:
            return compare_gauges(self._log, question, refused)
        if metric is Metric.VALUE:
            return count_bounded_values(self._log, question, refused)
        if metric in PAIRED_METRICS:
            # On live traffic too, both versions are asked about the same requests: pairs see what arms cannot.
            return answers.paired_loss_evidence(question)
        if metric is Metric.GOLDEN:
            return self._answers.golden_rows(question)
        if metric is Metric.CORNERS:
            return self._answers.corner_answers(question)
        if metric is Metric.EXPECTED_LOSS:
            return self._answers.past_scores(question)
        return self._shift(question)

    def _mirrored(self) -> _MirrorSource:
        """What both versions answered to mirrored requests.

        Raises:
            InvariantBroken: Nothing was wired that could tell.
        """
        if self._mirror is None:
            raise InvariantBroken("no log of mirrored requests is wired")
        return self._mirror

    def _stale(self, question: EvidenceRequest) -> MissingEvidence | None:
        """Why the log cannot speak of now; None when it can."""
        if not question.stale_after:
            return None
        newest = self._log.newest_request_time(question.model, question.until)
        if newest is None or question.until - newest <= question.stale_after:
            return None
        age, allowed = format_duration(question.until - newest), format_duration(question.stale_after)
        reason = f"the newest request was logged {age} ago; after {allowed} of silence (stale_after) nothing is decided"
        return MissingEvidence(Outcome.STALE, reason)

    def _data(self, question: EvidenceRequest) -> Evidence:
        frame = self._log.read_features(question.model, question.since, question.until)
        if not len(frame):
            return MissingEvidence(
                Outcome.ERROR, f"no request of {question.model} was logged in the window: nothing to validate"
            )
        table, left = build_validation_table(frame, self._answers.input_types(question))
        if not len(table):
            return MissingEvidence(Outcome.ERROR, f"{left.what}: none of {left.odd:,} requests can be validated")
        found = self._validate(question.suite, table, question.rollout)
        return (
            replace(found, left=merge_excluded_counts(found.left, left))
            if isinstance(found, ValidationResult)
            else found
        )

    def _shift(self, question: EvidenceRequest) -> Evidence:
        gate = narrow_gate_type(question.gate, ShiftGate)
        answers = gate.metric is Metric.PREDICTION_SHIFT
        mirrored = answers and question.kind == EvidenceKind.LIVE_SHADOW
        if gate.against == "champion" and mirrored:
            return self._mirrored().answer_shift(question)
        if gate.against == "champion":
            return self._answers.answer_shift(question) if answers else self._answers.input_differences(question)
        width = question.until - question.since
        frame = self._log.read_predictions if answers else self._log.read_features
        before = frame(question.model, question.since - width, question.since)
        now = (
            self._mirrored().candidate_answers(question)
            if mirrored
            else frame(question.model, question.since, question.until)
        )
        if not answers:
            before, now = (side.drop(columns=[c for c in gate.ignored if c in side]) for side in (before, now))
        return DistributionShift(
            "the window before", column_distances(before, now), left=count_texts_among_numbers(before, now)
        )
