"""Find the process ids of a gateway's living workers and newest supervisor."""

from pathlib import Path

from surefoot.gateway.control.shared_routes import SharedRouteTable


def live_workers(root: Path) -> list[int]:
    """List the process ids of the living workers of a gateway.

    Args:
        root: The gateway's state directory.

    Returns:
        Process ids; none when no gateway has ever run there.
    """
    if not (root / "board").is_file():
        return []
    route_table = SharedRouteTable(root)
    with route_table.lock():  # no worker takes a slot meanwhile, so each slot says truly whose it is
        return [route_table.worker_pid(slot) for slot in route_table.live_workers()]


def current_supervisor(root: Path) -> int:
    """Give the process id of the newest supervisor of a gateway; 0 when none has ever run there."""
    return SharedRouteTable(root).supervisor if (root / "board").is_file() else 0
