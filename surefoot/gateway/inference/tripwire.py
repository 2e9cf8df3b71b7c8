"""Detect by a tripwire that a candidate keeps failing, before any gate has enough evidence.

The tripwire only asks whether the candidate answers at all. It trips after so many failures in a row that a candidate
that answers every second request would not reach them in a million tries, or after so many ends of its process within
a minute. It records why; the control room collects the record and changes the route.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from surefoot.core.domain import Split

PROCESS_END_WINDOW_S = 60.0
"""How long an end of a process counts [s]."""


@dataclass(frozen=True, slots=True)
class TripRecord:
    """A tripwire has tripped; the control room collects this and cuts the candidate.

    Attributes:
        split: The split under which the candidate failed.
        reason: Why the candidate is to be cut, in one line.
    """

    split: Split
    reason: str


@dataclass(frozen=True, slots=True)
class TripLimits:
    """Limits of a tripwire.

    Attributes:
        failures: Requests in a row that the candidate failed and the champion answered [count].
        deaths: Ends of the candidate's process within PROCESS_END_WINDOW_S [count].
    """

    failures: int = 20
    deaths: int = 3


class Tripwire:
    """Counts the failures of one candidate under one route; trips once."""

    def __init__(self, limits: TripLimits, deaths: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing counted.

        Args:
            limits: When it trips.
            deaths: Ends of the candidate's process before this route [count].
            clock: Monotonic clock [s].
        """
        self._limits = limits
        self._clock = clock
        self._failures = 0
        self._deaths: deque[float] = deque(maxlen=limits.deaths)
        self._counted_deaths = deaths
        self._tripped = False

    def record_answer(self) -> None:
        """Note that the candidate has answered."""
        self._failures = 0

    def record_failure(self, error: str) -> str:
        """Note that the candidate failed a request that the champion answered.

        Returns:
            Why the candidate is to be cut; empty when it is not.
        """
        self._failures += 1
        if self._tripped or self._failures < self._limits.failures:
            return ""
        self._tripped = True
        return f"failed {self._failures} requests in a row, the last with {error}"

    def record_process_ends(self, deaths: int) -> str:
        """Note how often the process of the candidate has ended in all [count].

        Returns:
            Why the candidate is to be cut; empty when it is not.
        """
        now = self._clock()
        self._deaths.extend([now] * (deaths - self._counted_deaths))
        self._counted_deaths = deaths
        if self._tripped or len(self._deaths) < self._limits.deaths or now - self._deaths[0] > PROCESS_END_WINDOW_S:
            return ""
        self._tripped = True
        return f"its process has ended {len(self._deaths)} times within {now - self._deaths[0]:.0f} s"
