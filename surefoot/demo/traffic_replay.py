"""Send the demo's flight requests to the gateway in compressed time."""

import asyncio
import heapq
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

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


class TrafficReplay:
    """Callers in a thread of their own; the replay's clock follows the requests.

    Attributes:
        pressure_unit: What the pressure of later requests is multiplied with: 100 is pascal in place of hectopascal.
    """

    def __init__(self, flights: pd.DataFrame, url: str, model: str, clock: ReplayClock, raw_from: float) -> None:
        """Prepare the requests of a table in order of `at`; gaps are filled for requests before `raw_from`."""
        self.seen = CallerCounts()
        self.pace = 1e9
        self.now = float(flights["at"].iloc[0])
        self._url, self._model, self._clock = url, model, clock
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
            await asyncio.gather(*(self._caller(session) for _ in range(_CALLER_COUNT)), self._labeller(session))

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
            began = time.monotonic()
            headers = {"content-type": "application/json", "x-request-id": name}
            self.seen.sent += 1
            try:
                async with session.post(target, data=body, headers=headers) as reply:
                    text = await reply.read()
                    if reply.status == 200:  # noqa: PLR2004 - HTTP
                        version = reply.headers.get("x-model-version", "?")
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

    async def _labeller(self, session: aiohttp.ClientSession) -> None:
        """Send each label when its flight has landed."""
        target = f"{self._url}/models/{self._model}/labels"
        while not self._stop.is_set():
            due: list[dict[str, object]] = []
            while self._labels and self._labels[0][0] <= self.now and len(due) < _LABEL_BATCH:
                known, name, late = heapq.heappop(self._labels)
                due.append({"request": name, "label": late, "at": known})
            if not due:
                await asyncio.sleep(0.05)
                continue
            async with session.post(target, json=due) as reply:
                if reply.status >= 400:  # noqa: PLR2004 - HTTP
                    raise Unavailable(f"the gateway refuses labels: {reply.status} {(await reply.text())[:200]}")


def _json(value: object) -> object:
    """A cell as JSON has it: a gap is null."""
    return None if isinstance(value, float) and math.isnan(value) else value
