"""The route table that all front workers share, seen from several processes."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from surefoot.gateway.control.shared_routes import MAX_WORKERS, RouteTableFull, SharedRouteTable, WorkerState
from surefoot.gateway.inference.routes.memory_layout import MAX_DOCUMENT_BYTES


class Process:
    """Another process at the same route table."""

    def __init__(self, root: Path, *role: str) -> None:
        command = [sys.executable, "-m", "tests.integration.route_table_process", str(root), *role]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hear(self) -> Any:
        """What it says next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it has ended"
        return json.loads(line)

    def ask(self, *words: object) -> Any:
        """Have it do something; what it says to that."""
        self.tell(*words)
        return self.hear()

    def tell(self, *words: object) -> None:
        """Have it do something."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Any]:
    """Starts processes at the route table in this directory; ends them afterwards."""
    with contextlib.ExitStack() as ending:

        def start(*role: str) -> Process:
            made = Process(tmp_path, *role)
            ending.enter_context(made.process)
            ending.callback(made.kill)
            return made

        yield start


def test_every_reader_sees_whole_documents(tmp_path: Path, processes: Any) -> None:
    """While one process publishes as fast as it can, no reader in three others sees a torn or an older document."""
    writer = processes("publish")
    assert writer.hear() == "ready"
    readers = [processes("read", "800") for _ in range(3)]
    assert [reader.hear() for reader in readers] == [{"torn": 0, "back": 0, "different": 800}] * 3
    writer.process.stdin.close()
    assert writer.hear() >= 800


def test_the_first_restores_and_later_ones_join(tmp_path: Path, processes: Any) -> None:
    """Only a worker that finds no living one puts the routes of the files in force; the next finds what is there."""
    one = processes("work", "a")
    assert one.hear() == {"slot": 0, "restored": True}
    two = processes("work", "b")
    assert two.hear() == {"slot": 1, "restored": False}
    assert one.ask("look") == two.ask("look") == {"a": {"route": "a"}}
    one.kill()
    three = processes("work", "c")
    assert three.hear() == {"slot": 0, "restored": False}  # the place of the killed one
    assert three.ask("look") == {"a": {"route": "a"}}
    two.kill()
    three.kill()
    four = processes("work", "d")
    assert four.hear() == {"slot": 0, "restored": True}
    assert four.ask("look") == {"d": {"route": "d"}}


def test_a_killed_worker_is_not_waited_for(tmp_path: Path, processes: Any) -> None:
    """A generation is waited for while a worker lives that has not seen it, and no longer when that one is killed."""
    one, two = processes("work", "a"), processes("work", "b")
    places = {worker: worker.hear()["slot"] for worker in (one, two)}
    route_table = SharedRouteTable(tmp_path)
    with route_table.lock():
        generation = route_table.publish({"m": {"route": 1}})
    preload = route_table.request_preload("m", {"champion": "2"})
    assert (
        sorted(route_table.unacknowledged_workers(generation)) == sorted(route_table.workers_loading(preload)) == [0, 1]
    )
    one.ask("look")
    one.ask("ready")
    assert route_table.unacknowledged_workers(generation) == route_table.workers_loading(preload) == [places[two]]
    assert route_table.ready_workers() == []  # it has no champion yet
    one.ask("serves", WorkerState.SERVES.value)
    assert route_table.ready_workers() == [places[one]]
    two.kill()
    assert route_table.unacknowledged_workers(generation) == route_table.workers_loading(preload) == []
    assert list(route_table.live_workers()) == [places[one]]
    one.ask("leave")
    later = sorted(processes("work", "c").hear()["slot"] for _ in range(2))
    assert later == [0, 1]
    one.ask("look")  # a worker that has left acknowledges nothing for the next one in its slot
    assert route_table.unacknowledged_workers(generation) == later


def test_a_worker_without_its_warm_versions_is_known(tmp_path: Path, processes: Any) -> None:
    """A worker that answers callers and lacks a warm version is named; one that still starts answers no caller."""
    one, two = processes("work", "a"), processes("work", "b")
    places = {worker: worker.hear()["slot"] for worker in (one, two)}
    route_table = SharedRouteTable(tmp_path)
    for worker in (one, two):
        worker.ask("look")
        worker.ask("ready")
    fresh = WorkerState.SERVES | WorkerState.WARM_MISSING | WorkerState.WARM_UNTRIED
    one.ask("serves", fresh.value)
    two.ask("serves", (fresh | WorkerState.STARTING).value)
    assert route_table.ready_workers() == []
    assert route_table.answering_workers() == route_table.workers_without_warm() == [places[one]]
    one.ask("serves", (WorkerState.SERVES | WorkerState.WARM_MISSING).value)  # it has tried, and cannot load it
    assert route_table.ready_workers() == route_table.workers_without_warm() == [places[one]]
    one.ask("serves", WorkerState.SERVES.value)
    two.ask("serves", WorkerState.SERVES.value)
    assert sorted(route_table.ready_workers()) == sorted(route_table.answering_workers()) == [0, 1]
    assert route_table.workers_without_warm() == []


def test_a_worker_that_is_late_for_a_change_answers_callers(tmp_path: Path, processes: Any) -> None:
    """A worker counts as one that answers also before it has acknowledged the newest route and the newest preload."""
    one = processes("work", "a")
    slot = one.hear()["slot"]
    route_table = SharedRouteTable(tmp_path)
    one.ask("look")
    one.ask("ready")
    one.ask("serves", WorkerState.SERVES.value)
    assert route_table.answering_workers() == route_table.ready_workers() == [slot]
    with route_table.lock():
        route_table.publish({"m": {"route": 1}})
    assert route_table.answering_workers() == [slot]
    one.ask("look")
    route_table.request_preload("m", {"champion": "2"})
    assert route_table.answering_workers() == [slot]
    assert route_table.ready_workers() == []


def test_who_asks_is_not_taken_for_a_worker(tmp_path: Path, processes: Any) -> None:
    """However many processes ask at the same time who lives, none of them sees a killed worker alive."""
    worker = processes("work", "a")
    worker.hear()
    worker.kill()
    askers = [processes("count", "20000") for _ in range(3)]
    for asker in askers:
        asker.hear()
    for asker in askers:
        asker.tell()
    assert [asker.hear() for asker in askers] == [0, 0, 0]


def test_preloads_grow_and_are_cancelled(tmp_path: Path, processes: Any) -> None:
    """Every worker learns what is wanted of every model; a cancellation by number spares a newer preload."""
    worker = processes("work", "a")
    worker.hear()
    route_table = SharedRouteTable(tmp_path)
    first = route_table.request_preload("m", {"champion": "1"})
    second = route_table.request_preload("n", {"champion": "2"})
    assert second == first + 1 == route_table.preload_generation
    assert worker.ask("ready") == {"m": {"champion": "1"}, "n": {"champion": "2"}}
    route_table.cancel_preload("m", first)
    assert route_table.read_preloads().keys() == {"m", "n"}
    route_table.cancel_preload("n", second)
    assert worker.ask("ready") == {"m": {"champion": "1"}}
    route_table.cancel_preload("m")
    assert worker.ask("ready") == {}
    assert route_table.preload_generation > second


def test_a_load_failure_is_known_while_its_worker_lives(tmp_path: Path, processes: Any) -> None:
    """Why a preload cannot be loaded is known of the model it is about, for this preload, while the worker lives."""
    worker = processes("work", "a")
    worker.hear()
    route_table = SharedRouteTable(tmp_path)
    preload = route_table.request_preload("m", {"champion": "1"})
    assert route_table.load_failure(preload, "m") is None
    worker.ask("failed", {"m": {"kind": "Rejected", "message": "no"}})
    assert route_table.load_failure(preload, "m") == {"kind": "Rejected", "message": "no"}
    assert route_table.load_failure(preload, "n") is None
    assert route_table.load_failure(preload + 1, "m") is None
    worker.kill()
    assert route_table.load_failure(preload, "m") is None


def test_counts_are_of_living_workers(tmp_path: Path, processes: Any) -> None:
    """Only those who answered this question and live are counted; who is killed is not waited for."""
    workers = [processes("work", name) for name in "abc"]
    places = [worker.hear()["slot"] for worker in workers]
    route_table = SharedRouteTable(tmp_path)
    asked = route_table.request_stats()
    assert sorted(route_table.workers_without_stats(asked)) == [0, 1, 2]
    for number, worker in enumerate(workers[:2]):
        worker.ask("tell", {"m": {"requests": number}})
    assert route_table.workers_without_stats(asked) == [places[2]]
    assert sorted(told["m"]["requests"] for _, told in route_table.collect_stats(asked)) == [0, 1]
    workers[0].kill()
    workers[2].kill()
    assert route_table.workers_without_stats(asked) == []
    assert [told["m"]["requests"] for _, told in route_table.collect_stats(asked)] == [1]
    again = route_table.request_stats()
    assert list(route_table.collect_stats(again)) == []
    assert route_table.workers_without_stats(again) == [places[1]]


def test_a_writer_killed_half_way_spoils_nothing(tmp_path: Path, processes: Any) -> None:
    """A writer that is killed in the middle of a preload leaves the last preloads readable, and the lock free."""
    worker = processes("work", "a")
    worker.hear()
    route_table = SharedRouteTable(tmp_path)
    route_table.request_preload("m", {"champion": "1"})
    worker.tell("die writing")
    worker.process.wait()
    assert route_table.read_preloads() == {"m": {"champion": "1"}}
    route_table.request_preload("n", {"champion": "2"})
    assert route_table.read_preloads().keys() == {"m", "n"}


def take_slot(route_table: SharedRouteTable) -> None:
    """Take a slot as a worker does."""
    with route_table.lock():
        route_table.take_slot()


def test_there_is_room_for_so_many(tmp_path: Path) -> None:
    """One worker more than there are places is refused, and has a place as soon as another leaves."""
    views = [SharedRouteTable(tmp_path) for _ in range(MAX_WORKERS + 1)]
    for view in views[:-1]:
        take_slot(view)
    assert sorted(view.slot for view in views[:-1]) == list(range(MAX_WORKERS))
    with pytest.raises(RouteTableFull, match=str(MAX_WORKERS)):
        take_slot(views[-1])
    views[7].release_slot()
    take_slot(views[-1])
    assert views[-1].slot == 7
    for view in views:
        view.release_slot()


def test_too_long_a_document_changes_nothing(tmp_path: Path) -> None:
    """Routes that do not fit are refused, and those in force stay; the longest that fit are read back whole."""
    route_table = SharedRouteTable(tmp_path)
    with route_table.lock():
        route_table.reset({"m": {"route": "old"}})
        route_table.take_slot()
    before = route_table.generation
    room = MAX_DOCUMENT_BYTES
    with pytest.raises(RouteTableFull, match="bytes"):
        route_table.publish({"m": {"route": "x" * room}})
    with pytest.raises(RouteTableFull, match="bytes"):
        route_table.request_preload("m", {"route": "x" * room})
    assert route_table.read_routes() == (before, {"m": {"route": "old"}})
    assert route_table.read_preloads() == {}
    longest = {"m": {"route": "x" * (room - 8 - len('{"m":{"route":""}}'))}}
    assert route_table.publish(longest) == before + 1
    assert route_table.read_routes() == (before + 1, longest)
    route_table.release_slot()
