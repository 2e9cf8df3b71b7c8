"""A supervisor and its workers: one that is killed, stopped or replaced costs callers nothing, or next to nothing."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from surefoot.core.assignment import assign_arm
from surefoot.core.domain import Arm, Split
from surefoot.gateway.supervision import supervisor as supervisor_module
from tests.integration.gateway_harness import BETTER, GOOD
from tests.integration.gateway_process import Models
from tests.integration.supervisor_harness import Callers, SupervisedGateway, supervised_gateway
from tests.integration.waiting import ended, wait_for
from tests.sweeps import in_turns


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Iterator[SupervisedGateway]:
    """One gateway for many tests, because a supervisor imports for seconds before it serves."""
    with supervised_gateway(tmp_path_factory.mktemp("supervised"), models) as made:
        yield made


@pytest.fixture
def gateway(shared: SupervisedGateway) -> SupervisedGateway:
    """Two workers that answer, half of the units with the candidate."""
    shared.settled(2)
    return shared


def test_a_killed_worker_is_started_again(gateway: SupervisedGateway) -> None:
    """Each caller loses at most one request a kill; what was acknowledged is in the log, and there is a new worker."""
    before = gateway.workers()
    with Callers(gateway.port) as callers:
        for kills in (1, 2, 3):
            callers.go_on()
            victim = min(gateway.workers())
            os.kill(victim, signal.SIGKILL)
            gateway.settled(2, frozenset({victim}))
            assert len(callers.lost) <= 4 * kills
        callers.go_on()
    assert {one.status for one in callers.seen} == {200}
    logged = [str(record["request"]) for _, record in gateway.records()]
    assert {one.request for one in callers.seen} <= set(logged)
    assert len(logged) == len(set(logged))
    assert gateway.workers() != before


def test_a_stopped_worker_cannot_hold_a_rollback_up_or_answer_by_an_old_route(gateway: SupervisedGateway) -> None:
    """A worker that is stopped is killed after the stated patience; only then is the route acknowledged, by all."""
    victim = max(gateway.workers())
    os.kill(victim, signal.SIGSTOP)
    split = gateway.split(0.0)
    wait_for(lambda: ended(victim))  # the kernel gives its lock back before it is gone
    gateway.settled(2, frozenset({victim}))  # the worker that replaces it has come as far as the others
    wait_for(lambda: gateway.traffic.settled("flights", split))
    assert not gateway.traffic.settled("flights", replace(split, generation=split.generation - 1))
    log = (gateway.root / "supervisor.log").read_text()
    assert f"worker {victim} has not acknowledged the routes for 2.0 s and is KILLED" in log
    gateway.split(50.0)


def test_going_back_fails_no_request_while_a_new_worker_loads(gateway: SupervisedGateway) -> None:
    """A worker that has just been started answers no caller before it has the versions that may be gone back to."""
    newer, older = gateway.models.version(BETTER), gateway.models.version(GOOD)
    for champion in (older, newer):
        gateway.generation += 1
        gateway.traffic.shift("flights", Split(champion, generation=gateway.generation))
    before = gateway.settled(2)
    hold = gateway.root / f"hold-{GOOD}"
    hold.touch()
    try:
        os.kill(min(before), signal.SIGKILL)
        wait_for(lambda: len(gateway.living() - before) == 1)
        table = gateway.route_table
        wait_for(lambda: not table.workers_loading(table.preload_generation))  # it has the champion
        with Callers(gateway.port, fresh=1) as callers:
            callers.go_on()
            gateway.generation += 1
            gateway.traffic.shift("flights", Split(older, generation=gateway.generation))
            callers.go_on(400)
        assert gateway.traffic.live("flights") == Split(older, generation=gateway.generation)
    finally:
        hold.unlink()
    assert callers.lost == []
    assert {one.status for one in callers.seen} == {200}
    gateway.settled(2)
    gateway.split(50.0)


def test_a_killed_supervisor_loses_nothing(gateway: SupervisedGateway) -> None:
    """The workers serve on; the next supervisor is given their socket, has its own workers, and the old ones leave."""
    before = gateway.workers()
    with Callers(gateway.port, fresh=5) as callers:
        for _ in range(2):
            callers.go_on()
            gateway.supervisors[-1].kill()
            gateway.supervisors[-1].wait()
            callers.go_on()
            newest = gateway.split(50.0)  # without a supervisor a route is set as well
            after = gateway.begin()
            assert not before & after
            wait_for(lambda before=before: all(map(ended, before)))  # type: ignore[misc]
            before = after
        callers.go_on()
    assert callers.lost == []
    assert {one.status for one in callers.seen} == {200}
    assert callers.seen[-1].generation == newest.generation


def test_a_reload_fails_no_request(gateway: SupervisedGateway) -> None:
    """SIGHUP replaces every worker under load: no request fails, and both kinds of workers have answered some."""
    before = gateway.workers()
    with Callers(gateway.port, fresh=50) as callers:
        callers.go_on()
        gateway.signal(signal.SIGHUP)
        after = gateway.settled(2, frozenset(before))
        callers.go_on()
    assert callers.lost == []
    assert {one.status for one in callers.seen} == {200}
    wait_for(lambda: all(map(ended, before)))
    mine = {one.request for one in callers.seen}
    writers = {pid for pid, record in gateway.records() if record["request"] in mine}
    assert writers & before
    assert writers & after


def test_a_reload_that_cannot_work_changes_nothing(gateway: SupervisedGateway) -> None:
    """When a new worker cannot be built, SIGHUP leaves the old ones in place, and they answer on."""
    before = gateway.workers()
    log = gateway.root / "supervisor.log"
    (gateway.root / "broken").touch()
    with Callers(gateway.port) as callers:
        gateway.signal(signal.SIGHUP)
        wait_for(lambda: b"not reloaded" in log.read_bytes())
        callers.go_on()
        assert gateway.settled(2) == before
    assert callers.lost == []
    assert {one.status for one in callers.seen} == {200}
    (gateway.root / "broken").unlink()
    gateway.signal(signal.SIGHUP)
    assert not before & gateway.settled(2, frozenset(before))


def test_workers_are_added_and_removed(gateway: SupervisedGateway) -> None:
    """SIGTTIN adds a worker, SIGTTOU lets the oldest go, down to one and no further; no request fails meanwhile."""
    before = gateway.workers()
    with Callers(gateway.port, fresh=20) as callers:
        gateway.signal(signal.SIGTTIN)
        three = gateway.settled(3)
        assert before < three
        callers.go_on()
        gateway.signal(signal.SIGTTOU)
        two = gateway.settled(2)
        gateway.signal(signal.SIGTTOU)
        one = gateway.settled(1)
        assert three > two > one
        assert one == three - before
        gateway.signal(signal.SIGTTOU)
        callers.go_on()
        assert gateway.workers() == one
        gateway.signal(signal.SIGTTIN)
        gateway.settled(2)
    assert callers.lost == []
    assert {seen.status for seen in callers.seen} == {200}


def test_there_may_be_no_worker_to_stop(gateway: SupervisedGateway) -> None:
    """SIGTTOU while no worker lives only lowers their number, and the supervisor stays."""
    (gateway.root / "broken").touch()
    for pid in gateway.workers():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not gateway.workers())
    gateway.signal(signal.SIGTTOU)
    (gateway.root / "broken").unlink()
    gateway.settled(1)
    gateway.signal(signal.SIGTTIN)
    gateway.settled(2)


def test_a_worker_that_cannot_start_is_not_tried_without_a_pause(gateway: SupervisedGateway) -> None:
    """While no worker can be built, any five attempts in a row take longer than the pause; afterwards all is well."""
    (gateway.root / "broken").touch()
    attempts = gateway.root / "attempts"
    attempts.write_text("")
    for pid in gateway.workers():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(attempts.read_text().splitlines()) >= 9)
    (gateway.root / "broken").unlink()
    gateway.settled(2)
    times = sorted(map(float, attempts.read_text().splitlines()))
    # An attempt is noted a little after it was begun, by a process that may be held up.
    assert times[8] - times[0] > supervisor_module._BACK_OFF_S
    assert len(times) < 40


@pytest.mark.parametrize("how", in_turns([signal.SIGTERM, signal.SIGINT], lambda how: how is signal.SIGTERM))
def test_a_signal_ends_everything(tmp_path: Path, models: Models, how: signal.Signals) -> None:
    """After SIGTERM no worker, forkserver or model is left, whatever was killed before; the supervisor ends with 0."""
    with supervised_gateway(tmp_path, models, hosted=True) as gateway:
        with Callers(gateway.port, 2) as callers:
            callers.go_on(20)
        wait_for(lambda: all(len(psutil.Process(pid).children()) >= 3 for pid in gateway.workers()))
        victim, other = sorted(gateway.workers())
        with_it = [child.pid for child in psutil.Process(victim).children(recursive=True)]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: all(map(ended, with_it)))
        assert other in gateway.settled(2, frozenset({victim}))
        gateway.workers()  # remembers the new ones and theirs
        everybody = set(gateway.known)
        assert len(everybody) >= 9
        gateway.signal(how)
        assert gateway.supervisors[-1].wait(60) == 0
        wait_for(lambda: all(map(ended, everybody)))


def test_a_route_is_in_force_everywhere_when_the_call_returns(gateway: SupervisedGateway) -> None:
    """Whatever is asked after a route was acknowledged is answered under it or a newer one, by every worker."""
    with Callers(gateway.port, fresh=3) as callers:
        for step in range(40):
            newest = gateway.split(float(step % 3 * 50))
            callers.acknowledged = newest.generation
            callers.go_on(20)
    assert callers.lost == []
    assert {one.status for one in callers.seen} == {200}
    assert [one for one in callers.seen if one.generation < one.acknowledged] == []
    assert {pid for pid, record in gateway.records() if record["generation"] == newest.generation} == gateway.workers()


@pytest.mark.sweep
def test_three_thousand_requests_while_the_weight_grows(tmp_path: Path, models: Models) -> None:
    """Of 3,000 requests in 30 growing steps none fails, each has the version of its generation, and no unit goes back.

    The counts of both workers add up to what callers have seen.
    """
    with supervised_gateway(tmp_path, models, weight=0.0) as gateway:
        splits = {1: gateway.traffic.live("flights")}
        with Callers(gateway.port, fresh=25, units=40) as callers:
            for step in range(1, 31):
                newest = gateway.split(step * 100.0 / 30.0)
                splits[newest.generation] = newest
                callers.acknowledged = newest.generation
                callers.go_on(100)
        assert callers.lost == []
        assert len(callers.seen) >= 3000
        assert {one.status for one in callers.seen} == {200}
        assert all(one.generation >= one.acknowledged for one in callers.seen)
        number = {Arm.CHAMPION: GOOD, Arm.CANDIDATE: BETTER}
        for one in callers.seen:
            split = splits[one.generation]
            assert split is not None
            assert one.version == number[assign_arm(split, one.unit)]
        latest: dict[str, str] = {}
        for one in callers.seen:  # a unit is asked for by one caller, so these are in order
            assert (latest.get(one.unit), one.version) != (BETTER, GOOD)
            latest[one.unit] = one.version
        records = gateway.records()
        logged = {str(record["request"]): record for _, record in records}
        assert len(records) == len(logged) == len(callers.seen)
        for one in callers.seen:
            record = logged[one.request]
            assert (record["answered_by"], record["generation"]) == (one.version, one.generation)
            assert record["error"] is None
        assert {pid for pid, _ in records} == gateway.workers()
        counted = gateway.traffic.stats("flights")["versions"]
        assert isinstance(counted, dict)
        for version in (GOOD, BETTER):
            assert counted[version]["requests"] == sum(one.version == version for one in callers.seen)
            assert counted[version]["candidate_errors"] == counted[version]["caller_errors"] == 0
