"""Lanes of one version: no request is forgotten, whatever becomes of the processes that answer."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from surefoot.core.domain import Split, Version
from surefoot.gateway.inference.batching import VersionPool
from surefoot.gateway.inference.request import Answered, Attempt, Failed, Outcome, new_request
from surefoot.gateway.inference.router import NotServing, VersionRouter
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.inference.tripwire import TripLimits
from surefoot.gateway.log.record import PredictionLogWriter, SegmentWriter
from surefoot.gateway.log.request import InferenceRequest
from surefoot.models.contract import AnswerCost, Names, PredictorLost, RequestOptions, RowChecks

V1, V2 = Version("1", "sha256:1"), Version("2", "sha256:2")


class Process:
    """A process that answers until it is told to die, and can be started again as often as it is allowed to."""

    cost: AnswerCost | None = None
    batchable = True
    proof = None
    checks = RowChecks()

    def __init__(self, allowed: int = 0) -> None:
        self.allowed, self.dead = allowed, False

    async def ask(self, _names: Names, values: list[list[object]], _manner: RequestOptions) -> list[object]:
        """Answer, or be gone."""
        if self.dead:
            raise PredictorLost("its process ended")
        return [1.0 for _ in values]

    def again(self, _unwanted: Callable[[], bool]) -> "Process":
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

    async def ask(self, _names: Names, _values: list[list[object]], _manner: RequestOptions) -> list[object]:
        """Wait for the end."""
        await self._ended.wait()
        raise PredictorLost("its process ended by signal SIGKILL")

    def kill(self) -> None:
        """End it."""
        self._ended.set()


def job_of(number: int) -> Callable[[Split], InferenceRequest]:
    """A request's job."""
    return lambda split: new_request(
        split, model="m", request=f"r{number}", names=("x",), values=[[1]], column=None, at=0.0, started=0.0
    )


def arms(root: Path, **settings: object) -> VersionRouter:
    """The data path of one model."""
    return VersionRouter(
        GatewaySettings(root, "token", **settings), PredictionLogWriter(SegmentWriter(root / "log.jsonl"))
    )  # type: ignore[arg-type]


def test_a_lane_that_cannot_start_takes_nobodys_call(tmp_path: Path) -> None:
    """While a second process fails to start again and again, every request is answered by the first."""

    async def ask() -> None:
        made = arms(tmp_path, processes=2)
        made.switch(Split(V1, generation=1), {V1: Process()})
        for number in range(40):
            answer = await asyncio.wait_for(made.answer(job_of(number)), 5.0)
            assert answer.answered_by == "1"
            await asyncio.sleep(0.02)
        made.close()

    asyncio.run(ask())


def test_a_process_that_dies_while_it_starts_is_counted(tmp_path: Path) -> None:
    """A process that ends before it could answer counts as a death of its version, like one that ends later."""

    class DiesAtFirst(Process):
        starts = 0

        def again(self, _unwanted: Callable[[], bool]) -> Process:
            DiesAtFirst.starts += 1
            if DiesAtFirst.starts == 1:
                raise PredictorLost("its process ended by signal SIGKILL")
            return Process()

    async def ask() -> None:
        made = arms(tmp_path, processes=2)
        made.switch(Split(V1, generation=1), {V1: DiesAtFirst()})
        while DiesAtFirst.starts < 2:  # noqa: ASYNC110 - lanes of their own, no one event
            await asyncio.sleep(0.02)
        assert made.stats()["versions"]["1"]["deaths"] == 1  # type: ignore[index]
        made.close()

    asyncio.run(asyncio.wait_for(ask(), 60.0))


def test_a_champion_that_cannot_be_started_says_so(tmp_path: Path) -> None:
    """Callers of a dead champion are told to come back, not left waiting; after a rollback they are answered."""

    async def ask() -> None:
        made, dead = arms(tmp_path), Process()
        made.switch(Split(V1, generation=1), {V1: dead})
        await made.answer(job_of(0))
        dead.kill()
        with pytest.raises(NotServing, match="cannot be started"):
            await asyncio.wait_for(made.answer(job_of(1)), 5.0)
        made.switch(Split(V2, generation=2), {V2: Process()})
        assert (await asyncio.wait_for(made.answer(job_of(2)), 5.0)).answered_by == "2"
        made.close()

    asyncio.run(ask())


def test_who_waited_for_a_version_that_left_is_answered_by_the_next(tmp_path: Path) -> None:
    """Requests that a dying champion had are answered by the one that a rollback puts in its place."""

    async def ask() -> None:
        made, stuck = arms(tmp_path), Stuck()
        made.switch(Split(V1, generation=1), {V1: stuck})
        waiting = [asyncio.create_task(made.answer(job_of(number))) for number in range(1, 5)]
        await asyncio.sleep(0.1)
        made.switch(Split(V2, generation=2), {V2: Process()})
        stuck.kill()
        found = await asyncio.wait_for(asyncio.gather(*waiting), 10.0)
        assert {answer.answered_by for answer in found} == {"2"}
        made.close()

    asyncio.run(ask())


def test_a_process_that_hangs_is_ended_though_nobody_asks_again(tmp_path: Path) -> None:
    """A lone caller of a hanging champion is not forgotten: somebody looks after its process."""

    async def ask() -> None:
        made = arms(tmp_path, champion_timeout_s=0.1)
        made.switch(Split(V1, generation=1), {V1: Stuck()})
        alone = asyncio.create_task(made.answer(job_of(1)))
        while not alone.done():
            await asyncio.sleep(0.05)
            made.watch()
        with pytest.raises(NotServing):
            await alone
        made.close()

    asyncio.run(asyncio.wait_for(ask(), 60.0))


def test_a_process_that_ends_is_replaced_before_anybody_hears_of_it(tmp_path: Path) -> None:
    """A champion whose process can be started again loses no request."""

    async def ask() -> None:
        made, first = arms(tmp_path), Process(allowed=3)
        made.switch(Split(V1, generation=1), {V1: first})
        first.kill()
        assert (await asyncio.wait_for(made.answer(job_of(1)), 5.0)).answered_by == "1"
        made.close()

    asyncio.run(ask())


def test_a_mistake_of_ours_leaves_nobody_waiting(tmp_path: Path) -> None:
    """When a batch cannot be recorded its callers are told, and the lane answers the next one."""
    broken = [True]

    def lines(_attempt: Attempt, _outcome: Outcome, _answers: list[object]) -> list[bytes]:
        if broken.pop():
            raise RuntimeError("a mistake of ours")
        return []

    async def ask() -> None:
        log = PredictionLogWriter(SegmentWriter(tmp_path / "log.jsonl"))
        worker = VersionPool(V1, Process(), log, lambda _version: True, 256, lines)
        job = job_of(0)(Split(V1, generation=1))
        told = await asyncio.wait_for(worker.submit(job, last=True).settled, 5.0)
        assert isinstance(told, Failed)
        assert "a mistake of ours" in told.error
        broken.append(False)
        assert isinstance(await asyncio.wait_for(worker.submit(job, last=True).settled, 5.0), Answered)
        worker.stop()

    asyncio.run(ask())


def test_a_version_that_does_not_come_back_is_known(tmp_path: Path) -> None:
    """After a few attempts to start it again a version is hopeless, until it is loaded anew; then it answers."""

    async def ask() -> None:
        made, dead = arms(tmp_path), Process()
        made.switch(Split(V1, generation=1), {V1: dead})
        dead.kill()
        with pytest.raises(NotServing):
            await asyncio.wait_for(made.answer(job_of(0)), 5.0)
        while not made.hopeless(V1):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.05)
        made.hold(V1, Process())
        assert not made.hopeless(V1)
        made.switch(Split(V1, generation=1))
        assert (await asyncio.wait_for(made.answer(job_of(1)), 5.0)).answered_by == "1"
        made.close()

    asyncio.run(ask())


def test_a_cut_that_fails_costs_no_answer(tmp_path: Path) -> None:
    """When the cut cannot be made the caller is answered all the same, and the fuse blows again later."""
    told: list[str] = []

    def trip(reason: str) -> None:
        told.append(reason)
        raise OSError("too many open files")

    class Raising(Process):
        async def ask(self, _names: Names, _values: list[list[object]], _manner: RequestOptions) -> list[object]:
            raise ValueError("no such tree")

    async def ask() -> None:
        made = arms(tmp_path, trip=TripLimits(failures=3))
        made.trip = trip
        made.switch(Split(V1, V2, 100.0, "salt", "r", 1), {V1: Process(), V2: Raising()})
        for number in range(6):
            assert (await asyncio.wait_for(made.answer(job_of(number)), 5.0)).answered_by == "1"
        assert len(told) == 2
        made.close()

    asyncio.run(ask())
