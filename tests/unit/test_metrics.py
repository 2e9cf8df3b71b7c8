"""Prometheus metrics of the gateway."""

from prometheus_client.parser import text_string_to_metric_families

from surefoot.gateway.control.metrics import prometheus_text


def test_metrics_are_in_base_units() -> None:
    """A process of 100 MiB is shown in bytes, and what was not measured has no sample."""
    version = {"requests": 3, "rss_mb": 100.0, "row_wise": True, "queue": None}
    counts = {"versions": {"7": version}, "weight": 5.0, "generation": 2, "log_dropped": 0}
    text = prometheus_text({0: {"m": counts}}).decode()
    series = {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}
    assert series["surefoot_resident_memory_bytes"] == 100 * 2**20
    assert series["surefoot_requests_total"] == 3
    assert series["surefoot_batching_allowed"] == 1
    assert series["surefoot_candidate_weight_percent"] == 5.0
    assert "surefoot_queued_requests" not in series
