"""Counters and histograms in a real Prometheus give the counts and verdicts that the local log gives."""

import http.server
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from surefoot.adapters.evidence_providers.prometheus.counter_increases import counter_increases
from surefoot.adapters.evidence_providers.prometheus.counter_preview import preview_counters
from surefoot.adapters.evidence_providers.prometheus.prometheus_api import PrometheusApi
from surefoot.adapters.evidence_providers.prometheus.prometheus_counts import (
    PrometheusCounts,
    SplitWithStart,
    histogram_bucket_number,
)
from surefoot.adapters.evidence_providers.provider_failure import ProviderProblem
from surefoot.core.domain import EvidenceKind, Outcome, Split, Verdict
from surefoot.core.judging.evidence import BadEventCounts, MeasurementCounts, MissingEvidence
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.stats.histogram import BUCKET_RATIO, bucket_of
from surefoot.wiring.foreign_evidence.prometheus_evidence import PrometheusEvidence
from tests.conftest import free_port
from tests.integration.prometheus_process import prometheus
from tests.integration.provided_rollout import ProvidedRollout, later

BOUNDS = [BUCKET_RATIO ** (10 * step) for step in range(5, 40)]
"""Bounds of the histogram [ms]: every tenth edge of the judge's buckets."""
LEVEL = DecisionThresholds()


class CountedRollout(ProvidedRollout):
    """The same rollout, whose latencies lie just below the bounds of a histogram, as far as it can tell them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for one in self.records:
            bound = next(bound for bound in BOUNDS if bound >= one["latency_ms"])
            one["latency_ms"] = bound / BUCKET_RATIO**0.5


def exposition(records: list[dict[str, Any]], scrapes: list[float]) -> str:
    """What an exporter would have shown at each request, in the OpenMetrics format, times in seconds.

    Args:
        records: The requests.
        scrapes: When every series is shown: where a split changes, so that nothing lies across it.
    """
    due = sorted(scrapes)
    counts: dict[tuple[str, str, str], int] = {}
    for version in ("1", "2"):
        for code in ("200", "500"):
            counts["served_total", version, f'code="{code}"'] = 0
        for bound in [*(repr(one / 1000.0) for one in BOUNDS), "+Inf"]:
            counts["took_seconds_bucket", version, f'le="{bound}"'] = 0
    lines = ["# TYPE served counter", "# TYPE took_seconds histogram"]

    def show(names: list[tuple[str, str, str]], at: float) -> None:
        for name in names:
            where = f'job="flights",instance="a:1",version="{name[1]}",{name[2]}'
            lines.append(f"{name[0]}{{{where}}} {counts[name]} {at:.3f}")

    for shown in (records[0]["at"] - age for age in (600.0, 400.0, 200.0, 1.0)):
        show(list(counts), shown)
    for one in records:
        while due and one["at"] > due[0]:
            shown = due.pop(0)
            show(list(counts), shown)
        touched = [("served_total", one["version"], f'code="{500 if one["error"] else 200}"')]
        touched += [
            ("took_seconds_bucket", one["version"], f'le="{bound / 1000.0!r}"')
            for bound in BOUNDS
            if bound >= one["latency_ms"]
        ]
        touched.append(("took_seconds_bucket", one["version"], 'le="+Inf"'))
        for name in touched:
            counts[name] += 1
        if one["at"] - shown > 30.0:  # as each scrape shows what has not changed either
            shown = one["at"]
            touched = list(counts)
        show(touched, one["at"])
    return "\n".join(lines) + "\n"


def section(url: str, **more: Any) -> dict[str, Any]:
    """The policy's section about a server."""
    counters = {"requests": 'served_total{job="flights"}', "errors": 'served_total{job="flights",code=~"5.."}'}
    return {"prometheus": {"url": url, **counters, "latency": "took_seconds_bucket", **more}, "timeout": "20s"}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> ProvidedRollout:
    """One rollout."""
    return CountedRollout(tmp_path_factory.mktemp("rollout"))


@pytest.fixture(scope="module")
def server(played: ProvidedRollout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that has scraped it."""
    with prometheus(tmp_path_factory.mktemp("prometheus"), exposition(played.records, played.begins)) as url:
        yield url


def counted(played: ProvidedRollout, name: str, url: str, delay: float = 0.0, **more: Any) -> dict[str, Any]:
    """The evidence of the gates that are counted, by name."""
    config = played.home(name)
    asked = played.counter_questions(section(url, **more))
    source = PrometheusEvidence(config)
    return {one.gate.name: source.gather(later(one, delay)) for one in asked}


def test_counters_give_the_counts_and_verdicts_of_the_local_log(played: ProvidedRollout, server: str) -> None:
    """Strata, baseline and verdicts of gates of errors and latency are those of the log, count for count."""
    config = played.home("local")
    played.write_local_log(config)
    own = played.ask(config)
    found = counted(played, "counted", server)
    errors, latency = found["errors"], found["latency"]
    assert isinstance(errors, BadEventCounts)
    assert isinstance(latency, MeasurementCounts)
    for name, made in found.items():
        log = own[name]
        assert isinstance(log, BadEventCounts | MeasurementCounts)
        assert made.strata == log.strata
        assert replace(made, left=log.left) == log
        gate = next(one.gate for one in played.counter_questions(section(server)) if one.gate.name == name)
        mine, theirs = (judge(gate, replace(one, left=type(one.left)()), LEVEL) for one in (made, log))
        assert mine == theirs
    assert sum(stratum.candidate for stratum in errors.strata) > 1000


@pytest.fixture
def hanging() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield f"http://127.0.0.1:{made.getsockname()[1]}"


@pytest.fixture
def warned() -> Iterator[str]:
    """A server that says that its answer is a part, as one in front of several Prometheus servers does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = {"status": "success", "data": {"result": []}, "warnings": ["store b:2 did not answer"]}
            text = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{made.server_address[1]}"
        made.shutdown()
        thread.join()


def verdict_of(found: Mapping[str, Any], played: ProvidedRollout) -> Verdict:
    """The verdict of the gate of errors."""
    assert isinstance(found["errors"], MissingEvidence)
    gate = next(one.gate for one in played.counter_questions(section("http://x")) if one.gate.name == "errors")
    return judge(gate, found["errors"], LEVEL)


def test_a_server_that_is_down_slow_or_incomplete_is_an_error_of_its_own(
    played: ProvidedRollout, hanging: str, warned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them is an ERROR that names the server and says which it is; a token is not shown."""
    monkeypatch.setenv("PROM_TOKEN", "a-token-of-the-test")
    named: dict[str, Any] = {"token_variable": "PROM_TOKEN"}
    down = verdict_of(counted(played, "down", f"http://127.0.0.1:{free_port()}", **named), played)
    slow = played.counter_questions({**section(hanging), "timeout": "1s"})
    config = played.home("slow")
    waited = verdict_of({one.gate.name: PrometheusEvidence(config).gather(one) for one in slow}, played)
    part = verdict_of(counted(played, "part", warned), played)
    assert {down.outcome, waited.outcome, part.outcome} == {Outcome.ERROR}
    assert down.reason.startswith("down: Prometheus at http://127.0.0.1:")
    assert waited.reason == f"slow: Prometheus at {hanging} has not answered for 1 s"
    assert part.reason == f"partial: Prometheus at {warned} gives only a part: store b:2 did not answer"
    assert "a-token" not in down.reason


def test_a_bake_counts_the_candidate_alone(played: ProvidedRollout, server: str) -> None:
    """While the candidate serves alone its counters are one stratum, and the champion's whole past is the baseline."""
    asked = replace(played.counter_questions(section(server))[0], kind=EvidenceKind.BAKE)
    assert asked.origin is not None
    assert asked.origin.section.prometheus is not None
    counters = asked.origin.section.prometheus
    alone = Split(asked.candidate, None, 0.0, "", asked.rollout, 9)
    periods = [SplitWithStart(played.begins[1], alone)]
    found = PrometheusCounts(counters, PrometheusApi(counters, 20.0), asked, periods, 86400.0).gather()
    assert isinstance(found, BadEventCounts)
    own = [one for one in played.records if one["version"] == "2" and one["at"] > played.begins[1]]
    assert {stratum.share for stratum in found.strata} == {1.0}
    assert sum(stratum.candidate for stratum in found.strata) == len(own)
    assert sum(stratum.candidate_bad for stratum in found.strata) == sum(bool(one["error"]) for one in own)
    assert sum(stratum.champion for stratum in found.strata) == 0


def test_the_preview_shows_each_version(played: ProvidedRollout, server: str) -> None:
    """Requests, failures and latencies by version are what was served; a server that is down is said."""
    asked = played.counter_questions(section(server))[0]
    assert asked.origin is not None
    assert asked.origin.section.prometheus is not None
    counters = asked.origin.section.prometheus
    shown = preview_counters(counters, PrometheusApi(counters, 20.0), played.records[0]["at"] - 500.0, played.now)
    for version in ("1", "2"):
        own = [one for one in played.records if one["version"] == version]
        failed = sum(bool(one["error"]) for one in own)
        assert dict(shown.versions[version]) == {"requests": len(own), "errors": failed, "latency": len(own)}
    gone = counters.model_copy(update={"url": f"http://127.0.0.1:{free_port()}"})
    down = preview_counters(gone, PrometheusApi(gone, 5.0), 0.0, played.now)
    assert down.failure is not None
    assert down.failure.problem is ProviderProblem.DOWN


def test_requests_across_a_change_of_the_split_are_left_out_with_a_word(
    played: ProvidedRollout, tmp_path: Path
) -> None:
    """What a counter has counted while the split changed is in no arm, and the verdict says how much that is."""
    with prometheus(tmp_path / "prometheus", exposition(played.records, [])) as url:
        found = counted(played, "across", url)["errors"]
    assert isinstance(found, BadEventCounts)
    assert 2 <= found.left.unplaced <= 8
    gate = next(one.gate for one in played.counter_questions(section(url)) if one.gate.name == "errors")
    assert "between two samples of a counter across a change of the split" in judge(gate, found, LEVEL).reason


def test_counters_that_are_old_absent_or_of_one_version_only(played: ProvidedRollout, server: str) -> None:
    """Old samples are STALE, no samples are NO_DATA, and a version without a series is a partial answer."""
    stale = verdict_of(counted(played, "stale", server, delay=7200.0), played)
    assert stale.outcome is Outcome.STALE
    assert stale.reason.startswith(f"the newest sample of Prometheus at {server} is 2 h")
    empty = verdict_of(counted(played, "empty", server, requests="nothing_total"), played)
    assert empty.outcome is Outcome.NO_DATA
    assert empty.reason == f"Prometheus at {server} answers, and has no sample of nothing_total"
    alone = verdict_of(counted(played, "alone", server, requests='served_total{version="1"}'), played)
    assert alone.outcome is Outcome.ERROR
    assert "partial: " in alone.reason
    assert "has no series of version 2" in alone.reason
    wrong = verdict_of(counted(played, "wrong", server, requests="served_total{job=}"), played)
    assert wrong.outcome is Outcome.ERROR
    assert "does not take the question" in wrong.reason


def test_a_counter_that_begins_anew_loses_nothing_it_has_shown() -> None:
    """A reset counts from 0; a series that appears beside its target counts from 0; one that comes with it does not."""
    old = (("instance", "a:1"), ("job", "j"), ("code", "200"))
    failed = (("instance", "a:1"), ("job", "j"), ("code", "500"))
    fresh = (("instance", "b:1"), ("job", "j"), ("code", "200"))
    samples: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {
        old: [(0.0, 100.0), (15.0, 110.0), (30.0, 4.0), (45.0, 4.0)],
        failed: [(30.0, 2.0), (45.0, 3.0)],
        fresh: [(30.0, 7.0), (45.0, 9.0)],
    }
    found = {(one.labels, one.begin, one.end): one.count for one in counter_increases(samples, 5.0)}
    assert found == {
        (old, 0.0, 15.0): 10,
        (old, 15.0, 30.0): 4,
        (failed, 30.0, 30.0): 2,
        (failed, 30.0, 45.0): 1,
        (fresh, 30.0, 45.0): 2,
    }


@pytest.mark.parametrize("bound", [5.0, 10.0, 250.0, BUCKET_RATIO**40, BUCKET_RATIO**41 * 1.01])
def test_a_bound_lies_in_the_bucket_of_what_is_just_below_it(bound: float) -> None:
    """The judge's bucket of a bound holds the largest value that is not above it."""
    assert histogram_bucket_number(bound) == bucket_of(bound * (1.0 - 1e-4))
