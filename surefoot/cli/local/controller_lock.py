"""Hold the lock that allows one controller per state folder, and check whether it is ready."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from surefoot.core.errors import Conflict


@contextlib.contextmanager
def hold_controller_lock(home: Path) -> Iterator[Callable[[], None]]:
    """Hold the lock of the only controller of a state folder; the kernel releases it when this process ends.

    Args:
        home: Folder of all state.

    Yields:
        What is called once the controller is ready: the file then names its process.

    Raises:
        Conflict: Another one runs.
    """
    with _file(home).open("ab", buffering=0) as held:  # whose content a second controller must not empty
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(f"another controller runs for {home}: 'surefoot down' stops it") from error
        held.truncate(0)

        def say_ready() -> None:
            held.write(str(os.getpid()).encode())

        yield say_ready
        held.truncate(0)


def is_controller_ready(home: Path, pid: int) -> bool:
    """Whether this process is the controller of a state folder, and ready."""
    try:
        return _file(home).read_bytes() == str(pid).encode()
    except FileNotFoundError:
        return False


def _file(home: Path) -> Path:
    return home / "controller.lock"
