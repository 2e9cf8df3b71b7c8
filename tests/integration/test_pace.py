"""How much a shadow is asked: as much as went well a moment ago, and nothing before that is known."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from surefoot.adapters.clock import SystemClock
from surefoot.core.domain import Split, Version
from surefoot.gateway.inference import shadow_queue as shadow_module
from surefoot.gateway.inference.request_assignment import new_request
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.inference.shadow_queue import ShadowQueue
from surefoot.gateway.log.prediction_log_writer import PredictionLogWriter, SegmentWriter
from surefoot.models.model_protocols import AnswerCost, BatchRecheckCounts, ColumnNames, RequestOptions

V1, V2 = Version("1", "sha256:1"), Version("2", "sha256:2")
SPLIT = Split(V1, V2, 0.0, "salt", "r", 1, 100.0)


class Model:
    """Answers at once and remembers how many rows came together."""

    cost: AnswerCost | None = None
    batchable = True
    spawn_replica = None
    independence = None
    checks = BatchRecheckCounts()
    probe_deaths = 0

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def ask(self, names: ColumnNames, values: list[list[object]], options: RequestOptions) -> list[object]:
        """Answer every row."""
        self.batches.append(len(values))
        return [0.5] * len(values)

    def kill(self) -> None:
        """It cannot be ended."""

    def close(self) -> None:
        """It needs no end."""


def shadowed(folder: Path, story: Callable[[ShadowQueue, Model], Awaitable[None]]) -> None:
    """A shadow in an event loop of its own."""

    async def told() -> None:
        model = Model()
        log = PredictionLogWriter(SegmentWriter(folder / "shadows.jsonl"))
        settings = GatewaySettings(folder, "token", shadow_queue=1000)
        shadow = ShadowQueue(V2, model, log, settings, SystemClock())
        await story(shadow, model)
        shadow.close()
        await asyncio.sleep(0.0)

    asyncio.run(told())


def ask(shadow: ShadowQueue, count: int) -> None:
    """Have so many requests mirrored."""
    for number in range(count):
        job = new_request(
            SPLIT, model="m", request=str(number), names=("x",), values=[[1.0]], column=None, at=0.0, started=0.0
        )
        assert shadow.accepts(job)
        shadow.submit(job)


async def look(shadow: ShadowQueue, *, host_idle: bool) -> None:
    """The host is looked at, and the shadow does what it may, however long a busy machine takes for that."""
    shadow.set_allowance(host_idle=host_idle)
    pool = shadow.pool
    # Several polls and answers end this wait: there is no one event to wait for.
    while (pool.batch_allowance >= 1 and pool.queued) or any(one.busy_since < math.inf for one in pool._replicas):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.06)  # what it must not do has had its chance


def test_nothing_is_asked_until_somebody_has_waited_for_a_look(tmp_path: Path) -> None:
    """Callers who come after a quiet time are served alone until the host has been seen serving them."""

    async def story(shadow: ShadowQueue, model: Model) -> None:
        await look(shadow, host_idle=True)
        ask(shadow, 100)
        await look(shadow, host_idle=True)
        assert model.batches == []
        await look(shadow, host_idle=False)
        assert model.batches == []
        await look(shadow, host_idle=True)
        assert model.batches == [1]

    shadowed(tmp_path, story)


def test_what_went_well_is_doubled_and_a_busy_host_ends_it(tmp_path: Path) -> None:
    """Twice as many requests, one at a time, with every look, and none after a busy one."""

    async def story(shadow: ShadowQueue, model: Model) -> None:
        ask(shadow, 500)
        await look(shadow, host_idle=True)
        grown = []
        for _ in range(4):
            before = len(model.batches)
            await look(shadow, host_idle=True)
            grown.append(model.batches[before:])
        assert grown == [[1], [1] * 2, [1] * 4, [1] * 8]
        before = len(model.batches)
        await look(shadow, host_idle=False)
        assert model.batches[before:] == []
        await look(shadow, host_idle=True)
        assert model.batches[before:] == [1]

    shadowed(tmp_path, story)


def test_an_unused_pace_is_not_kept(tmp_path: Path) -> None:
    """However long few are asked, many who come at once are not asked all together."""

    async def story(shadow: ShadowQueue, model: Model) -> None:
        for _ in range(10):
            ask(shadow, 1)
            await look(shadow, host_idle=True)
        ask(shadow, 100)
        before = sum(model.batches)
        await asyncio.sleep(0.15)
        assert sum(model.batches) - before <= 4

    shadowed(tmp_path, story)


def test_there_is_a_fastest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long all goes well, no more than FASTEST batches are asked between two looks."""
    monkeypatch.setattr(shadow_module, "MAX_ALLOWED_BATCHES", 2)

    async def story(shadow: ShadowQueue, model: Model) -> None:
        ask(shadow, 100)
        await look(shadow, host_idle=True)
        grown = []
        for _ in range(4):
            before = len(model.batches)
            await look(shadow, host_idle=True)
            grown.append(len(model.batches) - before)
        assert grown == [1, 2, 2, 2]

    shadowed(tmp_path, story)
