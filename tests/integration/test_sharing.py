"""What is predicted together: requests of the same columns and the same manner, where the model allows it."""

import asyncio
from pathlib import Path

import pytest

from surefoot.core.model import Split, Version
from surefoot.gateway.batch import Worker
from surefoot.gateway.job import Answered, job_for
from surefoot.gateway.record import PredictionLog, Segment
from surefoot.models.contract import PLAIN, Checks, Cost, Manner, Names

V1 = Version("1", "sha256:1")
XY, YX = ("x", "y"), ("y", "x")


class Asked:
    """A process that remembers what it was asked, and answers nothing before it is let."""

    cost: Cost | None = None
    again = None
    proof = None
    checks = Checks()

    def __init__(self, *, joins: bool) -> None:
        self.joins = joins
        self.batches: list[tuple[Names, list[list[object]], Manner]] = []
        self.let = asyncio.Event()

    async def ask(self, names: Names, values: list[list[object]], manner: Manner) -> list[object]:
        """Remember."""
        await self.let.wait()
        self.batches.append((names, values, manner))
        return [1.0 for _ in values]

    def kill(self) -> None:
        """Nothing to end."""

    def close(self) -> None:
        """Nothing to let go."""


def batches(root: Path, asked: list[tuple[Names, Manner]], *, joins: bool) -> list[tuple[Names, list[object], Manner]]:
    """How requests of one row that wait together are predicted; each row is its request's number."""

    async def ask() -> list[tuple[Names, list[object], Manner]]:
        process = Asked(joins=joins)
        worker = Worker(V1, process, PredictionLog(Segment(root / "log.jsonl")), lambda _version: True, 256)
        split = Split(V1, None, 0.0, "salt", "", 1)
        waiting = []
        for number, (names, manner) in enumerate([(XY, PLAIN), *asked]):
            row: list[list[object]] = [[number, 0]]
            job = job_for(
                split, model="m", request=f"r{number}", names=names, values=row, column=None, at=0.0, started=0.0,
                manner=manner,
            )  # fmt: skip
            waiting.append(worker.submit(job, last=True).settled)
            await asyncio.sleep(0)  # the first one is with the process, the others wait
            await asyncio.sleep(0)
        process.let.set()
        assert all(isinstance(outcome, Answered) for outcome in await asyncio.gather(*waiting))
        worker.stop()
        return [(names, [row[0] for row in values], manner) for names, values, manner in process.batches[1:]]

    return asyncio.run(ask())


def test_only_requests_of_one_manner_share_a_batch(tmp_path: Path) -> None:
    """Other columns, other params (1 is not 1.0), and CSV beside JSON are predicted apart, in order."""
    one, other, csv = Manner(b'{"a":1}'), Manner(b'{"a":1.0}'), Manner(csv=True)
    asked: list[tuple[Names, Manner]] = [
        (XY, PLAIN), (XY, PLAIN), (YX, PLAIN), (XY, one), (XY, one), (XY, other), (XY, PLAIN), (XY, csv), (None, PLAIN)
    ]  # fmt: skip
    assert batches(tmp_path, asked, joins=True) == [
        (XY, [1, 2], PLAIN),
        (YX, [3], PLAIN),
        (XY, [4, 5], one),
        (XY, [6], other),
        (XY, [7], PLAIN),
        (XY, [8], csv),
        (None, [9], PLAIN),
    ]


@pytest.mark.parametrize("joins", [True, False])
def test_a_model_may_want_each_request_alone(tmp_path: Path, joins: bool) -> None:
    """A model that says that rows change each other's answers is asked request by request."""
    found = batches(tmp_path, [(XY, PLAIN)] * 3, joins=joins)
    assert [rows for _, rows, _ in found] == ([[1, 2, 3]] if joins else [[1], [2], [3]])
