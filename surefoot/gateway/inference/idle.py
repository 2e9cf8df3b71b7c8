"""Whether the host has processor time to spare for what nobody waits for."""

import contextlib
from collections import deque
from pathlib import Path

_IDLE = (3, 4)  # idle, iowait; not nice: a shadow that burns would make its own leisure
LOOKS = 10
"""Looks that must show it together before there is leisure again [count]."""


class IdleMonitor:
    """Looks at what the processors have done since the last look.

    A look without time to spare says no; two on end say no until LOOKS together have shown it: the kernel counts in
    steps of 10 ms, so a short look at a busy host shows idle time now and then that is not there.
    """

    def __init__(self, least: float, stat: Path = Path("/proc/stat")) -> None:
        """Begin with leisure.

        Args:
            least: Share of the processors that makes leisure [0 to 1].
            stat: Where the kernel tells.
        """
        self._least, self._stat = least, stat
        self._last: list[int] = []
        self._seen: deque[tuple[int, int]] = deque(maxlen=LOOKS)
        self._busy = False
        self._enough = True

    def look(self) -> bool:
        """Whether there is time to spare; as before, where the kernel does not tell."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            now = [int(word) for word in self._stat.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
            last, self._last = self._last or now, now
            spent = [new - old for new, old in zip(now, last, strict=True)]
            if (whole := sum(spent)) > 0:
                self._judge(sum(spent[place] for place in _IDLE), whole)
        return self._enough and not self._busy

    def _judge(self, idle: int, whole: int) -> None:
        self._seen.append((idle, whole))
        before, self._busy = self._busy, idle < self._least * whole
        if self._enough:
            if before and self._busy:
                self._enough = False
                self._seen.clear()
        elif len(self._seen) == LOOKS:
            self._enough = sum(one for one, _ in self._seen) >= self._least * sum(all_ for _, all_ in self._seen)
