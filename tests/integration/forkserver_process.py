"""A worker with a forkserver, for tests that end the one or the other; it does what the lines of its input say.

With the argument `program` its forkserver is a program of its own; with `serve FD` this is that program.
What is forked says who it is on its socket, and then does what its first argument says.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from surefoot.models import process_messages
from surefoot.models.forking.forkserver import ChildProcess, Forkserver, ForkserverGone
from surefoot.models.forking.forkserver_program import ForkedChild, ForkserverProgram, serve_forks
from surefoot.models.model_process import StartedProcess, fork_process, spawn_process

SLOWLY = "import os,sys;from surefoot.models import process_messages;import socket;"
SLOWLY += "said={'slow':True,'parent':os.getppid(),'pid':os.getpid()};"
SLOWLY += "process_messages.send_message(socket.socket(fileno=int(sys.argv[-1])),said)"


def be(arguments: Sequence[str]) -> None:
    """What a forked process does."""
    verb, descriptor = arguments[0], int(arguments[-1])
    with socket.socket(fileno=descriptor) as end:
        said = {"arguments": list(arguments[:-1]), "parent": os.getppid(), "pid": os.getpid()}
        process_messages.send_message(end, {**said, "session": os.getsid(0), "shut": shut()})
        if verb == "stay":
            end.recv(1)
        if verb == "exit":
            sys.exit(int(arguments[1]))
        if verb == "raise":
            raise RuntimeError("on purpose")
        if verb == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)


def shut() -> bool:
    """Whether the socket that the forkserver was to close is closed here."""
    number = int(os.environ["NOT_KEPT"])
    try:
        return str(Path(f"/proc/self/fd/{number}").readlink()) != os.environ["NOT_KEPT_IS"]
    except OSError:
        return True


def main() -> None:
    """Be the worker."""
    if sys.argv[1:2] == ["serve"]:
        serve_forks(int(sys.argv[2]), be)
        return
    with socket.socket() as kept:
        os.environ["NOT_KEPT"] = str(kept.fileno())
        os.environ["NOT_KEPT_IS"] = str(Path(f"/proc/self/fd/{kept.fileno()}").readlink())
        if sys.argv[1:2] == ["program"]:
            program = ForkserverProgram([sys.executable, "-m", "tests.integration.forkserver_process", "serve"])
            program.start()
            forkserver: Forkserver | ForkserverProgram = program
        else:
            forkserver = Forkserver(be, kept)
        say({"worker": os.getpid(), "forkserver": forkserver.pid})
        obey(forkserver)


def obey(forkserver: Forkserver | ForkserverProgram) -> None:
    """Do what the test says."""
    started: dict[int, StartedProcess] = {}
    ends: list[socket.socket] = []  # held open: what is forked stays until its own end comes
    for line in sys.stdin:
        verb, *rest = json.loads(line)
        if verb in ("fork", "fork or spawn"):
            ours, theirs = socket.socketpair()
            ends.append(ours)
            try:
                with theirs:
                    if verb == "fork":
                        made: StartedProcess = forkserver.fork(rest, theirs.fileno())
                    else:
                        made = fork_process(forkserver, rest, spawn_process([sys.executable, "-c", SLOWLY]))(
                            theirs.fileno()
                        )
            except ForkserverGone as error:
                say({"gone": str(error)})
                continue
            started[made.pid] = made
            say({"known": made.pid, "forked": isinstance(made, ChildProcess | ForkedChild), **heard(ours)})
        elif verb == "wait":
            pid, timeout = rest
            try:
                say(started[pid].wait(timeout))
            except subprocess.TimeoutExpired:
                say("not ended")
        elif verb == "patience":
            client = forkserver._server if isinstance(forkserver, ForkserverProgram) else forkserver
            assert client is not None
            client._end.settimeout(rest[0])
            say("ok")
        elif verb == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)


def heard(end: socket.socket) -> dict[str, object]:
    """What a process says of itself."""
    said = process_messages.receive_message(end)
    assert isinstance(said, dict)
    return said


def say(found: object) -> None:
    """Tell the test."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
