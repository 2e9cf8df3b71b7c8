"""Ask the forkserver over its socket to run a Python module, and wait for the exit code.

A worker starts this in the place of `python -m MODULE`, and supervises it as before: it lives as long as the run,
passes signals on, and ends with its exit code. Without a forkserver it becomes `python -m MODULE`.
"""

import array
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

FORKSERVER_SOCKET_NAME = "flows.sock"
"""Socket of the forkserver, in the home."""
WHEN_IDLE_ARGUMENT = "--when-idle"
"""Argument of the forkserver's program: modules after it are imported once no run has been asked for."""
_REPLY_S = 10.0
"""How long the forkserver may take to fork [s]; it may be importing what is imported when idle."""
KILLED_EXIT_CODE = 128 + signal.SIGKILL
"""Exit code of a run whose process went without a word."""


@contextlib.contextmanager
def socket_address(home: Path) -> Iterator[str]:
    """Address of the forkserver's socket: through a descriptor, for the path of a socket must be short."""
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{FORKSERVER_SOCKET_NAME}"
    finally:
        os.close(folder)


def main() -> int:
    """Run the module that the command line names; its exit code."""
    try:
        connection, pid = _begin(Path(os.environ["SUREFOOT_HOME"]))
    except (OSError, KeyError, ValueError):  # no controller, or one that has to import changed files first
        os.execv(sys.executable, [sys.executable, "-m", *sys.argv[1:]])  # noqa: S606 - ours
    with connection:
        return _wait(connection, pid)


def _begin(home: Path) -> tuple[socket.socket, int]:
    """Ask for a process; it begins only when it is told to, so that no flow is run twice.

    Raises:
        OSError: There is no forkserver, or it does not answer.
        ValueError: It has no process for this run.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_REPLY_S)
        with socket_address(home) as address:
            connection.connect(address)
        request = {"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": str(Path.cwd())}
        streams = array.array("i", [1, 2])
        connection.sendmsg([b"r"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        connection.sendall(json.dumps(request).encode() + b"\n")
        pid = int(connection.makefile("rb").readline())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _passed_to(pid))
        connection.sendall(b"g")
        connection.settimeout(None)
    except BaseException:
        connection.close()
        raise
    return connection, pid


def _passed_to(pid: int) -> "signal.Handlers":
    def handle(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    return handle  # type: ignore[return-value]


def _wait(connection: socket.socket, pid: int) -> int:
    """Wait for the end of the run."""
    try:
        said = connection.makefile("rb").readline()
    except OSError:
        said = b""
    if said.strip().isdigit():
        return int(said)
    print(f"the process of this run ({pid}) ended without a word", file=sys.stderr)  # noqa: T201 - the worker logs it
    return KILLED_EXIT_CODE


if __name__ == "__main__":
    sys.exit(main())
