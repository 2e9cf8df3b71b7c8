"""The control path of one model: routes come in, are loaded, switched, written and restored."""

import asyncio
import logging
from concurrent.futures import Executor

from surefoot.core.model import Split, Version
from surefoot.gateway import route
from surefoot.gateway.arms import Arms, key_of, needed
from surefoot.gateway.record import PredictionLog
from surefoot.gateway.settings import GatewaySettings, Load, Model, Predictor

_log = logging.getLogger(__name__)
_RETRY_S = 5.0

Loaded = dict[tuple[str, str], Model | Predictor]


def _nothing() -> None:
    """What is let go of a model in this process."""


class StaleRoute(Exception):
    """A newer route, or another one of the same generation, is in force."""


class LoadFailed(Exception):
    """A version of the wanted route cannot be loaded.

    Attributes:
        kind: Type of the error that says why.
    """

    def __init__(self, version: Version, cause: BaseException) -> None:
        """Say which version and why."""
        super().__init__(f"version {version.number} cannot be loaded: {cause}")
        self.kind = type(cause).__name__


class NotPersisted(Exception):
    """The route is in force but not on disk; a restart would forget it."""


class Served:
    """One registered model in this gateway; all its methods belong to the event loop.

    Attributes:
        name: The registered model.
        arms: Its data path.
        log: Its prediction log.
        asked: The newest route that was accepted; None before the first.
        error: Why the champion cannot be loaded; empty when it is.
    """

    def __init__(self, name: str, settings: GatewaySettings, load: Load, loader: Executor, log: PredictionLog) -> None:
        """Know the model; nothing is loaded yet."""
        self.name = name
        self.log = log
        self.arms = Arms(settings, log)
        self.asked: Split | None = None
        self.error = ""
        self._root = settings.root
        self._load = load
        self._loader = loader
        self._persisted = True
        self._lock = asyncio.Lock()

    async def shift(self, split: Split) -> None:
        """Put a route in force: load what is missing, switch at once, write the file.

        Loading holds no lock, so that a rollback overtakes a route that is still being loaded.

        Raises:
            StaleRoute: A newer route, or another one of the same generation, is in force.
            LoadFailed: A version cannot be loaded; the old route stays.
            NotPersisted: The route is in force, but the disk refused its file.
        """
        loaded: Loaded = {}
        try:
            while not self._in_force(split):
                for version in self.arms.missing(split):
                    if key_of(version) not in loaded:
                        loaded[key_of(version)] = await self._fetch(version)
                async with self._lock:
                    if self._in_force(split):
                        return
                    if any(key_of(version) not in loaded for version in self.arms.missing(split)):
                        continue  # another route has meanwhile dropped a version that was loaded when we looked
                    self._switch(split, loaded)
                    loaded = {}
                    await self._persist(split)
        finally:
            for predictor in loaded.values():  # loaded for a route that lost, or beside one that cannot be loaded
                await asyncio.to_thread(getattr(predictor, "close", _nothing))

    async def restore(self, split: Split) -> None:
        """Serve the route that was in force before a restart; keep trying while its champion cannot be loaded."""
        self.asked = split
        loaded: Loaded = {}
        while self.asked is split and self.arms.split is None and not loaded:
            try:
                for version in needed(split):  # the champion first
                    loaded[key_of(version)] = await self._fetch(version)
            except LoadFailed as failure:
                _log.critical("%s: %s", self.name, failure)
                if not loaded:
                    self.error = str(failure)
                    await asyncio.sleep(_RETRY_S)
        if self.asked is split and self.arms.split is None:
            self._switch(split, loaded)

    def state(self) -> dict[str, object]:
        """What `/health` says of the model."""
        split = self.arms.split
        return {
            "generation": None if self.asked is None else self.asked.generation,
            "loaded": split is not None,
            "candidate_missing": self._candidate_missing,
            "persisted": self._persisted,
            "error": self.error,
        }

    @property
    def _candidate_missing(self) -> bool:
        return self.arms.split is not None and self.asked is not None and bool(self.arms.missing(self.asked))

    def _in_force(self, split: Split) -> bool:
        """Whether this very route is fully in force already; refuses one that comes too late."""
        if self.asked is not None:
            newest = self.asked.generation
            if split.generation < newest:
                raise StaleRoute(f"generation {newest} is in force; {split.generation} comes too late")
            if split.generation == newest and split != self.asked:
                raise StaleRoute(f"another route of generation {newest} is in force")
        return split == self.asked and self.arms.split == split and not self._candidate_missing and self._persisted

    def _switch(self, split: Split, loaded: Loaded) -> None:
        self.arms.switch(split, loaded)
        self.asked, self.error = split, ""

    async def _persist(self, split: Split) -> None:
        self._persisted = False
        try:
            await asyncio.to_thread(route.save, self._root, self.name, split)
        except OSError as error:
            raise NotPersisted(f"the route file cannot be written: {error}") from error
        self._persisted = True

    async def _fetch(self, version: Version) -> Model | Predictor:
        return await asyncio.get_running_loop().run_in_executor(self._loader, self._load_in_thread, version)

    def _load_in_thread(self, version: Version) -> Model | Predictor:
        try:
            return self._load(self.name, version)
        except BaseException as error:  # last resort: it runs the model's own code, SystemExit included
            raise LoadFailed(version, error) from error
