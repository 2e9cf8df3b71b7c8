"""Measure whether the host has idle processor time for shadow requests."""

import contextlib
from collections import deque

import psutil

_IDLE = ("idle", "iowait")  # not nice: a shadow that computes must not count as idle time
_COUNTED_TWICE = ("guest", "guest_nice")  # parts of user and nice
_TICKS = 100.0  # the kernel counts in steps of 10 ms; whole numbers subtract without an error
SAMPLES_TO_RESUME = 10
"""Samples that together must show idle time before the host counts as idle again [count]."""


class IdleMonitor:
    """Samples what the processors have done since the last sample.

    One sample without idle time says no; two in a row say no until SAMPLES_TO_RESUME together have shown idle time: the
    kernel counts in steps of 10 ms, so a short sample of a busy host now and then shows idle time that is not there.
    """

    def __init__(self, least: float) -> None:
        """Start as idle.

        Args:
            least: Share of the processors that must be idle [0 to 1].
        """
        self._least = least
        self._last: tuple[int, int] | None = None
        self._samples: deque[tuple[int, int]] = deque(maxlen=SAMPLES_TO_RESUME)
        self._busy = False
        self._enough = True

    def measure_idle(self) -> bool:
        """Measure whether the host is idle; as before, where the counters cannot be read."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            now = _processor_time()
            last, self._last = self._last or now, now
            if (whole := now[1] - last[1]) > 0:
                self._add(now[0] - last[0], whole)
        return self._enough and not self._busy

    def _add(self, idle: int, whole: int) -> None:
        self._samples.append((idle, whole))
        before, self._busy = self._busy, idle < self._least * whole
        if self._enough:
            if before and self._busy:
                self._enough = False
                self._samples.clear()
        elif len(self._samples) == SAMPLES_TO_RESUME:
            self._enough = sum(one for one, _ in self._samples) >= self._least * sum(
                total for _, total in self._samples
            )


def _processor_time() -> tuple[int, int]:
    """Read what all processors have done since the host started: idle time, and all time [10 ms]."""
    spent = psutil.cpu_times()._asdict()
    ticks = {name: round(seconds * _TICKS) for name, seconds in spent.items() if name not in _COUNTED_TWICE}
    return sum(ticks.get(name, 0) for name in _IDLE), sum(ticks.values())
