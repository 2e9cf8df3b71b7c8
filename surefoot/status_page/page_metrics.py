"""Export what the journal says about rollouts as Prometheus metrics."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from surefoot.status_page.journal_view import ModelRecord

CONTENT_TYPE = CONTENT_TYPE_LATEST
_DETECT_BUCKETS_S = (60.0, 600.0, 3600.0, 6 * 3600.0, 86400.0, 7 * 86400.0)
"""Upper ends of the buckets of times to detect [seconds]."""
_RESTORE_BUCKETS_S = (0.05, 0.1, 0.5, 1.0, 10.0, 60.0, 600.0)
"""Upper ends of the buckets of times to restore traffic [seconds]."""


class _JournalCollector(Collector):
    """Turns what the journals say into series when Prometheus asks."""

    def __init__(self, records: Mapping[str, ModelRecord], heartbeats: Mapping[str, float | None]) -> None:
        """Hold the records of the models, and when each scheduled flow came last [Unix seconds]."""
        self._records, self._heartbeats = records, heartbeats

    def collect(self) -> Iterator[Metric]:
        """Iterate over every series."""
        entries = CounterMetricFamily("surefoot_journal_entries", "Entries of a model's journal.", labels=["model"])
        verdicts = CounterMetricFamily(
            "surefoot_gate_verdicts", "Verdicts of a gate, by outcome.", labels=["model", "gate", "outcome"]
        )
        ended = CounterMetricFamily(
            "surefoot_rollouts",
            "Rollouts that have ended, by kind and by their terminal stage.",
            labels=["model", "kind", "outcome"],
        )
        opened = GaugeMetricFamily("surefoot_open_rollout", "1 for the rollout under way.", labels=["model", "stage"])
        waiting = GaugeMetricFamily("surefoot_rollout_paused", "1 while a rollout is paused, else 0.", labels=["model"])
        drifts = GaugeMetricFamily("surefoot_drifts", "Differences that are not resolved.", labels=["model"])
        incidents = GaugeMetricFamily(
            "surefoot_open_incidents", "Incidents that no person has closed.", labels=["model"]
        )
        champion = GaugeMetricFamily("surefoot_champion_info", "1 for the champion.", labels=["model", "version"])
        for model, record in self._records.items():
            ledger = record.ledger
            entries.add_metric([model], ledger.head)
            for (gate, outcome), count in record.verdicts.items():
                verdicts.add_metric([model, gate, outcome], count)
            found = Counter((str(one.opened.kind), str(one.stage)) for one in record.ended_rollouts())
            for (kind, outcome), count in found.items():
                ended.add_metric([model, kind, outcome], count)
            if ledger.rollout is not None:
                opened.add_metric([model, str(ledger.rollout.stage)], 1)
            waiting.add_metric([model], 1 if ledger.rollout is not None and ledger.rollout.paused else 0)
            drifts.add_metric([model], len(ledger.drifts))
            incidents.add_metric([model], sum(one.closed is None for one in ledger.incidents.known.values()))
            if ledger.champion is not None:
                champion.add_metric([model, ledger.champion.number], 1)
        yield from (entries, verdicts, ended, opened, waiting, drifts, incidents, champion)
        yield from self._times()
        beat = GaugeMetricFamily(
            "surefoot_last_tick_timestamp_seconds", "When a scheduled flow came last.", labels=["flow"]
        )
        for flow, at in self._heartbeats.items():
            if at is not None:
                beat.add_metric([flow], at)
        yield beat

    def _times(self) -> Iterator[Metric]:
        """Times to detect and to restore of all incidents that are reported and no false alarm, by model."""
        detect = HistogramMetricFamily(
            "surefoot_time_to_detect_seconds", "From the onset of an incident to its detection.", labels=["model"]
        )
        restore = HistogramMetricFamily(
            "surefoot_time_to_restore_seconds", "From the detection until traffic was back.", labels=["model"]
        )
        for model, record in self._records.items():
            told = [
                one.reported
                for one in record.ledger.incidents.known.values()
                if one.reported and not (one.closed and one.closed.false_alarm)
            ]
            for family, buckets, values in (
                (detect, _DETECT_BUCKETS_S, [one.time_to_detect for one in told if one.time_to_detect is not None]),
                (restore, _RESTORE_BUCKETS_S, [one.time_to_restore for one in told if one.time_to_restore is not None]),
            ):
                family.add_metric([model], _cumulative(values, buckets), sum(values))
        yield from (detect, restore)


def _cumulative(values: Sequence[float], buckets: Sequence[float]) -> list[tuple[str, float]]:
    """How many values lie at or below each end."""
    counts = [(f"{end:g}", float(sum(value <= end for value in values))) for end in buckets]
    return [*counts, ("+Inf", float(len(values)))]


def export_journal_metrics(records: Mapping[str, ModelRecord], heartbeats: Mapping[str, float | None]) -> bytes:
    """Give every series in Prometheus' text format.

    Args:
        records: What the journal says, by model.
        heartbeats: When each scheduled flow came last [Unix seconds], by flow; None where it has not come yet.
    """
    registry = CollectorRegistry()
    registry.register(_JournalCollector(records, heartbeats))
    return generate_latest(registry)
