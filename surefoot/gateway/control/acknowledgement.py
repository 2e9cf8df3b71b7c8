"""Wait until every gateway worker has acknowledged new routes."""

import asyncio
import contextlib
import logging
import os
import signal
import time

from surefoot.gateway.control.shared_routes import SharedRouteTable

_log = logging.getLogger(__name__)
ACKNOWLEDGEMENT_POLL_S = 0.002
"""How often it is looked whether workers have acknowledged [s]."""


async def wait_until_acknowledged(route_table: SharedRouteTable, generation: int, patience: float) -> None:
    """Return when every living worker has acknowledged the new routes; one that does not is killed.

    A worker that is stopped or hangs holds connections that it took under the old route, and would answer them by it.
    Its end costs those callers their connection; the workers share one socket, so new callers are answered by others.

    Args:
        route_table: The table that all workers see.
        generation: The routes to acknowledge.
        patience: How long a worker may take before it is killed [s].
    """
    deadline = time.monotonic() + patience
    while behind := route_table.unacknowledged_workers(generation):
        if time.monotonic() > deadline:
            deadline = time.monotonic() + patience
            for slot in behind:
                pid = route_table.worker_pid(slot)
                if pid > 0 and pid != os.getpid():  # this worker acknowledges in its next round
                    _log.critical("worker %d has not acknowledged the routes for %.1f s and is KILLED", pid, patience)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(ACKNOWLEDGEMENT_POLL_S)
