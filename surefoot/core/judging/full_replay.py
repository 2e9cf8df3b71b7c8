"""Decide which evidence requests need a full replay, in which both versions score every logged request."""

from dataclasses import replace

from surefoot.core.domain import EvidenceKind
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.policy_types import PAIRED_METRICS, Metric, ShiftGate


def needs_full_replay(question: EvidenceRequest) -> bool:
    """Whether both versions have to score all requests of the window, in parts, for this evidence request."""
    gate = question.gate
    shifts = isinstance(gate, ShiftGate) and gate.metric is Metric.PREDICTION_SHIFT and gate.against == "champion"
    fails = gate.metric is Metric.ERROR_RATE and question.kind == EvidenceKind.SHADOW  # later callers' errors count
    return question.max_rows is None and (shifts or fails or gate.metric in PAIRED_METRICS)


def list_full_replay_evidence_requests(question: EvidenceRequest) -> tuple[EvidenceRequest, ...]:
    """The evidence requests of the same evaluation that need a full replay; the given one is always the first."""
    others = (replace(question, gate=gate) for gate in question.look_gates if gate != question.gate)
    return (question, *(other for other in others if needs_full_replay(other)))
