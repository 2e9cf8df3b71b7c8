"""Compare both versions' answers to mirrored requests in a live shadow step."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from surefoot.adapters.evidence.column_distances import column_distances, count_texts_among_numbers
from surefoot.adapters.evidence.excluded_counts import LABEL_METRICS, MAX_EXAMINED_ROWS, count_excluded_labels
from surefoot.adapters.evidence.live_counts.sql_log import SqlLog
from surefoot.adapters.evidence.live_counts.trial_counts import parse_count
from surefoot.adapters.evidence.paired.paired_loss_evidence import build_paired_loss_evidence
from surefoot.adapters.evidence.paired.scored_batch import ScoredBatch
from surefoot.adapters.predictions.mirrored_pairs import MirroredPair
from surefoot.adapters.predictions.validation_table import answers_to_frame
from surefoot.core.answers.answer_shapes import describe_answer_shapes
from surefoot.core.domain import Outcome
from surefoot.core.judging.evidence import AnswerShapes, DistributionShift, MissingEvidence, PairedSums
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.core.policy.policy_types import PairedGate, narrow_gate_type

if TYPE_CHECKING:
    import pandas as pd

SHADOW_ANSWER_TIMEOUT_S = 10.0
"""A request that is so old has the shadow's answer, or was counted as dropped, unless its record is lost [s]."""
_MAX_MISSING_DEVIATIONS = 4.0
"""So many standard deviations fewer records than the share of the requests that is mirrored are no accident."""
_NO_PAIRS_REASON = "no mirrored request has an answer of both versions yet"


class _MirrorLog(SqlLog, Protocol):
    """A log with the records of a shadow."""

    def mirrored_requests(
        self, model: str, rollout: str, candidate: str, until: float, limit: int
    ) -> list[MirroredPair]:
        """Mirrored requests of a rollout that both versions were asked, oldest first."""
        ...


class MirroredAnswers:
    """What both versions answered to the requests that were mirrored in one rollout."""

    def __init__(self, log: _MirrorLog) -> None:
        """Read from this log; nothing is read before the first question."""
        self._log = log
        self._pairs: dict[tuple[str, str, str, float], list[MirroredPair]] = {}

    def read_pairs(self, question: EvidenceRequest) -> list[MirroredPair]:
        """Every mirrored request of the rollout that the champion answered, and what the candidate made of it."""
        key = (question.model, question.rollout, question.candidate.number, question.until)
        if key not in self._pairs:
            self._pairs = {key: self._log.mirrored_requests(*key, MAX_EXAMINED_ROWS)}
        return self._pairs[key]

    def paired_loss_evidence(self, question: EvidenceRequest) -> PairedSums | MissingEvidence:
        """Sums of both by block and slice; what the shadow failed is unscored, what it dropped is not there."""
        found = self.read_pairs(question)
        if not found:
            return MissingEvidence(Outcome.NO_DATA, _NO_PAIRS_REASON)
        gate = narrow_gate_type(question.gate, PairedGate)
        return build_paired_loss_evidence(
            gate, question.since, question.until, [_batch(found, gate.maturity, gate.by)]
        ).evidence()

    def answer_shift(self, question: EvidenceRequest) -> DistributionShift | MissingEvidence:
        """How far the candidate's answers lie from the champion's to the same requests, as distributions."""
        both = [pair for pair in self.read_pairs(question) if pair.candidate is not None]
        if not both:
            return MissingEvidence(Outcome.NO_DATA, _NO_PAIRS_REASON)
        ids = [pair.key[0] for pair in both]
        old = answers_to_frame([pair.champion for pair in both], ids)
        new = answers_to_frame([pair.candidate for pair in both], ids)
        return DistributionShift(
            "the champion's answers", column_distances(old, new), left=count_texts_among_numbers(old, new)
        )

    def candidate_answers(self, question: EvidenceRequest) -> "pd.DataFrame":
        """Answers of the candidate, by request id, as columns."""
        both = [pair for pair in self.read_pairs(question) if pair.candidate is not None]
        return answers_to_frame([pair.candidate for pair in both], [pair.key[0] for pair in both])

    def answer_shapes(self, question: EvidenceRequest) -> AnswerShapes | MissingEvidence:
        """What both versions' answers to the same requests look like; a failure is no answer of another shape."""
        both = [pair for pair in self.read_pairs(question) if pair.candidate is not None]
        if not both:
            return MissingEvidence(Outcome.NO_DATA, _NO_PAIRS_REASON)
        old, new = [pair.champion for pair in both], [pair.candidate for pair in both]
        return AnswerShapes(describe_answer_shapes(old), describe_answer_shapes(new, old), len(old), len(new))

    def count_excluded(self, question: EvidenceRequest) -> ExcludedRecords:
        """Count what is not counted as it came.

        What the shadow had no room for is in its log. What is in no log (a worker was killed, the disk was full) shows
        in the share: of the champion's requests so many were to be mirrored.
        """
        known, repeated, blank, dropped, own = (
            parse_count(value)
            for value in self._log.query_rows(
                question.model,
                """
                WITH here AS (
                  SELECT request, "row", count(*) AS n, bool_and(error IS NULL AND prediction IS NULL) AS blank
                  FROM shadows WHERE rollout = $1 AND version = $2 AND "at" <= $3 AND request IS NOT NULL GROUP BY ALL
                )
                SELECT count(DISTINCT request), coalesce(sum(n) - count(*), 0), count(DISTINCT request) FILTER (blank),
                       (SELECT coalesce(sum(dropped), 0) FROM shadows
                        WHERE dropped IS NOT NULL AND rollout = $1 AND version = $2 AND "at" <= $3),
                       (SELECT count(DISTINCT request) FROM log
                        WHERE rollout = $1 AND weight = 0 AND error IS NULL AND "at" > $4 AND "at" <= $5)
                FROM here
                """,
                (
                    question.rollout,
                    question.candidate.number,
                    question.until,
                    question.since,
                    question.until - SHADOW_ANSWER_TIMEOUT_S,
                ),
            )[0]
        )
        share = question.mirrored / 100.0
        expected = math.floor(own * share - _MAX_MISSING_DEVIATIONS * math.sqrt(own * share * (1.0 - share)))
        lost = max(expected - known - dropped, 0)
        made = ExcludedRecords(records=known + dropped + lost, repeated=repeated, dropped=dropped + lost + blank)
        if question.gate.metric not in LABEL_METRICS:
            return made
        where, since = 'rollout = $1 AND weight = 0 AND "at" <= $2', question.since
        return count_excluded_labels(self._log, question, made, where, (question.rollout, question.until), since)


def _batch(found: Sequence[MirroredPair], maturity: float, columns: Sequence[str]) -> ScoredBatch:
    """Mirrored requests as the sums want them."""
    in_time = [[value for at, value in pair.labels if not maturity or at <= pair.at + maturity] for pair in found]
    labels = [known[-1] if known else None for known in in_time]
    return ScoredBatch(
        at=np.array([pair.at for pair in found], dtype=np.float64),
        champion=[pair.champion for pair in found],
        candidate=[pair.candidate for pair in found],
        labels=labels,
        late=np.array([label is None and bool(p.labels) for label, p in zip(labels, found, strict=True)], dtype=bool),
        corrected=sum(max(len(known) - 1, 0) for known in in_time),
        columns={column: [pair.features.get(column) for pair in found] for column in columns},
        ids=[pair.key[0] for pair in found],
    )
