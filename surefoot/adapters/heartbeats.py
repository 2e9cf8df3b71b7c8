"""Record when each scheduled flow ran last, as the time of a file that `status` reads."""

import contextlib
from pathlib import Path


def record_heartbeat(home: Path, name: str) -> None:
    """Remember that a scheduled flow has come just now.

    Args:
        home: Folder of all state.
        name: Name of the flow.
    """
    path = home / "ticks" / name
    with contextlib.suppress(OSError):  # a full disk must not stop a look
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def last_heartbeat(home: Path, name: str) -> float | None:
    """When a scheduled flow came last, by the host's clock [Unix seconds]; None before the first.

    Args:
        home: Folder of all state.
        name: Name of the flow.
    """
    try:
        return (home / "ticks" / name).stat().st_mtime
    except OSError:
        return None
