"""Waiting for what other processes do; it imports nothing heavy."""

import time
from collections.abc import Callable

import psutil


def wait_for(ready: Callable[[], bool], patience: float = 180.0) -> None:
    """Wait until something is so, but no longer than this [s]."""
    deadline = time.monotonic() + patience
    while not ready():
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.02)


def ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for its parent to notice."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
