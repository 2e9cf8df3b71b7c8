"""The control path of one model: routes come in, are loaded by every worker, switched at once, written and restored."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor

from surefoot.core.model import Split, Version
from surefoot.gateway import route
from surefoot.gateway.arms import Arms, key_of, needed
from surefoot.gateway.batch import in_thread
from surefoot.gateway.board import Board
from surefoot.gateway.record import PredictionLog
from surefoot.gateway.settings import GatewaySettings, Load, Model, Predictor

_log = logging.getLogger(__name__)
WARM = 2
"""Versions that stay loaded after they left the route, so that going back loads nothing [count]."""
ACK_S = 5.0
"""Longest that a worker may take to see a new generation [s]; a worker that answers anybody sees it."""
_LOOK_S = 0.002

Loaded = dict[tuple[str, str], Model | Predictor]


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


class NotPersisted(Exception):
    """The route is in force but not on disk; a restart would forget it."""


class NotSeen(Exception):
    """The route is in force, but a worker has not said that it sees it."""


class Served:
    """One registered model in this worker; all its methods belong to the event loop.

    Attributes:
        name: The registered model.
        arms: Its data path.
        log: Its prediction log.
        asked: The route that is in force for all workers; None before the first.
        error: Why the champion cannot be loaded; empty when it is.
    """

    def __init__(
        self, name: str, settings: GatewaySettings, load: Load, loader: Executor, arms: Arms, board: Board
    ) -> None:
        """Know the model; nothing is loaded yet."""
        self.name = name
        self.arms = arms
        self.asked: Split | None = None
        self.error = ""
        self._warm: tuple[Version, ...] = ()
        self._root = settings.root
        self._load = load
        self._loader = loader
        self._board = board
        self._persisted = True
        self._lock = asyncio.Lock()

    @property
    def log(self) -> PredictionLog:
        """Its prediction log."""
        return self.arms.log

    def apply(self, entry: Mapping[str, object]) -> None:
        """Do what the board says, with what is loaded."""
        self.asked = route.decode(entry["route"])
        self._warm = tuple(route.version_of("warm", version) for version in _listed(entry["warm"]))
        self.error = ""
        self.arms.switch(self.asked)

    async def ensure(self, wish: Mapping[str, object] | None) -> dict[str, str] | None:
        """Load whatever the route, and what is wanted ahead, need; why that failed, or None.

        What no longer needs to be loaded is let go.
        """
        wanted = () if wish is None else needed(route.decode(wish))
        failure = None
        for version in (*self._routed, *wanted, *self._warm):
            if self.arms.has(version):
                continue
            try:
                loaded = await asyncio.get_running_loop().run_in_executor(self._loader, self._fetch, version)
            except LoadFailed as error:
                _log.critical("%s: %s", self.name, error)
                if version in wanted:
                    failure = failure or {"kind": error.kind, "message": str(error)}
                if self.asked is not None and version == self.asked.champion:
                    self.error = str(error)
                continue
            self.arms.hold(version, loaded)
            if self.asked is not None and version in self._routed:
                self.arms.switch(self.asked)
                self.error = self.error if self.arms.split is None else ""
        self.arms.keep((*self._routed, *wanted, *self._warm))
        return failure

    def _fetch(self, version: Version) -> Model | Predictor:
        """Load in a thread, where an error of any kind has one name."""
        try:
            return self._load(self.name, version)
        except BaseException as error:  # last resort: it runs the model's own code, SystemExit included
            raise LoadFailed(f"version {version.number} cannot be loaded: {error}", type(error).__name__) from error

    @property
    def _routed(self) -> tuple[Version, ...]:
        """Versions that the route needs, the champion first."""
        return () if self.asked is None else needed(self.asked)

    async def shift(self, split: Split) -> None:
        """Put a route in force: load what is missing everywhere, switch all workers at once, write the file.

        Loading holds no lock, so that a rollback overtakes a route that is still being loaded.

        Raises:
            StaleRoute: A newer route, or another one of the same generation, is in force.
            LoadFailed: A version cannot be loaded; the old route stays.
            NotPersisted: The route is in force, but the disk refused its file.
            NotSeen: The route is in force, but a worker does not say that it sees it.
        """
        if self._in_force(split):
            return
        if not self._at_hand(split):
            await self._prepare(split)
        async with self._lock:
            if self._in_force(split):
                return
            generation = self._publish(split)
            self._board.unwish(self.name)
            self._persisted = False
            writing = asyncio.ensure_future(in_thread(lambda: route.save(self._root, self.name, split)))
            try:
                await self._until_seen(generation)
            finally:
                with contextlib.suppress(OSError):
                    await writing
            try:
                writing.result()
            except OSError as error:
                raise NotPersisted(f"the route file cannot be written: {error}") from error
            self._persisted = True

    def _at_hand(self, split: Split) -> bool:
        """Whether every worker has what a route needs, because all of it is in force or kept warm already."""
        if self.asked is None or self._candidate_missing or self.arms.split is None:
            return False
        held = {key_of(version) for version in (*needed(self.asked), *self._warm)}
        return all(key_of(version) in held and self.arms.has(version) for version in needed(split))

    async def _prepare(self, split: Split) -> None:
        """Have every worker load what a route needs, before any request goes there."""
        wish = self._board.wish(self.name, route.encode(split))
        failure = None
        try:
            while self._board.unready(wish):
                await asyncio.sleep(_LOOK_S)
                self._refuse_stale(split)
            failure = self._board.failure(wish, self.name)
        finally:
            if failure is not None or self._board.unready(wish):
                self._board.unwish(self.name, wish)
        if failure is not None:
            raise LoadFailed(failure["message"], failure["kind"])

    def _publish(self, split: Split) -> int:
        with self._board.changing():
            _, document = self._board.routes()
            entry = document.get(self.name)
            if entry is not None and "route" in entry:
                self._refuse_stale(split, route.decode(entry["route"]))
            kept = warm_after(entry, split)
            document[self.name] = {"route": route.encode(split), "warm": [route.version_json(one) for one in kept]}
            return self._board.publish(document)

    async def _until_seen(self, generation: int) -> None:
        """Return when no worker asks anybody any more whom the new route does not name."""
        deadline = time.monotonic() + ACK_S
        while behind := self._board.behind(generation):
            if time.monotonic() > deadline:
                workers = ", ".join(str(self._board.process(slot)) for slot in behind)
                raise NotSeen(f"the route is in force, but worker {workers} has not said that it sees it")
            await asyncio.sleep(_LOOK_S)

    def state(self) -> dict[str, object]:
        """What `/health` says of the model."""
        return {
            "generation": None if self.asked is None else self.asked.generation,
            "loaded": self.arms.split is not None,
            "candidate_missing": self._candidate_missing,
            "persisted": self._persisted,
            "error": self.error,
        }

    @property
    def lacking(self) -> bool:
        """Whether the route needs a version that is not loaded here."""
        return self.asked is not None and bool(self.arms.missing(self.asked))

    @property
    def _candidate_missing(self) -> bool:
        return self.arms.split is not None and self.lacking

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
        return split == self.asked and self.arms.split == split and not self._candidate_missing and self._persisted


def warm_after(entry: Mapping[str, object] | None, split: Split) -> list[Version]:
    """Versions that stay loaded beside a new route: the last ones that were routed, the newest first."""
    if entry is None or "route" not in entry:
        return []
    before = [*needed(route.decode(entry["route"])), *(route.version_of("warm", one) for one in _listed(entry["warm"]))]
    now = {key_of(version) for version in needed(split)}
    return [version for version in before if key_of(version) not in now][:WARM]


def _listed(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else ()
