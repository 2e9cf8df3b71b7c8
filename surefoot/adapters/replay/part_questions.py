"""Tell which questions are answered part by part: those for which both versions are asked about every request."""

from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.policy_types import PAIRED_METRICS, Metric, ShiftGate


def asks_every_request(question: EvidenceRequest) -> bool:
    """Whether a look with this question asks both versions about all requests of the window, part by part."""
    gate = question.gate
    shifts = isinstance(gate, ShiftGate) and gate.metric is Metric.PREDICTION_SHIFT and gate.against == "champion"
    return question.max_rows is None and (shifts or gate.metric in PAIRED_METRICS or gate.metric is Metric.ERROR_RATE)
