"""What is predicted together: requests of the same columns and the same options, where the model allows it."""

import asyncio
from pathlib import Path

import pytest

from surefoot.core.domain import Split, Version
from surefoot.gateway.inference.attempts.attempt import Answered
from surefoot.gateway.inference.request_assignment import new_request
from surefoot.gateway.inference.version_pool import VersionPool
from surefoot.gateway.log.prediction_log_writer import PredictionLogWriter, SegmentWriter
from surefoot.models.model_protocols import NO_OPTIONS, AnswerCost, BatchRecheckCounts, ColumnNames, RequestOptions

V1 = Version("1", "sha256:1")
XY, YX = ("x", "y"), ("y", "x")


class Asked:
    """A process that remembers what it was asked, and answers nothing before it is let."""

    cost: AnswerCost | None = None
    spawn_replica = None
    independence = None
    checks = BatchRecheckCounts()
    probe_deaths = 0

    def __init__(self, *, batchable: bool) -> None:
        self.batchable = batchable
        self.batches: list[tuple[ColumnNames, list[list[object]], RequestOptions]] = []
        self.let = asyncio.Event()

    async def ask(self, names: ColumnNames, values: list[list[object]], options: RequestOptions) -> list[object]:
        """Remember."""
        await self.let.wait()
        self.batches.append((names, values, options))
        return [1.0 for _ in values]

    def kill(self) -> None:
        """Nothing to end."""

    def close(self) -> None:
        """Nothing to let go."""


def batches(
    root: Path, asked: list[tuple[ColumnNames, RequestOptions]], *, batchable: bool
) -> list[tuple[ColumnNames, list[object], RequestOptions]]:
    """How requests of one row that wait together are predicted; each row is its request's number."""

    async def ask() -> list[tuple[ColumnNames, list[object], RequestOptions]]:
        process = Asked(batchable=batchable)
        pool = VersionPool(V1, process, PredictionLogWriter(SegmentWriter(root / "log.jsonl")), None, 256)
        split = Split(V1, None, 0.0, "salt", "", 1)
        waiting = []
        for number, (names, options) in enumerate([(XY, NO_OPTIONS), *asked]):
            row: list[list[object]] = [[number, 0]]
            job = new_request(
                split, model="m", request=f"r{number}", names=names, values=row, column=None, at=0.0, started=0.0,
                options=options,
            )  # fmt: skip
            waiting.append(pool.submit(job, last=True).settled)
            await asyncio.sleep(0)  # the first one is with the process, the others wait
            await asyncio.sleep(0)
        process.let.set()
        assert all(isinstance(outcome, Answered) for outcome in await asyncio.gather(*waiting))
        pool.stop()
        return [(names, [row[0] for row in values], options) for names, values, options in process.batches[1:]]

    return asyncio.run(ask())


def test_only_requests_with_equal_options_share_a_batch(tmp_path: Path) -> None:
    """Other columns, other params (1 is not 1.0), and CSV and JSON are predicted apart, in order."""
    one, other, csv = RequestOptions(b'{"a":1}'), RequestOptions(b'{"a":1.0}'), RequestOptions(csv=True)
    asked: list[tuple[ColumnNames, RequestOptions]] = [
        (XY, NO_OPTIONS), (XY, NO_OPTIONS), (YX, NO_OPTIONS), (XY, one), (XY, one), (XY, other), (XY, NO_OPTIONS),
        (XY, csv), (None, NO_OPTIONS),
    ]  # fmt: skip
    assert batches(tmp_path, asked, batchable=True) == [
        (XY, [1, 2], NO_OPTIONS),
        (YX, [3], NO_OPTIONS),
        (XY, [4, 5], one),
        (XY, [6], other),
        (XY, [7], NO_OPTIONS),
        (XY, [8], csv),
        (None, [9], NO_OPTIONS),
    ]


@pytest.mark.parametrize("batchable", [True, False])
def test_a_model_may_want_each_request_alone(tmp_path: Path, batchable: bool) -> None:
    """A model that says that rows change each other's answers is asked request by request."""
    found = batches(tmp_path, [(XY, NO_OPTIONS)] * 3, batchable=batchable)
    assert [rows for _, rows, _ in found] == ([[1, 2, 3]] if batchable else [[1], [2], [3]])
