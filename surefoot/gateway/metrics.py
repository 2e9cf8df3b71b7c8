"""What the gateway counts, as Prometheus reads it."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

KIND = CONTENT_TYPE_LATEST.encode()
Stats = Mapping[str, Mapping[str, object]]
"""What `/models/<model>/stats` says, by model."""
_COUNTERS = {
    "requests": "Requests that the split assigned to a version.",
    "candidate_errors": "Requests that a candidate failed.",
    "late": "Requests that a candidate did not answer in time.",
    "caller_errors": "Requests that no version could answer.",
    "deaths": "Processes of a version that ended unasked.",
    "cpu_seconds": "Processor time of a version's answers.",
}
_GAUGES = {
    "queue": "Requests that wait for a version.",
    "rss_mb": "Memory of the process that a version answered from last.",
}
_OF_MODEL = {"weight": "Share of the candidate in percent.", "generation": "Generation of the split in force."}


_SHADOW = {
    "mirrored": "Requests that a shadow was to be asked as well.",
    "answered": "Mirrored requests that the shadow has answered.",
    "failed": "Mirrored requests that the shadow has failed.",
    "dropped": "Mirrored requests that there was no room for.",
}
_SAME = frozenset({"version", "weight", "generation"})


def together(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of two workers as one: numbers add up, but what is the same for all workers is the newest."""
    made: dict[str, Any] = {}
    for key in {**one, **other}:
        mine, theirs = one.get(key), other.get(key)
        if mine is None or theirs is None:
            made[key] = theirs if mine is None else mine
        elif isinstance(mine, Mapping):
            made[key] = together(mine, theirs)
        elif key in _SAME:
            made[key] = max(mine, theirs)
        else:
            made[key] = round(mine + theirs, 6)
    return made


class _Counted(Collector):
    """Turns counts into series when somebody asks."""

    def __init__(self, stats: Stats) -> None:
        """Remember the counts."""
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """Every series."""
        for kind, series in ((CounterMetricFamily, _COUNTERS), (GaugeMetricFamily, _GAUGES)):
            for key, said in series.items():
                family = kind(f"surefoot_{key}", said, labels=("model", "version"))
                for model, counts in self._stats.items():
                    versions = counts["versions"]
                    for number, row in versions.items() if isinstance(versions, Mapping) else ():
                        if row.get(key) is not None:
                            family.add_metric((model, number), float(row[key]))
                yield family
        for key, said in _OF_MODEL.items():
            gauge = GaugeMetricFamily(f"surefoot_{key}", said, labels=("model",))
            for model, counts in self._stats.items():
                gauge.add_metric((model,), float(str(counts[key])))
            yield gauge
        for key, said in _SHADOW.items():
            family = CounterMetricFamily(f"surefoot_shadow_{key}", said, labels=("model", "version"))
            for model, counts in self._stats.items():
                shadow = counts.get("shadow")
                if isinstance(shadow, Mapping):
                    family.add_metric((model, str(shadow["version"])), float(shadow[key]))
            yield family
        dropped = CounterMetricFamily("surefoot_log_dropped", "Records that the disk refused.", labels=("model",))
        for model, counts in self._stats.items():
            dropped.add_metric((model,), float(str(counts["log_dropped"])))
        yield dropped


def text(stats: Stats) -> bytes:
    """Every series in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Counted(stats))
    return generate_latest(registry)
