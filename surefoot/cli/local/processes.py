"""Identify, find and end the processes of the local stack, and lock the stack for one command."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from surefoot.core.errors import Conflict, Rejected
from surefoot.gateway.supervision.running_processes import current_supervisor, live_workers

STACK_PROCESS_VARIABLE = "SUREFOOT_PART"
"""Environment variable of every process that `up` has started, and of their children: the name of the part."""
_ProcessIdentity = tuple[int, float]
"""Process id, and when it was started after the host's boot [s]: together they name one process.

Not the time of day: the kernel gives it by the time of its boot in whole seconds, which jumps when the clock is set.
"""
_START_TOLERANCE_S = 0.05
"""By how much two readings of one start may differ: the kernel counts in hundredths [s]."""
_EARLIEST_TIME_OF_DAY_S = 1e9
"""Starts beyond this are times of day, which editions before this one wrote down [s]."""
_CLOCK_CHANGE_S = 60.0
"""By how much such a time may differ: the clock may have been set since [s]."""
_LEFTOVER_EXIT_TIMEOUT_S = 5.0
"""How long those may take to leave that were left behind [s]."""


@contextlib.contextmanager
def hold_stack_lock(home: Path) -> Iterator[None]:
    """Hold the lock which lets only one command at a time start or stop the stack of a home folder.

    Raises:
        Conflict: Another one is at work.
        Rejected: The home folder cannot be written.
    """
    fresh = not home.exists()
    lock = home / "stack.lock"
    try:
        home.mkdir(parents=True, exist_ok=True)
        opened = lock.open("wb")
    except OSError as error:
        raise Rejected(
            f"the home folder {home} cannot be written ({error.strerror}): set SUREFOOT_HOME to one that can"
        ) from error
    with opened as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it however this command ends
        except OSError as error:
            raise Conflict(
                f"another 'surefoot up' or 'surefoot down' is at work in {home}: wait until it has ended"
            ) from error
        try:
            yield
        finally:
            if fresh and [path.name for path in home.iterdir()] == [lock.name]:  # a refused command leaves nothing
                lock.unlink()
                home.rmdir()


def identify_process(pid: int) -> _ProcessIdentity:
    """What names a process that runs now.

    Raises:
        NoSuchProcess: It does not run.
    """
    found = psutil.Process(pid)
    while True:
        boot = psutil.boot_time()
        started = found.create_time() - boot
        if psutil.boot_time() == boot:  # the clock was not set in between
            return pid, started


def compute_process_start_time(process: _ProcessIdentity) -> float:
    """When a process was started, by today's clock [Unix seconds]."""
    return process[1] if process[1] > _EARLIEST_TIME_OF_DAY_S else psutil.boot_time() + process[1]


def is_alive(process: _ProcessIdentity) -> bool:
    """Whether exactly this process is still running."""
    pid, started = process
    with contextlib.suppress(psutil.NoSuchProcess):
        if started > _EARLIEST_TIME_OF_DAY_S:
            same = abs(psutil.Process(pid).create_time() - started) < _CLOCK_CHANGE_S
        else:
            same = abs(identify_process(pid)[1] - started) < _START_TOLERANCE_S
        return same and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def find_running_process(process: _ProcessIdentity) -> list[psutil.Process]:
    """The process, if it is still running."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [psutil.Process(process[0])] if is_alive(process) else []
    return []


def find_session_processes(home: Path, process: _ProcessIdentity) -> list[psutil.Process]:
    """Processes that are still in the session of a leader of this home, though the leader is gone."""
    if is_alive(process):
        return []
    return [each for each in psutil.process_iter() if _session(each.pid) == process[0] and _of(home, each)]


def find_stack_processes(home: Path, parts: Iterable[str] = ()) -> list[psutil.Process]:
    """Processes that `up` has started for a home, and their children, wherever their numbers were written down.

    Args:
        home: Folder of the stack's state.
        parts: Only those of these parts; all without.
    """
    wanted, found = set(parts), []
    for each in psutil.process_iter():
        try:
            part = each.environ().get(STACK_PROCESS_VARIABLE) if _of(home, each) else None
        except psutil.Error:
            continue
        if part and (not wanted or part in wanted) and each.pid != os.getpid():
            found.append(each)
    return found


def find_orphaned_gateway_workers(home: Path) -> list[psutil.Process]:
    """Front workers of the gateway that serve on though their supervisor is gone."""
    root, found = home / "gateway", []
    supervisor = current_supervisor(root)
    for pid in live_workers(root):
        with contextlib.suppress(psutil.NoSuchProcess):
            worker = psutil.Process(pid)
            if worker.ppid() != supervisor and _runs(worker):
                found.append(worker)
    return found


def has_http_worker(home: Path, supervisor: int) -> bool:
    """Whether this supervisor of the gateway has a front worker."""
    for pid in live_workers(home / "gateway"):
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).ppid() == supervisor:
                return True
    return False


def end_processes(leaders: Iterable[psutil.Process], others: Iterable[psutil.Process], patience: float) -> None:
    """Ask leaders to leave, and sweep up afterwards: who is told at once with its children cannot finish its work.

    Args:
        leaders: They end what they have started.
        others: Nobody ends these but the sweep.
        patience: How long the leaders may take [s].
    """
    asked = list(leaders)
    family = {*asked, *others}
    family |= set(_below(family))
    for each in asked:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.terminate()
    _await(asked, patience)
    family |= set(_below(family))  # started meanwhile
    for strike in (psutil.Process.terminate, psutil.Process.kill):
        left = [each for each in family if _runs(each)]
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                strike(each)
        _await(left, _LEFTOVER_EXIT_TIMEOUT_S)


def _await(those: Iterable[psutil.Process], patience: float) -> None:
    """Wait until none of them runs; one that only waits for its parent to notice its end is gone."""
    left, deadline = list(those), time.monotonic() + patience
    while (left := [each for each in left if _runs(each)]) and time.monotonic() < deadline:
        time.sleep(0.05)


def _below(family: Iterable[psutil.Process]) -> Iterator[psutil.Process]:
    """All that a family has started."""
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            yield from each.children(recursive=True)


def _of(home: Path, process: psutil.Process) -> bool:
    """Whether a running process was started for this home: after a reboot numbers mean others."""
    try:
        return _runs(process) and process.environ().get("SUREFOOT_HOME") == str(home)
    except psutil.Error:
        return False


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:  # gone, or not ours to ask about
        return 0


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
