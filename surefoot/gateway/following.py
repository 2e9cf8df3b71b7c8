"""One worker among others: it follows the board, loads what is wanted, and looks after its models."""

import asyncio
import contextlib
import logging
import os
import socket
import struct
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from surefoot.core.model import Version
from surefoot.core.ports import Clock
from surefoot.gateway import route
from surefoot.gateway.arms import Arms
from surefoot.gateway.board import Board, Document
from surefoot.gateway.control import Loads, NotPersisted, Served, until_seen
from surefoot.gateway.entry import KILLED, cut_off, persist
from surefoot.gateway.leisure import Leisure
from surefoot.gateway.metrics import together
from surefoot.gateway.record import PredictionLog, Segment
from surefoot.gateway.settings import GatewaySettings
from surefoot.gateway.shadow import Shadow
from surefoot.models.beside import in_thread
from surefoot.models.contract import Predictor

_log = logging.getLogger(__name__)
GRACE_S = 5.0
"""How long models may finish what they have when the gateway stops [s]."""
HASTE_S = 0.5
"""How long counts of other workers are waited for [s]."""
TICK_S = 0.02
"""How often a worker that nobody asks looks for changes [s]."""
LEISURE_S = 0.1
"""How often it is looked whether shadows have time [s]."""
RETRY_S = 5.0
"""How often a champion that cannot be loaded is tried again [s]."""


class Following:
    """All its methods belong to the event loop.

    Attributes:
        models: What is served here, by name.
        broken: Why the route file of a model cannot be used, by name.
        killed: Why the kill switch is set; empty when it is not.
    """

    def __init__(self, settings: GatewaySettings, clock: Clock, load: Loads) -> None:
        """Know the board; no place is taken yet."""
        self.models: dict[str, Served] = {}
        self.broken: dict[str, str] = {}
        self.killed = ""
        self._killed = settings.root / "killed"
        self._settings = settings
        self._clock = clock
        self._load = load
        # One thread: two downloads at once would fight for the serving's processor time.
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._board = Board(settings.root)
        self._generations = self._board.generations
        self._generation = 0
        self._wanted = -1
        self._told = 0
        self._listening: socket.socket | None = None
        self._keeper = self._greeted = 0
        self._lost = False
        self._tended = self._tried = self._idled = time.monotonic()
        self._leisure = Leisure(settings.shadow_leisure)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading: asyncio.Task[None] | None = None

    def share(self, listening: socket.socket, keeper: int) -> None:
        """Know the socket that other workers serve as well, and who keeps this one."""
        self._listening, self._keeper = listening, keeper

    async def start(self) -> None:
        """Take a place, and be as far as the others before anybody is answered."""
        self._board.join(self._first)
        self.look()
        self._tasks.add(asyncio.create_task(self._watch()))  # routes change meanwhile, and are waited for
        # Loading ends this wait, and so may the end of the other workers: there is no one event to wait for.
        while not self._fit():  # noqa: ASYNC110
            await asyncio.sleep(TICK_S)
        for served in self.models.values():
            served.alarms.remember()

    def _fit(self) -> bool:
        """Whether callers are better off with this worker than without it."""
        if self._wanted < 0:
            return False
        return self._serves() or not any(slot != self._board.slot for slot in self._board.abreast())

    def _serves(self) -> bool:
        return all(served.asked is None or served.arms.split is not None for served in self.models.values())

    def _first(self) -> Document:
        self._board.heard = time.monotonic()
        found = restored(self._settings.root)
        with contextlib.suppress(FileNotFoundError):
            found[KILLED] = {"reason": self._killed.read_text(encoding="utf-8")}
        return found

    async def stop(self) -> None:
        """Let the models finish what they have, and give the place back."""
        for task in (*self._tasks, *(() if self._loading is None else (self._loading,))):
            task.cancel()
        self._board.leave()  # nobody is answered any more: no change has to wait for this worker
        for served in self.models.values():
            served.arms.close()
        await self._until_idle(GRACE_S)
        for served in self.models.values():
            served.arms.kill()
        await self._until_idle(GRACE_S)
        self._loader.shutdown(wait=False, cancel_futures=True)

    async def _until_idle(self, seconds: float) -> None:
        """Wait for the models' processes to end, up to a limit."""
        deadline = time.monotonic() + seconds
        # Processes end this wait, and there are many of them: there is no one event to wait for.
        while any(served.arms.busy for served in self.models.values()) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(TICK_S)

    def look(self) -> None:
        """Take over what has changed for all workers: this is asked at every request, and costs a load from memory."""
        if self._generations[0] == self._generation:
            return
        self._generation, document = self._board.routes()  # before the models are changed, for they look too
        self.broken = {name: str(entry["broken"]) for name, entry in document.items() if "broken" in entry}
        self.killed = str(document.get(KILLED, {}).get("reason", ""))
        try:
            for name, entry in document.items():
                if "route" in entry:
                    self.served(name).apply(entry)
        except BaseException:
            # Half of a change is none: whoever looks next begins anew, and it is not acknowledged.
            self._generation = -1
            raise
        self._board.seen(self._generation)

    async def _ensure(self) -> None:
        """Load what the board names, and say so."""
        again = True  # though nothing else is wanted, something may be lacking
        while again or self._wanted != self._board.wanted:
            again = False
            wanted, wishes = self._board.wanted, self._board.wishes()
            failures = {}
            for name in {*self.models, *wishes}:
                failure = await self.served(name).ensure(wishes.get(name))
                if failure is not None:
                    failures[name] = failure
            self._wanted = wanted
            if failures:
                self._board.failed(wanted, failures)
            self._board.serves(yes=self._serves())
            self._board.ready(wanted)
        for served in list(self.models.values()):
            await served.warm_up()

    async def _watch(self) -> None:
        """See changes though nobody asks, load what is wanted, and look after processes that hang."""
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self._tend()
            except Exception:  # noqa: BLE001 - last resort: a worker that sees nothing any more would serve on for ever
                _log.exception("this worker could not look around; it tries again")
                await asyncio.sleep(1.0)

    async def _tend(self) -> None:
        self.look()
        self._board.serves(yes=self._serves())
        if self._board.asked != self._told:
            self._tell()
        now = time.monotonic()
        if now - self._idled > LEISURE_S:
            self._idled, leisure = now, self._leisure.look()
            for served in self.models.values():
                served.arms.make_room(leisure=leisure)
        if self._board.keeper != self._keeper and self._listening is not None:
            await self._change_keeper(self._listening)
        if now - self._tended > 1.0:
            self._tended = now
            self._listen(now)
            for served in self.models.values():
                served.arms.watch()
                served.spread()
        if self._loading is not None and not self._loading.done():
            return
        if now - self._tried > RETRY_S and any(served.lacking for served in self.models.values()):
            self._lost = True
        if self._lost or self._wanted != self._board.wanted:
            self._lost, self._tried = False, now
            self._loading = asyncio.create_task(self._ensure())

    async def kill(self, reason: str) -> None:
        """Set every candidate of every model to 0, for all workers, until `lift`.

        Raises:
            NotPersisted: It is done, but a restart would forget it.
        """
        with self._board.changing():
            _, document = self._board.routes()
            changed = {name: cut_off(entry, reason) for name, entry in document.items() if _weighty(entry)}
            generation = self._board.publish({**document, **changed, KILLED: {"reason": reason}})
        self.look()
        _log.critical("KILL SWITCH: every candidate is cut: %s", reason)
        unwritten = ""
        try:
            await in_thread(partial(self._killed.write_text, reason, encoding="utf-8"))
            for name in changed:
                await in_thread(partial(persist, self._board, self._settings.root, name))
        except OSError as error:  # what is in force matters more: every worker is waited for all the same
            unwritten = f"{error.strerror or error}"
        await until_seen(self._board, generation, self._settings.ack_patience_s)
        if unwritten:
            raise NotPersisted(f"it cannot be written to the gateway's disk, so a restart forgets it: {unwritten}")

    async def lift(self) -> None:
        """Let candidates have traffic again, with their next route."""
        with self._board.changing():
            _, document = self._board.routes()
            document.pop(KILLED, None)
            self._board.publish(document)
        await in_thread(partial(self._killed.unlink, missing_ok=True))

    def _tell(self) -> None:
        """Let the others know the counts of this worker."""
        self._told = self._board.asked
        self._board.tell(self._told, {name: served.arms.stats() for name, served in self.models.items()})

    async def stats(self) -> dict[str, dict[str, Any]]:
        """Counts of all workers together, by model; a worker that does not tell its own within HASTE_S is left out."""
        found: dict[str, dict[str, Any]] = {}
        for told in (await self.each()).values():
            for name, counts in told.items():
                found[name] = together(found[name], counts) if name in found else counts
        return found

    async def each(self) -> dict[int, dict[str, dict[str, Any]]]:
        """Counts of every worker, by its place and by model."""
        asked = self._board.ask()
        self._tell()
        deadline = time.monotonic() + HASTE_S
        # Other processes end this wait: there is no event to wait for.
        while self._board.silent(asked) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(TICK_S / 4.0)
        routed = {name for name, served in self.models.items() if served.asked is not None}
        return {
            slot: {name: counts for name, counts in told.items() if name in routed}
            for slot, told in self._board.told(asked)
        }

    def heard(self) -> None:
        """The control plane has said something."""
        self._board.heard = time.monotonic()
        self._listen(time.monotonic())

    def _listen(self, now: float) -> None:
        silent = now - self._board.heard > self._settings.control_ttl_s
        for served in self.models.values():
            served.be(silent=silent)

    async def _change_keeper(self, listening: socket.socket) -> None:
        """Another keeper has come: give it the listening socket; it says when this worker is to leave."""
        keeper = self._board.keeper
        if keeper != self._greeted:
            self._greeted = keeper
            await in_thread(partial(hand_over, keeper, listening))

    def served(self, name: str) -> Served:
        """A model, known from now on."""
        if name not in self.models:
            arms = Arms(self._settings, PredictionLog(self.segment(name, "predictions")), self.look)
            haunt = partial(self._haunt, PredictionLog(self.segment(name, "shadows")))
            self.models[name] = Served(name, self._settings, self._load, self._loader, arms, self._board, haunt)
        return self.models[name]

    def _haunt(self, log: PredictionLog, version: Version, predictor: Predictor) -> Shadow:
        return Shadow(version, predictor, log, self._settings, self._clock.now)

    def segment(self, name: str, kind: str) -> Segment:
        """Where this worker writes records of a kind."""
        start = int(self._clock.now() * 1000)
        return Segment(self._settings.root / "log" / name / f"{kind}-{os.getpid()}-{start}.jsonl")


def _weighty(entry: Mapping[str, object]) -> bool:
    """Whether a candidate gets requests, seen or unseen."""
    if "route" not in entry:
        return False
    split = route.decode(entry["route"])
    return split.weight > 0.0 or split.mirror > 0.0


def door_of(keeper: int) -> str:
    """Where a keeper waits for a listening socket; a name in the kernel, not a file."""
    return f"\0surefoot-keeper-{keeper}"


def hand_over(keeper: int, listening: socket.socket) -> None:
    """Give the listening socket to the next keeper; it does not matter when another worker has."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as call:
        call.settimeout(1.0)
        call.connect(door_of(keeper))
        if user_of(call) != os.getuid():  # the name is free for anybody once a keeper is gone
            return
        socket.send_fds(call, [b"listening"], [listening.fileno()])


def user_of(call: socket.socket) -> int:
    """User who has the other end of a local connection."""
    return int(struct.unpack("3i", call.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])


def restored(root: Path) -> dict[str, dict[str, object]]:
    """The routes that were in force before a restart, as the board has them."""
    found = route.read(root)
    for name, entry in found.items():
        if "broken" in entry:
            _log.critical("%s: %s", name, entry["broken"])
    return found
