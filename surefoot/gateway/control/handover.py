"""Hand over the listening socket of running workers to a new supervisor."""

import contextlib
import os
import socket
import struct


def handover_address(supervisor: int) -> str:
    """Give the address where a supervisor waits for a listening socket; a name in the kernel, not a file."""
    return f"\0surefoot-supervisor-{supervisor}"


def hand_over_socket(supervisor: int, listening: socket.socket) -> None:
    """Give the listening socket to the next supervisor; another worker may have done so already."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        connection.connect(handover_address(supervisor))
        if peer_user_id(connection) != os.getuid():  # any user may take the name once a supervisor is gone
            return
        socket.send_fds(connection, [b"listening"], [listening.fileno()])


def peer_user_id(connection: socket.socket) -> int:
    """Give the user id of the process at the other end of a local connection."""
    return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])
