"""Count each version's logged answers and their labels, and pair both to compute a gate's loss."""

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from surefoot.adapters.evidence.paired.paired_loss_evidence import PairedLossAccumulator
from surefoot.adapters.evidence.paired.scored_batch import AnswerColumn, ScoredBatch
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.answer_columns import answer_values, paired_answer_arrays, parse_answer_column
from surefoot.core.journal.served_version_events import VersionCounts
from surefoot.core.judging.evidence import MILLIONTHS_PER_UNIT
from surefoot.core.policy.policy_types import LOSS_METRICS, PairedGate, Policy

_BATCH_ROWS = 50_000
"""Rows that are held against their labels at once [count]."""
_ONE_BLOCK_S = 1e12
"""Length of a block that holds every request [seconds]."""
_ANSWERED_SQL = """
    SELECT answered_by, count(*) FROM log
    WHERE answered_by IS NOT NULL AND "row" = 0 AND "at" > $1 AND "at" <= $2 GROUP BY answered_by
"""
"""A request is counted by its first row; every request has one."""
_LABELLED_SQL = """
    WITH answered AS (
      SELECT request, "row", "at", answered_by, CAST(prediction AS VARCHAR) AS answer FROM log
      WHERE answered_by = $version AND "at" > $since AND "at" <= $until
      QUALIFY row_number() OVER (PARTITION BY request, "row" ORDER BY "at") = 1
    )
    SELECT o.answer, CAST(l.label AS VARCHAR) AS label
    FROM answered o JOIN labels l ON o.request = l.request AND o."row" = l."row"
    WHERE l."at" <= $known AND ($maturity = 0 OR l."at" <= o."at" + $maturity)
    QUALIFY row_number() OVER (
      PARTITION BY o.request, o."row" ORDER BY l."at" DESC, l.received DESC NULLS LAST, CAST(l.label AS VARCHAR) DESC
    ) = 1
"""


@dataclass(frozen=True, slots=True)
class CountWindow:
    """Time windows of the requests and of the labels that are counted.

    Attributes:
        since: Beginning of the requests, not included [Unix seconds].
        until: Their end [Unix seconds].
        labels_since: Beginning of the requests whose labels are counted, not included [Unix seconds].
        labels_until: Their end [Unix seconds].
        now: Labels that came later are not counted [Unix seconds].
    """

    since: float
    until: float
    labels_since: float
    labels_until: float
    now: float


def find_primary_loss_gate(policy: Policy | None) -> PairedGate | None:
    """The first gate of a policy that measures a loss, whose metric scores versions; None without one."""
    gates = policy.gates.values() if policy else ()
    return next((gate for gate in gates if isinstance(gate, PairedGate) and gate.metric in LOSS_METRICS), None)


def count_served_answers(
    log: PredictionLog, model: str, window: CountWindow, gate: PairedGate | None
) -> tuple[VersionCounts, ...]:
    """What each version answered in a window, by number.

    Args:
        log: The log.
        model: Registered model.
        window: What is counted.
        gate: How answers are held against labels; None to count labels only.

    Raises:
        EvidenceUnavailable: The log cannot be read.
    """
    return log.with_connection(model, lambda db: _count(db, window, gate))


def _count(db: duckdb.DuckDBPyConnection, window: CountWindow, gate: PairedGate | None) -> tuple[VersionCounts, ...]:
    found = db.execute(_ANSWERED_SQL, [window.since, window.until]).fetchall()
    answered = {str(number): int(count) for number, count in found}
    earlier = db.execute(
        'SELECT DISTINCT answered_by FROM log WHERE answered_by IS NOT NULL AND "at" > $1 AND "at" <= $2',
        [window.labels_since, window.labels_until],
    ).fetchall()
    numbers = sorted({*answered, *(str(number) for (number,) in earlier)}, key=lambda number: (len(number), number))
    return tuple(
        counts
        for number in numbers
        if (counts := _count_labels(db, number, answered.get(number, 0), window, gate)).requests or counts.labels
    )


def _count_labels(
    db: duckdb.DuckDBPyConnection, number: str, requests: int, window: CountWindow, gate: PairedGate | None
) -> VersionCounts:
    """Labels of one version's answers, and the mean loss of these answers."""
    whole = None if gate is None else remove_slices_and_blocks(gate)
    sums = None if whole is None else PairedLossAccumulator(whole, -np.inf, np.inf)
    labels = 0
    for answer, label in _labelled_answers(db, number, window, 0.0 if gate is None else gate.maturity):
        labels += len(label)
        if sums is not None and whole is not None:
            sums.add(pair_answers_with_labels(whole, answer, answer, label))
    if sums is None or whole is None:
        return VersionCounts(number, requests, labels)
    evidence = sums.evidence()
    blocks = evidence.slices.get("", ())
    scored = sum(block.n for block in blocks)
    total = sum(block.champion[0] for block in blocks) * evidence.coarse / MILLIONTHS_PER_UNIT
    return VersionCounts(number, requests, labels, scored, total / scored if scored else None, str(whole.metric))


def _labelled_answers(
    db: duckdb.DuckDBPyConnection, number: str, window: CountWindow, maturity: float
) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Answers of a version with the labels that count, batch by batch, as JSON texts."""
    asked = {
        "version": number,
        "since": window.labels_since,
        "until": window.labels_until,
        "known": window.now,
        "maturity": maturity,
    }
    for batch in db.sql(_LABELLED_SQL, params=asked).to_arrow_reader(_BATCH_ROWS):
        yield batch.column("answer").cast(pa.string()), batch.column("label").cast(pa.string())


def remove_slices_and_blocks(gate: PairedGate) -> PairedGate:
    """The same gate with one block for all requests, and no slices: what it measures is one figure then."""
    return gate.model_copy(update={"by": (), "protected": (), "block": _ONE_BLOCK_S})


def pair_answers_with_labels(gate: PairedGate, champion: pa.Array, candidate: pa.Array, label: pa.Array) -> ScoredBatch:
    """Answers of two versions to the same requests with their labels, all as JSON texts, as a gate compares them.

    Args:
        gate: The gate.
        champion: Answers of one version, shape (n,).
        candidate: Answers of the other, in the same order; the same ones where a single version is measured.
        label: What came true, in the same order.
    """
    one, other = paired_answer_arrays(gate, parse_answer_column(champion), parse_answer_column(candidate))
    truth = parse_answer_column(label)
    numbers = pa.types.is_floating(truth.type) or pa.types.is_integer(truth.type)
    labels: AnswerColumn = (
        np.asarray(truth.to_numpy(zero_copy_only=False), dtype=np.float64) if numbers else answer_values(truth)
    )
    return ScoredBatch(np.zeros(len(label)), one, other, labels, np.zeros(len(label), dtype=bool))
