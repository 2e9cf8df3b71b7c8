"""What a worker has loaded ahead of a route stays loaded until that route is in force here."""

import asyncio
from pathlib import Path
from typing import Any

from surefoot.adapters.clock import SystemClock
from surefoot.core.domain import Split, Version
from surefoot.core.traffic_split_json import encode_traffic_split
from surefoot.gateway.control.reports.gateway_journal import NullJournal
from surefoot.gateway.control.version_loader import VersionLoadFunctions
from surefoot.gateway.control.worker_runtime import WorkerRuntime
from surefoot.gateway.inference.settings import GatewaySettings
from tests.integration.gateway_harness import GOOD
from tests.integration.gateway_process import Models


def test_a_version_is_kept_from_its_preload_until_its_route(tmp_path: Path, models: Models) -> None:
    """A worker that meets the end of a preload before it has seen the route loads the version once and keeps it."""
    loaded: list[str] = []

    def load(model: str, version: Version) -> Any:
        loaded.append(version.number)
        return models(model, version)

    async def story() -> None:
        settings = GatewaySettings(tmp_path, "token")
        runtime = WorkerRuntime(settings, SystemClock(), VersionLoadFunctions(load, load), NullJournal())
        await runtime.start()
        try:
            controller, split = runtime.controller("flights"), Split(models.version(GOOD), generation=1)
            table = runtime._route_table
            preload = table.request_preload("flights", encode_traffic_split(split))
            while table.workers_loading(preload):  # noqa: ASYNC110 - workers of other processes are polled as well
                await asyncio.sleep(0.01)
            for task in runtime._tasks:  # from here on this worker looks only when it is told to
                task.cancel()
            await asyncio.sleep(0)
            controller._publish(split)  # as another worker does, which was asked for the route
            table.cancel_preload("flights")
            await runtime._load_versions()
            assert controller.router.is_loaded(split.champion)
            assert controller.router.split == split
            assert loaded == [GOOD]
        finally:
            await runtime.stop()

    asyncio.run(story())
