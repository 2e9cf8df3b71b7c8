"""Load a model's fallback version in a gateway worker."""

import logging
import time
from functools import partial

from surefoot.core.fallback import FallbackVersion
from surefoot.core.traffic_split_json import encode_version
from surefoot.gateway.control.route_entry import persist_route
from surefoot.gateway.control.route_errors import LoadFailed, NotPersisted, StaleRoute
from surefoot.gateway.control.shared_routes import SharedRouteTable
from surefoot.gateway.control.version_loader import VersionLoader
from surefoot.gateway.inference.router import VersionRouter
from surefoot.gateway.inference.routes.entry_fields import FALLBACK_KEY
from surefoot.gateway.inference.routes.route_snapshot import ConfiguredRoute
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.models.blocking_calls import run_in_daemon_thread

_log = logging.getLogger(__name__)
_RETRY_S = 60.0
"""How often a version that cannot be loaded is tried again [s]."""


class FallbackController:
    """The fallback of one model in this worker, where that is a version; its methods belong to the event loop."""

    def __init__(
        self,
        model: str,
        settings: GatewaySettings,
        loader: VersionLoader,
        router: VersionRouter,
        route_table: SharedRouteTable,
    ) -> None:
        """Start with nothing loaded."""
        self._model, self._root = model, settings.root
        self._loader, self._router, self._route_table = loader, router, route_table
        self._loaded: FallbackVersion | None = None
        self._failed: tuple[FallbackVersion, float] | None = None

    async def set(self, fallback: FallbackVersion | None) -> None:
        """Put another fallback in force, or none, and have every worker load it.

        Raises:
            StaleRoute: The model has no route.
            NotPersisted: It is in force, but the disk refused its file.
        """
        if not self._publish(fallback):
            return
        try:
            await run_in_daemon_thread(partial(persist_route, self._route_table, self._root, self._model))
        except OSError as error:
            raise NotPersisted(f"the route file cannot be written: {error}") from error

    def _publish(self, fallback: FallbackVersion | None) -> bool:
        """Put it in force; whether that changed anything."""
        with self._route_table.lock():
            _, document = self._route_table.read_routes()
            entry = document.get(self._model)
            if entry is None or "route" not in entry:
                raise StaleRoute("no route is in force")
            changed = {key: value for key, value in entry.items() if key != FALLBACK_KEY}
            if fallback is not None:
                changed[FALLBACK_KEY] = {"model": fallback.model, "version": encode_version(fallback.version)}
            if changed == entry:
                return False
            self._route_table.publish({**document, self._model: changed})
        self._route_table.request_loading()
        return True

    async def load(self, route: ConfiguredRoute | None) -> None:
        """Load the fallback of a route, or unload the last one; the last one answers until the next one is loaded.

        No request waits for it. One that cannot be loaded is tried again.
        """
        wanted = None if route is None else route.fallback
        if wanted is None and self._loaded is not None:
            self._loaded = None
            self._router.set_fallback(None, None)
        if wanted is None or (self._is_loaded(wanted) and not self._cannot_restart):
            return
        try:
            loaded = await self._loader.load_fallback(wanted)
        except LoadFailed as error:
            _log.error("%s: the fallback %s is not loaded: %s", self._model, wanted.uri, error)
            self._failed = wanted, time.monotonic()
            return
        self._loaded, self._failed = wanted, None
        self._router.set_fallback(wanted.version, loaded)

    def needs_loading(self, route: ConfiguredRoute | None) -> bool:
        """Whether the fallback of a route is not loaded here, and is not waiting for its next try."""
        wanted = None if route is None else route.fallback
        if wanted is None or (self._is_loaded(wanted) and not self._cannot_restart):
            return wanted is None and self._loaded is not None
        return self._failed is None or self._failed[0] != wanted or time.monotonic() - self._failed[1] > _RETRY_S

    def state(self, route: ConfiguredRoute | None) -> dict[str, object] | None:
        """Say which version is the fallback, and whether it is loaded; None without one."""
        wanted = None if route is None else route.fallback
        return None if wanted is None else {"uri": wanted.uri, "loaded": self._is_loaded(wanted)}

    def _is_loaded(self, wanted: FallbackVersion) -> bool:
        return self._loaded is not None and (self._loaded.model, self._loaded.version) == (wanted.model, wanted.version)

    @property
    def _cannot_restart(self) -> bool:
        """Whether its process cannot be started again: what it was loaded from may be gone or spoiled."""
        pool = self._router.failover.fallback.pool
        return pool is not None and pool.cannot_restart
