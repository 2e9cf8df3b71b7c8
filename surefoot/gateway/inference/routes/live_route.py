"""Compute the traffic split that one worker can serve with its loaded versions."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from surefoot.core.domain import Split
from surefoot.gateway.inference.routes.route_snapshot import ConfiguredRoute, RouteReader
from surefoot.gateway.inference.routes.version_key import VersionKey, serving_versions, version_key


@dataclass(frozen=True, slots=True)
class ServableRoute:
    """The route of one model as this worker can serve it: without a candidate that is not loaded.

    Attributes:
        split: The split that requests are assigned by.
        serving: Keys of the versions that may answer.
        route: The route that all workers see.
    """

    split: Split
    serving: frozenset[VersionKey]
    route: ConfiguredRoute


class WorkerRoute:
    """The route of one model in this worker; all its methods belong to the event loop."""

    def __init__(self, model: str, reader: RouteReader) -> None:
        """Follow the route of this model; nothing is loaded yet."""
        self._model, self._reader = model, reader
        self._generations = reader.generations
        self._generation = 0
        self._loaded: frozenset[VersionKey] = frozenset()
        self._champion_only = False
        self._route: ConfiguredRoute | None = None
        self._standby: VersionKey | None = None
        self._effective: ServableRoute | None = None

    def read(self) -> ServableRoute | None:
        """Give the route in force here; None when its champion is not loaded, or there is no route."""
        if self._generations[0] != self._generation:
            snapshot = self._reader.read()
            route = snapshot.models.get(self._model)
            if route is not self._route:
                self._route = route
                self._update()
            self._generation = snapshot.generation
        return self._effective

    def configured(self) -> ConfiguredRoute | None:
        """Give the route that all workers see, whether its champion is loaded here or not; None without a route."""
        self.read()
        return self._route

    def serves(self, key: VersionKey) -> bool:
        """Whether a version may answer right now."""
        effective = self.read()
        return effective is not None and key in effective.serving

    def is_standby(self, key: VersionKey) -> bool:
        """Whether a version may answer requests that the champion fails, right now."""
        self.read()
        return key == self._standby

    def set_loaded(self, keys: Iterable[VersionKey]) -> None:
        """Say which versions this worker has loaded."""
        self._loaded = frozenset(keys)
        self._update()

    def set_champion_only(self, *, champion_only: bool) -> None:
        """Have the champion answer everything from now on, or follow the route again."""
        self._champion_only = champion_only
        self._update()

    def _update(self) -> None:
        route, before = self._route, self._effective
        self._standby = None if route is None or route.standby is None else version_key(route.standby)
        if route is None or version_key(route.split.champion) not in self._loaded:
            self._effective = None
            return
        split = replace(route.split, weight=0.0, mirror=0.0) if self._champion_only else route.split
        if not self._loaded.issuperset(map(version_key, serving_versions(split))):
            split = replace(split, weight=0.0)
        if before is None or before.route is not route or before.split != split:
            self._effective = ServableRoute(split, frozenset(map(version_key, serving_versions(split))), route)
