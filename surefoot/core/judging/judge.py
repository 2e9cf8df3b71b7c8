"""Judge a gate by comparing its evidence with its limits."""

import math

from surefoot.core.domain import Outcome, Verdict
from surefoot.core.errors import InvariantBroken
from surefoot.core.gates import (
    bad_event_rate,
    bounded_value,
    corner_cases,
    deterministic_checks,
    distribution_shift,
    expected_loss,
    gauge,
    measurement_quantiles,
    paired_binary,
    paired_loss,
    slices,
)
from surefoot.core.judging.corner_answers import CornerAnswers
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import (
    AnswerShapes,
    BadEventCounts,
    DistributionShift,
    Evidence,
    GaugeComparisons,
    GoldenRows,
    MeasurementCounts,
    MissingEvidence,
    PairedSums,
    ScoreBins,
    ServedCounts,
    SlicedCounts,
    ValueCounts,
)
from surefoot.core.judging.evidence_validation import validate_evidence
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import (
    BadEventGate,
    ExpectedLossGate,
    Gate,
    GaugeGate,
    MeasurementGate,
    PairedGate,
    ShiftGate,
    SlicedGate,
    ValueGate,
    narrow_gate_type,
)
from surefoot.core.verdicts import excluded_report, supplemented_groups, verdict_builders

JUDGE_RULES_VERSION = 2
"""Raised whenever a change could lead to another verdict on the same counters; each is judged again by its own."""
COMPATIBLE_RULES_VERSIONS = (1,)
"""Earlier editions whose counters lead to the same verdicts today: what is new since then they did not count."""


def judge(gate: Gate, evidence: Evidence, level: DecisionThresholds) -> Verdict:
    """Judge one gate.

    Law: a pure function; the same counters give the same verdict for ever. Evidence that is missing, empty or
    not finite never passes and never fails.
    """
    if problem := validate_evidence(evidence):
        return verdict_builders.make_verdict(gate, Outcome.ERROR, f"the evidence cannot be judged: {problem}")
    try:
        verdict = _judge(gate, evidence, level)
    except (ArithmeticError, LookupError, ValueError, InvariantBroken) as error:
        return verdict_builders.make_verdict(gate, Outcome.ERROR, f"the evidence cannot be judged: {error}")
    if isinstance(evidence, PairedSums):
        verdict = supplemented_groups.report_supplemented_groups(verdict, evidence.raised)
    numbers = (verdict.estimate, verdict.lower, verdict.upper, verdict.margin, *(f.value for f in verdict.figures))
    if any(value is not None and not math.isfinite(value) for value in numbers):
        return verdict_builders.make_verdict(gate, Outcome.ERROR, "the evidence leads to a value that is not a number")
    return (
        verdict
        if isinstance(evidence, MissingEvidence | GoldenRows | CornerAnswers)
        else excluded_report.report_excluded_records(verdict, evidence.left)
    )


def _judge(gate: Gate, evidence: Evidence, level: DecisionThresholds) -> Verdict:
    match evidence:
        case MissingEvidence():
            return verdict_builders.missing_evidence_verdict(gate, evidence, level)
        case ValidationResult():
            return deterministic_checks.judge_expectation_suite(gate, evidence, level)
        case AnswerShapes():
            return deterministic_checks.judge_answer_shapes(gate, evidence, level)
        case GoldenRows():
            return deterministic_checks.judge_golden_rows(gate, evidence, level)
        case CornerAnswers():
            return corner_cases.judge_corner_answers(gate, evidence, level)
        case BadEventCounts() | MeasurementCounts() | ValueCounts():
            return _served(gate, evidence, level)
        case SlicedCounts():
            return slices.judge_slices(narrow_gate_type(gate, SlicedGate), evidence, level, _served)
        case GaugeComparisons():
            return gauge.judge_gauge(narrow_gate_type(gate, GaugeGate), evidence, level)
        case PairedSums():
            pairs = narrow_gate_type(gate, PairedGate)
            return (
                paired_loss.judge_paired_loss(pairs, evidence, level)
                if pairs.block
                else paired_binary.judge_paired_binary(pairs, evidence, level)
            )
        case ScoreBins():
            return expected_loss.judge_expected_loss(narrow_gate_type(gate, ExpectedLossGate), evidence, level)
        case DistributionShift():
            return distribution_shift.judge_distribution_shift(narrow_gate_type(gate, ShiftGate), evidence, level)


def _served(gate: Gate, counts: ServedCounts, level: DecisionThresholds) -> Verdict:
    """Counts of served traffic, all together or of one slice."""
    match counts:
        case BadEventCounts():
            return bad_event_rate.judge_bad_event_rate(narrow_gate_type(gate, BadEventGate), counts, level)
        case MeasurementCounts():
            return measurement_quantiles.judge_measurement(narrow_gate_type(gate, MeasurementGate), counts, level)
        case ValueCounts():
            return bounded_value.judge_bounded_value(narrow_gate_type(gate, ValueGate), counts, level)
