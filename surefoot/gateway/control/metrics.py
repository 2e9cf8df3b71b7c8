"""Export the counts of each gateway worker as Prometheus metrics."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST.encode()
_ModelStats = Mapping[str, Mapping[str, object]]
"""Counts of each model, as in `/models/<model>/stats`."""


@dataclass(frozen=True, slots=True)
class _PrometheusSeries:
    """How a count appears in Prometheus.

    Attributes:
        name: Name of the metric, without the prefix `surefoot_` and the suffix `_total` of counters.
        help: What it counts or measures.
        factor: What the count is multiplied by to be in the metric's unit.
    """

    name: str
    help: str
    factor: float = 1.0


_MIB = float(2**20)
_COUNTERS = {
    "requests": _PrometheusSeries("requests", "Requests that the split assigned to a version."),
    "candidate_requests": _PrometheusSeries(
        "candidate_requests", "Requests that the split assigned to a version as the candidate."
    ),
    "candidate_errors": _PrometheusSeries("candidate_errors", "Requests that a candidate failed."),
    "late": _PrometheusSeries("candidate_timeouts", "Requests that a candidate did not answer in time."),
    "caller_errors": _PrometheusSeries("rejected_requests", "Requests that no version could answer."),
    "deaths": _PrometheusSeries("process_exits", "Processes of a version that ended by themselves."),
    "cpu_seconds": _PrometheusSeries("cpu_seconds", "Processor time of a version's answers."),
    "batches": _PrometheusSeries("batches", "Batches that a version predicted."),
    "shared": _PrometheusSeries("batched_requests", "Requests that were predicted together with others."),
    "checked": _PrometheusSeries("rechecked_rows", "Rows that were answered in a batch and asked again alone."),
    "differed": _PrometheusSeries(
        "inconsistent_rows", "Rows that had another answer when they were asked again alone."
    ),
}
_GAUGES = {
    "queue": _PrometheusSeries("queued_requests", "Requests that wait for a version."),
    "rss_mb": _PrometheusSeries(
        "resident_memory_bytes", "Memory of the process that a version answered from last.", _MIB
    ),
    "row_wise": _PrometheusSeries(
        "batching_allowed", "1 when requests of a version may be predicted together, else 0."
    ),
}
_OF_MODEL = {
    "weight": _PrometheusSeries("candidate_weight_percent", "Share of the traffic that is assigned to the candidate."),
    "generation": _PrometheusSeries("route_generation", "Generation of the route in force."),
}
_SHADOW = {
    "mirrored": _PrometheusSeries(
        "shadow_mirrored_requests", "Requests that were chosen to be mirrored to the shadow."
    ),
    "answered": _PrometheusSeries("shadow_answered_requests", "Mirrored requests that the shadow has answered."),
    "failed": _PrometheusSeries("shadow_failed_requests", "Mirrored requests that the shadow has failed."),
    "dropped": _PrometheusSeries("shadow_dropped_requests", "Mirrored requests that the shadow had no room for."),
    "cpu_seconds": _PrometheusSeries("shadow_cpu_seconds", "Processor time of the shadow's answers."),
    "log_dropped": _PrometheusSeries("shadow_lost_log_records", "Records of the shadow that could not be written."),
}
_OF_SHADOW = {
    "waiting": _PrometheusSeries("shadow_pending_requests", "Mirrored requests that the shadow has not answered yet."),
    "rss_mb": _PrometheusSeries(
        "shadow_resident_memory_bytes", "Memory of the process that the shadow answered from last.", _MIB
    ),
}
_RUNGS = {
    "proven_good_answers": _PrometheusSeries(
        "proven_good_answers", "Requests that the champion has failed and the last proven-good version has answered."
    ),
    "fallback_answers": _PrometheusSeries(
        "fallback_answers", "Requests that no version could answer and the policy's fallback has answered."
    ),
}
_TRACED = {
    "spans_queued": _PrometheusSeries("traced_requests", "Requests whose spans were queued for the collector."),
    "spans_dropped": _PrometheusSeries(
        "lost_traces", "Traced requests whose spans had no room in the queue, or were refused by the collector."
    ),
}
_LOST = {"log_dropped": _PrometheusSeries("lost_log_records", "Records that could not be written to the log.")}
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

    def __init__(self, workers: Mapping[int, _ModelStats]) -> None:
        """Hold the counts, by worker."""
        self._rows = [
            (str(slot), model, counts) for slot, stats in sorted(workers.items()) for model, counts in stats.items()
        ]

    def collect(self) -> Iterator[Metric]:
        """Iterate over every series."""
        versions = [
            ((worker, model, number), row)
            for worker, model, counts in self._rows
            for number, row in cast("_ModelStats", counts["versions"]).items()
        ]
        shadows = [
            ((worker, model, str(shadow["version"])), shadow)
            for worker, model, counts in self._rows
            if isinstance(shadow := counts.get("shadow"), Mapping)
        ]
        models = [((worker, model), counts) for worker, model, counts in self._rows]
        yield from _families(CounterMetricFamily, _COUNTERS, versions)
        yield from _families(GaugeMetricFamily, _GAUGES, versions)
        yield from _families(CounterMetricFamily, _SHADOW, shadows)
        yield from _families(GaugeMetricFamily, _OF_SHADOW, shadows)
        yield from _families(GaugeMetricFamily, _OF_MODEL, models)
        yield from _families(CounterMetricFamily, _RUNGS, models)
        yield from _families(CounterMetricFamily, _LOST, models)
        yield from _families(CounterMetricFamily, _TRACED, models)


def _families(
    kind: type[CounterMetricFamily | GaugeMetricFamily],
    series: Mapping[str, _PrometheusSeries],
    rows: Sequence[tuple[tuple[str, ...], Mapping[str, object]]],
) -> Iterator[Metric]:
    """Make one family for each key; what was not measured has no sample."""
    for key, shown in series.items():
        family = kind(f"surefoot_{shown.name}", shown.help, labels=_LABELS[: len(rows[0][0])] if rows else _LABELS)
        for labels, row in rows:
            if row.get(key) is not None:
                family.add_metric(labels, float(cast("float", row[key])) * shown.factor)
        yield family


def prometheus_text(workers: Mapping[int, _ModelStats]) -> bytes:
    """Give every series of every worker in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Collector(workers))
    return generate_latest(registry)
