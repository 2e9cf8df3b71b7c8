"""Compute how much Prometheus counters have grown, also across resets."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from surefoot.adapters.evidence_providers.prometheus.prometheus_api import Labels, Samples

LOOKBACK_S = 300.0
"""How long before a window a counter is looked for, so that its first growth in it counts [seconds]."""


@dataclass(frozen=True, slots=True)
class CounterIncrease:
    """By how much a counter has grown between two samples.

    Attributes:
        labels: Labels of the series.
        begin: When the first sample was taken [Unix seconds].
        end: When the second one was [Unix seconds].
        count: The growth [count].
    """

    labels: Labels
    begin: float
    end: float
    count: int


def counter_increases(samples: Samples, since: float) -> Iterator[CounterIncrease]:
    """Growth of each series, wherever it is more than 0.

    Where a counter falls it began anew, and all that it shows has come since. A series that appears while its target is
    scraped already was not there because it was 0: so the first failure of a version counts. Of a series whose target
    appears with it, it is not known since when it counts, so its first sample counts nothing.

    Args:
        samples: Samples of the series, from some time before the window.
        since: Beginning of the window: a growth that ends before is no part of it [Unix seconds].
    """
    seen = _first_seen(samples)
    for labels, found in samples.items():
        if not found:
            continue
        first, value = found[0]
        known = seen[_target(labels)]
        if known < first - 1e-3 and first > since and value > 0.0:
            yield CounterIncrease(labels, first, first, _whole(value))
        for (begin, before), (end, after) in itertools.pairwise(found):
            grown = after - before if after >= before else after
            if grown > 0.0 and end > since:
                yield CounterIncrease(labels, begin, end, _whole(grown))


def _whole(value: float) -> int:
    return round(value) if math.isfinite(value) else 0


def _target(labels: Labels) -> Labels:
    """What a series was scraped from."""
    return tuple(one for one in labels if one[0] in {"job", "instance"})


def _first_seen(samples: Samples) -> dict[Labels, float]:
    """When each target was scraped first."""
    made: dict[Labels, float] = {}
    for labels, found in samples.items():
        target = _target(labels)
        for at, _ in found[:1]:
            made[target] = min(at, made.get(target, math.inf))
    return made
