"""Wake the controller before its next tick when a webhook names a model."""

import threading
from collections.abc import Collection


class WakeSignal:
    """Models that are to be looked at now; set by one thread, waited for by another."""

    def __init__(self) -> None:
        """Name no model."""
        self._lock = threading.Lock()
        self._models: set[str] = set()
        self._set = threading.Event()

    def wake(self, models: Collection[str]) -> None:
        """Name models, and end the wait."""
        with self._lock:
            self._models.update(models)
        self._set.set()

    def keep(self, models: Collection[str]) -> None:
        """Name models for the next look without ending a wait."""
        with self._lock:
            self._models.update(models)

    def take(self) -> frozenset[str]:
        """Models that were named since the last call."""
        with self._lock:
            found = frozenset(self._models)
            self._models.clear()
            self._set.clear()
        return found

    def wait(self, seconds: float) -> None:
        """Wait until a model is named, or for so long [s]."""
        self._set.wait(seconds)
