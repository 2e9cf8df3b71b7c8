"""Build the verdict of a gate, also when its evidence is missing, and the sentences and samples in it."""

from typing import Any

from surefoot.core.domain import Outcome, Verdict
from surefoot.core.errors import InvariantBroken
from surefoot.core.journal.chain import canonical_bytes
from surefoot.core.judging.evidence import MissingEvidence
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Gate


def make_verdict(gate: Gate, outcome: Outcome, reason: str, **fields: Any) -> Verdict:
    """A verdict of this gate."""
    return Verdict(gate.name, gate.metric.value, outcome, gate.role, reason, **fields)


def missing_evidence_verdict(gate: Gate, found: MissingEvidence, _level: DecisionThresholds) -> Verdict:
    """A verdict for a gate whose evidence is missing, with the reason why it is."""
    return make_verdict(gate, found.outcome, found.reason)


def make_journalable_sample(sample: object) -> object:
    """A sample as it can be journalled; the rows that fail are those that hold NaN and the like."""
    try:
        canonical_bytes(sample)
    except InvariantBroken:
        return ascii(sample)
    return sample


def demanded_requests_text(recent: int, level: DecisionThresholds) -> str:
    """A sentence that says how many of the requests that a step demands have come."""
    return f"only {recent:,} of the {level.min_requests:,} requests that this step demands have come so far"
