"""Lineage events and spans of rollouts reach real HTTP receivers: valid, in order, at least once, delaying nothing."""

import json
import os
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.adapters.telemetry.delivery_positions import DeliveryPositions
from surefoot.cli.status import _telemetry as status_lines
from surefoot.controller.telemetry.telemetry_threads import TelemetryThreads
from surefoot.core.domain import Stage
from surefoot.core.journal.chain import Entry
from surefoot.rollout import drive_rollout, end_rollout
from surefoot.settings import Settings
from surefoot.wiring.telemetry.journal_delivery import list_receiver_states, open_delivery, remember_flow_run
from surefoot.wiring.telemetry.receivers import TelemetryReceiver, list_telemetry_receivers
from tests.integration.receivers import Receiver, listening
from tests.integration.waiting import wait_for
from tests.lineage_schema import check_event
from tests.scripted import at, scenario, started
from tests.unit.test_golden_journals import entries_of
from tests.unit.test_lineage import tabled

DEMO = "journal-0.1.0-demo.jsonl"
EARLIER, FLOW, LATER = (f"0190f8a4-52a4-7d5e-9d5a-0123456789a{one}" for one in "abc")


@pytest.fixture
def catalogue() -> Iterator[Receiver]:
    """A receiver of lineage events."""
    with listening() as one:
        yield one


@pytest.fixture
def collector() -> Iterator[Receiver]:
    """A receiver of spans, which decodes what it gets as a collector does."""
    with listening(ExportTraceServiceRequest.FromString) as one:
        yield one


def installation(home: Path, url: str = "", **receivers: str) -> Settings:
    """An installation whose journal is in a database, and which names receivers."""
    home.mkdir(exist_ok=True)
    nowhere = "http://127.0.0.1:9"
    return Settings(home, home, nowhere, nowhere, nowhere, "t", journal=url, **receivers)  # type: ignore[arg-type]


def journal_entries(config: Settings, entries: Sequence[Entry], model: str = "") -> None:
    """Write entries into the journal of an installation."""
    journal = SqlJournal(config.journal_url, SystemClock())
    for entry in entries:
        name = model or entry.model
        journal.append(name, journal.heads().get(name, (0, ""))[0], entry.at, entry.actor, entry.kind, entry.data)
    journal.close()


def deliver(config: Settings) -> str:
    """Deliver once to the one receiver that is named; why nothing could be."""
    (receiver,) = list_telemetry_receivers(config)
    with open_delivery(config, receiver) as due:
        return due()


def lineage_to(receiver: Receiver) -> str:
    """The address of a receiver of events."""
    return f"http://127.0.0.1:{receiver.port}/api/v1/lineage"


def states_of(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Run and type of each event."""
    return [(event["run"]["runId"], event["eventType"]) for event in events]


def spans_of(receiver: Receiver) -> list[trace_pb2.Span]:
    """All spans that came."""
    return [
        span
        for body in receiver.bodies
        for resource in body.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def attributes(span: trace_pb2.Span) -> dict[str, Any]:
    """Attributes of a span."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def make_due(config: Settings) -> None:
    """Let the time pass until a receiver that has failed is tried again."""
    (receiver,) = list_telemetry_receivers(config)
    positions = DeliveryPositions(config.journal_url)
    positions.record_failure(receiver.key, positions.state(receiver.key).problem, time.time() - 10_000.0)
    positions.close()


def test_every_kind_of_rollout_reaches_a_receiver_that_validates(
    journal_url: str, tmp_path: Path, catalogue: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promoted, rejected, rolled back, aborted and table-restored rollouts arrive as valid events, each once."""
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "k3y")
    config = installation(tmp_path / "home", journal_url, lineage=lineage_to(catalogue))
    aborted = scenario()
    started(aborted, at(Stage.RAMPING))
    end_rollout(aborted.ports(), "m", Stage.ABORTED, "not today")
    drive_rollout(aborted.ports(), "m", until=lambda ledger: not ledger.open)
    entries = entries_of(DEMO)
    asked = next(entry.actor for entry in entries if entry.kind == "RolloutOpened")
    for name in (EARLIER, FLOW, FLOW):
        remember_flow_run(config, asked, name)
    journal_entries(config, entries)
    journal_entries(config, aborted.journal.entries, "aborted")
    journal_entries(config, tabled().journal.entries, "tabled")
    remember_flow_run(config, asked, LATER)
    assert deliver(config) == ""
    events = catalogue.bodies
    for event in events:
        check_event(event)
    assert len(set(states_of(events))) == len(events)
    ends = {(event["job"]["name"], event["eventType"]) for event in events if event["eventType"] != "START"}
    assert {
        ("flights-late.promotion", "COMPLETE"),
        ("flights-late.promotion", "FAIL"),
        ("flights-late.rollback", "COMPLETE"),
        ("aborted.promotion", "ABORT"),
        ("tabled.restore.predictions", "COMPLETE"),
    } <= ends
    parents = {
        event["run"]["facets"]["parent"]["run"]["runId"]
        for event in events
        if event["job"]["name"] == "flights-late.promotion" and "parent" in event["run"]["facets"]
    }
    assert parents == {FLOW}
    assert {one["authorization"] for one in catalogue.headers} == {"Bearer k3y"}
    assert deliver(config) == ""
    assert len(catalogue.bodies) == len(events)


def test_a_receiver_that_fails_for_a_while_gets_everything(tmp_path: Path, catalogue: Receiver) -> None:
    """While it answers 500, `status` says so, and it is not asked at each look; then all events come."""
    config = installation(tmp_path / "home", lineage=lineage_to(catalogue))
    journal_entries(config, entries_of(DEMO))
    catalogue.status = 500
    assert deliver(config) == "it answers with status 500"
    asked = len(catalogue.paths)
    assert deliver(config) == "it answers with status 500"
    assert len(catalogue.paths) == asked
    (line,) = status_lines(config)
    assert "is not delivered since" in line
    assert "status 500" in line
    catalogue.status = 201
    catalogue.bodies.clear()
    make_due(config)
    assert deliver(config) == ""
    assert status_lines(config) == []
    types = [event["eventType"] for event in catalogue.bodies if event["job"]["name"].count(".") == 1]
    assert types == ["START", "FAIL", "START", "FAIL", "START", "COMPLETE", "START", "COMPLETE"]


def test_an_event_that_is_refused_holds_back_no_other(tmp_path: Path, catalogue: Receiver) -> None:
    """What the receiver will never take is left out and counted, and `status` tells of it."""
    config = installation(tmp_path / "home", lineage=lineage_to(catalogue))
    journal_entries(config, entries_of(DEMO))
    catalogue.status = 422
    assert deliver(config) == ""
    ((_, state),) = list_receiver_states(config)
    assert state.refused == len(catalogue.bodies) > 0
    assert "were refused and left out, the latest with status 422" in status_lines(config)[0]


def test_a_sender_that_is_killed_repeats_the_same_runs(tmp_path: Path, catalogue: Receiver) -> None:
    """What a process has sent when it is killed is sent again by the next one, with the same ids."""
    config = installation(tmp_path / "home", lineage=lineage_to(catalogue))
    journal_entries(config, entries_of(DEMO))
    child: list[int] = []

    def kill(_event: object) -> None:
        if len(catalogue.bodies) == 3:
            os.kill(child[0], signal.SIGKILL)

    catalogue.on_body = kill
    wait, go = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # later Pythons warn of threads; the child starts none
        pid = os.fork()
    if pid == 0:  # the child only sends, and is killed meanwhile
        try:
            os.read(wait, 1)
            deliver(config)
        finally:
            os._exit(0)
    child.append(pid)
    os.write(go, b".")
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    before = states_of(catalogue.bodies)
    assert len(before) == 3
    os.close(wait)
    os.close(go)
    catalogue.on_body = lambda _event: None
    catalogue.bodies.clear()
    assert deliver(config) == ""
    after = states_of(catalogue.bodies)
    assert after[:3] == before
    assert len(set(after)) == len(after) > 3


def test_a_receiver_that_hangs_delays_neither_journal_nor_spans(
    tmp_path: Path, catalogue: Receiver, collector: Receiver
) -> None:
    """While the catalogue holds its first event unanswered, rollouts are journalled and their spans arrive."""
    catalogue.status = 0
    config = installation(tmp_path / "home", lineage=lineage_to(catalogue), otlp=f"http://127.0.0.1:{collector.port}")
    entries = entries_of(DEMO)
    journal_entries(config, entries[:1])
    threads = TelemetryThreads(config, look_every_s=0.05)
    threads.start()
    try:
        wait_for(lambda: len([one for one in receivers_known(config) if one]) >= 1)
        journal_entries(config, entries[1:])
        wait_for(lambda: any(attributes(span)["surefoot.run"] == "rollback" for span in spans_of(collector)))
        assert not catalogue.release.is_set()
        assert len(catalogue.bodies) == 1
    finally:
        catalogue.release.set()
        threads.stop(5.0)


def receivers_known(config: Settings) -> list[dict[str, int]]:
    """Positions of the receivers of spans."""
    positions = DeliveryPositions(config.journal_url)
    try:
        return [positions.positions(one.key) for one in list_telemetry_receivers(config) if one.address == config.otlp]
    finally:
        positions.close()


def test_events_are_appended_to_a_file(tmp_path: Path) -> None:
    """`file:` writes a valid event a line; a file that cannot be written is told, and its events follow later."""
    config = installation(tmp_path / "home", lineage="file:lineage/events.jsonl")
    journal_entries(config, entries_of(DEMO))
    (config.project / "lineage").write_text("in the way", encoding="utf-8")
    assert "cannot be written" in deliver(config)
    (config.project / "lineage").unlink()
    make_due(config)
    assert deliver(config) == ""
    lines = (config.project / "lineage" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    for line in lines:
        check_event(json.loads(line))
    assert len(lines) > 20


def test_a_rollout_is_one_trace(
    journal_url: str, tmp_path: Path, collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector sees a trace a rollout: the rollout above its stages and effects, their times, and the verdicts."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s%20ecret,tenant=ours")
    config = installation(tmp_path / "home", journal_url, otlp=f"http://127.0.0.1:{collector.port}/")
    entries = entries_of(DEMO)
    journal_entries(config, entries[:1])
    assert deliver(config) == ""  # what was journalled before the collector was named is not sent
    journal_entries(config, entries[1:])
    assert deliver(config) == ""
    assert set(collector.paths) == {"/v1/traces"}
    assert {(one["api-key"], one["tenant"]) for one in collector.headers} == {("s ecret", "ours")}
    assert {one["content-type"] for one in collector.headers} == {"application/x-protobuf"}
    spans = spans_of(collector)
    roots = [span for span in spans if not span.parent_span_id]
    assert [attributes(span)["surefoot.kind"] for span in roots] == ["promotion"] * 3 + ["rollback"]
    assert len({span.trace_id for span in roots}) == 4
    failed = [span.status.code == trace_pb2.Status.STATUS_CODE_ERROR for span in roots]
    assert failed == [True, True, False, False]
    promoted = roots[2]
    parts = [span for span in spans if span.trace_id == promoted.trace_id and span is not promoted]
    assert {span.parent_span_id for span in parts} == {promoted.span_id}
    assert {"flights-late Validating", "flights-late Ramping", "flights-late set split"} <= {s.name for s in parts}
    for span in parts:
        assert promoted.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
    verdicts = [event for span in parts for event in span.events if event.name == "verdict"]
    assert verdicts
    assert {one.key for event in verdicts for one in event.attributes} >= {"surefoot.gate", "surefoot.outcome"}
    (resource,) = {
        one.value.string_value for body in collector.bodies for one in body.resource_spans[0].resource.attributes
    }
    assert resource == "surefoot"


def test_another_address_is_another_receiver(tmp_path: Path, catalogue: Receiver) -> None:
    """A receiver that is named later gets the whole past, whatever another one had."""
    first = installation(tmp_path / "home", lineage="file:events.jsonl")
    journal_entries(first, entries_of(DEMO))
    assert deliver(first) == ""
    second = installation(tmp_path / "home", lineage=lineage_to(catalogue))
    assert deliver(second) == ""
    written = (first.project / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in written] == catalogue.bodies
    one, two = (
        TelemetryReceiver(receiver.kind, receiver.address).key
        for c in (first, second)
        for receiver in list_telemetry_receivers(c)
    )
    assert one != two
