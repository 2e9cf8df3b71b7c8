"""Judge a gauge of the candidate, such as its process memory."""

import math

from surefoot.core.domain import FigureKind, Outcome, Verdict, VerdictFigure
from surefoot.core.durations import format_duration
from surefoot.core.judging.evidence import GaugeComparisons
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import GaugeGate
from surefoot.core.stats.mcnemar import log_evidence_of_harm
from surefoot.core.verdicts.verdict_builders import demanded_requests_text, make_verdict


def judge_gauge(gate: GaugeGate, found: GaugeComparisons, level: DecisionThresholds) -> Verdict:
    """FAIL when the candidate is above its margin in surely more than half of the blocks, PASS when in surely less.

    A process has one memory for all its callers: requests are no trials of it, blocks are. They must be long enough
    to be news to each other.

    Law: valid at every look, for each block is one toss of a coin that a sound candidate loses at most half the time.
    """
    n = found.above + found.below
    if not n:
        return make_verdict(gate, Outcome.NO_DATA, f"no complete block in which both versions show their {gate.column}")
    harm, safe = log_evidence_of_harm(found.above, found.below), log_evidence_of_harm(found.below, found.above)
    failing, passing = -math.log(level.alpha), -math.log(level.beta)
    limit = 1.0 + (gate.margin or 0.0)
    each = format_duration(gate.block)
    shown = (
        f"{gate.column} of the candidate is above {limit:.2f} times the champion's in {found.above} of {n} blocks of"
        f" {each} (highest value: candidate {found.highest:.4g}, champion {found.beside:.4g})"
    )
    outcome = Outcome.INCONCLUSIVE
    if harm >= failing:
        outcome = Outcome.FAIL
    elif found.recent < level.min_requests:
        shown = demanded_requests_text(found.recent, level)
    elif safe >= passing:
        outcome = Outcome.PASS
    else:
        shown = f"not decided: {shown}"
    return make_verdict(
        gate,
        outcome,
        shown,
        n=n,
        estimate=found.above / n,
        margin=0.5,
        unit="share",
        figures=(
            VerdictFigure(FigureKind.BLOCKS_ABOVE, found.above, "count"),
            VerdictFigure(FigureKind.BLOCKS, n, "count"),
            VerdictFigure(FigureKind.CANDIDATE_HIGHEST, found.highest, gate.column),
            VerdictFigure(FigureKind.CHAMPION_HIGHEST, found.beside, gate.column),
            VerdictFigure(FigureKind.HARM, harm, "nats"),
            VerdictFigure(FigureKind.HARM_NEEDED, failing, "nats"),
            VerdictFigure(FigureKind.SAFETY, safe, "nats"),
            VerdictFigure(FigureKind.SAFETY_NEEDED, passing, "nats"),
        ),
    )
