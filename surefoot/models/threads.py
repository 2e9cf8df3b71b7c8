"""Work that blocks, beside the event loop."""

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

_log = logging.getLogger(__name__)
T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Run what blocks beside the event loop; the end of the program does not wait for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(settle: Callable[[], None]) -> None:
        if not done.done():
            settle()

    def run() -> None:
        settle: Callable[[], None]
        try:
            settle = partial(done.set_result, work())
        except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
            settle = partial(done.set_exception, error)
        try:
            loop.call_soon_threadsafe(tell, settle)
        except RuntimeError:  # the loop is closed: the process is going, and nobody listens
            _log.info("what was done in a thread came after the end")

    threading.Thread(target=run, name="beside", daemon=True).start()
    return await done
