"""Cuts a candidate that fails outright, before any flow has looked: a fuse, not a judge.

A gate weighs evidence at its next look; this only asks whether the candidate answers at all. It blows after so many
failures in a row that a candidate that answers every second request would not reach them in a million tries, or after
so many ends of its process within a minute.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_S = 60.0
"""How long an end of a process counts [s]."""


@dataclass(frozen=True, slots=True)
class TripLimits:
    """When it blows.

    Attributes:
        failures: Requests in a row that the candidate failed and the champion answered [count].
        deaths: Ends of the candidate's process within WINDOW_S [count].
    """

    failures: int = 20
    deaths: int = 3


class Tripwire:
    """Counts for one candidate under one route; it blows once."""

    def __init__(self, limits: TripLimits, deaths: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing counted.

        Args:
            limits: When it blows.
            deaths: Ends of the candidate's process before this route [count].
            clock: Seconds that never step.
        """
        self._limits = limits
        self._clock = clock
        self._streak = 0
        self._ends: deque[float] = deque(maxlen=limits.deaths)
        self._seen = deaths
        self._blown = False

    def answered(self) -> None:
        """The candidate has answered."""
        self._streak = 0

    def failed(self, error: str) -> str:
        """The candidate has failed where the champion has not; why the candidate is to be cut, or nothing."""
        self._streak += 1
        if self._blown or self._streak < self._limits.failures:
            return ""
        self._blown = True
        return f"failed {self._streak} requests in a row, the last with {error}"

    def ended(self, deaths: int) -> str:
        """Its process has ended so often in all [count]; why the candidate is to be cut, or nothing."""
        now = self._clock()
        self._ends.extend([now] * (deaths - self._seen))
        self._seen = deaths
        if self._blown or len(self._ends) < self._limits.deaths or now - self._ends[0] > WINDOW_S:
            return ""
        self._blown = True
        return f"its process has ended {len(self._ends)} times within {now - self._ends[0]:.0f} s"
