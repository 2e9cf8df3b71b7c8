"""Compute the evidence that an arm does not get its assigned traffic share."""

import math
from collections.abc import Sequence

from surefoot.core.judging.evidence import BadEventStratum
from surefoot.core.stats.rate_eprocess import log_mean_exp

ALTERNATIVE_SHARE_FACTORS = (0.8, 0.9, 0.95, 0.98, 1.02, 1.05, 1.1, 1.25)
"""Odds multipliers of the alternatives: the candidate gets less, or more, than it should."""


def sample_ratio_evidence(strata: Sequence[BadEventStratum]) -> float:
    """Log evidence that the split is not the one that was asked for [nats]; 0.0 without data.

    Every trial is an event: was it the candidate's? Where the candidate gets everything there is no split to doubt.

    Law: an e-process whatever the rates, the traffic and the schedule of the splits. A verdict is withheld at
        log(1000) or above: a sound split gets there in at most one rollout of a thousand.

    Source: Lindon and Malek (2022), NeurIPS, sequential multinomial tests for sample ratio mismatch.
    """
    sums: dict[float, tuple[int, int]] = {}
    for s in strata:
        if s.share < 1.0:
            mine, all_ = sums.get(s.share, (0, 0))
            sums[s.share] = (mine + s.candidate, all_ + s.candidate + s.champion)
    return log_mean_exp(
        [
            sum(
                mine * math.log(factor) - total * math.log1p(share * (factor - 1.0))
                for share, (mine, total) in sums.items()
            )
            for factor in ALTERNATIVE_SHARE_FACTORS
        ]
    )
