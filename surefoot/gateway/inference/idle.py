"""Measure whether the host has idle processor time for background work."""

import contextlib
from collections import deque
from pathlib import Path

_IDLE = (3, 4)  # idle, iowait; not nice: a shadow that computes must not count as idle time
SAMPLES = 10
"""Samples that together must show idle time before the host counts as idle again [count]."""


class IdleMonitor:
    """Samples what the processors have done since the last sample.

    One sample without idle time says no; two in a row say no until SAMPLES together have shown idle time: the kernel
    counts in steps of 10 ms, so a short sample of a busy host now and then shows idle time that is not there.
    """

    def __init__(self, least: float, stat: Path = Path("/proc/stat")) -> None:
        """Start as idle.

        Args:
            least: Share of the processors that must be idle [0 to 1].
            stat: File with the kernel's counters.
        """
        self._least, self._stat = least, stat
        self._last: list[int] = []
        self._samples: deque[tuple[int, int]] = deque(maxlen=SAMPLES)
        self._busy = False
        self._enough = True

    def sample(self) -> bool:
        """Measure whether the host is idle; as before, where the counters cannot be read."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            now = [int(word) for word in self._stat.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
            last, self._last = self._last or now, now
            spent = [new - old for new, old in zip(now, last, strict=True)]
            if (whole := sum(spent)) > 0:
                self._add(sum(spent[place] for place in _IDLE), whole)
        return self._enough and not self._busy

    def _add(self, idle: int, whole: int) -> None:
        self._samples.append((idle, whole))
        before, self._busy = self._busy, idle < self._least * whole
        if self._enough:
            if before and self._busy:
                self._enough = False
                self._samples.clear()
        elif len(self._samples) == SAMPLES:
            self._enough = sum(one for one, _ in self._samples) >= self._least * sum(
                total for _, total in self._samples
            )
