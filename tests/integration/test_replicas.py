"""Replicas of one version: no request is forgotten, whatever becomes of the processes that answer."""

import asyncio
import threading
from pathlib import Path

import pytest

from surefoot.core.domain import Split, Version
from surefoot.core.traffic_split_json import encode_traffic_split
from surefoot.gateway.control.shared_routes import SharedRouteTable
from surefoot.gateway.inference.attempts.attempt import Answered, Failed
from surefoot.gateway.inference.attempts.caller_answer import CallerAnswer, NotServing
from surefoot.gateway.inference.request_assignment import new_request
from surefoot.gateway.inference.router import VersionRouter
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.inference.tripwire import TripLimits, TripRecord
from surefoot.gateway.inference.version_pool import VersionPool
from surefoot.gateway.log.prediction_log_writer import PredictionLogWriter, SegmentWriter
from surefoot.gateway.log.scoring_request import ScoringRequest
from surefoot.models.model_protocols import (
    AnswerCost,
    BatchRecheckCounts,
    ColumnNames,
    Predictor,
    PredictorLost,
    RequestOptions,
)

V1, V2 = Version("1", f"sha256:{1:064}"), Version("2", f"sha256:{2:064}")


class Process:
    """A process that answers until it is told to die, and can be started again as often as it is allowed to."""

    cost: AnswerCost | None = None
    batchable = True
    independence = None
    checks = BatchRecheckCounts()
    probe_deaths = 0

    def __init__(self, allowed: int = 0) -> None:
        self.allowed, self.dead = allowed, False

    async def ask(self, _names: ColumnNames, values: list[list[object]], _options: RequestOptions) -> list[object]:
        """Answer, or be gone."""
        if self.dead:
            raise PredictorLost("its process ended")
        return [1.0 for _ in values]

    def spawn_replica(self, _cancelled: threading.Event) -> "Process":
        """Another one, if that is allowed."""
        if self.allowed <= 0:
            raise PredictorLost("it cannot be started")
        self.allowed -= 1
        return Process(self.allowed)

    def kill(self) -> None:
        """Be gone."""
        self.dead = True

    def close(self) -> None:
        """Nothing to let go."""


class Stuck(Process):
    """A process that hangs until it is ended."""

    def __init__(self) -> None:
        super().__init__()
        self._ended = asyncio.Event()

    async def ask(self, _names: ColumnNames, _values: list[list[object]], _options: RequestOptions) -> list[object]:
        """Wait for the end."""
        await self._ended.wait()
        raise PredictorLost("its process ended by signal SIGKILL")

    def kill(self) -> None:
        """End it."""
        self._ended.set()


def new_job(split: Split, number: int) -> ScoringRequest:
    """A request that is assigned under a split."""
    return new_request(
        split, model="m", request=f"r{number}", names=("x",), values=[[1]], column=None, at=0.0, started=0.0
    )


class RoutedModel:
    """The router of one model, and the table that its route comes from."""

    def __init__(self, root: Path, **settings: object) -> None:
        self.table = SharedRouteTable(root)
        log = PredictionLogWriter(SegmentWriter(root / "log.jsonl"))
        known = GatewaySettings(root, "token", **settings)  # type: ignore[arg-type]
        self.router = VersionRouter("m", known, log, self.table.reader)

    def switch(self, split: Split, loaded: dict[Version, Predictor]) -> None:
        """Load versions, and put a split in force."""
        for version, predictor in loaded.items():
            self.router.add_version(version, predictor)
        with self.table.lock():
            self.table.publish({"m": {"route": encode_traffic_split(split), "warm": []}})
        self.router.current_route()  # as the tick of a worker does

    async def answer(self, number: int) -> CallerAnswer:
        """Answer one request."""
        route = self.router.current_route()
        if route is None:
            raise NotServing("no champion is loaded")
        return await self.router.answer(route, new_job(route.split, number))


def test_a_replica_that_cannot_start_takes_no_request(tmp_path: Path) -> None:
    """While a second process fails to start again and again, every request is answered by the first."""

    async def ask() -> None:
        made = RoutedModel(tmp_path, processes=2)
        made.switch(Split(V1, generation=1), {V1: Process()})
        for number in range(40):
            answer = await asyncio.wait_for(made.answer(number), 5.0)
            assert answer.answered_by == "1"
            await asyncio.sleep(0.02)
        made.router.close()

    asyncio.run(ask())


def test_a_process_that_dies_while_it_starts_is_counted(tmp_path: Path) -> None:
    """A process that ends before it could answer counts as a death of its version, like one that ends later."""

    class DiesAtFirst(Process):
        starts = 0

        def spawn_replica(self, _cancelled: threading.Event) -> Process:
            DiesAtFirst.starts += 1
            if DiesAtFirst.starts == 1:
                raise PredictorLost("its process ended by signal SIGKILL")
            return Process()

    async def ask() -> None:
        made = RoutedModel(tmp_path, processes=2)
        made.switch(Split(V1, generation=1), {V1: DiesAtFirst()})
        while DiesAtFirst.starts < 2:  # noqa: ASYNC110 - tasks of their own, no one event
            await asyncio.sleep(0.02)
        assert made.router.stats()["versions"]["1"]["deaths"] == 1  # type: ignore[index]
        made.router.close()

    asyncio.run(asyncio.wait_for(ask(), 60.0))


def test_a_champion_that_cannot_be_started_says_so(tmp_path: Path) -> None:
    """Callers of a dead champion are told to come back, not left waiting; after a rollback they are answered."""

    async def ask() -> None:
        made, dead = RoutedModel(tmp_path), Process()
        made.switch(Split(V1, generation=1), {V1: dead})
        await made.answer(0)
        dead.kill()
        with pytest.raises(NotServing, match="cannot be started"):
            await asyncio.wait_for(made.answer(1), 5.0)
        made.switch(Split(V2, generation=2), {V2: Process()})
        assert (await asyncio.wait_for(made.answer(2), 5.0)).answered_by == "2"
        made.router.close()

    asyncio.run(ask())


def test_requests_of_a_version_that_left_are_answered_by_the_next(tmp_path: Path) -> None:
    """Requests that a dying champion had are answered by the one that a rollback puts in its place."""

    async def ask() -> None:
        made, stuck = RoutedModel(tmp_path), Stuck()
        made.switch(Split(V1, generation=1), {V1: stuck})
        waiting = [asyncio.create_task(made.answer(number)) for number in range(1, 5)]
        await asyncio.sleep(0.1)
        made.switch(Split(V2, generation=2), {V2: Process()})
        stuck.kill()
        found = await asyncio.wait_for(asyncio.gather(*waiting), 10.0)
        assert {answer.answered_by for answer in found} == {"2"}
        made.router.close()

    asyncio.run(ask())


def test_a_process_that_hangs_is_ended_without_another_request(tmp_path: Path) -> None:
    """A lone caller of a hanging champion is not forgotten: its process is killed."""

    async def ask() -> None:
        made = RoutedModel(tmp_path, champion_timeout_s=0.1)
        made.switch(Split(V1, generation=1), {V1: Stuck()})
        alone = asyncio.create_task(made.answer(1))
        while not alone.done():
            await asyncio.sleep(0.05)
            made.router.kill_hung()
        with pytest.raises(NotServing):
            await alone
        made.router.close()

    asyncio.run(asyncio.wait_for(ask(), 60.0))


def test_a_process_that_ends_is_replaced_before_a_caller_notices(tmp_path: Path) -> None:
    """A champion whose process can be started again loses no request."""

    async def ask() -> None:
        made, first = RoutedModel(tmp_path), Process(allowed=3)
        made.switch(Split(V1, generation=1), {V1: first})
        first.kill()
        assert (await asyncio.wait_for(made.answer(1), 5.0)).answered_by == "1"
        made.router.close()

    asyncio.run(ask())


def test_a_mistake_of_ours_leaves_no_caller_waiting(tmp_path: Path) -> None:
    """When a batch cannot be recorded its callers are told, and the replica answers the next one."""
    broken = [True]

    class Log(PredictionLogWriter):
        def write(self, lines: list[bytes]) -> None:
            if broken.pop():
                raise RuntimeError("a mistake of ours")

    async def ask() -> None:
        pool = VersionPool(V1, Process(), Log(SegmentWriter(tmp_path / "log.jsonl")), None, 256)
        job = new_job(Split(V1, generation=1), 0)
        failed = await asyncio.wait_for(pool.submit(job, last=True).settled, 5.0)
        assert isinstance(failed, Failed)
        assert "a mistake of ours" in failed.error
        broken.append(False)
        assert isinstance(await asyncio.wait_for(pool.submit(job, last=True).settled, 5.0), Answered)
        pool.stop()

    asyncio.run(ask())


def test_a_version_that_does_not_come_back_is_known(tmp_path: Path) -> None:
    """After a few failed starts a version counts as dead, until it is loaded anew; then it answers."""

    async def ask() -> None:
        made, dead = RoutedModel(tmp_path), Process()
        made.switch(Split(V1, generation=1), {V1: dead})
        dead.kill()
        with pytest.raises(NotServing):
            await asyncio.wait_for(made.answer(0), 5.0)
        while not made.router.cannot_restart(V1):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.05)
        made.router.add_version(V1, Process())
        assert not made.router.cannot_restart(V1)
        assert (await asyncio.wait_for(made.answer(1), 5.0)).answered_by == "1"
        made.router.close()

    asyncio.run(ask())


def test_a_tripped_candidate_is_recorded_once(tmp_path: Path) -> None:
    """A candidate that fails every request leaves one record with the split that it failed under, and counts anew."""

    class Raising(Process):
        async def ask(self, _names: ColumnNames, _values: list[list[object]], _options: RequestOptions) -> list[object]:
            raise ValueError("no such tree")

    async def ask() -> None:
        made, split = RoutedModel(tmp_path, trip=TripLimits(failures=3)), Split(V1, V2, 100.0, "salt", "r", 1)
        made.switch(split, {V1: Process(), V2: Raising()})
        records = []
        for number in range(6):
            assert (await asyncio.wait_for(made.answer(number), 5.0)).answered_by == "1"
            records.append(made.router.tripped)
            if made.router.tripped is not None:
                made.router.tripped = None
                made.router.rearm_tripwire()
        reason = "version 2 failed 3 requests in a row, the last with ValueError: no such tree"
        assert records == [None, None, TripRecord(split, reason)] * 2
        made.router.close()

    asyncio.run(ask())


def test_an_answer_of_a_version_that_lost_its_route_does_not_leave(tmp_path: Path) -> None:
    """A route that any worker changes in shared memory while a candidate computes revokes its answer."""

    class Slow(Process):
        def __init__(self) -> None:
            super().__init__()
            self.asked, self.let = asyncio.Event(), asyncio.Event()

        async def ask(self, _names: ColumnNames, values: list[list[object]], _options: RequestOptions) -> list[object]:
            self.asked.set()
            await self.let.wait()
            return [2.0 for _ in values]

    async def ask() -> None:
        made, slow = RoutedModel(tmp_path), Slow()
        made.switch(Split(V1, V2, 100.0, "salt", "r", 1), {V1: Process(), V2: slow})
        waiting = asyncio.create_task(made.answer(1))
        await slow.asked.wait()
        other = SharedRouteTable(tmp_path)  # as another worker sees it
        with other.lock():
            other.publish({"m": {"route": encode_traffic_split(Split(V1, V2, 0.0, "salt", "r", 2)), "warm": []}})
        slow.let.set()
        assert (await asyncio.wait_for(waiting, 5.0)).answered_by == "1"
        made.router.close()

    asyncio.run(ask())
