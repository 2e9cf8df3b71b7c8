"""Measure the memory use and answer times of a model's process."""

import contextlib
import os
import threading
import time
from dataclasses import dataclass

_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
_NS = 1e-9


@dataclass(frozen=True, slots=True)
class ProcessMeter:
    """Open files of the kernel that are read at every batch.

    Attributes:
        memory: Descriptor of this process's statm file.
        waiting: Descriptor of this thread's schedstat file; -1 where its waits are not subtracted.
    """

    memory: int
    waiting: int = -1

    @classmethod
    def open(cls) -> "ProcessMeter":
        """Open them for this process, and for the thread that calls: the one that runs the model.

        Waits for a processor are subtracted in a process of low priority only, which is made to wait for all others;
        of any other process they are a part of what its callers wait for, and reading them costs microseconds.
        """
        waiting = -1
        if os.getpriority(os.PRIO_PROCESS, 0) > 0:
            with contextlib.suppress(OSError):  # a kernel without these statistics
                path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
                waiting = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return cls(os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC), waiting)

    def resident_memory(self) -> float:
        """Read the memory in use [MB]."""
        return int(os.pread(self.memory, 256, 0).split()[1]) * _PAGE_MB

    def model_time(self) -> float:
        """Read the clock, without what this thread has waited for a processor where that is subtracted [s].

        Threads that the model starts are not looked at: what they wait for counts as the model's own time.
        """
        if self.waiting < 0:
            return time.perf_counter()
        return time.perf_counter() - int(os.pread(self.waiting, 128, 0).split()[1]) * _NS
