"""Control the route and the loaded versions of one model in a gateway worker."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Mapping
from functools import partial

from surefoot.core.domain import Split, Version
from surefoot.core.ports import Clock
from surefoot.core.traffic_split_json import decode_traffic_split, encode_traffic_split
from surefoot.gateway.control.acknowledgement import ACKNOWLEDGEMENT_POLL_S, wait_until_acknowledged
from surefoot.gateway.control.fallback_controller import FallbackController
from surefoot.gateway.control.reports.cut_reports import CutReporter
from surefoot.gateway.control.route_entry import (
    entry_without_candidate,
    fallback_field,
    list_warm_versions,
    persist_route,
    policy_of_rollout,
    publish_standby,
    standby_field,
    standby_state,
)
from surefoot.gateway.control.route_errors import KillSwitchSet, LoadFailed, NotPersisted, StaleRoute
from surefoot.gateway.control.route_files import is_route_saved
from surefoot.gateway.control.shared_routes import SharedRouteTable
from surefoot.gateway.control.version_loader import VersionLoader
from surefoot.gateway.inference.router import VersionRouter
from surefoot.gateway.inference.routes.entry_fields import UNBATCHABLE_KEY, read_unbatchable_versions
from surefoot.gateway.inference.routes.route_snapshot import KILL_SWITCH_KEY, ConfiguredRoute
from surefoot.gateway.inference.routes.version_key import serving_versions, version_key
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.inference.shadow_queue import ShadowQueue, mirrored_version
from surefoot.gateway.log.prediction_log_writer import PredictionLogWriter
from surefoot.models.blocking_calls import run_in_daemon_thread

_log = logging.getLogger(__name__)
_STANDBY_RETRY_S = 60.0
"""How often a standby that cannot be loaded is tried again [s]."""


class ModelController:
    """Control of one registered model in this worker; all its methods belong to the event loop.

    Attributes:
        name: The registered model.
        router: Its data path.
        requested: The split that is in force for all workers; None before the first.
        error: Why the champion, or the first version that is to be served, cannot be loaded; empty when it is.
        alarms: Reports cuts to the journal.
        fallback: The version that answers what no other can, where the fallback is one.
        champion_only: Whether the control plane has been silent for so long that the champion answers everything.
    """

    def __init__(
        self,
        name: str,
        settings: GatewaySettings,
        loader: VersionLoader,
        router: VersionRouter,
        route_table: SharedRouteTable,
        shadow_log: PredictionLogWriter,
        alarms: CutReporter,
        clock: Clock,
    ) -> None:
        """Start with nothing loaded."""
        self.name = name
        self.router = router
        self.requested: Split | None = None
        self.error = ""
        self.champion_only = False
        self.alarms = alarms
        self._route: ConfiguredRoute | None = None
        self._settings = settings
        self._root = settings.root
        self._loader = loader
        self._route_table = route_table
        self._shadow_log = shadow_log
        self._clock = clock
        self._lock = asyncio.Lock()
        self._warm_failed_at = -math.inf
        self.fallback = FallbackController(name, settings, loader, router, route_table)

    def apply_route(self, route: ConfiguredRoute) -> None:
        """Follow a route that is in force for all workers, with the versions that are loaded."""
        self.requested, self._route = route.split, route
        self.error = ""
        self.router.current_route()

    def set_champion_only(self, *, champion_only: bool) -> None:
        """Have the champion answer everything while the control plane is silent, and no longer."""
        if champion_only != self.champion_only:
            self.champion_only = champion_only
            if champion_only and self.requested is not None and self.requested.weight:
                _log.critical("%s: the control plane is silent: the champion answers everything", self.name)
            self.router.set_champion_only(champion_only=champion_only)

    def collect_tripwire_cut(self) -> None:
        """Cut the candidate for all workers at once, if its tripwire has tripped, and report the cut."""
        record, self.router.tripped = self.router.tripped, None
        if record is None:
            return
        try:
            if self.cut_candidate_traffic(record.split, record.reason):
                self.alarms.report_cut(record.split.rollout, record.reason)
                self.alarms.run_in_background(self._save())
        except OSError:  # no free descriptor for the lock: the tripwire counts anew, and will trip again
            _log.exception("the candidate could not be cut: %s", record.reason)
            self.router.rearm_tripwire()

    def share_unbatchable(self) -> None:
        """Have every worker ask versions one request at a time that this worker has found to need it."""
        found = self.router.unbatchable_probe_results()
        if not found or (self._route is not None and found.keys() <= self._route.unbatchable.keys()):
            return
        with self._route_table.lock():
            _, document = self._route_table.read_routes()
            entry = document.get(self.name)
            if entry is not None and "route" in entry:
                document[self.name] = {**entry, UNBATCHABLE_KEY: {**read_unbatchable_versions(entry), **found}}
                self._route_table.publish(document)

    def cut_candidate_traffic(self, split: Split, reason: str) -> bool:
        """Put the route in force with a weight of 0.

        Returns:
            Whether exactly this split was in force, with a candidate that answers.
        """
        with self._route_table.lock():
            _, document = self._route_table.read_routes()
            entry = document.get(self.name)
            if (
                entry is None
                or "route" not in entry
                or not split.weight
                or decode_traffic_split(entry["route"]) != split
            ):
                return False
            document[self.name] = entry_without_candidate(entry, reason)
            self._route_table.publish(document)
        _log.critical("%s: the candidate is CUT: %s", self.name, reason)
        return True

    async def _save(self) -> None:
        try:
            await run_in_daemon_thread(partial(persist_route, self._route_table, self._root, self.name))
        except OSError as error:
            _log.critical("%s: the route file cannot be written: %s", self.name, error)

    async def load_versions(self, preload: Mapping[str, object] | None) -> dict[str, str] | None:
        """Load whatever the route, and a preload, need; unload what nothing needs any more.

        Returns:
            Why a version of the preload, or the shadow, cannot be loaded; None when all of them are.
        """
        ahead = None if preload is None else decode_traffic_split(preload)
        wanted = () if ahead is None else serving_versions(ahead)
        failure = None
        for version in (*self._routed, *wanted):
            if self.router.is_loaded(version) and not self.router.cannot_restart(version):
                continue
            try:
                loaded = await self._loader.load(version)
            except LoadFailed as error:
                _log.critical("%s: %s", self.name, error)
                if version in wanted:
                    failure = failure or {"kind": error.kind, "message": str(error)}
                if self.requested is None or version == self.requested.champion:
                    self.error = str(error)
                continue
            self.router.add_version(version, loaded)
            if version in self._routed:
                self.error = self.error if self.router.split is None else ""
        self.router.retain_versions((*self._routed, *wanted, *self._warm))
        return failure or await self._load_shadow(ahead)

    async def load_warm_versions(self) -> None:
        """Load what may be gone back to; no request waits for it, and a failure is met when it is wanted."""
        for version in self._warm:
            if not self.router.is_loaded(version):
                try:
                    loaded = await self._loader.load(version)
                except LoadFailed as error:
                    _log.error("%s: not kept warm: %s", self.name, error)
                    self._warm_failed_at = time.monotonic()
                    continue
                self.router.add_version(version, loaded)
        await self.fallback.load(self._route)
        # The route may have changed meanwhile: the next round loads and unloads.

    async def _load_shadow(self, ahead: Split | None) -> dict[str, str] | None:
        """Load the version that is mirrored to, or unload the last one; why that failed, or None."""
        splits = [split for split in (ahead, self.requested) if split is not None]
        version = next((mirrored_version(split) for split in splits if mirrored_version(split) is not None), None)
        if version is None or (self.router.shadow is not None and self.router.shadow.version != version):
            self.router.set_shadow(None)
        if version is None or self.router.shadow is not None:
            return None
        try:
            loaded = await self._loader.load_shadow(version)
        except LoadFailed as error:
            _log.critical("%s: shadow: %s", self.name, error)
            return {"kind": error.kind, "message": str(error)}
        self.router.set_shadow(ShadowQueue(version, loaded, self._shadow_log, self._settings, self._clock))
        return None

    @property
    def _routed(self) -> tuple[Version, ...]:
        """Versions that the route needs, the champion first."""
        return () if self.requested is None else serving_versions(self.requested)

    @property
    def _warm(self) -> tuple[Version, ...]:
        """Versions that stay loaded, so that going back loads nothing."""
        return () if self._route is None else self._route.warm

    @property
    def is_warm(self) -> bool:
        """Whether all versions are loaded here that are to be kept warm."""
        return all(map(self.router.is_loaded, self._warm))

    async def set_route(self, split: Split) -> None:
        """Put a route in force: load what is missing everywhere, switch all workers at once, write the file.

        Loading holds no lock, so that a rollback overtakes a route that is still being loaded.

        Raises:
            StaleRoute: A newer route, or another one of the same generation, is in force.
            KillSwitchSet: The route has a candidate, and the kill switch is set.
            LoadFailed: A version cannot be loaded; the old route stays.
            NotPersisted: The route is in force, but the disk refused its file.
        """
        if not self._in_force(split) and not self._loaded_everywhere(split):
            await self._preload(split)
        async with self._lock:
            if self._in_force(split):  # another worker may have put it in force, and have ended before it was done
                generation = self._route_table.generation
            else:
                generation = self._publish(split)
                self._route_table.cancel_preload(self.name)
            writing = asyncio.ensure_future(
                run_in_daemon_thread(partial(persist_route, self._route_table, self._root, self.name))
            )
            try:
                await wait_until_acknowledged(self._route_table, generation, self._settings.ack_patience_s)
            finally:
                with contextlib.suppress(OSError):
                    await writing
            try:
                writing.result()
            except OSError as error:
                raise NotPersisted(f"the route file cannot be written: {error}") from error

    def _loaded_everywhere(self, split: Split) -> bool:
        """Whether every worker has what a route needs, because all of it is in force or kept warm already."""
        if self.requested is None or self._candidate_missing or self.router.split is None:
            return False
        if self._route_table.workers_without_warm():  # one that was started a moment ago would have no champion
            return False
        if mirrored_version(split) is not None and mirrored_version(split) != mirrored_version(self.requested):
            return False
        loaded = {version_key(version) for version in (*serving_versions(self.requested), *self._warm)}
        needed = serving_versions(split)
        return all(version_key(version) in loaded and self.router.is_loaded(version) for version in needed)

    async def _preload(self, split: Split) -> None:
        """Have every worker load what a route needs, before any request goes there."""
        preload = self._route_table.request_preload(self.name, encode_traffic_split(split))
        failure = None
        try:
            while self._route_table.workers_loading(preload):
                await asyncio.sleep(ACKNOWLEDGEMENT_POLL_S)
                self._refuse_stale(split)
            failure = self._route_table.load_failure(preload, self.name)
        finally:
            if failure is not None or self._route_table.workers_loading(preload):
                self._route_table.cancel_preload(self.name, preload)
        if failure is not None:
            raise LoadFailed(failure["message"], failure["kind"])

    def _publish(self, split: Split) -> int:
        with self._route_table.lock():
            _, document = self._route_table.read_routes()
            entry = document.get(self.name)
            if entry is not None and "route" in entry:
                self._refuse_stale(split, decode_traffic_split(entry["route"]))
            if (split.weight or split.mirror) and KILL_SWITCH_KEY in document:
                raise KillSwitchSet(
                    f"the kill switch is set ({document[KILL_SWITCH_KEY]['reason']}): no candidate gets traffic"
                )
            document[self.name] = {
                "route": encode_traffic_split(split),
                "warm": list_warm_versions(entry, split),
                **policy_of_rollout(entry, split, self._settings, self.name),
                **standby_field(entry, split),
                **fallback_field(entry),
                UNBATCHABLE_KEY: read_unbatchable_versions(entry or {}),
            }  # fmt: skip
            return self._route_table.publish(document)

    async def set_standby(self, generation: int, standby: Version | None, *, going_back: bool = False) -> None:
        """Name the version that answers requests that the champion fails, and keep it loaded; or name none.

        Args:
            generation: The route that it belongs to.
            standby: The version.
            going_back: Whether the candidate is what traffic goes back to: the kill switch gives it everything.

        Raises:
            StaleRoute: Another route is in force.
            NotPersisted: It is in force, but the disk refused its file.
        """
        if not publish_standby(self._route_table, self.name, generation, standby, going_back=going_back):
            return
        try:
            await run_in_daemon_thread(partial(persist_route, self._route_table, self._root, self.name))
        except OSError as error:
            raise NotPersisted(f"the route file cannot be written: {error}") from error

    def health(self) -> dict[str, object]:
        """Give the state of this model for `/health`."""
        return {
            "generation": None if self.requested is None else self.requested.generation,
            "loaded": self.router.split is not None,
            "candidate_missing": self._candidate_missing,
            "persisted": self._is_saved,
            "error": self.error,
            "one_at_a_time": self.router.unbatchable_reasons(),
            "silent": self.champion_only,
            "cut": "" if self._route is None else self._route.cut,
            "fallback_version": self.fallback.state(self._route),
            "standby": standby_state(self._route, self.router.is_loaded),
            "proven_good": "" if (period := self.router.failover.proven_good.period) is None else period.reason,
            "fallback": "" if (period := self.router.failover.fallback.period) is None else period.reason,
        }

    @property
    def _is_saved(self) -> bool:
        """Whether the route file holds the route in force."""
        return self._route is not None and is_route_saved(self._root, self.name, self._route.entry)

    @property
    def settled(self) -> bool:
        """Whether every worker has acknowledged the routes in force, and this model's is on the disk."""
        return not self._route_table.unacknowledged_workers(self._route_table.generation) and self._is_saved

    @property
    def needs_loading(self) -> bool:
        """Whether the route needs a version that is not loaded here, or whose process cannot be started again."""
        if self.requested is None:
            return False
        if any(map(self.router.cannot_restart, self._routed)) or self.fallback.needs_loading(self._route):
            return True
        standby = None if self._route is None else self._route.standby
        if standby is not None and not self.router.is_loaded(standby):
            return time.monotonic() - self._warm_failed_at > _STANDBY_RETRY_S
        return bool(self.router.missing_versions(self.requested)) or (
            mirrored_version(self.requested) is not None and self.router.shadow is None
        )

    @property
    def _candidate_missing(self) -> bool:
        return (
            self.router.split is not None
            and self.requested is not None
            and bool(self.router.missing_versions(self.requested))
        )

    def _refuse_stale(self, split: Split, newest: Split | None = None) -> None:
        newest = newest or self.requested
        if newest is None:
            return
        if split.generation < newest.generation:
            raise StaleRoute(f"generation {newest.generation} is in force; {split.generation} comes too late")
        if split.generation == newest.generation and split != newest:
            raise StaleRoute(f"another route of generation {newest.generation} is in force")

    def _in_force(self, split: Split) -> bool:
        """Whether this very route is fully in force already.

        Raises:
            StaleRoute: The route comes too late.
        """
        self._refuse_stale(split)
        return (
            split == self.requested
            and (self.champion_only or self.router.split == split)
            and not self._candidate_missing
        )
