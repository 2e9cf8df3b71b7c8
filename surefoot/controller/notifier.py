"""Send queued messages and heartbeats in background threads."""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from surefoot import wiring
from surefoot.adapters.config.notify_file import NOTIFY_FILE, read_notify_config
from surefoot.adapters.notify.outbox import Outbox
from surefoot.core.errors import SurefootError
from surefoot.core.policy.recovery.notify_config import NotifyConfig
from surefoot.incidents import notifications
from surefoot.settings import Settings

_LOOK_EVERY_S = 5.0
"""How long a message that was journalled waits at most until it is sent [s]."""
_HEARTBEAT = "heartbeat"

_log = logging.getLogger(__name__)


class Notifier:
    """Delivers messages, one thread a receiver: one that hangs delays no other, and nothing else.

    A round looks what is new in the journals, and starts a thread for each receiver for which something is due and that
    no thread is busy with. Nothing of it is kept here: what a kill interrupts is sent again by the next controller.
    """

    def __init__(self, config: Settings) -> None:
        """Start nothing yet.

        Args:
            config: Where everything is.
        """
        self._config = config
        self._busy: dict[str, threading.Thread] = {}
        self._wake = threading.Event()
        self._ticked = self._stopped = False
        self._beaten_at = 0.0
        self._trouble = ""
        self._file: tuple[object, NotifyConfig | None] = (None, None)

    def start(self) -> None:
        """Look for messages from now on, until this process ends."""
        threading.Thread(target=self._run, name="notifier", daemon=True).start()

    def stop(self) -> None:
        """Look for no more messages; what is being sent goes on."""
        self._stopped = True
        self._wake.set()

    def tick(self) -> None:
        """Have the heartbeat address called, for the controller has done a tick; returns at once."""
        self._ticked = True
        self._wake.set()

    def _run(self) -> None:
        with wiring.open_journal(self._config) as journal, notifications.open_outbox(self._config) as outbox:
            queue = notifications.NotificationQueue(self._config, journal, outbox)
            while not self._stopped:
                try:
                    self.round(queue, outbox)
                    self._say("")
                except SurefootError as error:
                    self._say(str(error))
                except Exception:  # noqa: BLE001 - a message that cannot be made must not keep all others back
                    _log.exception("the notifier has failed, and goes on")
                self._wake.wait(_LOOK_EVERY_S)
                self._wake.clear()

    def round(self, queue: notifications.NotificationQueue, outbox: Outbox) -> None:
        """Queue what is new, and start the threads of receivers that have something due.

        Raises:
            SurefootError: `configs/notify.yaml` is wrong, or the journal or the outbox cannot be used.
        """
        ticked, self._ticked = self._ticked, False
        routes = self._routes()
        if routes is None:
            return
        if ticked and routes.heartbeat is not None:
            now = time.monotonic()
            if now - self._beaten_at >= (routes.heartbeat.every or 0.0) and self._start(
                _HEARTBEAT, partial(self._beat, routes)
            ):
                self._beaten_at = now
        queue.fill(routes)
        now = time.time()
        outbox.expire(now)
        for receiver in outbox.due_receivers(now):
            self._start(f"to {receiver}", partial(self._deliver, routes, receiver))

    def _routes(self) -> NotifyConfig | None:
        """What the file says; it is read again when it has changed."""
        try:
            found = (self._config.configs / NOTIFY_FILE).stat()
        except OSError:
            return None
        mark = found.st_mtime_ns, found.st_size, found.st_ino
        if self._file[0] != mark:
            self._file = mark, read_notify_config(self._config.configs)
        return self._file[1]

    def _start(self, name: str, work: Callable[[], None]) -> bool:
        """Start a thread, unless the one before is still busy; whether one was started."""
        thread = self._busy.get(name)
        if thread is not None and thread.is_alive():
            return False
        self._busy[name] = threading.Thread(target=work, name=name, daemon=True)
        self._busy[name].start()
        return True

    def _deliver(self, routes: NotifyConfig, receiver: str) -> None:
        """Send one batch; `surefoot status` tells what became of it."""
        try:
            with notifications.open_outbox(self._config) as outbox:
                for name, problem in notifications.deliver_batch(self._config, routes, outbox, receiver).items():
                    _log.info("message %s to %s: %s", name, receiver, problem or "delivered")
        except SurefootError as error:
            _log.warning("messages to %s: %s", receiver, error)

    def _beat(self, routes: NotifyConfig) -> None:
        if problem := notifications.send_heartbeat(self._config, routes):
            _log.warning("the heartbeat address: %s", problem)

    def _say(self, trouble: str) -> None:
        """Write down a trouble once."""
        if trouble and trouble != self._trouble:
            _log.warning("%s", trouble)
        self._trouble = trouble
