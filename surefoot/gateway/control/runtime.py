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

from surefoot.core.domain import Version
from surefoot.core.ports import Clock
from surefoot.gateway.control import route_codec
from surefoot.gateway.control.metrics import add_counts
from surefoot.gateway.control.model_controller import (
    Loaders,
    ModelController,
    NotPersisted,
    wait_until_acknowledged,
)
from surefoot.gateway.control.route_entry import KILL_SWITCH, persist, without_candidate
from surefoot.gateway.control.shared_routes import Document, SharedRouteTable
from surefoot.gateway.inference.idle import IdleMonitor
from surefoot.gateway.inference.router import VersionRouter
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.inference.shadow import ShadowQueue
from surefoot.gateway.log.record import PredictionLogWriter, SegmentWriter
from surefoot.models.contract import Predictor
from surefoot.models.threads import in_thread

_log = logging.getLogger(__name__)
GRACE_S = 5.0
"""How long models may finish what they have when the gateway stops [s]."""
STATS_TIMEOUT_S = 0.5
"""How long counts of other workers are waited for [s]."""
TICK_S = 0.02
"""How often a worker that nobody asks looks for changes [s]."""
IDLE_CHECK_S = 0.1
"""How often it is looked whether shadows have time [s]."""
RETRY_S = 5.0
"""How often a champion that cannot be loaded is tried again [s]."""


class WorkerRuntime:
    """All its methods belong to the event loop.

    Attributes:
        models: What is served here, by name.
        broken: Why the route file of a model cannot be used, by name.
        killed: Why the kill switch is set; empty when it is not.
    """

    def __init__(self, settings: GatewaySettings, clock: Clock, load: Loaders) -> None:
        """Know the board; no place is taken yet."""
        self.models: dict[str, ModelController] = {}
        self.broken: dict[str, str] = {}
        self.killed = ""
        self._killed = settings.root / "killed"
        self._settings = settings
        self._clock = clock
        self._load = load
        # One thread: two downloads at once would fight for the serving's processor time.
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._route_table = SharedRouteTable(settings.root)
        self._generations = self._route_table.generations
        self._generation = 0
        self._wanted = -1
        self._told = 0
        self._listening: socket.socket | None = None
        self._supervisor = self._greeted = 0
        self._lost = False
        self._tended = self._tried = self._idled = time.monotonic()
        self._idle_monitor = IdleMonitor(settings.shadow_idle_share)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading: asyncio.Task[None] | None = None

    def share(self, listening: socket.socket, supervisor: int) -> None:
        """Know the socket that other workers serve as well, and who keeps this one."""
        self._listening, self._supervisor = listening, supervisor

    async def start(self) -> None:
        """Take a place, and be as far as the others before anybody is answered."""
        self._route_table.join(self._first)
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
        return self._serves() or not any(slot != self._route_table.slot for slot in self._route_table.abreast())

    def _serves(self) -> bool:
        return all(served.asked is None or served.arms.split is not None for served in self.models.values())

    def _first(self) -> Document:
        self._route_table.heard = time.monotonic()
        found = restored_routes(self._settings.root)
        with contextlib.suppress(FileNotFoundError):
            found[KILL_SWITCH] = {"reason": self._killed.read_text(encoding="utf-8")}
        return found

    async def stop(self) -> None:
        """Let the models finish what they have, and give the place back."""
        for task in (*self._tasks, *(() if self._loading is None else (self._loading,))):
            task.cancel()
        self._route_table.leave()  # nobody is answered any more: no change has to wait for this worker
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
        self._generation, document = self._route_table.routes()  # before the models are changed, for they look too
        self.broken = {name: str(entry["broken"]) for name, entry in document.items() if "broken" in entry}
        self.killed = str(document.get(KILL_SWITCH, {}).get("reason", ""))
        try:
            for name, entry in document.items():
                if "route" in entry:
                    self.served(name).apply(entry)
        except BaseException:
            # Half of a change is none: whoever looks next begins anew, and it is not acknowledged.
            self._generation = -1
            raise
        self._route_table.seen(self._generation)

    async def _ensure(self) -> None:
        """Load what the board names, and say so."""
        again = True  # though nothing else is wanted, something may be lacking
        while again or self._wanted != self._route_table.wanted:
            again = False
            wanted, wishes = self._route_table.wanted, self._route_table.wishes()
            failures = {}
            for name in {*self.models, *wishes}:
                failure = await self.served(name).ensure(wishes.get(name))
                if failure is not None:
                    failures[name] = failure
            self._wanted = wanted
            if failures:
                self._route_table.failed(wanted, failures)
            self._route_table.serves(yes=self._serves())
            self._route_table.ready(wanted)
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
        self._route_table.serves(yes=self._serves())
        if self._route_table.asked != self._told:
            self._tell()
        now = time.monotonic()
        if now - self._idled > IDLE_CHECK_S:
            self._idled, idle_monitor = now, self._idle_monitor.look()
            for served in self.models.values():
                served.arms.make_room(idle_monitor=idle_monitor)
        if self._route_table.supervisor != self._supervisor and self._listening is not None:
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
        if self._lost or self._wanted != self._route_table.wanted:
            self._lost, self._tried = False, now
            self._loading = asyncio.create_task(self._ensure())

    async def kill(self, reason: str) -> None:
        """Set every candidate of every model to 0, for all workers, until `lift`.

        Raises:
            NotPersisted: It is done, but a restart would forget it.
        """
        with self._route_table.changing():
            _, document = self._route_table.routes()
            changed = {name: without_candidate(entry, reason) for name, entry in document.items() if _weighty(entry)}
            generation = self._route_table.publish({**document, **changed, KILL_SWITCH: {"reason": reason}})
        self.look()
        _log.critical("KILL SWITCH: every candidate is cut: %s", reason)
        unwritten = ""
        try:
            await in_thread(partial(self._killed.write_text, reason, encoding="utf-8"))
            for name in changed:
                await in_thread(partial(persist, self._route_table, self._settings.root, name))
        except OSError as error:  # what is in force matters more: every worker is waited for all the same
            unwritten = f"{error.strerror or error}"
        await wait_until_acknowledged(self._route_table, generation, self._settings.ack_patience_s)
        if unwritten:
            raise NotPersisted(f"it cannot be written to the gateway's disk, so a restart forgets it: {unwritten}")

    async def lift(self) -> None:
        """Let candidates have traffic again, with their next route."""
        with self._route_table.changing():
            _, document = self._route_table.routes()
            document.pop(KILL_SWITCH, None)
            self._route_table.publish(document)
        await in_thread(partial(self._killed.unlink, missing_ok=True))

    def _tell(self) -> None:
        """Let the others know the counts of this worker."""
        self._told = self._route_table.asked
        self._route_table.tell(self._told, {name: served.arms.stats() for name, served in self.models.items()})

    async def stats(self) -> dict[str, dict[str, Any]]:
        """Counts of all workers together, by model; a worker that does not tell its own within HASTE_S is left out."""
        found: dict[str, dict[str, Any]] = {}
        for told in (await self.each()).values():
            for name, counts in told.items():
                found[name] = add_counts(found[name], counts) if name in found else counts
        return found

    async def each(self) -> dict[int, dict[str, dict[str, Any]]]:
        """Counts of every worker, by its place and by model."""
        asked = self._route_table.ask()
        self._tell()
        deadline = time.monotonic() + STATS_TIMEOUT_S
        # Other processes end this wait: there is no event to wait for.
        while self._route_table.silent(asked) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(TICK_S / 4.0)
        routed = {name for name, served in self.models.items() if served.asked is not None}
        return {
            slot: {name: counts for name, counts in told.items() if name in routed}
            for slot, told in self._route_table.told(asked)
        }

    def heard(self) -> None:
        """The control plane has said something."""
        self._route_table.heard = time.monotonic()
        self._listen(time.monotonic())

    def _listen(self, now: float) -> None:
        silent = now - self._route_table.heard > self._settings.control_ttl_s
        for served in self.models.values():
            served.be(silent=silent)

    async def _change_keeper(self, listening: socket.socket) -> None:
        """Another keeper has come: give it the listening socket; it says when this worker is to leave."""
        supervisor = self._route_table.supervisor
        if supervisor != self._greeted:
            self._greeted = supervisor
            await in_thread(partial(hand_over_socket, supervisor, listening))

    def served(self, name: str) -> ModelController:
        """A model, known from now on."""
        if name not in self.models:
            arms = VersionRouter(self._settings, PredictionLogWriter(self.segment(name, "predictions")), self.look)
            set_shadow = partial(self._make_shadow, PredictionLogWriter(self.segment(name, "shadows")))
            self.models[name] = ModelController(
                name, self._settings, self._load, self._loader, arms, self._route_table, set_shadow
            )
        return self.models[name]

    def _make_shadow(self, log: PredictionLogWriter, version: Version, predictor: Predictor) -> ShadowQueue:
        return ShadowQueue(version, predictor, log, self._settings, self._clock.now)

    def segment(self, name: str, kind: str) -> SegmentWriter:
        """Where this worker writes records of a kind."""
        start = int(self._clock.now() * 1000)
        return SegmentWriter(self._settings.root / "log" / name / f"{kind}-{os.getpid()}-{start}.jsonl")


def _weighty(entry: Mapping[str, object]) -> bool:
    """Whether a candidate gets requests, seen or unseen."""
    if "route" not in entry:
        return False
    split = route_codec.decode_split(entry["route"])
    return split.weight > 0.0 or split.mirror > 0.0


def handover_address(supervisor: int) -> str:
    """Where a keeper waits for a listening socket; a name in the kernel, not a file."""
    return f"\0surefoot-supervisor-{supervisor}"


def hand_over_socket(supervisor: int, listening: socket.socket) -> None:
    """Give the listening socket to the next keeper; it does not matter when another worker has."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as call:
        call.settimeout(1.0)
        call.connect(handover_address(supervisor))
        if peer_user(call) != os.getuid():  # the name is free for anybody once a keeper is gone
            return
        socket.send_fds(call, [b"listening"], [listening.fileno()])


def peer_user(call: socket.socket) -> int:
    """User who has the other end of a local connection."""
    return int(struct.unpack("3i", call.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])


def restored_routes(root: Path) -> dict[str, dict[str, object]]:
    """The routes that were in force before a restart, as the board has them."""
    found = route_codec.read_routes(root)
    for name, entry in found.items():
        if "broken" in entry:
            _log.critical("%s: %s", name, entry["broken"])
    return found
