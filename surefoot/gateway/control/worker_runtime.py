"""Run one gateway worker, which loads the versions that the shared routes need."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from surefoot.core.naming.model_names import model_file_name
from surefoot.core.ports import Clock
from surefoot.gateway.control.acknowledgement import wait_until_acknowledged
from surefoot.gateway.control.handover import hand_over_socket
from surefoot.gateway.control.metrics import add_counts
from surefoot.gateway.control.model_controller import ModelController
from surefoot.gateway.control.reports.cut_reports import CutReporter
from surefoot.gateway.control.reports.fallback_reports import FallbackReporter
from surefoot.gateway.control.reports.gateway_journal import GatewayJournal
from surefoot.gateway.control.route_entry import entry_under_kill_switch, has_candidate_traffic, persist_route
from surefoot.gateway.control.route_errors import NotPersisted
from surefoot.gateway.control.route_files import read_routes
from surefoot.gateway.control.shared_routes import SharedRouteTable, WorkerState
from surefoot.gateway.control.version_loader import VersionLoader, VersionLoadFunctions
from surefoot.gateway.control.wake_sockets import drain_messages
from surefoot.gateway.inference.idle_monitor import IdleMonitor
from surefoot.gateway.inference.router import VersionRouter
from surefoot.gateway.inference.routes.route_snapshot import KILL_SWITCH_KEY, NO_ROUTES
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.log.prediction_log_writer import PredictionLogWriter, SegmentWriter
from surefoot.models.blocking_calls import run_in_daemon_thread

_log = logging.getLogger(__name__)
_SHUTDOWN_TIMEOUT_S = 5.0
"""How long models may finish what they have when the gateway stops [s]."""
_STATS_TIMEOUT_S = 0.5
"""How long counts of other workers are waited for [s]."""
_POLL_INTERVAL_S = 0.02
"""How often a worker that has something to do checks for changes [s]."""
_IDLE_INTERVAL_S = 0.5
"""How often a worker that has nothing to do checks for changes that no other process has told it [s]."""
_BUSY_S = 1.0
"""How long after its last request a worker still counts as busy [s]."""
_IDLE_CHECK_S = 0.1
"""How often the host's idle time is sampled for shadows [s]."""
_LOAD_RETRY_S = 5.0
"""How often a version that cannot be loaded is tried again [s]."""


class WorkerRuntime:
    """The models of one worker and its part in the shared route table; its methods belong to the event loop.

    Attributes:
        models: Controllers of the models that are served here, by name.
        routes: The routes that this worker has acknowledged.
    """

    def __init__(
        self, settings: GatewaySettings, clock: Clock, load: VersionLoadFunctions, journal: GatewayJournal
    ) -> None:
        """Open the shared route table; no slot is taken yet."""
        self.models: dict[str, ModelController] = {}
        self.routes = NO_ROUTES
        self._fallback_reports: list[FallbackReporter] = []
        self._kill_file = settings.root / "killed"
        self._settings = settings
        self._clock = clock
        self._loaders = load
        self._journal = journal
        # One thread: two downloads at once would compete with the serving for processor time.
        self._load_thread = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._route_table = SharedRouteTable(settings.root)
        self._generations = self._route_table.reader.generations
        self._generation = 0
        self._preload_generation = -1
        self._starting = True
        self._warm_tried = False
        self._stats_reported = 0
        self._listening: socket.socket | None = None
        self._supervisor = self._handed_over_to = 0
        self._loading_needed = False
        self._checked_at = self._loaded_at = self._sampled_at = time.monotonic()
        self._idle_monitor = IdleMonitor(settings.shadow_idle_share)
        self._in_flight = 0
        self._busy_at = time.monotonic()
        self._wake_socket: socket.socket | None = None
        self._sleep: asyncio.Future[None] | None = None
        self._woken = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading: asyncio.Task[None] | None = None

    def set_listening_socket(self, listening: socket.socket, supervisor: int) -> None:
        """Set the socket that other workers serve as well, and the supervisor of this worker."""
        self._listening, self._supervisor = listening, supervisor

    async def start(self) -> None:
        """Take a slot, and load what the other workers have loaded before any request is answered."""
        with self._route_table.lock():
            if not self._route_table.has_workers():
                self._restore_routes()
            self._route_table.take_slot()
        self._wake_socket = self._route_table.wake_sockets.open(self._route_table.slot)
        if self._wake_socket is not None:  # a change before this line is found by the first look, which is below
            asyncio.get_running_loop().add_reader(self._wake_socket, self._wake, self._wake_socket)
        self.follow_routes()
        self._tasks.add(asyncio.create_task(self._run_ticks()))  # routes may change while this one waits
        # Loading ends this wait, and so may the end of the other workers: there is no one event to wait for.
        while not self._ready_to_serve():  # noqa: ASYNC110
            await asyncio.sleep(_POLL_INTERVAL_S)
        self._starting = False
        self._tell_state()
        for controller in self.models.values():
            controller.alarms.resume()
        for reporter in self._fallback_reports:
            reporter.resume_reports()

    def _ready_to_serve(self) -> bool:
        """Whether callers are better off with this worker than without it."""
        if self._preload_generation < 0:
            return False
        others = [slot for slot in self._route_table.answering_workers() if slot != self._route_table.slot]
        return (self._serves_all() and self._warm_tried) or not others

    def _serves_all(self) -> bool:
        """Whether every routed model has a loaded champion here."""
        return all(
            controller.requested is None or controller.router.split is not None for controller in self.models.values()
        )

    def _tell_state(self) -> None:
        """Tell the other workers and the supervisor what this worker has loaded."""
        missing = any(not controller.is_warm for controller in self.models.values())
        state = WorkerState.SERVES if self._serves_all() else WorkerState(0)
        state |= WorkerState.WARM_MISSING if missing else state
        state |= WorkerState.STARTING if self._starting else state
        self._route_table.set_state(state if self._warm_tried else state | WorkerState.WARM_UNTRIED)

    def _restore_routes(self) -> None:
        """Put the routes of the route files in force; call it inside the lock, while no other worker lives."""
        self._route_table.control_contact_at = time.monotonic()
        document = read_routes(self._settings.root)
        with contextlib.suppress(FileNotFoundError):
            document[KILL_SWITCH_KEY] = {"reason": self._kill_file.read_text(encoding="utf-8")}
        self._route_table.reset(document)

    async def stop(self) -> None:
        """Let the models finish their queues, and give the slot back."""
        for task in (*self._tasks, *(() if self._loading is None else (self._loading,))):
            task.cancel()
        if self._wake_socket is not None:
            asyncio.get_running_loop().remove_reader(self._wake_socket)
            self._wake_socket.close()
            self._wake_socket = None
        self._route_table.release_slot()  # no request is answered any more: no change waits for this worker
        for controller in self.models.values():
            controller.router.close()
        await self._wait_until_ended(_SHUTDOWN_TIMEOUT_S)
        for controller in self.models.values():
            controller.router.kill()
        await self._wait_until_ended(_SHUTDOWN_TIMEOUT_S)
        self._load_thread.shutdown(wait=False, cancel_futures=True)

    async def _wait_until_ended(self, seconds: float) -> None:
        """Wait for the models' processes to end, up to a limit."""
        deadline = time.monotonic() + seconds
        # Processes end this wait, and there are many of them: there is no one event to wait for.
        while any(one.router.is_busy for one in self.models.values()) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_INTERVAL_S)

    def follow_routes(self) -> None:
        """Follow the routes that are in force, and acknowledge them; without a change this costs a load from memory."""
        if self._generations[0] == self._generation:
            return
        routes = self._route_table.reader.read()
        for name, route in routes.models.items():
            self.controller(name).apply_route(route)
        self.routes = routes
        self._generation = routes.generation  # last: a change that was taken over by half is taken over again
        self._route_table.acknowledge_routes(routes.generation)

    async def _load_versions(self) -> None:
        """Load what routes and preloads name, and acknowledge the preloads."""
        first = True  # though there is no new preload, a version may be missing
        while first or self._preload_generation != self._route_table.preload_generation:
            first = False
            preload, routes = self._route_table.preload_generation, self._route_table.read_preloads()
            # A preload is withdrawn once its route is in force: read in this order, one of both always names a version.
            self.follow_routes()
            failures = {}
            for name in {*self.models, *routes}:
                failure = await self.controller(name).load_versions(routes.get(name))
                if failure is not None:
                    failures[name] = failure
            self._preload_generation = preload
            if failures:
                self._route_table.report_load_failures(preload, failures)
            self._tell_state()
            self._route_table.acknowledge_preload(preload)
        for controller in list(self.models.values()):
            await controller.load_warm_versions()
        self._warm_tried = True
        self._tell_state()

    async def _run_ticks(self) -> None:
        """Follow changes though no request comes, load what is wanted, and kill processes that hang."""
        while True:
            await self._wait_for_tick()
            try:
                await self._tick()
            except Exception:  # noqa: BLE001 - last resort: a worker that sees no change any more would serve on for ever
                _log.exception("this worker could not check for changes; it tries again")
                await asyncio.sleep(1.0)

    async def _wait_for_tick(self) -> None:
        """Wait a moment while there is something to do, else until a change, a request or the next idle check."""
        if self._woken:  # while this worker was at the last tick
            self._woken = False
            return
        loop = asyncio.get_running_loop()
        self._sleep = loop.create_future()
        timer = loop.call_later(_IDLE_INTERVAL_S if self._is_idle() else _POLL_INTERVAL_S, self._wake)
        try:
            await self._sleep
        finally:
            timer.cancel()
            self._sleep, self._woken = None, False

    def _is_idle(self) -> bool:
        """Whether nothing is under way here, and another process that changes something wakes this one."""
        loading = self._preload_generation < 0 or (self._loading is not None and not self._loading.done())
        if self._wake_socket is None or loading or self._in_flight or time.monotonic() - self._busy_at < _BUSY_S:
            return False
        return all(one.router.shadow is None for one in self.models.values())

    def _wake(self, receiver: socket.socket | None = None) -> None:
        """End the wait for the next tick."""
        if receiver is not None:
            drain_messages(receiver)
        self._woken = True
        if self._sleep is not None and not self._sleep.done():
            self._sleep.set_result(None)

    def begin_request(self) -> None:
        """Note that a request is under way, and look after it; each call needs an `end_request`."""
        if not self._in_flight and time.monotonic() - self._busy_at >= _BUSY_S:
            self._wake()
        self._in_flight += 1

    def end_request(self) -> None:
        """Note that a request is over."""
        self._in_flight -= 1
        self._busy_at = time.monotonic()

    async def _tick(self) -> None:
        self.follow_routes()
        for controller in self.models.values():
            controller.collect_tripwire_cut()
        for reporter in self._fallback_reports:
            reporter.report_when_due()
        self._tell_state()
        if self._route_table.last_stats_request != self._stats_reported:
            self._report_stats()
        now = time.monotonic()
        if now - self._sampled_at > _IDLE_CHECK_S:
            self._sampled_at, host_idle = now, self._idle_monitor.measure_idle()
            for controller in self.models.values():
                controller.router.set_shadow_allowance(host_idle=host_idle)
        if self._route_table.supervisor != self._supervisor and self._listening is not None:
            await self._hand_over(self._listening)
        if now - self._checked_at > 1.0:
            self._checked_at = now
            self._check_control_contact(now)
            for controller in self.models.values():
                controller.router.kill_hung()
                controller.share_unbatchable()
        if self._loading is not None and not self._loading.done():
            return
        if now - self._loaded_at > _LOAD_RETRY_S and any(one.needs_loading for one in self.models.values()):
            self._loading_needed = True
        if self._loading_needed or self._preload_generation != self._route_table.preload_generation:
            self._loading_needed, self._loaded_at = False, now
            self._loading = asyncio.create_task(self._load_versions())

    async def set_kill_switch(self, reason: str) -> None:
        """Set every candidate of every model to 0, for all workers, until `lift_kill_switch`.

        Raises:
            NotPersisted: It is done, but a restart would forget it.
        """
        with self._route_table.lock():
            _, document = self._route_table.read_routes()
            changed = {
                name: entry_under_kill_switch(entry, reason)
                for name, entry in document.items()
                if has_candidate_traffic(entry)
            }
            generation = self._route_table.publish({**document, **changed, KILL_SWITCH_KEY: {"reason": reason}})
        self.follow_routes()
        _log.critical("KILL SWITCH: every candidate is cut: %s", reason)
        unwritten = ""
        try:
            await run_in_daemon_thread(partial(self._kill_file.write_text, reason, encoding="utf-8"))
            for name in changed:
                await run_in_daemon_thread(partial(persist_route, self._route_table, self._settings.root, name))
        except OSError as error:  # what is in force matters more: every worker is waited for all the same
            unwritten = f"{error.strerror or error}"
        await wait_until_acknowledged(self._route_table, generation, self._settings.ack_patience_s)
        if unwritten:
            raise NotPersisted(f"it cannot be written to the gateway's disk, so a restart forgets it: {unwritten}")

    async def lift_kill_switch(self) -> None:
        """Let candidates have traffic again, with their next route."""
        with self._route_table.lock():
            _, document = self._route_table.read_routes()
            document.pop(KILL_SWITCH_KEY, None)
            self._route_table.publish(document)
        await run_in_daemon_thread(partial(self._kill_file.unlink, missing_ok=True))

    def _report_stats(self) -> None:
        """Report the counts of this worker to the others."""
        request = self._stats_reported = self._route_table.last_stats_request
        self._route_table.report_stats(request, {name: one.router.stats() for name, one in self.models.items()})

    async def total_stats(self) -> dict[str, dict[str, Any]]:
        """Give the counts of all workers together, by model."""
        found: dict[str, dict[str, Any]] = {}
        for stats in (await self.worker_stats()).values():
            for name, counts in stats.items():
                found[name] = add_counts(found[name], counts) if name in found else counts
        return found

    async def worker_stats(self) -> dict[int, dict[str, dict[str, Any]]]:
        """Give the counts of every worker, by slot and by model; a worker that is late is left out."""
        request = self._route_table.request_stats()
        self._report_stats()
        deadline = time.monotonic() + _STATS_TIMEOUT_S
        # Other processes end this wait: there is no event to wait for.
        while self._route_table.workers_without_stats(request) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_INTERVAL_S / 4.0)
        routed = {name for name, controller in self.models.items() if controller.requested is not None}
        return {
            slot: {name: counts for name, counts in stats.items() if name in routed}
            for slot, stats in self._route_table.collect_stats(request)
        }

    def record_control_contact(self) -> None:
        """Note that the control plane has sent a request."""
        self._route_table.control_contact_at = time.monotonic()
        self._check_control_contact(time.monotonic())

    def _check_control_contact(self, now: float) -> None:
        silent = now - self._route_table.control_contact_at > self._settings.control_ttl_s
        for controller in self.models.values():
            controller.set_champion_only(champion_only=silent)

    async def _hand_over(self, listening: socket.socket) -> None:
        """Give the listening socket to another supervisor that has come; it says when this worker is to leave."""
        supervisor = self._route_table.supervisor
        if supervisor != self._handed_over_to:
            self._handed_over_to = supervisor
            await run_in_daemon_thread(partial(hand_over_socket, supervisor, listening))

    def controller(self, name: str) -> ModelController:
        """Give the controller of a model; a new model gets one."""
        if name not in self.models:
            router = VersionRouter(
                name,
                self._settings,
                PredictionLogWriter(self.new_segment(name, "predictions")),
                self._route_table.reader,
            )
            self.models[name] = ModelController(
                name,
                self._settings,
                VersionLoader(name, self._loaders, self._load_thread),
                router,
                self._route_table,
                PredictionLogWriter(self.new_segment(name, "shadows")),
                CutReporter(name, self._settings.root, self._journal),
                self._clock,
            )
            root, quiet_s = self._settings.root, self._settings.fallback_quiet_s
            self._fallback_reports += [
                FallbackReporter(name, root, rung, self._journal, self._route_table, quiet_s)
                for rung in (router.failover.proven_good, router.failover.fallback)
            ]
        return self.models[name]

    def new_segment(self, name: str, kind: str) -> SegmentWriter:
        """Give a log segment for records of a kind, which this worker alone writes."""
        return SegmentWriter(self._segment_folder(name) / f"{kind}-{os.getpid()}-{int(self._clock.now() * 1000)}.jsonl")

    def _segment_folder(self, name: str) -> Path:
        return self._settings.root / "log" / model_file_name(name)
