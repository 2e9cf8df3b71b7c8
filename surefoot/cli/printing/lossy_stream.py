"""Wrap an output stream so that a write never fails, even if the disk is full."""

import contextlib
import os
from collections.abc import Iterable
from typing import Any, TextIO


class LossyStream:
    """A text stream whose writes never raise; after the first failure everything goes to the null device."""

    def __init__(self, stream: TextIO | None) -> None:
        """Wrap a stream.

        Args:
            stream: Standard output or standard error; None where the process was started without it.
        """
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what the stream takes; returns the length of the text."""
        self._try("write", text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush what is buffered."""
        self._try("flush")

    def isatty(self) -> bool:
        """Whether a terminal shows it."""
        return self._stream is not None and self._stream.isatty()

    def _try(self, what: str, *arguments: str) -> None:
        if self._stream is None:
            return
        try:
            getattr(self._stream, what)(*arguments)
        except (OSError, ValueError):
            # The buffer still holds what could not be written, and Python flushes it once more at the end.
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)

    def __getattr__(self, name: str) -> Any:
        """Every other attribute is that of the stream."""
        return getattr(self._stream, name)
