"""One supervisor after another on one state directory: who takes over, from whom, and when the old workers leave."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import free_port
from tests.integration.gateway_process import Models
from tests.integration.supervisor_harness import Callers, SupervisedGateway, supervised_gateway
from tests.integration.waiting import ended, wait_for


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Iterator[SupervisedGateway]:
    """One gateway for many tests, which waits only seconds for what supervisors wait long for elsewhere."""
    with supervised_gateway(tmp_path_factory.mktemp("taken"), models, hasty=True) as made:
        yield made


@pytest.fixture
def gateway(shared: SupervisedGateway) -> SupervisedGateway:
    """Two workers that answer."""
    shared.settled(2)
    return shared


def test_old_workers_stay_until_enough_new_ones_serve(gateway: SupervisedGateway) -> None:
    """While one of two new workers serves both old ones serve on; they leave with the second, and no caller fails."""
    before = gateway.workers()
    (gateway.root / "narrow").touch()
    with Callers(gateway.port, fresh=5) as callers:
        callers.go_on()
        gateway.die()
        gateway.launch()
        wait_for(lambda: len(_ready_workers(gateway)) == 3)
        first = _ready_workers(gateway) - before
        callers.go_on(2000)  # time enough to leave: what goes asks its callers to close, and these come back elsewhere
        assert _ready_workers(gateway) == before | first
        (gateway.root / "narrow").unlink()
        assert first < gateway.settled(2, frozenset(before))
        callers.go_on()
    wait_for(lambda: all(map(ended, before)))
    assert callers.lost == []
    assert {one.status for one in callers.seen} == {200}


def _ready_workers(gateway: SupervisedGateway) -> set[int]:
    return {gateway.route_table.worker_pid(slot) for slot in gateway.route_table.ready_workers()}


@pytest.mark.sweep
def test_fewer_workers_take_over_from_more(gateway: SupervisedGateway) -> None:
    """A supervisor that is asked for one worker takes over from two: the one is enough for both to leave."""
    before = gateway.workers()
    gateway.die()
    gateway.count = 1
    (after,) = gateway.begin()
    assert after not in before
    gateway.signal(signal.SIGTTIN)
    gateway.count = 2
    gateway.settled(2)


@pytest.mark.sweep
def test_a_supervisor_of_another_address_is_refused(gateway: SupervisedGateway) -> None:
    """A supervisor that is handed a socket of another address says both in a line and ends; the workers serve on."""
    before, other = gateway.workers(), free_port()
    with Callers(gateway.port, fresh=5) as callers:
        gateway.die()
        said = gateway.refused(other)
        assert f"listen at 127.0.0.1:{gateway.port}, not at 127.0.0.1:{other}" in said
        assert all(str(pid) in said for pid in before)
        callers.go_on()
        assert gateway.living() == before
        gateway.begin()
        callers.go_on()
    assert callers.lost == []
    assert {one.status for one in callers.seen} == {200}


def test_a_second_supervisor_is_refused(gateway: SupervisedGateway) -> None:
    """While a supervisor lives another one says so in a line and ends, and nothing changes for the first."""
    before = gateway.workers()
    with Callers(gateway.port, fresh=5) as callers:
        assert f"another supervisor runs in {gateway.root}" in gateway.refused(gateway.port)
        callers.go_on()
    assert gateway.settled(2) == before
    assert callers.lost == []


@pytest.mark.sweep
def test_workers_that_hand_nothing_over_are_named(gateway: SupervisedGateway) -> None:
    """When every old worker hangs, the next supervisor names them in a line and ends; once they move it takes over."""
    before = gateway.workers()
    gateway.die()
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    said = gateway.refused(gateway.port)
    assert f"cannot listen at 127.0.0.1:{gateway.port} (Address already in use)" in said
    assert all(str(pid) in said for pid in before)
    for pid in before:
        os.kill(pid, signal.SIGCONT)
    assert not before & gateway.begin()


@pytest.mark.sweep
def test_an_old_worker_that_does_not_leave_is_killed(gateway: SupervisedGateway) -> None:
    """When one of two old workers hangs, the next supervisor takes over from the other, and kills it after its time."""
    stuck, other = sorted(gateway.workers())
    gateway.die()
    os.kill(stuck, signal.SIGSTOP)
    gateway.begin()
    wait_for(lambda: ended(stuck) and ended(other))
    assert (
        f"worker {stuck} has not left within 6 s and is killed".encode()
        in (gateway.root / "supervisor.log").read_bytes()
    )


def test_a_worker_that_hangs_writes_where(tmp_path: Path, models: Models) -> None:
    """Before a worker that does not leave is killed, the log has the stack of each of its threads."""
    (tmp_path / "stuck").touch()
    with supervised_gateway(tmp_path, models, hasty=True) as gateway:
        gateway.signal(signal.SIGTERM)
        assert gateway.supervisors[-1].wait(60) == 0
        told = (tmp_path / "supervisor.log").read_text()
    assert "in hang_for_an_hour" in told
    assert told.index("is told to write where its threads are") < told.index("and is killed")


def test_a_worker_that_does_not_leave_is_killed(gateway: SupervisedGateway) -> None:
    """A worker that hangs when it is let go is killed after its time, which the log says, and routes change again."""
    gateway.signal(signal.SIGTTIN)
    before = gateway.settled(3)
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    gateway.signal(signal.SIGTTOU)
    wait_for(lambda: any(map(ended, before)))
    for pid in before:
        if not ended(pid):
            os.kill(pid, signal.SIGCONT)
    (stuck,) = before - gateway.settled(2)
    assert (
        f"worker {stuck} has not left within 6 s and is killed".encode()
        in (gateway.root / "supervisor.log").read_bytes()
    )
    gateway.split(25.0)


def test_another_program_at_the_address_is_named(tmp_path: Path, models: Models, gateway: SupervisedGateway) -> None:
    """A supervisor at a port that another program holds says so in a line and ends."""
    assert "held by another program" in SupervisedGateway(tmp_path, models).refused(gateway.port)
