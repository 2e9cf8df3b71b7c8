"""Append lines to a segment (one file) of the prediction log, and start a new segment when it is due."""

import fcntl
import os
import secrets
import threading
import time
from pathlib import Path

_MAX_SEGMENT_BYTES = 64 << 20
"""A file that holds as much is closed [bytes]."""
_MAX_SEGMENT_AGE_S = 3600.0
"""So is one that was begun so long ago, at the next append [seconds]."""


class SegmentWriter:
    """Appends to one file after another; no other process writes them, and none is opened again.

    The file that is written is locked (flock). A process that can take the lock of a file with records in it knows that
    the file is closed for good, also after kill -9 of its writer, and whatever any clock says.

    Attributes:
        path: The file that is written; before the first append, what its name is made from.
    """

    def __init__(self, path: Path, size: int = _MAX_SEGMENT_BYTES, age: float = _MAX_SEGMENT_AGE_S) -> None:
        """Remember where; nothing is opened yet.

        Args:
            path: Every file has this name with random digits after its stem, so that no name ever comes again.
            size: A file is closed when it holds as much [bytes].
            age: Or when it was begun so long ago [seconds].
        """
        self.path = path
        self._pattern, self._most, self._age = path, size, age
        self._descriptor = -1
        self._size = 0
        self._began = 0.0
        self._torn = False
        self._lock = threading.Lock()

    def append(self, lines: bytes) -> None:
        """Write whole lines with one system call, so that a kill loses nothing that was acknowledged.

        Raises:
            OSError: The disk refuses; part of the lines may have been written, and a reader skips a torn one.
        """
        with self._lock:
            if self._descriptor < 0 or self._size >= self._most or time.monotonic() - self._began >= self._age:
                self._rotate()
            written = 0 if self._torn else os.write(self._descriptor, lines)
            self._size += written
            if written == len(lines):  # as good as always
                return
            data = memoryview(b"\n" + lines if self._torn else lines)[written:]
            self._torn = self._torn or written > 0
            while data:
                written = os.write(self._descriptor, data)
                self._size += written
                data = data[written:]
                self._torn = len(data) > 0
            self._torn = False

    def close(self) -> None:
        """Close the file for good; another append would begin the next one."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _rotate(self) -> None:
        """Begin the next file; where that is refused the open one serves on, and the next append tries again."""
        try:
            path, descriptor = self._fresh()
        except OSError:
            if self._descriptor < 0:
                raise
            return
        done, self._descriptor, self.path = self._descriptor, descriptor, path
        self._size, self._began, self._torn = 0, time.monotonic(), False
        if done >= 0:
            os.close(done)  # with it goes its lock

    def _fresh(self) -> tuple[Path, int]:
        """A new file whose lock is ours."""
        self._pattern.parent.mkdir(parents=True, exist_ok=True)
        while True:
            path = self._pattern.with_stem(f"{self._pattern.stem}-{secrets.token_hex(4)}")
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink:
                    return path, descriptor
                os.close(descriptor)  # a compaction saw it empty, before it was locked, and has taken it away
            except OSError as error:
                os.close(descriptor)
                path.unlink(missing_ok=True)
                if not isinstance(error, BlockingIOError):  # that is a compaction which looks at it: begin another
                    raise
