"""Build a back-test's evidence from a file of recorded requests."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from surefoot.adapters.evidence.column_distances import column_distances, count_texts_among_numbers
from surefoot.adapters.evidence.excluded_counts import MAX_EXAMPLE_REQUESTS, count_excluded_records
from surefoot.adapters.evidence.paired.paired_loss_evidence import build_paired_loss_evidence
from surefoot.adapters.evidence.paired.score_bins import score_bin_totals
from surefoot.adapters.evidence.paired.scored_batch import ScoredBatch, present_mask, probabilities_or_nan
from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.adapters.predictions.validation_table import answers_to_frame
from surefoot.adapters.replay.answer_columns import make_answer_column, paired_answer_arrays
from surefoot.adapters.replay.offline_replay import MAX_COMPARED_ANSWER_SHAPES, UNREADABLE_ANSWERS_REASON
from surefoot.core.answers.answer_shapes import describe_answer_shapes
from surefoot.core.answers.answer_values import Floats
from surefoot.core.domain import Outcome
from surefoot.core.judging.corner_answers import CornerAnswers
from surefoot.core.judging.evidence import (
    AnswerShapes,
    BadEventCounts,
    BadEventStratum,
    DistributionShift,
    FeatureShift,
    GoldenRows,
    MissingEvidence,
    PairedSums,
    ScoreBins,
)
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.core.policy.policy_types import PairedGate, ShiftGate, narrow_gate_type
from surefoot.core.stats.block_metrics import SCORE_BINS

if TYPE_CHECKING:
    import pandas as pd


def read_scored_batches(
    records: RecordedRequests,
    window: tuple[float, float],
    maturity: float,
    columns: tuple[str, ...] = (),
    known_until: float | None = None,
    gate: PairedGate | None = None,
) -> Iterator[ScoredBatch]:
    """Read the requests that both versions were asked, with answers and labels, batch by batch.

    Args:
        records: The file.
        window: After the first and up to the second moment [Unix seconds].
        maturity: Age at which a label counts [seconds].
        columns: Features that slices are made of.
        known_until: Labels after this are not known [Unix seconds]; those after the window by default.
        gate: The gate that reads the answers, so that they are arrays where it reads arrays alike.
    """
    for found in records.read_answer_pairs(*window, maturity, columns, known_until):
        known = present_mask(found["label"])
        sides = (found["champion"], found["candidate"])
        if gate is not None and all(isinstance(side, list) for side in sides):
            sides = paired_answer_arrays(gate, *map(make_answer_column, sides))
        yield ScoredBatch(
            at=found["at"],
            champion=sides[0],
            candidate=sides[1],
            labels=found["label"],
            late=~known & (found["known"] > 0),
            corrected=int(np.maximum(found["in_time"] - 1, 0).sum()),
            columns={name: found[name] for name in columns},
            ids=found["request"],
        )


class RecordedAnswers:
    """Evidence that compares both versions, read in chunks from a file of recorded requests."""

    def __init__(self, records: RecordedRequests) -> None:
        """Remember the file."""
        self._records = records
        self._known: dict[tuple[object, ...], PairedSums] = {}
        self._shapes: AnswerShapes | None = None

    def _batches(
        self,
        question: EvidenceRequest,
        maturity: float,
        columns: tuple[str, ...] = (),
        gate: PairedGate | None = None,
    ) -> Iterator[ScoredBatch]:
        window = (question.since, question.until)
        return read_scored_batches(self._records, window, maturity, columns, gate=gate)

    def paired_loss_evidence(self, question: EvidenceRequest) -> PairedSums | MissingEvidence:
        """Sums by block and slice over every request that both versions were asked."""
        gate = narrow_gate_type(question.gate, PairedGate)
        # Nothing counts before its block is complete, so between two blocks the evidence is the same.
        whole = question.until
        if gate.block:
            whole = math.floor((question.until - gate.maturity) / gate.block) * gate.block + gate.maturity
        question = replace(question, until=whole)
        key = (gate.name, repr(gate), question.since, whole)
        if key not in self._known:
            self._known[key] = self._sums(question)
        return self._known[key]

    def _sums(self, question: EvidenceRequest) -> PairedSums:
        gate = narrow_gate_type(question.gate, PairedGate)
        made = build_paired_loss_evidence(
            gate, question.since, question.until, self._batches(question, gate.maturity, gate.by, gate)
        )
        unknown = self._records.query_rows(
            "",
            'SELECT count(*) FROM labels WHERE n IS NULL AND "at" > $1 AND "at" <= $2',
            (question.since, question.until),
        )[0][0]
        return made.evidence(int(str(unknown)))

    def failure_evidence(self, question: EvidenceRequest) -> BadEventCounts | MissingEvidence:
        """Requests that each version could not answer, as if both had been given half of them."""
        found = self._records.query_rows(
            "",
            """SELECT count(*), count(champion_error), count(candidate_error),
                      count(*) FILTER (champion_error IS NOT NULL AND candidate_error IS NOT NULL) FROM pairs
               WHERE paired AND "at" > $1 AND "at" <= $2""",
            (question.since, question.until),
        )[0]
        n, old, new, both = (int(str(value)) for value in found)
        if not n:
            return MissingEvidence(Outcome.NO_DATA, "no request of the window was answered by both versions")
        n, old, new = n - both, old - both, new - both  # what both refuse is evidence about neither
        if not n:
            return MissingEvidence(Outcome.NO_DATA, "no request of the window was answered by any version")
        return BadEventCounts((BadEventStratum(0.5, new, n - new, old, n - old),), old / n, "request", n, n)

    def refused_requests(self, question: EvidenceRequest) -> tuple[str, ...]:
        """Requests that both versions could not answer, as far as the file says."""
        found = self._records.query_rows(
            "",
            """SELECT DISTINCT request FROM pairs WHERE paired AND "at" <= $1
               AND champion_error IS NOT NULL AND candidate_error IS NOT NULL""",
            (question.until,),
        )
        return tuple(str(request) for (request,) in found)

    def input_types(self, _question: EvidenceRequest) -> dict[str, object]:
        """The file's own types are all there is."""
        return {}

    def answer_shapes(self, _question: EvidenceRequest) -> AnswerShapes | MissingEvidence:
        """What both versions' answers look like according to the file, whenever they were given."""
        if self._shapes is None:
            old, new = self._records.first_answers(MAX_COMPARED_ANSWER_SHAPES)
            shapes = (describe_answer_shapes(old), describe_answer_shapes(new, old))
            self._shapes = AnswerShapes(*shapes, len(old), len(new))
        return self._shapes

    def corner_answers(self, _question: EvidenceRequest) -> CornerAnswers | MissingEvidence:
        """Nothing: that takes the models themselves."""
        return MissingEvidence(Outcome.NO_DATA, "records hold no models that corner cases could be asked of")

    def golden_rows(self, _question: EvidenceRequest) -> GoldenRows | MissingEvidence:
        """A file of records holds no model to ask."""
        return MissingEvidence(Outcome.NO_DATA, "records hold no model that golden rows could be asked of")

    def input_differences(self, question: EvidenceRequest) -> DistributionShift | MissingEvidence:
        """Share of the requests on which the candidate's features differ from the champion's."""
        found = self._records.unequal_feature_shares(question.since, question.until)
        ignored = narrow_gate_type(question.gate, ShiftGate).ignored
        features = tuple(FeatureShift(name, apart, n, n) for name, apart, n in found if name not in ignored)
        return DistributionShift("the champion", features, same=True)

    def answer_shift(self, question: EvidenceRequest) -> DistributionShift | MissingEvidence:
        """How far the candidate's answers lie from the champion's as a distribution."""
        sides = self._records.sample_answers(question.since, question.until)
        if not len(sides[0]):
            return MissingEvidence(Outcome.NO_DATA, "no request of the window was answered by both versions")
        old, new = (_frame(side) for side in sides)
        return DistributionShift(
            "the champion's answers", column_distances(old, new), left=count_texts_among_numbers(old, new)
        )

    def candidate_answers(self, question: EvidenceRequest) -> "pd.DataFrame":
        """The candidate's answers, as columns."""
        return _frame(self._records.sample_answers(question.since, question.until)[1])

    def count_excluded(self, question: EvidenceRequest) -> ExcludedRecords:
        """What was not counted as it came: of a file every pair counts as mirrored, and nothing was dropped."""
        return count_excluded_records(self._records, question)

    def past_scores(self, question: EvidenceRequest) -> ScoreBins | MissingEvidence:
        """Scores with labels of the past, split in two by time, and scores that wait for theirs."""
        asked = labelled = odd = 0
        named: list[str] = []
        for batch, _, _, old in self._scored(question):
            asked += len(old)
            labelled += int(old.sum())
            strange = np.flatnonzero(self._unreadable(question, batch))
            odd += len(strange)
            named += [str(batch.ids[index]) for index in strange[: MAX_EXAMPLE_REQUESTS - len(named)]]
        if not asked:
            return MissingEvidence(Outcome.NO_DATA, "no request of the window was answered by both versions")
        made = np.zeros((3, SCORE_BINS, 3), dtype=np.int64)
        left = labelled // 2  # of the first half
        for batch, scores, truth, old in self._scored(question):
            ripe = np.flatnonzero(old)
            young = np.flatnonzero(present_mask(scores) & (batch.at + question.gate.maturity > question.until))
            for index, chosen in enumerate((ripe[:left], ripe[left:], young)):
                made[index] += score_bin_totals(scores[chosen], np.where(old, truth, 0.0)[chosen])
            left = max(left - len(ripe), 0)
        if odd and not made.any():
            return MissingEvidence(Outcome.ERROR, f"{UNREADABLE_ANSWERS_REASON}: none of {odd:,} can be read")
        past, later, now = (tuple((int(n), int(true), int(total)) for n, true, total in part) for part in made)
        what = UNREADABLE_ANSWERS_REASON if odd else ""
        return ScoreBins(past, later, now, ExcludedRecords(odd=odd, requests=tuple(named), what=what))

    def _scored(self, question: EvidenceRequest) -> Iterator[tuple[ScoredBatch, Floats, Floats, NDArray[np.bool_]]]:
        """Every batch of a window in the order of time, its scores and labels, and which have had their label in time.

        A score or a label that is no probability is NaN.
        """
        maturity = question.gate.maturity
        for batch in self._batches(question, maturity):
            scores, truth = probabilities_or_nan(batch.candidate), probabilities_or_nan(batch.labels)
            yield (
                batch,
                scores,
                truth,
                present_mask(scores) & present_mask(truth) & (batch.at + maturity <= question.until),
            )

    @staticmethod
    def _unreadable(question: EvidenceRequest, batch: ScoredBatch) -> NDArray[np.bool_]:
        """Which requests have an answer that is no probability, or a label of age that is none."""
        due = present_mask(batch.labels) & (batch.at + question.gate.maturity <= question.until)
        wrong = present_mask(batch.candidate) & ~present_mask(probabilities_or_nan(batch.candidate))
        return np.asarray(wrong | (due & ~present_mask(probabilities_or_nan(batch.labels))))


def _frame(side: Any) -> "pd.DataFrame":
    """One version's answers as columns; the requests without one are left out."""
    import pandas as pd  # noqa: PLC0415 - costs a command half a second

    known = present_mask(side)
    if isinstance(side, np.ndarray):
        return pd.DataFrame({"prediction": side[known]})
    some = [item for item, there in zip(side, known, strict=True) if there]
    return answers_to_frame(some, [str(index) for index in range(len(some))])
