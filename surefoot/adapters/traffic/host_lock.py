"""Keep writers of one host apart while a serving engine without compare-and-swap is looked at and changed."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK_WAIT_S = 2.0
"""How long another process of this host may hold the lock [s]; a rollback does not wait longer for one that hangs."""
_LOCK_PAUSE_S = 0.01


@contextmanager
def hold_host_lock(file: Path) -> Iterator[None]:
    """Keep other writers of this host out between the look and the change; one that hangs is not waited for."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as held:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    break
                time.sleep(_LOCK_PAUSE_S)
        yield
