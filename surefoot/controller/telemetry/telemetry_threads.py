"""Send lineage events and spans of rollouts in background threads."""

import logging
import threading

from surefoot.core.errors import SurefootError
from surefoot.settings import Settings
from surefoot.wiring.telemetry.journal_delivery import open_delivery
from surefoot.wiring.telemetry.receivers import TelemetryReceiver, list_telemetry_receivers

_LOOK_EVERY_S = 5.0
"""How long a journal entry waits at most until it is delivered [s]."""

_log = logging.getLogger(__name__)


class TelemetryThreads:
    """Delivers to each receiver in a thread of its own: one that hangs delays no other, and nothing else.

    Nothing is kept here: what a kill interrupts is sent again by the next controller.
    """

    def __init__(self, config: Settings, look_every_s: float = _LOOK_EVERY_S) -> None:
        """Start nothing yet.

        Args:
            config: Where everything is.
            look_every_s: Time between two looks into the journal [s].
        """
        self._config, self._look_every_s = config, look_every_s
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Deliver from now on, until this process ends; nothing where the settings name no receiver."""
        for receiver in list_telemetry_receivers(self._config):
            thread = threading.Thread(target=self._run, args=(receiver,), name=receiver.kind.value, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, patience_s: float = 0.0) -> None:
        """Deliver no more.

        Args:
            patience_s: How long to wait for what is being sent [s].
        """
        self._stopped.set()
        for thread in self._threads:
            thread.join(patience_s)

    def _run(self, receiver: TelemetryReceiver) -> None:
        said = ""
        while not self._stopped.is_set():
            try:
                with open_delivery(self._config, receiver) as deliver:
                    while not self._stopped.is_set():
                        trouble = deliver()
                        if trouble != said:
                            _log.warning("%s to %s: %s", receiver.kind, receiver.address, trouble or "delivered again")
                        said = trouble
                        self._stopped.wait(self._look_every_s)
            except SurefootError as error:  # the journal cannot be read now
                _log.warning("%s to %s: %s", receiver.kind, receiver.address, error)
            except Exception:  # noqa: BLE001 - an entry that cannot be mapped must not end the controller
                _log.exception("%s to %s has failed, and goes on", receiver.kind, receiver.address)
            self._stopped.wait(self._look_every_s)
