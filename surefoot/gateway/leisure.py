"""Whether the host has processor time to spare for what nobody waits for."""

import contextlib
from pathlib import Path

_IDLE = (3, 4)  # idle, iowait; not nice: a shadow that burns would make its own leisure


class Leisure:
    """Looks at what the processors have done since the last look."""

    def __init__(self, least: float, stat: Path = Path("/proc/stat")) -> None:
        """Begin with leisure.

        Args:
            least: Share of the processors that makes leisure [0 to 1].
            stat: Where the kernel tells.
        """
        self._least, self._stat = least, stat
        self._last: list[int] = []

    def look(self) -> bool:
        """Whether there was time to spare since the last look; always, where the kernel does not tell."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            now = [int(word) for word in self._stat.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
            last, self._last = self._last or now, now
            spent = [new - old for new, old in zip(now, last, strict=True)]
            if (whole := sum(spent)) > 0:
                return sum(spent[place] for place in _IDLE) / whole >= self._least
        return True
