"""Waiting for what other processes do; it imports nothing heavy."""

import inspect
import time
from collections.abc import Callable
from pathlib import Path

import psutil

_PATIENCE_S = 180.0
"""A busy host is slow, and that is no failure."""


def wait_for(ready: Callable[[], bool], patience: float = _PATIENCE_S) -> None:
    """Wait until something is so, but no longer than this [s]; a wait in vain says which one it was."""
    deadline = time.monotonic() + patience
    while not ready():
        assert time.monotonic() < deadline, f"waited {patience:g} s in vain: {_waiting_line()}"
        time.sleep(0.02)


def _waiting_line() -> str:
    """File, line and words of the call of `wait_for`: the summary of a run shows nothing else of a failure."""
    caller = next(frame for frame in inspect.stack(2) if frame.filename != __file__)
    return f"{Path(caller.filename).name}:{caller.lineno}: {' '.join(''.join(caller.code_context or []).split())}"


def ended(process: int | psutil.Process) -> bool:
    """Whether a process is gone, or only waits for its parent to notice.

    Args:
        process: A number, or what was made of it while it ran: numbers come again within minutes where many processes
            are started, so that a number alone may name another process by now.
    """
    try:
        found = psutil.Process(process) if isinstance(process, int) else process
        return not found.is_running() or found.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
