"""Lower the priority of this process and shorten its time slice, so that others preempt it at once.

Niceness says how large a share of the processor a process gets, not how soon another one gets it back: that one waits
until the current time slice is over, some milliseconds, which is many requests. Linux from 6.12 on lets a process ask
for short slices; before that, the idle policy comes nearest.
"""

import ctypes
import os
import platform
import struct
import time
from pathlib import Path

_GROUP = Path("/proc/self/autogroup")
_MAX_TRIES = 20
"""How often the niceness of the session is tried [count]."""
TIME_SLICE_NS = 100_000
"""Slice that is asked for [ns], the shortest that the kernel grants: others wait for its end."""
_SET_ATTR = {"x86_64": 314, "aarch64": 274}
"""Numbers of the system call sched_setattr, for which there is no function of the C library before glibc 2.41; the one
that reads them comes next."""
_ATTR = struct.Struct(
    "=IIQiIQQQII"
)  # size, policy, flags, nice, priority, runtime (the slice), deadline, period, clamps


def lower_priority(nice: int) -> None:
    """Lower the priority of this process, and let others preempt it at once.

    Args:
        nice: Niceness, 0 to 19.
    """
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    _set_autogroup(nice)
    if not _request_short_slices(nice):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def time_slice_ns() -> int:
    """Read the time slice that this process has been granted [ns]; 0 where the kernel grants none."""
    call = _SET_ATTR.get(platform.machine())
    if call is None:
        return 0
    heard = ctypes.create_string_buffer(_ATTR.size)
    failed = ctypes.CDLL(None).syscall(call + 1, 0, heard, _ATTR.size, 0)
    return 0 if failed else int(_ATTR.unpack(heard.raw)[5])


def _set_autogroup(nice: int) -> None:
    """Set the niceness of this session, where the kernel shares the processor by session."""
    for _ in range(_MAX_TRIES):
        try:
            _GROUP.write_text(str(nice), encoding="ascii")
        except BlockingIOError:  # without privileges, one process of the host may do so in 0.1 s
            time.sleep(0.1)
        except OSError:  # it does not group by session
            return
        else:
            return


def _request_short_slices(nice: int) -> bool:
    """Request short time slices; whether they are granted, which older kernels do not say."""
    call = _SET_ATTR.get(platform.machine())
    if call is None:
        return False
    wanted = _ATTR.pack(_ATTR.size, os.SCHED_BATCH, 0, nice, 0, TIME_SLICE_NS, 0, 0, 0, 0)
    return not ctypes.CDLL(None).syscall(call, 0, wanted, 0) and time_slice_ns() == TIME_SLICE_NS


SHADOW_NICENESS = 19
"""Niceness of a shadow's process."""
