"""Judge the Brier loss that is expected for requests without labels."""

from collections.abc import Sequence

from surefoot.core.domain import FigureKind, Outcome, Verdict, VerdictFigure
from surefoot.core.judging.evidence import MILLIONTHS_PER_UNIT, ScoreBins
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import ExpectedLossGate
from surefoot.core.verdicts.verdict_builders import make_verdict

MIN_LABELLED_PAST_REQUESTS = 500
"""Labelled requests without which the past says nothing [count]."""

_ScoreBinCounts = Sequence[tuple[int, int, int]]


def _rates(past: _ScoreBinCounts) -> list[float]:
    """Share of positives by bin of scores; an empty bin is taken at its word, the score itself."""
    return [(bad + 0.5) / (n + 1.0) if n else (index + 0.5) / len(past) for index, (n, bad, _) in enumerate(past)]


def compute_expected_brier(past: _ScoreBinCounts, now: _ScoreBinCounts) -> float:
    """Expected Brier loss of scores without labels [Brier].

    Args:
        past: Labelled scores by bin.
        now: Scores by bin.

    Source: confidence-based estimation after recalibration, as in Guillory et al. (2021), ICCV, and Garg et al.
        (2022), ICLR; here with the bin's own frequency as the calibrated confidence.
    """
    total, n = 0.0, 0
    for rate, (count, _, scores) in zip(_rates(past), now, strict=True):
        if count:
            score = scores / MILLIONTHS_PER_UNIT / count
            total += count * (rate * (1.0 - score) ** 2 + (1.0 - rate) * score**2)
            n += count
    return total / n


def compute_observed_brier(bins: _ScoreBinCounts) -> float:
    """Brier loss that the labels really show, with every score at the mean of its bin [Brier]."""
    total, n = 0.0, 0
    for count, bad, scores in bins:
        if count:
            score = scores / MILLIONTHS_PER_UNIT / count
            total += bad * (1.0 - score) ** 2 + (count - bad) * score**2
            n += count
    return total / n


def _accepted(gate: ExpectedLossGate, before: float) -> float:
    """Largest loss that is accepted, by the growth since before, the fixed limit, or whichever is lower [Brier]."""
    made = [] if gate.limit is None else [gate.limit]
    if gate.margin is not None:
        made.append(before * (1.0 + gate.margin) if gate.relative else before + gate.margin)
    return min(made, default=before)


def judge_expected_loss(gate: ExpectedLossGate, found: ScoreBins, _level: DecisionThresholds) -> Verdict:
    """Judge the expected loss, allowing for the error of the same estimate on requests whose labels are known.

    Law: an estimate whose own past error is larger than what it would have to show decides nothing.
    """
    now, past, checked = (sum(cell[0] for cell in bins) for bins in (found.now, found.past, found.checked))
    if not now:
        return make_verdict(gate, Outcome.NO_DATA, "there is no request without a label to expect a loss for")
    if past < MIN_LABELLED_PAST_REQUESTS or checked < MIN_LABELLED_PAST_REQUESTS:
        reason = f"only {min(past, checked)} labelled requests to learn from; {MIN_LABELLED_PAST_REQUESTS} are needed"
        return make_verdict(gate, Outcome.NO_DATA, reason, n=now)
    guess, before = compute_expected_brier(found.past, found.now), compute_observed_brier(found.past)
    wrong = compute_expected_brier(found.past, found.checked) - compute_observed_brier(found.checked)
    error, limit = abs(wrong), _accepted(gate, before)
    outcome = Outcome.INCONCLUSIVE
    if guess - error > limit:
        outcome = Outcome.FAIL
    elif guess + error <= limit:
        outcome = Outcome.PASS
    reason = (
        f"without labels a Brier loss of {guess:.4f} is expected on {now:,} requests ({limit:.4f} is accepted); the"
        f" same estimate was off by {wrong:+.4f} when it could be checked on {checked:,}"
    )
    return make_verdict(
        gate,
        outcome,
        reason,
        n=now,
        estimate=guess,
        lower=guess - error,
        upper=guess + error,
        margin=limit,
        unit="brier",
        figures=(
            VerdictFigure(FigureKind.PAST_ERROR, wrong, "brier"),
            VerdictFigure(FigureKind.PAST_LOSS, before, "brier"),
        ),
    )
