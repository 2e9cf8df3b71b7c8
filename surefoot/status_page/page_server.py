"""Serve the status page in a thread of the controller's process."""

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Iterator

import uvicorn

from surefoot import wiring
from surefoot.core.errors import Rejected
from surefoot.settings import Settings
from surefoot.status_page.journal_view import JournalView
from surefoot.status_page.model_status import REGISTRY_TIMEOUT_S
from surefoot.status_page.page_app import build_status_page
from surefoot.status_page.programs.wake_signal import WakeSignal
from surefoot.status_page.status_store import StatusStore
from surefoot.tls_files import make_server_context

_NICE = 10
"""Priority of the page's threads: callers of the gateway come first, however many people look."""
_END_S = 5.0
"""How long open connections may take to end [s]."""

_log = logging.getLogger(__name__)


def _serve(server: uvicorn.Server, listening: socket.socket) -> None:
    """Serve in this thread, which gives way to the gateway; Linux hands its priority to the threads that it starts."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    asyncio.run(server.serve([listening]))


@contextlib.contextmanager
def serve_status_page(config: Settings, signal: WakeSignal | None = None) -> Iterator[None]:
    """Serve the page while the block runs; a page that cannot be served stops nothing else.

    Args:
        config: Where everything is.
        signal: Wakes the controller when a webhook comes; nothing is woken without it.
    """
    if not config.page:
        yield
        return
    try:
        tls = None if config.tls is None else make_server_context(config.tls)
        listening = socket.create_server(config.page_address)
    except (OSError, Rejected) as error:
        _log.warning("the status page is not served: %s cannot be opened (%s)", config.page, error)
        yield
        return
    with (
        wiring.open_ports(config, "status page", REGISTRY_TIMEOUT_S) as ports,
        wiring.open_journal(config) as journal,
    ):
        store = StatusStore(config, ports, JournalView(journal))
        options = uvicorn.Config(
            build_status_page(store, signal or WakeSignal()).app(),
            access_log=False,
            log_level="warning",
            log_config=None,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=32_768,
            server_header=False,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        )
        server = uvicorn.Server(options)
        thread = threading.Thread(target=_serve, args=(server, listening), name="status page", daemon=True)
        store.start()
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            store.stop()
            thread.join(_END_S)
            listening.close()
