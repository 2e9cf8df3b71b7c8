"""Run blocking calls in daemon threads, so that an event loop can await them."""

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


async def run_in_daemon_thread(work: Callable[[], _T]) -> _T:
    """Run a blocking call in a thread; the end of the program does not wait for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def resolve(settle: Callable[[], None]) -> None:
        if not done.done():
            settle()

    def run() -> None:
        settle: Callable[[], None]
        try:
            settle = partial(done.set_result, work())
        except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
            settle = partial(done.set_exception, error)
        try:
            loop.call_soon_threadsafe(resolve, settle)
        except RuntimeError:  # the loop is closed: the process ends, and no task awaits the result
            _log.info("a blocking call returned after the event loop had closed")

    threading.Thread(target=run, name="blocking-call", daemon=True).start()
    return await done
