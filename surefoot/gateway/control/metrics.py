"""Export the counts of all workers as Prometheus metrics."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST.encode()
Stats = Mapping[str, Mapping[str, object]]
"""Counts of each model, as in `/models/<model>/stats`."""
_COUNTERS = {
    "requests": "Requests that the split assigned to a version.",
    "candidate_errors": "Requests that a candidate failed.",
    "late": "Requests that a candidate did not answer in time.",
    "caller_errors": "Requests that no version could answer.",
    "deaths": "Processes of a version that ended by themselves.",
    "cpu_seconds": "Processor time of a version's answers.",
    "batches": "Batches that a version was asked.",
    "shared": "Requests that were predicted together with others.",
    "checked": "Rows that were answered in a batch and asked again alone.",
    "differed": "Rows that then had another answer.",
}
_GAUGES = {
    "queue": "Requests that wait for a version.",
    "rss_mb": "Memory of the process that a version answered from last.",
    "row_wise": "Whether requests of a version may be predicted together (1), or are asked one at a time (0).",
}
_OF_MODEL = {"weight": "Share of the candidate in percent.", "generation": "Generation of the split in force."}


_SHADOW = {
    "mirrored": "Requests that a shadow was to be asked as well.",
    "answered": "Mirrored requests that the shadow has answered.",
    "failed": "Mirrored requests that the shadow has failed.",
    "dropped": "Mirrored requests that there was no room for.",
    "cpu_seconds": "Processor time of the shadow's answers.",
    "log_dropped": "Records of the shadow that the disk refused.",
}
_OF_SHADOW = {
    "waiting": "Requests that wait for the shadow, or are with it.",
    "rss_mb": "Memory of the process that the shadow answered from last.",
}
_LOST = {"log_dropped": "Records that the disk refused."}
_LABELS = ("worker", "model", "version")
_SAME = frozenset({"version", "weight", "generation"})


def add_counts(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Add the counts of two workers; of a value that is the same for all workers, take the newest."""
    made: dict[str, Any] = {}
    for key in {**one, **other}:
        mine, theirs = one.get(key), other.get(key)
        if mine is None or theirs is None:
            made[key] = theirs if mine is None else mine
        elif isinstance(mine, Mapping):
            made[key] = add_counts(mine, theirs)
        elif isinstance(mine, str):
            made[key] = mine or theirs
        elif isinstance(mine, bool):
            made[key] = mine and theirs
        elif key in _SAME:
            made[key] = max(mine, theirs)
        else:
            made[key] = round(mine + theirs, 6)
    return made


class _Collector(Collector):
    """Turns counts into series when Prometheus asks.

    Each worker has series of its own: a sum over workers would fall when one of them ends, which reads like a reset.
    """

    def __init__(self, workers: Mapping[int, Stats]) -> None:
        """Hold the counts, by worker."""
        self._rows = [
            (str(slot), model, counts) for slot, stats in sorted(workers.items()) for model, counts in stats.items()
        ]

    def collect(self) -> Iterator[Metric]:
        """Iterate over every series."""
        versions = [
            ((worker, model, number), row)
            for worker, model, counts in self._rows
            for number, row in cast("Stats", counts["versions"]).items()
        ]
        shadows = [
            ((worker, model, str(shadow["version"])), shadow)
            for worker, model, counts in self._rows
            if isinstance(shadow := counts.get("shadow"), Mapping)
        ]
        models = [((worker, model), counts) for worker, model, counts in self._rows]
        yield from _families(CounterMetricFamily, "", _COUNTERS, versions)
        yield from _families(GaugeMetricFamily, "", _GAUGES, versions)
        yield from _families(CounterMetricFamily, "shadow_", _SHADOW, shadows)
        yield from _families(GaugeMetricFamily, "shadow_", _OF_SHADOW, shadows)
        yield from _families(GaugeMetricFamily, "", _OF_MODEL, models)
        yield from _families(CounterMetricFamily, "", _LOST, models)


def _families(
    kind: type[CounterMetricFamily | GaugeMetricFamily],
    prefix: str,
    series: Mapping[str, str],
    rows: Sequence[tuple[tuple[str, ...], Mapping[str, object]]],
) -> Iterator[Metric]:
    """Make one family for each key; what was not measured has no sample."""
    for key, said in series.items():
        family = kind(f"surefoot_{prefix}{key}", said, labels=_LABELS[: len(rows[0][0])] if rows else _LABELS)
        for labels, row in rows:
            if row.get(key) is not None:
                family.add_metric(labels, float(cast("float", row[key])))
        yield family


def prometheus_text(workers: Mapping[int, Stats]) -> bytes:
    """Give every series of every worker in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Collector(workers))
    return generate_latest(registry)
