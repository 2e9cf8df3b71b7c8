"""Evidence and a gate in, a verdict out: the only place that compares a metric with a limit."""

import math

from surefoot.core.errors import InvariantBroken
from surefoot.core.evidence import (
    AnswerShapes,
    Evidence,
    GaugeCounts,
    GoldenRows,
    InputShift,
    Missing,
    PairedSums,
    ScoreBins,
    Served,
    Sliced,
    SpeedCounts,
    SplitCounts,
    Validation,
    ValueCounts,
)
from surefoot.core.gates import answers, contract, foresee, gauge, left, rate, say, shift, slices, speed, sums, value
from surefoot.core.level import Level
from surefoot.core.model import Outcome, Verdict
from surefoot.core.policy import Gate
from surefoot.core.soundness import flaw

EDITION = 2
"""Raised whenever a change could lead to another verdict on the same counters; each is judged again by its own."""
SAME_COUNTERS = (1,)
"""Earlier editions whose counters lead to the same verdicts today: what is new since then they did not count."""


def judge(gate: Gate, evidence: Evidence, level: Level) -> Verdict:
    """Judge one gate.

    Law: a pure function; the same counters give the same verdict for ever. Evidence that is missing, empty or
    not finite never passes and never fails.
    """
    if problem := flaw(evidence):
        return say.say(gate, Outcome.ERROR, f"the evidence cannot be judged: {problem}")
    try:
        verdict = _judge(gate, evidence, level)
    except (ArithmeticError, LookupError, ValueError, InvariantBroken) as error:
        return say.say(gate, Outcome.ERROR, f"the evidence cannot be judged: {error}")
    numbers = (verdict.estimate, verdict.lower, verdict.upper, verdict.margin, *(f.value for f in verdict.figures))
    if any(value is not None and not math.isfinite(value) for value in numbers):
        return say.say(gate, Outcome.ERROR, "the evidence leads to a value that is not a number")
    return verdict if isinstance(evidence, Missing | GoldenRows | AnswerShapes) else left.noted(verdict, evidence.left)


def _judge(gate: Gate, evidence: Evidence, level: Level) -> Verdict:
    match evidence:
        case Missing():
            return say.missing(gate, evidence, level)
        case Validation():
            return contract.suite(gate, evidence, level)
        case AnswerShapes():
            return contract.shapes(gate, evidence, level)
        case GoldenRows():
            return contract.golden(gate, evidence, level)
        case SplitCounts() | SpeedCounts() | ValueCounts():
            return _served(gate, evidence, level)
        case Sliced():
            return slices.judge(gate, evidence, level, _served)
        case GaugeCounts():
            return gauge.judge(gate, evidence, level)
        case PairedSums():
            return sums.judge(gate, evidence, level) if gate.block else answers.judge(gate, evidence, level)
        case ScoreBins():
            return foresee.judge(gate, evidence, level)
        case InputShift():
            return shift.judge(gate, evidence, level)


def _served(gate: Gate, counts: Served, level: Level) -> Verdict:
    """Counts of served traffic, all together or of one slice."""
    match counts:
        case SplitCounts():
            return rate.judge(gate, counts, level)
        case SpeedCounts():
            return speed.judge(gate, counts, level)
        case ValueCounts():
            return value.judge(gate, counts, level)
