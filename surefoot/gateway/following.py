"""One worker among others: it follows the board, loads what is wanted, and looks after its models."""

import asyncio
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from surefoot.core.ports import Clock
from surefoot.gateway import route
from surefoot.gateway.arms import Arms
from surefoot.gateway.board import Board
from surefoot.gateway.control import Served
from surefoot.gateway.record import PredictionLog, Segment
from surefoot.gateway.settings import GatewaySettings, Load

_log = logging.getLogger(__name__)
GRACE_S = 5.0
"""How long models may finish what they have when the gateway stops [s]."""
TICK_S = 0.02
"""How often a worker that nobody asks looks for changes [s]."""
RETRY_S = 5.0
"""How often a champion that cannot be loaded is tried again [s]."""


class Following:
    """All its methods belong to the event loop.

    Attributes:
        models: What is served here, by name.
        broken: Why the route file of a model cannot be used, by name.
    """

    def __init__(self, settings: GatewaySettings, clock: Clock, load: Load) -> None:
        """Know the board; no place is taken yet."""
        self.models: dict[str, Served] = {}
        self.broken: dict[str, str] = {}
        self._settings = settings
        self._clock = clock
        self._load = load
        # One thread: two downloads at once would fight for the serving's processor time.
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._board = Board(settings.root)
        self._generation = 0
        self._wanted = -1
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take a place, and be as far as the others before anybody is answered."""
        self._board.join(lambda: restored(self._settings.root))
        self.look()
        await self._ensure()
        self._tasks.add(asyncio.create_task(self._watch()))

    async def stop(self) -> None:
        """Let the models finish what they have, and give the place back."""
        for task in (*self._tasks, *(() if self._loading is None else (self._loading,))):
            task.cancel()
        for served in self.models.values():
            served.arms.close()
        await self._until_idle(GRACE_S)
        for served in self.models.values():
            served.arms.kill()
        await self._until_idle(GRACE_S)
        self._board.leave()
        self._loader.shutdown(wait=False, cancel_futures=True)

    async def _until_idle(self, seconds: float) -> None:
        """Wait for the models' processes to end, up to a limit."""
        deadline = time.monotonic() + seconds
        # Processes end this wait, and there are many of them: there is no one event to wait for.
        while any(served.arms.busy for served in self.models.values()) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(TICK_S)

    def look(self) -> None:
        """Take over what has changed for all workers: this is asked at every request, and costs a load from memory."""
        if self._board.generation == self._generation:
            return
        self._generation, document = self._board.routes()  # before the models are changed, for they look too
        self.broken = {name: str(entry["broken"]) for name, entry in document.items() if "broken" in entry}
        for name, entry in document.items():
            if "route" in entry:
                self.served(name).apply(entry)
        self._board.seen(self._generation)

    async def _ensure(self) -> None:
        """Load what the board names, and say so."""
        while self._wanted != self._board.wanted:
            wanted, wishes = self._board.wanted, self._board.wishes()
            failures = {}
            for name in {*self.models, *wishes}:
                failure = await self.served(name).ensure(wishes.get(name))
                if failure is not None:
                    failures[name] = failure
            self._wanted = wanted
            if failures:
                self._board.failed(wanted, failures)
            self._board.ready(wanted)

    async def _watch(self) -> None:
        """See changes though nobody asks, load what is wanted, and look after processes that hang."""
        tended = tried = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            self.look()
            now = time.monotonic()
            if now - tended > 1.0:
                tended = now
                for served in self.models.values():
                    served.arms.watch()
            if self._loading is not None and not self._loading.done():
                continue
            if now - tried > RETRY_S and any(served.lacking for served in self.models.values()):
                self._wanted = -1
            if self._wanted != self._board.wanted:
                tried = now
                self._loading = asyncio.create_task(self._ensure())

    def served(self, name: str) -> Served:
        """A model, known from now on."""
        if name not in self.models:
            arms = Arms(self._settings, PredictionLog(self.segment(name, "predictions")), self.look)
            self.models[name] = Served(name, self._settings, self._load, self._loader, arms, self._board)
        return self.models[name]

    def segment(self, name: str, kind: str) -> Segment:
        """Where this worker writes records of a kind."""
        start = int(self._clock.now() * 1000)
        return Segment(self._settings.root / "log" / name / f"{kind}-{os.getpid()}-{start}.jsonl")


def restored(root: Path) -> dict[str, dict[str, object]]:
    """The routes that were in force before a restart, as the board has them."""
    found: dict[str, dict[str, object]] = {}
    for name, split in route.read(root).items():
        if isinstance(split, str):
            _log.critical("%s: %s", name, split)
            found[name] = {"broken": split}
        else:
            found[name] = {"route": route.encode(split), "warm": []}
    return found
