"""Workers that look by themselves once an hour: every change reaches them at once, from any other process."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from surefoot.gateway.control import worker_runtime
from surefoot.gateway.control.shared_routes import SharedRouteTable
from surefoot.gateway.control.wake_sockets import WakeSockets
from tests.integration.gateway_harness import GOOD, listening
from tests.integration.gateway_process import Models
from tests.integration.supervisor_harness import Callers, SupervisedGateway, supervised_gateway
from tests.integration.waiting import ended, wait_for


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Iterator[SupervisedGateway]:
    """Two workers for all tests, of which neither looks by itself in their time."""
    root = tmp_path_factory.mktemp("idle")
    (root / "rare").touch()
    with supervised_gateway(root, models) as made:
        yield made


@pytest.fixture
def gateway(shared: SupervisedGateway) -> SupervisedGateway:
    """The two workers, after some time without a request."""
    shared.settled(2)
    time.sleep(2.0 * worker_runtime._BUSY_S)
    return shared


def test_routes_and_the_kill_switch_reach_workers_that_sleep(gateway: SupervisedGateway) -> None:
    """Each change is acknowledged by both workers, though only one was asked for it, and none is killed for silence."""
    before = gateway.workers()
    for weight in (0.0, 25.0):
        split = gateway.split(weight)
        wait_for(lambda split=split: gateway.traffic.settled("flights", split))  # type: ignore[misc]
        time.sleep(2.0 * worker_runtime._BUSY_S)
    gateway.traffic.set_kill_switch("a test")
    generation = gateway.route_table.generation
    wait_for(lambda: not gateway.route_table.unacknowledged_workers(generation))
    live = gateway.traffic.live("flights")
    assert live is not None
    assert live.weight == 0.0
    gateway.traffic.lift_kill_switch()
    gateway.split(50.0)
    assert gateway.workers() == before


def test_counts_of_workers_that_sleep_are_told(gateway: SupervisedGateway) -> None:
    """What both workers have answered is in the counts that one of them gives."""

    def answered() -> int:
        versions = cast("dict[str, dict[str, int]]", gateway.traffic.stats("flights")["versions"])
        return sum(counts["requests"] for counts in versions.values())

    before = answered()
    with Callers(gateway.port, fresh=3) as callers:
        callers.go_on()
    assert callers.lost == []
    time.sleep(2.0 * worker_runtime._BUSY_S)
    wait_for(lambda: answered() == before + len(callers.seen))


@pytest.mark.sweep
def test_workers_that_sleep_hand_over_and_leave(gateway: SupervisedGateway) -> None:
    """The next supervisor is given the socket by a worker that had nothing to do, and the old workers leave."""
    before = gateway.workers()
    gateway.die()
    after = gateway.begin()
    assert not before & after
    wait_for(lambda: all(map(ended, before)))


def test_a_worker_without_its_socket_looks_often(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When another process has taken the address of a worker's socket, the worker follows changes all the same."""
    monkeypatch.setattr(worker_runtime, "_IDLE_INTERVAL_S", 3600.0)
    table = SharedRouteTable(tmp_path)
    taken = table.wake_sockets.open(0)
    assert taken is not None
    with taken, listening(tmp_path, models) as gateway:
        gateway.shift(0, None, champion=GOOD)
        time.sleep(2.0 * worker_runtime._BUSY_S)
        with table.lock():
            generation = table.publish(table.read_routes()[1])
        wait_for(lambda: not table.unacknowledged_workers(generation))


def test_one_process_has_the_socket_of_a_slot(tmp_path: Path) -> None:
    """The second process that opens it is told so; a message to a slot without a socket, or too many, do no harm."""
    (tmp_path / "board").touch()
    one, other = WakeSockets(tmp_path / "board"), WakeSockets(tmp_path / "board")
    first = one.open(3)
    assert first is not None
    with first:
        assert other.open(3) is None
        for _ in range(1000):
            other.wake([3, 4])
        assert first.recv(16) == b"!"
    again = other.open(3)
    assert again is not None
    again.close()
