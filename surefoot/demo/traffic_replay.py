"""Send the demo's flight requests to the gateway in compressed time."""

import asyncio
import heapq
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
import orjson
import pandas as pd

from surefoot.adapters.clock import ReplayClock
from surefoot.core.errors import SurefootError, Unavailable
from surefoot.demo.flight_requests import FEATURES, UNIT_COLUMN, fill_gaps

_CALLER_COUNT = 16
_LABEL_BATCH = 200


@dataclass
class CallerCounts:
    """Counts of requests, failures and answers by version, as the callers saw them.

    Attributes:
        sent: Requests [count].
        failed: Requests that were not answered with a prediction [count].
        by_version: Answers by the version that gave them.
        first_failure: Text of the first failure.
    """

    sent: int = 0
    failed: int = 0
    by_version: Counter[str] = field(default_factory=Counter)
    first_failure: str = ""


@dataclass(frozen=True, slots=True)
class CallerRecord:
    """What a caller asked and got, as an application notes it.

    Attributes:
        request: Id of the request.
        at: When it was asked [Unix seconds of the replay].
        version: Version that was asked.
        answer: What it answered, as a JSON value; None where it failed.
        error: Why it failed; None when it did not.
        features: The row.
    """

    request: str
    at: float
    version: str
    answer: object
    error: str | None
    features: dict[str, object]


@dataclass(frozen=True, slots=True)
class KnownLabel:
    """What came true of a request, and when that was known [Unix seconds of the replay]."""

    request: str
    at: float
    label: float


class AnswerRecorder(Protocol):
    """Takes what callers got, where the engine writes no prediction log."""

    def write(self, records: Sequence[CallerRecord], labels: Sequence[KnownLabel]) -> None:
        """Write both to the prediction log."""
        ...


class TrafficReplay:
    """Callers in a thread of their own; the replay's clock follows the requests.

    Attributes:
        pressure_unit: What the pressure of later requests is multiplied with: 100 is pascal in place of hectopascal.
    """

    def __init__(
        self,
        flights: pd.DataFrame,
        url: str,
        model: str,
        clock: ReplayClock,
        raw_from: float,
        recorder: AnswerRecorder | None = None,
    ) -> None:
        """Prepare the requests.

        Args:
            flights: Table of flights in order of `at`.
            url: Where callers ask.
            model: Registered model.
            clock: Is moved with the requests.
            raw_from: Gaps are filled for requests before this time [Unix seconds].
            recorder: Writes the prediction log; without it the gateway at `url` does, and takes labels.
        """
        self.seen = CallerCounts()
        self.pace = 1e9
        self.now = float(flights["at"].iloc[0])
        self._url, self._model, self._clock, self._recorder = url, model, clock, recorder
        self._records: list[CallerRecord] = []
        self._until = self.now
        self._stop = threading.Event()
        self.pressure_unit = 1.0
        self._requests = self._prepare(flights, raw_from)
        self._labels: list[tuple[float, str, float]] = []
        self._answers: list[tuple[str, str, bytes]] = []
        self._next: tuple[float, str, bytes, float, float] | None = None
        self.problem: BaseException | None = None
        clock.set(self.now)
        self._thread = threading.Thread(target=self._run, name="callers", daemon=True)

    def _prepare(self, flights: pd.DataFrame, raw_from: float) -> Iterator[tuple[float, str, bytes, float, float]]:
        """Requests one by one: time, id, body, label and the time it is known."""
        columns = [*FEATURES, UNIT_COLUMN]
        whole = fill_gaps(flights)
        for start in range(0, len(flights), 2000):
            part = flights.iloc[start : start + 2000]
            soft = whole.iloc[start : start + 2000]
            rows, smooth = part[columns].to_dict("records"), soft[columns].to_dict("records")
            facts = zip(part["at"], part["id"], part["late"], part["label_at"], rows, smooth, strict=True)
            for at, name, late, known, raw, full in facts:
                found = dict(raw if at >= raw_from else full)
                found["pressure"] *= self.pressure_unit
                row = {key: _json(value) for key, value in found.items()}
                yield float(at), str(name), orjson.dumps({"dataframe_records": [row]}), float(late), float(known)

    def start(self) -> None:
        """Begin; nothing is sent before `run_to`."""
        self._thread.start()

    def run_to(self, at: float, pace: float = 1e9) -> None:
        """Let the requests up to a time be sent, at most `pace` a second; returns at once."""
        self.pace, self._until = pace, at

    def wait(self, timeout: float) -> None:
        """Wait until the requests allowed so far are answered."""
        deadline = time.monotonic() + timeout
        while self.now < self._until and time.monotonic() < deadline and self.problem is None:
            time.sleep(0.05)
        self.check()

    def check(self) -> None:
        """Raise when the callers have stopped by an error.

        Raises:
            Unavailable: Says which error.
        """
        if self.problem:
            said = f"{type(self.problem).__name__}: {self.problem}"
            said = str(self.problem) if isinstance(self.problem, SurefootError) else said
            raise Unavailable(f"the demo's callers have stopped: {said}") from self.problem

    def take_answers(self) -> list[tuple[str, str, bytes]]:
        """Request, version and body of each answer since the last call."""
        taken, self._answers = self._answers, []
        return taken

    def close(self) -> None:
        """Stop the callers."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=20.0)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread
            self.problem = error

    async def _main(self) -> None:
        timeout = aiohttp.ClientTimeout(total=30.0)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
            writes = self._labeller(session) if self._recorder is None else self._record(self._recorder)
            await asyncio.gather(*(self._caller(session) for _ in range(_CALLER_COUNT)), writes)
        if self._recorder is not None:  # what was under way when the callers were stopped
            self._recorder.write(self._records, [])

    async def _take(self) -> tuple[float, str, bytes, float, float] | None:
        """The next request that may be sent now, and the clock moved to it."""
        while not self._stop.is_set():
            if self._next is None:
                self._next = next(self._requests, None)
            if self._next is None:
                return None
            if self._next[0] <= self._until:
                taken, self._next = self._next, None
                self.now = max(self.now, taken[0])
                self._clock.set(self.now)
                return taken
            if self._until > self.now:  # no request is left before that time, and the clock comes to it all the same
                self.now = self._until
                self._clock.set(self.now)
            await asyncio.sleep(0.02)
        return None

    async def _caller(self, session: aiohttp.ClientSession) -> None:
        target = f"{self._url}/models/{self._model}/invocations"
        while taken := await self._take():
            _, name, body, late, known = taken
            began, asked = time.monotonic(), self.now
            headers = {"content-type": "application/json", "x-request-id": name}
            self.seen.sent += 1
            try:
                async with session.post(target, data=body, headers=headers) as reply:
                    text = await reply.read()
                    version = reply.headers.get("x-model-version", "?")
                    if self._recorder is not None and version != "?":
                        self._records.append(_record(name, asked, version, body, text, reply.ok))
                    if reply.status == 200:  # noqa: PLR2004 - HTTP
                        self.seen.by_version[version] += 1
                        self._answers.append((name, version, text))
                    else:
                        self._failed(f"{reply.status} {text[:200]!r}")
            except (aiohttp.ClientError, TimeoutError) as error:
                self._failed(f"{type(error).__name__}: {error}")
            if not math.isnan(known):  # a flight that never arrived has no label
                # The replay's clock may have run past it while the answer was waited for: no label is older than that.
                heapq.heappush(self._labels, (max(known, self.now), name, late))
            if (rest := _CALLER_COUNT / self.pace - (time.monotonic() - began)) > 0.001:  # noqa: PLR2004 - shorter naps cost more
                await asyncio.sleep(rest)

    def _failed(self, text: str) -> None:
        self.seen.failed += 1
        self.seen.first_failure = self.seen.first_failure or text

    async def _record(self, recorder: AnswerRecorder) -> None:
        """Have what callers got written, and each label when its flight has landed."""
        while not self._stop.is_set():
            records, self._records = self._records, []
            if (due := self._due_labels()) or records:
                recorder.write(records, due)
            else:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.02)

    def _due_labels(self) -> list[KnownLabel]:
        """Some labels of flights that have landed by now, each once."""
        due: list[KnownLabel] = []
        while self._labels and self._labels[0][0] <= self.now and len(due) < _LABEL_BATCH:
            known, name, late = heapq.heappop(self._labels)
            due.append(KnownLabel(name, known, late))
        return due

    async def _labeller(self, session: aiohttp.ClientSession) -> None:
        """Send each label when its flight has landed."""
        target = f"{self._url}/models/{self._model}/labels"
        while not self._stop.is_set():
            due = [{"request": one.request, "label": one.label, "at": one.at} for one in self._due_labels()]
            if not due:
                await asyncio.sleep(0.05)
                continue
            async with session.post(target, json=due) as reply:
                if reply.status >= 400:  # noqa: PLR2004 - HTTP
                    raise Unavailable(f"the gateway refuses labels: {reply.status} {(await reply.text())[:200]}")


def _record(request: str, at: float, version: str, body: bytes, text: bytes, answered: bool) -> CallerRecord:
    """What an application notes of one request, by the bodies of the request and of its answer."""
    (features,) = orjson.loads(body)["dataframe_records"]
    told = orjson.loads(text)
    if not answered:
        return CallerRecord(request, at, version, None, str(told["error"]), features)
    return CallerRecord(request, at, version, told["predictions"][0], None, features)


def _json(value: object) -> object:
    """A cell as JSON has it: a gap is null."""
    return None if isinstance(value, float) and math.isnan(value) else value
