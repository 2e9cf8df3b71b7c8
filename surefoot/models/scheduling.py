"""A process that steps aside for all others, at once.

A place behind others says how large a share a process gets, not how soon another one gets the processor back: that one
waits until the slice in hand is over, some milliseconds, which is many requests. Linux from 6.12 on lets a process ask
for short slices; before that, the idle policy comes nearest.
"""

import ctypes
import os
import platform
import struct
import time
from pathlib import Path

_GROUP = Path("/proc/self/autogroup")
TRIES = 20
"""How often its session's weight is tried [count]."""
SLICE_NS = 100_000
"""Slice that is asked for [ns], the shortest that the kernel grants: others wait for its end."""
_SET_ATTR = {"x86_64": 314, "aarch64": 274}
"""Numbers of the system call sched_setattr, for which there is no function of the C library before glibc 2.41; the one
that reads them comes next."""
_ATTR = struct.Struct(
    "=IIQiIQQQII"
)  # size, policy, flags, nice, priority, runtime (the slice), deadline, period, clamps


def lower_priority(nice: int) -> None:
    """Put this process behind others, and let them have the processor as soon as they want it.

    Args:
        nice: How far behind, 0 to 19.
    """
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    _weigh_session(nice)
    if not _short_slices(nice):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def time_slice_ns() -> int:
    """The slice that this process asked for [ns]; 0 where the kernel grants none."""
    call = _SET_ATTR.get(platform.machine())
    if call is None:
        return 0
    heard = ctypes.create_string_buffer(_ATTR.size)
    failed = ctypes.CDLL(None).syscall(call + 1, 0, heard, _ATTR.size, 0)
    return 0 if failed else int(_ATTR.unpack(heard.raw)[5])


def _weigh_session(nice: int) -> None:
    """A process of its own session is weighed by its session, where the kernel groups by session."""
    for _ in range(TRIES):
        try:
            _GROUP.write_text(str(nice), encoding="ascii")
        except BlockingIOError:  # without privileges, one process of the host may do so in 0.1 s
            time.sleep(0.1)
        except OSError:  # it does not group by session
            return
        else:
            return


def _short_slices(nice: int) -> bool:
    """Ask for them; whether they are granted, which kernels that know none do not say."""
    call = _SET_ATTR.get(platform.machine())
    if call is None:
        return False
    wanted = _ATTR.pack(_ATTR.size, os.SCHED_BATCH, 0, nice, 0, SLICE_NS, 0, 0, 0, 0)
    return not ctypes.CDLL(None).syscall(call, 0, wanted, 0) and time_slice_ns() == SLICE_NS
