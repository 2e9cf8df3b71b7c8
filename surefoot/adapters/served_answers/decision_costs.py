"""Compute what a bad version's decisions cost compared with a good version's."""

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from surefoot.adapters.evidence.paired.paired_loss_evidence import PairedLossAccumulator
from surefoot.adapters.predictions.log_files import quote_sql_string
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.served_answers.served_answer_counts import pair_answers_with_labels, remove_slices_and_blocks
from surefoot.core.incidents.incident_report import DecisionCosts
from surefoot.core.judging.evidence import MILLIONTHS_PER_UNIT
from surefoot.core.policy.policy_types import CostGate, Policy

_BATCH_ROWS = 50_000
"""Rows that are held against their labels at once [count]."""
_LABELLED_SQL = """
    SELECT e.answer, e.good_answer, CAST(l.label AS VARCHAR) AS label
    FROM (SELECT *, row_number() OVER () AS n FROM read_parquet({exposed})) e
      JOIN labels l ON e.request = l.request AND e."row" = l."row"
    WHERE e."at" >= $onset AND e.good_answer IS NOT NULL
    QUALIFY row_number() OVER (
      PARTITION BY e.n ORDER BY l."at" DESC, l.received DESC NULLS LAST, CAST(l.label AS VARCHAR) DESC
    ) = 1
"""
"""The latest label counts, however late it came: this is what happened, and no verdict."""


def find_cost_gate(policy: Policy | None) -> CostGate | None:
    """The first gate of a policy that has prices; None without one."""
    gates = policy.gates.values() if policy else ()
    return next((gate for gate in gates if isinstance(gate, CostGate)), None)


def measure_decision_costs(
    log: PredictionLog, model: str, exposed: Path, gate: CostGate, onset: float
) -> DecisionCosts | None:
    """What the decisions of a version have cost since an onset, beside those that the good version would have made.

    Args:
        log: The prediction log, for the labels.
        model: Registered model.
        exposed: The list of the version's answers, with those of the good version.
        gate: Its prices and its threshold count.
        onset: When the trouble began [Unix seconds].

    Returns:
        The sums; None where no answer has a label and an answer of the good version.

    Raises:
        EvidenceUnavailable: The log or the list cannot be read.
    """
    whole = remove_slices_and_blocks(gate)

    def add_up(db: duckdb.DuckDBPyConnection) -> PairedLossAccumulator:
        found = PairedLossAccumulator(whole, -np.inf, np.inf)
        sql = _LABELLED_SQL.format(exposed=quote_sql_string(str(exposed)))
        for batch in db.sql(sql, params={"onset": onset}).to_arrow_reader(_BATCH_ROWS):
            answer, good, label = (batch.column(place).cast(pa.string()) for place in range(3))
            found.add(pair_answers_with_labels(whole, good, answer, label))
        return found

    evidence = log.with_connection(model, add_up).evidence()
    blocks = evidence.slices.get("", ())
    compared = sum(block.n for block in blocks)
    if not compared:
        return None
    unit = evidence.coarse / MILLIONTHS_PER_UNIT
    version = sum(block.candidate[0] for block in blocks) * unit
    return DecisionCosts(compared, version, sum(block.champion[0] for block in blocks) * unit)
