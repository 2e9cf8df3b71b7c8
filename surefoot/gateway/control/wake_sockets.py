"""Wake the workers of a gateway through sockets when the shared routes have changed.

A worker without requests looks seldom by itself, so a process that changes something wakes the others. A message is a
hint only: what has changed stands in shared memory, and a worker whose socket cannot be opened looks often.
"""

import contextlib
import socket
from collections.abc import Iterable
from pathlib import Path

_DATAGRAM = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC


class WakeSockets:
    """One datagram socket for each slot of a route table; the kernel forgets its name when its worker ends."""

    def __init__(self, table: Path) -> None:
        """Name the sockets after the file of the table, which must exist."""
        found = table.stat()
        self._name = f"\0surefoot-{found.st_dev:x}-{found.st_ino:x}-"  # no path: Linux calls this an abstract address

    def wake(self, slots: Iterable[int]) -> None:
        """Wake the workers in these slots; one that has messages waiting, or no socket, needs no other."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, _DATAGRAM) as sender:
            for slot in slots:
                with contextlib.suppress(OSError):
                    sender.sendto(b"!", self._name + str(slot))

    def open(self, slot: int) -> socket.socket | None:
        """Open the socket of a slot; None when that is impossible."""
        try:
            receiver = socket.socket(socket.AF_UNIX, _DATAGRAM)
        except OSError:
            return None
        try:
            receiver.bind(self._name + str(slot))
        except OSError:
            receiver.close()
            return None
        return receiver


def drain_messages(receiver: socket.socket) -> None:
    """Take all messages that have come."""
    with contextlib.suppress(OSError):
        while receiver.recv(16):
            pass
