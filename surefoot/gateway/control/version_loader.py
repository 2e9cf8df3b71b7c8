"""Load the versions of one model in threads, without blocking the event loop."""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass

from surefoot.core.domain import Version
from surefoot.core.fallback import FallbackVersion
from surefoot.gateway.control.route_errors import LoadFailed
from surefoot.gateway.inference.router import as_predictor
from surefoot.models.model_protocols import LoadModel, Predictor


@dataclass(frozen=True, slots=True)
class VersionLoadFunctions:
    """Functions that load a version, for serving callers and for shadow requests.

    Attributes:
        serving: Loads a version that answers callers.
        shadow: Loads a version in a process of low priority, for mirrored requests.
    """

    serving: LoadModel
    shadow: LoadModel


class VersionLoader:
    """Loads the versions of one model."""

    def __init__(self, model: str, loaders: VersionLoadFunctions, executor: Executor) -> None:
        """Load with these ports, in the threads of this executor."""
        self._model, self._loaders, self._executor = model, loaders, executor

    async def load(self, version: Version) -> Predictor:
        """Load a version that answers callers.

        Raises:
            LoadFailed: It cannot be loaded.
        """
        return await self._run(self._loaders.serving, version)

    async def load_fallback(self, fallback: FallbackVersion) -> Predictor:
        """Load the version that answers what no other version can; it may be of another registered model.

        Raises:
            LoadFailed: It cannot be loaded.
        """
        return await self._run(lambda _, version: self._loaders.serving(fallback.model, version), fallback.version)

    async def load_shadow(self, version: Version) -> Predictor:
        """Load a version for mirrored requests.

        Raises:
            LoadFailed: It cannot be loaded.
        """
        return await self._run(self._loaders.shadow, version)

    async def _run(self, load: LoadModel, version: Version) -> Predictor:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._load, load, version)

    def _load(self, load: LoadModel, version: Version) -> Predictor:
        try:
            return as_predictor(load(self._model, version))  # this also probes whether it answers each row by itself
        except BaseException as error:  # last resort: it runs the model's own code, SystemExit included
            raise LoadFailed(f"version {version.number} cannot be loaded: {error}", type(error).__name__) from error
