"""How a verdict is put together, whatever the metric."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surefoot.core.chain import canonical
from surefoot.core.errors import InvariantBroken
from surefoot.core.evidence import Missing
from surefoot.core.level import Level
from surefoot.core.model import Figure, Outcome, Verdict
from surefoot.core.policy import Gate


def say(gate: Gate, outcome: Outcome, reason: str, **fields: Any) -> Verdict:
    """A verdict of this gate."""
    return Verdict(gate.name, gate.metric.value, outcome, gate.role, reason, **fields)


def missing(gate: Gate, found: Missing, _level: Level) -> Verdict:
    """What could not be had, as it was said."""
    return say(gate, found.outcome, found.reason)


def shown(sample: object) -> object:
    """A sample as it can be journalled; the rows that fail are those that hold NaN and the like."""
    try:
        canonical(sample)
    except InvariantBroken:
        return ascii(sample)
    return sample


def demanded(recent: int, level: Level) -> str:
    """How many of the requests that a step demands have come."""
    return f"only {recent:,} of the {level.min_requests:,} requests that this step demands have come so far"


@dataclass(frozen=True, slots=True)
class Live:
    """What the live metrics have in common once their numbers are on the table.

    Attributes:
        harm: Log evidence that the candidate is worse than what is accepted as equal [nats].
        safe: Log evidence that the candidate is within the margin [nats].
        split: Log evidence that the split is not the one that was asked for [nats].
        beyond: Whether the estimate itself lies beyond the margin.
        n: Trials of both arms [count].
        recent: Requests of both arms since the step began [count].
        threshold: Log evidence of harm that fails [nats].
        failed: Sentence of a FAIL.
        passed: Sentence of a PASS.
        undecided: Sentence of an INCONCLUSIVE.
        fields: Numbers of the verdict.
    """

    harm: float
    safe: float
    split: float
    beyond: bool
    n: int
    recent: int
    threshold: float
    failed: str
    passed: str
    undecided: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def broken(self) -> bool:
        """Whether the split is surely not the one that was asked for."""
        return self.split >= -math.log(SPLIT_ALPHA)


HARM, HARM_NEEDED = "log evidence of harm", "log evidence of harm that fails"
SAFETY, SAFETY_NEEDED = "log evidence of safety", "log evidence of safety that passes"
"""Names of the figures that say how far a live gate is from a verdict."""
SPLIT_ALPHA = 0.001
"""Chance that a sound split is taken for a broken one over a whole rollout [probability]."""


def decide(gate: Gate, seen: Live, level: Level) -> Verdict:
    """FAIL on proof of harm beyond the margin, PASS on proof of none, otherwise wait.

    Law: a split that is not what was asked for proves nothing, neither harm nor safety.
    """
    figures = (
        *seen.fields.get("figures", ()),
        Figure(HARM, seen.harm, "nats"),
        Figure(HARM_NEEDED, seen.threshold, "nats"),
        Figure(SAFETY, seen.safe, "nats"),
        Figure(SAFETY_NEEDED, -math.log(level.beta), "nats"),
        Figure("log evidence of a wrong split", seen.split, "nats"),
    )
    fields = {**seen.fields, "figures": figures, "n": seen.n}
    if seen.broken:
        reason = (
            f"the candidate does not get the share that it was given ({seen.fields['trials']}): the split is broken,"
            " and nothing can be concluded from it"
        )
        return say(gate, Outcome.INCONCLUSIVE, reason, **{k: v for k, v in fields.items() if k != "trials"})
    fields.pop("trials", None)
    if seen.harm >= seen.threshold and seen.beyond:
        return say(gate, Outcome.FAIL, seen.failed, **fields)
    if seen.recent < level.min_requests:
        reason = demanded(seen.recent, level)
        return say(gate, Outcome.INCONCLUSIVE, reason, **fields)
    if seen.safe >= -math.log(level.beta):
        return say(gate, Outcome.PASS, seen.passed, **fields)
    return say(gate, Outcome.INCONCLUSIVE, seen.undecided, **fields)
