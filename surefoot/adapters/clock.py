"""Provide the system clock and a simulated replay clock, which both also tell the host's time."""

import math
import os
import struct
import tempfile
import time
from pathlib import Path
from typing import Protocol

from surefoot.core.errors import Rejected
from surefoot.core.ports import Clock

_DOUBLE = struct.Struct("<d")  # one aligned word: a reader sees the old time or the new one, never half of each


class ClockWithHostTime(Clock, Protocol):
    """Interface of a clock that may be simulated, and that also tells the host's real time."""

    def wall(self) -> float:
        """Time of the host [Unix seconds]."""
        ...


class SystemClock:
    """The host's clock."""

    def now(self) -> float:
        """Time of the host [Unix seconds]."""
        return time.time()

    def wall(self) -> float:
        """Time of the host [Unix seconds]."""
        return time.time()

    def monotonic(self) -> float:
        """A clock that never steps, for durations [seconds]."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait in real time [seconds]; a negative wait is none."""
        time.sleep(max(0.0, seconds))


class ReplayClock:
    """A clock whose time is a number in a file, so that every process of a replay agrees on it.

    Attributes:
        path: The file: one little-endian double [Unix seconds].
    """

    def __init__(self, path: Path | str) -> None:
        """Remember the file; it need not exist before the first `set`."""
        self.path = Path(path)

    def now(self) -> float:
        """Time of the replay [Unix seconds].

        Raises:
            Rejected: The file is missing or holds no time; the replay has not been started.
        """
        try:
            raw = self.path.read_bytes()
        except OSError as error:
            msg = f"the replay clock {self.path} cannot be read ({error.strerror}): start the replay first"
            raise Rejected(msg) from error
        if len(raw) != _DOUBLE.size:
            raise Rejected(f"the replay clock {self.path} holds {len(raw)} bytes, not the 8 of a time")
        return float(_DOUBLE.unpack(raw)[0])

    def set(self, at: float) -> None:
        """Move every reader of this clock to a time [Unix seconds].

        Raises:
            Rejected: The time is not finite, or the file cannot be written.
        """
        if not math.isfinite(at):
            raise Rejected(f"the replay clock cannot be set to {at}")
        word = _DOUBLE.pack(at)
        try:
            descriptor = self._open(word)
            try:
                os.pwrite(descriptor, word, 0)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Rejected(f"the replay clock {self.path} cannot be written ({error.strerror})") from error

    def wall(self) -> float:
        """Time of the host [Unix seconds]."""
        return time.time()

    def monotonic(self) -> float:
        """A clock that never steps, for durations [seconds]."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait in real time [seconds]; a negative wait is none."""
        time.sleep(max(0.0, seconds))

    def _open(self, word: bytes) -> int:
        try:
            return os.open(self.path, os.O_WRONLY)
        except FileNotFoundError:
            # Born with its first time in it, so that no reader ever finds an empty clock.
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.path.parent, delete=False) as born:
                born.write(word)
            Path(born.name).replace(self.path)
            return os.open(self.path, os.O_WRONLY)


def build_clock(spec: str) -> ClockWithHostTime:
    """Open the clock that a configuration names.

    Args:
        spec: "system", or "replay:" and the path of the replay's time.

    Raises:
        Rejected: The specification names no clock.
    """
    kind, _, path = spec.partition(":")
    if spec == "system":
        return SystemClock()
    if kind == "replay" and path:
        return ReplayClock(path)
    raise Rejected(f'no clock is called "{spec}": say "system" or "replay:<path>"')
