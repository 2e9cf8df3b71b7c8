"""Combine evidence over all times at which a candidate may have begun to fail, and find the likely one."""

import itertools
import math
import sys
from collections.abc import Mapping, Sequence

from surefoot.core.errors import InvariantBroken
from surefoot.core.stats.rate_eprocess import log_mean_exp

BROKEN_FROM_START_WEIGHT = 0.8
"""Weight of "from the very beginning": most candidates that break are broken when they arrive."""
LOG_ZERO = math.log(sys.float_info.min)
"""Log of the detector before its first epoch [nats]; it stands for a sum of nothing and stays a finite number."""


def _suffixes(increments: Mapping[int, Sequence[float]]) -> tuple[list[int], list[list[float]]]:
    """Epochs in order, and for each of them the log-increments of it and of all later ones, by alternative."""
    epochs = sorted(increments)
    sums: list[list[float]] = []
    tail = [0.0] * len(increments[epochs[0]])
    for epoch in reversed(epochs):
        tail = [a + b for a, b in zip(increments[epoch], tail, strict=True)]
        sums.append(tail)
    return epochs, sums[::-1]


def _log_sum(logs: Sequence[float]) -> float:
    """Logarithm of the sum of numbers given by their logarithms."""
    return log_mean_exp(logs) + math.log(len(logs))


def log_mixture_over_starts(
    increments: Mapping[int, Sequence[float]], *, starts: int = 24, first: float = BROKEN_FROM_START_WEIGHT
) -> float:
    """Logarithm of an e-value against "never worse", with the start of the trouble unknown.

    Args:
        increments: Log-increments by epoch, one an alternative [nats].
        starts: Epochs 1 to `starts` in which the trouble may begin [count].
        first: Weight of "from the very beginning" [0 < first < 1]; the rest is spread evenly over the later starts.

    Returns:
        Log of the mean over alternatives and starts [nats]; 0.0 without data. A start that no epoch has reached yet
        is worth 1, and an epoch later than `starts` counts in all of them.

    Raises:
        InvariantBroken: There are no starts, or `first` is not between 0 and 1.

    Law: the weights add up to one and are fixed beforehand, so the mixture is an e-process as its parts are.

    Source: Shin, Ramdas and Rinaldo (2024), New England Journal of Statistics in Data Science 2(2), start anew at
        every step; the weights are ours and limit the total of false alarms instead of their rate.
    """
    if starts < 1 or not 0.0 < first < 1.0:
        raise InvariantBroken("a mixture needs a later start and weights between 0 and 1")
    if not increments:
        return 0.0
    epochs, suffixes = _suffixes(increments)
    # Starts between two epochs with data see the same evidence: one term with the weight of them all.
    reached = [min(max(epoch, 0), starts) for epoch in epochs]
    each = (1.0 - first) / starts
    weights = [first + each * reached[0], *(each * (b - a) for a, b in itertools.pairwise(reached))]
    terms = [(math.log(weight), suffix) for weight, suffix in zip(weights, suffixes, strict=True) if weight > 0.0]
    waiting = [math.log(each * (starts - reached[-1]))] if reached[-1] < starts else []
    return log_mean_exp(
        [_log_sum([*waiting, *(log + suffix[k] for log, suffix in terms)]) for k in range(len(suffixes[0]))]
    )


def log_evidence_at_any_start(increments: Mapping[int, Sequence[float]]) -> float:
    """Logarithm of the Shiryaev-Roberts statistic over epochs, averaged over alternatives [nats].

    Args:
        increments: Log-increments by epoch, one an alternative [nats].

    Returns:
        Log of the sum, over the epochs with data, of the evidence since then [nats]; LOG_ZERO without data. An alarm
        is due at log(ARL) or above, ARL the mean run length that a good candidate is granted [epochs].

    Law: under "never worse" the mean after K epochs is at most K, and K itself where the arms are equal; so the mean
        time to a false alarm is at least ARL epochs, and one within K epochs has at most the chance K / ARL (Doob).

    Source: Pollak (1985), Annals of Statistics 13(1); Shin, Ramdas and Rinaldo (2024) for sums of e-processes.
    """
    if not increments:
        return LOG_ZERO
    _, suffixes = _suffixes(increments)
    return log_mean_exp([_log_sum([suffix[k] for suffix in suffixes]) for k in range(len(suffixes[0]))])


def likely_failure_start(
    increments: Mapping[int, Sequence[float]], *, starts: int = 24, first: float = BROKEN_FROM_START_WEIGHT
) -> int:
    """Epoch in which the trouble most likely began, if there is any; 0 without data.

    Args:
        increments: Log-increments by epoch, one an alternative [nats].
        starts: As in `log_mixture_over_starts`.
        first: As in `log_mixture_over_starts`.

    Law: the start whose weight times evidence is the largest part of the mixture. The weights speak for the very
        beginning: a later start must explain the counts better by first / (1 - first) * starts.
    """
    if not increments:
        return 0
    epochs, suffixes = _suffixes(increments)
    weights = [first, *([(1.0 - first) / starts] * (len(epochs) - 1))]
    logs = [math.log(weight) + log_mean_exp(suffix) for weight, suffix in zip(weights, suffixes, strict=True)]
    return epochs[logs.index(max(logs))]
