"""Compute evidence of harm, or of no harm, from requests that exactly one of two versions gets right."""

import math

from surefoot.core.errors import InvariantBroken
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, log_mean_exp

BET_SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Shares of what there is that each bet risks on one request."""


def log_evidence_of_harm(worse: int, better: int) -> float:
    """Log evidence that the candidate is wrong more often than the champion [nats].

    Args:
        worse: Requests on which only the candidate is wrong [count].
        better: Requests on which only the champion is wrong [count].

    Law: an e-process as long as a disagreement is at most as likely to be the candidate's mistake as the champion's.

    Source: McNemar (1947), Psychometrika 12(2), made sequential by Wald's likelihood ratios (1945).
    """
    n = worse + better
    return log_mean_exp([worse * math.log(factor) - n * math.log((1.0 + factor) / 2.0) for factor in HARM_FACTORS])


def log_evidence_of_no_harm(worse: int, better: int, same: int, delta: float) -> float:
    """Log evidence that the candidate's accuracy is less than `delta` below the champion's [nats].

    Args:
        worse: Requests on which only the candidate is wrong [count].
        better: Requests on which only the champion is wrong [count].
        same: Requests on which both are right or both are wrong [count].
        delta: Accepted loss of accuracy [probability, 0 <= delta < 1].

    Raises:
        InvariantBroken: delta is no such probability.

    Law: with D = 1, -1 or 0 by request the factors 1 - lam (D - delta) are positive, and their mean is at most 1
        where the candidate loses delta or more.

    Source: Waudby-Smith and Ramdas (2024), Journal of the Royal Statistical Society B 86(1): bets on bounded means.
    """
    if not 0.0 <= delta < 1.0:
        raise InvariantBroken("the accepted loss must be at least 0 and below 1")
    logs = []
    for bet in BET_SHARES:
        lam = bet / (1.0 - delta)
        outcomes = ((worse, 1.0), (better, -1.0), (same, 0.0))
        logs.append(sum(n * math.log1p(-lam * (value - delta)) for n, value in outcomes))
    return log_mean_exp(logs)
