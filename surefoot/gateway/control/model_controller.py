"""The control path of one model: routes come in, are loaded by every worker, switched at once, written and restored."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

from surefoot.core.domain import LogPolicy, Split, Version
from surefoot.gateway.control import route_codec
from surefoot.gateway.control.alarms import Alarms
from surefoot.gateway.control.route_entry import (
    KILL_SWITCH,
    persist,
    request_rules,
    unbatchable_versions,
    warm_versions,
    without_candidate,
)
from surefoot.gateway.control.shared_routes import SharedRouteTable
from surefoot.gateway.inference.router import VersionRouter, as_predictor, serving_versions, version_key
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.inference.shadow import ShadowQueue, shadow_version
from surefoot.gateway.log.record import PredictionLogWriter
from surefoot.gateway.log.redaction import LogRedactor
from surefoot.models.contract import Load, Predictor
from surefoot.models.threads import in_thread

_log = logging.getLogger(__name__)
_LOOK_S = 0.002


@dataclass(frozen=True, slots=True)
class Loaders:
    """How versions are loaded.

    Attributes:
        arm: One that answers callers.
        shadow: One that stands behind all others.
    """

    arm: Load
    shadow: Load


class StaleRoute(Exception):
    """A newer route, or another one of the same generation, is in force."""


class LoadFailed(Exception):
    """A version of the wanted route cannot be loaded.

    Attributes:
        kind: Type of the error that says why.
    """

    def __init__(self, message: str, kind: str) -> None:
        """Say which version and why."""
        super().__init__(message)
        self.kind = kind


class KillSwitchSet(Exception):
    """The kill switch is set."""


class NotPersisted(Exception):
    """The route is in force but not on disk; a restart would forget it."""


class ModelController:
    """One registered model in this worker; all its methods belong to the event loop.

    Attributes:
        name: The registered model.
        arms: Its data path.
        log: Its prediction log.
        asked: The route that is in force for all workers; None before the first.
        error: Why the champion, or the first version that is to be served, cannot be loaded; empty when it is.
        alarms: Tells the journal when a candidate was cut.
        silent: Whether the control plane has not been heard for so long that the champion answers everything.
        rules: What the policy said of requests when the rollout began.
        keeping: Prepares rows for the log as it said; None where all of it is kept.
    """

    def __init__(
        self,
        name: str,
        settings: GatewaySettings,
        load: Loaders,
        loader: Executor,
        arms: VersionRouter,
        route_table: SharedRouteTable,
        set_shadow: Callable[[Version, Predictor], ShadowQueue],
    ) -> None:
        """Know the model; nothing is loaded yet."""
        self._make_shadow = set_shadow
        self.name = name
        self.arms = arms
        self.asked: Split | None = None
        self.error = ""
        self.silent = False
        self.arms.trip = self.trip
        self.alarms = Alarms(name, settings)
        self.rules = route_codec.RequestRules()
        self.redactor: LogRedactor | None = None
        self._warm: tuple[Version, ...] = ()
        self._entry: Mapping[str, object] = {}
        self._cut = ""
        self._settings = settings
        self._root = settings.root
        self._load = load
        self._loader = loader
        self._route_table = route_table
        self._lock = asyncio.Lock()

    @property
    def log(self) -> PredictionLogWriter:
        """Its prediction log."""
        return self.arms.log

    def apply(self, entry: Mapping[str, object]) -> None:
        """Do what the board says, with what is loaded."""
        self.asked = route_codec.decode_split(entry["route"])
        self.rules = route_codec.RequestRules.of(entry) if "unit" in entry else self._policy()
        kept = self.rules.kept
        self.redactor = None if kept == LogPolicy() else LogRedactor(kept, self._settings.token, self.rules.unit)
        self._entry = entry
        self._cut = str(entry.get("cut", ""))
        self._warm = tuple(
            route_codec.decode_version("warm", version) for version in route_codec.as_list(entry["warm"])
        )
        self.error = ""
        self.arms.rule(unbatchable_versions(entry))
        self._serve()

    def be(self, *, silent: bool) -> None:
        """Have the champion answer everything while the control plane is silent, and no longer."""
        if silent != self.silent:
            self.silent = silent
            if silent and self.asked is not None and self.asked.weight:
                _log.critical("%s: the control plane is silent: the champion answers everything", self.name)
            self._serve()

    def _serve(self) -> None:
        if self.asked is not None:
            self.arms.switch(replace(self.asked, weight=0.0, mirror=0.0) if self.silent else self.asked)

    def trip(self, reason: str) -> None:
        """Cut the candidate for all workers at once, and have it journalled however long that takes."""
        asked = self.asked
        if asked is None or not self.cut(asked, reason):
            return
        self.alarms.raised(asked.rollout, reason)
        self.alarms.keep(self._save())

    def spread(self) -> None:
        """Have every worker ask versions one request at a time that this one has found to need it."""
        found = self.arms.ruled()
        if not found or found.keys() <= unbatchable_versions(self._entry).keys():
            return
        with self._route_table.changing():
            _, document = self._route_table.routes()
            entry = document.get(self.name)
            if entry is not None and "route" in entry:
                document[self.name] = {**entry, route_codec.UNBATCHABLE: {**unbatchable_versions(entry), **found}}
                self._route_table.publish(document)

    def cut(self, split: Split, reason: str) -> bool:
        """Put the route in force with a weight of 0; whether this route was in force, with another weight."""
        with self._route_table.changing():
            _, document = self._route_table.routes()
            entry = document.get(self.name)
            if (
                entry is None
                or "route" not in entry
                or not split.weight
                or route_codec.decode_split(entry["route"]) != split
            ):
                return False
            document[self.name] = without_candidate(entry, reason)
            self._route_table.publish(document)
        _log.critical("%s: the candidate is CUT: %s", self.name, reason)
        return True

    async def _save(self) -> None:
        try:
            await in_thread(partial(persist, self._route_table, self._root, self.name))
        except OSError as error:
            _log.critical("%s: the route file cannot be written: %s", self.name, error)

    async def ensure(self, wish: Mapping[str, object] | None) -> dict[str, str] | None:
        """Load whatever the route, and what is wanted ahead, need; why that failed, or None.

        What no longer needs to be loaded is let go.
        """
        wanted = () if wish is None else serving_versions(route_codec.decode_split(wish))
        failure = None
        for version in (*self._routed, *wanted):
            if self.arms.has(version) and not self.arms.hopeless(version):
                continue
            try:
                loaded = await self._loaded(self._load.arm, version)
            except LoadFailed as error:
                _log.critical("%s: %s", self.name, error)
                if version in wanted:
                    failure = failure or {"kind": error.kind, "message": str(error)}
                if self.asked is None or version == self.asked.champion:
                    self.error = str(error)
                continue
            self.arms.hold(version, loaded)
            self.arms.rule(unbatchable_versions(self._entry))
            if version in self._routed:
                self._serve()
                self.error = self.error if self.arms.split is None else ""
        self.arms.keep((*self._routed, *wanted, *self._warm))
        return failure or await self._ensure_shadow(None if wish is None else route_codec.decode_split(wish))

    async def warm_up(self) -> None:
        """Load what may be gone back to; nobody waits for it, and what cannot be loaded is loaded when it is wanted."""
        for version in self._warm:
            if not self.arms.has(version):
                try:
                    loaded = await self._loaded(self._load.arm, version)
                except LoadFailed as error:
                    _log.error("%s: not kept warm: %s", self.name, error)
                    continue
                self.arms.hold(version, loaded)
        # The route may have changed meanwhile: the next look at the board loads and lets go.

    async def _ensure_shadow(self, wish: Split | None) -> dict[str, str] | None:
        """Load the version that is mirrored to, or let the last one go; why that failed, or None."""
        version = next(
            (shadow_version(one) for one in (wish, self.asked) if one is not None and shadow_version(one) is not None),
            None,
        )
        if version is None or (self.arms.shadow is not None and self.arms.shadow.version != version):
            self.arms.set_shadow(None)
        if version is None or self.arms.shadow is not None:
            return None
        try:
            loaded = await self._loaded(self._load.shadow, version)
        except LoadFailed as error:
            _log.critical("%s: shadow: %s", self.name, error)
            return {"kind": error.kind, "message": str(error)}
        self.arms.set_shadow(self._make_shadow(version, loaded))
        return None

    async def _loaded(self, load: Load, version: Version) -> Predictor:
        """A version, loaded beside the event loop; raises LoadFailed."""
        return await asyncio.get_running_loop().run_in_executor(self._loader, self._fetch, load, version)

    def _fetch(self, load: Load, version: Version) -> Predictor:
        """Load in a thread, where an error of any kind has one name."""
        try:
            return as_predictor(load(self.name, version))  # which shows that it answers each row by itself
        except BaseException as error:  # last resort: it runs the model's own code, SystemExit included
            raise LoadFailed(f"version {version.number} cannot be loaded: {error}", type(error).__name__) from error

    @property
    def _routed(self) -> tuple[Version, ...]:
        """Versions that the route needs, the champion first."""
        return () if self.asked is None else serving_versions(self.asked)

    async def shift(self, split: Split) -> None:
        """Put a route in force: load what is missing everywhere, switch all workers at once, write the file.

        Loading holds no lock, so that a rollback overtakes a route that is still being loaded.

        Raises:
            StaleRoute: A newer route, or another one of the same generation, is in force.
            LoadFailed: A version cannot be loaded; the old route stays.
            NotPersisted: The route is in force, but the disk refused its file.
        """
        if not self._in_force(split) and not self._at_hand(split):
            await self._prepare(split)
        async with self._lock:
            if self._in_force(split):  # another worker may have put it in force, and not have lived to see it through
                generation = self._route_table.generation
            else:
                generation = self._publish(split)
                self._route_table.unwish(self.name)
            writing = asyncio.ensure_future(in_thread(partial(persist, self._route_table, self._root, self.name)))
            try:
                await wait_until_acknowledged(self._route_table, generation, self._settings.ack_patience_s)
            finally:
                with contextlib.suppress(OSError):
                    await writing
            try:
                writing.result()
            except OSError as error:
                raise NotPersisted(f"the route file cannot be written: {error}") from error

    def _at_hand(self, split: Split) -> bool:
        """Whether every worker has what a route needs, because all of it is in force or kept warm already."""
        if self.asked is None or self._candidate_missing or self.arms.split is None:
            return False
        if shadow_version(split) is not None and shadow_version(split) != shadow_version(self.asked):
            return False
        held = {version_key(version) for version in (*serving_versions(self.asked), *self._warm)}
        return all(version_key(version) in held and self.arms.has(version) for version in serving_versions(split))

    async def _prepare(self, split: Split) -> None:
        """Have every worker load what a route needs, before any request goes there."""
        wish = self._route_table.wish(self.name, route_codec.encode_split(split))
        failure = None
        try:
            while self._route_table.unready(wish):
                await asyncio.sleep(_LOOK_S)
                self._refuse_stale(split)
            failure = self._route_table.failure(wish, self.name)
        finally:
            if failure is not None or self._route_table.unready(wish):
                self._route_table.unwish(self.name, wish)
        if failure is not None:
            raise LoadFailed(failure["message"], failure["kind"])

    def _publish(self, split: Split) -> int:
        with self._route_table.changing():
            _, document = self._route_table.routes()
            entry = document.get(self.name)
            if entry is not None and "route" in entry:
                self._refuse_stale(split, route_codec.decode_split(entry["route"]))
            if (split.weight or split.mirror) and KILL_SWITCH in document:
                raise KillSwitchSet(
                    f"the kill switch is set ({document[KILL_SWITCH]['reason']}): no candidate gets traffic"
                )
            document[self.name] = {
                "route": route_codec.encode_split(split),
                "warm": warm_versions(entry, split),
                **self._rules_for(entry, split),
                route_codec.UNBATCHABLE: unbatchable_versions(entry or {}),
            }  # fmt: skip
            return self._route_table.publish(document)

    def _rules_for(self, entry: Mapping[str, object] | None, split: Split) -> dict[str, object]:
        """The policy's of now when a rollout begins, else those that the rollout has begun with."""
        if split.rollout and entry is not None and "route" in entry:
            before = route_codec.decode_split(entry["route"])
            if before.rollout == split.rollout:
                return request_rules(entry)
        return self._policy().told()

    def _policy(self) -> route_codec.RequestRules:
        kept = self._settings.kept.get(self.name)
        return route_codec.RequestRules(self._settings.units.get(self.name), LogPolicy() if kept is None else kept)

    def state(self) -> dict[str, object]:
        """What `/health` says of the model."""
        return {
            "generation": None if self.asked is None else self.asked.generation,
            "loaded": self.arms.split is not None,
            "candidate_missing": self._candidate_missing,
            "persisted": route_codec.is_saved(self._root, self.name, self._entry),
            "error": self.error,
            "one_at_a_time": self.arms.one_at_a_time(),
            "silent": self.silent,
            "cut": self._cut,
        }

    @property
    def settled(self) -> bool:
        """Whether every worker has acknowledged the routes in force, and this model's is on the disk."""
        return not self._route_table.behind(self._route_table.generation) and route_codec.is_saved(
            self._root, self.name, self._entry
        )

    @property
    def lacking(self) -> bool:
        """Whether the route needs a version that is not loaded here."""
        if self.asked is None:
            return False
        if any(map(self.arms.hopeless, self._routed)):
            return True
        return bool(self.arms.missing(self.asked)) or (
            shadow_version(self.asked) is not None and self.arms.shadow is None
        )

    @property
    def _candidate_missing(self) -> bool:
        return self.arms.split is not None and self.asked is not None and bool(self.arms.missing(self.asked))

    def _refuse_stale(self, split: Split, newest: Split | None = None) -> None:
        newest = newest or self.asked
        if newest is None:
            return
        if split.generation < newest.generation:
            raise StaleRoute(f"generation {newest.generation} is in force; {split.generation} comes too late")
        if split.generation == newest.generation and split != newest:
            raise StaleRoute(f"another route of generation {newest.generation} is in force")

    def _in_force(self, split: Split) -> bool:
        """Whether this very route is fully in force already; refuses one that comes too late."""
        self._refuse_stale(split)
        return split == self.asked and (self.silent or self.arms.split == split) and not self._candidate_missing


async def wait_until_acknowledged(route_table: SharedRouteTable, generation: int, patience: float) -> None:
    """Return when every living worker has acknowledged the new routes; one that stays silent is killed.

    A worker that is stopped or hangs holds connections that it took under the old route, and would answer them by it.
    Its end costs those callers their connection; the workers share one socket, so new callers are answered by others.

    Args:
        route_table: What all workers see.
        generation: The routes to acknowledge.
        patience: How long a worker may stay silent before it is killed [s].
    """
    deadline = time.monotonic() + patience
    while behind := route_table.behind(generation):
        if time.monotonic() > deadline:
            deadline = time.monotonic() + patience
            for slot in behind:
                pid = route_table.process(slot)
                if pid > 0 and pid != os.getpid():  # this one sees the routes in its next round
                    _log.critical("worker %d has not acknowledged the routes for %.1f s and is KILLED", pid, patience)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(_LOOK_S)
