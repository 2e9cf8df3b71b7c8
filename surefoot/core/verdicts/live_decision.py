"""Decide from the evidence whether a gate on live traffic fails or passes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surefoot.core.domain import FigureKind, Outcome, Verdict, VerdictFigure
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Gate
from surefoot.core.verdicts.pass_forecast import PassForecast
from surefoot.core.verdicts.verdict_builders import demanded_requests_text, make_verdict


@dataclass(frozen=True, slots=True)
class LiveEvidence:
    """Evidence for and against a candidate, in the form that all live metrics share.

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
        forecast: When an equal candidate passes; None where nothing can be said.
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
    forecast: PassForecast | None = None

    @property
    def has_sample_ratio_mismatch(self) -> bool:
        """Whether the split is surely not the one that was asked for."""
        return self.split >= -math.log(SAMPLE_RATIO_ALPHA)


SAMPLE_RATIO_ALPHA = 0.001
"""Chance that a sound split is taken for a broken one over a whole rollout [probability]."""


def decide_live_gate(gate: Gate, seen: LiveEvidence, level: DecisionThresholds) -> Verdict:
    """FAIL on proof of harm beyond the margin, PASS on proof of none, otherwise wait.

    Law: a split that is not what was asked for proves nothing, neither harm nor safety.
    """
    figures = (
        *seen.fields.get("figures", ()),
        VerdictFigure(FigureKind.HARM, seen.harm, "nats"),
        VerdictFigure(FigureKind.HARM_NEEDED, seen.threshold, "nats"),
        VerdictFigure(FigureKind.SAFETY, seen.safe, "nats"),
        VerdictFigure(FigureKind.SAFETY_NEEDED, -math.log(level.beta), "nats"),
        VerdictFigure(FigureKind.WRONG_SPLIT, seen.split, "nats"),
    )
    fields = {**seen.fields, "figures": figures, "n": seen.n}
    if seen.has_sample_ratio_mismatch:
        reason = (
            f"the candidate does not get the share that it was given ({seen.fields['trials']}): the split is broken,"
            " and nothing can be concluded from it"
        )
        return make_verdict(gate, Outcome.INCONCLUSIVE, reason, **{k: v for k, v in fields.items() if k != "trials"})
    fields.pop("trials", None)
    if seen.harm >= seen.threshold and seen.beyond:
        return make_verdict(gate, Outcome.FAIL, seen.failed, **fields)
    waiting = {**fields, "figures": (*figures, *(seen.forecast.figures() if seen.forecast else ()))}
    if seen.recent < level.min_requests:
        reason = demanded_requests_text(seen.recent, level)
        return make_verdict(gate, Outcome.INCONCLUSIVE, reason, **waiting)
    if seen.safe >= -math.log(level.beta):
        return make_verdict(gate, Outcome.PASS, seen.passed, **fields)
    return make_verdict(gate, Outcome.INCONCLUSIVE, seen.undecided, **waiting)
