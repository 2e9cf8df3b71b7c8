"""Keep processors busy and drop the file cache, to make a machine slow for a test."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_BUSY = "while True: pass"


@contextlib.contextmanager
def keep_processors_busy(count: int) -> Iterator[None]:
    """Keep `count` processes in endless loops."""
    loops = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def drop_file_cache() -> bool:
    """Make the kernel forget which files it has read; whether it did (only root may)."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
    except OSError:
        return False
    return True
